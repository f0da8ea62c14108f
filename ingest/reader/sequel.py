"""What follows: which rows to give next, for what to wait, when to refuse.

Pure. A sequel is told what is stored behind the last row given, what the gap ledger says of it, and the time;
it answers with what may be given now. A row is given once, in the order of the ids, and none is passed over
unless the caller lets it (`skips`) and is told (`Hole`).

    between the last row and the next                        answer
    nothing                                                  give
    only what the exchange has not either                    give
    something that is to be repaired, or on its way          wait, at most `patience_s`; then as below
    something that cannot be had again                       wait HOPELESS_S (another line may have it), then
                                                             refuse, or tell of the hole and give what is
                                                             behind it

Time is any clock in seconds that does not go back.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from ingest.reader.checks import ABSENT, not_absent
from ingest.reader.errors import Missing

HOPELESS_S: Final = 3.0
"""A gap of one line of two is closed when the other one has committed what it missed: a second or two later.
"""
RECENT: Final = 64
"""So many ids may a late one of a kind whose ids only rise lie behind; the service stores none later than
that.
"""

_UNREPAIRABLE: Final = "unrepairable"

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Stored(NamedTuple, Generic[R]):
    """A stored row and what of it counts here; `first_id` is `last_id` but for depth."""

    first_id: int
    last_id: int
    ts: datetime
    row: R


@dataclass(frozen=True, slots=True)
class Passed:
    """In the place of rows that are missing and passed over."""

    missing: tuple[Missing, ...]


class Taken(NamedTuple, Generic[R]):
    """What to do: give `items`, then wait for more, or refuse because of what is `refused`.

    `go_on_after` is the id behind what was refused.
    """

    items: list[R | Passed]
    refused: tuple[Missing, ...] = ()
    go_on_after: int | None = None
    waits: bool = False


class Sequel(Protocol[R]):
    """One stream's state between two reads; `anchor` is the time from which rows are to be read."""

    last_id: int | None
    anchor: datetime

    @property
    def floor(self) -> int:
        """Rows with this id or a lower one need not be read again."""
        ...

    def doubts(self, rows: Sequence[Stored[R]]) -> tuple[int, int] | None:
        """Of which ids the gap ledger has to be asked before `take`; None: of none."""
        ...

    def take(self, rows: Sequence[Stored[R]], gaps: Sequence[Missing], now_s: float) -> Taken[R]:
        """Judge the stored rows from the anchor on, in the order of their times."""
        ...


class Patience:
    """How long a hole has been waited for; it begins anew with each other hole."""

    __slots__ = ("_patience_s", "_place", "_since_s")

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._place: int | None = None
        self._since_s = 0.0

    def is_over(self, place: int, missing: Iterable[Missing], now_s: float) -> bool:
        """Whether the hole at `place` need not be waited for any longer."""
        if self._place != place:
            self._place, self._since_s = place, now_s
        hopeless = all(each.state == _UNREPAIRABLE for each in missing)
        limit_s = min(HOPELESS_S, self._patience_s) if hopeless else self._patience_s
        return now_s - self._since_s >= limit_s


class ConsecutiveSequel(Generic[R]):
    """Ids without a break: trades, aggregate trades, and the updates of a book.

    `last_id` is the last id given, None before the first one of all; rows from `anchor` on follow it.
    """

    def __init__(self, last_id: int | None, anchor: datetime, *, patience_s: float, skips: bool) -> None:
        self.last_id = last_id
        self.anchor = anchor
        self._patience = Patience(patience_s)
        self._skips = skips

    @property
    def floor(self) -> int:
        return -1 if self.last_id is None else self.last_id

    def doubts(self, rows: Sequence[Stored[R]]) -> tuple[int, int] | None:
        """The ids from the first hole to the last row."""
        at = self.last_id
        for stored in sorted(rows, key=_by_id):
            if at is not None and stored.first_id > at + 1:
                return at + 1, max(each.last_id for each in rows)
            at = stored.last_id if at is None else max(at, stored.last_id)
        return None

    def take(self, rows: Sequence[Stored[R]], gaps: Sequence[Missing], now_s: float) -> Taken[R]:
        items: list[R | Passed] = []
        for stored in sorted(rows, key=_by_id):
            if self.last_id is not None and stored.last_id <= self.last_id:
                continue
            missing = self._missing_before(stored, gaps)
            if missing:
                assert self.last_id is not None
                if not self._patience.is_over(self.last_id, missing, now_s):
                    return Taken(items, waits=True)
                if not self._skips:
                    return Taken(items, missing, stored.first_id - 1)
                items.append(Passed(missing))
            items.append(stored.row)
            self.last_id, self.anchor = stored.last_id, stored.ts
        return Taken(items)

    def _missing_before(self, stored: Stored[R], gaps: Sequence[Missing]) -> tuple[Missing, ...]:
        if self.last_id is None or stored.first_id <= self.last_id + 1:
            return ()
        return tuple(not_absent([(self.last_id + 1, stored.first_id - 1)], gaps))


