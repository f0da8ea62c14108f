"""How long to wait before trying again: at once, then exponentially with full jitter.

Pure: the generator of chance is handed in. The count of failures survives short successes: a feed
that connects and dies again every few seconds climbs the same ladder as one that cannot connect,
so flapping does not become a reconnect storm. Full jitter keeps feeds that fell together from
coming back together.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True)
class BackoffLimits:
    """Ceilings of the waits: `first_s`, doubled each time up to `cap_s`; forgotten after `good_s`."""

    first_s: float = 1.0
    cap_s: float = 30.0
    good_s: float = 60.0


@dataclass
class Backoff:
    limits: BackoffLimits
    rng: "Random"
    failures: int = field(default=0, init=False)

    def next_delay_s(self) -> float:
        """Seconds to wait before the next attempt; counts the failure that made it necessary."""
        self.failures += 1
        if self.failures == 1:
            return 0.0
        ceiling = self.limits.first_s * 2.0 ** min(self.failures - 2, 30)
        return self.rng.uniform(0.0, min(self.limits.cap_s, ceiling))

    def lasted(self, good_for_s: float) -> None:
        """Tell how long the attempt that just ended was delivering; a long one clears the record."""
        if good_for_s >= self.limits.good_s:
            self.failures = 0
