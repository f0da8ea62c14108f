"""How deep books shall be known, and which one is next."""

import random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.binance.limits import depth_weight
from ingest.book.depths import DepthGoals, KnownDepth, Look, first_levels, next_audit, next_deepening

GOALS: Final = DepthGoals(first=100, full=1_000, deepest=5_000, deepest_books=0, audit=100)
NOW_S: Final = 10_000.0


def a_book(
    symbol: str = "BTCUSDT",
    *,
    asked: int = 100,
    levels: int | None = 100,
    rate: float = 1.0,
    looked_at_s: float = 0.0,
) -> KnownDepth:
    """A book that began shallow."""
    return KnownDepth(symbol, asked, levels, rate, looked_at_s)


def deepening(*books: KnownDepth, room: int = 1_000, deepest_books: int = 0) -> Look | None:
    goals = DepthGoals(deepest_books=deepest_books)
    return next_deepening(books, goals, depth_weight, room=room, now_s=NOW_S)


@pytest.mark.parametrize(
    ("missing", "room", "levels"),
    [(1, 5_100, 1_000), (51, 5_100, 1_000), (52, 5_100, 100), (1_400, 5_100, 100), (1, 99, 100), (1, 0, 100)],
)
def test_books_begin_as_deep_as_all_of_them_can(missing: int, room: int, levels: int) -> None:
    """Full where half the room is enough for all that are missing, else shallow."""
    assert first_levels(GOALS, depth_weight, missing=missing, room=room) == levels


def test_first_snapshot_is_never_deeper_than_the_full_one() -> None:
    """Whoever wants 20 levels gets 20."""
    goals = DepthGoals(first=100, full=20)

    assert first_levels(goals, depth_weight, missing=10_000, room=0) == 20


def test_most_active_shallow_book_is_deepened_first() -> None:
    """Importance is the rate of updates."""
    books = [a_book("A", rate=1.0), a_book("B", rate=30.0), a_book("C", rate=2.0)]

    assert deepening(*books) == Look("B", 1_000, "deepen")


def test_book_that_was_not_cut_needs_no_deepening() -> None:
    """All there is of it is known."""
    assert deepening(a_book(levels=None)) is None


def test_full_book_that_has_lost_most_of_its_levels_is_deepened_again() -> None:
    """The market moves out of the range; not more often than every five minutes."""
    assert deepening(a_book(asked=1_000, levels=500)) is None
    assert deepening(a_book(asked=1_000, levels=499)) == Look("BTCUSDT", 1_000, "deepen")
    assert deepening(a_book(asked=1_000, levels=499, looked_at_s=NOW_S - 299)) is None


def test_look_that_came_to_nothing_lets_others_go_first() -> None:
    """For a while; then the book is tried again."""
    failed = a_book("A", rate=9.0, looked_at_s=NOW_S - 5)

    assert deepening(failed, a_book("B")) == Look("B", 1_000, "deepen")
    assert deepening(failed._replace(looked_at_s=NOW_S - 10), a_book("B")) == Look("A", 1_000, "deepen")


def test_deepest_books_come_after_all_others_are_full() -> None:
    """A shallow book is worse than a full one that might be deeper."""
    full = [a_book("A", asked=1_000, levels=900, rate=9.0), a_book("B", asked=1_000, levels=900, rate=5.0)]

    assert deepening(*full) is None
    assert deepening(*full, deepest_books=1) == Look("A", 5_000, "deepen")
    assert deepening(*full, a_book("C"), deepest_books=1) == Look("C", 1_000, "deepen")
    deep = full[0]._replace(asked=5_000, levels=4_000)
    assert deepening(deep, full[1], deepest_books=1) is None
    assert deepening(deep, full[1], deepest_books=2) == Look("B", 5_000, "deepen")


def test_nothing_is_deepened_without_room() -> None:
    """And a cheaper look does not overtake the one whose turn it is."""
    assert deepening(a_book(), room=49) is None
    assert deepening(a_book(), room=50) is not None
    full = a_book(asked=1_000, levels=900)
    assert deepening(full, deepest_books=1, room=249) is None


def test_audit_draws_any_book_when_there_is_room() -> None:
    """Every live book may be drawn, whole ones too; none when the budget is tight."""
    books = [a_book(f"S{number}", levels=None) for number in range(5)]
    rng = random.Random(7)
    drawn = [next_audit(books, GOALS, depth_weight, room=5, rng=rng) for _ in range(100)]

    assert {look.symbol for look in drawn if look} == {book.symbol for book in books}
    assert {(look.levels, look.why) for look in drawn if look} == {(100, "audit")}
    assert next_audit(books, GOALS, depth_weight, room=4, rng=rng) is None
    assert next_audit([], GOALS, depth_weight, room=5, rng=rng) is None


BOOKS = st.lists(
    st.builds(
        a_book,
        st.sampled_from("ABCDEFGH"),
        asked=st.sampled_from([100, 1_000, 5_000]),
        levels=st.none() | st.integers(0, 5_000),
        rate=st.floats(0, 100),
        looked_at_s=st.floats(0, NOW_S),
    ),
    max_size=8,
)


@given(books=BOOKS, room=st.integers(0, 400), deepest_books=st.integers(0, 3))
def test_a_look_never_costs_more_than_the_room(
    books: list[KnownDepth], room: int, deepest_books: int
) -> None:
    """Whatever is chosen is one of the books, is cut, and fits."""
    look = deepening(*books, room=room, deepest_books=deepest_books)

    if look is not None:
        assert depth_weight(look.levels) <= room
        assert any(book.symbol == look.symbol and book.levels is not None for book in books)
