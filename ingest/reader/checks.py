"""Whether rows may be given: is the stream known far enough, and is nothing missing.

Pure: it is told what the database says, all of one state of it, and answers with the error to raise, or None.

Fresh: a stream is *known until* the newest of its newest committed event, the newest proof that there is
nothing newer, and the newest row behind what was asked for. That must reach the end of what was asked for, or
`max_age` before now, whichever is earlier: the past needs no freshness of today.

Complete: the gap ledger has nothing open or unrepairable there, rows are stored from before the beginning,
and where ids are consecutive they are, but for what the exchange has not either.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

from ingest.events import StreamKey
from ingest.reader.errors import IncompleteData, Missing, StaleData

WITNESS: Final = timedelta(seconds=5)
"""How long it takes to prove that a silent stream is rightly so, past its threshold."""
LEAST_MAX_AGE: Final = timedelta(seconds=10)
TABLE_AGE: Final = timedelta(seconds=15)
"""The freshness table is written each second; when it is older than this, nobody writes it."""
SERVICE_STOPPED: Final = "service_stopped"
"""The last diagnosis of a service that was stopped in order: it says more than that nobody is there."""
MICROSECOND: Final = timedelta(microseconds=1)

ABSENT: Final = "absent_at_exchange"


class Standing(NamedTuple):
    """What the service says of a stream; `now` is the database's clock at that moment.

    `known_until` is None without any row and proof, `threshold` and `updated_at` for a stream that is not
    carried.
    """

    key: StreamKey
    now: datetime
    known_until: datetime | None
    state: str
    diagnosis: str
    threshold: timedelta | None
    updated_at: datetime | None

    def allowed_age(self, max_age: timedelta | None) -> timedelta:
        """What the caller allows; else what the service lets the stream be silent before it doubts it.

        That is its threshold and the time of a proof, and ten seconds at least.
        """
        if max_age is not None:
            return max_age
        return max(LEAST_MAX_AGE, (self.threshold or timedelta(0)) + WITNESS)


class Beside(NamedTuple):
    """The rows next to a span of time, before it and from its end on; None where there is none."""

    before_id: int | None
    before: datetime | None
    after_id: int | None
    after: datetime | None


NOTHING_BESIDE: Final = Beside(None, None, None, None)


def staleness(
    standing: Standing,
    max_age: timedelta | None,
    *,
    end: datetime | None = None,
    seen: datetime | None = None,
) -> StaleData | None:
    """Why the stream is not known up to `end` (None: now); `seen` is a later row that shows that it is."""
    allowed = standing.allowed_age(max_age)
    needed = standing.now - allowed
    if end is not None:
        needed = min(needed, end)
    known = max((each for each in (standing.known_until, seen) if each is not None), default=None)
    if known is not None and known >= needed:
        return None
    return stale(standing, max_age, known)


def stale(standing: Standing, max_age: timedelta | None, known: datetime | None) -> StaleData:
    """The refusal of a stream that is known no further than that."""
    return StaleData(
        standing.key,
        age=None if known is None else standing.now - known,
        max_age=standing.allowed_age(max_age),
        since=known,
        state=standing.state,
        diagnosis=_diagnosis(standing),
    )


def _diagnosis(standing: Standing) -> str:
    if standing.updated_at is None:
        return "not_ingested"
    if standing.now - standing.updated_at > TABLE_AGE and standing.diagnosis != SERVICE_STOPPED:
        return "supervisor_away"
    return standing.diagnosis


def begins_late(
    key: StreamKey, start: datetime, first: datetime | None, beside: Beside
) -> IncompleteData | None:
    """Refuse a span that begins before what is stored does: nobody knows what there was."""
    if beside.before is not None:
        return None
    oldest = first if first is not None else beside.after
    # At the very moment of the oldest row there may have been others before it.
    begins = None if oldest is None else oldest + MICROSECOND
    missing = Missing(None, None, start, oldest, "begins")
    return IncompleteData(key, [missing], begins=begins)


def against(
    gaps: Iterable[Missing], start: datetime, end: datetime, beside: Beside = NOTHING_BESIDE
) -> list[Missing]:
    """Those gaps of the ledger that speak against [start, end), the oldest first.

    What is missing of a gap lies between the rows on its either side, both moments included. Where ids are
    known they tell more exactly what lies outside.
    """
    found = [gap for gap in gaps if gap.state != ABSENT and _overlaps(gap, start, end, beside)]
    return sorted(found, key=_place)


def _overlaps(gap: Missing, start: datetime, end: datetime, beside: Beside) -> bool:
    ids = gap.ids
    if ids is not None and beside.before_id is not None and ids[1] < beside.before_id:
        return False
    if ids is not None and beside.after_id is not None and ids[0] > beside.after_id:
        return False
    return (gap.start is None or gap.start < end) and (gap.end is None or gap.end >= start)


def _place(gap: Missing) -> tuple[float, int]:
    known = gap.start or gap.end
    return (known.timestamp() if known else 0.0, gap.first_id or 0)


def uncovered(first_id: int, last_id: int, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of the ids first..last lies in none of the ranges, bounds inclusive, ascending."""
    left: list[tuple[int, int]] = []
    at = first_id
    for start, end in sorted(ranges):
        if end < at or start > last_id:
            continue
        if start > at:
            left.append((at, start - 1))
        at = max(at, end + 1)
    return [*left, (at, last_id)] if at <= last_id else left


def holes(ids: Sequence[int], beside: Beside) -> list[tuple[int, int]]:
    """Ranges of ids that are missing among `ids`, ascending, and between them and the rows beside."""
    known = [
        *([] if beside.before_id is None else [beside.before_id]),
        *ids,
        *([] if beside.after_id is None else [beside.after_id]),
    ]
    return [(low + 1, high - 1) for low, high in pairwise(known) if high > low + 1]


def not_absent(found: Iterable[tuple[int, int]], gaps: Sequence[Missing]) -> list[Missing]:
    """Holes as what is missing, without what the exchange has not either.

    As the ledger has it where it does, each row of it once, and by the bare ids what it does not know.
    """
    absent = [ids for gap in gaps if gap.state == ABSENT and (ids := gap.ids) is not None]
    rest = [part for hole in found for part in uncovered(*hole, absent)]
    return list(dict.fromkeys(missing for part in rest for missing in _named(part, gaps)))


def _named(part: tuple[int, int], gaps: Sequence[Missing]) -> list[Missing]:
    first, last = part
    touching = [
        (ids, gap)
        for gap in gaps
        if gap.state != ABSENT and (ids := gap.ids) is not None and ids[0] <= last and ids[1] >= first
    ]
    unknown = uncovered(first, last, [ids for ids, _ in touching])
    named = [(ids[0], gap) for ids, gap in touching]
    bare = [(ids[0], Missing(*ids, None, None, "ids")) for ids in unknown]
    return [missing for _, missing in sorted([*named, *bare], key=_first_id)]


def _first_id(place: tuple[int, Missing]) -> int:
    return place[0]
