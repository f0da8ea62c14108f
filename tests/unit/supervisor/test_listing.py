"""Which silence the exchange's own list explains, and what it changes in the plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.binance.parse import Instrument
from ingest.config import SpotSection
from ingest.events import StreamKey
from ingest.supervisor.listing import ListingChange, halted_streams, listing_change

KINDS = ("trade", "agg_trade", "book_ticker", "depth", "kline_1m", "mini_ticker", "ticker", "avg_price")
STREAMS = [StreamKey("spot", symbol, kind) for symbol in ("BTCUSDT", "ETHUSDT") for kind in KINDS]
ALL = SpotSection(symbols="*")
TOP = SpotSection.model_validate({"symbols": {"quote": ["USDT"], "top": 1}})
NAMED = SpotSection(symbols=["BTCUSDT", "NEWUSDT"])


def instrument(symbol: str, status: str = "TRADING", quote: str = "USDT") -> Instrument:
    return Instrument(symbol, status, symbol.removesuffix(quote), quote, "0.01", "0.00001")


BTC, ETH, NEW = instrument("BTCUSDT"), instrument("ETHUSDT"), instrument("NEWUSDT")


def symbols(change: ListingChange) -> tuple[str, ...]:
    return tuple(each.symbol for each in change.listed)


# --- halted ---


@pytest.mark.parametrize("status", ["BREAK", "END_OF_DAY"])
def test_symbol_without_market_data_is_halted_in_every_kind(status: str) -> None:
    """Nothing at all is sent for it; its neighbour is not touched."""
    halted = halted_streams(STREAMS, {"BTCUSDT": status, "ETHUSDT": "TRADING"})

    assert halted == {key for key in STREAMS if key.symbol == "BTCUSDT"}


@pytest.mark.parametrize("status", ["HALT", "CANCEL_ONLY"])
def test_symbol_that_does_not_trade_may_still_move_its_book(status: str) -> None:
    """Orders are cancelled while nobody trades, so book kinds are judged as ever."""
    halted = halted_streams(STREAMS, {"BTCUSDT": status})

    assert {key.kind for key in halted} == set(KINDS) - {"depth", "book_ticker"}
    assert {key.symbol for key in halted} == {"BTCUSDT"}


@pytest.mark.parametrize("status", [{}, {"BTCUSDT": "TRADING"}, {"BTCUSDT": "SOMETHING_NEW"}])
def test_silence_of_any_other_symbol_is_not_explained(status: dict[str, str]) -> None:
    """A missing status, or one that nobody knows, excuses no stream."""
    assert halted_streams(STREAMS, status) == set()


# --- listed and delisted ---


def test_list_that_agrees_with_the_plan_changes_nothing() -> None:
    """The same symbols on both sides."""
    assert listing_change(ALL, {"BTCUSDT", "ETHUSDT"}, set(), [BTC, ETH]) == ListingChange((), ())


def test_symbol_that_the_exchange_names_no_more_is_delisted() -> None:
    """In whatever order they were planned, they are told in order."""
    change = listing_change(ALL, ["ZUSDT", "BTCUSDT", "AUSDT"], set(), [BTC])

    assert change == ListingChange((), ("AUSDT", "ZUSDT"))


@pytest.mark.parametrize("status", ["BREAK", "HALT", "END_OF_DAY"])
def test_symbol_that_pauses_is_not_delisted(status: str) -> None:
    """It is still in the list."""
    assert listing_change(ALL, {"BTCUSDT"}, set(), [instrument("BTCUSDT", status)]).delisted == ()


def test_empty_list_is_a_fault_of_the_answer() -> None:
    """An exchange with nothing to trade would otherwise empty the plan."""
    assert listing_change(ALL, {"BTCUSDT"}, set(), []) == ListingChange((), ())


def test_new_symbol_joins_where_all_are_wanted() -> None:
    """With its instrument, whose ids the database needs."""
    assert listing_change(ALL, {"BTCUSDT"}, {"BTCUSDT"}, [BTC, NEW]).listed == (NEW,)


@pytest.mark.parametrize("status", ["BREAK", "HALT", "PRE_TRADING"])
def test_new_symbol_that_does_not_trade_yet_waits(status: str) -> None:
    """It joins with the answer that says TRADING."""
    assert not listing_change(ALL, {"BTCUSDT"}, set(), [BTC, instrument("NEWUSDT", status)]).listed


def test_named_symbol_joins_and_another_does_not() -> None:
    """Where the configuration has names, only these."""
    assert symbols(listing_change(NAMED, {"BTCUSDT"}, set(), [BTC, ETH, NEW])) == ("NEWUSDT",)


def test_of_the_top_only_what_was_never_listed_joins() -> None:
    """A symbol that was there before has its rank and was not chosen; one that is new has none yet."""
    change = listing_change(TOP, {"BTCUSDT"}, {"BTCUSDT", "ETHUSDT"}, [BTC, ETH, NEW])

    assert symbols(change) == ("NEWUSDT",)


def test_of_the_top_another_quote_does_not_join() -> None:
    """The quote asset is part of what was asked for."""
    assert not listing_change(TOP, {"BTCUSDT"}, set(), [BTC, instrument("NEWBTC", quote="BTC")]).listed


NAMES = st.sets(st.sampled_from(["BTCUSDT", "ETHUSDT", "NEWUSDT", "XBTC"]))


@given(
    spot=st.sampled_from([ALL, TOP, NAMED]),
    planned=NAMES,
    known=NAMES,
    statuses=st.dictionaries(
        st.sampled_from(["BTCUSDT", "ETHUSDT", "NEWUSDT"]), st.sampled_from(["TRADING", "BREAK"])
    ),
)
def test_plan_and_list_agree_after_the_change(
    spot: SpotSection, planned: set[str], known: set[str], statuses: dict[str, str]
) -> None:
    """What is carried out once is not asked for again, and nothing comes and goes in one answer."""
    answer = [instrument(symbol, status) for symbol, status in statuses.items()]
    change = listing_change(spot, planned, known, answer)
    after = (planned - set(change.delisted)) | set(symbols(change))

    assert listing_change(spot, after, known | statuses.keys(), answer) == ListingChange((), ())
    assert planned.isdisjoint(symbols(change))
    assert set(change.delisted) <= planned - statuses.keys()
