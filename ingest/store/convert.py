"""Partitioned tables with rows become hypertables, a partition at a time, while nobody writes.

The old table stays, whole and readable, until all of it has been copied; then the copy takes its place in
one transaction. That takes room for the rows twice. Each partition is a transaction of its own, and noted:
an interrupted conversion goes on where it was. A writer that connects in between forgets the notes, since
it may change what was copied; the table is then begun anew.

No session that writes may be there: each holds an advisory lock shared (`PostgresSink`) that is taken here
alone.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from ingest.errors import ConfigError, StoreError, StoreUnavailable
from ingest.store.arrange import (
    arrange_plan_candles,
    arranging,
    become_hypertable,
    partitioned_relations,
)
from ingest.store.capability import Capability, judge, probe
from ingest.store.migrate import migration_lock
from ingest.store.sessions import SessionLimits
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection
    from ingest.store.storage_plan import StoragePlan, TablePlan

_LIMITS: Final = SessionLimits(statement_s=86_400.0, lock_s=10.0)
"""One partition may take hours."""

_LOCK_DEADLINE_S: Final = 30.0
_LEAVE_S: Final = 3.0
"""What a session takes to end at the server after its program has ended."""

_POLL_S: Final = 0.1


async def convert(url: str, plan: "StoragePlan", *, tell: Callable[[str], None]) -> list[str]:
    """Convert what is still partitioned; returns the tables. Call after `arrange`.

    `tell` hears a sentence for each partition. ConfigError when no hypertables are to be used; StoreError
    while the service, or anybody who writes, is connected.
    """
    async with arranging(url, _LIMITS) as connection, _alone(connection):
        use = judge(await probe(connection), plan.timescale).use
        if not use.hypertables:
            asked = f'[database] timescale = "{plan.timescale}"'
            raise ConfigError(f"--convert: {asked} and {use}: nothing can become a hypertable")
        partitioned = await partitioned_relations(connection)
        tables = [table for table in plan.tables if table.relation in partitioned]
        for table in tables:
            await _convert(connection, table, use, tell)
        for sentence in await arrange_plan_candles(connection, plan, use):
            tell(sentence)
        return [table.relation for table in tables]


@asynccontextmanager
async def _alone(connection: "Connection") -> AsyncIterator[None]:
    await _exclude_writers(connection)
    try:
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(_LOCK_DEADLINE_S):
                    await held.enter_async_context(migration_lock(connection))
            except TimeoutError as error:
                raise StoreUnavailable("another process is migrating this database") from error
            yield
    finally:
        if not connection.is_closed():
            await connection.execute(statement("admit_writers"))


async def _exclude_writers(connection: "Connection") -> None:
    try:
        async with asyncio.timeout(_LEAVE_S):
            while not await connection.fetchval(statement("exclude_writers")):
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        message = "somebody writes market data to this database: stop the service, then convert"
        raise StoreError(message) from None


async def _convert(
    connection: "Connection", table: "TablePlan", use: Capability, tell: Callable[[str], None]
) -> None:
    relation = table.relation
    if not await connection.fetchval(statement("copied_partitions"), relation):
        async with connection.transaction():
            await connection.execute(statement("start_hypertable"), relation, table.ts_column, table.chunk)
    waiting = await connection.fetch(statement("partitions_to_copy"), relation)
    for number, row in enumerate(waiting, 1):
        rows = await connection.fetchval(statement("copy_partition"), relation, row["partition"])
        tell(f"{row['partition']}: {rows} rows ({number} of {len(waiting)})")
    async with connection.transaction():
        await become_hypertable(connection, table, use)
    tell(f"{relation} is a hypertable")
