"""How pictures travel to open pages: as server-sent events, the whole one or what is new since the one
before.

No I/O. A page begins with `full`; whoever has picture n and gets n + 1 is sent `news`, which holds all ages,
the details of those streams whose details have changed, and the samples that were taken since. When the
streams themselves have changed there are no news, only a `full`.

Invariant: applied to picture n, the news of n + 1 give picture n + 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from ingest.ops.page_history import SAMPLE_EVERY_S, SAMPLES, Sample
from ingest.ops.picture import Detail, Picture


def full_event(picture: Picture, samples: Sequence[Sample], version: str) -> bytes:
    """Everything; `version` tells an old page that it has to be loaded anew."""
    body = {
        **_common(picture, samples),
        "version": version,
        "sample_every_s": SAMPLE_EVERY_S,
        "most_samples": SAMPLES,
        "names": picture.names,
        "details": picture.details,
    }
    return _event("full", body)


def news_event(picture: Picture, before: Picture, samples: Sequence[Sample]) -> bytes | None:
    """What is new since `before`; None when that does not say it, because the streams are others."""
    if picture.names != before.names:
        return None
    return _event("news", {**_common(picture, samples), "changed": _changed(picture.details, before.details)})


def end_event() -> bytes:
    """The service is stopping: what the page shows is the last that it will hear for a while."""
    return _event("end", {})


def _common(picture: Picture, samples: Sequence[Sample]) -> dict[str, object]:
    return {"number": picture.number, "ages_ds": picture.ages_ds, "samples": samples, **picture.whole}


def _changed(details: Sequence[Detail], before: Sequence[Detail]) -> list[tuple[int, Detail]]:
    pairs = zip(details, before, strict=True)
    return [(place, now) for place, (now, then) in enumerate(pairs) if now != then]


def _event(name: str, body: dict[str, object]) -> bytes:
    # JSON has no line breaks, so one line of data holds it.
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(body, default=tuple))


@dataclass(slots=True)
class Frame:
    """A picture with what it takes to send it; each form is made when first asked for, once for all."""

    picture: Picture
    before: Picture | None
    samples: Sequence[Sample]
    """All that are kept."""
    new_samples: int
    """How many of them, at the end, the picture before did not have."""
    version: str
    _full: bytes | None = field(default=None, init=False)
    _news: bytes | None = field(default=None, init=False)

    @property
    def number(self) -> int:
        """Of the picture."""
        return self.picture.number

    def for_whoever_has(self, number: int) -> bytes:
        """The event for a page that has picture `number`; 0 is a page that has none."""
        if self.before is not None and number == self.before.number:
            if self._news is None:
                self._news = self._make_news()
            if self._news is not None:
                return self._news
        if self._full is None:
            self._full = full_event(self.picture, self.samples, self.version)
        return self._full

    def _make_news(self) -> bytes | None:
        assert self.before is not None
        fresh = self.samples[len(self.samples) - self.new_samples :]
        return news_event(self.picture, self.before, fresh)
