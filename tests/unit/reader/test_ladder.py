"""A book whose best levels are at hand."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from ingest.book.levels import Book
from ingest.reader.ladder import Ladder

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

prices = st.integers(1, 40).map(lambda n: f"{n}.5")
levels = st.lists(st.tuples(prices, st.sampled_from(["0.00000000", "1.0", "2.50000000"])), max_size=8)


@given(levels, levels, st.lists(st.tuples(levels, levels), max_size=12), st.integers(1, 5))
def test_ladder_has_the_best_levels_of_its_book(
    bids: list[tuple[str, str]],
    asks: list[tuple[str, str]],
    changes: list[tuple[list[tuple[str, str]], list[tuple[str, str]]]],
    count: int,
) -> None:
    """After every change, as if the book were sorted anew."""
    book, twin = (Book(bids, asks, bids_known_from="3.5", asks_known_to="35.5") for _ in range(2))
    ladder = Ladder("BTCUSDT", book, 1, NOW)

    for number, (bid_changes, ask_changes) in enumerate(changes, 2):
        ladder.apply(bid_changes, ask_changes, number, NOW)
        twin.apply(bid_changes, ask_changes)

    state = ladder.state(count)
    best_bids, best_asks, known_from, known_to = twin.known_top(count)
    assert state.bids == tuple((Decimal(price), Decimal(qty)) for price, qty in best_bids)
    assert state.asks == tuple((Decimal(price), Decimal(qty)) for price, qty in best_asks)
    assert (state.bids_known_from, state.asks_known_to) == (Decimal(known_from), Decimal(known_to))
    assert state.update_id == 1 + len(changes)


def test_empty_side_has_no_middle() -> None:
    """Nothing is made up."""
    state = Ladder("BTCUSDT", Book([("1.0", "2")], []), 1, NOW).state(3)

    assert (state.mid, state.spread, state.imbalance(3)) == (None, None, 1.0)
    assert Ladder("BTCUSDT", Book(), 1, NOW).state(3).imbalance(3) is None
