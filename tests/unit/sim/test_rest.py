"""REST answers, paging and weights."""

from random import Random
from typing import Any

import orjson
import pytest

from ingest.sim import rest
from ingest.sim.book import Book
from ingest.sim.decimals import units
from ingest.sim.exchange import Exchange
from ingest.sim.ledger import Ledger
from ingest.sim.limits import Limits
from ingest.sim.market import Market, MarketPlan
from ingest.sim.rest_params import ApiError, Params

START_US = 1_700_000_040_000_000
Row = Any


@pytest.fixture(scope="module")
def exchange() -> Exchange:
    """Two symbols that traded for 70 seconds."""
    exchange = Exchange([Market(MarketPlan(symbols=2, rate=200.0, levels=40), Random(1))], Ledger())
    exchange.start(START_US)
    for step in range(7000):
        exchange.advance(START_US + step * 10_000)
    return exchange


def _call(exchange: Exchange, query: dict[str, str], unit_us: int = 1000) -> rest.Call:
    params, now_us = Params(query), START_US + 70_000_000
    return rest.Call(exchange, params, now_us, unit_us, Limits(), {})


def _get(exchange: Exchange, path: str, unit_us: int = 1000, /, **query: str) -> Row:
    return orjson.loads(rest.body(rest.ENDPOINTS[path], _call(exchange, query, unit_us)))


def _rows(exchange: Exchange, path: str, **query: str) -> Row:
    answer = _get(exchange, path, **query)
    assert isinstance(answer, list)
    return answer


@pytest.mark.parametrize(
    ("path", "query", "weight"),
    [
        ("ping", {}, 1),
        ("exchangeInfo", {}, 20),
        ("depth", {}, 5),
        ("depth", {"limit": "500"}, 25),
        ("depth", {"limit": "1000"}, 50),
        ("depth", {"limit": "1001"}, 250),
        ("trades", {}, 25),
        ("historicalTrades", {}, 25),
        ("aggTrades", {}, 4),
        ("klines", {}, 2),
        ("avgPrice", {}, 2),
        ("ticker/24hr", {"symbol": "A"}, 2),
        ("ticker/24hr", {"symbols": orjson.dumps([f"S{n}" for n in range(21)]).decode()}, 40),
        ("ticker/24hr", {}, 80),
        ("ticker/price", {}, 4),
        ("ticker/bookTicker", {"symbol": "A"}, 2),
    ],
)
def test_calls_weigh_what_the_exchange_says(path: str, query: dict[str, str], weight: int) -> None:
    """Weights are the documented ones, by parameters."""
    assert rest.ENDPOINTS[path].weight(Params(query)) == weight


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("depth", {}, -1102),
        ("depth", {"symbol": "NOSUCH"}, -1121),
        ("depth", {"symbol": "BTCUSDT", "limit": "0"}, -1130),
        ("depth", {"symbol": "BTCUSDT", "limit": "ten"}, -1100),
        ("klines", {"symbol": "BTCUSDT"}, -1102),
        ("klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": "1", "startTime": "1"}, -1128),
        ("exchangeInfo", {"symbolStatus": "ASLEEP"}, -1122),
        ("exchangeInfo", {"symbolStatus": "BREAK", "symbol": "BTCUSDT"}, -1128),
        ("ticker/24hr", {"symbols": '["BTCUSDT","BTCUSDT"]'}, -1151),
        ("ticker/24hr", {"symbols": "BTCUSDT"}, -1100),
        ("ticker/24hr", {"symbols": "[1]"}, -1130),
    ],
)
def test_wrong_calls_have_the_documented_codes(
    exchange: Exchange, path: str, query: dict[str, str], code: int
) -> None:
    """Each mistake is a 400 with its code."""
    with pytest.raises(ApiError) as caught:
        rest.body(rest.ENDPOINTS[path], _call(exchange, query))

    assert (caught.value.code, caught.value.status) == (code, 400)
    assert orjson.loads(caught.value.body())["code"] == code


def test_historical_trades_page_by_id(exchange: Exchange) -> None:
    """Pages from an id on give every trade once, in order."""
    ids = [entry.event_id for entry in exchange.ledger.entries("BTCUSDT", "trade")]
    paged: list[int] = []
    next_id = ids[0]
    while page := _rows(exchange, "historicalTrades", symbol="BTCUSDT", fromId=str(next_id), limit="700"):
        paged += [row["id"] for row in page]
        next_id = paged[-1] + 1

    assert paged == ids


def test_agg_trades_page_by_id_and_time(exchange: Exchange) -> None:
    """By id; from a start time the oldest first; up to an end time the newest."""
    aggs = _rows(exchange, "aggTrades", symbol="BTCUSDT", fromId="0", limit="1000")
    middle, last = aggs[300], aggs[600]
    start, end = str(middle["T"]), str(last["T"])

    from_id = _rows(exchange, "aggTrades", symbol="BTCUSDT", fromId=str(middle["a"]), limit="2")
    assert from_id == aggs[300:302]
    from_start = _rows(exchange, "aggTrades", symbol="BTCUSDT", startTime=start, limit="3")
    assert from_start[0]["T"] == middle["T"]
    up_to_end = _rows(exchange, "aggTrades", symbol="BTCUSDT", endTime=end, limit="3")
    assert up_to_end[-1]["T"] == last["T"]
    between = _rows(exchange, "aggTrades", symbol="BTCUSDT", startTime=start, endTime=end)
    assert {row["T"] for row in between} <= set(range(middle["T"], last["T"] + 1))


