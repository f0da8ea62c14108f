"""Ticks of a lap, and what of a schedule is due."""

import numpy as np
import pytest

from tests.bench.pacing import Pace


def test_ticks_share_the_frames_of_a_lap() -> None:
    """Every frame is in one tick, in order, and no tick has much more than its part."""
    bounds = Pace(1_000, 60_000.0).bounds()

    assert bounds[0] == 0 and bounds[-1] == 1_000
    assert np.diff(bounds).min() >= 300 and np.diff(bounds).max() <= 334


def test_rate_is_kept_over_laps() -> None:
    """So many frames a second are due, whatever fraction of a lap that is."""
    pace = Pace(1_000, 700.0)
    frames_a_tick = pace.frames / pace.ticks

    assert pace.due(100.0) * frames_a_tick == pytest.approx(70_000, abs=frames_a_tick + 1)


@pytest.mark.parametrize("tick", [0, 1, 7, 12_345])
def test_tick_is_due_at_its_time(tick: int) -> None:
    """A tick is due from its moment on and not before."""
    pace = Pace(777, 1_234.0)

    assert pace.due(pace.due_s(tick) + 1e-6) == tick + 1
    assert pace.due(pace.due_s(tick) - 1e-6) == tick


def test_slow_lap_has_a_tick_for_each_frame_at_most() -> None:
    """A rate far below one frame a tick makes ticks longer, not empty."""
    assert Pace(10, 1.0).ticks == 10


def test_nothing_cannot_be_paced() -> None:
    """No frames, or no rate, is a mistake of the caller's."""
    with pytest.raises(ValueError, match="nothing to pace"):
        Pace(0, 1.0)
    with pytest.raises(ValueError, match="nothing to pace"):
        Pace(1, 0.0)
