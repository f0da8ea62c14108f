"""The feeds of a shard against the exchange double: the plan, and every order carried out while data come."""

import asyncio
import random
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from ingest.board.layout import BoardSnapshot, StreamState
from ingest.board.mapped import BoardWriter, read_board
from ingest.buffer.tables import BOOK_TICKERS, TRADES
from ingest.clock import SystemClock
from ingest.events import Gap, StreamKey
from ingest.feed.budget_file import Budget, BudgetLimits, SharedBudget
from ingest.feed.dialling import open_dial
from ingest.feed.lifecycle import FeedPhase
from ingest.feed.socket import Dial
from ingest.shard.books import Books
from ingest.shard.feeds import Feeds, ResumePoints, Surroundings
from ingest.shard.orders import Adopt, Drop, Order, Probe, ReplaceFeed, Resubscribe
from ingest.shard.pipeline import SessionCounters
from ingest.shard.plan import FeedPlan
from ingest.shard.records import SessionRecords
from ingest.shard.status import CachedInstant, Sources, StatusWriter
from ingest.sim import faults
from ingest.sim.limits import Limits
from ingest.sim.market import MarketPlan
from ingest.sim.server import DoubleConfig, ExchangeDouble
from ingest.store.journal import Entry, Journal
from ingest.store.lookup import ResumePoint
from tests.integration.wire import QUICK, until
from tests.unit.shard.builders import Bench

SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
BTC = [StreamKey("spot", "BTCUSDT", kind) for kind in ("trade", "depth", "book_ticker")]
ETH = [StreamKey("spot", "ETHUSDT", kind) for kind in ("trade", "depth", "book_ticker")]
BNB = [StreamKey("spot", "BNBUSDT", kind) for kind in ("trade", "depth")]
IDS = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)}
MARKET = MarketPlan(named=SYMBOLS, rate=600.0)


