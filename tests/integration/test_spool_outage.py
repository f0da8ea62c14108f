"""The writer with a spool on a real server that is away for longer than memory lasts: nothing is lost."""

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingest.buffer import encode
from ingest.buffer.batcher import Batcher, BatchLimits
from ingest.buffer.spool import Spool
from ingest.buffer.spool_limits import SpoolLimits
from ingest.buffer.tables import DEPTH_DELTAS, TRADES
from ingest.clock import SystemClock
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.migrate import migrate
from ingest.store.partitions import ensure_partitions
from ingest.store.postgres import PostgresSink
from ingest.store.retrying import RetryPolicy
from ingest.store.sessions import connected
from ingest.store.writer import Writer
from tests.plugin_schema import NOW
from tests.rows import NOW_US, SYMBOL_ID, a_delta, a_gap, a_trade

DEADLINE_S = 60.0
LITTLE_MEMORY = BatchLimits(max_rows=500, max_age_s=0.05, buffer_bytes=2 * 2**20)
QUICK = SpoolLimits(after_s=0.3)


class Bench:
    """A writer on a real database with a real spool, and a stream of trades and deltas."""

    def __init__(self, sink: PostgresSink, spool: Spool) -> None:
        self.clock = SystemClock()
        self.batcher = Batcher(LITTLE_MEMORY)
        self.spool = spool
        self.added = 0
        self.writer = Writer(
            sink,
            self.batcher,
            clock=self.clock,
            on_commit=lambda *_: None,
            on_refused=lambda *_: None,
            rng=random.Random(1),
            retry=RetryPolicy(first_s=0.01, cap_s=0.2),
            tick_s=0.01,
        )
        spool.attach(lambda _: "BTCUSDT", lambda _: None)
        self.writer.spool_to(spool)

    def add(self, rows: int) -> None:
        """The next trades, and a delta to every tenth. None may be refused."""
        now_s, now_ns = self.clock.monotonic_s(), self.clock.wall_ns()
        for number in range(self.added, self.added + rows):
            trade = encode.trade(SYMBOL_ID, a_trade(number, ts_us=NOW_US + number))
            assert self.batcher.add(TRADES, trade, 0, number, number, now_ns, now_s)
            if number % 10 == 0:
                delta = encode.depth_delta(SYMBOL_ID, a_delta(number, ts_us=NOW_US + number))
                assert self.batcher.add(DEPTH_DELTAS, delta, 1, number, number, now_ns, now_s)
        self.added += rows

    async def live(self, *, until_rows: int, rows_a_step: int = 200) -> None:
        """Rows keep coming, some thousands a second."""
        while self.added < until_rows:
            self.add(rows_a_step)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def server() -> AsyncIterator[EmbeddedPostgres]:
    """A migrated server of the test's own, in a place of its own."""
    with tempfile.TemporaryDirectory(prefix="ingest-spool-") as folder:
        postgres = EmbeddedPostgres(Path(folder) / "postgres", durable=False)
        url = await postgres.start()
        try:
            await migrate(url, deadline_s=DEADLINE_S)
            async with connected(url) as connection:
                await ensure_partitions(connection, now=NOW)
            yield postgres
        finally:
            await postgres.stop()


@asynccontextmanager
async def bench_on(url: str, folder: Path, limits: SpoolLimits = QUICK) -> AsyncIterator[Bench]:
    """A running writer with the spool of that folder."""
    path = folder / "spool" / "shard-0.sqlite"
    async with PostgresSink.opened(url, connections=3) as sink:
        with Spool.opened(path, limits, clock=SystemClock()) as spool:
            bench = Bench(sink, spool)
            async with asyncio.TaskGroup() as group:
                group.create_task(bench.writer.run())
                await asyncio.sleep(0)
                yield bench
                assert await bench.writer.drain(deadline_s=DEADLINE_S) == 0


async def stop(postgres: EmbeddedPostgres, how: signal.Signals = signal.SIGQUIT) -> None:
    assert postgres.pid is not None
    os.kill(postgres.pid, how)
    await postgres.wait_ended()


async def assert_all_stored(url: str, rows: int) -> None:
    """Every trade and delta once, and nothing in the ledger."""
    async with connected(url) as connection:
        ids = await connection.fetch("SELECT trade_id FROM spot_raw.trades ORDER BY trade_id")
        assert [row[0] for row in ids] == list(range(rows))
        deltas = await connection.fetch("SELECT final_update_id FROM spot_raw.depth_deltas ORDER BY 1")
        assert [row[0] for row in deltas] == list(range(0, rows, 10))
        assert await connection.fetchval("SELECT count(*) FROM ops.gaps") == 0


@pytest.mark.deadline(180)
async def test_outage_beyond_memory_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Five times as many rows as memory holds come while the server is down; live rows go on meanwhile."""
    async with server() as postgres:
        async with bench_on(postgres.url, tmp_path) as bench:
            await bench.live(until_rows=5_000)
            await stop(postgres)
            await bench.live(until_rows=80_000)
            assert bench.spool.stats().rows > 40_000
            await postgres.start()
            began_s = bench.clock.monotonic_s()
            waiting = bench.spool.stats().rows
            while not bench.spool.is_empty():
                bench.add(20)
                await asyncio.sleep(0.02)
            took_s = bench.clock.monotonic_s() - began_s
            print(f"caught up with {waiting} rows in {took_s:.1f} s: {waiting / took_s:.0f} rows/s")

        await assert_all_stored(postgres.url, bench.added)


@pytest.mark.deadline(180)
async def test_outages_one_after_another_lose_and_double_nothing(tmp_path: Path) -> None:
    """The server is killed again in the middle of catching up, and commits are lost on their way back."""
    async with server() as postgres:
        async with bench_on(postgres.url, tmp_path) as bench:
            for _ in range(4):
                await bench.live(until_rows=bench.added + 2_000)
                await stop(postgres, signal.SIGKILL)
                await bench.live(until_rows=bench.added + 8_000)
                await postgres.start()
        assert bench.spool.stats().spooled_rows > 0

        await assert_all_stored(postgres.url, bench.added)


@pytest.mark.deadline(180)
async def test_rows_left_by_an_earlier_process_are_stored_by_the_next(tmp_path: Path) -> None:
    """A shard that ends while the database is away leaves everything on the disk, gaps included."""
    async with server() as postgres:
        async with PostgresSink.opened(postgres.url, connections=2) as sink:
            with Spool.opened(tmp_path / "spool" / "shard-0.sqlite", QUICK, clock=SystemClock()) as spool:
                bench = Bench(sink, spool)
                await stop(postgres)
                bench.batcher.add_gap(TRADES, a_gap(700_000, 700_001), bench.clock.monotonic_s())
                bench.add(5_000)
                assert await bench.writer.drain(deadline_s=1.0) == 0
        await postgres.start()
        async with bench_on(postgres.url, tmp_path) as second:
            assert second.spool.stats().rows == 5_500
            second.added = 5_000
            second.add(1_000)

        async with connected(postgres.url) as connection:
            assert await connection.execute("DELETE FROM ops.gaps WHERE first_id = 700000") == "DELETE 1"
        await assert_all_stored(postgres.url, 6_000)
