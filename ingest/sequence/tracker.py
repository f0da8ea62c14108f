"""Next, duplicate, gap or late: what an id says about its stream.

One tracker for each stream. It judges ids in the order of their arrival, remembers the newest and the
holes below it, and nothing else: it stores no event, reads no clock, repairs nothing. A caller drops what
is `DUPLICATE` and keeps the rest.

    verdict     the id is                                          caller            read then
    NEXT        the one after the newest, or the first ever        keeps
    GAP         beyond that: ids between are missing               keeps, opens gap  `gap`
    LATE        one of the missing                                 keeps
    FILLED      the last missing one of a hole                     keeps, closes it  `filled`
    DUPLICATE   neither newer nor missing                          drops

Invariants: an id that was kept is never kept again; every id between the first and the newest was kept,
or lies in a gap that was announced. At most `MAX_HOLES` ranges are remembered. When more are needed the
oldest hole is forgotten: what still arrives of it counts as duplicate, and its gap is left to be repaired
from elsewhere.

A stream whose ids start again from below (the testnet does so about monthly) is all duplicates to a
tracker; whoever counts verdicts sees that and makes a new one.
"""

from bisect import insort
from collections import deque
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Final, NamedTuple

MAX_HOLES: Final = 64
"""Ranges of missing ids that a tracker remembers."""
MAX_RECENT: Final = 64
"""Ids that a tracker of rising ids remembers: what comes later than by so many is taken for a duplicate."""


class Verdict(Enum):
    """What an id says about its stream; see the table above."""

    NEXT = auto()
    GAP = auto()
    LATE = auto()
    FILLED = auto()
    DUPLICATE = auto()


# A member of an enum is looked up by a function: too dear for each message.
_NEXT: Final = Verdict.NEXT
_DUPLICATE: Final = Verdict.DUPLICATE


class Filled(NamedTuple):
    """A hole that has closed: its bounds when it was found, and the late messages that closed it."""

    first_id: int
    last_id: int
    rows: int


class _Hole:
    """The ids first..last were missing; the ranges of them that still are, ascending."""

    __slots__ = ("first_id", "last_id", "missing", "rows")

    def __init__(self, first_id: int, last_id: int) -> None:
        self.first_id = first_id
        self.last_id = last_id
        self.missing = [(first_id, last_id)]
        self.rows = 0

    def take(self, first_id: int, last_id: int) -> bool:
        """Remove ids from what is missing; tell whether any of them was."""
        left: list[tuple[int, int]] = []
        for start, end in self.missing:
            if last_id < start or end < first_id:
                left.append((start, end))
                continue
            if start < first_id:
                left.append((start, first_id - 1))
            if last_id < end:
                left.append((last_id + 1, end))
        taken = left != self.missing
        self.missing = left
        self.rows += taken
        return taken


class _Holes:
    """The holes of one stream, oldest first, bounded by the number of ranges in them."""

    __slots__ = ("_holes",)

    def __init__(self) -> None:
        self._holes: list[_Hole] = []

    def add(self, first_id: int, last_id: int) -> None:
        self._holes.append(_Hole(first_id, last_id))
        self._forget_oldest()

    def take(self, first_id: int, last_id: int) -> tuple[bool, tuple[Filled, ...]]:
        """Remove ids; tell whether any was missing, and which holes that has closed."""
        taken = [hole.take(first_id, last_id) for hole in self._holes]
        if not any(taken):
            return False, ()
        filled = [Filled(hole.first_id, hole.last_id, hole.rows) for hole in self._holes if not hole.missing]
        self._holes = [hole for hole in self._holes if hole.missing]
        self._forget_oldest()
        return True, tuple(filled)

    def _forget_oldest(self) -> None:
        ranges = sum(len(hole.missing) for hole in self._holes)
        while ranges > MAX_HOLES:
            ranges -= len(self._holes.pop(0).missing)


class ConsecutiveTracker:
    """Ids without a break: trades (`first_id == last_id`) and depth deltas (U, u).

    A message that begins at or below the newest id and ends above it is NEXT. Whatever it repeats of an
    older hole leaves that hole as it is: better a gap too many in the ledger than one too few.

    The hot path may spare itself the call when nothing has to be decided:

        if first_id - 1 == tracker.last_id:
            tracker.last_id = last_id
        else:
            verdict = tracker.accept(first_id, last_id)
    """

    __slots__ = ("_holes", "filled", "gap", "last_id")

    def __init__(self, last_id: int | None) -> None:
        """Begin after `last_id`, the newest id that is kept already (None: whatever comes is first)."""
        self.last_id = last_id
        self.gap: tuple[int, int] | None = None
        """After GAP: the first and last id missing before this message."""
        self.filled: tuple[Filled, ...] = ()
        """After FILLED: the holes that have closed, one unless a late message covers several."""
        self._holes = _Holes()

    def accept(self, first_id: int, last_id: int) -> Verdict:
        """Judge a message that covers the ids first..last, and remember it."""
        known = self.last_id
        if known is not None and last_id <= known:
            return self._late(first_id, last_id)
        self.last_id = last_id
        if known is None or first_id <= known + 1:
            return _NEXT
        self.gap = (known + 1, first_id - 1)
        self._holes.add(*self.gap)
        return Verdict.GAP

    def _late(self, first_id: int, last_id: int) -> Verdict:
        taken, self.filled = self._holes.take(first_id, last_id)
        if self.filled:
            return Verdict.FILLED
        return Verdict.LATE if taken else _DUPLICATE


