"""Finding the highest rate that is sustained: which rate to try next, and whether a step was.

Pure. Rates go up by a factor until one fails, then the gap between the best and the worst is halved.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

LATENCY_S: Final = 1.0
"""Of the commit, at the 99th percentile; and the most that may wait anywhere at the end of a step."""
_FACTOR: Final = 1.3
_CLOSE: Final = 1.05
_LEAST: Final = 100.0


class Step(NamedTuple):
    """What one rate has brought. `waiting_s` is how old the oldest message was that nobody could see."""

    rate: float
    latency_p99_s: float
    waiting_s: float
    spooled_rows: int

    @property
    def is_sustained(self) -> bool:
        """Nothing waits long, nothing went to the disk; a latency that nobody knows is none to boast of."""
        return (
            not self.spooled_rows
            and self.waiting_s < LATENCY_S
            and self.latency_p99_s < LATENCY_S
            and not math.isnan(self.latency_p99_s)
        )


@dataclass(frozen=True)
class RateSearch:
    """The steps so far, from which the next one follows."""

    start: float
    steps: Sequence[Step] = ()
    close: float = _CLOSE

    def told(self, step: Step) -> "RateSearch":
        """With one more step."""
        return RateSearch(self.start, (*self.steps, step), self.close)

    @property
    def best(self) -> float:
        """The highest sustained rate below every rate that has failed; 0 when there is none."""
        return max((s.rate for s in self.steps if s.is_sustained and s.rate < self._worst), default=0.0)

    @property
    def next_rate(self) -> float | None:
        """What to try; None when the answer is close enough, or there is none."""
        if not self.steps:
            return self.start
        best, worst = self.best, self._worst
        if not best:
            lower = worst / 2
            return lower if lower >= _LEAST else None
        if math.isinf(worst):
            return best * _FACTOR
        return None if worst / best <= self.close else math.sqrt(best * worst)

    @property
    def _worst(self) -> float:
        return min((step.rate for step in self.steps if not step.is_sustained), default=math.inf)
