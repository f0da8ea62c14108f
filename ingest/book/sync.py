"""One symbol's book, or none: the documented snapshot procedure as a machine without I/O.

Decides when a snapshot is wanted, whether it fits the deltas around it, and when the book is lost. Fetches
nothing, waits for nothing, reads no clock; it returns what should be done as a list of actions.

    state       stream  snapshot asked for     the book is
    IDLE        silent  no                     unknown
    ORPHANED    away    yes, of no use now     unknown
    BUFFERING   there   yes                    unknown; deltas are kept
    BRIDGING    there   no, it is here         unknown; the snapshot is ahead of the deltas
    LIVE        there   no                     right after `update_id`
    VERIFYING   there   yes, for comparison    as LIVE; deltas are kept as well
    REACHING    there   no, it is here         as LIVE; the snapshot for comparison is ahead

    input         IDLE        ORPHANED    BUFFERING    BRIDGING    LIVE        VERIFYING   REACHING
    delta         BUFFERING*  BUFFERING   BUFFERING    BRIDGING    LIVE        VERIFYING   REACHING
                                                       LIVE        BUFFERING*  BUFFERING   LIVE
                                                       BUFFERING*                          BUFFERING*
    snapshot                  IDLE        BUFFERING*                           LIVE
                                          BRIDGING                             REACHING
                                          LIVE
    failed                    IDLE        BUFFERING*                           LIVE
    disconnected  IDLE        ORPHANED    ORPHANED     IDLE        IDLE        ORPHANED    IDLE
    look_again                                                     VERIFYING
    spoiled                                                        BUFFERING*  BUFFERING   BUFFERING*

    * asks for a snapshot. An empty cell raises `ImpossibleInput` and changes nothing, but for `look_again`,
      which is refused. A book that was shown and is no longer is told of with `BookLost`; `spoiled` is what
      `check` finds. A comparison that fails loses the book and replaces it at once by the snapshot's.

What a caller owes: each `RequestSnapshot`, and each `look_again` that was taken, is answered exactly once,
by `on_snapshot` or `on_snapshot_failed`, whatever happened meanwhile, and after the delay that its
`attempt` deserves; `check` is called now and then.

Invariants: `book` is None unless the state is LIVE or one like it; then it is the exchange's book after
`update_id`, as far as the snapshot reached. At most one snapshot is asked for at a time. At most
`max_buffered` deltas are kept; beyond that the oldest goes, and the snapshot must be so much newer.

The rule of fit is `U <= id + 1 <= u`, for the first delta after a snapshot as for every later one. A
snapshot that is too old leaves the buffer alone: REST may lag the stream, and a newer one will fit. One
that ends where a delta ends needs no further delta to prove that the two belong together. A snapshot without
any level is not believed.

Source: web-socket-streams.md of binance-spot-api-docs, "How to manage a local order book correctly", as
corrected on 2025-11-12.
"""

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Final

from ingest.book.actions import (
    Action,
    BookCompared,
    BookDeepened,
    BookLive,
    BookLost,
    BufferOverflowed,
    LostReason,
    RequestSnapshot,
)
from ingest.book.audit import compare, deepen
from ingest.book.levels import Book, book_of
from ingest.events import DepthDelta, DepthSnapshot

__all__ = [
    "WITH_BOOK",
    "Action",
    "BookCompared",
    "BookDeepened",
    "BookLive",
    "BookLost",
    "BookSync",
    "BufferOverflowed",
    "ImpossibleInput",
    "LostReason",
    "RequestSnapshot",
    "State",
]


class State(Enum):
    """What is known of a book; see the table above."""

    IDLE = auto()
    ORPHANED = auto()
    BUFFERING = auto()
    BRIDGING = auto()
    LIVE = auto()
    VERIFYING = auto()
    REACHING = auto()


WITH_BOOK: Final = (State.LIVE, State.VERIFYING, State.REACHING)
"""A tuple, because to look for a member in a set its hash is asked for, by a function."""


# A member of an enum is looked up by a function: too dear for each delta.
_LIVE: Final = State.LIVE


class ImpossibleInput(RuntimeError):
    """The caller broke its side of the bargain: the table has no entry for this input in this state."""


