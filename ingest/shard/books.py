"""The books of one shard: what their machines ask for, and which states of them are stored.

A book is stored when it becomes live (after a snapshot from the exchange), when it is known further than
before, and every so often while it is live, so that a book at any moment can be rebuilt from the newest
stored one before it and the deltas behind it. A book that is not live is never stored, and none is stored
twice after the same update: it waits for the next one. When a book is found to differ from the exchange's,
the updates since it last agreed go into the gap ledger: the rows are there, and not to be trusted.
"""

import math
from dataclasses import dataclass

import structlog

from ingest.book.actions import (
    Action,
    BookCompared,
    BookDeepened,
    BookLive,
    BookLost,
    BufferOverflowed,
    RequestSnapshot,
)
from ingest.book.depths import KnownDepth, is_short
from ingest.book.levels import Book
from ingest.book.snapshots import SnapshotFetcher
from ingest.book.sync import BookSync, State
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
"""At least; more when there are so many books that their period asks for it."""


@dataclass
class _Kept:
    stream: DepthStream
    store_at_s: float
    stored_id: int = -1
    """The update that the newest stored book ends with."""
    owed: str = ""
    """As what it would have been stored had it changed since."""
    reason: str = "sync"
    """What a book that becomes live is stored as."""
    arrived_levels: int = 0
    """Levels a side of the newest snapshot."""
    asked_levels: int = 0
    """The same of the deepest one that the book is made of."""
    live_id: int = 0
    live_at_s: float = 0.0
    looked_at_s: float = -math.inf
    agreed_us: int = 0
    """The exchange's time when the book was last known to be its own."""
    differs: str = ""

    @property
    def has_changed(self) -> bool:
        """Whether it is live, and after another update than the one it was stored at."""
        return self.stream.book.update_id not in {None, self.stored_id}


