"""The order book in whole units."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.sim.book import Book, difference

Levels = dict[int, int]
SIDES = st.dictionaries(st.integers(1, 50), st.integers(1, 9))
CHANGES = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)))


def test_book_gives_best_levels_first() -> None:
    """Bids come from the highest price down, asks from the lowest up."""
    book = Book()
    book.apply(7, [(10, 1), (12, 2), (11, 3)], [(15, 1), (13, 2)])

    assert book.top_bids(2) == [(12, 2), (11, 3)]
    assert book.top_asks(5) == [(13, 2), (15, 1)]
    assert (book.best_bid(), book.best_ask(), book.update_id) == ((12, 2), (13, 2), 7)


def test_empty_book_has_no_best_levels() -> None:
    """Without levels the best ones are zero and nothing is crossed."""
    book = Book()

    assert book.best_bid() == book.best_ask() == (0, 0)
    assert not book.is_crossed()


def test_book_is_crossed_when_bid_meets_ask() -> None:
    """A bid at the ask's price is crossed."""
    book = Book()
    book.apply(1, [(10, 1)], [(10, 1)])

    assert book.is_crossed()


@given(SIDES, CHANGES)
def test_book_equals_a_plain_dict(side: Levels, changes: list[tuple[int, int]]) -> None:
    """After any changes the prices are sorted and the levels are those of a naive dict."""
    book, naive = Book(), dict(side)
    book.apply(1, side.items(), ())
    book.apply(2, changes, ())
    naive.update(changes)

    assert book.bids == {price: qty for price, qty in naive.items() if qty}
    assert book.bid_prices == sorted(book.bids)


@given(SIDES, SIDES)
def test_difference_leads_from_one_side_to_the_other(old: Levels, new: Levels) -> None:
    """Applying the difference to the old side gives the new one."""
    book = Book()
    book.apply(1, (), old.items())
    book.apply(2, (), difference(old, new))

    assert book.asks == new


def test_copy_does_not_follow_the_original() -> None:
    """A copied book stays as it was."""
    book = Book()
    book.apply(1, [(10, 1)], [(11, 1)])
    twin = book.copy()
    book.apply(2, [(10, 0)], ())

    assert twin.best_bid() == (10, 1)
