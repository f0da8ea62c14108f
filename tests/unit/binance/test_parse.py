"""Messages to events: the documented shapes, real frames, and everything that may be wrong with them."""

import copy
import json
from collections import Counter
from decimal import Decimal
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.binance import parse, streams
from ingest.binance.parse import JsonObject, MalformedFrame
from ingest.events import (
    AggTrade,
    AvgPrice,
    BookTicker,
    DepthDelta,
    Event,
    Kline,
    MiniTicker,
    Ticker,
    Trade,
)
from tests.unit import recordings

RECV_NS = 1_723_161_254_087_896_568

TRADE: JsonObject = {
    "e": "trade",
    "E": 1723161255343,
    "s": "BTCUSDT",
    "t": 3735683259,
    "p": "61837.63000000",
    "q": "0.02000000",
    "T": 1723161255342,
    "m": True,
    "M": True,
}
AGG_TRADE: JsonObject = {
    "e": "aggTrade",
    "E": 1592584651517,
    "s": "BTCUSDT",
    "a": 315753210,
    "p": "9319.00000000",
    "q": "0.01864900",
    "f": 343675554,
    "l": 343675556,
    "T": 1592584651516,
    "m": False,
    "M": True,
}
BOOK_TICKER: JsonObject = {
    "u": 50093239212,
    "s": "BTCUSDT",
    "b": "61837.63000000",
    "B": "3.78826000",
    "a": "61837.64000000",
    "A": "1.54698000",
}
DEPTH: JsonObject = {
    "e": "depthUpdate",
    "E": 1723161255208,
    "s": "BTCUSDT",
    "U": 50093239189,
    "u": 50093239202,
    "b": [["61737.63000000", "0.00000000"]],
    "a": [["61837.64000000", "1.54698000"], ["61839.85000000", "0.00000000"]],
}
KLINE: JsonObject = {
    "e": "kline",
    "E": 1601630228469,
    "s": "BTCUSDT",
    "k": {
        "t": 1601630220000,
        "T": 1601630279999,
        "s": "BTCUSDT",
        "i": "1m",
        "f": 427033476,
        "L": 427033658,
        "o": "10437.32000000",
        "c": "10441.80000000",
        "h": "10441.90000000",
        "l": "10437.31000000",
        "v": "20.63957400",
        "n": 183,
        "x": False,
        "q": "215452.69236872",
        "V": "19.31210700",
        "Q": "201593.99488069",
        "B": "0",
    },
}
MINI_TICKER: JsonObject = {
    "e": "24hrMiniTicker",
    "E": 1601628771865,
    "s": "BTCUSDT",
    "c": "10456.56000000",
    "o": "10884.90000000",
    "h": "10912.83000000",
    "l": "10385.02000000",
    "v": "64483.09756200",
    "q": "685180788.34970800",
}
TICKER: JsonObject = {
    "e": "24hrTicker",
    "E": 1592593727005,
    "s": "BTCUSDT",
    "p": "-65.00000000",
    "P": "-0.693",
    "w": "9343.29777965",
    "x": "9383.27000000",
    "c": "9318.48000000",
    "Q": "0.00250000",
    "b": "9318.18000000",
    "B": "0.32000000",
    "a": "9318.47000000",
    "A": "0.35414300",
    "o": "9383.48000000",
    "h": "9438.30000000",
    "l": "9215.79000000",
    "v": "48745.36667100",
    "q": "455442476.18534620",
    "O": 1592507327001,
    "C": 1592593727001,
    "F": 343178738,
    "L": 343729077,
    "n": 550340,
}
AVG_PRICE: JsonObject = {
    "e": "avgPrice",
    "E": 1693907033000,
    "s": "BTCUSDT",
    "i": "5m",
    "w": "25776.86000000",
    "T": 1693907032213,
}
MESSAGES: dict[str, JsonObject] = {
    "trade": TRADE,
    "agg_trade": AGG_TRADE,
    "book_ticker": BOOK_TICKER,
    "depth": DEPTH,
    "kline_1m": KLINE,
    "mini_ticker": MINI_TICKER,
    "ticker": TICKER,
    "avg_price": AVG_PRICE,
}
IGNORED = {"e", "M", "E of trade", "E of agg_trade", "s of k", "f of k", "L of k", "B of k"}