class RisingSequel(Generic[R]):
    """Ids that rise but skip: book tickers. Only the ledger knows that something is missing.

    A row with a lower id than the last one comes behind it where it is among the newest `RECENT` ids and was
    not given yet; later than that it is not given. `last_id` is None before the first one of all.
    """

    def __init__(self, last_id: int | None, anchor: datetime, *, patience_s: float, skips: bool) -> None:
        self.last_id = last_id
        self.anchor = anchor
        self._floor = -1 if last_id is None else last_id
        # A gap that begins there or before was told of, or lies before what was asked for.
        self._asked_for = self._floor
        self._patience = Patience(patience_s)
        self._skips = skips
        self._recent: deque[tuple[int, datetime]] = deque()
        self._told: set[int] = set()

    @property
    def floor(self) -> int:
        return self._floor

    def doubts(self, rows: Sequence[Stored[R]]) -> tuple[int, int] | None:
        """The ids from the last one given to the newest row."""
        new = [stored.last_id for stored in rows if self._is_new(stored.last_id)]
        return (
            (1 + max(self._floor, self.last_id or 0), max(new)) if new and self.last_id is not None else None
        )

    def take(self, rows: Sequence[Stored[R]], gaps: Sequence[Missing], now_s: float) -> Taken[R]:
        items: list[R | Passed] = []
        for stored in rows:
            if not self._is_new(stored.last_id):
                continue
            missing = self._missing_before(stored.last_id, gaps)
            if missing:
                assert self.last_id is not None
                if not self._patience.is_over(self.last_id, missing, now_s):
                    return Taken(items, waits=True)
                if not self._skips:
                    return Taken(items, missing, stored.last_id - 1)
                self._told.update(each.gap_id for each in missing if each.gap_id is not None)
                items.append(Passed(missing))
            items.append(stored.row)
            self._remember(stored.last_id, stored.ts)
        return Taken(items)

    def _is_new(self, update_id: int) -> bool:
        return update_id > self._floor and all(update_id != seen for seen, _ in self._recent)

    def _missing_before(self, update_id: int, gaps: Sequence[Missing]) -> tuple[Missing, ...]:
        last_id = self.last_id
        if last_id is None:
            return ()
        return tuple(
            gap
            for gap in gaps
            if gap.state != ABSENT
            and (ids := gap.ids) is not None
            and self._asked_for < ids[0] <= update_id
            and ids[1] > last_id
            and gap.gap_id not in self._told
        )

    def _remember(self, update_id: int, ts: datetime) -> None:
        self.last_id = update_id if self.last_id is None else max(self.last_id, update_id)
        self._recent.append((update_id, ts))
        if len(self._recent) > RECENT:
            lowest = min(self._recent)
            self._recent.remove(lowest)
            self._floor = max(self._floor, lowest[0])
        self.anchor = min(seen for _, seen in self._recent)


class CandleSequel(Generic[R]):
    """Candles: each version of the running one that is newer than the one given, each closed one once, in
    order.

    Ids are numbers of candles, one more for each next one (`intervals.candle_number`); `last_id` is the last
    one that was given closed, None before the first of all. `is_closed` tells of a row whether it is final.
    """

    def __init__(
        self,
        last_id: int | None,
        anchor: datetime,
        *,
        patience_s: float,
        skips: bool,
        is_closed: Callable[[R], bool],
        version: Callable[[R], datetime],
    ) -> None:
        self.last_id = last_id
        self.anchor = anchor
        self._patience = Patience(patience_s)
        self._skips = skips
        self._is_closed = is_closed
        self._version = version
        self._given: tuple[int, datetime] | None = None

    @property
    def floor(self) -> int:
        return -1 if self.last_id is None else self.last_id

    def doubts(self, rows: Sequence[Stored[R]]) -> tuple[int, int] | None:
        """The candles from the first hole, or the first that is overdue, to the last."""
        at = self.last_id
        newest = max((stored.last_id for stored in rows), default=None)
        for stored in sorted(rows, key=_by_id):
            if newest is not None and at is not None and stored.first_id > at + 1:
                return at + 1, newest
            at = stored.last_id if self._is_closed(stored.row) or at is None else at
        return None

    def take(self, rows: Sequence[Stored[R]], gaps: Sequence[Missing], now_s: float) -> Taken[R]:
        items: list[R | Passed] = []
        for stored in sorted(rows, key=_by_id):
            if self.last_id is not None and stored.last_id <= self.last_id:
                continue
            missing = self._missing_before(stored, gaps)
            if missing:
                assert self.last_id is not None
                if not self._patience.is_over(self.last_id, missing, now_s):
                    return Taken(items, waits=True)
                if not self._skips:
                    return Taken(items, missing, stored.first_id - 1)
                items.append(Passed(missing))
                self.last_id = stored.first_id - 1
            self._give(stored, items)
        return Taken(items)

    def _missing_before(self, stored: Stored[R], gaps: Sequence[Missing]) -> tuple[Missing, ...]:
        if self.last_id is None or stored.first_id <= self.last_id + 1:
            return ()
        return tuple(not_absent([(self.last_id + 1, stored.first_id - 1)], gaps))

    def _give(self, stored: Stored[R], items: list[R | Passed]) -> None:
        version = (stored.last_id, self._version(stored.row))
        if self._is_closed(stored.row):
            items.append(stored.row)
            self.last_id, self.anchor = stored.last_id, stored.ts
        elif self._given is None or version > self._given:
            items.append(stored.row)
            self._given = version
            if self.last_id is None:
                # Whatever comes first is where it begins: it has to be seen closed before the next one.
                self.last_id = stored.last_id - 1


def _by_id(stored: Stored[R]) -> int:
    return stored.last_id
