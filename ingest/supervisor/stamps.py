"""How long ago a stamp of the wall clock was, when that clock may have been stepped since.

Pure. The boards stamp pings and probes with the wall clock. A stamp of before the newest step cannot be
compared with the time after it, so its age is not known; spans that matter are measured by the monotonic
clock instead.
"""

_NS_PER_S = 1_000_000_000
_STEP_NS = _NS_PER_S
"""A wall clock that is slewed moves by less between two looks at it."""
_AHEAD_NS = _NS_PER_S // 10
"""A board is read a moment after the look at the clocks."""


class WallStamps:
    """`look` once a tick."""

    def __init__(self) -> None:
        self._wall_ns = self._monotonic_ns = self._since_wall_ns = 0

    def look(self, wall_ns: int, monotonic_ns: int) -> float:
        """Both clocks' time now; by how many seconds the wall clock was stepped since the last look."""
        elapsed_ns = monotonic_ns - self._monotonic_ns
        step_ns = wall_ns - self._wall_ns - elapsed_ns if self._wall_ns else 0
        self._wall_ns, self._monotonic_ns = wall_ns, monotonic_ns
        if abs(step_ns) <= _STEP_NS:
            return 0.0
        self._since_wall_ns = wall_ns - elapsed_ns
        return step_ns / _NS_PER_S

    def age_s(self, stamp_wall_ns: int) -> float | None:
        """Seconds from the stamp to the newest look; None for one of before a step, or for none (0)."""
        if not stamp_wall_ns or not self._since_wall_ns <= stamp_wall_ns <= self._wall_ns + _AHEAD_NS:
            return None
        return max(0, self._wall_ns - stamp_wall_ns) / _NS_PER_S
