"""The books of one shard: what their machines ask for, and which states of them are stored.

A book is stored when it becomes live (after a snapshot from the exchange) and every so often while
it is, so that a book at any moment can be rebuilt from the newest stored one before it and the
deltas behind it. A book that is not live is never stored.
"""

from dataclasses import dataclass

import structlog

from ingest.book.snapshots import SnapshotFetcher
from ingest.book.sync import Action, BookLive, BookSync, BufferOverflowed, RequestSnapshot, State
from ingest.buffer import encode
from ingest.buffer.batcher import Batcher
from ingest.buffer.tables import DEPTH_SNAPSHOTS
from ingest.clock import Clock
from ingest.events import DepthSnapshot
from ingest.shard.kinds import DepthStream
from ingest.shard.stream import Instant

log = structlog.get_logger()

_NO_SLOT = -1
"""Stored books are not a stream: their commit says nothing about the freshness of the deltas."""
_CHECKED_PER_TICK = 8
_STORED_PER_TICK = 2


@dataclass
class _Kept:
    stream: DepthStream
    store_at_s: float
    was_live: bool = False


class Books:
    """Call `tick` once a second; the fetcher's outcomes come in through `on_snapshot` and `on_failed`."""

    def __init__(
        self,
        batcher: Batcher,
        *,
        clock: Clock,
        instant: Instant,
        store_every_s: float,
        stored_levels: int,
    ) -> None:
        self._batcher = batcher
        self._clock = clock
        self._instant = instant
        self._store_every_s = store_every_s
        self._stored_levels = stored_levels
        self._kept: dict[str, _Kept] = {}
        self._order: list[_Kept] = []
        self._left: dict[str, BookSync] = {}
        """Books that are kept no longer and whose snapshot is still on its way."""
        self._next_checked = 0
        self._fetcher: SnapshotFetcher | None = None

    def attach(self, fetcher: SnapshotFetcher) -> None:
        """Where snapshots are asked for."""
        self._fetcher = fetcher

    def new_book(self, symbol: str) -> BookSync:
        """A book without anything in it; one that was closed a moment ago goes on with its snapshot."""
        return self._left.pop(symbol, None) or BookSync(symbol)

    def remove(self, symbol: str) -> None:
        """Keep the book of this symbol no longer; what is still fetched for it is thrown away."""
        kept = self._kept.pop(symbol)
        self._order.remove(kept)
        book = kept.stream.book
        book.on_disconnected()
        if book.state is State.ORPHANED:
            self._left[symbol] = book

    def add(self, stream: DepthStream) -> None:
        """Keep the book of this stream. Stored copies are spread evenly over their period."""
        share = (len(self._kept) * 0.618) % 1.0
        kept = _Kept(stream, self._instant.now_s + share * self._store_every_s)
        self._kept[stream.symbol] = kept
        self._order.append(kept)

    @property
    def wanted(self) -> int:
        return len(self._kept)

    @property
    def live(self) -> int:
        return sum(kept.stream.book.book is not None for kept in self._order)

    def act(self, action: Action) -> None:
        """Carry out what a book's machine asks for."""
        if isinstance(action, RequestSnapshot):
            if self._fetcher is not None:
                self._fetcher.request(action.symbol, action.attempt)
        elif isinstance(action, BookLive):
            kept = self._kept[action.symbol]
            reason, kept.was_live = ("resync" if kept.was_live else "sync"), True
            log.debug("book.live", symbol=action.symbol, update_id=action.update_id, reason=reason)
            self._store(kept, reason)
        elif isinstance(action, BufferOverflowed):
            log.warning("book.buffer_full", symbol=action.symbol, deltas=action.max_buffered)
        elif action.reason != "disconnected":
            # A feed that ends takes all its books with it, and has told so itself.
            log.warning(
                "book.lost",
                symbol=action.symbol,
                reason=action.reason,
                first_missing=action.first_missing,
                last_missing=action.last_missing,
            )

    def on_snapshot(self, snapshot: DepthSnapshot) -> None:
        """The exchange's book has come."""
        for action in self._book(snapshot.symbol).on_snapshot(snapshot):
            self.act(action)

    def on_failed(self, symbol: str) -> None:
        """The exchange's book could not be had this time."""
        for action in self._book(symbol).on_snapshot_failed():
            self.act(action)

    def tick(self) -> None:
        """Look at a few books for corruption, and store those whose time has come."""
        for kept in self._few():
            for action in kept.stream.book.check():
                self.act(action)
        now_s = self._instant.now_s
        due = [kept for kept in self._order if kept.store_at_s <= now_s][:_STORED_PER_TICK]
        for kept in due:
            self._store(kept, "periodic")

    def _book(self, symbol: str) -> BookSync:
        kept = self._kept.get(symbol)
        return kept.stream.book if kept is not None else self._left.pop(symbol)

    def _few(self) -> list[_Kept]:
        start = self._next_checked
        self._next_checked = (start + _CHECKED_PER_TICK) % max(len(self._order), 1)
        return self._order[start : start + _CHECKED_PER_TICK]

    def _store(self, kept: _Kept, reason: str) -> None:
        kept.store_at_s = self._instant.now_s + self._store_every_s
        stream, sync = kept.stream, kept.stream.book
        book, update_id = sync.book, sync.update_id
        if book is None or update_id is None:
            return
        bids, asks = book.top(self._stored_levels)
        wall_ns = self._clock.wall_ns()
        snapshot = DepthSnapshot(
            symbol=stream.symbol,
            last_update_id=update_id,
            # The moment on the exchange's clock at which the book was like this.
            ts_us=stream.last_event_us or wall_ns // 1_000,
            bids=bids,
            asks=asks,
            reason=reason,
            recv_ns=wall_ns,
        )
        row = encode.depth_snapshot(stream.symbol_id, snapshot)
        self._batcher.add(
            DEPTH_SNAPSHOTS,
            row,
            _NO_SLOT,
            snapshot.ts_us,
            snapshot.last_update_id,
            wall_ns,
            self._instant.now_s,
        )
