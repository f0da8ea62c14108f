"""One budget for all processes of this machine: connection attempts, request weight, the ban clock.

The windows of `feed.budget` live in a small memory-mapped file under the data folder, and a lock on
that file guards each look at it. So the limits hold over any number of shards, over restarts, and
while a shard crash-loops. The lock is never held across a wait; it is asked for without blocking,
because a stopped process may hold it.
"""

import asyncio
import fcntl
import mmap
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ingest.clock import Clock
from ingest.errors import BudgetExhausted
from ingest.feed.budget import Window, WindowLimit

_LAYOUT = 0x42554447_0001
"""First word of the file: a name and the version of the layout."""
_HEADER_WORDS = 2
_BANNED_UNTIL_MS = 1
_LONGEST_BAN_S = 3 * 86_400.0
_LOCK_DEADLINE_S = 5.0
_LOCK_POLL_S = 0.005


class Budget(Enum):
    """What is shared."""

    CONNECTS = "connects"
    WEIGHT = "weight"
    REQUESTS = "requests"


@dataclass(frozen=True)
class BudgetLimits:
    """Our share of what the exchange allows one address; the rest is left to others and to jitter."""

    connects_per_5_min: int = 270
    weight_per_min: int = 5_100
    requests_per_5_min: int = 54_000

    def windows(self) -> dict[Budget, WindowLimit]:
        """The limits as windows, in the order in which they lie in the file."""
        return {
            Budget.CONNECTS: WindowLimit(self.connects_per_5_min, 300),
            Budget.WEIGHT: WindowLimit(self.weight_per_min, 60),
            Budget.REQUESTS: WindowLimit(self.requests_per_5_min, 300),
        }


class SharedBudget:
    """The budget file opened by one process. Close it with `close()`."""

    def __init__(self, path: Path, limits: BudgetLimits, *, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        windows = limits.windows()
        size_bytes = 8 * (_HEADER_WORDS + sum(limit.words for limit in windows.values()))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        # A file of another size is from another layout or other periods: begin anew, zero-filled.
        if os.fstat(self._fd).st_size != size_bytes:
            os.ftruncate(self._fd, 0)
            os.ftruncate(self._fd, size_bytes)
        self._map = mmap.mmap(self._fd, size_bytes)
        self._words = memoryview(self._map).cast("q")
        self._words[0] = _LAYOUT
        self._views = list(_slices(self._words, [limit.words for limit in windows.values()]))
        self._windows = {
            name: Window(limit, view)
            for (name, limit), view in zip(windows.items(), self._views, strict=True)
        }

    async def acquire(
        self, name: Budget, amount: int = 1, *, leaving: int = 0, deadline_s: float = 300.0
    ) -> None:
        """Wait until `amount` may be taken with `leaving` free afterwards, and take it.

        Raises BudgetExhausted when that is further away than `deadline_s`, ValueError when the
        whole limit is smaller than both together.
        """
        until_s = self._clock.monotonic_s() + deadline_s
        while wait_s := await self._try_acquire(name, amount, leaving):
            # Waiters of all processes wake up for the same second; jitter spreads them over the next.
            wait_s += self._rng.uniform(0.0, 0.5)
            if self._clock.monotonic_s() + wait_s > until_s:
                raise BudgetExhausted(f"no room for {amount} {name.value} within {deadline_s:g} s")
            await asyncio.sleep(wait_s)

    async def ban(self, for_s: float) -> None:
        """The exchange told this address to be quiet (429, 418): nobody asks before it is over."""
        async with self._exclusive():
            until_ms = int((self._clock.monotonic_s() + for_s) * 1000)
            self._words[_BANNED_UNTIL_MS] = max(self._words[_BANNED_UNTIL_MS], until_ms)

    async def observe_weight(self, used: int) -> None:
        """Take over the exchange's own count of the weight used in this minute."""
        async with self._exclusive():
            self._windows[Budget.WEIGHT].observe(self._clock.monotonic_s(), used)

    def used(self, name: Budget) -> int:
        """What is in the window now (a reading for metrics, taken without the lock)."""
        return self._windows[name].used(self._clock.monotonic_s())

    def room(self, name: Budget, *, share: float) -> int:
        """What may be taken now, at most, to leave the rest of the limit to others; never below 0.

        A reading without the lock, for work that can wait: somebody else may take it first.
        """
        if self.banned_for_s():
            return 0
        return max(int(self._windows[name].limit.amount * share) - self.used(name), 0)

    def filling(self) -> dict[str, tuple[int, int]]:
        """Of each window by name: what is in it now, and its limit."""
        return {name.value: (self.used(name), window.limit.amount) for name, window in self._windows.items()}

    def banned_for_s(self) -> float:
        """Seconds until the ban is over, 0 when there is none."""
        left_s = self._words[_BANNED_UNTIL_MS] / 1000 - self._clock.monotonic_s()
        # What is further away than the longest ban was written before the machine's last start.
        return left_s if 0 < left_s <= _LONGEST_BAN_S else 0.0

    def close(self) -> None:
        """Unmap and close the file; the budget cannot be used afterwards."""
        for view in (*self._views, self._words):
            view.release()
        self._map.close()
        os.close(self._fd)

    async def _try_acquire(self, name: Budget, amount: int, leaving: int) -> float:
        async with self._exclusive():
            # Sockets are a service of their own: a REST ban does not stop them.
            if name is not Budget.CONNECTS and (banned_s := self.banned_for_s()):
                return banned_s
            return self._windows[name].reserve(self._clock.monotonic_s(), amount, leaving=leaving)

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        """Hold the lock for as long as the body runs, which must not wait for anything."""
        try:
            async with asyncio.timeout(_LOCK_DEADLINE_S):
                while not self._try_lock():
                    await asyncio.sleep(_LOCK_POLL_S)
        except TimeoutError:
            raise BudgetExhausted("another process has held the budget file's lock for too long") from None
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _slices(words: memoryview, lengths: list[int]) -> Iterator[memoryview]:
    start = _HEADER_WORDS
    for length in lengths:
        yield words[start : start + length]
        start += length
