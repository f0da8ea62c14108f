"""Single rows as readers of one moment get them: exact numbers, times in UTC.

`id` is what `follow` takes as `since`: the exchange's id, or of a candle its opening time in milliseconds.
Prices are in the quote asset and quantities in the base asset, as `Decimal`; `ts` is the exchange's time, and
`recv_ts` ours. `symbol` is in upper case.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from ingest.reader.errors import Missing

Level: TypeAlias = tuple[Decimal, Decimal]
"""(price, quantity)."""


class Trade(NamedTuple):
    """A single trade; the aggressor sold where the buyer is maker."""

    symbol: str
    trade_id: int
    ts: datetime
    price: Decimal
    qty: Decimal
    buyer_is_maker: bool
    recv_ts: datetime

    @property
    def id(self) -> int:
        return self.trade_id


class AggTrade(NamedTuple):
    """Trades of one taker order at one price; their ids are inclusive."""

    symbol: str
    agg_trade_id: int
    ts: datetime
    price: Decimal
    qty: Decimal
    first_trade_id: int
    last_trade_id: int
    buyer_is_maker: bool
    recv_ts: datetime

    @property
    def id(self) -> int:
        return self.agg_trade_id


class BookTicker(NamedTuple):
    """Best bid and ask; `ts` is our receive time, because the exchange sends none."""

    symbol: str
    update_id: int
    ts: datetime
    bid_price: Decimal
    bid_qty: Decimal
    ask_price: Decimal
    ask_qty: Decimal
    recv_ts: datetime

    @property
    def id(self) -> int:
        return self.update_id


class DepthDelta(NamedTuple):
    """A change of the book: new quantities at prices, zero removes one. Updates first to final, inclusive."""

    symbol: str
    first_update_id: int
    final_update_id: int
    ts: datetime
    bids: list[Level]
    asks: list[Level]
    recv_ts: datetime

    @property
    def id(self) -> int:
        return self.final_update_id


class Kline(NamedTuple):
    """A version of one of the exchange's candles; the last one of a candle is closed.

    `close_time` is its last moment, inclusive. `event_ts` tells two versions apart.
    """

    symbol: str
    interval: str
    open_time: datetime
    close_time: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    taker_buy_volume: Decimal
    taker_buy_quote_volume: Decimal
    is_closed: bool
    recv_ts: datetime
    event_ts: datetime

    @property
    def id(self) -> int:
        return round(self.open_time.timestamp() * 1_000)

    @property
    def ts(self) -> datetime:
        return self.event_ts


Row: TypeAlias = Trade | AggTrade | BookTicker | DepthDelta | Kline


@dataclass(frozen=True, slots=True)
class Hole:
    """What `follow` passes over where the caller has said `require_complete=False`; it goes on after it."""

    symbol: str
    kind: str
    missing: tuple[Missing, ...]


@dataclass(frozen=True, slots=True)
class BookState:
    """A book right after `update_id`, at the exchange's time `ts`; best prices first.

    All bids at or above `bids_known_from` and all asks at or below `asks_known_to` are known, beyond nothing
    is; 0 and Infinity: the book is known to its ends. Of these, at most as many levels a side as were asked
    for.
    """

    symbol: str
    update_id: int
    ts: datetime
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    bids_known_from: Decimal
    asks_known_to: Decimal

    @property
    def mid(self) -> Decimal | None:
        """Half way between best bid and best ask; None where a side is empty."""
        return (self.bids[0][0] + self.asks[0][0]) / 2 if self.bids and self.asks else None

    @property
    def spread(self) -> Decimal | None:
        """Best ask less best bid; None where a side is empty."""
        return self.asks[0][0] - self.bids[0][0] if self.bids and self.asks else None

    def imbalance(self, levels: int) -> float | None:
        """(bid - ask) / (bid + ask) of the quantities of the best levels, in -1..1; None where there are
        none.
        """
        bid = sum((qty for _, qty in self.bids[:levels]), Decimal(0))
        ask = sum((qty for _, qty in self.asks[:levels]), Decimal(0))
        return float((bid - ask) / (bid + ask)) if bid + ask else None
