"""The ladder of repair: which step follows which, how long each may take, and what is written down.

Pure. A `Repair` is one incident being worked on: the streams it is about, the step it is at, and when
that step's time is up. What happens to it is a `Record` of its story; the shell stores the story in
`ops.incidents`.

    step            when its time is up
    -------------   -------------------------------------------------------------------------
    RESUBSCRIBE     REPLACE_FEED
    REPLACE_FEED    RESTART_SHARD, if most of the shard is stale and it is the first time
                    ALERT otherwise
    RESTART_SHARD   ALERT
    ALERT           REPLACE_FEED, and so on for ever, each ALERT twice as long as the one before
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from ingest.board.layout import Diagnosis
from ingest.events import StreamKey

_DOUBLINGS = 16
"""More would only overflow: the cap has long been reached."""


class Step(IntEnum):
    """In the order in which they are tried; a later one costs more."""

    RESUBSCRIBE = 1
    REPLACE_FEED = 2
    RESTART_SHARD = 3
    ALERT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderLimits:
    """Seconds that each step may take before the next one is tried."""

    resubscribe_s: float = 3.0
    replace_feed_s: float = 15.0
    restart_shard_s: float = 45.0
    retry_s: float = 60.0
    """After ALERT a new feed is tried again this much later, then twice as long, up to `retry_cap_s`."""
    retry_cap_s: float = 3_600.0
    restart_share: float = 0.8
    """A shard is restarted for silence only when at least this share of its streams is stale."""

    def of(self, step: Step, alerts: int) -> float:
        """How long a step may take; `alerts` counts the incident's, this one included."""
        if step is Step.RESUBSCRIBE:
            return self.resubscribe_s
        if step is Step.REPLACE_FEED:
            return self.replace_feed_s
        if step is Step.RESTART_SHARD:
            return self.restart_shard_s
        return min(self.retry_cap_s, self.retry_s * 2.0 ** min(alerts - 1, _DOUBLINGS))


class Record(NamedTuple):
    """One line of an incident's story; times in seconds on the supervisor's monotonic clock."""

    at_s: float
    what: str


@dataclass(slots=True)
class Repair:
    """One incident under repair."""

    number: int
    shard: int
    feed: int
    keys: set[StreamKey]
    """Streams that have not spoken yet."""
    diagnosis: Diagnosis
    evidence: str
    opened_s: float
    step: Step
    step_until_s: float
    step_s: float = 0.0
    """When the present step began."""
    alerts: int = 0
    """How often all steps have been tried in vain."""
    is_in_vain: bool = False
    """The witness has found something missed since the present step."""
    story: list[Record] = field(default_factory=list)
    affected: frozenset[StreamKey] = frozenset()
    """All streams that it was ever about."""
    _joined_s: dict[StreamKey, float] = field(default_factory=dict, init=False, repr=False)
    """When those were subscribed that have joined the present step."""

    def __post_init__(self) -> None:
        self.affected = frozenset(self.keys)

    def enter(self, step: Step, now_s: float, limits: LadderLimits) -> None:
        """Begin a step and write it down."""
        if step is Step.ALERT:
            self.alerts += 1
        self.step, self.step_s, self.is_in_vain = step, now_s, False
        self._joined_s.clear()
        self.step_until_s = now_s + limits.of(step, self.alerts)
        self.story.append(Record(now_s, f"step {step.name.lower()}"))

    def join(self, keys: set[StreamKey], now_s: float) -> None:
        """Take in more streams; the step goes on and its time with it."""
        self.keys |= keys
        self.affected |= keys
        if self.step is Step.RESUBSCRIBE:
            self._joined_s.update(dict.fromkeys(keys, now_s))
        self.story.append(Record(now_s, f"streams joined: {len(keys)}"))

    def ordered_s(self, key: StreamKey) -> float:
        """When the present step was ordered for a stream; one that joins is subscribed by itself."""
        return self._joined_s.get(key, self.step_s)

    def wait_anew(self, now_s: float, limits: LadderLimits) -> None:
        """Nobody could have spoken meanwhile: the next step is not before a new feed would have helped."""
        self.step_until_s = max(self.step_until_s, now_s + limits.replace_feed_s)

    def next_step(self, *, shard_is_mostly_stale: bool) -> Step:
        """What follows when the present step's time is up."""
        if self.step in {Step.RESUBSCRIBE, Step.ALERT}:
            return Step.REPLACE_FEED
        is_first_time = self.step is Step.REPLACE_FEED and not self.alerts
        return Step.RESTART_SHARD if is_first_time and shard_is_mostly_stale else Step.ALERT
