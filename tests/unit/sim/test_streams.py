"""Stream names."""

import pytest

from ingest.sim.streams import stream_parts


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("btcusdt@trade", ("BTCUSDT", "trade")),
        ("btcusdt@aggTrade", ("BTCUSDT", "agg_trade")),
        ("btcusdt@depth", ("BTCUSDT", "depth_1s")),
        ("btcusdt@depth@1000ms", ("BTCUSDT", "depth_1s")),
        ("btcusdt@depth@100ms", ("BTCUSDT", "depth")),
        ("btcusdt@depth20@100ms", ("BTCUSDT", "depth20")),
        ("btcusdt@kline_1M", ("BTCUSDT", "kline_1M")),
        ("币安人生usdt@trade", ("币安人生USDT", "trade")),
    ],
)
def test_known_names_are_taken_apart(name: str, parts: tuple[str, str]) -> None:
    """Symbol and kind are found in every documented form."""
    assert stream_parts(name) == parts


@pytest.mark.parametrize(
    "name", ["BTCUSDT@trade", "btcusdt@aggtrade", "btcusdt", "btcusdt@kline_7m", "!ticker@arr", "1", ""]
)
def test_unknown_names_are_none(name: str) -> None:
    """Wrong case, unknown suffixes and retired names are no streams."""
    assert stream_parts(name) is None
