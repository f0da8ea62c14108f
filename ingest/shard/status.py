"""What a shard writes to the freshness board, and when: the heartbeat and all values, tick by tick.

The heartbeat is written by the event loop itself, so that it stands still when the loop does. How
late a tick comes is the loop's lag.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ingest.board.layout import FeedState, FeedValues, HeaderValues, ShardState, StreamState, StreamValues
from ingest.board.mapped import BoardWriter
from ingest.buffer.batcher import Batcher
from ingest.buffer.spool_limits import SpoolStats
from ingest.clock import Clock
from ingest.feed.lifecycle import FeedPhase
from ingest.shard.books import Books
from ingest.shard.feeds import CarriedFeed
from ingest.shard.pipeline import SessionCounters
from ingest.shard.stream import Stream

TICK_S = 0.1
_FULL_EVERY = 3
"""Ticks between two writings of what has changed; the heartbeat goes out with each."""
_EVERYTHING_EVERY = 10
"""Writings between two that leave out nothing."""

_FEED_STATES = {
    FeedPhase.CONNECTING: FeedState.CONNECTING,
    FeedPhase.SUBSCRIBING: FeedState.SUBSCRIBING,
    FeedPhase.LIVE: FeedState.LIVE,
}


class CachedInstant:
    """The time of the newest tick, for rows that need no better one."""

    def __init__(self, clock: Clock, on_refresh: Callable[[float, int], None] | None = None) -> None:
        """`on_refresh` is told each new time, the first one included."""
        self._clock = clock
        self._on_refresh = on_refresh
        self.refresh()

    def refresh(self) -> None:
        """Take the time anew."""
        self.now_s = self._clock.monotonic_s()
        self.wall_us = self._clock.wall_ns() // 1_000
        if self._on_refresh is not None:
            self._on_refresh(self.now_s, self.wall_us)


@dataclass(frozen=True)
class Sources:
    """Where the board's values come from."""

    feeds: Mapping[int, CarriedFeed]
    """By their numbers; they come and go."""
    books: Books
    batcher: Batcher
    counters: SessionCounters
    snapshots: Callable[[], tuple[int, int]]
    """(fetched, waiting)"""
    store: Callable[[], tuple[int, bool]]
    """(errors, is it up)"""
    weight_used: Callable[[], int]
    tasks: Callable[[], int]
    spool: Callable[[], SpoolStats] = SpoolStats
    repairs: Callable[[], Mapping[str, int]] = dict
    """By the board's names."""


