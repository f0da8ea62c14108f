"""`ingest.book.nearest`: the best levels, whatever has become of the book since they were looked for."""

from hypothesis import example, given
from hypothesis import strategies as st

from ingest.book.levels import Book
from ingest.book.nearest import Nearest

PRICES = st.one_of(
    st.integers(1, 60).map(lambda units: f"{units}.00000000"),
    st.integers(980, 1_020).map(lambda units: f"{units // 10}.{units % 10}0000000"),
    st.sampled_from(["99.999999999", "100.000000001", "0.00000001", "12345.00000000"]),
)
ROWS = st.lists(st.tuples(PRICES, st.sampled_from(["1.00000000", "2.00000000", "0.00000000"])), max_size=30)


@given(st.lists(st.tuples(ROWS, ROWS), min_size=1, max_size=8), st.integers(1, 6))
@example([([("99.00000000", "1.00000000")], []), ([("100.00000000", "1.00000000")], [])], 1)
@example([([], [("100.00000000", "1.00000000")]), ([], [("99.00000000", "1.00000000")])], 1)
# 99.999999999 has as many characters as 100.00000000, and is less.
@example([([], [("100.00000000", "1.0")]), ([], [("99.999999999", "1.0")])], 1)
def test_looking_again_finds_what_ranking_all_finds(
    deltas: list[tuple[list[tuple[str, str]], list[tuple[str, str]]]], levels: int
) -> None:
    """After each change, however far the market has moved and however many digits its prices have."""
    book, nearest = Book(), Nearest(levels)
    for bids, asks in deltas:
        book.apply(bids, asks)

        assert nearest.top(book) == book.top(levels)


def test_book_that_hardly_moves_is_not_ranked_anew() -> None:
    """Only the first look goes through `Book.top`."""
    looks = 0

    class Counted(Book):
        def top(self, n: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
            nonlocal looks
            looks += 1
            return super().top(n)

    book, nearest = Counted([(f"{price}.00000000", "1.00000000") for price in range(1, 500)]), Nearest(20)
    book.apply([], [(f"{price}.00000000", "1.00000000") for price in range(501, 999)])
    for step in range(10):
        nearest.top(book)
        book.apply([(f"{499 - step}.00000000", "0.00000000")], [])

    assert looks == 1
