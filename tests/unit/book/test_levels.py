"""The levels of a book."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.book.levels import Book, canonical_price
from ingest.events import Level


def test_a_level_is_set_replaced_and_removed() -> None:
    """A quantity replaces the one before, and zero removes the level."""
    book = Book([("100.00000000", "1.0")], [("101.00000000", "2.0")])

    book.apply([("100.00000000", "3.0"), ("99.00000000", "4.0")], [("101.00000000", "0.00000000")])

    assert book.bids == {"100.00000000": "3.0", "99.00000000": "4.0"}
    assert book.asks == {}
    assert len(book) == 2


@pytest.mark.parametrize("zero", ["0", "0.0", "0.00000000", "00", ".0", "0."])
def test_every_spelling_of_zero_removes(zero: str) -> None:
    """Zero is zero, however many digits it has."""
    book = Book([("100.00000000", "1.0")])

    book.apply([("100.00000000", zero)], [("101.00000000", zero)])

    assert len(book) == 0


@pytest.mark.parametrize("spelling", ["100", "100.", "100.0", "0100.00", "100.000000000"])
def test_every_spelling_of_a_price_reaches_the_same_level(spelling: str) -> None:
    """A price is a number: no spelling of it makes a second level."""
    book = Book([(spelling, "1.0")])

    book.apply([("100.00000000", "2.0")], [])
    assert book.bids == {"100.00000000": "2.0"}

    book.apply([(spelling, "0")], [])
    assert book.bids == {}


def test_removing_an_unknown_level_does_nothing() -> None:
    """The exchange announces removals of levels that no snapshot held."""
    book = Book([("100.00000000", "1.0")])

    book.apply([("50.00000000", "0.00000000")], [("200.00000000", "0.00000000")])

    assert book.bids == {"100.00000000": "1.0"}


def test_best_levels_are_the_highest_bid_and_the_lowest_ask() -> None:
    """Prices are compared as numbers, not as text."""
    book = Book([("9.5", "1"), ("10.5", "2")], [("100.5", "3"), ("11.5", "4")])

    assert book.best_bid() == ("10.50000000", "2")
    assert book.best_ask() == ("11.50000000", "4")


def test_an_empty_book_has_no_best_levels() -> None:
    """A side without levels has no best one, and cannot be crossed."""
    book = Book()

    assert (book.best_bid(), book.best_ask(), book.top(5), book.is_crossed()) == (None, None, ([], []), False)
    assert not Book([("1", "1")]).is_crossed()
    assert not Book([], [("1", "1")]).is_crossed()


def test_top_is_best_first_and_bounded() -> None:
    """The top of a book is its best levels in order, fewer when there are fewer."""
    book = Book([("9", "1"), ("10", "2"), ("8", "3")], [("12", "4"), ("11", "5")])

    assert book.top(2) == (
        [("10.00000000", "2"), ("9.00000000", "1")],
        [("11.00000000", "5"), ("12.00000000", "4")],
    )
    assert len(book.top(10)[0]) == 3


@pytest.mark.parametrize(
    ("bid", "ask", "crossed"),
    [
        ("99", "100", False),
        ("100", "100", True),
        ("101", "100", True),
        ("123456789012.00000001", "123456789012.00000002", False),
        ("123456789012.00000002", "123456789012.00000002", True),
        ("123456789012.00000003", "123456789012.00000002", True),
    ],
)
def test_a_book_is_crossed_when_bid_meets_ask(bid: str, ask: str, crossed: bool) -> None:
    """Meeting prices are crossed, and prices that floats cannot tell apart are told apart."""
    assert Book([(bid, "1")], [(ask, "1")]).is_crossed() is crossed


@pytest.mark.parametrize(
    ("price", "canonical"),
    [
        ("0.00000001", "0.00000001"),
        ("61602.01000000", "61602.01000000"),
        ("61602.01", "61602.01000000"),
        ("007", "7.00000000"),
        (".5", "0.50000000"),
        ("0", "0.00000000"),
        ("1.123456789", "1.123456789"),
        ("1.1234567890", "1.123456789"),
        ("100", "100.00000000"),
    ],
)
def test_canonical_price_has_eight_decimals(price: str, canonical: str) -> None:
    """The one spelling of a price is the exchange's own."""
    assert canonical_price(price) == canonical


@pytest.mark.parametrize("price", ["", ".", "1.2.3", "abc", "1e5", "-1", "NaN", " 1", "١"])
def test_canonical_price_refuses_what_is_no_number(price: str) -> None:
    """What is not decimal text is no price."""
    with pytest.raises(ValueError, match="not a price"):
        canonical_price(price)


