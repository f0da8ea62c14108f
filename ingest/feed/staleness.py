"""Has a stream been silent for too long? Judged by its own data, never by its connection.

Pure: the times are handed in. Pings, pongs, acknowledgements and other streams' messages do not
reach this module, so they cannot be mistaken for life.

A stream is overdue when nothing has come for its threshold, counted from its newest message or, if
there is none, from the subscription. Each time that replacing its feed brought nothing, the next
judgement waits twice as long, up to `MAX_PATIENCE` times the threshold, so that a stream that is
merely quiet does not have its neighbours reconnected for ever; its first message restores the
plain threshold.
"""

from dataclasses import dataclass, field

MAX_PATIENCE = 64


@dataclass(slots=True)
class SilenceTimer:
    """One stream's timer. All times are seconds on one monotonic clock.

    It is fed with the stream's message count rather than with a time stamp: that a count has moved
    cannot be faked by a wall clock that was stepped.
    """

    threshold_s: float
    since_s: float
    _seen: int = field(default=0, init=False)
    _patience: int = field(default=1, init=False)

    def is_overdue(self, messages: int, now_s: float) -> bool:
        """Whether the stream, which has delivered `messages` in all, has been silent for too long."""
        if messages != self._seen:
            self._seen = messages
            self.since_s = now_s
            self._patience = 1
        return now_s - self.since_s > self.threshold_s * self._patience

    def silent_s(self, now_s: float) -> float:
        """Seconds since the newest message that `is_overdue` was told of, or since the subscription."""
        return now_s - self.since_s

    def restart(self, now_s: float) -> None:
        """Begin again after a new subscription; patience is kept, data must earn it back."""
        self.since_s = now_s

    def replaced(self, now_s: float) -> None:
        """The feed is being replaced because of this stream: wait longer before asking again."""
        self.since_s = now_s
        self._patience = min(self._patience * 2, MAX_PATIENCE)