class BookSync:
    """The machine of one symbol. `max_buffered` deltas are 200 s at the exchange's ten a second."""

    __slots__ = (
        "_ahead",
        "_attempt",
        "_book",
        "_buffer",
        "_last_id",
        "_overflowed",
        "_reach_id",
        "_verified_id",
        "max_buffered",
        "state",
        "symbol",
    )

    def __init__(self, symbol: str, *, max_buffered: int = 2000) -> None:
        self.symbol = symbol
        self.max_buffered = max_buffered
        self.state = State.IDLE
        self._book = Book()
        self._buffer: deque[DepthDelta] = deque()
        self._overflowed = False
        self._attempt = -1
        # The newest update taken from the stream; of the book when LIVE, of the snapshot when BRIDGING.
        self._last_id = 0
        # A snapshot must hold at least this update to meet the deltas that are kept or will come.
        self._reach_id = 0
        # The snapshot for comparison when REACHING.
        self._ahead: DepthSnapshot | None = None
        # The newest update at which the book was the exchange's own word.
        self._verified_id = 0

    @property
    def book(self) -> Book | None:
        """The book while it is known to be right, else None. It is changed by every delta."""
        return self._book if self.state in WITH_BOOK else None

    @property
    def update_id(self) -> int | None:
        """The last update that is in `book`; None without a book."""
        return self._last_id if self.state in WITH_BOOK else None

    def on_delta(self, delta: DepthDelta) -> list[Action]:
        """Take a delta as it comes off the stream; duplicates and old ones are ignored."""
        if self.state is _LIVE:  # nearly always
            return self._follow(delta)
        return _ON_DELTA[self.state](self, delta)

    def on_snapshot(self, snapshot: DepthSnapshot) -> list[Action]:
        """Take the snapshot that was asked for."""
        handler = _ON_SNAPSHOT.get(self.state)
        if handler is None:
            raise ImpossibleInput(f"{self.symbol}: snapshot while {self.state.name}: none was asked for")
        return handler(self, snapshot)

    def on_snapshot_failed(self) -> list[Action]:
        """Learn that the snapshot that was asked for will not come."""
        handler = _ON_FAILED.get(self.state)
        if handler is None:
            raise ImpossibleInput(f"{self.symbol}: failure while {self.state.name}: nothing was asked for")
        return handler(self)

    def on_disconnected(self) -> list[Action]:
        """Learn that the stream is away: what it brings next need not follow what it brought last."""
        return _ON_DISCONNECTED[self.state](self)

    def look_again(self) -> bool:
        """Keep deltas from here on, to compare the book with a snapshot that the caller fetches now.

        False, and nothing is to be fetched, unless the state is LIVE. An agreeing snapshot that reaches
        further than the book did deepens it.
        """
        if self.state is not State.LIVE:
            return False
        self.state = State.VERIFYING
        self._buffer.clear()
        self._overflowed = False
        self._reach_id = self._last_id
        return True

    def check(self) -> list[Action]:
        """Give up a live book that is crossed, or whose known range the market has left.

        For a timer, some seconds apart for each book: it looks at every level (about 0.15 ms for 1,000),
        which would cost more than the deltas themselves. A book that becomes live is always looked at.
        """
        if self.state not in WITH_BOOK:
            return []
        if self._book.is_exhausted:
            return self._lose("exhausted")
        return self._lose("crossed") if self._book.is_crossed() else []

    # --- handlers, for the filled cells of the table ------------------------------------------------

    def _stay(self) -> list[Action]:
        return []

    def _begin(self, delta: DepthDelta) -> list[Action]:
        """Buffer from here; the snapshot that was asked for before may still fit."""
        self._restart(State.BUFFERING, delta.final_update_id, delta)
        return []

    def _begin_and_ask(self, delta: DepthDelta) -> list[Action]:
        self._attempt = -1
        return [*self._begin(delta), *self._ask()]

    def _keep(self, delta: DepthDelta) -> list[Action]:
        if delta.final_update_id <= self._last_id:
            return []
        if delta.first_update_id > self._last_id + 1:
            return self._begin(delta)
        self._buffer.append(delta)
        self._last_id = delta.final_update_id
        return self._drop_oldest() if len(self._buffer) > self.max_buffered else []

    def _drop_oldest(self) -> list[Action]:
        dropped = self._buffer.popleft()
        # The snapshot must hold what the dropped one said, as nothing else does now.
        self._reach_id = dropped.final_update_id
        if self._overflowed:
            return []
        self._overflowed = True
        return [BufferOverflowed(self.symbol, self.max_buffered)]

    def _fit(self, snapshot: DepthSnapshot) -> list[Action]:
        """Lay a snapshot under the buffered deltas."""
        if snapshot.last_update_id < self._reach_id or not (snapshot.bids or snapshot.asks):
            return self._ask()
        try:
            self._book = book_of(snapshot)
        except ValueError:
            return self._ask()
        self._verified_id = snapshot.last_update_id
        newest_id, self._last_id = self._last_id, snapshot.last_update_id
        if self._last_id > newest_id:
            self._buffer.clear()
            self.state = State.BRIDGING
            return []
        return self._go_live(self._buffer)

    def _bridge(self, delta: DepthDelta) -> list[Action]:
        """Let the stream reach the snapshot that is ahead of it."""
        if delta.final_update_id < self._last_id:
            return []
        if delta.first_update_id > self._last_id + 1:
            return [*self._begin(delta), *self._ask()]
        return self._go_live([delta])

    def _go_live(self, deltas: Iterable[DepthDelta]) -> list[Action]:
        """Apply deltas that continue the book, which is not shown yet, and show it."""
        for delta in deltas:
            if delta.final_update_id > self._last_id and not self._apply(delta):
                return self._spoiled()
        if self._book.is_crossed() or self._book.is_exhausted:
            return self._spoiled()
        self.state = State.LIVE
        self._attempt = -1
        self._buffer.clear()
        return [BookLive(self.symbol, self._last_id)]

    def _follow(self, delta: DepthDelta) -> list[Action]:
        if delta.final_update_id <= self._last_id:
            return []
        if delta.first_update_id > self._last_id + 1:
            return [self._lost_in_gap(delta), *self._begin_and_ask(delta)]
        return [] if self._apply(delta) else self._lose("malformed")

    def _follow_and_keep(self, delta: DepthDelta) -> list[Action]:
        """As `_follow`; but the snapshot on its way is the one to wait for when the book is lost."""
        if delta.final_update_id <= self._last_id:
            return []
        if delta.first_update_id > self._last_id + 1:
            return [self._lost_in_gap(delta), *self._begin(delta)]
        if not self._apply(delta):
            return self._lose("malformed")
        self._buffer.append(delta)
        return self._drop_oldest() if len(self._buffer) > self.max_buffered else []

    def _reach(self, delta: DepthDelta) -> list[Action]:
        """Let the live book reach the snapshot that it is to be compared with."""
        actions, snapshot = self._follow(delta), self._ahead
        if snapshot is None or self._last_id < snapshot.last_update_id:
            return actions
        return self._compare(snapshot, [delta])

    def _verify(self, snapshot: DepthSnapshot) -> list[Action]:
        """Lay a snapshot beside the live book."""
        if snapshot.last_update_id < self._reach_id:
            return self._give_up_looking(snapshot)
        if snapshot.last_update_id > self._last_id:
            self.state, self._ahead = State.REACHING, snapshot
            self._buffer.clear()
            return []
        return self._compare(snapshot, self._buffer)

    def _give_up_looking(self, _snapshot: DepthSnapshot | None = None) -> list[Action]:
        self.state, self._ahead = State.LIVE, None
        self._buffer.clear()
        return [BookCompared(self.symbol, 0, 0)]

    def _compare(self, snapshot: DepthSnapshot, deltas: Iterable[DepthDelta]) -> list[Action]:
        """Compare with a snapshot and the deltas since, which end where the book does."""
        try:
            theirs = book_of(snapshot)
            for delta in deltas:
                if delta.final_update_id > snapshot.last_update_id:
                    theirs.apply(delta.bids, delta.asks)
        except ValueError:
            return self._give_up_looking()
        if not (snapshot.bids or snapshot.asks) or theirs.is_crossed() or theirs.is_exhausted:
            return self._give_up_looking()
        self._give_up_looking()
        compared = BookCompared(self.symbol, *compare(self._book, theirs))
        agreed_id, self._verified_id = self._verified_id, snapshot.last_update_id
        if compared.mismatches:
            self._book = theirs
            first_id = min(agreed_id + 1, snapshot.last_update_id)
            lost = BookLost(self.symbol, "audit", first_id, snapshot.last_update_id)
            return [compared, lost, BookLive(self.symbol, self._last_id)]
        is_deeper = deepen(self._book, theirs)
        return [compared, BookDeepened(self.symbol, self._last_id)] if is_deeper else [compared]

    def _apply(self, delta: DepthDelta) -> bool:
        """Change the book; tell whether the delta could be used."""
        self._last_id = delta.final_update_id
        try:
            self._book.apply(delta.bids, delta.asks)
        except ValueError:
            return False
        return True

    def _spoiled(self) -> list[Action]:
        """Begin again without the book and without a delta: the next snapshot must hold all so far."""
        newest = self._buffer[-1].final_update_id if self._buffer else self._last_id
        self._restart(State.BUFFERING, newest)
        return self._ask()

    def _lose(self, reason: LostReason) -> list[Action]:
        """Give up a shown book for a reason of its own; a snapshot that is on its way is not asked for."""
        lost = BookLost(self.symbol, reason, None, None)
        if self.state is not State.VERIFYING:
            return [lost, *self._spoiled()]
        self._restart(State.BUFFERING, self._last_id)
        return [lost]

    def _lost_in_gap(self, delta: DepthDelta) -> BookLost:
        return BookLost(self.symbol, "gap", self._last_id + 1, delta.first_update_id - 1)

    def _orphan(self) -> list[Action]:
        self._restart(State.ORPHANED, 0)
        return []

    def _idle(self) -> list[Action]:
        self._restart(State.IDLE, 0)
        return []

    def _lose_stream(self) -> list[Action]:
        return [BookLost(self.symbol, "disconnected", None, None), *self._idle()]

    def _lose_stream_looking(self) -> list[Action]:
        return [BookLost(self.symbol, "disconnected", None, None), *self._orphan()]

    def _forget_snapshot(self, _snapshot: DepthSnapshot) -> list[Action]:
        return self._idle()

    # --- parts of them -----------------------------------------------------------------------------

    def _restart(self, state: State, last_id: int, *deltas: DepthDelta) -> None:
        """Enter a state without a book, with these deltas, the newest of which ends at `last_id`."""
        self.state = state
        self._book = Book()
        self._ahead = None
        self._buffer = deque(deltas)
        self._overflowed = False
        self._last_id = last_id
        self._reach_id = deltas[0].first_update_id - 1 if deltas else last_id

    def _ask(self) -> list[Action]:
        self.state = State.BUFFERING
        self._attempt += 1
        return [RequestSnapshot(self.symbol, self._attempt)]


