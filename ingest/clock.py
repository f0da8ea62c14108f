"""The only reader of time. Shells take a `Clock`; pure modules take numbers."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one that dates events and may be stepped, one that measures spans and may not."""

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch, UTC. For stamping, never for measuring."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back. Comparable between processes of one boot."""
        ...


class SystemClock:
    """The machine's clocks.

    The monotonic one counts time asleep where the system has such a clock (Linux), so that a laptop
    that wakes up finds its streams stale.
    """

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_s(self) -> float:
        return time.clock_gettime(_MONOTONIC_CLOCK)


_MONOTONIC_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
