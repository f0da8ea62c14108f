"""Rows into PostgreSQL by asyncpg, as its documentation shows: `execute` for one, `executemany` for many."""

import asyncpg

from tests.bench.peers.programs.meter import Job, Meter
from tests.bench.peers.programs.rows import COLUMNS, Message, insert, row

BATCH_ROWS = 1000
_STATEMENTS = {table: insert(table, "$1") for table in COLUMNS}


class Store:
    """`add` stores at once, or when a table has a batch together, or nothing: as the job says."""

    def __init__(self, job: Job, meter: Meter) -> None:
        self._job = job
        self._meter = meter
        self._connection: asyncpg.Connection | None = None
        self._batches: dict[str, list[tuple[object, ...]]] = {table: [] for table in COLUMNS}

    async def connect(self) -> None:
        """When anything is to be stored."""
        if self._job.store != "nothing":
            database = self._job.database
            self._connection = await asyncpg.connect(
                host=database["host"],
                port=int(database["port"]),
                user=database["user"],
                database=database["database"],
            )

    async def add(self, message: Message) -> None:
        """One message's data."""
        self._meter.received()
        if self._connection is None:
            return
        table, values = row(message)
        if self._job.store == "each":
            await self._connection.execute(_STATEMENTS[table], *values)
            self._meter.stored(1)
            return
        batch = self._batches[table]
        batch.append(values)
        if len(batch) >= BATCH_ROWS:
            await self._flush(table)
        if self._meter.all_received:
            for left in COLUMNS:
                await self._flush(left)

    async def _flush(self, table: str) -> None:
        batch = self._batches[table]
        if batch and self._connection is not None:
            await self._connection.executemany(_STATEMENTS[table], batch)
            self._meter.stored(len(batch))
            batch.clear()
