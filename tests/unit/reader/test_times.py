"""Moments as callers say them."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from ingest.reader.times import length, moment, span

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_moment_is_taken_in_any_zone_and_told_in_utc() -> None:
    """Datetimes, text and lengths back from now."""
    berlin = timezone(timedelta(hours=1))

    assert moment(datetime(2026, 11, 22, 9, tzinfo=berlin), NOW) == NOW - timedelta(hours=4)
    assert moment("2026-11-22T08:00+01:00", NOW) == NOW - timedelta(hours=5)
    assert moment("2026-11-22T08:00:00.25Z", NOW).microsecond == 250_000
    assert moment(timedelta(minutes=5), NOW) == NOW - timedelta(minutes=5)
    assert moment("2026-11-22T08:00Z", NOW).tzinfo is UTC


@pytest.mark.parametrize("when", [datetime(2026, 11, 22), "2026-11-22", "2026-11-22T08:00"])  # noqa: DTZ001
def test_moment_without_a_zone_is_refused(when: datetime | str) -> None:
    """It could be any of twenty-four."""
    with pytest.raises(ValueError, match=r"no time zone.*tzinfo=UTC"):
        moment(when, NOW)


def test_moment_that_is_none_is_refused() -> None:
    """Rubbish, a day, the future as a length, a number."""
    with pytest.raises(ValueError, match="ISO 8601"):
        moment("yesterday", NOW)
    with pytest.raises(TypeError, match="is a date"):
        moment(date(2026, 11, 22), NOW)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="counts back"):
        moment(timedelta(seconds=-1), NOW)
    with pytest.raises(TypeError, match="is a int"):
        moment(5, NOW)  # type: ignore[arg-type]


def test_span_ends_now_unless_it_says_when() -> None:
    """And it is never empty."""
    assert span(timedelta(hours=1), None, NOW) == (NOW - timedelta(hours=1), NOW)
    assert span(timedelta(hours=2), timedelta(hours=1), NOW)[1] == NOW - timedelta(hours=1)
    with pytest.raises(ValueError, match="nothing lies between"):
        span(timedelta(hours=1), timedelta(hours=1), NOW)


def test_length_is_seconds_or_a_timedelta() -> None:
    """Never negative."""
    assert length(1.5) == timedelta(seconds=1.5)
    assert length(timedelta(minutes=1)) == timedelta(minutes=1)
    with pytest.raises(ValueError, match="not negative"):
        length(-1)
