"""One symbol's book, or none: the documented snapshot procedure as a machine without I/O.

Decides when a snapshot is wanted, whether it fits the deltas around it, and when the book is lost. Fetches
nothing, waits for nothing, reads no clock; it returns what should be done as a list of actions.

    state       stream  snapshot asked for     the book is
    IDLE        silent  no                     unknown
    ORPHANED    away    yes, of no use now     unknown
    BUFFERING   there   yes                    unknown; deltas are kept
    BRIDGING    there   no, it is here         unknown; the snapshot is ahead of the deltas
    LIVE        there   no                     right after `update_id`

    input         IDLE        ORPHANED    BUFFERING      BRIDGING       LIVE
    delta         BUFFERING*  BUFFERING   BUFFERING      BRIDGING       LIVE
                                                         LIVE           BUFFERING*
                                                         BUFFERING*
    snapshot                  IDLE        BUFFERING*
                                          BRIDGING
                                          LIVE
    failed                    IDLE        BUFFERING*
    disconnected  IDLE        ORPHANED    ORPHANED       IDLE           IDLE
    crossed                                                             BUFFERING*

    * asks for a snapshot. An empty cell raises `ImpossibleInput` and changes nothing. `disconnected` and
      `crossed` are told of a LIVE book with `BookLost`, a gap (LIVE to BUFFERING) too.

What a caller owes: each `RequestSnapshot` is answered exactly once, by `on_snapshot` or
`on_snapshot_failed`, whatever happened meanwhile, and after the delay that its `attempt` deserves; `check`
is called now and then.

Invariants: `book` is None unless the state is LIVE; then it is the exchange's book after `update_id`, as
far as the snapshot reached. At most one snapshot is asked for at a time. At most `max_buffered` deltas are
kept; beyond that the oldest goes, and the snapshot must be so much newer.

The rule of fit is `U <= id + 1 <= u`, for the first delta after a snapshot as for every later one. A
snapshot that is too old leaves the buffer alone: REST may lag the stream, and a newer one will fit. One
that ends where a delta ends needs no further delta to prove that the two belong together.

Source: web-socket-streams.md of binance-spot-api-docs, "How to manage a local order book correctly", as
corrected on 2025-11-12.
"""

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Final, Literal, NamedTuple, TypeAlias

from ingest.book.levels import Book
from ingest.events import DepthDelta, DepthSnapshot


class State(Enum):
    """What is known of a book; see the table above."""

    IDLE = auto()
    ORPHANED = auto()
    BUFFERING = auto()
    BRIDGING = auto()
    LIVE = auto()


LostReason: TypeAlias = Literal["gap", "crossed", "disconnected", "malformed"]


class RequestSnapshot(NamedTuple):
    """Fetch a snapshot. `attempt` counts from 0 since the book was last live or the stream came."""

    symbol: str
    attempt: int


class BookLive(NamedTuple):
    """The book is right after `update_id`, and follows every delta from here."""

    symbol: str
    update_id: int


class BookLost(NamedTuple):
    """The book is unknown again. For a gap: the first and last update that did not come."""

    symbol: str
    reason: LostReason
    first_missing: int | None
    last_missing: int | None


class BufferOverflowed(NamedTuple):
    """The buffer is full and loses its oldest deltas from now on; told once for each time of buffering."""

    symbol: str
    max_buffered: int


Action: TypeAlias = RequestSnapshot | BookLive | BookLost | BufferOverflowed


class ImpossibleInput(RuntimeError):
    """The caller broke its side of the bargain: the table has no entry for this input in this state."""


