"""Batches to PostgreSQL: plain COPY of the encoded rows, staged when a key refuses them.

Decides which way a batch goes. Direct COPY costs nothing where there are no duplicates; a unique
violation sends the same bytes through a staging table, sorted by key. Since duplicates come in runs
(after a start, a reconnect, a lost connection), a table stays on that way until `STICKY_BATCHES` have
come through it without one. Candles are always staged: the last version wins. So is everything where two
lines bring the same streams: whichever comes first is stored. A book ticker, which each line dates by its
own arrival, is looked for by its id there.

Rings a bell for those who listen (`store.bell`) in the transaction of each batch that has stored rows. When
the server refuses the batch for it, the batch is written without.

Invariants: a batch, its gaps and which candles it touches included, is one transaction; every wait has a
limit; a connection whose state is unknown is dropped, never used again; a connection is used only after the
columns behind it have been compared with what the encoders write, and says so to the server, which refuses
its rows when a column has another type later on (`ops.check_promised_columns`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import asyncpg
import orjson

from ingest.binance.answers import Instrument
from ingest.book.moment import StoredMoment
from ingest.buffer.batcher import Batch
from ingest.buffer.encode import copy_payload
from ingest.buffer.tables import BOOK_TICKERS, TABLES, TRADES, Conflict, Table
from ingest.errors import SchemaMismatch, StoreError, StoreUnavailable
from ingest.store import lookup, past_book, publish
from ingest.store.bell import Bell
from ingest.store.candles import note_touched
from ingest.store.decisions import keeps_connection
from ingest.store.dsn import for_driver
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.ledger import write_gaps
from ingest.store.migrate import check_schema
from ingest.store.notifications import Names
from ingest.store.sessions import DEFAULT_LIMITS, SessionLimits, connect_errors, session_settings
from ingest.store.sink import Written
from ingest.store.statements import statement

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    from ingest.store.sessions import Connection, Pool

LINES_APART: Final = timedelta(seconds=10)
"""How far two lines' arrivals of one book ticker may be apart; one that lags by more stores it twice.

