"""After the migrations: tables made hypertables where the server can, policies as the configuration says.

Decides what has to be changed, so that running it again changes nothing; safe beside writers, under the
lock of the migrations. A partitioned table is replaced by a hypertable only while it is empty, in one
transaction; one with rows is left as it is and named (`store.convert` moves it). Hypertables are never
undone. Nothing of the Timescale licence is touched unless the edition in use is the full one.
"""

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from ingest.errors import ConfigError, StoreUnavailable
from ingest.store.candle_aggregates import CandleRefresh, arrange_candles
from ingest.store.candles import are_aggregates
from ingest.store.capability import Asked, Capability, Judgement, judge, probe_all
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.migrate import migration_lock
from ingest.store.roles import grant_roles
from ingest.store.sessions import DEFAULT_LIMITS, SessionLimits, connected
from ingest.store.statements import statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ingest.store.sessions import Connection
    from ingest.store.storage_plan import StoragePlan, TablePlan

_APPLICATION: Final = "ingest migrate"


class Arranged(NamedTuple):
    """`changed` has a sentence for each thing that was done, `left` for each that was not."""

    judgement: Judgement
    changed: tuple[str, ...]
    left: tuple[str, ...]


async def arrange(url: str, plan: "StoragePlan", *, deadline_s: float) -> Arranged:
    """Make the migrated database's tables what the plan says.

    ConfigError when the server has less than was asked for, StoreUnavailable when the deadline passes or a
    lock could not be had: nothing is half done then, so call again.
    """
    missed = await create_extension(url, plan.timescale)
    async with arranging(url) as connection:
        try:
            async with asyncio.timeout(deadline_s), migration_lock(connection):
                arranged = await _arrange(connection, plan)
                # What has just been made is nobody's yet but its maker's.
                await grant_roles(connection)
        except TimeoutError as error:
            message = f"tables not arranged within {deadline_s:g} s; is another process migrating?"
            raise StoreUnavailable(message) from error
    judgement = arranged.judgement
    return arranged._replace(judgement=judgement._replace(warnings=(*missed, *judgement.warnings)))


@asynccontextmanager
async def arranging(url: str, limits: SessionLimits = DEFAULT_LIMITS) -> "AsyncIterator[Connection]":
    """A connection in which names mean the same whatever the role's search path is; errors are ours."""
    async with connected(url, application=_APPLICATION, limits=limits) as connection:
        try:
            await connection.execute("SELECT set_config('search_path', 'pg_catalog', false)")
            yield connection
        except DRIVER_ERRORS as error:
            # A deadline of the caller's comes through here too, and is not the driver's.
            if isinstance(error, TimeoutError):
                raise
            raise translated(error) from error


async def create_extension(url: str, asked: Asked) -> tuple[str, ...]:
    """Have the extension in this database where the server has it; what to tell when that cannot be.

    Best before the migrations: these look whether it is there when they hand the tables to their owner.
    """
    async with connected(url, application=_APPLICATION) as connection:
        found = await probe_all(connection)
        if asked == "off" or found.capability.timescale or not found.available:
            return ()
        try:
            # In a session of its own: the server ends it where the library was not loaded at its start.
            await connection.execute(statement("create_extension"))
        except DRIVER_ERRORS as error:
            sentence = (
                f"TimescaleDB {found.available} is on this server but not in this database, and could not "
                f"be created: {translated(error)}; let shared_preload_libraries name timescaledb, and run "
                "CREATE EXTENSION timescaledb as a superuser"
            )
            if asked != "auto":
                raise ConfigError(f'[database] timescale = "{asked}": {sentence}') from error
            return (sentence,)
    return ()


