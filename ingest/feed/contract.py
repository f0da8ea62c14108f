"""What a feed and those around it agree on: its deadlines, where it delivers, and what can be seen of it."""

from dataclasses import dataclass, field
from typing import Protocol

from ingest.feed.backoff import BackoffLimits


@dataclass(frozen=True)
class FeedLimits:
    """Deadlines of a feed, in seconds. The exchange pings every 20 s and cuts after 24 h."""

    connect_s: float = 10.0
    acknowledge_s: float = 10.0
    send_s: float = 5.0
    close_s: float = 1.0
    # No frame of any kind, not even one of the pings due every 20 s: the link is dead.
    silent_link_s: float = 50.0
    life_s: float = 23.5 * 3600
    life_jitter_s: float = 1800.0
    # A successor takes over when it has been subscribed for so long and brings data, or has been for
    # `overlap_s` and nothing speaks. The first covers what the predecessor's path is slower by.
    settle_s: float = 1.0
    overlap_s: float = 5.0
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


class FrameSink(Protocol):
    """Where a feed delivers. Nothing here may wait: the socket is read by whoever calls it."""

    def on_frame(self, data: bytes, recv_ns: int) -> None: ...

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