def test_trade_is_read_with_the_time_of_the_trade() -> None:
    """A trade's time is when it happened, not when it was sent."""
    assert parse.trade(TRADE, RECV_NS) == Trade(
        symbol="BTCUSDT",
        trade_id=3735683259,
        ts_us=1723161255342000,
        price="61837.63000000",
        qty="0.02000000",
        buyer_is_maker=True,
        recv_ns=RECV_NS,
    )


def test_agg_trade_is_read_with_the_trades_that_it_covers() -> None:
    """An aggregate trade has its own id and the range of trade ids in it."""
    assert parse.agg_trade(AGG_TRADE, RECV_NS) == AggTrade(
        symbol="BTCUSDT",
        agg_trade_id=315753210,
        ts_us=1592584651516000,
        price="9319.00000000",
        qty="0.01864900",
        first_trade_id=343675554,
        last_trade_id=343675556,
        buyer_is_maker=False,
        recv_ns=RECV_NS,
    )


def test_book_ticker_has_the_time_of_its_arrival() -> None:
    """The exchange sends no time with it, so ours stands in."""
    assert parse.book_ticker(BOOK_TICKER, RECV_NS) == BookTicker(
        symbol="BTCUSDT",
        update_id=50093239212,
        ts_us=RECV_NS // 1000,
        bid_price="61837.63000000",
        bid_qty="3.78826000",
        ask_price="61837.64000000",
        ask_qty="1.54698000",
        recv_ns=RECV_NS,
    )


def test_depth_hands_on_the_lists_of_levels() -> None:
    """A delta's levels are those of the message, not copies."""
    delta = parse.depth(DEPTH, RECV_NS)

    assert delta == DepthDelta(
        symbol="BTCUSDT",
        first_update_id=50093239189,
        final_update_id=50093239202,
        ts_us=1723161255208000,
        bids=DEPTH["b"],  # type: ignore[arg-type]
        asks=DEPTH["a"],  # type: ignore[arg-type]
        recv_ns=RECV_NS,
    )
    assert delta.bids is DEPTH["b"]


def test_kline_is_read_from_its_inner_object() -> None:
    """A candle has open and close times, its interval, and the event time of this update."""
    assert parse.kline(KLINE, RECV_NS) == Kline(
        symbol="BTCUSDT",
        interval="1m",
        open_time_us=1601630220000000,
        close_time_us=1601630279999000,
        open="10437.32000000",
        high="10441.90000000",
        low="10437.31000000",
        close="10441.80000000",
        volume="20.63957400",
        quote_volume="215452.69236872",
        trades=183,
        taker_buy_volume="19.31210700",
        taker_buy_quote_volume="201593.99488069",
        is_closed=False,
        ts_us=1601630228469000,
        recv_ns=RECV_NS,
    )


def test_mini_ticker_is_read() -> None:
    """The small ticker has the last price, the range and the volumes of 24 hours."""
    assert parse.mini_ticker(MINI_TICKER, RECV_NS) == MiniTicker(
        symbol="BTCUSDT",
        ts_us=1601628771865000,
        last_price="10456.56000000",
        open="10884.90000000",
        high="10912.83000000",
        low="10385.02000000",
        volume="64483.09756200",
        quote_volume="685180788.34970800",
        recv_ns=RECV_NS,
    )


def test_ticker_is_read_with_a_negative_change() -> None:
    """The full ticker has a change that may be negative, and the window's bounds."""
    assert parse.ticker(TICKER, RECV_NS) == Ticker(
        symbol="BTCUSDT",
        ts_us=1592593727005000,
        last_price="9318.48000000",
        open="9383.48000000",
        high="9438.30000000",
        low="9215.79000000",
        volume="48745.36667100",
        quote_volume="455442476.18534620",
        price_change="-65.00000000",
        price_change_percent="-0.693",
        weighted_avg_price="9343.29777965",
        prev_close_price="9383.27000000",
        last_qty="0.00250000",
        bid_price="9318.18000000",
        bid_qty="0.32000000",
        ask_price="9318.47000000",
        ask_qty="0.35414300",
        open_time_us=1592507327001000,
        close_time_us=1592593727001000,
        first_trade_id=343178738,
        last_trade_id=343729077,
        trades=550340,
        recv_ns=RECV_NS,
    )


