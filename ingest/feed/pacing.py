"""When the next message may be sent on a connection that takes five a second, pongs included.

Pure: the time is handed in. Control messages keep a minimum distance, so that any second holds at
most four of them however the network bunches them up; the fifth place belongs to the pong, which
never waits, because a late one ends the connection.
"""

from dataclasses import dataclass, field


@dataclass
class Pacer:
    """Minimum distance between control messages in seconds."""

    interval_s: float = 0.3
    _free_at_s: float = field(default=0.0, init=False)

    def reserve(self, now_s: float) -> float:
        """Take the next place and return the seconds to wait for it."""
        at_s = max(now_s, self._free_at_s)
        self._free_at_s = at_s + self.interval_s
        return at_s - now_s

    def sent_pong(self, now_s: float) -> None:
        """A pong went out beside the queue; the next control message keeps its distance from it."""
        self._free_at_s = max(self._free_at_s, now_s + self.interval_s)