class RisingTracker:
    """Ids that rise but skip: book tickers. A jump proves nothing, so there are no gaps.

    The newest `MAX_RECENT` ids are remembered: one between them that has not come yet is LATE, and what is
    below them all is DUPLICATE. While two connections bring the same ids (`overlap`), one of them may be far
    ahead, and all ids since are remembered.
    """

    __slots__ = ("_recent", "_remember", "_seen", "_since_id", "last_id")

    def __init__(self, last_id: int | None) -> None:
        """Begin after `last_id`, the newest id that is kept already (None: whatever comes is first)."""
        self.last_id = last_id
        self._recent: deque[int] = deque(maxlen=MAX_RECENT)  # ascending
        self._remember = self._recent.append
        self._seen: set[int] | None = None
        self._since_id = -1

    def overlap(self, begins: bool) -> None:
        """Two connections bring the ids from now on, or only one again."""
        self._seen = set() if begins else None
        self._since_id = -1 if self.last_id is None else self.last_id

    def follow(self, update_id: int) -> None:
        """Remember an id above all before it, while one connection brings them."""
        self.last_id = update_id
        self._remember(update_id)

    def accept(self, update_id: int) -> Verdict:
        """Judge an id, and remember it: NEXT when it is above all before it, else LATE or DUPLICATE."""
        if self.last_id is not None and update_id <= self.last_id:
            return self._late(update_id)
        self.last_id = update_id
        self._remember(update_id)
        if self._seen is not None:
            self._seen.add(update_id)
        return _NEXT

    def _late(self, update_id: int) -> Verdict:
        is_within = bool(self._recent) and update_id > self._recent[0]
        if self._seen is not None and update_id > self._since_id:
            is_new = update_id not in self._seen
            self._seen.add(update_id)
        else:
            is_new = is_within and update_id not in self._recent
        if not is_new:
            return _DUPLICATE
        if len(self._recent) < MAX_RECENT:
            insort(self._recent, update_id)
        elif is_within:
            self._recent.popleft()
            insort(self._recent, update_id)
        return Verdict.LATE


class CandleTracker:
    """Candles without a break: each must have been seen closed before a later one is.

    An id is a candle's open time in microseconds. Updates of the current candle are all NEXT, as each
    replaces the one before. A candle that has been seen closed, and an update of one that has been given
    up, are DUPLICATE; the closed candle of a hole is LATE, the last of them FILLED.
    """

    __slots__ = ("_expected_us", "_holes", "_interval", "filled", "gap")

    def __init__(self, interval: str, last_closed_us: int | None = None) -> None:
        """Begin after the candle opened at `last_closed_us`, kept already (None: with whatever comes).

        ValueError for an interval that is not like 1m, 4h, 3d, 1w, 1M.
        """
        next_open_us(0, interval)
        self._interval = interval
        self._expected_us = None if last_closed_us is None else next_open_us(last_closed_us, interval)
        self.gap: tuple[int, int] | None = None
        """After GAP: the open times of the first and last candle never seen closed."""
        self.filled: tuple[Filled, ...] = ()
        """After FILLED: the hole that has closed, bounded by open times."""
        self._holes = _Holes()

    def accept(self, open_us: int, is_closed: bool) -> Verdict:
        """Judge an update of the candle opened at `open_us`, and remember it."""
        expected = self._expected_us
        if expected is not None and open_us < expected:
            return self._late(open_us) if is_closed else _DUPLICATE
        self._expected_us = next_open_us(open_us, self._interval) if is_closed else open_us
        if expected is None or open_us == expected:
            return _NEXT
        self.gap = (expected, last_open_us(expected, open_us, self._interval))
        # A candle stands for its whole span, so that no times between open times count as missing.
        self._holes.add(expected, open_us - 1)
        return Verdict.GAP

    def _late(self, open_us: int) -> Verdict:
        taken, filled = self._holes.take(open_us, next_open_us(open_us, self._interval) - 1)
        self.filled = tuple(self._by_open_time(hole) for hole in filled)
        if filled:
            return Verdict.FILLED
        return Verdict.LATE if taken else _DUPLICATE

    def _by_open_time(self, hole: Filled) -> Filled:
        return hole._replace(last_id=last_open_us(hole.first_id, hole.last_id + 1, self._interval))


_UNITS_US: Final = {
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_MONTH: Final = "1M"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def next_open_us(open_us: int, interval: str) -> int:
    """Return when the candle after the one opened at `open_us` opens; months begin on the first, UTC.

    ValueError for an interval that is not like 1m, 4h, 3d, 1w, 1M.
    """
    if interval == _MONTH:
        return _month_us(open_us, ahead=1)
    return open_us + _step_us(interval)


def last_open_us(first_us: int, before_us: int, interval: str) -> int:
    """Return the open time of the last candle that opens before a time, counted from one candle on."""
    if interval == _MONTH:
        return max(first_us, _month_us(before_us - 1, ahead=0))
    step_us = _step_us(interval)
    return first_us + (before_us - 1 - first_us) // step_us * step_us


def _step_us(interval: str) -> int:
    count, unit_us = interval[:-1], _UNITS_US.get(interval[-1:])
    if unit_us is None or not count.isdecimal():
        raise ValueError(f"unknown interval: {interval!r}")
    return int(count) * unit_us


def _month_us(time_us: int, *, ahead: int) -> int:
    """Return the start of the month that holds a time, or of a month after it."""
    day = _EPOCH + time_us * _MICROSECOND
    months = day.year * 12 + day.month - 1 + ahead
    start = datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
    return (start - _EPOCH) // _MICROSECOND
