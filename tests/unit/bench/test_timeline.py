"""What samples over time come to."""

import math

import pytest

from tests.bench.timeline import Timeline, quantile, slope


def test_slope_is_that_of_the_second_half() -> None:
    """Memory that grows at first and then stays is flat."""
    timeline = Timeline()
    for second in range(0, 121, 5):
        timeline.remembered(second, {"shard 0": min(second, 60) * 2**20})
        timeline.remembered(second, {"database": second * 2**20})

    trends = timeline.memory_trends()

    assert trends["shard 0"].slope_mib_per_min == pytest.approx(0)
    assert trends["shard 0"][:3] == (0, 60, 60)
    assert trends["database"].slope_mib_per_min == pytest.approx(60)


def test_slope_of_one_moment_is_none() -> None:
    """A single look says nothing of growth."""
    assert slope([(1.0, 5.0)]) == 0


def test_quantile_is_one_of_the_values() -> None:
    """The smallest value that the share does not exceed; nothing for nothing."""
    values = list(range(1, 101))

    assert quantile(values, 0.5) == 50
    assert quantile(values, 0.99) == 99
    assert quantile(values, 1.0) == 100
    assert quantile([7], 0.001) == 7
    assert math.isnan(quantile([], 0.5))


def test_lag_is_told_in_milliseconds() -> None:
    """Heartbeats count in microseconds."""
    timeline = Timeline(lags_us=[100, 200, 50_000])

    assert timeline.lag_ms(0.5) == pytest.approx(0.2)
    assert timeline.lag_ms(1.0) == pytest.approx(50)
