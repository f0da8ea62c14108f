"""How a hole is filled again: which page next, what of it is wanted, when it is closed, which gap first.

A `Hole` is one gap on its way. Its ids are ranges of whole numbers; a candle covers the milliseconds from its
opening to its close, so that candles, too, follow each other without a break. An id of the hole is in exactly
one place:

    stored     there already, or taken from an answer
    missing    to be asked for
    skipped    an answer went on to later ids without it: the exchange seems not to have it either

What is skipped is believed only when it is skipped again, some time later (`settle`): the exchange's history
comes from a database that may lag behind its streams. An answer that does not reach the next missing id says
that the exchange is behind, and nothing else: ask later.

Nothing here remembers progress over a restart, and nothing has to: what is in the table and the bounds of the
gap's row are all that is needed to go on. The `Agenda` says which gap is due, the newest data first; a gap
that made no progress waits, ever longer, and holds up no other.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from ingest.events import StreamKey

if TYPE_CHECKING:
    from random import Random

SettledState: TypeAlias = Literal["repaired", "unrepairable", "absent_at_exchange"]


class IdRange(NamedTuple):
    """Ids from first to last, inclusive."""

    first: int
    last: int


class Stored(NamedTuple):
    """A run of ids that is in the table, and how many rows that is."""

    first: int
    last: int
    rows: int


class Page(NamedTuple):
    """A question: at most `limit` rows, ascending, from the first id that is not below `from_id`."""

    from_id: int
    limit: int


class Hole:
    """One range of ids on its way from missing to stored."""

    def __init__(self, first_id: int, last_id: int, stored: Iterable[Stored] = ()) -> None:
        """`stored` are runs that are in the table, in any order, as far as they lie in the hole."""
        self.bounds = IdRange(first_id, last_id)
        self.rows = 0
        """Rows of the hole that are in the table, or were taken to be put there."""
        self.skipped: tuple[IdRange, ...] = ()
        """What the exchange has passed over, ascending."""
        self.is_behind = False
        """The newest answer did not reach the next missing id: ask again later, with a new hole."""
        self._missing = [self.bounds] if first_id <= last_id else []
        for run in stored:
            if self._remove(IdRange(run.first, run.last)):
                self.rows += run.rows

    @property
    def missing(self) -> tuple[IdRange, ...]:
        """What is still to be asked for, ascending."""
        return tuple(self._missing)

    def next_page(self, most: int) -> Page | None:
        """What to ask next, at most `most` rows; None when nothing is left to ask, or not now.

        Asks for one row more than is missing, as the row behind the hole proves what is not in it.
        """
        if not self._missing or self.is_behind:
            return None
        from_id = self._missing[0].first
        return Page(from_id, min(most, self._missing[-1].last - from_id + 2))

    def take(self, page: Page, answer: Sequence[IdRange]) -> list[int]:
        """Take what is missing from an answer; the places in it of the rows that are to be stored.

        `answer` has the ids that each row covers. It may begin elsewhere, be out of order, repeat rows or
        go beyond the hole.
        """
        reach = max((row.last for row in answer), default=-1)
        if not self._missing or reach < self._missing[0].first:
            self.is_behind = True
            return []
        taken = [place for place, row in enumerate(answer) if self._remove(row)]
        self.rows += len(taken)
        self._skip(IdRange(page.from_id, reach))
        return taken

    def _remove(self, row: IdRange) -> bool:
        """Remove ids from what is missing; tell whether any was."""
        left = without(self._missing, row)
        is_wanted = left != self._missing
        self._missing = left
        return is_wanted

    def _skip(self, asked: IdRange) -> None:
        """What was asked for, and passed over by the answer, is not missing any more but skipped."""
        passed = [
            IdRange(max(run.first, asked.first), min(run.last, asked.last))
            for run in self._missing
            if run.first <= asked.last and run.last >= asked.first
        ]
        self._missing = without(self._missing, asked)
        self.skipped = tuple(joined([*self.skipped, *passed]))


def shared_page(holes: Sequence[Hole], most: int) -> Page | None:
    """One question for several holes of a stream; None when they lie further apart than a page reaches."""
    missing = [run for hole in holes for run in hole.missing]
    if not missing:
        return None
    from_id = min(run.first for run in missing)
    limit = max(run.last for run in missing) - from_id + 2
    return Page(from_id, limit) if limit <= most else None


def without(runs: Iterable[IdRange], taken: IdRange) -> list[IdRange]:
    """What is left of ranges when some ids are taken from them, in the same order."""
    left: list[IdRange] = []
    for run in runs:
        if taken.last < run.first or run.last < taken.first:
            left.append(run)
            continue
        if run.first < taken.first:
            left.append(IdRange(run.first, taken.first - 1))
        if taken.last < run.last:
            left.append(IdRange(taken.last + 1, run.last))
    return left


def joined(runs: Iterable[IdRange]) -> list[IdRange]:
    """The same ids in as few ranges as possible, ascending."""
    found: list[IdRange] = []
    for run in sorted(runs):
        if found and run.first <= found[-1].last + 1:
            found[-1] = IdRange(found[-1].first, max(found[-1].last, run.last))
        else:
            found.append(run)
    return found


class Settled(NamedTuple):
    """What becomes of a gap's row. `absent` are parts of it that the exchange has not either."""

    state: SettledState
    rows: int
    absent: tuple[IdRange, ...] = ()
    note: str = ""