Longer than a shard may stand still before it is killed. All rows of so long are looked through for each
batch: 20 ms at 2,000 book tickers a second.
"""

STICKY_BATCHES: Final = 20
"""How many batches without a duplicate let a table go back to direct COPY."""


class PostgresSink:
    """A pool of connections, all made at once, and what is known about duplicates.

    Made by `opened`. May be used by several tasks; batches of one table must come one after another.
    """

    def __init__(self, pool: "Pool", limits: SessionLimits, *, lines: int = 1) -> None:
        self._pool = pool
        self._lines = lines
        self._limits = limits
        self._staging = dict.fromkeys(TABLES, STICKY_BATCHES)
        self._bell: Bell | None = None

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        url: str,
        *,
        connections: int = 3,
        application: str = "ingest",
        limits: SessionLimits = DEFAULT_LIMITS,
        lines: int = 1,
    ) -> AsyncIterator["PostgresSink"]:
        """Connect, and drop the connections at the end; StoreError or ConfigError when that fails.

        `lines` says how many writers bring each stream.
        All connections exist from the start, because a server that shuts down lets the connected finish
        and refuses new ones.
        """
        with connect_errors():
            dsn = for_driver(url)
            pool = await asyncpg.create_pool(
                dsn.url,
                password=dsn.password,
                min_size=connections,
                max_size=connections,
                max_queries=1_000_000,
                max_inactive_connection_lifetime=0,
                timeout=limits.connect_s,
                command_timeout=limits.command_s,
                server_settings=session_settings(application, limits),
                init=_prepared,
                reset=_left_as_it_is,
            )
        try:
            yield cls(pool, limits, lines=lines)
        finally:
            pool.terminate()

    @asynccontextmanager
    async def session(self) -> AsyncIterator["Connection"]:
        """A connection of the pool; what the driver raises inside comes out as one of our errors."""
        try:
            connection = await self._pool.acquire(timeout=self._limits.acquire_s)
        except DRIVER_ERRORS as error:
            raise translated(error) from error
        try:
            yield connection
        except DRIVER_ERRORS as error:
            failure = translated(error)
            if _is_in_doubt(failure):
                _drop(connection)
            raise failure from error
        except asyncio.CancelledError:
            _drop(connection)
            raise
        finally:
            await self._give_back(connection)

    async def _give_back(self, connection: "PoolConnectionProxy[asyncpg.Record]") -> None:
        try:
            await self._pool.release(connection, timeout=self._limits.acquire_s)
        except asyncpg.InternalClientError:
            # A connection that was lost, or that we have terminated, may give itself back first: the
            # place in the pool is free then, which is all that was wanted.
            if not _has_left(connection):
                raise

    # ------------------------------------------------------------------ batches

    def notify(self, names: Names) -> None:
        """From now on ring a bell for each batch, whose rows these names belong to."""
        self._bell = Bell(names)

    @property
    def notifications_skipped(self) -> int:
        """Messages that nobody was sent because the server's queue of them was too full."""
        return 0 if self._bell is None else self._bell.skipped

    async def write(self, batch: Batch) -> Written:
        """Store a batch; see `Sink.write`."""
        try:
            async with self.session() as connection:
                written = await self._write(connection, batch)
        except StoreUnavailable:
            self.expect_duplicates(batch.table)
            raise
        self._remember(batch.table, written)
        return written

    async def write_again(self, batch: Batch) -> Written:
        """Store rows that may be there already, beside the batches of the live streams; see `Sink.write`.

        Always staged; the live streams' way stays as it is.
        """
        payload = copy_payload(batch.table, batch.rows)
        async with self.session() as connection:
            return await self._told(lambda bell: _staged(connection, batch, payload, bell, by_id=False))

    def expect_duplicates(self, *tables: Table) -> None:
        """Stage the next batches of these tables (of all when none is named)."""
        self._staging.update(dict.fromkeys(tables or TABLES, STICKY_BATCHES))

    def _remember(self, table: Table, written: Written) -> None:
        if written.conflicts:
            self._staging[table] = STICKY_BATCHES
        elif written.staged:
            self._staging[table] -= 1

    async def _write(self, connection: "Connection", batch: Batch) -> Written:
        return await self._told(lambda bell: self._write_with(connection, batch, bell))

    async def _told(self, write: Callable[[Bell | None], Awaitable[Written]]) -> Written:
        """Write with the bell; without, when that goes beyond a limit, which may be that of the queue."""
        try:
            return await write(self._bell)
        except asyncpg.ProgramLimitExceededError:
            if self._bell is None:
                raise
            self._bell.refused()
            return await write(None)

    async def _write_with(self, connection: "Connection", batch: Batch, bell: Bell | None) -> Written:
        is_sole = self._lines == 1 and self._staging[batch.table] <= 0
        direct = batch.table.conflict is Conflict.IGNORE and is_sole
        payload = copy_payload(batch.table, batch.rows)
        if direct or not batch.rows:
            try:
                return await _copied(connection, batch, payload, bell)
            except asyncpg.UniqueViolationError:
                self.expect_duplicates(batch.table)
        return await _staged(connection, batch, payload, bell, by_id=self._lines > 1)

    # ------------------------------------------------------------------ around the batches

    async def check_schema(self) -> None:
        """SchemaMismatch when the database's migrations are not this program's."""
        async with self.session() as connection:
            await check_schema(connection)

    async def instrument_ids(self, market: str, instruments: Sequence[Instrument]) -> dict[str, int]:
        """See `lookup.instrument_ids`."""
        async with self.session() as connection:
            return await lookup.instrument_ids(connection, market, instruments)

    async def resume_points(
        self, market: str, symbols: Sequence[str], kinds: Iterable[str], *, since_us: int
    ) -> dict[tuple[str, str], lookup.ResumePoint]:
        """See `lookup.resume_points`."""
        async with self.session() as connection:
            return await lookup.resume_points(connection, market, symbols, kinds, since_us=since_us)

    async def stored_book(self, market: str, symbol: str, *, at_us: int | None = None) -> StoredMoment | None:
        """See `past_book.stored_book`."""
        async with self.session() as connection:
            return await past_book.stored_book(connection, market, symbol, at_us=at_us)

    async def publish_stream_states(self, rows: Sequence[publish.StreamRow]) -> None:
        """See `publish.publish_stream_states`."""
        async with self.session() as connection:
            await publish.publish_stream_states(connection, rows)

    async def publish_shards(self, rows: Sequence[publish.ShardRow]) -> None:
        """See `publish.publish_shards`."""
        async with self.session() as connection:
            await publish.publish_shards(connection, rows)


async def _copied(connection: "Connection", batch: Batch, payload: bytes, bell: Bell | None) -> Written:
    if not batch.gaps and bell is None and batch.table is not TRADES:
        await _copy(connection, batch.table, payload)
        return Written(len(batch.rows), 0, staged=False)
    async with _transaction(connection):
        await write_gaps(connection, batch.gaps)
        if batch.rows:
            await _copy(connection, batch.table, payload)
            if batch.table is TRADES:
                await note_touched(connection, batch.rows)
            if bell is not None:
                await bell.ring(connection, batch)
    return Written(len(batch.rows), 0, staged=False)


