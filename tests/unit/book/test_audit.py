"""Two books of one moment beside each other."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.book.audit import Comparison, compare, deepen
from ingest.book.levels import Book
from ingest.events import Level

PRICE = st.integers(1, 8).map(lambda price: f"{price}.00000000")
LEVELS = st.dictionaries(PRICE, st.sampled_from(["1.0", "2.0"]), max_size=8)
SIDE = LEVELS.map(lambda side: list(side.items()))


def test_equal_books_agree() -> None:
    """Each price of either side is one level; spelling does not matter."""
    ours, theirs = Book([("9", "1.0")], [("11", "2")]), Book([("9", "1.00")], [("11", "2")])

    assert compare(ours, theirs) == Comparison(2, 0)


def test_every_kind_of_difference_counts_once() -> None:
    """A quantity that differs, a level too many and a level too few are a mismatch each."""
    ours = Book([("9", "1"), ("8", "1")], [("11", "2")])
    theirs = Book([("9", "5")], [("11", "2"), ("12", "1")])

    assert compare(ours, theirs) == Comparison(4, 3)


def test_only_what_both_know_is_compared() -> None:
    """A level that the shallower book cannot know is no mismatch."""
    ours = Book([("9", "1"), ("8", "1")], [("11", "2"), ("12", "9")])
    theirs = Book([("9", "1")], [("11", "2")], bids_known_from="9", asks_known_to="11")

    assert compare(ours, theirs) == compare(theirs, ours) == Comparison(2, 0)


def test_deeper_side_is_taken_over_and_the_other_stays() -> None:
    """Each side of the result is known as far as either book knew it."""
    ours = Book([("9", "1")], [("11", "2"), ("12", "1")], bids_known_from="9", asks_known_to="12")
    theirs = Book([("9", "1"), ("8", "1")], [("11", "2")], bids_known_from="8", asks_known_to="11")

    assert deepen(ours, theirs)
    assert (list(ours.bids), ours.bids_known_from) == (["9.00000000", "8.00000000"], "8")
    assert (list(ours.asks), ours.asks_known_to) == (["11.00000000", "12.00000000"], "12")
    assert not deepen(ours, theirs)


def cut(bids: list[Level], asks: list[Level], lowest: int, highest: int) -> Book:
    """The part of a book that is known within bounds."""
    return Book(bids, asks, bids_known_from=f"{lowest}", asks_known_to=f"{highest}")


@given(bids=SIDE, asks=SIDE, bounds=st.tuples(*[st.integers(0, 9)] * 4))
def test_two_cuts_of_one_book_agree_and_deepen_each_other(
    bids: list[Level], asks: list[Level], bounds: tuple[int, int, int, int]
) -> None:
    """However each was cut, there is no mismatch, and what is deepened is the wider cut."""
    low, high, other_low, other_high = bounds
    ours, theirs = cut(bids, asks, low, high), cut(bids, asks, other_low, other_high)

    assert compare(ours, theirs).mismatches == 0
    assert deepen(ours, theirs) == (other_low < low or other_high > high)
    widest = cut(bids, asks, min(low, other_low), max(high, other_high))
    assert (ours.bids, ours.asks) == (widest.bids, widest.asks)