def test_avg_price_is_read() -> None:
    """The average price has its interval and the time of the last trade in it."""
    assert parse.avg_price(AVG_PRICE, RECV_NS) == AvgPrice(
        symbol="BTCUSDT",
        ts_us=1693907033000000,
        interval="5m",
        avg_price="25776.86000000",
        last_trade_ts_us=1693907032213000,
        recv_ns=RECV_NS,
    )


def test_every_kind_has_its_parser() -> None:
    """No stream can be subscribed to whose messages could not be read."""
    assert set(parse.PARSERS) == set(streams.KINDS)
    assert parse.PARSERS["kline_1M"] is parse.kline


@pytest.mark.parametrize("kind", MESSAGES)
def test_microseconds_stay_microseconds(kind: str) -> None:
    """A connection that was asked for microseconds gives the same times."""
    message = in_microseconds(MESSAGES[kind])

    assert parse.PARSERS[kind](message, RECV_NS) == parse.PARSERS[kind](MESSAGES[kind], RECV_NS)


@pytest.mark.parametrize("kind", MESSAGES)
def test_unknown_fields_are_ignored(kind: str) -> None:
    """The exchange may add fields at any time."""
    message = {**MESSAGES[kind], "nq": "1.5", "st": {"new": [1]}}

    assert parse.PARSERS[kind](message, RECV_NS) == parse.PARSERS[kind](MESSAGES[kind], RECV_NS)


FIELDS = [
    (kind, path)
    for kind, message in MESSAGES.items()
    for path in [*((key,) for key in message), *(("k", key) for key in KLINE["k"] if kind == "kline_1m")]  # type: ignore[attr-defined]
    if not IGNORED & {path[-1], f"{path[-1]} of {kind}", f"{path[-1]} of {path[0]}"} or path == ("k",)
]


@pytest.mark.parametrize(("kind", "path"), FIELDS, ids=str)
@pytest.mark.parametrize("rubbish", [None, 1.5, True, [], {}, "abc", 2**63, "missing"], ids=str)
def test_each_field_is_refused_by_name_when_it_is_wrong(
    kind: str, path: tuple[str, ...], rubbish: object
) -> None:
    """A field that is missing or of another type is named, and never gets through."""
    message = copy.deepcopy(MESSAGES[kind])
    holder = message["k"] if len(path) == 2 else message
    assert isinstance(holder, dict)
    if fits(holder[path[-1]], rubbish):
        return
    if rubbish == "missing":
        del holder[path[-1]]
    else:
        holder[path[-1]] = rubbish

    with pytest.raises(MalformedFrame) as refusal:
        parse.PARSERS[kind](message, RECV_NS)

    assert (refusal.value.kind, refusal.value.field) == (kind.removesuffix("_1m"), path[-1])


@pytest.mark.parametrize(("kind", "first", "last"), [("depth", "U", "u"), ("agg_trade", "f", "l")])
def test_a_range_that_ends_before_it_begins_is_refused(kind: str, first: str, last: str) -> None:
    """Ids that contradict each other are malformed although each is an id."""
    message = {**MESSAGES[kind], first: 11, last: 10}

    with pytest.raises(MalformedFrame, match="contradict") as refusal:
        parse.PARSERS[kind](message, RECV_NS)

    assert refusal.value.kind == kind


def test_a_symbol_may_be_written_in_any_alphabet() -> None:
    """Symbols are not only ASCII."""
    assert parse.trade({**TRADE, "s": "币安人生USDT"}, RECV_NS).symbol == "币安人生USDT"


