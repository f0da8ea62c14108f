"""The rolling 24 hours and the five-minute average of one symbol.

Pure. Both are sums over one-minute candles that are taken in when they close, plus the open minute;
the window therefore begins on a whole minute.
"""

from collections import deque
from typing import NamedTuple

from ingest.sim.candles import Candle

WINDOW_MINUTES = 1440
AVERAGE_MINUTES = 5


class Statistics(NamedTuple):
    """Prices and volume in units of 1e-8, quote volume in units of 1e-16."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    quote: int
    first_trade_id: int
    last_trade_id: int
    trades: int
    prior_close: int
    """Price of the last trade before the window."""

    @property
    def weighted_average(self) -> int:
        return self.quote // self.volume if self.volume else self.close


class Rolling:
    """Closed minutes of the last 24 hours with trades in them, and their sums."""

    def __init__(self) -> None:
        self._minutes: deque[Candle] = deque()
        self._sum = Candle(0, 0, 0)
        self._prior_close = 0

    def take_minute(self, minute: Candle) -> None:
        """Take in a minute that closed; forget those that are older than a day."""
        if minute.trades:
            self._minutes.append(minute)
            self._sum.fold(minute)
        horizon_ms = minute.end_ms - WINDOW_MINUTES * 60_000
        if self._minutes and self._minutes[0].open_ms < horizon_ms:
            self._forget_before(horizon_ms)

    def statistics(self, open_minute: Candle) -> Statistics:
        """The window up to now; `open_minute` is the minute that is not closed yet."""
        window = self._sum.copy()
        window.fold(open_minute)
        if not window.trades:
            price = open_minute.close
            return Statistics(price, price, price, price, 0, 0, -1, -1, 0, self._prior_close or price)
        return Statistics(
            window.open,
            window.high,
            window.low,
            window.close,
            window.volume,
            window.quote,
            window.first_trade_id,
            window.last_trade_id,
            window.trades,
            self._prior_close or window.open,
        )

    def average(self, open_minute: Candle) -> int:
        """Volume-weighted price of the last five minutes; the last price when nothing traded."""
        since_ms = open_minute.open_ms - (AVERAGE_MINUTES - 1) * 60_000
        volume, quote = open_minute.volume, open_minute.quote
        for minute in reversed(self._minutes):
            if minute.open_ms < since_ms:
                break
            volume += minute.volume
            quote += minute.quote
        return quote // volume if volume else open_minute.close

    def _forget_before(self, horizon_ms: int) -> None:
        while self._minutes and self._minutes[0].open_ms < horizon_ms:
            self._prior_close = self._minutes.popleft().close
        self._sum = Candle(0, 0, 0)
        for minute in self._minutes:
            self._sum.fold(minute)
