"""Fetching depth snapshots for the books that ask for one.

Requests wait in one queue, bounded by the number of symbols because a symbol stands in it once. A
few workers take what is due; the shared weight budget decides how fast they may go, and `fetch` how
deep a snapshot shall be. A failed fetch is told to the book's machine, which asks again with a higher
attempt number, and that number decides the jittered wait. Only a refusal that concerns the whole place
(HTTP 451) leaves `run`.
"""

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from ingest.clock import Clock
from ingest.errors import BudgetExhausted, ExchangeError
from ingest.events import DepthSnapshot

log = structlog.get_logger()


@dataclass(frozen=True)
class SnapshotLimits:
    """A repeated attempt waits up to `first_s` doubled each time, at most `cap_s`."""

    workers: int = 4
    first_s: float = 0.5
    cap_s: float = 30.0


class SnapshotFetcher:
    """`fetch(symbol)` asks the exchange; the outcome goes to `on_snapshot` or `on_failed`."""

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[DepthSnapshot]],
        *,
        on_snapshot: Callable[[DepthSnapshot], None],
        on_failed: Callable[[str], None],
        clock: Clock,
        rng: random.Random,
        limits: SnapshotLimits,
    ) -> None:
        self.fetched = 0
        self._fetch = fetch
        self._on_snapshot = on_snapshot
        self._on_failed = on_failed
        self._clock = clock
        self._rng = rng
        self._limits = limits
        self._due: list[tuple[float, str]] = []
        self._waiting: set[str] = set()
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Symbols whose snapshot has been asked for and has not come yet."""
        return len(self._waiting)

    def request(self, symbol: str, attempt: int) -> None:
        """Put a symbol into the queue; `attempt` counts from 0. A symbol that waits already stays."""
        if symbol in self._waiting:
            return
        self._waiting.add(symbol)
        heapq.heappush(self._due, (self._clock.monotonic_s() + self._delay_s(attempt), symbol))
        self._wake.set()

    async def run(self) -> None:
        """Fetch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._limits.workers):
                group.create_task(self._work())

    def _delay_s(self, attempt: int) -> float:
        if attempt == 0:
            return 0.0
        ceiling = self._limits.first_s * 2.0 ** min(attempt - 1, 16)
        return self._rng.uniform(0.0, min(self._limits.cap_s, ceiling))

    async def _work(self) -> None:
        while True:
            await self._fetch_one(await self._next_due())

    async def _next_due(self) -> str:
        while True:
            wait_s = self._due[0][0] - self._clock.monotonic_s() if self._due else None
            if wait_s is not None and wait_s <= 0:
                return heapq.heappop(self._due)[1]
            self._wake.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _fetch_one(self, symbol: str) -> None:
        try:
            snapshot = await self._fetch(symbol)
        except (ExchangeError, BudgetExhausted) as error:
            log.warning("snapshot.failed", symbol=symbol, error=str(error))
            self._waiting.discard(symbol)
            self._on_failed(symbol)
        else:
            self.fetched += 1
            self._waiting.discard(symbol)
            self._on_snapshot(snapshot)
