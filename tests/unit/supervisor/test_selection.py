"""`ingest.supervisor.selection`: the configuration's words against what the exchange lists."""

import pytest

from ingest.binance.parse import DayStats, Instrument
from ingest.config import SpotSection, TopSymbols
from ingest.errors import ConfigError
from ingest.events import StreamKey
from ingest.supervisor.selection import choose_instruments, expected_rates


def an_instrument(symbol: str, *, quote: str = "USDT", status: str = "TRADING") -> Instrument:
    return Instrument(symbol, status, symbol.removesuffix(quote), quote, "0.01", "0.001")


LISTED = [
    an_instrument("BTCUSDT"),
    an_instrument("ETHUSDT"),
    an_instrument("ETHBTC", quote="BTC"),
    an_instrument("OLDUSDT", status="BREAK"),
    an_instrument("NEWUSDT"),
]
STATS = [
    DayStats("BTCUSDT", 864_000, 1, "900.5"),
    DayStats("ETHUSDT", 86_400, 1, "1000.25"),
    DayStats("ETHBTC", 8_640, 1, "5000"),
    DayStats("OLDUSDT", 0, -1, "99999"),
]


def chosen(symbols: object) -> list[str]:
    spot = SpotSection.model_validate({"symbols": symbols})
    return [instrument.symbol for instrument in choose_instruments(spot, LISTED, STATS)]


def test_named_symbols_are_taken_as_named() -> None:
    """In their order, and whatever their status: they may trade again."""
    assert chosen(["OLDUSDT", "BTCUSDT"]) == ["OLDUSDT", "BTCUSDT"]


def test_symbols_that_are_not_listed_are_all_named() -> None:
    """One message for all of them, none for those that are."""
    with pytest.raises(ConfigError, match="does not list NOSUCHUSDT, XUSDT$"):
        chosen(["XUSDT", "BTCUSDT", "NOSUCHUSDT"])


def test_star_means_everything_that_trades() -> None:
    """A symbol in a break is not among them."""
    assert chosen("*") == ["BTCUSDT", "ETHUSDT", "ETHBTC", "NEWUSDT"]


@pytest.mark.parametrize(
    ("quote", "top", "expected"),
    [
        (["USDT"], 1, ["ETHUSDT"]),
        (["USDT"], 10, ["ETHUSDT", "BTCUSDT", "NEWUSDT"]),
        (["USDT", "BTC"], 2, ["ETHBTC", "ETHUSDT"]),
    ],
)
def test_top_symbols_are_those_of_the_highest_volume(quote: list[str], top: int, expected: list[str]) -> None:
    """Among those that trade and are quoted so; one without statistics comes last."""
    assert chosen({"quote": quote, "top": top}) == expected


def test_ties_are_broken_by_name() -> None:
    """The same answer gives the same plan."""
    spot = SpotSection(symbols=TopSymbols(top=2))
    names = [an_instrument(symbol) for symbol in ("CUSDT", "AUSDT", "BUSDT")]

    assert [i.symbol for i in choose_instruments(spot, names, [])] == ["AUSDT", "BUSDT"]


def test_choice_that_comes_out_empty_is_a_mistake() -> None:
    """A service with nothing to do says so at once."""
    with pytest.raises(ConfigError, match="nothing that the exchange lists as TRADING"):
        chosen({"quote": ["EUR"], "top": 5})


def test_rates_are_expected_for_every_symbol_and_kind() -> None:
    """From the trades of the last day; a symbol without statistics still gets its streams."""
    rates = expected_rates(["BTCUSDT", "NEWUSDT"], ["trade", "depth"], STATS)

    assert rates[StreamKey("spot", "BTCUSDT", "trade")] == pytest.approx(10.0)
    assert rates[StreamKey("spot", "NEWUSDT", "trade")] == 0.0
    assert len(rates) == 4
