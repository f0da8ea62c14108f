"""Names of streams, what their ids promise, and how they are asked for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.binance import limits, streams

SYMBOLS = st.one_of(
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=20),
    st.text("币安人生龙虾", min_size=1, max_size=8).map(lambda name: f"{name}USDT"),
)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("trade", "btcusdt@trade"),
        ("agg_trade", "btcusdt@aggTrade"),
        ("book_ticker", "btcusdt@bookTicker"),
        ("depth", "btcusdt@depth@100ms"),
        ("kline_1m", "btcusdt@kline_1m"),
        ("kline_1M", "btcusdt@kline_1M"),
        ("mini_ticker", "btcusdt@miniTicker"),
        ("ticker", "btcusdt@ticker"),
        ("avg_price", "btcusdt@avgPrice"),
    ],
)
def test_wire_name_is_the_exchange_s(kind: str, name: str) -> None:
    """A stream's name is the symbol in lower case and the exchange's word for the kind."""
    assert streams.wire_name("BTCUSDT", kind) == name


@given(symbol=SYMBOLS, kind=st.sampled_from(streams.KINDS))
def test_stream_of_inverts_wire_name(symbol: str, kind: str) -> None:
    """Every stream is found again from its name, whatever alphabet the symbol is written in."""
    assert streams.stream_of(streams.wire_name(symbol, kind)) == (symbol, kind)


@pytest.mark.parametrize(
    "name",
    ["", "btcusdt", "btcusdt@", "@trade", "btcusdt@depth", "btcusdt@TRADE", "!miniTicker@arr", "a@kline_7m"],
)
def test_stream_of_refuses_names_that_are_never_asked_for(name: str) -> None:
    """An unknown name is refused, and the refusal shows it."""
    with pytest.raises(ValueError, match="unknown stream") as refusal:
        streams.stream_of(name)

    assert repr(name) in str(refusal.value)


def test_kinds_cover_every_interval_of_the_exchange() -> None:
    """All sixteen candles and the seven other kinds are known."""
    assert len(streams.KINDS) == 7 + 16
    assert all(streams.is_kind(f"kline_{interval}") for interval in streams.INTERVALS)
    assert not streams.is_kind("kline")


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("trade", "consecutive"),
        ("agg_trade", "consecutive"),
        ("depth", "range"),
        ("book_ticker", "rising"),
        ("kline_1s", "candle"),
        ("mini_ticker", "none"),
        ("ticker", "none"),
        ("avg_price", "none"),
    ],
)
def test_id_rule_says_what_ids_promise(kind: str, rule: str) -> None:
    """Each kind has the rule of its ids."""
    assert streams.ID_RULE[kind] == rule


def test_repairable_kinds_are_those_that_rest_lists() -> None:
    """Trades, aggregate trades and candles can be had again; books and tickers cannot."""
    klines = {kind for kind in streams.KINDS if kind.startswith("kline_")}

    assert {"trade", "agg_trade"} | klines == streams.REPAIRABLE


def test_interval_of_takes_the_interval_from_the_kind() -> None:
    """The interval keeps its case: a month is not a minute."""
    assert streams.interval_of("kline_1M") == "1M"


@pytest.mark.parametrize("kind", ["trade", "kline_7m", "nonsense"])
def test_interval_of_refuses_what_is_no_candle(kind: str) -> None:
    """Only a known kind of candle has an interval."""
    with pytest.raises(ValueError, match=kind):
        streams.interval_of(kind)


def test_unknown_kinds_are_refused_by_name() -> None:
    """A kind that does not exist has neither a name nor a rate."""
    with pytest.raises(ValueError, match="'funding'"):
        streams.wire_name("BTCUSDT", "funding")
    with pytest.raises(ValueError, match="'funding'"):
        streams.expected_rate("funding", 1.0)


@pytest.mark.parametrize("kind", streams.KINDS)
@given(trades_per_s=st.floats(0, 1e4))
def test_expected_rate_never_falls_as_trading_grows(kind: str, trades_per_s: float) -> None:
    """A busier symbol is never expected to be quieter, and a rate is never negative."""
    rate = streams.expected_rate(kind, trades_per_s)

    assert 0 <= rate <= streams.expected_rate(kind, trades_per_s + 1)


@pytest.mark.parametrize(
    ("kind", "ceiling"), [("depth", 10.0), ("kline_1m", 0.5), ("kline_1s", 1.0), ("mini_ticker", 1.0)]
)
def test_expected_rate_stops_at_the_exchange_s_ceiling(kind: str, ceiling: float) -> None:
    """Kinds that are pushed by the clock have a highest rate, however busy the symbol."""
    assert streams.expected_rate(kind, 1e6) == ceiling


def test_expected_rate_fits_the_recorded_session() -> None:
    """BTCUSDT, recorded with 30.6 trades a second, had 112 book tickers and 10 deltas a second."""
    assert streams.expected_rate("trade", 30.6) == 30.6
    assert streams.expected_rate("book_ticker", 30.6) == pytest.approx(112, rel=0.2)
    assert streams.expected_rate("depth", 30.6) == 10


def request_bytes(method: streams.Method, names: list[str], request_id: int) -> int:
    """The size of the one message that asks for all of these names."""
    message = {"method": method, "params": names, "id": request_id}
    return len(json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode())


def test_control_messages_are_the_documented_json() -> None:
    """Both requests look as the exchange documents them, without spaces."""
    assert streams.request_messages("SUBSCRIBE", ["btcusdt@trade"], 1) == {
        1: '{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}'
    }
    assert streams.request_messages("UNSUBSCRIBE", ["a@trade", "b@trade"], 2) == {
        2: '{"method":"UNSUBSCRIBE","params":["a@trade","b@trade"],"id":2}'
    }


NAMES = st.lists(st.builds(streams.wire_name, SYMBOLS, st.sampled_from(streams.KINDS)), max_size=300)


@given(names=NAMES, max_streams=st.integers(1, 120), max_bytes=st.integers(200, 4000))
def test_subscribe_batches_keep_every_bound_and_every_name(
    names: list[str], max_streams: int, max_bytes: int
) -> None:
    """No message is too long in streams or bytes, none is empty, and the names keep their order."""
    batches = streams.subscribe_batches(names, max_streams=max_streams, max_bytes=max_bytes)

    assert [name for batch in batches for name in batch] == names
    for batch in batches:
        assert 0 < len(batch) <= max_streams
        assert request_bytes("UNSUBSCRIBE", batch, -(2**63)) <= max_bytes


@pytest.mark.parametrize("method", ["SUBSCRIBE", "UNSUBSCRIBE"])
def test_request_messages_are_numbered_from_the_first_id(method: streams.Method) -> None:
    """One message a batch, each under the id that is in it, and no name is left out."""
    names = [streams.wire_name(f"S{number}USDT", "trade") for number in range(250)]
    messages = {
        number: json.loads(text) for number, text in streams.request_messages(method, names, 7).items()
    }

    assert list(messages) == [message["id"] for message in messages.values()] == [7, 8, 9]
    assert {message["method"] for message in messages.values()} == {method}
    assert [name for message in messages.values() for name in message["params"]] == names


def test_subscribe_batches_fill_a_message_to_its_last_byte() -> None:
    """A name that just fits is not put into a message of its own."""
    names = ["btcusdt@trade", "ethusdt@trade"]
    size = request_bytes("UNSUBSCRIBE", names, -(2**63))

    assert streams.subscribe_batches(names, max_bytes=size) == [names]
    assert streams.subscribe_batches(names, max_bytes=size - 1) == [names[:1], names[1:]]


def test_subscribe_batches_measure_bytes_not_letters() -> None:
    """Symbols in Chinese count three bytes a character."""
    names = [streams.wire_name("币安人生" * 5, "trade")] * 100

    batches = streams.subscribe_batches(names)

    assert len(batches) == 2
    assert all(request_bytes("SUBSCRIBE", b, 1) <= limits.MAX_SUBSCRIBE_BYTES for b in batches)


def test_subscribe_batches_refuse_a_name_that_never_fits() -> None:
    """A name longer than a whole message is an error, not an endless attempt."""
    with pytest.raises(ValueError, match="does not fit into 100"):
        streams.subscribe_batches(["x" * 200], max_bytes=100)
