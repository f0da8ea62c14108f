"""Second looks at live books: when they happen, what they cost, and what becomes of their outcome."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from ingest.book.depths import DepthGoals, KnownDepth
from ingest.errors import BudgetExhausted, ExchangeError, LocationRefused, RestUnavailable
from ingest.events import DepthSnapshot
from ingest.shard.looks import LookLimits, Looks, Told

pytestmark = pytest.mark.virtual_time


class LoopClock:
    """Both clocks follow the event loop, whose time jumps."""

    def wall_ns(self) -> int:
        return int(self.monotonic_s() * 1e9)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class Shelf:
    """Books as `Looks` sees them: each look deepens one, within a minute's weight."""

    def __init__(self, *symbols: str, weight_per_min: int = 1_000) -> None:
        self.asked = dict.fromkeys(symbols, 100)
        self.looked_at: dict[str, float] = {}
        self.looks: list[tuple[str, int, float]] = []
        self.failed: list[str] = []
        self.lost: set[str] = set()
        self.trouble: ExchangeError | BudgetExhausted | None = None
        self.weight_per_min = weight_per_min

    def known(self) -> list[KnownDepth]:
        return [
            KnownDepth(symbol, asked, asked, float(len(symbol)), self.looked_at.get(symbol, 0.0))
            for symbol, asked in self.asked.items()
        ]

    def look_again(self, symbol: str) -> bool:
        self.looked_at[symbol] = asyncio.get_running_loop().time()
        return symbol not in self.lost

    def on_snapshot(self, snapshot: DepthSnapshot) -> None:
        self.asked[snapshot.symbol] = max(self.asked[snapshot.symbol], snapshot.last_update_id)

    def on_failed(self, symbol: str) -> None:
        self.failed.append(symbol)

    def room(self) -> int:
        now_s = asyncio.get_running_loop().time()
        used = sum(levels // 20 for _, levels, at_s in self.looks if at_s > now_s - 60)
        return self.weight_per_min - used

    async def fetch(self, symbol: str, levels: int) -> DepthSnapshot:
        self.looks.append((symbol, levels, asyncio.get_running_loop().time()))
        if self.trouble is not None:
            raise self.trouble
        return DepthSnapshot(symbol, levels, 0, [], [], "resync", 0)


@asynccontextmanager
async def running(shelf: Shelf, *, audit_every_s: float = 1e6, full: int = 1_000) -> AsyncIterator[None]:
    """Looks that go on until the block is left."""
    looks = Looks(
        shelf,  # type: ignore[arg-type]
        shelf.fetch,
        shelf.room,
        Told(shelf.look_again, shelf.on_snapshot, shelf.on_failed),
        clock=LoopClock(),
        rng=random.Random(1),
        limits=LookLimits(DepthGoals(full=full), audit_every_s),
    )
    await asyncio.sleep(1_000.0)  # so that no book was looked at a moment ago
    async with asyncio.TaskGroup() as group:
        task = group.create_task(looks.run())
        yield
        task.cancel()


async def test_all_books_are_deepened_within_the_weight() -> None:
    """The most active first, and never more than there is to spare in any minute."""
    symbols = [f"{'X' * number}USDT" for number in range(60)]
    shelf = Shelf(*symbols, weight_per_min=500)
    async with running(shelf):
        await asyncio.sleep(600)

    assert [symbol for symbol, _, _ in shelf.looks] == symbols[::-1]
    assert set(shelf.asked.values()) == {1_000}
    times = [at_s for _, _, at_s in shelf.looks]
    assert all(later - earlier > 59 for earlier, later in zip(times, times[10:], strict=False))


async def test_books_are_audited_at_their_pace() -> None:
    """One book each time, drawn by lot; the first one some time after the start."""
    shelf = Shelf("A", "B", "C")
    async with running(shelf, audit_every_s=60.0, full=100):
        await asyncio.sleep(6_000)

    times = [at_s for _, _, at_s in shelf.looks]
    assert len(times) == pytest.approx(100, abs=2)
    assert {later - earlier for earlier, later in pairwise(times)} <= {60.0, 61.0}
    assert {symbol for symbol, _, _ in shelf.looks} == {"A", "B", "C"}
    assert {levels for _, levels, _ in shelf.looks} == {100}


async def test_nothing_is_looked_at_while_the_budget_is_tight() -> None:
    """An audit that is due waits until there is room."""
    shelf = Shelf("A", weight_per_min=4)
    async with running(shelf, audit_every_s=100.0):
        await asyncio.sleep(600)
        assert shelf.looks == []
        shelf.weight_per_min = 60
        await asyncio.sleep(15)

    assert [levels for _, levels, _ in shelf.looks] == [100, 1_000]


@pytest.mark.parametrize("trouble", [RestUnavailable("503"), LocationRefused("451"), BudgetExhausted("full")])
async def test_look_that_fails_is_told_and_tried_again_later(
    trouble: ExchangeError | BudgetExhausted,
) -> None:
    """The book's machine hears of it; ten seconds pass before the same book is tried again."""
    shelf = Shelf("A")
    shelf.trouble = trouble
    async with running(shelf):
        await asyncio.sleep(25)

    assert shelf.failed == ["A", "A", "A"]


async def test_book_that_is_lost_meanwhile_is_not_fetched() -> None:
    """It has a snapshot of its own coming."""
    shelf = Shelf("A")
    shelf.lost.add("A")
    async with running(shelf):
        await asyncio.sleep(25)

    assert shelf.looks == []
