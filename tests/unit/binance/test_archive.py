"""The exchange's archives: names, checksums, lines."""

from datetime import date

import pytest

from ingest.binance.archive import agg_trades, checksum, file_name, folder, trades
from ingest.binance.frames import MalformedFrame
from ingest.events import AggTrade, Trade

DAY = date(2026, 11, 21)
SHA = "ab" * 32


def test_files_are_named_after_symbol_kind_and_day() -> None:
    """As the exchange does."""
    assert file_name("BTCUSDT", "trade", DAY) == "BTCUSDT-trades-2026-11-21.zip"
    assert file_name("BTCUSDT", "agg_trade", DAY) == "BTCUSDT-aggTrades-2026-11-21.zip"
    assert folder("BTCUSDT", "agg_trade") == "data/spot/daily/aggTrades/BTCUSDT"


@pytest.mark.parametrize("text", [f"{SHA}  a.zip\n", f"{SHA.upper()} *a.zip", f"{SHA} a.zip"])
def test_checksum_is_read_as_sha256sum_writes_it(text: str) -> None:
    """In either mode, with or without a newline."""
    assert checksum(text, "a.zip") == SHA


@pytest.mark.parametrize(
    "text", ["", SHA, f"{SHA}  b.zip", f"{SHA[:-1]}  a.zip", f"{SHA}  a.zip\n{SHA}  a.zip"]
)
def test_anything_else_is_no_checksum_of_the_file(text: str) -> None:
    """One of another file least of all."""
    with pytest.raises(MalformedFrame, match=r"a\.zip"):
        checksum(text, "a.zip")


@pytest.mark.parametrize("time", ["1763683200123456", "1763683200123"])
def test_time_is_read_in_either_unit(time: str) -> None:
    """Microseconds from 2025 on, milliseconds before."""
    (trade,) = trades("BTCUSDT", [f"5,1.50,2,3.0,{time},True,True\n"])

    assert trade == Trade("BTCUSDT", 5, int(time.ljust(16, "0")), "1.50", "2", True, 0)


def test_heading_is_passed_over() -> None:
    """Some files have one."""
    lines = ["id,price,qty,quote_qty,time,is_buyer_maker,is_best_match", "5,1,2,3,1763683200123,false,true"]

    assert [trade.trade_id for trade in trades("BTCUSDT", lines)] == [5]


def test_aggregate_trades_are_read() -> None:
    """Their time is the sixth column."""
    assert list(agg_trades("BTCUSDT", ["5,1.50,2,7,8,1763683200123456,False,True"])) == [
        AggTrade("BTCUSDT", 5, 1_763_683_200_123_456, "1.50", "2", 7, 8, False, 0)
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "5,1.50",
        "5,x,2,3.0,1763683200123456,True,True",
        "-5,1,2,3.0,1763683200123456,True,True",
        "5,1,2,3.0,-1,True,True",
        "5,1,2,3.0,999999999999999999999,True,True",
        "5,1,2,3.0,1763683200123456,yes,True",
    ],
)
def test_line_that_is_no_trade_is_named(line: str) -> None:
    """With its number; nothing is guessed."""
    with pytest.raises(MalformedFrame, match="line 2"):
        list(trades("BTCUSDT", ["1,1,2,3.0,1763683200123456,True,True", line]))
