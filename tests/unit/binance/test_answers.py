"""REST answers to records."""

import pytest

from ingest.binance.answers import (
    BestPrices,
    DayStats,
    Instrument,
    rest_book_tickers,
    rest_depth,
    rest_exchange_info,
    rest_ticker_24h,
    rest_time,
)
from ingest.binance.frames import MalformedFrame
from ingest.events import DepthSnapshot
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
