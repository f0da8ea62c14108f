"""`ingest.binance.order`: where a message stands among those of its stream."""

import pytest

from ingest.binance.frames import MalformedFrame
from ingest.binance.order import has_ids, is_consecutive, position_reader
from ingest.binance.streams import KINDS
from tests.unit.shard import builders as a


@pytest.mark.parametrize(
    ("kind", "message", "position"),
    [
        ("trade", a.trade(5), 5),
        ("agg_trade", a.agg_trade(6), 6),
        ("depth", a.depth(7, 9), 7),
        ("book_ticker", a.book_ticker(8), 8),
        ("mini_ticker", a.mini_ticker(a.T0_MS), a.T0_US),
        ("kline_1m", a.kline(0), a.kline(0)["E"]),
    ],
)
def test_position_is_the_id_or_the_time(kind: str, message: dict[str, object], position: int) -> None:
    """The first id of a range; times are in microseconds."""
    wanted = position * 1000 if kind == "kline_1m" else position

    assert position_reader(kind)(message) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_message_without_a_position_is_malformed(kind: str) -> None:
    """Like any other that lacks a field."""
    with pytest.raises(MalformedFrame):
        position_reader(kind)({})


def test_rules_of_positions() -> None:
    """Only trades, aggregate trades and depth leave nothing out."""
    assert [kind for kind in KINDS if is_consecutive(kind)] == ["trade", "agg_trade", "depth"]
    assert [kind for kind in KINDS if has_ids(kind)] == ["trade", "agg_trade", "book_ticker", "depth"]
