"""How fast tables grow, and when a disk is full: from samples alone.

Decides what growth is. With a day of samples and more: the median of what each moment has over the same
moment of the day before, so that what comes and goes with the day (conversion to the columnstore, dropped
partitions) cancels out; a table in its steady state does not grow. With less: the median of the slopes
between all pairs (Theil and Sen), which neither a burst nor a dropped partition bends; on the safe side, as
nothing was dropped yet.

Pure: times are seconds on any clock.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import combinations
from math import inf
from statistics import median
from typing import Final, NamedTuple, TypeAlias

Sample: TypeAlias = tuple[float, int]
"""When, and how many bytes."""

DAY_S: Final = 86_400.0
LEAST_SPAN_S: Final = 600.0
"""Nothing is said of a shorter time."""

_LEAST_SAMPLES: Final = 5
_WINDOW_S: Final = 6 * 3_600.0
_MOST_POINTS: Final = 90
_NEARBY_S: Final = 900.0


class Growth(NamedTuple):
    """Bytes a second, for so many seconds more: then retention takes away as much as comes."""

    bytes_per_s: float
    for_s: float = inf


def growth_bytes_per_s(samples: Sequence[Sample]) -> float | None:
    """Net growth by samples in the order of time; None when they are too few to tell."""
    if len(samples) < _LEAST_SAMPLES or samples[-1][0] - samples[0][0] < LEAST_SPAN_S:
        return None
    recent = [sample for sample in samples if sample[0] >= samples[-1][0] - _WINDOW_S]
    over_a_day = _over_a_day(samples, recent)
    if over_a_day:
        return median(over_a_day) / DAY_S
    return _theil_sen(_thinned(recent))


def _over_a_day(samples: Sequence[Sample], recent: Sequence[Sample]) -> list[int]:
    """Of each recent sample: what it has more than the one a day before it, where there is one."""
    times = [at for at, _ in samples]
    found = []
    for at, size in recent:
        place = bisect_left(times, at - DAY_S)
        beside = [samples[each] for each in (place - 1, place) if 0 <= each < len(samples)]
        nearest = min(beside, key=lambda sample: abs(sample[0] - at + DAY_S))
        if abs(nearest[0] - at + DAY_S) <= _NEARBY_S:
            found.append(size - nearest[1])
    return found


def _theil_sen(samples: Sequence[Sample]) -> float | None:
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in combinations(samples, 2)
        if later[0] > earlier[0]
    ]
    return median(slopes) if slopes else None


def _thinned(samples: Sequence[Sample]) -> Sequence[Sample]:
    step = -(-len(samples) // _MOST_POINTS)
    return samples[::-1][::step][::-1]


def full_in_s(growths: Iterable[Growth], free_bytes: int) -> float:
    """Seconds until so many bytes are used up; infinity when they never are."""
    growing = sorted((each for each in growths if each.bytes_per_s > 0), key=lambda each: each.for_s)
    since_s, left = 0.0, float(free_bytes)
    while growing:
        rate = sum(each.bytes_per_s for each in growing)
        until_s = growing[0].for_s
        if left <= rate * (until_s - since_s):
            return since_s + left / rate
        left -= rate * (until_s - since_s)
        since_s = until_s
        growing = [each for each in growing if each.for_s > until_s]
    return inf
