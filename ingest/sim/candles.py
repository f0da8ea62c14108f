"""Candles of all intervals of one symbol, aggregated from its trades.

Pure. A trade touches the one-second candle only; a closed second is folded into the minute, a closed
minute into the longer ones, so that sixteen intervals cost little more than one. A candle without
trades repeats the last close, with volume zero and trade ids -1. Before the first price there are no
candles. Invariant: the candle shown for an interval equals what its trades up to now give.
"""

from collections import deque
from typing import NamedTuple

from ingest.sim.intervals import INTERVAL_MS, MINUTE_MS, SECOND_MS, end_time_ms, open_time_ms

LONGER = tuple(name for name in INTERVAL_MS if name not in ("1s", "1m"))


class Candle:
    """One candle; prices and volumes in units of 1e-8, quote volumes in units of 1e-16."""

    __slots__ = (
        "close",
        "end_ms",
        "first_trade_id",
        "high",
        "last_trade_id",
        "low",
        "open",
        "open_ms",
        "quote",
        "taker_quote",
        "taker_volume",
        "trades",
        "volume",
    )

    def __init__(self, open_ms: int, end_ms: int, price: int) -> None:
        self.open_ms = open_ms
        self.end_ms = end_ms
        self.open = self.high = self.low = self.close = price
        self.volume = self.quote = self.taker_volume = self.taker_quote = 0
        self.first_trade_id = self.last_trade_id = -1
        self.trades = 0

    def add(self, trade_id: int, price: int, qty: int, buyer_is_maker: bool) -> None:
        """Take in one trade of this candle's time."""
        if not self.trades:
            self.open = self.high = self.low = price
            self.first_trade_id = trade_id
        elif price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        self.last_trade_id = trade_id
        self.trades += 1
        quote = price * qty
        self.volume += qty
        self.quote += quote
        if not buyer_is_maker:
            self.taker_volume += qty
            self.taker_quote += quote

    def fold(self, later: "Candle") -> None:
        """Take in a shorter candle that follows on what is in here already."""
        if not later.trades:
            return
        if not self.trades:
            self.open, self.high, self.low = later.open, later.high, later.low
            self.first_trade_id = later.first_trade_id
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.last_trade_id = later.last_trade_id
        self.trades += later.trades
        self.volume += later.volume
        self.quote += later.quote
        self.taker_volume += later.taker_volume
        self.taker_quote += later.taker_quote

    def copy(self) -> "Candle":
        twin = Candle(self.open_ms, self.end_ms, self.open)
        twin.fold(self)
        return twin


class Closed(NamedTuple):
    """A candle that is final."""

    interval: str
    candle: Candle


class Candles:
    """The open candle of every interval, and the newest closed ones for REST."""

    def __init__(self, *, history: int = 1000) -> None:
        self._second: Candle | None = None
        self._minute = Candle(0, 0, 0)
        self._longer: dict[str, Candle] = {}
        self.history: dict[str, deque[Candle]] = {name: deque(maxlen=history) for name in INTERVAL_MS}

    def open_at(self, ts_ms: int, price: int) -> None:
        """Begin with a price before the first trade."""
        self._second = _fresh("1s", ts_ms, price)
        self._minute = _fresh("1m", ts_ms, price)
        self._longer = {name: _fresh(name, ts_ms, price) for name in LONGER}

    def add(self, trade_id: int, ts_ms: int, price: int, qty: int, buyer_is_maker: bool) -> list[Closed]:
        """Take in a trade; returns the candles that its time closed."""
        closed: list[Closed] = []
        if self._second is None:
            self.open_at(ts_ms, price)
        elif ts_ms >= self._second.end_ms:
            closed = self.roll(ts_ms)
        self._second.add(trade_id, price, qty, buyer_is_maker)  # type: ignore[union-attr]
        return closed

    def roll(self, settled_ms: int) -> list[Closed]:
        """Close what ends at or before `settled_ms`, oldest first."""
        closed: list[Closed] = []
        while self._second is not None and self._second.end_ms <= settled_ms:
            self._close_second(self._second, closed)
        for interval, candle in closed:
            self.history[interval].append(candle)
        return closed

    def shown(self, interval: str) -> Candle | None:
        """The open candle of an interval as it stands; None before the first price."""
        if self._second is None:
            return None
        if interval == "1s":
            return self._second.copy()
        candle = (self._minute if interval == "1m" else self._longer[interval]).copy()
        if interval != "1m":
            candle.fold(self._minute)
        candle.fold(self._second)
        return candle

    def _close_second(self, second: Candle, closed: list[Closed]) -> None:
        closed.append(Closed("1s", second))
        self._minute.fold(second)
        self._second = Candle(second.end_ms, second.end_ms + SECOND_MS, second.close)
        if self._minute.end_ms <= second.end_ms:
            self._close_minute(closed)

    def _close_minute(self, closed: list[Closed]) -> None:
        minute = self._minute
        closed.append(Closed("1m", minute))
        self._minute = Candle(minute.end_ms, minute.end_ms + MINUTE_MS, minute.close)
        for interval, candle in self._longer.items():
            candle.fold(minute)
            if candle.end_ms <= minute.end_ms:
                closed.append(Closed(interval, candle))
                self._longer[interval] = _fresh(interval, minute.end_ms, minute.close)


def _fresh(interval: str, ts_ms: int, price: int) -> Candle:
    open_ms = open_time_ms(interval, ts_ms)
    return Candle(open_ms, end_time_ms(interval, open_ms), price)
