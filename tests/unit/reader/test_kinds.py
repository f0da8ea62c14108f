"""What can be read agrees with what is written."""

import pytest

from ingest.binance.streams import INTERVALS
from ingest.reader.errors import UnknownName
from ingest.reader.intervals import KLINE_INTERVALS
from ingest.reader.kinds import KIND_NAMES, candles_of, kind_of, klines_of, known_market
from ingest.store.statements import statement


def test_intervals_are_those_that_are_ingested() -> None:
    """The reader has its own list, because it imports nothing of the ingesting side."""
    assert KLINE_INTERVALS == INTERVALS


@pytest.mark.parametrize("name", KIND_NAMES)
def test_every_kind_has_its_statements(name: str) -> None:
    """To read what follows, the newest, and what lies beside."""
    kind = kind_of(name)

    assert kind.name == kind.stream == name
    for verb in ("page", "newest", "beside"):
        assert "symbol_id = $1" in statement(f"reader_{verb}_{kind.statements}")
    if kind.columns:
        assert all(column in statement(f"reader_rows_{kind.statements}") for column in kind.columns)
        if kind.id_rule != "candle":
            numbers = [f"{name}::float8" for name, kind_ in kind.columns.items() if kind_ == "number"]
            assert all(number in statement(f"reader_floats_{kind.statements}") for number in numbers)


def test_candles_are_judged_by_their_trades() -> None:
    """They are made of them."""
    kind = candles_of("1m")

    assert (kind.stream, kind.interval, kind.name) == ("trade", "1m", "candle_1m")
    assert all(column in statement("reader_rows_candles_1m") for column in kind.columns)


def test_name_that_looks_like_none_comes_with_what_there_is() -> None:
    """So that nobody has to guess."""
    with pytest.raises(UnknownName, match="known: agg_trade"):
        kind_of("zzz")
    with pytest.raises(UnknownName, match="near: 1m"):
        klines_of("1min")
    with pytest.raises(UnknownName, match="known: 1d, 1h, 1m, 1s"):
        candles_of("3w")
    assert known_market("spot") == "spot"
    with pytest.raises(UnknownName, match="known: spot"):
        known_market("usdm")
