"""The age of a stamp, and whether it has one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.supervisor.stamps import WallStamps

S = 1_000_000_000
WALL_NS = 1_760_000_000 * S


def looked_at(*seconds: float, stepped_s: float = 0.0) -> WallStamps:
    """Looked at at these times; the wall clock is stepped before the last."""
    stamps = WallStamps()
    for at_s in seconds[:-1]:
        stamps.look(WALL_NS + round(at_s * S), round(at_s * S))
    stamps.look(WALL_NS + round((seconds[-1] + stepped_s) * S), round(seconds[-1] * S))
    return stamps


def test_stamp_ages_from_when_it_was_made() -> None:
    """To the newest look."""
    assert looked_at(0, 1, 2).age_s(WALL_NS - 3 * S) == 5


def test_stamp_of_a_moment_after_the_look_is_of_now() -> None:
    """The board is read after the clocks."""
    assert looked_at(0, 1).age_s(WALL_NS + S + S // 100) == 0


def test_stamp_that_was_never_made_has_no_age() -> None:
    """Zero is never."""
    assert looked_at(0, 1).age_s(0) is None


@pytest.mark.parametrize("step_s", [3_600.0, -3_600.0, 2.0, -2.0])
def test_stamp_of_before_a_step_has_no_age(step_s: float) -> None:
    """Whichever way the clock was set."""
    assert looked_at(0, 1, 2, stepped_s=step_s).age_s(WALL_NS + S) is None


@pytest.mark.parametrize("step_s", [3_600.0, -3_600.0])
def test_stamp_of_after_a_step_has_an_age(step_s: float) -> None:
    """It was made by the clock as it is now, be it between two looks."""
    stamps = looked_at(0, 1, 2, stepped_s=step_s)

    assert stamps.age_s(WALL_NS + round((1.5 + step_s) * S)) == 0.5


def test_clock_that_is_slewed_is_not_stepped() -> None:
    """A few milliseconds, or a tick that came late, change nothing."""
    stamps = looked_at(0, 1, 30, stepped_s=0.4)

    assert stamps.age_s(WALL_NS) == 30.4


def test_step_is_told_once_with_its_size() -> None:
    """So that it can be written down."""
    stamps = looked_at(0, 1)

    assert stamps.look(WALL_NS + 3_602 * S, 2 * S) == 3_600
    assert stamps.look(WALL_NS + 3_603 * S, 3 * S) == 0


@given(
    st.lists(st.tuples(st.floats(0.1, 60), st.sampled_from([0.0, 0.0, 0.0, -3_600.0, 7_200.0])), min_size=1)
)
def test_age_is_that_of_the_monotonic_clock_or_none(ticks: list[tuple[float, float]]) -> None:
    """Whatever is done to the wall clock, no stamp is told to be older or younger than it is."""
    stamps, now_s, offset_s = WallStamps(), 0.0, 0.0
    made: list[tuple[int, float]] = []
    for elapsed_s, step_s in ticks:
        now_s, offset_s = now_s + elapsed_s, offset_s + step_s
        wall_ns = WALL_NS + round((now_s + offset_s) * S)
        stamps.look(wall_ns, round(now_s * S))
        made.append((wall_ns, now_s))
        age_s = stamps.age_s(wall_ns)
        assert age_s == 0

    before_all_steps = made if all(step == 0 for _, step in ticks[1:]) else []
    for stamp_ns, at_s in before_all_steps:
        assert stamps.age_s(stamp_ns) == pytest.approx(now_s - at_s, abs=1e-6)
