"""Messages to events: pure functions from the exchange's JSON to the records of `ingest.events`.

Decides whether a message is well formed. Reads no clock: the arrival time comes with the frame. Keeps no
state and judges no order of ids.

Invariants: what a parser returns has the types that its record declares, and its prices and quantities
are decimal text; anything else raises `MalformedFrame`, which names kind and field. Fields that are not
known are ignored, as the exchange adds some without notice. The message is read, never changed; its lists
of levels are handed on as they are.

The four kinds of the hot path spell their checks out in one condition, and only when that has failed look
for the field that it was. The others come about once a second and read field by field.

Source: web-socket-streams.md of binance-spot-api-docs, 2026-07.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from ingest.binance.answers import (
    BestPrices,
    DayStats,
    Instrument,
    rest_agg_trades,
    rest_book_tickers,
    rest_depth,
    rest_exchange_info,
    rest_klines,
    rest_ticker_24h,
    rest_time,
    rest_trades,
)
from ingest.binance.fields import (
    FIRST_MICROSECONDS,
    LATEST,
    MAX_ID,
    are_levels,
    decimal,
    flag,
    integer,
    levels,
    nested,
    signed_decimal,
    text,
    time_us,
)
from ingest.binance.frames import (
    Ack,
    Control,
    JsonObject,
    MalformedFrame,
    Refusal,
    ServerShutdown,
    control,
    split_frame,
)
from ingest.binance.streams import KINDS
from ingest.events import AggTrade, AvgPrice, BookTicker, DepthDelta, Event, Kline, MiniTicker, Ticker, Trade

__all__ = [
    "PARSERS",
    "Ack",
    "BestPrices",
    "Control",
    "DayStats",
    "Instrument",
    "JsonObject",
    "MalformedFrame",
    "Parser",
    "Refusal",
    "ServerShutdown",
    "agg_trade",
    "avg_price",
    "book_ticker",
    "control",
    "depth",
    "kline",
    "mini_ticker",
    "rest_agg_trades",
    "rest_book_tickers",
    "rest_depth",
    "rest_exchange_info",
    "rest_klines",
    "rest_ticker_24h",
    "rest_time",
    "rest_trades",
    "split_frame",
    "ticker",
    "trade",
]

Parser: TypeAlias = Callable[[JsonObject, int], Event]


def trade(data: JsonObject, recv_ns: int) -> Trade:
    """Parse a `trade`."""
    try:
        symbol, trade_id, time = data["s"], data["t"], data["T"]
        price, qty, buyer_is_maker = data["p"], data["q"], data["m"]
    except KeyError:
        raise _malformed_trade(data) from None
    if (
        type(symbol) is not str
        or type(trade_id) is not int
        or type(time) is not int
        or type(price) is not str
        or type(qty) is not str
        or type(buyer_is_maker) is not bool
        or trade_id > MAX_ID
        or not 0 <= time <= LATEST
        or not (price + qty).replace(".", "").isdecimal()
    ):
        raise _malformed_trade(data)
    ts_us = time if time >= FIRST_MICROSECONDS else time * 1000
    return Trade(symbol, trade_id, ts_us, price, qty, buyer_is_maker, recv_ns)


def agg_trade(data: JsonObject, recv_ns: int) -> AggTrade:
    """Parse an `aggTrade`."""
    try:
        symbol, agg_trade_id, time = data["s"], data["a"], data["T"]
        first, last = data["f"], data["l"]
        price, qty, buyer_is_maker = data["p"], data["q"], data["m"]
    except KeyError:
        raise _malformed_agg_trade(data) from None
    if (
        type(symbol) is not str
        or type(agg_trade_id) is not int
        or type(time) is not int
        or type(first) is not int
        or type(last) is not int
        or type(price) is not str
        or type(qty) is not str
        or type(buyer_is_maker) is not bool
        or agg_trade_id > MAX_ID
        or not first <= last <= MAX_ID
        or not 0 <= time <= LATEST
        or not (price + qty).replace(".", "").isdecimal()
    ):
        raise _malformed_agg_trade(data)
    ts_us = time if time >= FIRST_MICROSECONDS else time * 1000
    return AggTrade(symbol, agg_trade_id, ts_us, price, qty, first, last, buyer_is_maker, recv_ns)


def book_ticker(data: JsonObject, recv_ns: int) -> BookTicker:
    """Parse a book ticker. The exchange gives it no time, so its time is that of its arrival."""
    try:
        symbol, update_id = data["s"], data["u"]
        bid_price, bid_qty = data["b"], data["B"]
        ask_price, ask_qty = data["a"], data["A"]
    except KeyError:
        raise _malformed_book_ticker(data) from None
    if (
        type(symbol) is not str
        or type(update_id) is not int
        or type(bid_price) is not str
        or type(bid_qty) is not str
        or type(ask_price) is not str
        or type(ask_qty) is not str
        or update_id > MAX_ID
        or not (bid_price + bid_qty + ask_price + ask_qty).replace(".", "").isdecimal()
    ):
        raise _malformed_book_ticker(data)
    return BookTicker(symbol, update_id, recv_ns // 1000, bid_price, bid_qty, ask_price, ask_qty, recv_ns)


def depth(data: JsonObject, recv_ns: int) -> DepthDelta:
    """Parse a `depthUpdate`; its lists of levels are those of the message."""
    try:
        symbol, time = data["s"], data["E"]
        first, final = data["U"], data["u"]
        bids, asks = data["b"], data["a"]
    except KeyError:
        raise _malformed_depth(data) from None
    if (
        type(symbol) is not str
        or type(time) is not int
        or type(first) is not int
        or type(final) is not int
        or type(bids) is not list
        or type(asks) is not list
        or not first <= final <= MAX_ID
        or not 0 <= time <= LATEST
        or not are_levels(bids)
        or not are_levels(asks)
    ):
        raise _malformed_depth(data)
    ts_us = time if time >= FIRST_MICROSECONDS else time * 1000
    return DepthDelta(symbol, first, final, ts_us, bids, asks, recv_ns)


def kline(data: JsonObject, recv_ns: int) -> Kline:
    """Parse a `kline` of any interval."""
    candle = nested(data, "k", "kline")
    return Kline(
        symbol=text(data, "s", "kline"),
        interval=text(candle, "i", "kline"),
        open_time_us=time_us(candle, "t", "kline"),
        close_time_us=time_us(candle, "T", "kline"),
        open=decimal(candle, "o", "kline"),
        high=decimal(candle, "h", "kline"),
        low=decimal(candle, "l", "kline"),
        close=decimal(candle, "c", "kline"),
        volume=decimal(candle, "v", "kline"),
        quote_volume=decimal(candle, "q", "kline"),
        trades=integer(candle, "n", "kline"),
        taker_buy_volume=decimal(candle, "V", "kline"),
        taker_buy_quote_volume=decimal(candle, "Q", "kline"),
        is_closed=flag(candle, "x", "kline"),
        ts_us=time_us(data, "E", "kline"),
        recv_ns=recv_ns,
    )


def mini_ticker(data: JsonObject, recv_ns: int) -> MiniTicker:
    """Parse a `24hrMiniTicker`."""
    return MiniTicker(
        symbol=text(data, "s", "mini_ticker"),
        ts_us=time_us(data, "E", "mini_ticker"),
        last_price=decimal(data, "c", "mini_ticker"),
        open=decimal(data, "o", "mini_ticker"),
        high=decimal(data, "h", "mini_ticker"),
        low=decimal(data, "l", "mini_ticker"),
        volume=decimal(data, "v", "mini_ticker"),
        quote_volume=decimal(data, "q", "mini_ticker"),
        recv_ns=recv_ns,
    )


def ticker(data: JsonObject, recv_ns: int) -> Ticker:
    """Parse a `24hrTicker`."""
    return Ticker(
        symbol=text(data, "s", "ticker"),
        ts_us=time_us(data, "E", "ticker"),
        last_price=decimal(data, "c", "ticker"),
        open=decimal(data, "o", "ticker"),
        high=decimal(data, "h", "ticker"),
        low=decimal(data, "l", "ticker"),
        volume=decimal(data, "v", "ticker"),
        quote_volume=decimal(data, "q", "ticker"),
        price_change=signed_decimal(data, "p", "ticker"),
        price_change_percent=signed_decimal(data, "P", "ticker"),
        weighted_avg_price=decimal(data, "w", "ticker"),
        prev_close_price=decimal(data, "x", "ticker"),
        last_qty=decimal(data, "Q", "ticker"),
        bid_price=decimal(data, "b", "ticker"),
        bid_qty=decimal(data, "B", "ticker"),
        ask_price=decimal(data, "a", "ticker"),
        ask_qty=decimal(data, "A", "ticker"),
        open_time_us=time_us(data, "O", "ticker"),
        close_time_us=time_us(data, "C", "ticker"),
        first_trade_id=integer(data, "F", "ticker"),
        last_trade_id=integer(data, "L", "ticker"),
        trades=integer(data, "n", "ticker"),
        recv_ns=recv_ns,
    )


def avg_price(data: JsonObject, recv_ns: int) -> AvgPrice:
    """Parse an `avgPrice`."""
    return AvgPrice(
        symbol=text(data, "s", "avg_price"),
        ts_us=time_us(data, "E", "avg_price"),
        interval=text(data, "i", "avg_price"),
        avg_price=decimal(data, "w", "avg_price"),
        last_trade_ts_us=time_us(data, "T", "avg_price"),
        recv_ns=recv_ns,
    )


PARSERS: Final[dict[str, Parser]] = {
    "trade": trade,
    "agg_trade": agg_trade,
    "book_ticker": book_ticker,
    "depth": depth,
    "mini_ticker": mini_ticker,
    "ticker": ticker,
    "avg_price": avg_price,
    **{kind: kline for kind in KINDS if kind.startswith("kline_")},
}
"""The parser of each kind of `ingest.binance.streams.KINDS`."""


def _malformed_trade(data: JsonObject) -> MalformedFrame:
    return _malformed(data, "trade", text="s", integer="t", time_us="T", decimal="pq", flag="m")


def _malformed_agg_trade(data: JsonObject) -> MalformedFrame:
    return _malformed(data, "agg_trade", text="s", integer="afl", time_us="T", decimal="pq", flag="m")


def _malformed_book_ticker(data: JsonObject) -> MalformedFrame:
    return _malformed(data, "book_ticker", text="s", integer="u", decimal="bBaA")


def _malformed_depth(data: JsonObject) -> MalformedFrame:
    return _malformed(data, "depth", text="s", time_us="E", integer="Uu", levels="ba")


def _malformed(data: JsonObject, kind: str, **fields_by_reader: str) -> MalformedFrame:
    """Find what made a message unfit, by reading it again field by field."""
    try:
        for reader, names in fields_by_reader.items():
            for name in names:
                _READERS[reader](data, name, kind)
    except MalformedFrame as error:
        return error
    return MalformedFrame(f"{kind}: the fields contradict each other", kind=kind)


_READERS: Final[dict[str, Callable[[JsonObject, str, str], object]]] = {
    "text": text,
    "integer": integer,
    "time_us": time_us,
    "decimal": decimal,
    "flag": flag,
    "levels": levels,
}
