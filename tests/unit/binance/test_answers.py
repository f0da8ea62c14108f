"""REST answers to records."""

import pytest

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
from ingest.binance.frames import MalformedFrame
from ingest.events import AggTrade, DepthSnapshot, Trade
from tests.unit import recordings

RECV_NS = 1_723_161_254_087_896_568


def listing(**changes: object) -> dict[str, object]:
    """Build a row of exchangeInfo."""
    row: dict[str, object] = {
        "symbol": "ETHBTC",
        "status": "TRADING",
        "baseAsset": "ETH",
        "quoteAsset": "BTC",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.00001000", "tickSize": "0.00001000"},
            {"filterType": "LOT_SIZE", "minQty": "0.00010000", "stepSize": "0.00010000"},
        ],
    }
    return {**row, **changes}


def test_depth_gets_symbol_and_time_from_the_caller() -> None:
    """The answer carries neither, so it is dated by its arrival."""
    body = {"lastUpdateId": 7, "bids": [["1.5", "2"]], "asks": []}

    assert rest_depth(body, "BTCUSDT", RECV_NS, reason="gap") == DepthSnapshot(
        symbol="BTCUSDT",
        last_update_id=7,
        ts_us=RECV_NS // 1000,
        bids=[["1.5", "2"]],  # type: ignore[list-item]
        asks=[],
        reason="gap",
        recv_ns=RECV_NS,
    )


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {"bids": [], "asks": []},
        {"lastUpdateId": "7", "bids": [], "asks": []},
        {"lastUpdateId": 7, "bids": [[1.5, 2]], "asks": []},
        {"lastUpdateId": 7, "bids": []},
        {"code": -1121, "msg": "Invalid symbol."},
    ],
)
def test_depth_refuses_what_is_no_book(body: object) -> None:
    """Half a book is no book."""
    with pytest.raises(MalformedFrame) as refusal:
        rest_depth(body, "BTCUSDT", RECV_NS)

    assert refusal.value.kind == "depth"


def test_exchange_info_lists_every_symbol_with_its_steps() -> None:
    """An instrument has its assets, status, tick and step."""
    assert rest_exchange_info({"symbols": [listing()]}) == [
        Instrument("ETHBTC", "TRADING", "ETH", "BTC", "0.00001000", "0.00010000")
    ]


@pytest.mark.parametrize(
    "filters",
    [[], [{"filterType": "NOTIONAL"}], [{"filterType": "PRICE_FILTER"}, {"filterType": "LOT_SIZE"}]],
)
def test_exchange_info_tolerates_missing_filters(filters: object) -> None:
    """A step that no filter states is not known."""
    (instrument,) = rest_exchange_info({"symbols": [listing(filters=filters)]})

    assert (instrument.tick_size, instrument.step_size) == (None, None)


def test_exchange_info_tolerates_a_listing_without_filters() -> None:
    """A listing that has no list of filters is a listing still."""
    row = listing()
    del row["filters"]

    assert rest_exchange_info({"symbols": [row]})[0].tick_size is None


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"symbols": {}},
        {"symbols": [None]},
        {"symbols": [listing(symbol=None)]},
        {"symbols": [listing(), listing(status=1)]},
        {"symbols": [listing(filters=None)]},
        {"symbols": [listing(filters=[[]])]},
        {"symbols": [listing(filters=[{"filterType": "PRICE_FILTER", "tickSize": 0.1}])]},
    ],
)
def test_exchange_info_is_refused_as_a_whole(body: object) -> None:
    """Part of a list would look as if the rest had been delisted."""
    with pytest.raises(MalformedFrame) as refusal:
        rest_exchange_info(body)

    assert refusal.value.kind == "exchangeInfo"


def test_recorded_exchange_info_is_read() -> None:
    """The exchange's list of 2021-04-17 is read to its end."""
    instruments = rest_exchange_info(recordings.exchange_info())

    assert len(instruments) > 1000
    assert Instrument("BTCUSDT", "TRADING", "BTC", "USDT", "0.01000000", "0.00000100") in instruments


DAY = {"symbol": "BTCUSDT", "count": 5019250, "lastId": 3988881941, "quoteVolume": "2354076638.59660790"}


@pytest.mark.parametrize("body", [DAY, [DAY]])
def test_ticker_24h_takes_one_symbol_and_several(body: object) -> None:
    """One symbol comes as an object, several come as a list."""
    assert rest_ticker_24h(body) == [DayStats("BTCUSDT", 5019250, 3988881941, "2354076638.59660790")]


@pytest.mark.parametrize(
    "body",
    [
        None,
        [None],
        {},
        {**DAY, "symbol": ""},
        {**DAY, "count": None},
        {**DAY, "lastId": True},
        {**DAY, "quoteVolume": 1.5},
        [DAY, {}],
    ],
)
def test_ticker_24h_refuses_what_it_cannot_use(body: object) -> None:
    """A row without its counts is no proof of anything."""
    with pytest.raises(MalformedFrame) as refusal:
        rest_ticker_24h(body)

    assert refusal.value.kind == "ticker/24hr"


BEST = {
    "symbol": "币安人生USDT",
    "bidPrice": "0.18460000",
    "bidQty": "12.00000000",
    "askPrice": "0.18470000",
    "askQty": "0.00000000",
}


