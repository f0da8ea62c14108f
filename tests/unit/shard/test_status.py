"""`ingest.shard.status`: the board says what the shard's parts say, and the heartbeat beats."""

import asyncio
from pathlib import Path

import pytest

from ingest.board.layout import BoardSnapshot, FeedState, ShardState, StreamState
from ingest.board.mapped import BoardWriter, board_path, read_board
from ingest.buffer.spool_limits import SpoolStats
from ingest.events import StreamKey
from ingest.feed.contract import Signs
from ingest.feed.endings import EndClass
from ingest.feed.lifecycle import FeedPhase
from ingest.shard.books import Books
from ingest.shard.feeds import CarriedFeed
from ingest.shard.pipeline import SessionCounters
from ingest.shard.status import TICK_S, CachedInstant, Sources, StatusWriter
from tests.unit.shard import builders as a
from tests.unit.shard.builders import RECV_NS, Bench, FakeFeed, SetClock, a_lane


class Shown:
    """A status writer over a bench with one stream on one feed, and its board read back."""

    def __init__(self, folder: Path) -> None:
        self.bench, self.feed, self.clock = Bench(), FakeFeed(), SetClock()
        self.stream = self.bench.stream("trade")
        self.counters = SessionCounters()
        self.spool = SpoolStats()
        self.lane = a_lane([self.stream], self.feed)
        self.path = board_path(folder, 1)
        keys = [StreamKey("spot", a.SYMBOL, "trade")]
        self.board = BoardWriter.create(
            self.path, shard=1, pid=42, keys=keys, feeds=[3], started_wall_ns=RECV_NS
        )
        instant = CachedInstant(self.clock)
        books = Books(
            self.bench.batcher, clock=self.clock, instant=instant, store_every_s=300.0, stored_levels=100
        )
        sources = Sources(
            feeds={3: CarriedFeed(self.feed, self.lane, 0)},  # type: ignore[arg-type]
            books=books,
            batcher=self.bench.batcher,
            counters=self.counters,
            snapshots=lambda: (4, 2),
            store=lambda: (3, False),
            weight_used=lambda: 250,
            tasks=lambda: 17,
            spool=lambda: self.spool,
        )
        self.status = StatusWriter(self.board, sources, clock=self.clock, instant=instant)

    def read(self) -> BoardSnapshot:
        self.status.write_all()
        return read_board(self.path)


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return Shown(tmp_path)


def test_header_says_what_the_parts_say(shown: Shown) -> None:
    """Counters, what waits, snapshots, the store, and the state that was set from outside."""
    shown.status.state = ShardState.DRAINING
    shown.stream.accept(a.trade(1), RECV_NS)
    shown.counters.frames, shown.counters.malformed = 9, 2
    header = shown.read().header

    assert header.state is ShardState.DRAINING
    assert (header.frames, header.malformed_frames, header.buffered_rows) == (9, 2, 1)
    assert header.oldest_buffered_recv_ns == RECV_NS
    assert (header.snapshots_fetched, header.snapshots_waiting) == (4, 2)
    assert (header.store_errors, header.database_up, header.rest_weight_used) == (3, 0, 250)
    assert header.tasks == 17


def test_header_says_what_waits_on_the_disk(shown: Shown) -> None:
    """And the oldest row that is not committed is the disk's, when that is older than any in memory."""
    shown.stream.accept(a.trade(1), RECV_NS)
    shown.spool = SpoolStats(4, 20, 2_000, RECV_NS - 5, is_full=True, damaged_batches=1, spooled_rows=70)
    header = shown.read().header

    assert header.oldest_buffered_recv_ns == header.oldest_spooled_recv_ns == RECV_NS - 5
    assert (header.spooled_rows, header.spooled_bytes, header.spool_full) == (20, 2_000, 1)
    assert (header.spooled_rows_ever, header.spool_damaged_batches) == (70, 1)


def test_feed_says_why_its_connections_ended(shown: Shown) -> None:
    """Reasons are counted by class."""
    shown.feed.ends.add("closed_by_exchange: going away")
    (feed,) = shown.read().feeds

    assert {kind: count for kind, count in feed.ends.items() if count} == {EndClass.CLOSED_BY_EXCHANGE: 1}