class KeptJournal:
    """Keeps what was recorded."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def record(self, entry: Entry) -> None:
        self.entries.append(entry)


class Carriage:
    """Feeds of a shard with a board, and a database that the test answers for."""

    def __init__(self, double: ExchangeDouble, board: BoardWriter, surroundings: "Parts") -> None:
        self.double, self.board, self.parts = double, board, surroundings
        self.orders: asyncio.Queue[Order] = asyncio.Queue()
        self.known = asyncio.Event()
        self.known.set()
        self.points: dict[tuple[str, str], ResumePoint] = {}
        self.feeds = Feeds(surroundings.around(self))
        sources = Sources(
            feeds=self.feeds.carried,
            books=surroundings.books,
            batcher=surroundings.bench.batcher,
            counters=surroundings.counters,
            snapshots=lambda: (0, 0),
            store=lambda: (0, True),
            weight_used=lambda: 0,
            tasks=lambda: 0,
        )
        self.status = StatusWriter(board, sources, clock=SystemClock(), instant=surroundings.instant)

    async def look_up(self, keys: Collection[StreamKey]) -> ResumePoints:
        await self.known.wait()
        return self.points

    def shown(self) -> BoardSnapshot:
        self.status.write_all()
        return read_board(self.board.path)

    def messages(self, *keys: StreamKey) -> list[int]:
        counts = {stream.key: stream.messages for stream in self.feeds.streams.values()}
        return [counts.get(key, -1) for key in keys]

    def connection_with(self, name: str) -> int:
        """The number of the connection that carries a stream."""
        connections = self.double.connections.items()
        return next(number for number, each in connections if name in each.subscriptions.names)

    async def speaking(self, *keys: StreamKey) -> None:
        """Until each of these streams speaks (again)."""
        before = self.messages(*keys)
        await until(lambda: all(now > then for now, then in zip(self.messages(*keys), before, strict=True)))
        before = self.messages(*keys)
        await until(lambda: all(now > then for now, then in zip(self.messages(*keys), before, strict=True)))


class Parts:
    """What a shard hands to its feeds."""

    def __init__(self, double: ExchangeDouble, folder: Path, dial: Dial) -> None:
        self.clock = SystemClock()
        self.rng = random.Random(1)
        self.double, self.dial = double, dial
        self.budget = SharedBudget(folder / "budget", BudgetLimits(), clock=self.clock, rng=self.rng)
        self.bench = Bench()
        self.counters = SessionCounters()
        self.instant = CachedInstant(self.clock)
        self.journal = KeptJournal()
        self.board = BoardWriter.create(
            folder / "a.board",
            shard=1,
            pid=42,
            keys=[*BTC, *ETH],
            feeds=[4, 5],
            started_wall_ns=1,
            spare_streams=3,
            spare_feeds=1,
        )
        self.books = Books(
            self.bench.batcher, clock=self.clock, instant=self.instant, store_every_s=300.0, stored_levels=10
        )

    def around(self, carriage: Carriage) -> Surroundings:
        return Surroundings(
            url=f"{self.double.ws_url}/stream",
            dial=self.dial,
            budget=self.budget,
            board=self.board,
            clock=self.clock,
            rng=self.rng,
            batcher=self.bench.batcher,
            instant=self.instant,
            counters=self.counters,
            records=SessionRecords(
                1, cast(Journal, self.journal), clock=self.clock, kept_frames_per_minute=10
            ),
            books=self.books,
            look_up=carriage.look_up,
            limits=QUICK,
        )


@asynccontextmanager
async def a_carriage(folder: Path, limits: Limits | None = None) -> AsyncIterator[Carriage]:
    config = DoubleConfig(market=MARKET, limits=limits or Limits())
    async with (
        ExchangeDouble(config) as double,
        open_dial("aiohttp", SystemClock().wall_ns) as dial,
    ):
        parts = Parts(double, folder, dial)
        carriage = Carriage(double, parts.board, parts)
        carriage.feeds.plan([FeedPlan(4, tuple(BTC)), FeedPlan(5, tuple(ETH))], IDS, {})
        try:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(carriage.feeds.run(carriage.orders))
                await carriage.speaking(*BTC, *ETH)
                yield carriage
                task.cancel()
        finally:
            parts.board.close()
            parts.budget.close()


@pytest.fixture
async def carriage(tmp_path: Path) -> AsyncIterator[Carriage]:
    """Two feeds of three streams each, live, with room for three streams and one feed more."""
    async with a_carriage(tmp_path) as made:
        yield made


async def test_plan_is_carried_out_slot_by_slot(carriage: Carriage) -> None:
    """Feeds and streams stand on the board where the plan has them."""
    board = carriage.shown()

    assert [slot.key for slot in board.streams] == [*BTC, *ETH]
    assert [(feed.feed, feed.streams, feed.sessions) for feed in board.feeds] == [(4, 3, 1), (5, 3, 1)]
    assert {slot.values.state for slot in board.streams} == {StreamState.LIVE}
    assert [slot.values.feed for slot in board.streams] == [4, 4, 4, 5, 5, 5]


async def test_mute_stream_is_asked_for_again(carriage: Carriage) -> None:
    """No connection is touched, no other stream is told."""
    fault = carriage.double.add_fault(faults.MuteStream(symbol="BTCUSDT", kind="trade", until="resubscribe"))
    await until(lambda: fault.touched > 3)
    carriage.orders.put_nowait(Resubscribe((BTC[0],)))
    await carriage.speaking(BTC[0])
    board = carriage.shown()

    assert [slot.values.reconnects for slot in board.streams] == [1, 0, 0, 0, 0, 0]
    assert [feed.reconnects for feed in board.feeds] == [0, 0]
    (gap,) = (gap for gap in carriage.parts.bench.gaps(TRADES) if isinstance(gap, Gap))
    assert (gap.key, gap.cause) == (BTC[0], "resubscribe")


async def test_replaced_feed_tells_only_the_streams_that_were_stale(carriage: Carriage) -> None:
    """A book ticker that was mute has a gap although the hand-over itself lost nothing."""
    fault = carriage.double.add_fault(faults.MuteStream(symbol="BTCUSDT", kind="book_ticker"))
    await until(lambda: fault.touched > 3)
    carriage.orders.put_nowait(ReplaceFeed(4, "stream_stale", (BTC[2],)))
    await until(lambda: carriage.shown().feeds[0].reconnects == 1)
    await carriage.speaking(*BTC)
    board = carriage.shown()

    assert [slot.values.reconnects for slot in board.streams] == [0, 0, 1, 0, 0, 0]
    assert [gap.key for gap in carriage.parts.bench.gaps(BOOK_TICKERS)] == [BTC[2]]
    assert carriage.parts.bench.gaps(TRADES) == []


async def test_probe_is_answered_on_the_board(carriage: Carriage) -> None:
    """Of that feed alone."""
    carriage.orders.put_nowait(Probe(5))
    await until(lambda: carriage.shown().feeds[1].pong_wall_ns)
    first, second = carriage.shown().feeds

    assert first.probe_wall_ns == 0
    assert second.pong_wall_ns >= second.probe_wall_ns > second.connected_wall_ns
    assert second.local_port not in {0, first.local_port}


async def test_new_feed_with_new_streams_while_running(carriage: Carriage) -> None:
    """They continue what the database has: what was missed before is a gap."""
    newest = carriage.double.ledger.entries("BNBUSDT", "trade")[-1].event_id
    carriage.points["BNBUSDT", "trade"] = ResumePoint(newest - 5, 1)
    carriage.orders.put_nowait(Adopt(9, tuple(BNB), IDS))
    await until(lambda: len(carriage.feeds.carried) == 3)
    await carriage.speaking(*BNB)
    board = carriage.shown()

    assert [slot.key for slot in board.streams] == [*BTC, *ETH, *BNB]
    assert [feed.feed for feed in board.feeds] == [4, 5, 9]
    (gap,) = (gap for gap in carriage.parts.bench.gaps(TRADES) if isinstance(gap, Gap))
    assert (gap.key, gap.first_id, gap.cause) == (BNB[0], newest - 4, "restart")
    assert carriage.parts.books.wanted == 3


async def test_new_streams_on_a_feed_that_is_there(carriage: Carriage) -> None:
    """Its connection stays."""
    carriage.orders.put_nowait(Adopt(4, (BTC[0], *BNB), IDS))
    await until(lambda: len(carriage.feeds.streams) == 8)
    await carriage.speaking(*BNB)
    board = carriage.shown()

    assert [(feed.streams, feed.reconnects) for feed in board.feeds] == [(5, 0), (3, 0)]
    assert carriage.parts.budget.used(Budget.CONNECTS) == 2


async def test_dropped_streams_leave_the_board_and_the_connection(carriage: Carriage) -> None:
    """Their books are closed, the others go on, and nothing that still comes is malformed."""
    names = carriage.double.connections[carriage.connection_with("btcusdt@trade")].subscriptions.names
    carriage.orders.put_nowait(Drop((BTC[0], BTC[1])))
    await until(lambda: list(names) == ["btcusdt@bookTicker"])
    await carriage.speaking(BTC[2], *ETH)
    board = carriage.shown()

    assert [slot.key for slot in board.streams] == [BTC[2], *ETH]
    assert (carriage.parts.books.wanted, carriage.parts.counters.malformed) == (1, 0)
    assert carriage.board.free_streams == 5


async def test_feed_without_streams_is_closed(carriage: Carriage) -> None:
    """Its place is free for another one, which may have its number."""
    carriage.orders.put_nowait(Drop(tuple(BTC)))
    await until(lambda: len(carriage.double.connections) == 1)
    assert [feed.feed for feed in carriage.shown().feeds] == [5]

    carriage.orders.put_nowait(Adopt(4, tuple(BTC), IDS))
    await until(lambda: 4 in carriage.feeds.carried)
    await carriage.speaking(*BTC, *ETH)
    assert sorted(feed.feed for feed in carriage.shown().feeds) == [4, 5]


async def test_stream_that_is_dropped_before_the_database_answered_never_comes(carriage: Carriage) -> None:
    """The later order wins."""
    carriage.known.clear()
    carriage.orders.put_nowait(Adopt(9, tuple(BNB), IDS))
    carriage.orders.put_nowait(Drop((BNB[0],)))
    carriage.orders.put_nowait(Probe(4))
    await until(lambda: carriage.shown().feeds[0].probe_wall_ns)
    assert len(carriage.feeds.carried) == 2
    carriage.known.set()
    await until(lambda: 9 in carriage.feeds.carried)

    assert [slot.key for slot in carriage.shown().streams] == [*BTC, *ETH, BNB[1]]


@pytest.mark.parametrize(
    "order",
    [
        Probe(99),
        ReplaceFeed(99, "nobody there"),
        Adopt(9, (*BNB, *(StreamKey("spot", "BNBUSDT", f"kline_{kind}") for kind in ("1m", "1h"))), IDS),
        Adopt(9, (StreamKey("spot", "A" * 100, "trade"),), {"A" * 100: 1}),
        Resubscribe((BNB[0],)),
        Drop((BNB[0],)),
    ],
    ids=["no-feed", "no-feed-to-replace", "no-room", "no-place-for-its-name", "unknown", "unknown-to-drop"],
)
async def test_order_that_cannot_be_carried_out_changes_nothing(carriage: Carriage, order: Order) -> None:
    """And the next one is taken."""
    carriage.orders.put_nowait(order)
    carriage.orders.put_nowait(Probe(4))
    await until(lambda: carriage.shown().feeds[0].probe_wall_ns)

    assert [slot.key for slot in carriage.shown().streams] == [*BTC, *ETH]
    assert carriage.board.free_streams == 3


async def test_feed_that_is_away_is_recovering(carriage: Carriage) -> None:
    """Its streams say so; those of the other feed are live."""
    carriage.double.add_fault(faults.Refuse(status=503))
    carriage.double.add_fault(faults.Reset(connection=carriage.connection_with("btcusdt@trade")))
    await until(lambda: carriage.feeds.carried[4].feed.phase is not FeedPhase.LIVE)
    board = carriage.shown()

    assert [slot.values.state for slot in board.streams] == [
        *[StreamState.RECOVERING] * 3,
        *[StreamState.LIVE] * 3,
    ]
    assert (board.feeds[0].sessions, board.feeds[0].local_port) == (0, 0)
