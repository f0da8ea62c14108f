"""What the alert rules look at: streams, feeds, shards, database and exchange at one moment.

Decides nothing: a frozen record that the supervisor, or a command that reads the database, fills in.
Every time is in seconds on one monotonic clock, so that a step of the wall clock changes no duration.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleStream:
    """A stream that the witness says is behind. `stream` is `market:SYMBOL:kind`; times are monotonic."""

    stream: str
    since_s: float
    diagnosis: str = ""
    ladder_exhausted: bool = False
    """Every step of repair was taken: waiting for the deadline has no point."""
    tried: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """How a shard's process has fared; times are monotonic seconds."""

    shard: int
    restarts_s: tuple[float, ...] = ()
    """When it was restarted; older ones than the rule's window may be there."""
    last_end: str = ""
    """How its process last ended, such as `killed by SIGKILL`."""
    quarantined_since_s: float | None = None
    gave_up: str = ""
    """Why it will not be started again; empty while it will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestBan:
    """The exchange answered 418 or 429 and named a time to wait; monotonic seconds."""

    since_s: float
    until_s: float
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIncident:
    """An incident under repair. `where` is `exchange`, `feed 3`, `shard 1` or `market:SYMBOL:kind`."""

    where: str
    diagnosis: str
    since_s: float
    evidence: str = ""
    tried: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFacts:
    """All that the rules look at, at one moment. Every time is in seconds on one monotonic clock."""

    now_s: float
    streams: Mapping[str, int] = field(default_factory=dict)
    """Number of streams by state."""
    stale: tuple[StaleStream, ...] = ()
    reconnects: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """When each feed was connected again without having planned to, by name, such as `feed 3`."""
    shards: tuple[ShardRecord, ...] = ()
    incidents: tuple[OpenIncident, ...] = ()
    database_stalled_since_s: float | None = None
    database_error: str = ""
    rest_ban: RestBan | None = None
    clock_offset_s: float | None = None
    """Our wall clock minus the exchange's; None when it is not known."""
    table_written_s: float | None = None
    """When the freshness table was last written, or the service's start; None when not applicable."""
