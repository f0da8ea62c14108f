"""Where candles begin and end."""

import datetime

import pytest

from ingest.sim.intervals import INTERVAL_MS, end_time_ms, open_time_ms


def _ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    moment = datetime.datetime(year, month, day, hour, minute, tzinfo=datetime.UTC)
    return int(moment.timestamp()) * 1000


@pytest.mark.parametrize("interval", INTERVAL_MS)
def test_interval_holds_its_moment_and_ends_where_the_next_begins(interval: str) -> None:
    """Every moment lies in one candle, and candles leave no hole."""
    now_ms = _ms(2026, 2, 28, 13, 37) + 123
    start_ms = open_time_ms(interval, now_ms)
    end_ms = end_time_ms(interval, start_ms)

    assert start_ms <= now_ms < end_ms
    assert open_time_ms(interval, end_ms) == end_ms
    assert open_time_ms(interval, end_ms - 1) == start_ms


def test_week_begins_on_monday() -> None:
    """The exchange's weeks begin on Monday, 00:00 UTC."""
    assert open_time_ms("1w", _ms(2024, 8, 8, 12)) == _ms(2024, 8, 5)


def test_month_ends_with_the_month() -> None:
    """December's candle ends in the next year."""
    start_ms = open_time_ms("1M", _ms(2025, 12, 24))

    assert (start_ms, end_time_ms("1M", start_ms)) == (_ms(2025, 12, 1), _ms(2026, 1, 1))
