"""REST answers to records: pure functions from decoded JSON bodies.

Decides whether an answer is well formed and takes from it what this program uses. An answer is taken as a
whole or refused as a whole (`MalformedFrame`): half a list of symbols would look like delistings.

Source: rest-api.md of binance-spot-api-docs, 2026-07.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ingest.binance.fields import decimal, flag, integer, levels, text, time_us, wrong
from ingest.binance.frames import JsonObject
from ingest.events import ALL_ASKS, ALL_BIDS, AggTrade, DepthSnapshot, Kline, Trade


class Instrument(NamedTuple):
    """A symbol as the exchange lists it; a step is None where no filter states it."""

    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    tick_size: str | None
    step_size: str | None


class DayStats(NamedTuple):
    """The last 24 hours of a symbol. `last_trade_id` is -1 when there was no trade."""

    symbol: str
    trades: int
    last_trade_id: int
    quote_volume: str


class BestPrices(NamedTuple):
    """Best bid and ask of a symbol by REST; carries neither id nor time."""

    symbol: str
    bid_price: str
    bid_qty: str
    ask_price: str
    ask_qty: str


def rest_depth(
    body: object, symbol: str, recv_ns: int, *, reason: str = "resync", limit: int | None = None
) -> DepthSnapshot:
    """Read `depth`. The answer carries neither symbol nor time: its time is that of its arrival.

    A side with as many levels as were asked for (`limit`) was cut off: what lies behind is not known.
    """
    data = _object(body, "depth")
    bids, asks = levels(data, "bids", "depth"), levels(data, "asks", "depth")
    return DepthSnapshot(
        symbol=symbol,
        last_update_id=integer(data, "lastUpdateId", "depth"),
        ts_us=recv_ns // 1000,
        bids=bids,
        asks=asks,
        reason=reason,
        recv_ns=recv_ns,
        bids_known_from=bids[-1][0] if limit and len(bids) >= limit else ALL_BIDS,
        asks_known_to=asks[-1][0] if limit and len(asks) >= limit else ALL_ASKS,
    )


def rest_time(body: object) -> int:
    """Read `time`: the exchange's clock in milliseconds."""
    return integer(_object(body, "time"), "serverTime", "time")


def rest_exchange_info(body: object) -> list[Instrument]:
    """Read the symbols of `exchangeInfo`, in its order, whatever their status."""
    data = _object(body, "exchangeInfo")
    return [_instrument(row) for row in _objects(data.get("symbols"), "exchangeInfo", "symbols")]


def rest_ticker_24h(body: object) -> list[DayStats]:
    """Read `ticker/24hr`, for one symbol (an object) or for several (a list)."""
    rows = body if isinstance(body, list) else [body]
    return [_day_stats(row) for row in _objects(rows, "ticker/24hr", "rows")]


def rest_book_tickers(body: object) -> list[BestPrices]:
    """Read `ticker/bookTicker`, for one symbol (an object) or for several (a list)."""
    rows = body if isinstance(body, list) else [body]
    return [_best_prices(row) for row in _objects(rows, "ticker/bookTicker", "rows")]


def rest_trades(body: object, symbol: str, recv_ns: int) -> list[Trade]:
    """Read `trades` or `historicalTrades`, in its order. The rows carry no symbol."""
    return [
        Trade(
            symbol=symbol,
            trade_id=integer(row, "id", "historicalTrades"),
            ts_us=time_us(row, "time", "historicalTrades"),
            price=decimal(row, "price", "historicalTrades"),
            qty=decimal(row, "qty", "historicalTrades"),
            buyer_is_maker=flag(row, "isBuyerMaker", "historicalTrades"),
            recv_ns=recv_ns,
        )
        for row in _objects(body, "historicalTrades", "rows")
    ]