@dataclass
class AuditCounts:
    """Live books compared with the exchange's, since the shard began.

    `levels` were compared in all, `mismatches` of them differed; `differing` books had one at least, and
    `inconclusive` ones could not be compared, because the snapshot was too old or the book went away.
    """

    audits: int = 0
    differing: int = 0
    inconclusive: int = 0
    levels: int = 0
    mismatches: int = 0

    def count(self, compared: BookCompared) -> None:
        """Count one comparison."""
        if not compared.levels:
            self.inconclusive += 1
            return
        self.audits += 1
        self.differing += compared.mismatches > 0
        self.levels += compared.levels
        self.mismatches += compared.mismatches

    def by_field(self) -> dict[str, int]:
        """The counts under the names that the board has for them."""
        return {
            "book_audits": self.audits,
            "book_audits_differing": self.differing,
            "book_audits_inconclusive": self.inconclusive,
            "book_audit_levels": self.levels,
            "book_audit_mismatches": self.mismatches,
        }


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
        wanted_levels: int = 1_000,
    ) -> None:
        self._batcher = batcher
        self._clock = clock
        self._instant = instant
        self._store_every_s = store_every_s
        self._stored_levels = stored_levels
        self._wanted_levels = wanted_levels
        self._kept: dict[str, _Kept] = {}
        self._order: list[_Kept] = []
        self._left: dict[str, BookSync] = {}
        """Books that are kept no longer and whose snapshot is still on its way."""
        self.audits = AuditCounts()
        self.shallow = 0
        """Live books that are known less far than `wanted_levels` asks for, at the newest tick."""
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

    def streams(self) -> list[DepthStream]:
        """The streams whose books are kept, as they are now."""
        return [kept.stream for kept in self._order]

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
            self._became_live(self._kept[action.symbol], action)
        elif isinstance(action, BookCompared):
            self._compared(self._kept[action.symbol], action)
        elif isinstance(action, BookDeepened):
            kept = self._kept[action.symbol]
            kept.asked_levels = max(kept.asked_levels, kept.arrived_levels)
            self._store(kept, "deepened")
        elif isinstance(action, BufferOverflowed):
            log.warning("book.buffer_full", symbol=action.symbol, deltas=action.max_buffered)
        elif action.reason != "disconnected":
            # A feed that ends takes all its books with it, and has told so itself.
            self._lost(self._kept[action.symbol], action)

    def _became_live(self, kept: _Kept, action: BookLive) -> None:
        kept.asked_levels = kept.arrived_levels
        kept.live_id, kept.live_at_s = action.update_id, self._instant.now_s
        kept.agreed_us = kept.stream.last_event_us
        log.debug("book.live", symbol=action.symbol, update_id=action.update_id, reason=kept.reason)
        self._store(kept, kept.reason)
        kept.reason = "resync"

    def _compared(self, kept: _Kept, action: BookCompared) -> None:
        self.audits.count(action)
        kept.differs = f"{action.mismatches} of {action.levels} levels differ from the exchange's"
        if action.levels and not action.mismatches:
            kept.agreed_us = kept.stream.last_event_us

    def _lost(self, kept: _Kept, action: BookLost) -> None:
        log.warning(
            "book.lost",
            symbol=action.symbol,
            reason=action.reason,
            first_missing=action.first_missing,
            last_missing=action.last_missing,
        )
        if action.reason == "audit":
            kept.reason = "audit"
            kept.stream.open_gap(
                first_id=action.first_missing,
                last_id=action.last_missing,
                start_us=kept.agreed_us or None,
                end_us=kept.stream.last_event_us,
                cause="audit",
                note=f"{kept.differs}: stored, and not to be trusted",
            )

    def on_snapshot(self, snapshot: DepthSnapshot) -> None:
        """The exchange's book has come."""
        if (kept := self._kept.get(snapshot.symbol)) is not None:
            kept.arrived_levels = max(len(snapshot.bids), len(snapshot.asks))
        for action in self._book(snapshot.symbol).on_snapshot(snapshot):
            self.act(action)

    def on_failed(self, symbol: str) -> None:
        """The exchange's book could not be had this time."""
        for action in self._book(symbol).on_snapshot_failed():
            self.act(action)

    def look_again(self, symbol: str) -> bool:
        """Tell a live book that a snapshot is fetched to compare it with; False when it is none.

        When True, the outcome is owed to `on_snapshot` or `on_failed`.
        """
        kept = self._kept.get(symbol)
        if kept is None or not kept.stream.book.look_again():
            return False
        kept.looked_at_s = self._instant.now_s
        return True

    def known(self) -> list[KnownDepth]:
        """How far each live book is known that nobody is looking at."""
        books = ((kept, kept.stream.book.book) for kept in self._order)
        return [
            self._known(kept, book)
            for kept, book in books
            if book is not None and kept.stream.book.state is State.LIVE
        ]

    def _known(self, kept: _Kept, book: Book) -> KnownDepth:
        cut = []
        if book.bids_are_cut:
            cut.append(len(book.bids))
        if book.asks_are_cut:
            cut.append(len(book.asks))
        for_s = max(self._instant.now_s - kept.live_at_s, 1.0)
        return KnownDepth(
            kept.stream.symbol,
            asked=kept.asked_levels,
            levels=min(cut, default=None),
            updates_per_s=(kept.stream.last_id - kept.live_id) / for_s,
            looked_at_s=kept.looked_at_s,
        )

    def tick(self) -> None:
        """Look at a few books for corruption, and store those whose time has come."""
        self.shallow = sum(is_short(book, self._wanted_levels) for book in self.known())
        for kept in self._few():
            for action in kept.stream.book.check():
                self.act(action)
        now_s = self._instant.now_s
        at_once = max(_STORED_PER_TICK, math.ceil(2 * len(self._order) / self._store_every_s))
        due = [kept for kept in self._order if kept.store_at_s <= now_s and kept.has_changed][:at_once]
        for kept in due:
            self._store(kept, kept.owed or "periodic")

    def _book(self, symbol: str) -> BookSync:
        kept = self._kept.get(symbol)
        return kept.stream.book if kept is not None else self._left.pop(symbol)

    def _few(self) -> list[_Kept]:
        start = self._next_checked
        self._next_checked = (start + _CHECKED_PER_TICK) % max(len(self._order), 1)
        return self._order[start : start + _CHECKED_PER_TICK]

    def _store(self, kept: _Kept, reason: str) -> None:
        stream, sync = kept.stream, kept.stream.book
        book, update_id = sync.book, sync.update_id
        if book is None or update_id is None:
            return
        if update_id == kept.stored_id:
            # Two rows of one update would be one key, and which of them stays would be chance.
            kept.store_at_s, kept.owed = self._instant.now_s, reason
            return
        kept.store_at_s = self._instant.now_s + self._store_every_s
        kept.stored_id, kept.owed = update_id, ""
        bids, asks, bids_known_from, asks_known_to = book.known_top(self._stored_levels)
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
            bids_known_from=bids_known_from,
            asks_known_to=asks_known_to,
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
