"""The exchange's limits on its clients, and the count of how often they were broken.

Pure: time is a number. Sources: Binance spot docs, web-socket-streams.md and rest-api.md, read 2026-07.
"""

import dataclasses
from collections import deque
from typing import NamedTuple

MINUTE_S = 60
RAW_WINDOW_S = 300


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All limits, with the exchange's own values as defaults."""

    messages_per_s: int = 5
    streams_per_connection: int = 1024
    request_bytes: int = 4088
    ping_interval_s: float = 20.0
    pong_deadline_s: float = 60.0
    connection_life_s: float = 86_400.0
    attempts: int = 300
    attempts_window_s: float = 300.0
    weight_per_minute: int = 6000
    raw_requests: int = 300_000
    refusals_before_ban: int = 5
    """Requests after a 429, before its Retry-After is over, that turn it into a ban."""
    ban_s: float = 120.0
    longest_ban_s: float = 259_200.0
    send_queue_bytes: int = 16 * 1024 * 1024
    """What may wait to be read by a slow client before it is disconnected."""
    request_line_bytes: int = 16_384


@dataclasses.dataclass(slots=True)
class Violations:
    """How often clients broke a limit."""

    message_rate: int = 0
    connection_attempts: int = 0
    weight: int = 0
    raw_requests: int = 0
    banned_requests: int = 0
    long_requests: int = 0
    too_many_streams: int = 0
    missed_pongs: int = 0
    slow_consumers: int = 0

    @property
    def total(self) -> int:
        return sum(self.as_dict().values())

    def as_dict(self) -> dict[str, int]:
        return dataclasses.asdict(self)


class SlidingWindow:
    """At most `limit` events within any `span_s`."""

    __slots__ = ("_limit", "_span_s", "_times")

    def __init__(self, limit: int, span_s: float) -> None:
        self._limit = limit
        self._span_s = span_s
        self._times: deque[float] = deque()

    def allows(self, now_s: float) -> bool:
        """Count an event; False when it is one too many (then it is not counted)."""
        times = self._times
        while times and times[0] <= now_s - self._span_s:
            times.popleft()
        if len(times) >= self._limit:
            return False
        times.append(now_s)
        return True

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next event would be allowed."""
        if len(self._times) < self._limit:
            return 0.0
        return max(self._times[0] + self._span_s - now_s, 0.0)


class Verdict(NamedTuple):
    """What becomes of a REST request: 200 goes on, 429 and 418 are refusals."""

    status: int
    used_weight: int
    retry_after_s: int


class WeightBudget:
    """The request weight of one IP: clock-aligned minutes, 429 above the limit, 418 for going on."""

    def __init__(self, limits: Limits, violations: Violations) -> None:
        self._limits = limits
        self._violations = violations
        self._minute = 0
        self._used = 0
        self._raw = SlidingWindow(limits.raw_requests, RAW_WINDOW_S)
        self._blocked_until_s = 0.0
        self._refused = 0
        self._ban_until_s = 0.0
        self._ban_s = limits.ban_s

    def take(self, weight: int, now_s: float) -> Verdict:
        """Account for one request at wall-clock time `now_s`."""
        if now_s < self._ban_until_s:
            self._violations.banned_requests += 1
            return self._verdict(418, self._ban_until_s - now_s)
        if now_s < self._blocked_until_s:
            return self._refuse_again(now_s)
        self._roll(now_s)
        self._used += weight
        if self._used > self._limits.weight_per_minute:
            self._violations.weight += 1
            self._blocked_until_s = (self._minute + 1) * MINUTE_S
        elif not self._raw.allows(now_s):
            self._violations.raw_requests += 1
            self._blocked_until_s = now_s + self._raw.wait_s(now_s)
        else:
            return self._verdict(200, 0)
        self._refused = 0
        return self._verdict(429, self._blocked_until_s - now_s)

    def _refuse_again(self, now_s: float) -> Verdict:
        self._violations.weight += 1
        self._refused += 1
        if self._refused < self._limits.refusals_before_ban:
            return self._verdict(429, self._blocked_until_s - now_s)
        self._ban_until_s = now_s + self._ban_s
        self._ban_s = min(self._ban_s * 2, self._limits.longest_ban_s)
        self._refused = 0
        return self._verdict(418, self._ban_until_s - now_s)

    def _roll(self, now_s: float) -> None:
        minute = int(now_s // MINUTE_S)
        if minute != self._minute:
            self._minute, self._used = minute, 0

    def _verdict(self, status: int, wait_s: float) -> Verdict:
        return Verdict(status, self._used, int(wait_s) + 1 if status != 200 else 0)
