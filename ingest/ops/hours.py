"""Hours of the week in UTC: reading them, and how long they have been open at a moment.

Decides what a text such as `Mon-Fri 08:00-18:00` means. Reads no clock.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import Final, NamedTuple

from ingest.errors import ConfigError

DAY_S: Final = 86_400
WEEK_S: Final = 7 * DAY_S
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Window(NamedTuple):
    """A part of the week in seconds since Monday 00:00 UTC, `end_s` excluded."""

    start_s: int
    end_s: int


ALWAYS: Final = (Window(0, WEEK_S),)


def parse_hours(texts: Sequence[str]) -> tuple[Window, ...]:
    """The hours, in UTC: `Mon-Fri 08:00-18:00`, `Sat,Sun 10:00-12:00`, `22:00-06:00` (every day).

    One that ends before it begins ends on the next day. ConfigError naming each that cannot be read.
    """
    windows: list[Window] = []
    wrong: list[str] = []
    for text in texts:
        try:
            windows += _windows(text)
        except (ValueError, IndexError):
            wrong.append(
                f"hours: expected such as Mon-Fri 08:00-18:00 or Sat,Sun 10:00-12:00 (UTC), got {text!r}"
            )
    if wrong or not windows:
        raise ConfigError("\n".join(wrong) or "hours: none are given")
    return _merged(windows)


def open_for_s(hours: Sequence[Window], at_us: int) -> float:
    """Seconds since the hours began that this moment is in; infinite if they never end, 0 outside."""
    if tuple(hours) == ALWAYS:
        return inf
    # 1970-01-01 was a Thursday.
    second = (at_us // 1_000_000 + 3 * DAY_S) % WEEK_S
    for window in hours:
        if window.start_s <= second < window.end_s:
            since_sunday = hours[-1] if window.start_s == 0 and hours[-1].end_s == WEEK_S else None
            before_s = WEEK_S - since_sunday.start_s if since_sunday else 0
            return second - window.start_s + before_s
    return 0.0


def _windows(text: str) -> list[Window]:
    days, _, times = text.strip().rpartition(" ")
    first, last = (_second_of_day(time) for time in times.split("-"))
    if first in {last, DAY_S}:
        raise ValueError(text)
    length_s = (last - first) % DAY_S or DAY_S
    windows = []
    for day in _day_numbers(days):
        start_s = day * DAY_S + first
        end_s = start_s + length_s
        windows.append(Window(start_s, min(end_s, WEEK_S)))
        if end_s > WEEK_S:
            windows.append(Window(0, end_s - WEEK_S))
    return windows


def _second_of_day(text: str) -> int:
    hour, minute = text.strip().split(":")
    second = int(hour) * 3_600 + int(minute) * 60
    if not (hour.isdecimal() and minute.isdecimal() and int(minute) < 60 and second <= DAY_S):
        raise ValueError(text)
    return second


def _day_numbers(text: str) -> list[int]:
    if not text.strip():
        return list(range(7))
    numbers: list[int] = []
    for part in text.split(","):
        first, *last = (_DAYS.index(day.strip().lower()[:3]) for day in part.split("-", 1))
        # From Friday to Monday goes over the end of the week.
        numbers += [(first + i) % 7 for i in range((last[0] - first) % 7 + 1)] if last else [first]
    return numbers


def _merged(windows: Sequence[Window]) -> tuple[Window, ...]:
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start_s <= merged[-1].end_s:
            merged[-1] = Window(merged[-1].start_s, max(merged[-1].end_s, window.end_s))
        else:
            merged.append(window)
    assert all(a.end_s < b.start_s for a, b in pairwise(merged)), "apart and in order"
    return tuple(merged)