def rest_agg_trades(body: object, symbol: str, recv_ns: int) -> list[AggTrade]:
    """Read `aggTrades`, in its order. The rows carry no symbol."""
    return [
        AggTrade(
            symbol=symbol,
            agg_trade_id=integer(row, "a", "aggTrades"),
            ts_us=time_us(row, "T", "aggTrades"),
            price=decimal(row, "p", "aggTrades"),
            qty=decimal(row, "q", "aggTrades"),
            first_trade_id=integer(row, "f", "aggTrades"),
            last_trade_id=integer(row, "l", "aggTrades"),
            buyer_is_maker=flag(row, "m", "aggTrades"),
            recv_ns=recv_ns,
        )
        for row in _objects(body, "aggTrades", "rows")
    ]


def rest_klines(body: object, symbol: str, interval: str, recv_ns: int) -> list[Kline]:
    """Read `klines`, in its order. A candle is closed when its time is over by our clock.

    Its event time is the moment of its close, a little before the event by which the stream closes it: so
    what the stream said stays.
    """
    if not isinstance(body, list):
        raise wrong("klines", "rows", body)
    return [_kline(row, symbol, interval, recv_ns) for row in body]


_KLINE_FIELDS = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume"),
    *("trades", "taker_buy_volume", "taker_buy_quote_volume"),
)


def _kline(row: object, symbol: str, interval: str, recv_ns: int) -> Kline:
    if not isinstance(row, list) or len(row) < len(_KLINE_FIELDS):
        raise wrong("klines", "row", row)
    named: JsonObject = dict(zip(_KLINE_FIELDS, row, strict=False))
    close_us = time_us(named, "close_time", "klines")
    prices = {
        name: decimal(named, name, "klines")
        for name in _KLINE_FIELDS
        if name not in {"open_time", "close_time", "trades"}
    }
    return Kline(
        symbol=symbol,
        interval=interval,
        open_time_us=time_us(named, "open_time", "klines"),
        close_time_us=close_us,
        trades=integer(named, "trades", "klines"),
        is_closed=close_us < recv_ns // 1_000,
        ts_us=close_us,
        recv_ns=recv_ns,
        **prices,
    )


def _best_prices(row: JsonObject) -> BestPrices:
    fields = ("bidPrice", "bidQty", "askPrice", "askQty")
    name = text(row, "symbol", "ticker/bookTicker")
    return BestPrices(name, *(decimal(row, field, "ticker/bookTicker") for field in fields))


def _instrument(row: JsonObject) -> Instrument:
    return Instrument(
        symbol=text(row, "symbol", "exchangeInfo"),
        status=text(row, "status", "exchangeInfo"),
        base_asset=text(row, "baseAsset", "exchangeInfo"),
        quote_asset=text(row, "quoteAsset", "exchangeInfo"),
        tick_size=_filter_value(row, "PRICE_FILTER", "tickSize"),
        step_size=_filter_value(row, "LOT_SIZE", "stepSize"),
    )


def _filter_value(row: JsonObject, filter_type: str, field: str) -> str | None:
    for rule in _objects(row.get("filters", []), "exchangeInfo", "filters"):
        if rule.get("filterType") == filter_type and field in rule:
            return decimal(rule, field, "exchangeInfo")
    return None


def _day_stats(row: JsonObject) -> DayStats:
    return DayStats(
        symbol=text(row, "symbol", "ticker/24hr"),
        trades=integer(row, "count", "ticker/24hr"),
        last_trade_id=integer(row, "lastId", "ticker/24hr"),
        quote_volume=decimal(row, "quoteVolume", "ticker/24hr"),
    )


def _object(value: object, kind: str) -> JsonObject:
    if not isinstance(value, dict):
        raise wrong(kind, "body", value)
    return value


def _objects(values: object, kind: str, field: str) -> Iterator[JsonObject]:
    if not isinstance(values, list):
        raise wrong(kind, field, values)
    for value in values:
        if not isinstance(value, dict):
            raise wrong(kind, field, value)
        yield value
