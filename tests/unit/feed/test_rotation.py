"""`ingest.feed.rotation`: when a connection is given up before the exchange cuts it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.feed.rotation import DAY_S, QuietTime, Rotation, parse_quiet_time, place_of, rotate_after_s

HOUR_S = 3600.0
MIDNIGHT_S = 20_000 * DAY_S
MAX_AGE_S = 23.5 * HOUR_S
FOUR_TO_FIVE = QuietTime(4 * HOUR_S, HOUR_S)
QUIETLY = Rotation(MAX_AGE_S, FOUR_TO_FIVE)


def due_at_h(rotation: Rotation, opened_h: float, place: float = 0.0) -> float:
    """The hour of rotation, counted from the midnight before the opening."""
    opened_s = MIDNIGHT_S + opened_h * HOUR_S
    return opened_h + rotate_after_s(rotation, opened_wall_s=opened_s, place=place) / HOUR_S


def test_connection_without_a_quiet_time_is_due_at_its_greatest_age() -> None:
    """Or up to a twentieth of it earlier, by its place."""
    assert due_at_h(Rotation(MAX_AGE_S), 1.0) == pytest.approx(24.5)
    assert due_at_h(Rotation(MAX_AGE_S), 1.0, place=0.999) == pytest.approx(24.5 - 1.175, abs=0.01)


@pytest.mark.parametrize(
    ("opened_h", "due_h"),
    [(12.0, 29.0), (3.0, 5.0), (4.2, 5.0), (4.6, 28.1), (5.0, 28.5), (2.0, 5.0)],
    ids=["noon", "just-before", "early-in-it", "late-in-it", "at-its-end", "before"],
)
def test_quiet_time_is_used_at_the_last_moment_that_the_age_allows(opened_h: float, due_h: float) -> None:
    """Opened too early in it to reach the next one, a connection rotates once more in the same."""
    assert due_at_h(QUIETLY, opened_h) == pytest.approx(due_h)


def test_feeds_are_spread_over_the_quiet_time() -> None:
    """Over its second half, or over that of what the age leaves of it."""
    dues_h = sorted(due_at_h(QUIETLY, 12.0, place_of(feed)) for feed in range(20))
    steps = [later - earlier for earlier, later in pairwise(dues_h)]

    assert 28.5 < dues_h[0] < 28.53
    assert dues_h[-1] == pytest.approx(29.0)
    assert max(steps) < 0.05


def test_quiet_time_that_cannot_be_reached_every_day_does_not_hold_up_anything() -> None:
    """A connection opened in it would rotate again and again there and still not reach the next one."""
    short = Rotation(20 * HOUR_S, FOUR_TO_FIVE)

    assert due_at_h(short, 4.5) == pytest.approx(24.5)
    assert due_at_h(short, 0.5) == pytest.approx(5.0)


def test_quiet_time_may_go_over_midnight() -> None:
    """It belongs to the day in which it begins."""
    rotation = Rotation(MAX_AGE_S, parse_quiet_time("23:00-01:00"))

    assert due_at_h(rotation, 12.0) == pytest.approx(25.0)
    assert due_at_h(rotation, 0.75) == pytest.approx(24.25)


@given(
    opened_s=st.floats(0, 3 * DAY_S),
    place=st.floats(0, 0.999),
    start_min=st.integers(0, 1439),
    length_min=st.integers(60, 1440),
)
def test_rotations_stay_in_a_long_quiet_time(
    opened_s: float, place: float, start_min: int, length_min: int
) -> None:
    """None is later than the limit; after the first, all are in the quiet time, two a day at most."""
    rotation = Rotation(MAX_AGE_S, QuietTime(60.0 * start_min, 60.0 * length_min))
    opened = [opened_s]
    for _ in range(8):
        age_s = rotate_after_s(rotation, opened_wall_s=opened[-1], place=place)
        assert 0 < age_s <= MAX_AGE_S + 0.001
        opened.append(opened[-1] + age_s)

    for moment_s in opened[2:]:
        assert (moment_s - 60.0 * start_min + 0.01) % DAY_S <= 60.0 * length_min + 0.02
    assert opened[8] - opened[2] >= 2.9 * DAY_S


@pytest.mark.parametrize("text", ["", "04:00", "4:00-5:00", "04:00-24:00", "04:60-05:00", "04:00-04:00"])
def test_quiet_time_that_is_none_is_refused(text: str) -> None:
    """Of the wrong form, out of the day, or without length."""
    with pytest.raises(ValueError, match="quiet time|time of day"):
        parse_quiet_time(text)


def test_quiet_time_is_read() -> None:
    """As its start and its length in seconds."""
    assert parse_quiet_time("04:00-05:30") == QuietTime(14_400.0, 5_400.0)
    assert parse_quiet_time("22:00-02:00") == QuietTime(79_200.0, 14_400.0)
