"""The writer with a disk behind it: what the database does not take in time waits there, in order."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingest.buffer import encode
from ingest.buffer.batcher import Batch, Batcher, BatchLimits
from ingest.buffer.spool import Spool
from ingest.buffer.spool_limits import SpoolLimits
from ingest.buffer.tables import BOOK_TICKERS, TRADES, Table
from ingest.errors import RowsRefused, SchemaMismatch, StoreUnavailable
from ingest.events import Gap
from ingest.store.memory import MemorySink
from ingest.store.sink import Written
from ingest.store.writer import MOST_REFUSED, Writer
from tests.plugin_async import LoopClock
from tests.rows import BTC_TRADE, SYMBOL_ID, a_book_ticker, a_gap, a_trade, trade_rows

pytestmark = pytest.mark.virtual_time


class Database(MemorySink):
    """Can be away, or silent: then a write never comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.is_silent = False
        self.attempts = 0

    async def write(self, batch: Batch) -> Written:
        self.attempts += 1
        if self.is_away:
            raise StoreUnavailable("away")
        if self.is_silent:
            await asyncio.Event().wait()
        return await super().write(batch)


class Bench:
    """A writer between a batcher, a database and a spool, and what it told."""

    def __init__(
        self, spool: Spool, sink: MemorySink | None = None, limits: BatchLimits | None = None
    ) -> None:
        self.sink = sink or Database()
        self.spool = spool
        self.clock = LoopClock()
        self.batcher = Batcher(limits or BatchLimits())
        self.commits: list[Batch] = []
        self.refused: list[bytes] = []
        self.writer = Writer(
            self.sink,
            self.batcher,
            clock=self.clock,
            on_commit=lambda batch, written, at_ns: self.commits.append(batch),
            on_refused=self._refused,
            rng=random.Random(1),
        )
        self.writer.spool_to(spool)
        spool.attach(lambda number: "BTCUSDT", {BTC_TRADE: 5}.get)

    def _refused(self, table: Table, row: bytes, error: RowsRefused) -> Gap | None:
        self.refused.append(row)
        return a_gap(1, 1, note="refused")

    @property
    def database(self) -> Database:
        assert isinstance(self.sink, Database)
        return self.sink

    def add(self, rows: list[bytes], table: Table = TRADES) -> None:
        for row in rows:
            assert self.batcher.add(table, row, 5, 1, 1, self.clock.wall_ns(), self.clock.monotonic_s())

    @asynccontextmanager
    async def running(self, *, drain_s: float = 60.0) -> AsyncIterator[None]:
        """The writer at work; drained at the end."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.writer.run())
            await asyncio.sleep(0)
            yield
            self.left = await self.writer.drain(deadline_s=drain_s)


LIMITS = SpoolLimits(after_s=2.0)


@asynccontextmanager
async def a_bench(
    folder: Path,
    limits: SpoolLimits = LIMITS,
    sink: MemorySink | None = None,
    batches: BatchLimits | None = None,
) -> AsyncIterator[Bench]:
    with Spool.opened(folder / "spool" / "shard-0.sqlite", limits, clock=LoopClock()) as spool:
        yield Bench(spool, sink, batches)


async def test_rows_do_not_touch_the_disk_while_the_database_takes_them(tmp_path: Path) -> None:
    """Nothing is spooled on a good day."""
    async with a_bench(tmp_path) as bench:
        async with bench.running():
            for start in range(0, 100, 10):
                bench.add(trade_rows(range(start, start + 10)))
                await asyncio.sleep(0.3)

        assert bench.sink.stored(TRADES) == trade_rows(range(100))
        assert bench.spool.stats().spooled_rows == 0


async def test_outage_goes_to_the_disk_and_comes_back_in_order(tmp_path: Path) -> None:
    """Memory is free again after a moment; when the database is back all rows are stored once, in order."""
    async with a_bench(tmp_path) as bench:
        async with bench.running():
            bench.database.is_away = True
            bench.batcher.add_gap(TRADES, a_gap(), 0.0)
            for start in range(0, 100, 10):
                bench.add(trade_rows(range(start, start + 10)))
                bench.add([encode.book_ticker(SYMBOL_ID, a_book_ticker(start))], BOOK_TICKERS)
                await asyncio.sleep(1.0)
            stats = bench.spool.stats()
            assert bench.batcher.stats().rows < 30
            assert stats.rows + bench.batcher.stats().rows == 110
            assert bench.writer.stats().failing_since_s is not None

            bench.database.is_away = False
            bench.add(trade_rows(range(100, 110)))
            await asyncio.sleep(30.0)
            assert bench.writer.stats().failing_since_s is None

        assert bench.sink.stored(TRADES) == trade_rows(range(110))
        assert bench.sink.gaps == [a_gap()]
        assert len(bench.sink.stored(BOOK_TICKERS)) == 10
        assert bench.spool.is_empty()
        assert sum(len(batch.rows) for batch in bench.commits) == 120
        assert all(set(batch.marks) <= {5} for batch in bench.commits)


async def test_silent_database_is_not_waited_for_longer_than_memory_may_hold(tmp_path: Path) -> None:
    """A write that never comes back does not keep rows in memory: after two seconds they are on the disk."""
    async with a_bench(tmp_path) as bench:
        async with bench.running(drain_s=1.0):
            bench.database.is_silent = True
            bench.add(trade_rows(range(10)))
            await asyncio.sleep(3.0)

            assert bench.spool.stats().rows == 10
            assert bench.batcher.stats().rows == 0
            assert "no answer" in bench.writer.stats().last_error
        assert bench.left == 0


@pytest.mark.parametrize("silent", [False, True])
async def test_memory_never_holds_more_than_the_promised_seconds(tmp_path: Path, silent: bool) -> None:
    """What a crash of the process may cost while the database is away: two and a half seconds of rows."""
    async with a_bench(tmp_path) as bench, bench.running(drain_s=1.0):
        bench.database.is_away, bench.database.is_silent = not silent, silent
        oldest_s = 0.0
        for number in range(200):
            bench.add(trade_rows([number]))
            await asyncio.sleep(0.1)
            oldest_ns = bench.batcher.stats().tables[TRADES].oldest_recv_ns
            if oldest_ns is not None:
                oldest_s = max(oldest_s, (bench.clock.wall_ns() - oldest_ns) / 1e9)

        assert oldest_s <= 2.5
        assert bench.spool.stats().rows > 150


async def test_short_memory_sends_batches_to_the_disk_at_once(tmp_path: Path) -> None:
    """When half of the buffer is taken nobody waits for two seconds, or for an hour."""
    patient = SpoolLimits(after_s=3_600.0, memory_share=0.5)
    small = BatchLimits(buffer_bytes=20_000)
    async with a_bench(tmp_path, patient, batches=small) as bench, bench.running(drain_s=1.0):
        bench.database.is_away = True
        bench.add(trade_rows(range(20)))
        await asyncio.sleep(5.0)
        assert bench.spool.stats().rows == 0
        bench.add(trade_rows(range(20, 80)))
        await asyncio.sleep(2.0)

        assert bench.spool.stats().rows == 80


async def test_what_is_held_when_a_writer_ends_is_there_for_the_next(tmp_path: Path) -> None:
    """Drained against a database that is away: the rows lie on the disk, and the next process stores them."""
    async with a_bench(tmp_path) as bench:
        bench.database.is_away = True
        async with bench.running(drain_s=1.0):
            bench.add(trade_rows(range(10)))
        assert bench.left == 0
    async with a_bench(tmp_path) as bench:
        assert bench.spool.newest()[BTC_TRADE].last_id == 9
        async with bench.running():
            bench.add(trade_rows(range(10, 20)))

        assert bench.sink.stored(TRADES) == trade_rows(range(20))


async def test_error_that_ends_the_writer_costs_no_row(tmp_path: Path) -> None:
    """A missing table stops the shard; what it held waits on the disk until somebody has looked."""
    async with a_bench(tmp_path) as bench:
        bench.sink.fail_next.append(SchemaMismatch("no such table"))
        bench.add(trade_rows(range(10)))
        with pytest.raises(ExceptionGroup):
            await bench.writer.run()
        assert bench.batcher.stats().rows == 0
    async with a_bench(tmp_path) as bench:
        async with bench.running():
            pass

        assert bench.sink.stored(TRADES) == trade_rows(range(10))


async def test_full_spool_leaves_the_rest_in_memory(tmp_path: Path) -> None:
    """Beyond its bound the disk takes nothing; what memory holds is stored behind it when there is room."""
    async with a_bench(tmp_path, SpoolLimits(after_s=1.0, max_bytes=3_000)) as bench:
        async with bench.running():
            bench.database.is_away = True
            for start in range(0, 100, 10):
                bench.add(trade_rows(range(start, start + 10)))
                await asyncio.sleep(1.0)
            stats = bench.spool.stats()
            assert stats.is_full
            assert stats.size_bytes <= 3_000
            assert bench.batcher.stats().rows == 100 - stats.rows > 0

            bench.database.is_away = False
            await asyncio.sleep(30.0)
            assert not bench.spool.stats().is_full

        assert bench.sink.stored(TRADES) == trade_rows(range(100))


async def test_bad_row_from_the_disk_is_refused_alone_and_leaves_a_gap(
    tmp_path: Path,
) -> None:
    """A batch from the disk is split like any other."""
    bad = trade_rows([4])[0]
    async with a_bench(tmp_path) as bench:
        bench.sink.refuses = lambda _, row: RowsRefused("bad") if row == bad else None
        bench.database.is_away = True
        async with bench.running():
            bench.add(trade_rows(range(10)))
            await asyncio.sleep(5.0)
            bench.database.is_away = False

        assert bench.sink.stored(TRADES) == [row for row in trade_rows(range(10)) if row != bad]
        assert bench.refused == [bad]
        assert bench.sink.gaps == [a_gap(1, 1, note="refused")]
        places = [batch for batch in bench.sink.batches if batch.rows or batch.gaps]
        assert [len(batch.rows) for batch in places].index(0) < len(places) - 1


async def test_table_that_refuses_everything_stops_the_writer(tmp_path: Path) -> None:
    """A thousand bad rows in a row are not the rows' fault; those behind them are kept."""
    sink = MemorySink()
    sink.refuses = lambda *_: RowsRefused("all bad")
    async with a_bench(tmp_path, sink=sink) as bench:
        bench.add(trade_rows(range(MOST_REFUSED + 500)))
        with pytest.raises(ExceptionGroup) as raised:
            await bench.writer.run()

        assert raised.group_contains(SchemaMismatch, match="one after another: all bad")
        assert len(bench.refused) == MOST_REFUSED
        assert bench.spool.stats().rows == MOST_REFUSED + 500


async def test_second_outage_while_catching_up_keeps_the_order(tmp_path: Path) -> None:
    """The database goes again in the middle of the replay: still every row once, in order."""
    async with a_bench(tmp_path, batches=BatchLimits(max_rows=7)) as bench:
        async with bench.running():
            for number in range(60):
                bench.database.is_away = number % 20 < 15
                bench.add([encode.trade(SYMBOL_ID, a_trade(number))])
                await asyncio.sleep(0.7)
            bench.database.is_away = False

        assert bench.sink.stored(TRADES) == trade_rows(range(60))
        assert bench.spool.stats().spooled_rows > 0
