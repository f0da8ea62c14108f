"""How fast tables grow, and when a disk is full."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.supervisor.forecast import DAY_S, Growth, full_in_s, growth_bytes_per_s

MINUTE_S = 60.0


def rising(rate: float, minutes: int, *, start_s: float = 0.0) -> list[tuple[float, int]]:
    return [(start_s + m * MINUTE_S, int(rate * m * MINUTE_S)) for m in range(minutes)]


def test_steady_growth_is_its_slope() -> None:
    """Bytes a second, from an hour of samples."""
    assert growth_bytes_per_s(rising(1_000, 60)) == pytest.approx(1_000, rel=0.01)


@pytest.mark.parametrize("samples", [[], rising(1_000, 4), rising(1_000, 9)])
def test_little_says_nothing(samples: list[tuple[float, int]]) -> None:
    """Minutes after the start nobody knows."""
    assert growth_bytes_per_s(samples) is None


def test_neither_a_burst_nor_a_dropped_partition_bends_it() -> None:
    """A quarter of the samples a thousand times too large, or a drop in the middle."""
    burst = [(at, size + (10**9 if 10 <= at / MINUTE_S < 25 else 0)) for at, size in rising(1_000, 100)]
    assert growth_bytes_per_s(burst) == pytest.approx(1_000, rel=0.05)
    dropped = [(at, size + (10**7 if at < 20 * MINUTE_S else 0)) for at, size in rising(1_000, 100)]
    assert growth_bytes_per_s(dropped) == pytest.approx(1_000, rel=0.05)


def test_steady_state_does_not_grow() -> None:
    """Each midnight as much goes as a day brings: over a day nothing is added."""
    sawtooth = [(m * MINUTE_S, 10**9 + 1_000 * int(m * MINUTE_S % DAY_S)) for m in range(30 * 60)]

    assert growth_bytes_per_s(sawtooth) == 0


def test_growth_over_days_sees_through_the_day() -> None:
    """A table that grows by as much each day, but only at night."""
    nightly = [
        (m * MINUTE_S, 10**6 * (m // 1_440) + 10**6 * min(m % 1_440, 360) // 360) for m in range(30 * 60)
    ]

    assert growth_bytes_per_s(nightly) == pytest.approx(10**6 / DAY_S, rel=0.01)


@pytest.mark.parametrize(
    ("growths", "free_bytes", "seconds"),
    [
        ([], 100, inf),
        ([Growth(0), Growth(-5)], 100, inf),
        ([Growth(10)], 100, 10),
        ([Growth(10), Growth(10)], 100, 5),
        ([Growth(10, 5)], 100, inf),
        ([Growth(10, 10)], 100, 10),
        ([Growth(10, 5), Growth(1)], 100, 50),
        ([Growth(1)], 0, 0),
    ],
)
def test_disk_is_full_when_growth_has_used_it_up(
    growths: list[Growth], free_bytes: int, seconds: float
) -> None:
    """Each table grows until retention takes as much as comes; what shrinks is not counted on."""
    assert full_in_s(growths, free_bytes) == seconds


@given(
    st.lists(st.builds(Growth, st.floats(0.1, 1e6), st.floats(0, 1e6)), max_size=5), st.integers(0, 10**12)
)
def test_forecast_uses_up_exactly_what_is_free(growths: list[Growth], free_bytes: int) -> None:
    """At the moment that is told, what has been added is what was free; or it never comes to that."""
    seconds = full_in_s(growths, free_bytes)

    added = sum(each.bytes_per_s * min(seconds, each.for_s) for each in growths)
    assert added == pytest.approx(free_bytes, rel=1e-6, abs=1e-3) if seconds < inf else added <= free_bytes
