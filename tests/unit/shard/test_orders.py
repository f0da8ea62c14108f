"""`ingest.shard.orders`: what is written is what is read, and nothing else is taken for an order."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.binance.streams import KINDS
from ingest.events import StreamKey
from ingest.shard.orders import (
    MAX_LINE_BYTES,
    Adopt,
    Drop,
    Order,
    OrderLines,
    Probe,
    ReplaceFeed,
    Resubscribe,
    decode,
    encode,
)

BTC_TRADE = StreamKey("spot", "BTCUSDT", "trade")
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
KEYS = st.builds(StreamKey, st.just("spot"), TEXTS, st.sampled_from(KINDS))
STREAMS = st.lists(KEYS, min_size=1, max_size=5).map(tuple)
NUMBERS = st.integers(0, 10_000)


def adoptions(streams: tuple[StreamKey, ...]) -> st.SearchStrategy[Order]:
    ids = st.fixed_dictionaries({key.symbol: NUMBERS for key in streams})
    return st.builds(Adopt, NUMBERS, st.just(streams), ids, st.sampled_from([1, 2]))


ORDERS: st.SearchStrategy[Order] = st.one_of(
    st.builds(Resubscribe, STREAMS),
    st.builds(ReplaceFeed, NUMBERS, TEXTS, STREAMS | st.just(())),
    st.builds(Probe, NUMBERS),
    STREAMS.flatmap(adoptions),
    st.builds(Drop, STREAMS),
)


@given(ORDERS)
def test_every_order_comes_back_as_it_was(order: Order) -> None:
    """And takes exactly one line, whatever is in its texts."""
    line = encode(order)

    assert decode(line) == order
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")


@given(st.binary(max_size=200))
def test_rubbish_is_a_value_error(line: bytes) -> None:
    """No line ends whoever reads it in another way."""
    with pytest.raises(ValueError, match="not an order"):
        decode(line)


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        ([], "unknown order None"),
        ({"order": "explode"}, "unknown order 'explode'"),
        ({"order": ["probe"]}, "unknown order"),
        ({"order": "probe"}, "feed must be"),
        ({"order": "probe", "feed": "3"}, "feed must be"),
        ({"order": "probe", "feed": True}, "feed must be"),
        ({"order": "probe", "feed": 3, "now": 1}, "probe has no now"),
        ({"order": "replace_feed", "feed": 3}, "reason must be"),
        ({"order": "drop", "streams": []}, "streams must be"),
        ({"order": "drop", "streams": "all"}, "streams must be"),
        ({"order": "drop", "streams": [["spot", "BTCUSDT"]]}, "not a stream"),
        ({"order": "drop", "streams": [["spot", "BTCUSDT", 7]]}, "not a stream"),
        ({"order": "drop", "streams": [["spot", "BTCUSDT", "depht"]]}, "unknown market or kind"),
        ({"order": "drop", "streams": [["moon", "BTCUSDT", "depth"]]}, "unknown market or kind"),
        ({"order": "adopt", "feed": 3, "streams": [list(BTC_TRADE)]}, "symbol_ids must be"),
        ({"order": "adopt", "feed": 3, "streams": [list(BTC_TRADE)], "symbol_ids": {}}, "lacks BTCUSDT"),
        (
            {
                "order": "adopt",
                "feed": 3,
                "streams": [list(BTC_TRADE)],
                "symbol_ids": {"BTCUSDT": 1},
                "line": 3,
            },
            "line must be 1 or 2",
        ),
    ],
)
def test_mistake_is_named_with_its_line(tree: object, why: str) -> None:
    """Whoever reads the log sees what was sent and what is wrong with it."""
    line = orjson.dumps(tree)
    with pytest.raises(ValueError, match=why) as caught:
        decode(line)

    assert line.decode()[:40] in str(caught.value)


def test_order_that_is_too_long_for_a_line_is_refused() -> None:
    """On both sides."""
    order = Drop(tuple(StreamKey("spot", f"S{number}USDT", "trade") for number in range(3_000)))
    with pytest.raises(ValueError, match="a line may have"):
        encode(order)
    with pytest.raises(ValueError, match="a line may have"):
        decode(b" " * MAX_LINE_BYTES + b"{}")


def test_thousand_streams_fit_into_one_order() -> None:
    """As many as a connection may carry."""
    streams = tuple(StreamKey("spot", f"SYMBOL{number}USDT", "book_ticker") for number in range(1_024))

    order = Adopt(3, streams, {key.symbol: 1_000 for key in streams})

    assert decode(encode(order)) == order


@given(st.lists(ORDERS, max_size=5), st.integers(1, 50))
def test_lines_come_out_whole_however_they_were_cut(orders: list[Order], size: int) -> None:
    """A pipe keeps no boundaries."""
    data = b"".join(encode(order) for order in orders)
    lines = OrderLines()
    got = [line for at in range(0, len(data), size) for line in lines.feed(data[at : at + size])]

    assert [decode(line) for line in got] == orders


def test_endless_line_is_thrown_away_and_the_next_one_read() -> None:
    """What is held is bounded, and the reader finds its place again."""
    lines = OrderLines()
    for _ in range(100):
        assert lines.feed(b"x" * 10_000) == []
        assert len(lines._begun) < MAX_LINE_BYTES
    got = lines.feed(b"xxx\n" + encode(Probe(3)))

    assert [decode(line) for line in got] == [Probe(3)]
    assert lines.too_long == 1


def test_empty_lines_are_no_orders() -> None:
    """A stray newline is nothing to complain about."""
    assert OrderLines().feed(b"\n \n\r\n") == []