class StatusWriter:
    """`state` may be changed from outside; the next tick writes it."""

    def __init__(self, board: BoardWriter, sources: Sources, *, clock: Clock, instant: CachedInstant) -> None:
        self.state = ShardState.STARTING
        self._board = board
        self._sources = sources
        self._clock = clock
        self._instant = instant
        self._lag_max_us = 0
        self._writings = 0
        self._written: dict[int, tuple[int, ...]] = {}
        """By slot, what was seen of its stream when it was written."""

    async def run(self) -> None:
        """Tick until cancelled."""
        ticks = 0
        due_s = self._clock.monotonic_s()
        while True:
            self._instant.refresh()
            now_s = self._instant.now_s
            lag_us = max(0, int((now_s - due_s) * 1e6))
            self._lag_max_us = max(self._lag_max_us, lag_us)
            self._board.beat(int(now_s * 1e9), self._clock.wall_ns(), lag_us)
            if ticks % _FULL_EVERY == 0:
                self.write_all()
            ticks += 1
            due_s = now_s + TICK_S
            await asyncio.sleep(TICK_S)

    def write_all(self) -> None:
        """Write header, feeds and streams; of these only the ones that have changed, most of the time."""
        self._board.write_header(self._header())
        self._lag_max_us = 0
        if self._writings % _EVERYTHING_EVERY == 0:
            self._written.clear()
        self._writings += 1
        for carried in self._sources.feeds.values():
            self._board.write_feed(carried.slot, _feed_values(carried))
            is_live = carried.feed.phase is FeedPhase.LIVE
            for stream in carried.lane.streams:
                self._write_changed(stream, is_live)

    def _write_changed(self, stream: Stream, feed_is_live: bool) -> None:
        # Of thousands of streams most have nothing new: a look costs a tenth of a writing. What changes
        # without any of these (how far a book is known) waits for the next message, or for everything.
        seen = (
            stream.number,
            stream.messages,
            stream.committed_wall_ns,
            stream.gaps_opened,
            stream.reconnects,
            feed_is_live,
        )
        if self._written.get(stream.slot) != seen:
            self._board.write_stream(stream.slot, _stream_values(stream, feed_is_live=feed_is_live))
            self._written[stream.slot] = seen

    def _header(self) -> HeaderValues:
        sources = self._sources
        counters = sources.counters
        held = sources.batcher.stats()
        fetched, waiting = sources.snapshots()
        errors, is_up = sources.store()
        spooled = sources.spool()
        oldest = [table.oldest_recv_ns for table in held.tables.values() if table.oldest_recv_ns is not None]
        if spooled.oldest_recv_ns is not None:
            oldest.append(spooled.oldest_recv_ns)
        return HeaderValues(
            state=self.state,
            loop_lag_max_us=self._lag_max_us,
            frames=counters.frames,
            bytes_received=counters.bytes_received,
            malformed_frames=counters.malformed,
            buffered_rows=held.rows,
            buffered_bytes=held.held_bytes,
            oldest_buffered_recv_ns=min(oldest, default=0),
            refused_rows=held.refused,
            rows_committed=counters.rows_committed,
            batches_committed=counters.batches_committed,
            conflicts=counters.conflicts,
            store_errors=errors,
            commit_latency_last_us=counters.latencies_us[-1] if counters.latencies_us else 0,
            commit_latency_p50_us=counters.latency_us(0.5),
            commit_latency_p99_us=counters.latency_us(0.99),
            books_live=sources.books.live,
            books_wanted=sources.books.wanted,
            snapshots_fetched=fetched,
            snapshots_waiting=waiting,
            rest_weight_used=sources.weight_used(),
            database_up=int(is_up),
            spooled_rows=spooled.rows,
            spooled_bytes=spooled.size_bytes,
            oldest_spooled_recv_ns=spooled.oldest_recv_ns or 0,
            spool_full=int(spooled.is_full),
            spooled_rows_ever=spooled.spooled_rows,
            spool_damaged_batches=spooled.damaged_batches,
            books_shallow=sources.books.shallow,
            tasks=sources.tasks(),
            **sources.books.audits.by_field(),
            **sources.repairs(),
        )


def _feed_values(carried: CarriedFeed) -> FeedValues:
    feed, lane, signs = carried.feed, carried.lane, carried.feed.signs
    return FeedValues(
        feed=feed.number,
        state=_FEED_STATES.get(feed.phase, FeedState.CLOSED),
        connected_wall_ns=signs.connected_wall_ns,
        last_frame_ns=feed.last_frame_ns,
        last_data_ns=lane.last_data_ns,
        last_ping_ns=signs.last_ping_ns,
        messages=feed.messages,
        reconnects=feed.reconnects,
        streams=len(lane.streams),
        silent_streams=sum(stream.messages == stream.messages_before for stream in lane.streams),
        close_code=feed.last_close_code,
        local_port=signs.local_port,
        probe_wall_ns=signs.probe_wall_ns,
        pong_wall_ns=signs.pong_wall_ns,
        pong_latency_us=signs.pong_latency_us,
        sessions=feed.sessions,
        **feed.ends.by_field("ends_"),
    )


def _stream_values(stream: Stream, *, feed_is_live: bool) -> StreamValues:
    known_bids, known_asks = stream.known_levels
    return StreamValues(
        state=_coarse_state(stream, feed_is_live=feed_is_live),
        feed=stream.feed,
        last_event_us=stream.last_event_us,
        last_recv_ns=stream.last_recv_ns,
        committed_event_us=stream.committed_event_us,
        committed_wall_ns=stream.committed_wall_ns,
        last_id=stream.last_id,
        messages=stream.messages,
        duplicates=stream.duplicates,
        gaps_opened=stream.gaps_opened,
        refused_rows=stream.refused_rows,
        reconnects=stream.reconnects,
        known_bids=known_bids,
        known_asks=known_asks,
        unbroken_since_id=stream.unbroken_since_id,
        committed_id=stream.committed_id,
        former_since_id=stream.former[0],
        former_until_id=stream.former[1],
    )


def _coarse_state(stream: Stream, *, feed_is_live: bool) -> StreamState:
    """What a shard can say of a stream; whether its silence is right is not for it to judge."""
    if not stream.messages:
        return StreamState.STARTING
    return StreamState.LIVE if feed_is_live else StreamState.RECOVERING
