"""Old rows dropped where the server has no jobs for it, and a look at the jobs where it has.

What is kept for how long stands in `ops.storage`, put there by `store.arrange`. A partition or chunk goes as
a whole, once nothing in it is younger; rows in a default partition, and those of tables that are not
parted, go by themselves. Nobody who writes waits long: a lock is waited for 0.2 s and then left for the next
round.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from ingest.errors import StoreError
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.statements import statement

if TYPE_CHECKING:
    import asyncpg

    from ingest.store.sessions import Connection

_ROWS_AT_ONCE: Final = 10_000
_MOST_BATCHES: Final = 100
"""In one round, so that it ends; the next goes on."""


class Dropped(NamedTuple):
    """A partition or chunk that is gone, or how many rows are."""

    relation: str
    what: str


class NotDropped(NamedTuple):
    """What stays until the next round, and why."""

    relation: str
    error: StoreError


class FailedJob(NamedTuple):
    """A policy of the server whose last run failed."""

    job: int
    policy: str
    relation: str
    failures: int


@dataclass(frozen=True, slots=True)
class HotIndexes:
    """Size of the indexes that are written to, and of the memory that should hold four times as much."""

    index_bytes: int
    buffer_bytes: int

    @property
    def fit(self) -> bool:
        """Whether they leave the larger part of memory to everything else."""
        return self.index_bytes * 4 <= self.buffer_bytes


async def drop_expired(
    connection: "Connection", *, now: datetime, server_has_jobs: bool
) -> AsyncGenerator[Dropped | NotDropped, None]:
    """Drop what is older than its table is kept, one thing after another; tells of each.

    With `server_has_jobs`, hypertables and continuous aggregates are left to these. StoreUnavailable when
    the connection is lost.
    """
    try:
        kept = await connection.fetch(statement("storage"))
    except DRIVER_ERRORS as error:
        raise translated(error) from error
    for row in kept:
        if row["keep"] is None or (server_has_jobs and row["kind"] in {"hypertable", "continuous_aggregate"}):
            continue
        try:
            async for dropped in _DROPPERS[row["kind"]](connection, row, now - row["keep"]):
                yield dropped
        except DRIVER_ERRORS as error:
            failure = translated(error)
            if connection.is_closed():
                raise failure from error
            yield NotDropped(row["relation"], failure)


async def _drop_partitions(
    connection: "Connection", row: "asyncpg.Record", before: datetime
) -> AsyncIterator[Dropped]:
    relation = row["relation"]
    for expired in await connection.fetch(statement("expired_partitions"), relation, before):
        await connection.execute(statement("drop_partition"), relation, expired["partition"])
        yield Dropped(relation, expired["partition"])
    async for dropped in _delete_rows(connection, row, before):
        yield dropped


async def _drop_chunks(
    connection: "Connection", row: "asyncpg.Record", before: datetime
) -> AsyncIterator[Dropped]:
    for chunk in await connection.fetch(statement("drop_expired_chunks"), row["relation"], before):
        yield Dropped(row["relation"], chunk["chunk"])


async def _delete_rows(
    connection: "Connection", row: "asyncpg.Record", before: datetime
) -> AsyncIterator[Dropped]:
    total = 0
    for _ in range(_MOST_BATCHES):
        which = (row["relation"], row["ts_column"], before, _ROWS_AT_ONCE)
        deleted = await connection.fetchval(statement("delete_expired"), *which)
        total += deleted
        if deleted < _ROWS_AT_ONCE:
            break
    if total:
        yield Dropped(row["relation"], f"{total} rows")


_DROPPERS: Final = {
    "partitions": _drop_partitions,
    "hypertable": _drop_chunks,
    "continuous_aggregate": _drop_chunks,
    "table": _delete_rows,
}


async def failed_jobs(connection: "Connection") -> list[FailedJob]:
    """The policies of market data whose last run failed; only where there are jobs."""
    try:
        rows = await connection.fetch(statement("failed_jobs"))
    except DRIVER_ERRORS as error:
        raise translated(error) from error
    return [FailedJob(row["job_id"], row["policy"], row["relation"], row["total_failures"]) for row in rows]


async def hot_indexes(connection: "Connection") -> HotIndexes:
    """How large the indexes are that new rows go into."""
    try:
        row = await connection.fetchrow(statement("hot_index_bytes"))
    except DRIVER_ERRORS as error:
        raise translated(error) from error
    assert row is not None
    return HotIndexes(row["index_bytes"], row["buffer_bytes"])
