"""When a connection is given up of our own accord, before the exchange cuts it after 24 hours.

Pure: the moment of opening is handed in. A connection is due at the end of a quiet time of day, the last
one that its age allows, and without one at its greatest age. Feeds that were opened together do not fall
due together: each has a place of its own, which spreads them over the second half of what is left of the
quiet time, or over the last twentieth of the greatest age.

A quiet time that is at least twice as long as what the greatest age lacks of 24 hours takes all rotations;
a shorter one cannot be reached every day, and then the greatest age decides.
"""

import re
from dataclasses import dataclass
from math import floor
from typing import Final, NamedTuple

DAY_S: Final = 86_400.0
_GOLDEN: Final = 0.6180339887498949
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_SPREAD_SHARE: Final = 0.05
_SPREAD_OF_QUIET: Final = 0.5


class QuietTime(NamedTuple):
    """A part of every day, UTC: its start in seconds after midnight, and how long it lasts."""

    start_s: float
    length_s: float


@dataclass(frozen=True)
class Rotation:
    """No connection becomes older than `max_age_s`."""

    max_age_s: float = 23.5 * 3600
    quiet: QuietTime | None = None


def parse_quiet_time(text: str) -> QuietTime:
    """The quiet time of a text such as `04:00-05:00`; one that ends before it begins goes over midnight.

    ValueError for any other text, and for a time without length.
    """
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise ValueError("expected a time of day in UTC such as 04:00-05:00")
    hour, minute, end_hour, end_minute = map(int, found.groups())
    start_s, end_s = 60.0 * (60 * hour + minute), 60.0 * (60 * end_hour + end_minute)
    if start_s == end_s:
        raise ValueError("a quiet time that ends when it begins")
    return QuietTime(start_s, (end_s - start_s) % DAY_S)


def place_of(feed: int) -> float:
    """Where a feed stands among all, from 0 to below 1: evenly spread for any number of feeds and shards.

    Numbers of feeds are given out over all shards; the golden ratio puts each into the widest space that
    those before it have left.
    """
    return feed * _GOLDEN % 1.0


def rotate_after_s(rotation: Rotation, *, opened_wall_s: float, place: float) -> float:
    """The age at which a connection opened then shall hand over to another, above 0 and at most the limit."""
    if rotation.quiet is not None:
        due_s = _in_quiet_time(rotation.quiet, opened_wall_s, rotation.max_age_s, place)
        if due_s is not None:
            return due_s - opened_wall_s
    return rotation.max_age_s * (1.0 - _SPREAD_SHARE * place)


def _in_quiet_time(quiet: QuietTime, opened_s: float, max_age_s: float, place: float) -> float | None:
    """The moment in the last quiet time that the age allows; None when there is none of use."""
    until_s = opened_s + max_age_s
    midnight_s = floor(until_s / DAY_S) * DAY_S
    for day in (0, 1, 2):  # one begins in each day, and may reach into the next
        start_s = midnight_s - day * DAY_S + quiet.start_s
        first_s, last_s = max(start_s, opened_s), min(start_s + quiet.length_s, until_s)
        if first_s < last_s:
            due_s = last_s - _SPREAD_OF_QUIET * place * (last_s - first_s)
            # Once more in the quiet time that it was opened in, if that makes the next one reachable.
            return due_s if start_s > opened_s or due_s + max_age_s > start_s + DAY_S else None
    return None
