"""The book of a past moment from what is stored, or the reason why nobody can know it.

Pure. A moment is known when a stored book stands at or before it, every delta from there up to it is stored,
the one after it continues them (or it is the newest moment of all), and the gap ledger has nothing against
any of them. Everything else is refused: what is printed is the exchange's book, or nothing is.

Why the delta *after* the moment counts: where it does not continue, nobody can say whether the missing ones
came before the moment or behind it.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from ingest.book.rebuild import RebuiltBook, rebuild
from ingest.events import DepthDelta, DepthSnapshot

Why: TypeAlias = Literal["before_first", "beyond_newest", "gap", "hole"]


class Neighbour(NamedTuple):
    """What is stored next after a moment: the first update of a delta, the last of a snapshot."""

    update_id: int
    ts_us: int


class KnownGap(NamedTuple):
    """A row of the gap ledger that is not repaired."""

    gap_id: int
    first_id: int | None
    last_id: int | None
    start_us: int | None
    end_us: int | None
    cause: str
    state: str


class StoredMoment(NamedTuple):
    """What is stored around a moment of one symbol's book.

    `snapshot` is the newest at or before it, `deltas` those after the snapshot up to the moment by their ids,
    `gaps` at least those of the ledger that touch `leans_on`.
    """

    at_us: int
    newest_us: int
    snapshot: DepthSnapshot | None
    deltas: list[DepthDelta]
    next_delta: Neighbour | None
    next_snapshot: Neighbour | None
    gaps: list[KnownGap]

    @property
    def leans_on(self) -> tuple[int, int]:
        """First and last update that the book of the moment is made from, or that may precede it."""
        if self.snapshot is None:
            return 0, -1
        return self.snapshot.last_update_id, self._reach()

    def _reach(self) -> int:
        if self.next_delta is not None:
            return self.next_delta.update_id - 1
        newest = self.deltas[-1].final_update_id if self.deltas else 0
        following = self.next_snapshot.update_id if self.next_snapshot else 0
        return max(newest, following, self.snapshot.last_update_id if self.snapshot else 0)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the book of a moment is not known.

    `missing` is the first range of updates that is not stored or not to be trusted, `gap` what the ledger
    has of it (a `hole` is one that it has nothing of); `known_again_us` when the next stored book begins.
    """

    why: Why
    newest_us: int
    missing: tuple[int, int] | None = None
    gap: KnownGap | None = None
    known_again_us: int | None = None


def book_at(stored: StoredMoment) -> RebuiltBook | Refusal:
    """Rebuild the book of the moment, or say why that cannot be done."""
    again_us = stored.next_snapshot.ts_us if stored.next_snapshot else None
    if stored.snapshot is None:
        return Refusal("before_first", stored.newest_us, known_again_us=again_us)
    if stored.at_us > stored.newest_us:
        return Refusal("beyond_newest", stored.newest_us)
    rebuilt = rebuild(stored.snapshot, stored.deltas)
    missing = rebuilt.missing or _missing_behind(rebuilt.update_id, stored.leans_on[1])
    gap = _gap_against(stored, missing)
    if gap is not None:
        told = (gap.first_id, gap.last_id)
        known = (told[0], told[1]) if told[0] is not None and told[1] is not None else missing
        return Refusal("gap", stored.newest_us, known, gap, again_us)
    if missing is not None:
        return Refusal("hole", stored.newest_us, missing, None, again_us)
    return rebuilt


def _missing_behind(update_id: int, reach_id: int) -> tuple[int, int] | None:
    return (update_id + 1, reach_id) if reach_id > update_id else None


def _gap_against(stored: StoredMoment, missing: tuple[int, int] | None) -> KnownGap | None:
    """The gap to be told of: one of what is missing, else any that speaks against the book."""
    against = [gap for gap in stored.gaps if _speaks_against(gap, stored)]
    if missing is not None:
        named = [gap for gap in against if _touches(gap, *missing)]
        return named[0] if named else None
    return against[0] if against else None


def _speaks_against(gap: KnownGap, stored: StoredMoment) -> bool:
    if gap.first_id is None or gap.last_id is None:
        return True
    assert stored.snapshot is not None
    base_id, reach_id = stored.leans_on
    if gap.cause == "audit" and gap.first_id <= base_id <= gap.last_id:
        # A book that was stored while it was wrong; the one that took its place is marked.
        return gap.last_id > base_id or stored.snapshot.reason != "audit"
    return _touches(gap, base_id + 1, reach_id)


def _touches(gap: KnownGap, first_id: int, last_id: int) -> bool:
    if gap.first_id is None or gap.last_id is None:
        return True
    return gap.last_id >= first_id and gap.first_id <= last_id