_ON_DELTA: Final[dict[State, Callable[[BookSync, DepthDelta], list[Action]]]] = {
    State.IDLE: BookSync._begin_and_ask,
    State.ORPHANED: BookSync._begin,
    State.BUFFERING: BookSync._keep,
    State.BRIDGING: BookSync._bridge,
    State.LIVE: BookSync._follow,
    State.VERIFYING: BookSync._follow_and_keep,
    State.REACHING: BookSync._reach,
}
_ON_SNAPSHOT: Final[dict[State, Callable[[BookSync, DepthSnapshot], list[Action]]]] = {
    State.ORPHANED: BookSync._forget_snapshot,
    State.BUFFERING: BookSync._fit,
    State.VERIFYING: BookSync._verify,
}
_ON_FAILED: Final[dict[State, Callable[[BookSync], list[Action]]]] = {
    State.ORPHANED: BookSync._idle,
    State.BUFFERING: BookSync._ask,
    State.VERIFYING: BookSync._give_up_looking,
}
_ON_DISCONNECTED: Final[dict[State, Callable[[BookSync], list[Action]]]] = {
    State.IDLE: BookSync._stay,
    State.ORPHANED: BookSync._stay,
    State.BUFFERING: BookSync._orphan,
    State.BRIDGING: BookSync._idle,
    State.LIVE: BookSync._lose_stream,
    State.VERIFYING: BookSync._lose_stream_looking,
    State.REACHING: BookSync._lose_stream,
}
