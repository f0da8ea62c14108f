"""What stands at a point of a capture: the streams on each feed, the open connections, the shard's time.

Kept while records pass by, so that a file can begin with it (`Kind.STANDING`). Pure.
"""

from collections.abc import Iterable
from typing import Final

import orjson

from ingest.capture.records import NOW_S, Kind, Record

_TOLD: Final = frozenset({Kind.OPENED, Kind.ENDED, Kind.ADDED, Kind.REMOVED, Kind.INSTANT})


class Standing:
    """Nothing stands at first."""

    def __init__(self) -> None:
        self._streams: dict[int, dict[tuple[str, ...], None]] = {}
        self._lines: dict[int, int] = {}
        self._open: dict[tuple[int, int], tuple[int, str]] = {}
        self._stamp_ns = 0
        self._now_s = 0.0

    def pass_by(self, records: "Iterable[Record | tuple[int, int, int, int, bytes]]") -> None:
        """Take what these records change."""
        for kind, feed, epoch, stamp_ns, payload in records:
            if kind not in _TOLD:
                continue
            if kind == Kind.INSTANT:
                self._stamp_ns, self._now_s = stamp_ns, NOW_S.unpack(payload)[0]
            elif kind == Kind.OPENED:
                self._open[feed, epoch] = stamp_ns, orjson.loads(payload)["url"]
            elif kind == Kind.ENDED:
                self._open.pop((feed, epoch), None)
            else:
                self._come_or_go(kind, feed, payload)

    def _come_or_go(self, kind: int, feed: int, payload: bytes) -> None:
        body = orjson.loads(payload)
        streams = self._streams.setdefault(feed, {})
        if kind == Kind.ADDED:
            streams[tuple(body["stream"])] = None
            self._lines[feed] = body["line"]
        else:
            for stream in body["streams"]:
                streams.pop(tuple(stream), None)
        if not streams:
            del self._streams[feed]
            self._lines.pop(feed, None)

    def record(self) -> Record:
        """All of it."""
        body = {
            "now_s": self._now_s,
            "streams": [[feed, self._lines[feed], list(streams)] for feed, streams in self._streams.items()],
            "open": [[feed, epoch, *opened] for (feed, epoch), opened in self._open.items()],
        }
        return Record(Kind.STANDING, stamp_ns=self._stamp_ns, payload=orjson.dumps(body))


def missing(records: int) -> Record:
    """So many were not kept."""
    return Record(Kind.MISSING, payload=orjson.dumps({"records": records}))
