"""Candles have numbers without a break."""

from datetime import UTC, datetime

import pytest

from ingest.reader.intervals import KLINE_INTERVALS, candle_number, next_open_us, open_us_of, step_us
from ingest.sequence import tracker


def us(year: int, month: int, day: int) -> int:
    """Microseconds since the epoch."""
    return round(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize("interval", KLINE_INTERVALS)
def test_next_candle_is_that_of_the_service(interval: str) -> None:
    """The reader does not import the tracker; both must agree."""
    open_us = us(2026, 6, 1)  # a Monday, and the first of a month

    for _ in range(30):
        following = next_open_us(open_us, interval)
        assert following == tracker.next_open_us(open_us, interval)
        assert candle_number(following, interval) == candle_number(open_us, interval) + 1
        open_us = following


def test_candle_opens_where_its_number_says() -> None:
    """Weeks on Mondays, months on the first."""
    assert open_us_of(candle_number(us(2026, 6, 8), "1w"), "1w", like_us=us(2026, 6, 1)) == us(2026, 6, 8)
    assert open_us_of(candle_number(us(2027, 1, 1), "1M"), "1M", like_us=0) == us(2027, 1, 1)
    assert step_us("3m") == 180_000_000
