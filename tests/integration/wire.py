"""A feed on a wire to the exchange double, and what its lane was told."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from ingest.binance.streams import request_messages
from ingest.book.sync import BookSync
from ingest.clock import SystemClock
from ingest.feed.backoff import BackoffLimits
from ingest.feed.budget_file import BudgetLimits, SharedBudget
from ingest.feed.connection import Feed, RequestWriter
from ingest.feed.contract import FeedEnd, FeedLimits, FeedSession
from ingest.feed.dialling import open_dial
from ingest.feed.lifecycle import FeedPhase
from ingest.feed.socket import Dial, WsClient
from ingest.shard.pipeline import FeedLane
from ingest.shard.stream import Stream
from ingest.sim.limits import Limits
from ingest.sim.market import MarketPlan
from ingest.sim.server import DoubleConfig, ExchangeDouble
from tests.unit.shard.builders import Bench, a_lane

SYMBOL = "BTCUSDT"
DEADLINE_S = 30.0
QUICK = FeedLimits(
    connect_s=5.0,
    close_s=0.2,
    settle_s=0.3,
    overlap_s=1.0,
    hurried_overlap_s=1.0,
    backoff=BackoffLimits(cap_s=30.0),
)


async def until(condition: Callable[[], object]) -> None:
    """Until the condition holds; TimeoutError when it does not."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


class NoChance(random.Random):
    """Draws nothing, so that nobody waits; remembers the ceilings that it was asked to draw below."""

    def __init__(self) -> None:
        super().__init__(1)
        self.ceilings: list[float] = []

    def uniform(self, a: float, b: float) -> float:
        self.ceilings.append(b)
        return a


def _recorded(stream: Stream) -> list[int]:
    ids: list[int] = []
    store, store_next = stream.store, stream.store_next

    def record(row: bytes, ts_us: int, last_id: int, *more: int) -> None:
        ids.append(last_id)
        store(row, ts_us, last_id, *more)

    def record_next(row: bytes, ts_us: int, first_id: int, last_id: int, recv_ns: int) -> None:
        ids.append(last_id)
        store_next(row, ts_us, first_id, last_id, recv_ns)

    # Methods of this one stream: the long way and the short one.
    setattr(stream, "store", record)  # noqa: B010
    setattr(stream, "store_next", record_next)  # noqa: B010
    return ids


class Wire:
    """A feed and its lane, and what the lane was told."""

    def __init__(self, double: ExchangeDouble, budget: SharedBudget, dial: Dial) -> None:
        self.double, self.budget, self.dial = double, budget, dial
        self.rng = NoChance()
        self.sessions: list[FeedSession] = []
        self.ends: list[FeedEnd] = []
        self.bench = Bench()
        self.book = BookSync(SYMBOL)
        self.trade = self.bench.stream("trade")
        self.depth = self.bench.stream("depth", book=self.book)
        self.ticker = self.bench.stream("book_ticker")
        self.streams = [self.trade, self.depth, self.ticker]
        self.stored = {stream.key.kind: _recorded(stream) for stream in self.streams}
        """The ids of the rows that each stream has stored, by kind, in that order."""
        self.lane: FeedLane = a_lane(self.streams, on_session=self._on_session)

    def _on_session(self, session: FeedSession, _streams: int, end: FeedEnd | None) -> None:
        if end is None:
            self.sessions.append(session)
        else:
            self.ends.append(end)

    def feed(
        self,
        limits: FeedLimits = QUICK,
        write: RequestWriter = request_messages,
        url: str | None = None,
        number: int = 3,
    ) -> Feed:
        feed = Feed(
            number,
            url or f"{self.double.ws_url}/stream",
            self.lane.names_of(self.streams),
            write=write,
            sink=self.lane,
            dial=self.dial,
            budget=self.budget,
            clock=SystemClock(),
            rng=self.rng,
            limits=limits,
        )
        self.lane.attach(feed)
        return feed

    @asynccontextmanager
    async def running(self, feed: Feed) -> AsyncIterator[Feed]:
        """The feed runs until the block is left."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(feed.run())
            yield feed
            task.cancel()

    async def until_live_again(self, feed: Feed, sessions: int = 2) -> None:
        await until(lambda: len(self.sessions) >= sessions and feed.phase is FeedPhase.LIVE)


@asynccontextmanager
async def a_wire(tmp_path: Path, config: DoubleConfig, client: WsClient = "aiohttp") -> AsyncIterator[Wire]:
    clock = SystemClock()
    budget = SharedBudget(tmp_path / "budget", BudgetLimits(), clock=clock, rng=random.Random(1))
    try:
        async with ExchangeDouble(config) as double, open_dial(client, clock.wall_ns) as dial:
            yield Wire(double, budget, dial)
    finally:
        budget.close()


MARKET = DoubleConfig(market=MarketPlan(named=(SYMBOL,), rate=100.0), limits=Limits(ping_interval_s=0.5))
SILENT = replace(MARKET, start="manual")
