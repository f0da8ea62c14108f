"""What was seen of a service while it was under load, over time, and what that comes to.

Pure. Times are seconds since the load began.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

_MIB: Final = 2**20


class MemoryTrend(NamedTuple):
    """Of one kind of process, all its processes together. The slope is of the second half of the time."""

    first_mib: float
    last_mib: float
    most_mib: float
    slope_mib_per_min: float


@dataclass
class Timeline:
    """Filled while the load goes on."""

    lags_us: list[int] = field(default_factory=list)
    """How late each heartbeat of any shard came."""
    board_latencies_us: list[int] = field(default_factory=list)
    """Of batches that were the newest when a board was looked at: receive of the oldest row to the commit."""
    memory: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    """(seconds, bytes) by kind of process."""
    waiting_s: list[float] = field(default_factory=list)
    """How old the oldest message was that nobody could see."""
    spooled_rows: int = 0
    """The most that waited on disks."""

    def remembered(self, at_s: float, memory: Mapping[str, int]) -> None:
        """Take in one look at the processes' memory, in bytes by kind."""
        for kind, size_bytes in memory.items():
            self.memory.setdefault(kind, []).append((at_s, size_bytes))

    def lag_ms(self, share: float) -> float:
        """A quantile of the loops' lag; NaN when no heartbeat was seen."""
        return quantile(self.lags_us, share) / 1_000

    def memory_trends(self) -> dict[str, MemoryTrend]:
        """By kind of process."""
        return {kind: _trend(seen) for kind, seen in self.memory.items()}


def _trend(seen: Sequence[tuple[float, int]]) -> MemoryTrend:
    sizes = [size / _MIB for _, size in seen]
    middle_s = (seen[0][0] + seen[-1][0]) / 2
    second_half = [(at_s / 60, size / _MIB) for at_s, size in seen if at_s >= middle_s]
    return MemoryTrend(sizes[0], sizes[-1], max(sizes), slope(second_half))


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line through points that misses them least; 0 for points of one moment."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that so many of them do not exceed; NaN when there are none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
