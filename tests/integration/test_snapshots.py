"""The snapshot queue: who is asked for when, what becomes of the outcome, and how failures slow it down."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from ingest.book.snapshots import SnapshotFetcher, SnapshotLimits
from ingest.errors import BudgetExhausted, LocationRefused, RateLimited, RestRefused, RestUnavailable
from ingest.events import DepthSnapshot

pytestmark = pytest.mark.virtual_time


class LoopClock:
    """Both clocks follow the event loop, whose time jumps."""

    def wall_ns(self) -> int:
        return int(self.monotonic_s() * 1e9)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class TopOfTheRange(random.Random):
    """Draws the ceiling every time."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Exchange:
    """Answers after `takes_s`, or raises what is prepared for a symbol; remembers when it was asked."""

    def __init__(self, *, takes_s: float = 1.0) -> None:
        self.takes_s = takes_s
        self.asked: list[tuple[str, float]] = []
        self.troubles: dict[str, list[Exception]] = {}
        self.busy = self.most_busy = 0
        self.got: list[str] = []
        self.failed: list[str] = []
        self.react: Callable[[str], None] = lambda _: None

    def on_failed(self, symbol: str) -> None:
        self.failed.append(symbol)
        self.react(symbol)

    async def depth(self, symbol: str) -> DepthSnapshot:
        self.asked.append((symbol, asyncio.get_running_loop().time()))
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        await asyncio.sleep(self.takes_s)
        self.busy -= 1
        if self.troubles.get(symbol):
            raise self.troubles[symbol].pop(0)
        return DepthSnapshot(symbol, 1, 0, [], [], "resync", 0)


@asynccontextmanager
async def running(exchange: Exchange, limits: SnapshotLimits | None = None) -> AsyncIterator[SnapshotFetcher]:
    """A fetcher that works until the block is left."""
    fetcher = SnapshotFetcher(
        exchange.depth,
        on_snapshot=lambda snapshot: exchange.got.append(snapshot.symbol),
        on_failed=exchange.on_failed,
        clock=LoopClock(),
        rng=TopOfTheRange(),
        limits=limits or SnapshotLimits(),
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(fetcher.run())
        yield fetcher
        task.cancel()


def after(seconds: float) -> Awaitable[None]:
    return asyncio.sleep(seconds)


async def test_requested_snapshot_is_delivered() -> None:
    """Once for a symbol, however often it is asked for meanwhile; and again when asked for later."""
    exchange = Exchange()
    async with running(exchange) as fetcher:
        fetcher.request("BTCUSDT", 0)
        fetcher.request("BTCUSDT", 0)
        assert fetcher.waiting == 1
        await after(5)
        assert (exchange.got, fetcher.waiting, fetcher.fetched) == (["BTCUSDT"], 0, 1)

        fetcher.request("BTCUSDT", 0)
        await after(5)
        assert exchange.got == ["BTCUSDT", "BTCUSDT"]


async def test_no_more_than_so_many_are_fetched_at_once() -> None:
    """A mass resync is a queue, in the order of the requests."""
    exchange = Exchange()
    symbols = [f"S{number:03}USDT" for number in range(100)]
    async with running(exchange, SnapshotLimits(workers=4)) as fetcher:
        for symbol in symbols:
            fetcher.request(symbol, 0)
        await after(30)

    assert exchange.most_busy == 4
    assert sorted(exchange.got) == symbols


@pytest.mark.parametrize(
    "trouble",
    [RestUnavailable("503"), RateLimited(429, 1.0), RestRefused("400"), BudgetExhausted("full")],
    ids=lambda error: type(error).__name__,
)
async def test_failure_is_told_and_stops_nothing(trouble: Exception) -> None:
    """The book's machine hears of it, and others are fetched on."""
    exchange = Exchange()
    exchange.troubles["BTCUSDT"] = [trouble]
    async with running(exchange, SnapshotLimits(workers=1)) as fetcher:
        fetcher.request("BTCUSDT", 0)
        fetcher.request("ETHUSDT", 0)
        await after(5)

    assert (exchange.failed, exchange.got) == (["BTCUSDT"], ["ETHUSDT"])


async def test_repeated_attempts_wait_ever_longer_up_to_the_cap() -> None:
    """The first at once, then within 0.5 s, 1 s, 2 s … of each failure."""
    exchange = Exchange(takes_s=0.0)
    exchange.troubles["BTCUSDT"] = [RestUnavailable("503")] * 9
    async with running(exchange, SnapshotLimits(first_s=0.5, cap_s=8.0)) as fetcher:
        attempts = iter(range(1, 20))
        exchange.react = lambda symbol: fetcher.request(symbol, next(attempts))
        fetcher.request("BTCUSDT", 0)
        await after(100)

    times = [at_s for _, at_s in exchange.asked]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 8, 8, 8, 8], abs=0.01)
    assert exchange.got == ["BTCUSDT"]


async def test_waiting_symbol_does_not_hold_up_others() -> None:
    """One that has to wait stands beside the queue, not at its head."""
    exchange = Exchange()
    async with running(exchange, SnapshotLimits(workers=1, cap_s=30.0)) as fetcher:
        fetcher.request("SLOWUSDT", 10)
        await after(1)
        fetcher.request("BTCUSDT", 0)
        await after(2)
        assert exchange.got == ["BTCUSDT"]

        await after(40)
        assert exchange.got == ["BTCUSDT", "SLOWUSDT"]


async def test_refused_location_is_a_snapshot_that_failed() -> None:
    """HTTP 451 from REST takes down no feed that receives; the book's machine asks again."""
    exchange = Exchange()
    exchange.troubles["BTCUSDT"] = [LocationRefused("451")]
    async with running(exchange) as fetcher:
        fetcher.request("BTCUSDT", 0)
        await after(10)
        assert exchange.failed == ["BTCUSDT"]
        fetcher.request("BTCUSDT", 1)
        await after(10)

        assert exchange.got == ["BTCUSDT"]