PLAIN = st.from_regex(r"[0-9]{1,12}(\.[0-9]{0,12})?", fullmatch=True, alphabet="0123456789.")


@given(first=PLAIN, second=PLAIN)
def test_prices_share_a_key_exactly_when_they_are_equal(first: str, second: str) -> None:
    """Two spellings have one key if and only if they are one number, and the key is that number."""
    assert Decimal(canonical_price(first)) == Decimal(first)
    assert (canonical_price(first) == canonical_price(second)) == (Decimal(first) == Decimal(second))


ROWS = st.lists(st.tuples(PLAIN, st.sampled_from(["0", "0.000", "1.5", "0.00000001"])), max_size=40)


@given(bids=ROWS, asks=ROWS, n=st.integers(0, 50))
def test_a_book_is_a_dictionary_of_numbers(bids: list[Level], asks: list[Level], n: int) -> None:
    """After any changes a book holds the last quantity of each price, sorted exactly, without zeros."""
    book = Book()
    book.apply(bids, asks)
    left, right = model(bids), model(asks)

    top_bids, top_asks = book.top(n)
    assert [(Decimal(p), q) for p, q in top_bids] == sorted(left.items(), reverse=True)[:n]
    assert [(Decimal(p), q) for p, q in top_asks] == sorted(right.items())[:n]
    assert book.is_crossed() == bool(left and right and max(left) >= min(right))
    assert len(book) == len(left) + len(right)


@pytest.mark.parametrize(
    ("price", "kept"), [("99.99999999", False), ("100.00000000", True), ("100.00000001", True), ("100", True)]
)
def test_bids_below_the_known_range_are_not_kept(price: str, kept: bool) -> None:
    """The bound itself is known; what lies beyond has neighbours that nobody knows."""
    book = Book(bids_known_from="100.00000000")

    book.apply([(price, "1.0")], [])

    assert bool(book.bids) is kept
    assert book.bids_are_cut
    assert not book.asks_are_cut


@pytest.mark.parametrize(
    ("price", "kept"),
    [("123456789012.00000001", False), ("123456789012.00000000", True), ("5", True), ("123456789013", False)],
)
def test_asks_above_the_known_range_are_not_kept(price: str, kept: bool) -> None:
    """Prices that floats cannot tell apart are told apart."""
    book = Book(asks_known_to="123456789012.00000000")

    book.apply([], [(price, "1.0")])

    assert bool(book.asks) is kept


def test_level_out_of_range_may_be_removed() -> None:
    """Removing what is not there does nothing, in the range and beyond."""
    book = Book([("100", "1")], bids_known_from="100")

    book.apply([("50", "0"), ("100", "0")], [])

    assert book.bids == {}
    assert book.is_exhausted


def test_whole_book_is_never_exhausted() -> None:
    """A side without levels, of which all is known, has none."""
    assert not Book().is_exhausted
    assert Book(asks_known_to="100").is_exhausted
    assert not Book(asks=[("99", "1")], asks_known_to="100").is_exhausted


def test_known_top_says_how_far_it_reaches() -> None:
    """As far as the book does, or as far as its last level where there are more."""
    book = Book([("9", "1"), ("8", "1")], [("11", "1"), ("12", "1")], asks_known_to="20")

    assert book.known_top(1)[2:] == ("9.00000000", "11.00000000")
    assert book.known_top(2)[2:] == ("0", "20")
    assert book.known_top(0) == ([], [], "0", "20")


BOUND = st.sampled_from(["0", "3", "3.5", "123456789012.5", "Infinity"])


@given(bids=ROWS, asks=ROWS, bids_known_from=BOUND, asks_known_to=BOUND)
def test_a_cut_book_is_the_known_part_of_the_whole_one(
    bids: list[Level], asks: list[Level], bids_known_from: str, asks_known_to: str
) -> None:
    """Nothing is missing of the known range, and nothing is there of what lies beyond."""
    cut = Book(bids, asks, bids_known_from=bids_known_from, asks_known_to=asks_known_to)
    lowest, highest = Decimal(bids_known_from), Decimal(asks_known_to)

    assert {Decimal(p): q for p, q in cut.bids.items()} == {
        p: q for p, q in model(bids).items() if p >= lowest
    }
    assert {Decimal(p): q for p, q in cut.asks.items()} == {
        p: q for p, q in model(asks).items() if p <= highest
    }


def model(rows: list[Level]) -> dict[Decimal, str]:
    """Return what a side must hold after these changes."""
    levels = {Decimal(price): qty for price, qty in rows}
    return {price: qty for price, qty in levels.items() if Decimal(qty)}
