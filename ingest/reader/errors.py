"""Why a reader does not answer.

IngestError
└── ReadRefused            the answer would not have been what it looks like
    ├── StaleData          what is stored does not reach far enough towards now     transient
    ├── IncompleteData     something of what was asked for is not stored
    └── UnknownName        no such symbol, kind, interval or market; names near matches

A database that cannot be asked is a `StoreError`, as everywhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Final

from ingest.errors import IngestError
from ingest.events import StreamKey

_TOLD_GAPS: Final = 5

DIAGNOSES: Final = {
    "stream_silent": "others on the same connection speak",
    "feed_silent": "the connection carries no data",
    "half_open": "the connection is open and nothing comes, not even the answers to pings",
    "consumer_lag": "the service does not keep up with what comes",
    "shard_wedged": "the shard's process is gone or stands",
    "database_stalled": "data arrive and do not commit",
    "exchange_down": "nothing speaks anywhere",
    "unknown": "the facts name no single cause",
    "service_stopped": "the service was stopped in order, and nobody has started it again",
    "supervisor_away": "nobody has written the freshness table; the service is down, or cannot write",
    "not_ingested": "the service has not carried this stream since the database started",
    "database_away": "the database does not answer",
}
"""What a diagnosis means, in half a sentence. All but the last three are those of the service."""


class ReadRefused(IngestError):
    """The rows are not given, because they would not have been what they look like."""


class StaleData(ReadRefused):
    """A stream is not known up to where it was asked for.

    `age` is the time from `since`, up to which everything is known, to now by the database's clock (None: it
    is not known at all); `max_age` is what was allowed. `state` and `diagnosis` are those of
    `ops.stream_freshness`, and `supervisor_away`, `not_ingested` and `database_away` besides.
    """

    transient = True

    def __init__(
        self,
        stream: StreamKey,
        *,
        age: timedelta | None,
        max_age: timedelta,
        since: datetime | None,
        state: str,
        diagnosis: str,
    ) -> None:
        known = (
            "without any row"
            if since is None or age is None
            else f"known up to {moment_text(since)}, {age_text(age)} ago"
        )
        super().__init__(
            f"stale data: {stream} is {known}, {age_text(max_age)} are allowed; state {state or 'unknown'}, "
            f"{_diagnosis_text(diagnosis)}. wait_fresh() waits until it is fresh again, `ingest status "
            f"{stream.symbol}` tells more, and allow_stale=True reads what there is"
        )
        self.stream = stream
        self.age = age
        self.max_age = max_age
        self.since = since
        self.state = state
        self.diagnosis = diagnosis


@dataclass(frozen=True, slots=True)
class Missing:
    """What is missing: ids of the exchange (inclusive), times of the rows on either side; None: not known.

    `gap_id`, `cause` and `state` are those of `ops.gaps`. Without a gap_id the ledger does not know of it,
    and
    `cause` says how it was found out: `ids` (they do not continue), `begins` (nothing older is stored),
    `rows` (a candle says so itself). Ids of candles are their opening times in milliseconds.
    """

    first_id: int | None
    last_id: int | None
    start: datetime | None
    end: datetime | None
    cause: str
    state: str = ""
    gap_id: int | None = None

    @property
    def ids(self) -> tuple[int, int] | None:
        """Both ids; None where it has none."""
        return None if self.first_id is None or self.last_id is None else (self.first_id, self.last_id)

    def __str__(self) -> str:
        ids = "" if self.first_id is None else f"ids {self.first_id} to {self.last_id}, "
        source = "not in the gap ledger" if self.gap_id is None else f"gap {self.gap_id}, {self.state}"
        return f"{ids}{_side(self.start)} to {_side(self.end)} ({source}, {self.cause})"


class IncompleteData(ReadRefused):
    """Something of what was asked for is missing; `missing` says what, the oldest first.

    `begins`: when what is stored begins, where that is the reason. `go_on_after`: for `follow`, the `since`
    from which it goes on behind the hole.
    """

    def __init__(
        self,
        stream: StreamKey,
        missing: Sequence[Missing],
        *,
        begins: datetime | None = None,
        go_on_after: int | None = None,
    ) -> None:
        super().__init__(_incomplete_text(stream, missing, begins))
        self.stream = stream
        self.missing = tuple(missing)
        self.begins = begins
        self.go_on_after = go_on_after


class UnknownName(ReadRefused):
    """There is no such symbol, kind, interval, table or market; `near` are names that look like it."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        self.near = tuple(get_close_matches(name, names, n=5, cutoff=0.5))
        told = self.near or tuple(names[:20])
        hint = f"; near: {', '.join(told)}" if self.near else f"; known: {', '.join(told) or 'none yet'}"
        super().__init__(f"unknown {what} {name!r}{hint}")
        self.name = name


def age_text(age: timedelta) -> str:
    """Seconds below two minutes, then a clock's way of writing."""
    seconds = age.total_seconds()
    return f"{seconds:.1f} s" if abs(seconds) < 120 else str(timedelta(seconds=round(seconds)))


def moment_text(moment: datetime) -> str:
    """ISO 8601 to the millisecond."""
    return moment.isoformat(timespec="milliseconds")


def _diagnosis_text(diagnosis: str) -> str:
    if not diagnosis:
        return "no diagnosis yet"
    meaning = DIAGNOSES.get(diagnosis)
    return f"diagnosis {diagnosis} ({meaning})" if meaning else f"diagnosis {diagnosis}"


def _side(moment: datetime | None) -> str:
    return "an unknown time" if moment is None else moment_text(moment)


def _incomplete_text(stream: StreamKey, missing: Sequence[Missing], begins: datetime | None) -> str:
    told = "; ".join(map(str, missing[:_TOLD_GAPS]))
    more = f"; and {len(missing) - _TOLD_GAPS} more" if len(missing) > _TOLD_GAPS else ""
    parts = [f"what is stored begins at {moment_text(begins)}"] if begins is not None else []
    parts += [f"missing: {told}{more}"] if missing else []
    return f"incomplete data: of {stream} {'; '.join(parts)}. {_advice(stream, missing, begins)}"


def _advice(stream: StreamKey, missing: Sequence[Missing], begins: datetime | None) -> str:
    anyway = "require_complete=False reads what there is"
    if begins is not None:
        return (
            f"`ingest backfill {stream.symbol} --from TIME --kind {stream.kind}` may fetch the rest; {anyway}"
        )
    states = {each.state for each in missing}
    if states == {"unrepairable"}:
        return f"The exchange does not give it again; {anyway}"
    return f"Repairs take seconds to minutes (`ingest gaps {stream.symbol}`): ask again later; {anyway}"