def test_stream_says_what_was_received_and_committed(shown: Shown) -> None:
    """Committed is not received."""
    shown.stream.accept(a.trade(1), RECV_NS)
    (slot,) = shown.read().streams

    assert (slot.values.last_event_us, slot.values.committed_event_us) == (a.T0_US + 1_000, 0)
    assert (slot.values.last_id, slot.values.messages, slot.values.feed) == (1, 1, 3)


def test_stream_s_state_is_what_a_shard_can_know(shown: Shown) -> None:
    """It has not spoken yet, it has, its feed is away; whether it is silent is judged elsewhere."""
    states = []
    for accept, phase in ((False, FeedPhase.LIVE), (True, FeedPhase.LIVE), (True, FeedPhase.CONNECTING)):
        if accept:
            shown.stream.accept(a.trade(1), RECV_NS)
        shown.feed.phase = phase
        states.append(shown.read().streams[0].values.state)

    assert states == [StreamState.STARTING, StreamState.LIVE, StreamState.RECOVERING]


def test_feed_says_what_can_be_seen_of_its_connection(shown: Shown) -> None:
    """Each sign in its own word."""
    shown.feed.signs = Signs(1, 2, 3, 4, 5, 6)
    shown.feed.sessions = 2
    (feed,) = shown.read().feeds

    assert (feed.feed, feed.sessions) == (3, 2)
    assert (feed.connected_wall_ns, feed.last_ping_ns, feed.probe_wall_ns) == (1, 2, 3)
    assert (feed.pong_wall_ns, feed.pong_latency_us, feed.local_port) == (4, 5, 6)


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        (FeedPhase.CONNECTING, FeedState.CONNECTING),
        (FeedPhase.SUBSCRIBING, FeedState.SUBSCRIBING),
        (FeedPhase.LIVE, FeedState.LIVE),
        (FeedPhase.CLOSED, FeedState.CLOSED),
        (FeedPhase.STOPPED, FeedState.CLOSED),
    ],
)
def test_feed_says_its_phase(shown: Shown, phase: FeedPhase, state: FeedState) -> None:
    """In the board's words."""
    shown.feed.phase = phase

    assert shown.read().feeds[0].state is state


def test_stream_that_never_spoke_on_this_connection_is_counted_as_silent(shown: Shown) -> None:
    """What it said on an earlier connection does not count."""
    assert shown.read().feeds[0].silent_streams == 1
    shown.stream.accept(a.trade(1), RECV_NS)
    assert shown.read().feeds[0].silent_streams == 0
    shown.stream.broke()
    assert shown.read().feeds[0].silent_streams == 1


def test_instant_stands_until_it_is_refreshed() -> None:
    """A message's cached time is that of the newest tick."""
    clock = SetClock()
    instant = CachedInstant(clock)
    clock.now_s, clock.now_ns = 2_000.0, RECV_NS + 1_000_000
    assert instant.now_s == 1_000.0

    instant.refresh()
    assert (instant.now_s, instant.wall_us) == (2_000.0, RECV_NS // 1_000 + 1_000)


class LoopClock(SetClock):
    """Follows the event loop, so that a tick takes as long as it sleeps."""

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


@pytest.mark.virtual_time
async def test_heart_beats_at_every_tick(shown: Shown) -> None:
    """The loop itself writes it; all values follow every few ticks."""
    shown.status._clock = shown.status._instant._clock = LoopClock()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10 * TICK_S + TICK_S / 2):
            await shown.status.run()

    assert read_board(shown.path).heartbeat.monotonic_ns == pytest.approx(1e9 * 10 * TICK_S, rel=0.01)


def test_stream_without_news_is_not_written_each_time(shown: Shown) -> None:
    """A slot that says all there is stays as it is, but for a full writing now and then."""
    shown.stream.accept(a.trade(1), RECV_NS)
    before = shown.read().streams[0].values
    shown.stream.last_recv_ns += 1  # nothing but a message does so
    same = [shown.read().streams[0].values for _ in range(9)]
    shown.read()

    assert same == [before] * 9
    assert shown.read().streams[0].values.last_recv_ns == RECV_NS + 1
