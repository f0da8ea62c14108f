"""The REST calls of the exchange: which there are, what they weigh, what they answer.

Pure: a call is a name and its parameters, an answer is JSON bytes. Weights and paging follow Binance
spot docs, rest-api.md, read 2026-07. Answers come from what has happened since the double began; there
is no older history.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import orjson

from ingest.sim import rest_rows as rows
from ingest.sim.book import Book
from ingest.sim.exchange import Exchange
from ingest.sim.instrument import Instrument
from ingest.sim.intervals import INTERVAL_MS
from ingest.sim.limits import Limits
from ingest.sim.rest_params import ApiError, Params
from ingest.sim.tape import AggRow, TradeRow

_STATUSES = ("TRADING", "HALT", "BREAK")


class Call(NamedTuple):
    """One request as the answering functions see it."""

    exchange: Exchange
    params: Params
    now_us: int
    unit_us: int
    limits: Limits
    stale_books: Mapping[str, Book]
    """Books to answer `depth` from instead of the present ones."""
    without_levels: bool = False
    """Whether `depth` answers with a book that has none."""

    def instrument(self) -> Instrument:
        return self.named(self.params.required("symbol"))

    def named(self, symbol: str) -> Instrument:
        instrument = self.exchange.instruments.get(symbol)
        if instrument is None:
            raise ApiError(-1121, "Invalid symbol.")
        return instrument

    def instruments(self) -> list[Instrument]:
        """Those that `symbol` or `symbols` names, else all that trade."""
        if "symbol" in self.params:
            return [self.instrument()]
        names = self.params.texts("symbols")
        if names is not None:
            return [self.named(name) for name in names]
        return list(self.exchange.instruments.values())


Json: TypeAlias = object
Answer: TypeAlias = Callable[[Call], Json]
Weight: TypeAlias = Callable[[Params], int]


class Endpoint(NamedTuple):
    weight: Weight
    answer: Answer


def body(endpoint: Endpoint, call: Call) -> bytes:
    """The JSON of the answer. ApiError when the call is refused."""
    answer = endpoint.answer(call)
    return orjson.dumps(answer)


def _ping(_call: Call) -> Json:
    return {}


def _time(call: Call) -> Json:
    return {"serverTime": call.now_us // call.unit_us}


def _exchange_info(call: Call) -> Json:
    status = call.params.text("symbolStatus")
    if status and status not in _STATUSES:
        raise ApiError(-1122, "Invalid symbolStatus.")
    if status and ("symbol" in call.params or "symbols" in call.params):
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    listed = [each for each in call.instruments() if status in ("", each.status)]
    permissions = call.params.text("showPermissionSets", "true") != "false"
    return {
        "timezone": "UTC",
        "serverTime": call.now_us // call.unit_us,
        "rateLimits": rows.rate_limits(call.limits),
        "exchangeFilters": [],
        "symbols": [rows.symbol_info(each, permissions=permissions) for each in listed],
    }


def _depth(call: Call) -> Json:
    instrument = call.instrument()
    limit = call.params.limit(100, 5000)
    answer = rows.depth(call.stale_books.get(instrument.symbol, instrument.book), limit)
    return {**answer, "bids": [], "asks": []} if call.without_levels else answer


def _trades(call: Call) -> Json:
    tape = call.instrument().tape
    limit = call.params.limit(500, 1000)
    return _trade_rows(tape.trade_rows(len(tape.trades) - limit, len(tape.trades)), call)


def _historical_trades(call: Call) -> Json:
    tape = call.instrument().tape
    limit = call.params.limit(500, 1000)
    from_id = call.params.number("fromId")
    start = len(tape.trades) - limit if from_id is None else tape.trades.index_from_id(from_id)
    return _trade_rows(tape.trade_rows(start, start + limit), call)


def _trade_rows(trades: list[TradeRow], call: Call) -> Json:
    return [rows.trade(trade, call.unit_us) for trade in trades]


def _agg_trades(call: Call) -> Json:
    tape = call.instrument().tape
    limit = call.params.limit(500, 1000)
    from_id = call.params.number("fromId")
    start_us, end_us = call.params.start_us(), call.params.end_us()
    if from_id is not None and (start_us is not None or end_us is not None):
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    if from_id is not None:
        start = tape.aggs.index_from_id(from_id)
        found = tape.agg_rows(start, start + limit)
    else:
        first = tape.aggs.index_from_time(start_us) if start_us is not None else 0
        stop = tape.aggs.index_after_time(end_us) if end_us is not None else len(tape.aggs)
        found = _page(tape.agg_rows, first, stop, limit=limit, oldest_first=start_us is not None)
    return [rows.agg_trade(agg, call.unit_us) for agg in found]


def _page(
    read: Callable[[int, int], list[AggRow]], first: int, stop: int, *, limit: int, oldest_first: bool
) -> list[AggRow]:
    """Oldest from the start time on, else the newest."""
    if oldest_first:
        return read(first, min(first + limit, stop))
    return read(max(first, stop - limit), stop)


def _klines(call: Call) -> Json:
    instrument = call.instrument()
    interval = call.params.required("interval")
    if interval not in INTERVAL_MS:
        raise ApiError(-1120, "Invalid interval.")
    limit = call.params.limit(500, 1000)
    start_us, end_us = call.params.start_us(), call.params.end_us()
    candles = list(instrument.candles.history[interval])
    shown = instrument.candles.shown(interval)
    candles += [shown] if shown is not None else []
    if start_us is not None:
        candles = [candle for candle in candles if candle.open_ms * 1000 >= start_us]
    if end_us is not None:
        candles = [candle for candle in candles if candle.open_ms * 1000 <= end_us]
    page = candles[:limit] if start_us is not None else candles[-limit:]
    return [rows.kline(candle, call.unit_us) for candle in page]


def _avg_price(call: Call) -> Json:
    instrument = call.instrument()
    return rows.avg_price(instrument, call.unit_us)


def _day_ticker(call: Call) -> Json:
    mini = call.params.text("type", "FULL") == "MINI"
    return _one_or_many(call, lambda each: rows.day_ticker(each, call.now_us, call.unit_us, mini=mini))


def _book_ticker(call: Call) -> Json:
    return _one_or_many(call, rows.book_ticker)


def _price(call: Call) -> Json:
    return _one_or_many(call, rows.price)


def _one_or_many(call: Call, row: Callable[[Instrument], Json]) -> Json:
    answers = [row(instrument) for instrument in call.instruments()]
    return answers[0] if "symbol" in call.params else answers


def _fixed(weight: int) -> Weight:
    return lambda params: weight


_DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))


def _depth_weight(params: Params) -> int:
    limit = params.limit(100, 5000)
    return next(weight for largest, weight in _DEPTH_WEIGHTS if limit <= largest)


def _day_weight(params: Params) -> int:
    names = params.texts("symbols")
    if "symbol" in params or (names is not None and len(names) <= 20):
        return 2
    return 40 if names is not None and len(names) <= 100 else 80


def _ticker_weight(params: Params) -> int:
    return 2 if "symbol" in params else 4


ENDPOINTS: dict[str, Endpoint] = {
    "ping": Endpoint(_fixed(1), _ping),
    "time": Endpoint(_fixed(1), _time),
    "exchangeInfo": Endpoint(_fixed(20), _exchange_info),
    "depth": Endpoint(_depth_weight, _depth),
    "trades": Endpoint(_fixed(25), _trades),
    "historicalTrades": Endpoint(_fixed(25), _historical_trades),
    "aggTrades": Endpoint(_fixed(4), _agg_trades),
    "klines": Endpoint(_fixed(2), _klines),
    "uiKlines": Endpoint(_fixed(2), _klines),
    "avgPrice": Endpoint(_fixed(2), _avg_price),
    "ticker/24hr": Endpoint(_day_weight, _day_ticker),
    "ticker/price": Endpoint(_ticker_weight, _price),
    "ticker/bookTicker": Endpoint(_ticker_weight, _book_ticker),
}
"""Calls below `/api/v3/`."""
