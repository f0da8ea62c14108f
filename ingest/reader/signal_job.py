"""A signal job: a fast moving average that crosses a slow one. It stands still while its data are stale.

    python -m ingest.reader.signal_job BTCUSDT    # the service that runs here, or INGEST_DATABASE_URL

It sees every trade once and in order, however often the stream, the database or the service goes away: the id
of the last trade is all that it has to remember. While it cannot know what is going on it says so and does
nothing, and it goes on by itself with the trades that it has missed. It places no orders.
"""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress

from ingest.errors import StoreUnavailable
from ingest.reader import AsyncReader, IncompleteData, StaleData, Trade

MAX_AGE_S = 5.0
"""What is older than this is no ground to act on."""


class Cross:
    """Exponential averages of the prices of trades; `update` says when the fast one crosses the slow one."""

    def __init__(self, *, fast: int = 50, slow: int = 500) -> None:
        """`fast` and `slow` are spans in trades."""
        self._weights = 2 / (fast + 1), 2 / (slow + 1)
        self._warm_up = slow
        self.clear()

    def clear(self) -> None:
        """Forget: an average over a hole is not one."""
        self._trades = 0
        self._fast = self._slow = 0.0
        self.side = ""

    def update(self, trade: Trade) -> str | None:
        """Take the next trade; "long" or "flat" when that is new."""
        price, (fast, slow) = float(trade.price), self._weights
        self._trades += 1
        self._fast = price if self._trades == 1 else self._fast + fast * (price - self._fast)
        self._slow = price if self._trades == 1 else self._slow + slow * (price - self._slow)
        side = "long" if self._fast > self._slow else "flat"
        if self._trades < self._warm_up or side == self.side:
            return None
        self.side = side
        return side


async def run(
    reader: AsyncReader,
    symbol: str,
    strategy: Cross,
    *,
    since: int | None = None,
    tell: Callable[[str], None] = print,
) -> None:
    """Act on each trade behind the id `since` (None: from now on) until cancelled."""
    while True:
        try:
            async for trade in reader.follow(symbol, since=since, max_age=MAX_AGE_S):
                since = trade.id
                if (side := strategy.update(trade)) is not None:
                    tell(f"{trade.ts:%H:%M:%S.%f} {symbol} {trade.price}: {side}")
        except (StaleData, StoreUnavailable) as refusal:
            tell(f"standing still: {refusal}")
            await reader.wait_fresh([(symbol, "trade")], max_age=MAX_AGE_S)
            tell("going on")
        except IncompleteData as refusal:
            tell(f"beginning anew: {refusal}")
            strategy.clear()
            since = refusal.go_on_after


async def main(symbol: str) -> None:
    """Run until Ctrl-C."""
    async with AsyncReader.connect() as reader:
        await run(reader, symbol, Cross())


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "BTCUSDT"))