class BookSync:
    """The machine of one symbol. `max_buffered` deltas are 200 s at the exchange's ten a second."""

    __slots__ = (
        "_attempt",
        "_book",
        "_buffer",
        "_last_id",
        "_overflowed",
        "_reach_id",
        "dropped_deltas",
        "max_buffered",
        "state",
        "symbol",
    )

    def __init__(self, symbol: str, *, max_buffered: int = 2000) -> None:
        self.symbol = symbol
        self.max_buffered = max_buffered
        self.state = State.IDLE
        self.dropped_deltas = 0
        """Deltas that a full buffer has lost, ever."""
        self._book = Book()
        self._buffer: deque[DepthDelta] = deque()
        self._overflowed = False
        self._attempt = -1
        # The newest update taken from the stream; of the book when LIVE, of the snapshot when BRIDGING.
        self._last_id = 0
        # A snapshot must hold at least this update to meet the deltas that are kept or will come.
        self._reach_id = 0

    @property
    def book(self) -> Book | None:
        """The book while it is known to be right, else None. It is changed by every delta."""
        return self._book if self.state is State.LIVE else None

    @property
    def update_id(self) -> int | None:
        """The last update that is in `book`; None without a book."""
        return self._last_id if self.state is State.LIVE else None

    def on_delta(self, delta: DepthDelta) -> list[Action]:
        """Take a delta as it comes off the stream; duplicates and old ones are ignored."""
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

    def check(self) -> list[Action]:
        """Give up a live book that is crossed.

        For a timer, some seconds apart for each book: it looks at every level (about 0.15 ms for 1,000),
        which would cost more than the deltas themselves. A book that becomes live is always looked at.
        """
        if self.state is not State.LIVE or not self._book.is_crossed():
            return []
        return [self._lost("crossed"), *self._spoiled()]

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
        self.dropped_deltas += 1
        # The snapshot must hold what the dropped one said, as nothing else does now.
        self._reach_id = dropped.final_update_id
        if self._overflowed:
            return []
        self._overflowed = True
        return [BufferOverflowed(self.symbol, self.max_buffered)]

    def _fit(self, snapshot: DepthSnapshot) -> list[Action]:
        """Lay a snapshot under the buffered deltas."""
        if snapshot.last_update_id < self._reach_id:
            return self._ask()
        try:
            self._book = Book(snapshot.bids, snapshot.asks)
        except ValueError:
            return self._ask()
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
        if self._book.is_crossed():
            return self._spoiled()
        self.state = State.LIVE
        self._attempt = -1
        self._buffer.clear()
        return [BookLive(self.symbol, self._last_id)]

    def _follow(self, delta: DepthDelta) -> list[Action]:
        if delta.final_update_id <= self._last_id:
            return []
        if delta.first_update_id > self._last_id + 1:
            lost = BookLost(self.symbol, "gap", self._last_id + 1, delta.first_update_id - 1)
            return [lost, *self._begin_and_ask(delta)]
        return [] if self._apply(delta) else [self._lost("malformed"), *self._spoiled()]

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

    def _orphan(self) -> list[Action]:
        self._restart(State.ORPHANED, 0)
        return []

    def _idle(self) -> list[Action]:
        self._restart(State.IDLE, 0)
        return []

    def _lose_stream(self) -> list[Action]:
        return [self._lost("disconnected"), *self._idle()]

    def _forget_snapshot(self, _snapshot: DepthSnapshot) -> list[Action]:
        return self._idle()

    # --- parts of them -----------------------------------------------------------------------------

    def _restart(self, state: State, last_id: int, *deltas: DepthDelta) -> None:
        """Enter a state without a book, with these deltas, the newest of which ends at `last_id`."""
        self.state = state
        self._book = Book()
        self._buffer = deque(deltas)
        self._overflowed = False
        self._last_id = last_id
        self._reach_id = deltas[0].first_update_id - 1 if deltas else last_id

    def _ask(self) -> list[Action]:
        self.state = State.BUFFERING
        self._attempt += 1
        return [RequestSnapshot(self.symbol, self._attempt)]

    def _lost(self, reason: LostReason) -> BookLost:
        return BookLost(self.symbol, reason, None, None)


_ON_DELTA: Final[dict[State, Callable[[BookSync, DepthDelta], list[Action]]]] = {
    State.IDLE: BookSync._begin_and_ask,
    State.ORPHANED: BookSync._begin,
    State.BUFFERING: BookSync._keep,
    State.BRIDGING: BookSync._bridge,
    State.LIVE: BookSync._follow,
}
_ON_SNAPSHOT: Final[dict[State, Callable[[BookSync, DepthSnapshot], list[Action]]]] = {
    State.ORPHANED: BookSync._forget_snapshot,
    State.BUFFERING: BookSync._fit,
}
_ON_FAILED: Final[dict[State, Callable[[BookSync], list[Action]]]] = {
    State.ORPHANED: BookSync._idle,
    State.BUFFERING: BookSync._ask,
}
_ON_DISCONNECTED: Final[dict[State, Callable[[BookSync], list[Action]]]] = {
    State.IDLE: BookSync._stay,
    State.ORPHANED: BookSync._stay,
    State.BUFFERING: BookSync._orphan,
    State.BRIDGING: BookSync._idle,
    State.LIVE: BookSync._lose_stream,
}