def test_trades_are_the_newest(exchange: Exchange) -> None:
    """Recent trades end with the last one."""
    last = exchange.ledger.entries("BTCUSDT", "trade")[-1].event_id

    assert [row["id"] for row in _rows(exchange, "trades", symbol="BTCUSDT", limit="2")] == [last - 1, last]


def test_klines_page_by_open_time(exchange: Exchange) -> None:
    """Both bounds are inclusive and about the open time; the open candle is the last."""
    seconds = _rows(exchange, "klines", symbol="BTCUSDT", interval="1s", limit="1000")
    minutes = _rows(exchange, "klines", symbol="BTCUSDT", interval="1m")
    first = seconds[0][0]

    assert [row[0] for row in seconds] == list(range(first, first + 70_000, 1000))
    assert len(minutes) == 2
    page = _rows(
        exchange,
        "klines",
        symbol="BTCUSDT",
        interval="1s",
        startTime=str(first + 2000),
        endTime=str(first + 4000),
    )
    assert [row[0] for row in page] == [first + 2000, first + 3000, first + 4000]


def test_depth_is_the_book_as_it_stands(exchange: Exchange) -> None:
    """Best levels first, cut at the limit, labelled with the last update."""
    book = exchange.instruments["BTCUSDT"].book
    answer = _get(exchange, "depth", symbol="BTCUSDT", limit="3")

    assert answer["lastUpdateId"] == book.update_id
    assert [len(answer["bids"]), len(answer["asks"])] == [3, 3]


def test_exchange_info_filters(exchange: Exchange) -> None:
    """By symbols and by status; permission sets can be left out."""
    one = _get(exchange, "exchangeInfo", symbols='["ETHUSDT"]', showPermissionSets="false")
    assert [each["symbol"] for each in one["symbols"]] == ["ETHUSDT"]
    assert one["symbols"][0]["permissionSets"] == []

    broken = _get(exchange, "exchangeInfo", symbolStatus="BREAK")
    assert broken["symbols"] == []


def test_day_tickers_name_the_last_trade(exchange: Exchange) -> None:
    """All symbols in one answer, each with its last trade id; MINI leaves fields out."""
    full = {str(row["symbol"]): row for row in _rows(exchange, "ticker/24hr")}
    last = exchange.ledger.entries("BTCUSDT", "trade")[-1].event_id
    mini = _get(exchange, "ticker/24hr", symbol="BTCUSDT", type="MINI")

    assert (set(full), full["BTCUSDT"]["lastId"]) == ({"BTCUSDT", "ETHUSDT"}, last)
    assert len(mini) == 12


def test_times_follow_the_unit(exchange: Exchange) -> None:
    """In microseconds every time is a thousand times larger."""
    assert _get(exchange, "time") == {"serverTime": (START_US + 70_000_000) // 1000}
    assert _get(exchange, "time", 1) == {"serverTime": START_US + 70_000_000}


def test_prices_agree_with_the_book_and_the_last_trade(exchange: Exchange) -> None:
    """bookTicker is the top of the book, price the last trade, avgPrice lies in the day's range."""
    book = exchange.instruments["BTCUSDT"].book
    top = _get(exchange, "ticker/bookTicker", symbol="BTCUSDT")
    last = _rows(exchange, "trades", symbol="BTCUSDT", limit="1")[0]
    day = _get(exchange, "ticker/24hr", symbol="BTCUSDT")
    average = _get(exchange, "avgPrice", symbol="BTCUSDT")

    assert (units(top["bidPrice"]), units(top["bidQty"])) == book.best_bid()
    assert (units(top["askPrice"]), units(top["askQty"])) == book.best_ask()
    assert _get(exchange, "ticker/price", symbol="BTCUSDT")["price"] == last["price"] == day["lastPrice"]
    assert units(day["lowPrice"]) <= units(average["price"]) <= units(day["highPrice"])
    assert average["closeTime"] == last["time"]


def test_stale_books_answer_depth(exchange: Exchange) -> None:
    """A book handed in is answered instead of the present one."""
    call = _call(exchange, {"symbol": "BTCUSDT"})._replace(stale_books={"BTCUSDT": Book(42)})

    assert orjson.loads(rest.body(rest.ENDPOINTS["depth"], call))["lastUpdateId"] == 42


def test_depth_without_levels_has_its_update_id(exchange: Exchange) -> None:
    """Only the levels are gone."""
    call = _call(exchange, {"symbol": "BTCUSDT"})._replace(without_levels=True)
    answer = orjson.loads(rest.body(rest.ENDPOINTS["depth"], call))

    assert answer == {"lastUpdateId": exchange.instruments["BTCUSDT"].book.update_id, "bids": [], "asks": []}


def test_symbol_that_never_traded_answers_zeros() -> None:
    """Before the start there are no prices, and trade ids are -1."""
    idle = Exchange([Market(MarketPlan(symbols=1), Random(1))], Ledger())

    day = _get(idle, "ticker/24hr", symbol="BTCUSDT")
    assert (day["lastPrice"], day["firstId"], day["count"]) == ("0.00000000", -1, 0)
    assert _get(idle, "klines", symbol="BTCUSDT", interval="1m") == []
    assert _get(idle, "ping") == {}