async def _staged(
    connection: "Connection", batch: Batch, payload: bytes, bell: Bell | None, *, by_id: bool
) -> Written:
    table = batch.table
    async with _transaction(connection):
        await write_gaps(connection, batch.gaps)
        await _copy(connection, table, payload, into_stage=True)
        if by_id and table is BOOK_TICKERS:
            await connection.execute(statement("lock_book_tickers"))
            status = await connection.execute(statement("merge_book_tickers_once"), LINES_APART)
        else:
            status = await connection.execute(statement(f"merge_{table.name}"))
        if table is TRADES:
            await note_touched(connection, batch.rows)
        stored = int(status.rpartition(" ")[2])
        if stored and bell is not None:
            await bell.ring(connection, batch)
    return Written(stored, len(batch.rows) - stored, staged=True)


async def _copy(connection: "Connection", table: Table, payload: bytes, *, into_stage: bool = False) -> None:
    await connection.copy_to_table(
        f"stage_{table.name}" if into_stage else table.name,
        schema_name="pg_temp" if into_stage else table.schema,
        columns=table.columns,
        # `bytes` the driver takes for the name of a file; its stubs do not know that it takes buffers.
        source=memoryview(payload),  # type: ignore[arg-type]
        format="binary" if table.format == "binary" else "text",
    )


@asynccontextmanager
async def _transaction(connection: "Connection") -> AsyncIterator[None]:
    """Like the driver's, but never asks a connection that has failed to roll back."""
    await connection.execute("BEGIN")
    try:
        yield
    except asyncpg.PostgresError as error:
        if _is_in_doubt(translated(error)):
            _drop(connection)
        else:
            await connection.execute("ROLLBACK")
        raise
    except BaseException:
        _drop(connection)
        raise
    await connection.execute("COMMIT")


def _is_in_doubt(failure: StoreError) -> bool:
    return isinstance(failure, StoreUnavailable) and not keeps_connection(failure.sqlstate)


def _drop(connection: "Connection") -> None:
    """End a connection whose state is unknown; the pool makes another. Harmless when it has ended."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


def _has_left(connection: "PoolConnectionProxy[asyncpg.Record]") -> bool:
    """Whether a connection has ended, or has been given back altogether: then nothing can be asked of it."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


async def _prepared(connection: "Connection") -> None:
    """Make a new connection fit for batches: told to conversions, the columns compared, the stages made."""
    await _join_writers(connection)
    by_schema: dict[str, list[Table]] = {}
    for table in TABLES:
        by_schema.setdefault(table.schema, []).append(table)
    for schema, tables in by_schema.items():
        rows = await connection.fetch(statement("column_types"), schema, [table.name for table in tables])
        types = {(row["table_name"], row["column_name"]): row["type_name"] for row in rows}
        _compare(tables, types)
        await _promise(connection, schema, tables)
    await connection.execute(statement("create_stages"))


async def _join_writers(connection: "Connection") -> None:
    """Keep conversions of tables away for as long as the connection lives; see `store.convert`."""
    row = await connection.fetchrow(statement("join_writers"))
    assert row is not None
    if not row["may_write"]:
        raise StoreUnavailable("tables are being converted (`ingest migrate --convert`): nobody may write")
    if row["may_convert"] and await connection.fetchval(statement("has_conversions")):
        await connection.execute(statement("forget_conversions"))


async def _promise(connection: "Connection", schema: str, tables: Iterable[Table]) -> None:
    """Tell the server which types the bytes of this session are meant for."""
    promises = {
        f"ingest.columns_of_{schema}_{table.name}": orjson.dumps(
            dict(zip(table.columns, table.column_types, strict=True))
        ).decode()
        for table in tables
    }
    await connection.fetch(statement("promise_columns"), list(promises), list(promises.values()))


def _compare(tables: Iterable[Table], types: Mapping[tuple[str, str], str]) -> None:
    """Bytes of one type in a column of another are stored without an error, and wrong.

    A table that is not there takes none, and says so when it is written to: that is waited for. A schema
    without any is another database.
    """
    present = {name for name, _ in types}
    for table in tables:
        if present and table.name not in present:
            continue
        for column, expected in zip(table.columns, table.column_types, strict=True):
            found = types.get((table.name, column), "missing")
            if found != expected:
                place = f"{table.schema}.{table.name}.{column}"
                raise SchemaMismatch(f"{place} is {found}, this program writes {expected}")


async def _left_as_it_is(_: "Connection") -> None:
    """Nothing of a session's state is changed here, so nothing is reset: a round trip a batch less."""
