"""The seeded market agrees with itself."""

import itertools
from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.sim.book import Book
from ingest.sim.decimals import units
from ingest.sim.happenings import Aggregated, BookChanged, Happening, TopChanged, Traded
from ingest.sim.market import Market, MarketPlan, orders_per_s
from ingest.sim.names import symbol_names

START_US = 1_700_000_000_000_000
SECOND_US = 1_000_000


def _market(seed: int, *, symbols: int = 3, rate: float = 2000.0, levels: int = 40) -> Market:
    market = Market(MarketPlan(symbols=symbols, rate=rate, seed=seed, levels=levels), Random(seed))
    market.start(START_US)
    return market


def _happened(market: Market, seconds: float) -> list[Happening]:
    return market.advance(START_US + int(seconds * SECOND_US), 10**9)


def _levels(side: bytes) -> list[tuple[int, int]]:
    return [(units(price), units(qty)) for price, qty in orjson.loads(b"[" + side + b"]")]


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_ids_are_consecutive_and_aggregates_tile_trades(seed: int) -> None:
    """Trade, aggregate and update ids leave no hole; aggregates cover each trade once."""
    market = _market(seed)
    books = {listing.symbol: market.book(listing.symbol).update_id for listing in market.listings}
    happened = _happened(market, 1.0)

    for symbol, first_update in books.items():
        trades = [h for h in happened if isinstance(h, Traded) and h.symbol == symbol]
        aggs = [h for h in happened if isinstance(h, Aggregated) and h.symbol == symbol]
        deltas = [h for h in happened if isinstance(h, BookChanged) and h.symbol == symbol]
        ids = [trade.trade_id for trade in trades]
        assert _is_consecutive(ids)
        assert [i for a in aggs for i in range(a.first_trade_id, a.last_trade_id + 1)] == ids
        assert _is_consecutive([agg.agg_trade_id for agg in aggs])
        assert sum(a.qty for a in aggs) == sum(t.qty for t in trades)
        for earlier, later in itertools.pairwise(deltas):
            assert later.first_update_id == earlier.final_update_id + 1
        assert not deltas or deltas[0].first_update_id == first_update + 1


def _is_consecutive(ids: list[int]) -> bool:
    return not ids or ids == list(range(ids[0], ids[0] + len(ids)))


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_deltas_lead_from_the_first_book_to_the_last(seed: int) -> None:
    """Applying every depth delta to the first book gives the market's own, never crossed."""
    market = _market(seed)
    rebuilt = {listing.symbol: market.book(listing.symbol).copy() for listing in market.listings}
    happened = _happened(market, 2.0) + market.flush(START_US + 2 * SECOND_US)

    for delta in happened:
        if isinstance(delta, BookChanged):
            rebuilt[delta.symbol].apply(delta.final_update_id, _levels(delta.bids), _levels(delta.asks))
            assert not rebuilt[delta.symbol].is_crossed()
    for symbol, book in rebuilt.items():
        assert (book.update_id, book.bids, book.asks) == _state(market.book(symbol))


def _state(book: Book) -> tuple[int, dict[int, int], dict[int, int]]:
    return book.update_id, book.bids, book.asks


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_book_ticker_is_the_top_of_the_book_at_its_update_id(seed: int) -> None:
    """Taken one order at a time, each book ticker equals the book and the book is sound."""
    market = _market(seed, symbols=1)
    for _ in range(1500):
        for happening in market.advance(START_US + 60 * SECOND_US, 1):
            if isinstance(happening, TopChanged):
                book = market.book(happening.symbol)
                assert happening.update_id == book.update_id
                assert (happening.bid, happening.bid_qty) == book.best_bid()
                assert (happening.ask, happening.ask_qty) == book.best_ask()
                assert not book.is_crossed()
                assert happening.bid_qty > 0
                assert happening.ask_qty > 0


def test_same_seed_gives_the_same_market() -> None:
    """Chance is the seed's alone, however the time is cut."""
    whole = _happened(_market(5), 1.0)
    market = _market(5)
    parts = [h for step in range(1, 101) for h in _happened(market, step / 100)]

    assert parts == whole


@pytest.mark.parametrize("rate", [200.0, 5000.0])
def test_rate_is_about_what_was_asked_for(rate: float) -> None:
    """Trades, book tickers and depth events together come near the rate."""
    happened = _happened(_market(1, symbols=30, rate=rate), 20.0)
    counted = [h for h in happened if not isinstance(h, Aggregated)]

    assert rate * 0.7 < len(counted) / 20 < rate * 1.4


def test_rates_have_a_heavy_tail() -> None:
    """The busiest symbol has many times the events of the median one."""
    happened = _happened(_market(2, symbols=30), 10.0)
    counts = sorted(sum(h.symbol == each for h in happened) for each in {h.symbol for h in happened})

    assert counts[-1] > 8 * counts[len(counts) // 2]


def test_halted_symbol_is_silent_and_the_others_go_on() -> None:
    """Nothing happens to a halted symbol until it is released."""
    market = _market(3)
    market.halt("BTCUSDT", True)
    assert {h.symbol for h in _happened(market, 1.0)} == {"ETHUSDT", "SOLUSDT"}

    market.halt("BTCUSDT", False)
    assert "BTCUSDT" in {h.symbol for h in _happened(market, 2.0)}


def test_skipped_time_is_not_made_up_for() -> None:
    """After a pause events go on at the usual rate, dated after it."""
    market = _market(4)
    _happened(market, 1.0)
    market.skip(3600 * SECOND_US)
    happened = _happened(market, 3602.0)

    first = next(h for h in happened if isinstance(h, TopChanged))
    assert first.ts_us > START_US + 3601 * SECOND_US - 100_000
    assert len(happened) < 10_000


def test_orders_per_s_counts_all_three_kinds() -> None:
    """Few symbols saturate their ten depth events a second."""
    assert orders_per_s([1.0], 1460.0) == pytest.approx((1460 - 10) / 1.45, rel=0.01)


def test_thin_book_is_not_emptied() -> None:
    """Where few levels are left, orders take nothing rather than the last ones."""
    plan = MarketPlan(symbols=1, rate=3000.0, levels=5, deep_changes=0)
    market = Market(plan, Random(3))
    market.start(START_US)
    _happened(market, 5.0)
    book = market.book("BTCUSDT")

    assert book.bids
    assert book.asks
    assert not book.is_crossed()


def test_market_never_ends() -> None:
    """A seeded market has no last event."""
    assert not _market(1).is_over()


def test_symbol_names_avoid_and_differ() -> None:
    """Names are unique, leave out those to avoid, and end with the wide ones."""
    names = symbol_names(200, frozenset({"BTCUSDT"}), 6)

    assert len(set(names)) == 200
    assert "BTCUSDT" not in names
    assert sum(not name.isascii() for name in names) == 6
