"""Lengths of candles: which there are, and when the next one opens.

Pure. Times are microseconds since the epoch, UTC.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

KLINE_INTERVALS: Final = (
    *("1s", "1m", "3m", "5m", "15m", "30m"),
    *("1h", "2h", "4h", "6h", "8h", "12h"),
    *("1d", "3d", "1w", "1M"),
)
"""Those of the exchange's candles; `1M` is a month, `1m` a minute."""
CANDLE_INTERVALS: Final = ("1s", "1m", "1h", "1d")
"""Those of the candles made here of trades."""

_UNITS_US: Final = {
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def candle_number(open_us: int, interval: str) -> int:
    """A number of the candle opened at a time; that of the next one is one more."""
    if interval == "1M":
        day = _EPOCH + timedelta(microseconds=open_us)
        return day.year * 12 + day.month - 1
    return open_us // step_us(interval)


def open_us_of(number: int, interval: str, *, like_us: int) -> int:
    """When a candle of this number opens; `like_us` is when any candle of the interval does."""
    if interval == "1M":
        return (datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
    # Weeks begin on Mondays, and the epoch was a Thursday.
    return number * step_us(interval) + like_us % step_us(interval)


def next_open_us(open_us: int, interval: str) -> int:
    """When the candle after the one opened at `open_us` opens; months begin on the first, UTC."""
    return open_us_of(candle_number(open_us, interval) + 1, interval, like_us=open_us)


def step_us(interval: str) -> int:
    """The length of an interval that has one; KeyError or ValueError for any other text."""
    return int(interval[:-1]) * _UNITS_US[interval[-1:]]
