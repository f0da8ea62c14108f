"""The writer on a real server that is taken away in the middle: nothing lost, nothing twice."""

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingest.buffer import encode
from ingest.buffer.batcher import Batch, Batcher, BatchLimits
from ingest.buffer.tables import DEPTH_DELTAS, TRADES, Table
from ingest.clock import SystemClock
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.migrate import migrate
from ingest.store.partitions import ensure_partitions
from ingest.store.postgres import PostgresSink
from ingest.store.retrying import RetryPolicy
from ingest.store.sessions import connected
from ingest.store.sink import Written
from ingest.store.writer import Writer
from tests.plugin_schema import NOW
from tests.rows import SYMBOL_ID, a_bad_trade_row, a_delta, a_gap, trade_rows

DEADLINE_S = 45.0
SMALL = BatchLimits(max_rows=50, max_age_s=0.01, coalesce=1)


class TellingSink:
    """Passes batches on, and tells when a write begins."""

    def __init__(self, sink: PostgresSink) -> None:
        self.sink = sink
        self.begun = 0
        self.begins = asyncio.Condition()

    async def write(self, batch: Batch) -> Written:
        async with self.begins:
            self.begun += 1
            self.begins.notify_all()
        return await self.sink.write(batch)

    async def wait_begun(self, more: int) -> None:
        """Wait until that many more writes have begun."""
        async with asyncio.timeout(DEADLINE_S), self.begins:
            wanted = self.begun + more
            await self.begins.wait_for(lambda: self.begun >= wanted)


class Bench:
    """A writer on a real database, and what it told."""

    def __init__(self, sink: PostgresSink, limits: BatchLimits) -> None:
        self.sink = TellingSink(sink)
        self.clock = SystemClock()
        self.batcher = Batcher(limits)
        self.committed: list[bytes] = []
        self.refused: list[bytes] = []
        self.writer = Writer(
            self.sink,
            self.batcher,
            clock=self.clock,
            on_commit=self._committed,
            on_refused=lambda table, row, error: self.refused.append(row),
            rng=random.Random(1),
            retry=RetryPolicy(first_s=0.01, cap_s=0.2),
            tick_s=0.005,
        )

    def _committed(self, batch: Batch, written: Written, committed_ns: int) -> None:
        assert written.rows + written.conflicts <= len(batch.rows)
        assert committed_ns > 0
        if batch.table is TRADES:
            self.committed += batch.rows

    def add(self, rows: Iterable[bytes], table: Table = TRADES) -> None:
        for row in rows:
            assert self.batcher.add(table, row, 0, 1, 1, 1, self.clock.monotonic_s())


@asynccontextmanager
async def bench_on(url: str, limits: BatchLimits = SMALL) -> AsyncIterator[Bench]:
    """A running writer; at the end everything must have been written."""
    async with PostgresSink.opened(url, connections=2) as sink:
        bench = Bench(sink, limits)
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.writer.run())
            yield bench
            assert await bench.writer.drain(deadline_s=DEADLINE_S) == 0


async def stored_ids(url: str) -> list[int]:
    async with connected(url) as connection:
        return [
            row[0] for row in await connection.fetch("SELECT trade_id FROM spot_raw.trades ORDER BY trade_id")
        ]


async def test_rows_of_several_tables_are_stored_in_their_lanes(migrated_url: str) -> None:
    """Rows of two tables, more than a batch of each, are all there after the drain."""
    async with bench_on(migrated_url) as bench:
        bench.add(trade_rows(range(1_000)))
        bench.add((encode.depth_delta(SYMBOL_ID, a_delta(n)) for n in range(300)), DEPTH_DELTAS)

    assert await stored_ids(migrated_url) == list(range(1_000))
    assert bench.committed == trade_rows(range(1_000))
    async with connected(migrated_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM spot_raw.depth_deltas") == 300


async def test_bad_rows_are_isolated_and_all_others_stored(migrated_url: str) -> None:
    """Rows that the server refuses are handed back one by one; gap and neighbours are stored."""
    bad = a_bad_trade_row(999)
    rows = trade_rows(range(100))
    for place in (0, 41, 42, 99):
        rows[place] = bad
    async with bench_on(migrated_url, BatchLimits()) as bench:
        bench.batcher.add_gap(TRADES, a_gap(), bench.clock.monotonic_s())
        bench.add(rows)

    assert bench.refused == [bad] * 4
    assert await stored_ids(migrated_url) == [n for n in range(100) if n not in {0, 41, 42, 99}]
    async with connected(migrated_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM ops.gaps") == 1


async def test_terminated_backends_lose_and_double_nothing(migrated_url: str) -> None:
    """The server ends the writer's sessions again and again in mid-write; every row is there once."""
    ids = iter(range(100_000))
    async with bench_on(migrated_url) as bench, connected(migrated_url) as other:
        for round_number in range(12):
            bench.add(trade_rows([next(ids) for _ in range(150)]))
            await bench.sink.wait_begun(1 + round_number % 2)
            await other.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )

    assert await stored_ids(migrated_url) == list(range(12 * 150))
    assert bench.committed == trade_rows(range(12 * 150))
    assert bench.writer.stats().retries > 0


async def test_two_writers_with_the_same_rows_store_each_once(migrated_url: str) -> None:
    """Two redundant writers, one of them offering its batches backwards, end with each row once."""
    rows = trade_rows(range(3_000))
    async with bench_on(migrated_url) as one, bench_on(migrated_url) as other:
        for start in range(0, 3_000, 50):
            one.add(rows[start : start + 50])
            other.add(reversed(rows[start : start + 50]))
            await asyncio.sleep(0)

    assert await stored_ids(migrated_url) == list(range(3_000))
    assert len(one.committed) == len(other.committed) == 3_000


async def restarted(server: EmbeddedPostgres, how: signal.Signals) -> None:
    """End the server without ceremony, then start it again."""
    assert server.pid is not None
    os.kill(server.pid, how)
    await server.wait_ended()
    await server.start()


@pytest.mark.deadline(180)
@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL], ids=["immediate", "killed"])
async def test_restarted_server_loses_and_doubles_nothing(how: signal.Signals) -> None:
    """The server goes down with batches in flight and comes back: every row and gap is there once."""
    with tempfile.TemporaryDirectory(prefix="ingest-writer-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", durable=False)
        url = await server.start()
        try:
            await migrate(url, deadline_s=DEADLINE_S)
            async with connected(url) as connection:
                await ensure_partitions(connection, now=NOW)
            await _write_through_restarts(url, lambda: restarted(server, how))
        finally:
            await server.stop()


async def _write_through_restarts(url: str, restart: Callable[[], Coroutine[object, object, None]]) -> None:
    ids = iter(range(100_000))
    async with bench_on(url) as bench:
        for round_number in range(3):
            bench.batcher.add_gap(TRADES, a_gap(first_id=round_number), bench.clock.monotonic_s())
            bench.add(trade_rows([next(ids) for _ in range(500)]))
            await bench.sink.wait_begun(2)
            async with asyncio.TaskGroup() as group:
                group.create_task(restart())
                for _ in range(10):
                    bench.add(trade_rows([next(ids) for _ in range(30)]))
                    await asyncio.sleep(0)

    assert await stored_ids(url) == list(range(3 * 800))
    assert bench.committed == trade_rows(range(3 * 800))
    async with connected(url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM ops.gaps") == 3
