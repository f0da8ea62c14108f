"""One planned stream inside a shard: its sequence, its counters, and how its rows reach the batcher.

`Stream.accept` is the hot path: parse, check the sequence, encode, hand over. It waits for nothing.
What it decides: whether a message is stored, and which gaps are opened before it. What it never does:
judge freshness, fetch, or write.

A gap goes into the batch of the first row behind it, so that a query which sees the row also sees
the gap, and a crash between the two leaves the newest committed id before the gap, where the next
start finds it again.
"""

from dataclasses import dataclass
from typing import Protocol

from ingest.binance.frames import JsonObject, MalformedFrame
from ingest.binance.order import has_ids
from ingest.binance.streams import REPAIRABLE
from ingest.buffer.batcher import Batcher
from ingest.buffer.tables import Table, table_of_kind
from ingest.events import Gap, GapCause, GapFilled, StreamKey


class Instant(Protocol):
    """The shard's cached time, moved on by its ticks so that no message has to ask a clock."""

    now_s: float
    wall_us: int


@dataclass(frozen=True)
class StreamContext:
    """What a stream is built from."""

    key: StreamKey
    slot: int
    """Its place on the board, which another stream may have later."""
    number: int
    """Never given to another stream of the shard: rows on their way to the database are marked with it."""
    symbol_id: int
    feed: int
    batcher: Batcher
    instant: Instant


@dataclass
class _Refused:
    """The rows that found the buffer full since it was last open."""

    rows: int
    first_id: int
    last_id: int
    start_us: int
    end_us: int


