"""How streams and shards are doing, to the tables that the freshness view and the operator read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ingest.events import StreamKey
from ingest.store.instants import instant
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection


class StreamRow(NamedTuple):
    """One row of `ops.stream_freshness`; times in microseconds since the epoch, None before the first.

    `last_event_us` is the exchange's time of the newest *committed* event, `last_recv_us` when anything
    was last received, `last_commit_us` when rows of the stream were last committed.
    """

    key: StreamKey
    shard: int
    feed: str
    state: str
    diagnosis: str
    last_event_us: int | None
    last_recv_us: int | None
    last_commit_us: int | None
    threshold_s: float
    verified_quiet_us: int | None
    reconnects: int
    open_gaps: int
    trades_behind: int | None = None


class ShardRow(NamedTuple):
    """One row of `ops.shards`; times in microseconds since the epoch, None while there is none."""

    shard: int
    pid: int | None
    state: str
    started_us: int | None
    restarts: int
    heartbeat_us: int | None
    loop_lag_ms: float | None
    rows_committed: int
    rows_waiting: int
    rows_refused: int


async def publish_stream_states(connection: "Connection", rows: Sequence[StreamRow]) -> None:
    """Insert or replace the rows of these streams, all in one statement; a stream at most once."""
    await connection.execute(
        statement("publish_stream_states"),
        [row.key.market for row in rows],
        [row.key.symbol for row in rows],
        [row.key.kind for row in rows],
        [row.shard for row in rows],
        [row.feed for row in rows],
        [row.state for row in rows],
        [row.diagnosis for row in rows],
        [instant(row.last_event_us) for row in rows],
        [instant(row.last_recv_us) for row in rows],
        [instant(row.last_commit_us) for row in rows],
        [row.threshold_s for row in rows],
        [instant(row.verified_quiet_us) for row in rows],
        [row.reconnects for row in rows],
        [row.open_gaps for row in rows],
        [row.trades_behind for row in rows],
    )


async def publish_shards(connection: "Connection", rows: Sequence[ShardRow]) -> None:
    """Insert or replace the rows of these shards, all in one statement; a shard at most once."""
    await connection.execute(
        statement("publish_shards"),
        [row.shard for row in rows],
        [row.pid for row in rows],
        [row.state for row in rows],
        [instant(row.started_us) for row in rows],
        [row.restarts for row in rows],
        [instant(row.heartbeat_us) for row in rows],
        [row.loop_lag_ms for row in rows],
        [row.rows_committed for row in rows],
        [row.rows_waiting for row in rows],
        [row.rows_refused for row in rows],
    )