def settle(hole: Hole, suspected: Collection[IdRange]) -> Settled | None:
    """Close a gap of which nothing is missing; None as long as something is, or is not believed yet.

    `suspected` is what was skipped some time before: only what was, too, is absent for good.
    """
    if hole.missing or not all(_is_within(run, suspected) for run in hole.skipped):
        return None
    if not hole.skipped:
        return Settled("repaired", hole.rows)
    if not hole.rows:
        return Settled("absent_at_exchange", 0, note="the exchange goes on without these ids")
    return Settled("repaired", hole.rows, hole.skipped, "but for ids that the exchange has not either")


def _is_within(run: IdRange, ranges: Iterable[IdRange]) -> bool:
    return any(known.first <= run.first and run.last <= known.last for known in ranges)


# --- which gap first --------------------------------------------------------------------------------


class OpenGap(NamedTuple):
    """A row of the ledger that waits for its repair; `last_id` as in the ledger, times in microseconds."""

    gap_id: int
    key: StreamKey
    first_id: int
    last_id: int
    start_us: int | None
    end_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """A gap that made no progress waits between half of and the whole of `first_s * 2**n`, at most `cap_s`.

    What is skipped for the first time is asked again after `confirm_s`.
    """

    first_s: float = 2.0
    cap_s: float = 300.0
    confirm_s: float = 30.0


@dataclass(slots=True)
class _Waiting:
    due_s: float = 0.0
    failures: int = 0
    suspected: tuple[IdRange, ...] = ()


_MOST_DOUBLINGS: Final = 20


class Agenda:
    """The open gaps, and when each is due. Times are of one monotonic clock."""

    def __init__(self, rng: "Random", patience: Patience | None = None) -> None:
        self._rng = rng
        self._patience = patience or Patience()
        self._gaps: list[OpenGap] = []
        self._waiting: dict[int, _Waiting] = {}

    def __len__(self) -> int:
        return len(self._gaps)

    def __contains__(self, gap_id: int) -> bool:
        return gap_id in self._waiting

    def renew(self, gaps: Iterable[OpenGap]) -> None:
        """What the ledger says is open now, the first to be repaired first; all else is forgotten."""
        self._gaps = list(gaps)
        self._waiting = {gap.gap_id: self._waiting.get(gap.gap_id, _Waiting()) for gap in self._gaps}

    def next_due(self, now_s: float) -> OpenGap | None:
        """The first gap that does not have to wait."""
        return next((gap for gap in self._gaps if self._waiting[gap.gap_id].due_s <= now_s), None)

    def companions(self, gap: OpenGap, now_s: float, *, most: int) -> list[OpenGap]:
        """Due gaps of the same stream before this one that the same page of rows can close."""
        oldest_id = gap.last_id - most + 2
        return [
            other
            for other in self._gaps
            if other.key == gap.key
            and oldest_id <= other.first_id
            and other.last_id < gap.first_id
            and self._waiting[other.gap_id].due_s <= now_s
        ]

    def suspected(self, gap_id: int) -> tuple[IdRange, ...]:
        """What was skipped when the gap was last gone through."""
        return self._waiting[gap_id].suspected

    def progressed(self, gap_id: int) -> None:
        """An answer had something of it: the next failure waits as briefly as the first."""
        self._waiting[gap_id].failures = 0

    def failed(self, gap_id: int, now_s: float) -> None:
        """Nothing came of it: wait, longer than the last time."""
        waiting, patience = self._waiting[gap_id], self._patience
        longest_s = min(patience.cap_s, patience.first_s * 2.0 ** min(waiting.failures, _MOST_DOUBLINGS))
        waiting.failures += 1
        waiting.due_s = now_s + longest_s * self._rng.uniform(0.5, 1.0)

    def suspect(self, gap_id: int, skipped: tuple[IdRange, ...], now_s: float) -> None:
        """The exchange went on without these ids: see later whether it does so again."""
        waiting = self._waiting[gap_id]
        waiting.suspected = skipped
        waiting.due_s = now_s + self._patience.confirm_s

    def closed(self, gap_id: int) -> None:
        """The gap is open no longer."""
        self._gaps = [gap for gap in self._gaps if gap.gap_id != gap_id]
        del self._waiting[gap_id]
