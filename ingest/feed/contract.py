"""What a feed and those around it agree on: its deadlines, where it delivers, and what can be seen of it."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from ingest.feed.backoff import BackoffLimits
from ingest.feed.rotation import Rotation


@dataclass(frozen=True)
class FeedLimits:
    """Deadlines of a feed, in seconds. The exchange pings every 20 s and cuts after 24 h."""

    connect_s: float = 10.0
    acknowledge_s: float = 10.0
    send_s: float = 5.0
    close_s: float = 1.0
    # No frame of any kind, not even one of the pings due every 20 s: the link is dead.
    silent_link_s: float = 50.0
    rotation: Rotation = field(default_factory=Rotation)
    # A successor takes over when every stream overlaps on both connections, and has been subscribed for
    # so long at least: what the predecessor's path may be slower by.
    settle_s: float = 1.0
    # After so long streams that nobody speaks on are not waited for. There is time for it when it is our
    # own decision to go, less when the predecessor is bad or may be closed at any moment.
    overlap_s: float = 10.0
    hurried_overlap_s: float = 2.0
    max_frame_bytes: int = 16 * 1024 * 1024
    backoff: BackoffLimits = field(default_factory=BackoffLimits)


@dataclass(frozen=True)
class FeedSession:
    """One connection of a feed, from its opening to its end."""

    feed: int
    url: str
    connected_wall_ns: int
    epoch: int = 0
    """Which of the feed's connections it is, counted from 1."""


@dataclass(frozen=True)
class FeedEnd:
    """How a session ended.

    `seamless`: another session carries all streams, so that nothing can be missing because of it.
    """

    reason: str
    code: int | None
    age_s: float
    messages: int
    seamless: bool = False


class Takeover(Enum):
    """Whether a successor may take over."""

    WAIT = auto()
    READY = auto()
    REFUSED = auto()
    """It does not bring what its predecessor brings, and must not take over."""


@dataclass(frozen=True)
class OverlapLimits:
    """What is asked of a successor, in seconds since all its subscriptions were acknowledged."""

    settle_s: float
    deadline_s: float
    """Then it takes over although some streams have not spoken on it."""
    patience_s: float
    """How long a stream is held back for a predecessor that says nothing on it."""
    may_refuse: bool = True
    """False: take it as it is, because others before it were no better."""


class Overlap(Protocol):
    """A successor's way into a sink while its predecessor still delivers there."""

    def on_frame(self, data: bytes, recv_ns: int) -> None: ...

    def judge(self, now_s: float, live_s: float | None) -> Takeover:
        """Called several times a second; `live_s` is when the successor was subscribed (None: not yet)."""
        ...

    def finish(self) -> None:
        """The successor carries the streams from now on. Harmless when it is over already."""
        ...

    def abandon(self) -> None:
        """The successor has ended. Harmless when it is over already."""
        ...


class FrameSink(Protocol):
    """Where a feed delivers. Nothing here may wait: the socket is read by whoever calls it."""

    def on_frame(self, data: bytes, recv_ns: int) -> None: ...

    def overlap(self, limits: OverlapLimits) -> Overlap:
        """A successor is on its way. One at a time."""
        ...

    def on_connected(self, session: FeedSession) -> None: ...

    def on_disconnected(self, session: FeedSession, end: FeedEnd) -> None: ...


@dataclass
class Signs:
    """What can be seen of one connection from outside; times are wall clock, 0 is never on this one."""

    connected_wall_ns: int = 0
    last_ping_ns: int = 0
    """Arrival of the exchange's newest ping."""
    probe_wall_ns: int = 0
    """When our newest own ping was sent."""
    pong_wall_ns: int = 0
    """Arrival of the newest answer to one of ours."""
    pong_latency_us: int = 0
    """From the arrival of the exchange's newest ping to our pong's being sent."""
    local_port: int = 0
    """0 when it is not open, or the transport does not tell."""