@given(
    kind=st.sampled_from(sorted(MESSAGES)),
    key=st.sampled_from("estTpqmabBAflUuEkcohlvxwQPOCFLni"),
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
        max_leaves=6,
    ),
)
def test_whatever_a_field_holds_the_event_has_its_declared_types(kind: str, key: str, value: object) -> None:
    """A parser returns its record with the types that it declares, or refuses; nothing else escapes."""
    message = {**MESSAGES[kind], key: value}

    try:
        event = parse.PARSERS[kind](message, RECV_NS)
    except MalformedFrame:
        return

    assert_declared_types(event)


def test_recorded_spot_frames_are_all_read() -> None:
    """Every frame of the ten symbols becomes the event of its stream."""
    counts: Counter[str] = Counter()
    for frame in recordings.ten_symbols():
        if frame.rest_symbol:
            continue
        item = parse.split_frame(frame.text)
        assert isinstance(item, tuple)
        symbol, kind = streams.stream_of(item[0])
        event = parse.PARSERS[kind](item[1], frame.recv_ns)
        assert event.symbol == symbol
        assert_declared_types(event)
        counts[kind] += 1

    assert counts == {"depth": 614, "book_ticker": 570, "agg_trade": 24, "kline_1m": 20}


def test_recorded_trades_of_btcusdt_sum_up_to_the_known_answer() -> None:
    """19,904 trades without a break, whose exact sums are known."""
    frames = (frame for frame in recordings.btcusdt() if '@trade"' in frame.text)
    trades = [parse.trade(json.loads(frame.text)["data"], frame.recv_ns) for frame in frames]

    assert [trade.trade_id for trade in trades] == list(range(3735683259, 3735703162 + 1))
    assert sum(Decimal(trade.qty) for trade in trades) == Decimal("437.91552")
    quote = sum(Decimal(trade.price) * Decimal(trade.qty) for trade in trades)
    assert quote == Decimal("27006929.5910348")


SINGLE_FRAMES = [
    (kind, text)
    for text in recordings.single_frames()
    for kind, word in (
        ("trade", '"trade"'),
        ("agg_trade", '"aggTrade"'),
        ("kline_1m", '"kline"'),
        ("mini_ticker", '"24hrMiniTicker"'),
        ("depth", '@depth"'),
        ("book_ticker", '@bookTicker"'),
    )
    if text.startswith('{"stream"') and word in text
]


@pytest.mark.parametrize(("kind", "text"), SINGLE_FRAMES)
def test_single_recorded_frames_are_read_with_their_extra_fields(kind: str, text: str) -> None:
    """Frames of other years and markets have fields that ours have not, and are read all the same."""
    item = parse.split_frame(text)

    assert isinstance(item, tuple)
    assert_declared_types(parse.PARSERS[kind](item[1], RECV_NS))


# --- builders and assertions ----------------------------------------------------------------------


def in_microseconds(message: JsonObject) -> JsonObject:
    """Return the message as a connection with `timeUnit=MICROSECOND` sends it."""
    nested = {key: in_microseconds(value) for key, value in message.items() if isinstance(value, dict)}
    times = {key: value * 1000 for key, value in message.items() if isinstance(value, int) and key in "ETtOC"}
    if "p" in message:
        times.pop("t", None)  # a trade's id
    return {**message, **nested, **times}


def fits(good: object, rubbish: object) -> bool:
    """Tell whether a value that is rubbish elsewhere is of the right type here."""
    if isinstance(rubbish, str):
        return rubbish == "abc" and isinstance(good, str) and not good[-1].isdigit()
    return type(rubbish) is type(good) and rubbish != 2**63


def assert_declared_types(event: Event) -> None:
    """Assert that each field has exactly the type that its record declares."""
    for name, declared in get_type_hints(type(event)).items():
        value = getattr(event, name)
        if get_origin(declared) is list:
            assert type(value) is list
            assert all(len(row) == 2 and all(type(text) is str for text in row) for row in value)
        else:
            assert get_origin(declared) is not Literal or value in get_args(declared)
            assert type(value) is declared, name
