"""Candles worked out by hand: what the database's are compared with."""

import random
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from ingest.buffer import encode
from ingest.events import Trade

WIDTH_US = {"1s": 1_000_000, "1m": 60_000_000, "1h": 3_600_000_000, "1d": 86_400_000_000}

COLUMNS = (
    "open, high, low, close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume,"
    " first_trade_id, last_trade_id"
)


class Candle(NamedTuple):
    """The columns of a candle, but for its symbol and time."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    taker_buy_volume: Decimal
    taker_buy_quote_volume: Decimal
    first_trade_id: int
    last_trade_id: int


def candles_of(trades: Iterable[Trade], grain: str) -> dict[tuple[str, int], Candle]:
    """By symbol and opening time in microseconds."""
    buckets: dict[tuple[str, int], list[Trade]] = defaultdict(list)
    for trade in trades:
        buckets[trade.symbol, trade.ts_us - trade.ts_us % WIDTH_US[grain]].append(trade)
    return {key: _candle(sorted(bucket, key=lambda trade: trade.trade_id)) for key, bucket in buckets.items()}


def _candle(trades: list[Trade]) -> Candle:
    prices = [Decimal(trade.price) for trade in trades]
    qtys = [Decimal(trade.qty) for trade in trades]
    products = [price * qty for price, qty in zip(prices, qtys, strict=True)]
    bought = [not trade.buyer_is_maker for trade in trades]
    return Candle(
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=sum(qtys, Decimal(0)),
        quote_volume=sum(products, Decimal(0)),
        trades=len(trades),
        taker_buy_volume=sum((qty for qty, buys in zip(qtys, bought, strict=True) if buys), Decimal(0)),
        taker_buy_quote_volume=sum(
            (each for each, buys in zip(products, bought, strict=True) if buys), Decimal(0)
        ),
        first_trade_id=trades[0].trade_id,
        last_trade_id=trades[-1].trade_id,
    )


def random_trades(
    rng: random.Random, symbol: str, *, since_us: int, span_s: int, count: int, first_id: int = 1
) -> list[Trade]:
    """Trades with rising ids, many of one millisecond; their times step back a little now and then."""
    times = sorted(
        since_us // 1_000 + rng.randrange(span_s * 1_000) // rng.choice((1, 1, 10)) for _ in range(count)
    )
    return [
        Trade(
            symbol,
            first_id + number,
            (ts_ms - (rng.random() < 0.05)) * 1_000,
            f"{rng.randrange(1, 10_000) / 100:.8f}",
            f"{rng.randrange(1, 100_000) / 100_000:.8f}",
            rng.random() < 0.5,
            ts_ms * 1_000_000,
        )
        for number, ts_ms in enumerate(times)
    ]


def encoded(trades: Iterable[Trade], symbol_ids: dict[str, int]) -> list[bytes]:
    """As a batch holds them."""
    return [encode.trade(symbol_ids[trade.symbol], trade) for trade in trades]
