"""Does a shard keep up with what it is sent? Judged over some seconds, because one late moment is none.

Pure. Fed once a second with whether the shard was late then. It lags from when most of the newest looks
were late, until none of them is, so that a shard at its limit is one trouble and not a new one every
few seconds.
"""

from collections import deque

_LOOKS = 10
_LATE_LEAST = 5


class Lag:
    """One shard's process."""

    def __init__(self) -> None:
        self.is_lagging = False
        self._late: deque[bool] = deque(maxlen=_LOOKS)

    def take(self, *, is_late: bool) -> bool:
        """Take a look; whether the shard lags."""
        self._late.append(is_late)
        if self.is_lagging:
            self.is_lagging = any(self._late)
        else:
            self.is_lagging = sum(self._late) >= _LATE_LEAST
        return self.is_lagging


class Pace:
    """How fast one shard's process reads, by its count of received bytes."""

    def __init__(self) -> None:
        self.bytes_per_s = 0.0
        self._seen: tuple[int, float] | None = None

    def take(self, received_bytes: int, now_s: float) -> None:
        """Take a look at the count."""
        seen, self._seen = self._seen, (received_bytes, now_s)
        if seen is not None and now_s > seen[1]:
            self.bytes_per_s = max(0, received_bytes - seen[0]) / (now_s - seen[1])