async def _arrange(connection: "Connection", plan: "StoragePlan") -> Arranged:
    judgement = judge((await probe_all(connection)).capability, plan.timescale)
    await record_capability(connection, plan.timescale, judgement)
    partitioned = await partitioned_relations(connection)
    changed: list[str] = []
    left: list[str] = []
    for table in plan.tables:
        if table.relation not in partitioned:
            changed += await _policies(connection, table, judgement.use)
            if not judgement.use.hypertables:
                left.append(f"{table.relation} stays a hypertable: nothing makes partitions of one")
        elif not judgement.use.hypertables:
            await _record(connection, table, "partitions")
        elif await _replace_empty(connection, table, judgement.use):
            changed.append(f"{table.relation} is a hypertable")
        else:
            await _record(connection, table, "partitions")
            left.append(
                f"{table.relation} has rows and stays partitioned: `ingest migrate --convert` moves it"
            )
    changed += await arrange_plan_candles(connection, plan, judgement.use)
    if not judgement.use.continuous_aggregates and await are_aggregates(connection):
        left.append("candles stay continuous aggregates: history is in them that is nowhere else")
    return Arranged(judgement, tuple(changed), tuple(left))


async def record_capability(connection: "Connection", asked: Asked, judgement: Judgement) -> None:
    """Write down what was found, what was asked for and what is used."""
    found = (await probe_all(connection)).capability
    row = (found.postgres, found.timescale, found.edition, asked, judgement.use.edition)
    await connection.execute(statement("record_capability"), *row, list(judgement.warnings))


async def partitioned_relations(connection: "Connection") -> set[str]:
    """The tables that have partitions, as `schema.table`."""
    return {row["relation"] for row in await connection.fetch(statement("partitioned_relations"))}


async def _replace_empty(connection: "Connection", table: "TablePlan", use: Capability) -> bool:
    """Whether the table was empty, and so is a hypertable now."""
    if not await connection.fetchval(statement("is_empty"), table.relation):
        return False
    async with connection.transaction():
        await connection.execute(statement("lock_relation"), table.relation)
        if not await connection.fetchval(statement("is_empty"), table.relation):
            return False
        await connection.execute(statement("start_hypertable"), table.relation, table.ts_column, table.chunk)
        await become_hypertable(connection, table, use)
    return True


async def become_hypertable(connection: "Connection", table: "TablePlan", use: Capability) -> None:
    """Put the hypertable that was prepared in the table's place, in the caller's transaction."""
    await connection.execute(statement("finish_hypertable"), table.relation)
    await _policies(connection, table, use)


async def _policies(connection: "Connection", table: "TablePlan", use: Capability) -> list[str]:
    """Let a hypertable have the plan's span, columnstore and retention; what changed."""
    after = table.compress_after if use.columnstore else None
    keep = table.keep if use.jobs else None
    relation = table.relation
    layout = (table.segment_by, table.order_by)
    sentences = [
        await connection.fetchval(statement("arrange_chunks"), relation, table.chunk),
        await connection.fetchval(statement("arrange_columnstore"), relation, *layout, after),
        await connection.fetchval(statement("arrange_retention"), relation, keep),
    ]
    await _record(connection, table, "hypertable", use)
    return [f"{relation}: {sentence}" for sentence in sentences if sentence is not None]


async def _record(
    connection: "Connection", table: "TablePlan", kind: str, use: Capability | None = None
) -> None:
    """Partitions have the span they have, and no columnstore."""
    chunk = None if use is None else table.chunk
    after = table.compress_after if use is not None and use.columnstore else None
    await connection.execute(statement("record_storage"), table.relation, kind, chunk, after, table.keep)


async def arrange_plan_candles(connection: "Connection", plan: "StoragePlan", use: Capability) -> list[str]:
    """Let the server keep candles up by itself where it can, and as long as the plan says; what changed."""
    refresh = CandleRefresh(window=plan.candle_window)
    changed = await arrange_candles(connection, continuous=use.continuous_aggregates, refresh=refresh)
    return changed + await _keep_candles(connection, plan.candles, use)


async def _keep_candles(
    connection: "Connection", candles: Mapping[str, object], use: Capability
) -> list[str]:
    """Let candles be kept as long as the plan says; those that are there."""
    changed = []
    for row in await connection.fetch(statement("storage")):
        relation, kind = row["relation"], row["kind"]
        if relation not in candles:
            continue
        await connection.execute(statement("record_keep"), relation, candles[relation])
        if kind == "continuous_aggregate":
            keep = candles[relation] if use.jobs else None
            sentence = await connection.fetchval(statement("arrange_retention"), relation, keep)
            changed += [f"{relation}: {sentence}"] if sentence is not None else []
    return changed