@pytest.mark.parametrize("body", [BEST, [BEST]], ids=["one", "several"])
def test_best_prices_are_kept_as_they_were_printed(body: object) -> None:
    """Asked for one symbol the answer is an object, else a list; an empty side is a zero."""
    assert rest_book_tickers(body) == [
        BestPrices("币安人生USDT", "0.18460000", "12.00000000", "0.18470000", "0.00000000")
    ]


@pytest.mark.parametrize(
    "body",
    [None, ["x"], [{**BEST, "bidPrice": 0.18}], {**BEST, "symbol": 1}, {**BEST, "askQty": "many"}, {}],
)
def test_best_prices_that_cannot_be_read_are_malformed(body: object) -> None:
    """Nothing is guessed."""
    with pytest.raises(MalformedFrame):
        rest_book_tickers(body)


def test_exchanges_clock_is_read_in_milliseconds() -> None:
    """As it is in the answer."""
    assert rest_time({"serverTime": 1_723_161_254_087}) == 1_723_161_254_087


@pytest.mark.parametrize("body", [None, [], {}, {"serverTime": "now"}, {"serverTime": 1.5}])
def test_clock_that_cannot_be_read_is_malformed(body: object) -> None:
    """It would make a clock offset out of nothing."""
    with pytest.raises(MalformedFrame):
        rest_time(body)


# --- the past ---------------------------------------------------------------------------------------

TRADE_ROW: dict[str, object] = {
    "id": 28457,
    "price": "4.00000100",
    "qty": "12.00000000",
    "quoteQty": "48.000012",
    "time": 1_499_865_549_590,
    "isBuyerMaker": True,
    "isBestMatch": True,
}
AGG_ROW: dict[str, object] = {
    "a": 26129,
    "p": "0.01633102",
    "q": "4.70443515",
    "f": 27781,
    "l": 27782,
    "T": 1_498_793_709_153,
    "m": False,
    "M": True,
}
KLINE_ROW: list[object] = [
    1_499_040_000_000,
    *("0.01634790", "0.80000000", "0.01575800", "0.01577100", "148976.11427815"),
    1_499_040_059_999,
    *("2434.19055334", 308, "1756.87402397", "28.46694368", "0"),
]


def test_trades_of_the_past_get_their_symbol_from_the_caller() -> None:
    """Times in microseconds, as from the stream."""
    assert rest_trades([TRADE_ROW], "BTCUSDT", RECV_NS) == [
        Trade("BTCUSDT", 28457, 1_499_865_549_590_000, "4.00000100", "12.00000000", True, RECV_NS)
    ]
    assert rest_trades([], "BTCUSDT", RECV_NS) == []


def test_aggregate_trades_of_the_past_are_read() -> None:
    """With the trades that each is made of."""
    assert rest_agg_trades([AGG_ROW], "BTCUSDT", RECV_NS) == [
        AggTrade(
            *("BTCUSDT", 26129, 1_498_793_709_153_000, "0.01633102", "4.70443515", 27781, 27782, False),
            RECV_NS,
        )
    ]


def test_candle_of_the_past_is_closed_when_its_time_is_over() -> None:
    """By our clock; its event time is that of its close."""
    close_us = 1_499_040_059_999_000
    (closed,) = rest_klines([KLINE_ROW], "BTCUSDT", "1m", RECV_NS)
    (still_open,) = rest_klines([KLINE_ROW], "BTCUSDT", "1m", close_us * 1_000)

    assert closed.is_closed
    assert not still_open.is_closed
    assert (closed.open_time_us, closed.close_time_us, closed.ts_us) == (
        1_499_040_000_000_000,
        close_us,
        close_us,
    )
    assert (closed.open, closed.high, closed.low, closed.close) == tuple(KLINE_ROW[1:5])
    assert (closed.volume, closed.quote_volume, closed.trades) == ("148976.11427815", "2434.19055334", 308)
    assert (closed.taker_buy_volume, closed.taker_buy_quote_volume) == ("1756.87402397", "28.46694368")


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [None],
        [{**TRADE_ROW, "id": "28457"}],
        [{**TRADE_ROW, "price": 4.0}],
        [{**TRADE_ROW, "isBuyerMaker": 1}],
        [{name: TRADE_ROW[name] for name in TRADE_ROW if name != "time"}],
    ],
)
def test_malformed_trades_of_the_past_are_refused(body: object) -> None:
    """As a whole: half a page would look like ids that the exchange has not."""
    with pytest.raises(MalformedFrame):
        rest_trades(body, "BTCUSDT", RECV_NS)


@pytest.mark.parametrize("body", [None, [{**AGG_ROW, "l": None}], [{**AGG_ROW, "q": "four"}]])
def test_malformed_aggregate_trades_are_refused(body: object) -> None:
    """As a whole."""
    with pytest.raises(MalformedFrame):
        rest_agg_trades(body, "BTCUSDT", RECV_NS)


@pytest.mark.parametrize(
    "body", [None, [KLINE_ROW[:5]], [{}], [[*KLINE_ROW[:1], 1.5, *KLINE_ROW[2:]]], [[None, *KLINE_ROW[1:]]]]
)
def test_malformed_candles_are_refused(body: object) -> None:
    """As a whole."""
    with pytest.raises(MalformedFrame):
        rest_klines(body, "BTCUSDT", "1m", RECV_NS)