class Stream:
    """Base of the kinds in `shard.kinds`; they implement `accept`."""

    def __init__(self, context: StreamContext) -> None:
        self.key = context.key
        self.symbol = context.key.symbol
        self.slot = context.slot
        self.number = context.number
        self.symbol_id = context.symbol_id
        self.feed = context.feed
        self.table: Table = table_of_kind(context.key.kind)
        self.messages = 0
        self.messages_before = 0
        """Messages of earlier connections: a stream that has no more than these never spoke on this one."""
        self.news = 0
        """Messages that were no duplicates: what counts as life, whatever became of their rows."""
        self.duplicates = 0
        self.gaps_opened = 0
        self.refused_rows = 0
        self.reconnects = 0
        self.last_id = -1
        self.unbroken_since_id = -1
        """From here up to `last_id` nothing was missed; -1 before the first row, and after a gap."""
        self.former = (-1, -1)
        """The stretch before the newest gap in which nothing was missed, from id to id."""
        self.last_event_us = 0
        self.last_recv_ns = 0
        self.is_steady = False
        """A message behind the newest one can only be news: see `shard.steady`."""
        self.committed_event_us = 0
        self.committed_wall_ns = 0
        self.committed_id = -1
        self._break: GapCause | None = None
        self._refused: _Refused | None = None
        self._overlaps = False
        self._batcher = context.batcher
        self._add = context.batcher.add
        self._instant = context.instant

    def accept(self, data: JsonObject, recv_ns: int) -> None:
        """Take one message. Raises ValueError (MalformedFrame) for one that cannot be stored."""
        raise NotImplementedError

    def resume(self, last_id: int, ts_us: int) -> None:
        """The newest committed event of an earlier life; what is missing since then becomes a gap."""
        self.last_id = last_id
        self.last_event_us = ts_us
        self.committed_event_us = ts_us
        self._break = "restart"
        self.is_steady = False

    def broke(self, cause: GapCause = "disconnect") -> None:
        """The stream was away: whatever comes next may follow a hole."""
        self.reconnects += 1
        self.messages_before = self.messages
        if self._break is None and self.last_event_us:
            self._break = cause
        self.is_steady = False

    def doubt(self) -> None:
        """Something may be missing before what comes next, though the stream was not away."""
        if self._break is None and self.last_event_us:
            self._break = "sequence"
        self.is_steady = False

    @property
    def position(self) -> int | None:
        """Where the stream stands, in the terms of `ingest.binance.order`; None when it has never spoken."""
        if not self.last_event_us:
            return None
        return self.last_id if has_ids(self.key.kind) else self.last_event_us

    def moved(self) -> None:
        """Another connection carries the stream, and nothing was missed."""
        self.messages_before = self.messages

    def overlap(self, begins: bool) -> None:
        """From now on two connections bring the stream (or no longer): newer may come before older."""
        self._overlaps = begins
        self.is_steady = False

    @property
    def known_levels(self) -> tuple[int, int]:
        """Bids and asks that are known of its book; -1 where there is no live one."""
        return -1, -1

    def leave(self) -> None:
        """The stream is given up: say what is owed."""
        if self._refused is not None:
            self._confess()

    def store(self, row: bytes, ts_us: int, last_id: int, recv_ns: int, first_id: int | None = None) -> None:
        """Hand an encoded row to the batcher; when that is full, remember what it refused.

        `last_id` is in the unit of the kind's gaps; a row of several ids begins at `first_id`.
        """
        self.news += 1
        self.last_recv_ns = recv_ns
        if self.unbroken_since_id < 0:
            self.unbroken_since_id = last_id if first_id is None else first_id
        if last_id >= self.last_id:  # a late row does not take the stream back, and bridges no break
            self._break = None
            self.last_id = last_id
            self.last_event_us = ts_us
        if self._refused is not None and self._batcher.has_room(len(row)):
            self._confess()
        now_s = self._instant.now_s
        if self._refused is not None or not self._add(
            self.table, row, self.number, ts_us, last_id, recv_ns, now_s
        ):
            self._remember_refused(ts_us, last_id if first_id is None else first_id, last_id)
        self.is_steady = (
            self._break is None
            and self._refused is None
            and self.unbroken_since_id >= 0
            and not self._overlaps
        )

    def store_next(self, row: bytes, ts_us: int, first_id: int, last_id: int, recv_ns: int) -> None:
        """As `store`, for a row that continues a steady stream."""
        self.news += 1
        self.last_recv_ns = recv_ns
        self.last_id = last_id
        self.last_event_us = ts_us
        if not self._add(self.table, row, self.number, ts_us, last_id, recv_ns, self._instant.now_s):
            self._remember_refused(ts_us, first_id, last_id)

    def expect_symbol(self, symbol: str) -> None:
        """Raise MalformedFrame when a message on this stream is about another symbol."""
        if symbol != self.symbol:
            raise MalformedFrame(f"a message about {symbol} on the stream of {self.symbol}")

    def open_gap(
        self,
        *,
        first_id: int | None,
        last_id: int | None,
        start_us: int | None,
        end_us: int,
        cause: GapCause | None = None,
        note: str = "",
    ) -> None:
        """Put a gap into the ledger, in the batch of the row that comes next."""
        repairable = self.key.kind in REPAIRABLE
        gap = Gap(
            key=self.key,
            first_id=first_id,
            last_id=last_id,
            start_us=start_us,
            end_us=end_us,
            cause=cause or self._break or "sequence",
            repairable=repairable,
            note=note or ("" if repairable else "the exchange does not give this kind again"),
            opened_us=self._instant.wall_us,
        )
        self.gaps_opened += 1
        self._end_stretch(None if start_us is None else start_us // 1_000, first_id)
        self._batcher.add_gap(self.table, gap, self._instant.now_s)

    def _end_stretch(self, before_ms: int | None, first_id: int | None) -> None:
        """Nothing was missed up to the gap: to its first id, or to the time before it."""
        until = before_ms if first_id is None else first_id - 1
        if self.unbroken_since_id >= 0 and until is not None:
            self.former = (self.unbroken_since_id, min(self.last_id, until))
        self.unbroken_since_id = -1
        self.is_steady = False

    def gap_filled(self, first_id: int, last_id: int, rows: int) -> None:
        """All that was missing of an earlier gap has arrived late."""
        filled = GapFilled(self.key, first_id, last_id, rows, self._instant.wall_us)
        self._batcher.add_gap(self.table, filled, self._instant.now_s)

    def _remember_refused(self, ts_us: int, first_id: int, last_id: int) -> None:
        self.is_steady = False
        self.refused_rows += 1
        refused = self._refused
        if refused is None:
            self._refused = _Refused(1, first_id, last_id, ts_us, ts_us)
            return
        refused.rows += 1
        refused.first_id = min(refused.first_id, first_id)
        refused.last_id = max(refused.last_id, last_id)
        refused.end_us = ts_us

    def _confess(self) -> None:
        refused, self._refused = self._refused, None
        assert refused is not None
        self.open_gap(
            first_id=refused.first_id,
            last_id=refused.last_id,
            start_us=refused.start_us,
            end_us=refused.end_us,
            cause="buffer_full",
            note=f"{refused.rows} rows found the buffer full while the database took none",
        )
