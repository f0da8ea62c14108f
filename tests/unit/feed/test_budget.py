"""`ingest.feed.budget`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.feed.budget import Window, WindowLimit


def _window(amount: int = 10, period_s: int = 5) -> Window:
    limit = WindowLimit(amount, period_s)
    return Window(limit, [0] * limit.words)


def test_amount_is_taken_while_there_is_room() -> None:
    """What fits is granted at once and counted."""
    window = _window()

    assert window.reserve(100.0, 4) == 0.0
    assert window.reserve(100.5, 6) == 0.0
    assert window.used(100.9) == 10


def test_full_window_says_when_there_will_be_room() -> None:
    """Nothing is taken, and the wait ends when the oldest bucket has left for certain."""
    window = _window()
    window.add(100.2, 6)
    window.add(102.0, 4)

    assert window.reserve(103.0, 5) == pytest.approx(3.0)
    assert window.used(103.0) == 10
    assert window.reserve(106.0, 5) == 0.0


def test_more_than_the_limit_is_refused_for_good() -> None:
    """An amount that no empty window holds is a mistake of the caller."""
    with pytest.raises(ValueError, match="whole limit"):
        _window().reserve(0.0, 11)


def test_who_leaves_room_to_others_waits_sooner() -> None:
    """What is left is not taken, and is there for whoever leaves nothing."""
    window = _window()

    assert window.reserve(100.0, 4, leaving=6) == 0.0
    assert window.reserve(100.0, 1, leaving=6) == pytest.approx(6.0)
    assert window.used(100.0) == 4
    assert window.reserve(100.0, 6) == 0.0


def test_amount_and_what_it_leaves_must_fit_the_limit() -> None:
    """Otherwise it would wait for ever."""
    with pytest.raises(ValueError, match="whole limit"):
        _window().reserve(0.0, 5, leaving=6)


def test_observed_use_of_others_is_counted() -> None:
    """The exchange's own count is the truth for the address."""
    window = _window()
    window.add(50.0, 3)

    window.observe(51.0, 9)
    window.observe(51.0, 4)

    assert window.used(51.0) == 9


def test_buckets_of_an_earlier_boot_count_as_empty() -> None:
    """A monotonic clock that began anew does not find the past in its future."""
    window = _window()
    window.add(1_000_000.0, 10)

    assert window.used(5.0) == 0
    assert window.reserve(5.0, 10) == 0.0


def test_wrong_size_of_memory_is_refused() -> None:
    """A window and its memory must be of one layout."""
    with pytest.raises(ValueError, match="words"):
        Window(WindowLimit(1, 60), [0] * 5)


@given(
    st.integers(1, 20),
    st.integers(1, 12),
    st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 20)), max_size=80),
)
def test_no_period_ever_holds_more_than_the_limit(
    amount: int, period_s: int, asked: list[tuple[float, int]]
) -> None:
    """Whatever is asked for and when, every window of the period stays inside the limit."""
    window, now_s, granted = _window(amount, period_s), 1_000.0, []
    for pause_s, wanted in asked:
        now_s += pause_s
        if wanted <= amount and window.reserve(now_s, wanted) == 0.0:
            granted.append((now_s, wanted))

    worst = max((sum(n for at, n in granted if end - period_s <= at <= end) for end, _ in granted), default=0)
    assert worst <= amount


@given(st.integers(1, 20), st.lists(st.floats(0.0, 2.0), max_size=60))
def test_waiting_as_told_is_enough(amount: int, pauses: list[float]) -> None:
    """After the wait that it names, a window has the room."""
    window, now_s = _window(amount, 5), 77.7
    for pause_s in pauses:
        now_s += pause_s
        wait_s = window.reserve(now_s, amount)
        if wait_s:
            now_s += wait_s
            assert window.reserve(now_s, amount) == 0.0
