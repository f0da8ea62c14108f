"""How fast counters grow, as a person wants to see it: smoothed a little, and never below zero."""

from collections.abc import Mapping

_NEWEST_SHARE = 0.3


class Rates:
    """Tell it what counters say; `per_s` is by the counters' names, empty until the second look."""

    def __init__(self) -> None:
        self.per_s: dict[str, float] = {}
        self._counts: Mapping[str, int] = {}
        self._looked_s = 0.0

    def look(self, counts: Mapping[str, int], now_s: float) -> None:
        """One look at all of them; a counter that went back belongs to something that began anew."""
        span_s = now_s - self._looked_s
        if self._counts and span_s > 0:
            self.per_s = {name: self._smoothed(name, count, span_s) for name, count in counts.items()}
        self._counts, self._looked_s = counts, now_s

    def _smoothed(self, name: str, count: int, span_s: float) -> float:
        newest = max(0, count - self._counts.get(name, count)) / span_s
        former = self.per_s.get(name, newest)
        return (1 - _NEWEST_SHARE) * former + _NEWEST_SHARE * newest
