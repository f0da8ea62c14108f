"""The writer: committed before acknowledged, one after another, nothing lost when things fail."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.buffer.batcher import Batch, Batcher, BatchLimits
from ingest.buffer.tables import BOOK_TICKERS, TRADES, Table
from ingest.errors import RowsRefused, SchemaMismatch, StoreUnavailable
from ingest.store.memory import MemorySink
from ingest.store.sink import Written
from ingest.store.writer import Writer
from tests.plugin_async import LoopClock
from tests.rows import a_gap

pytestmark = pytest.mark.virtual_time


class Bench:
    """A writer between a batcher and a sink in memory, and what it told."""

    def __init__(self, sink: MemorySink | None = None, limits: BatchLimits | None = None) -> None:
        self.sink = sink or MemorySink()
        self.clock = LoopClock()
        self.batcher = Batcher(limits or BatchLimits())
        self.commits: list[tuple[Batch, Written, int]] = []
        self.refused: list[tuple[Table, bytes]] = []
        self.writer = Writer(
            self.sink,
            self.batcher,
            clock=self.clock,
            on_commit=lambda *commit: self.commits.append(commit),
            on_refused=lambda table, row, error: self.refused.append((table, row)),
            rng=random.Random(1),
        )

    def add(self, *rows: bytes, table: Table = TRADES) -> None:
        for row in rows:
            assert self.batcher.add(table, row, 0, 1, 1, 1_000, self.clock.monotonic_s())

    async def running(self, stack: AsyncExitStack) -> None:
        """Start the writer, to be drained when the stack closes."""
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(self.writer.run())
        stack.push_async_callback(self.writer.drain, deadline_s=10.0)


class HeldSink(MemorySink):
    """Holds every write until `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.writing: list[Batch] = []

    async def write(self, batch: Batch) -> Written:
        self.writing.append(batch)
        await self.go.wait()
        return await super().write(batch)


async def test_rows_are_committed_within_their_age_and_a_tick() -> None:
    """A row that was added is stored when its batch is due, and that is told with the time."""
    bench = Bench()
    async with AsyncExitStack() as stack:
        await bench.running(stack)
        bench.add(b"1", b"2")
        await asyncio.sleep(0.3)

        assert bench.sink.stored(TRADES) == [b"1", b"2"]
        ((batch, written, committed_ns),) = bench.commits
        assert (batch.rows, written.rows) == ([b"1", b"2"], 2)
        assert committed_ns <= bench.clock.wall_ns()
        assert bench.batcher.stats().rows == 0


async def test_batch_is_acknowledged_only_after_its_commit() -> None:
    """While the sink works on a batch its rows still count as held, and no commit is told."""
    sink = HeldSink()
    bench = Bench(sink)
    async with AsyncExitStack() as stack:
        await bench.running(stack)
        bench.add(b"1")
        await asyncio.sleep(0.5)

        assert (bench.batcher.stats().rows, bench.commits) == (1, [])
        sink.go.set()


async def test_next_batch_of_a_table_waits_for_the_former() -> None:
    """A table has one batch on its way; another table does not wait for it."""
    sink = HeldSink()
    bench = Bench(sink)
    async with AsyncExitStack() as stack:
        await bench.running(stack)
        bench.add(b"1")
        await asyncio.sleep(0.5)
        bench.add(b"2")
        bench.add(b"t", table=BOOK_TICKERS)
        await asyncio.sleep(0.5)

        assert [batch.rows for batch in sink.writing] == [[b"1"], [b"t"]]
        sink.go.set()
    assert sink.stored(TRADES) == [b"1", b"2"]


@pytest.mark.parametrize("after_commit", [False, True])
async def test_unavailable_database_is_asked_until_it_answers(after_commit: bool) -> None:
    """A batch whose outcome is unknown is written again until it is known, and is stored once."""
    bench = Bench()
    bench.sink.fail_next += [StoreUnavailable(f"down {n}") for n in range(7)]
    bench.sink.after_commit = after_commit
    async with AsyncExitStack() as stack:
        await bench.running(stack)
        bench.add(b"1", b"2")
        await asyncio.sleep(1.0)
        assert bench.writer.stats().failing_since_s is not None
        await asyncio.sleep(30.0)

    stats = bench.writer.stats()
    assert bench.sink.stored(TRADES) == [b"1", b"2"]
    assert (len(bench.commits), stats.retries, stats.failing_since_s) == (1, 7, None)
    assert stats.last_error == "down 6"


@given(bad=st.sets(st.integers(0, 19)), with_gap=st.booleans())
async def test_refused_rows_are_found_and_the_rest_is_written(bad: set[int], with_gap: bool) -> None:
    """Wherever the bad rows stand, exactly they are reported, and the others are stored in order."""
    rows = [b"%02d" % number for number in range(20)]
    bench = Bench()
    bench.sink.refuses = lambda _, row: RowsRefused("bad") if int(row) in bad else None
    if with_gap:
        bench.batcher.add_gap(TRADES, a_gap(), 0.0)
    bench.add(*rows)

    assert await bench.writer.drain(deadline_s=10.0) == 0

    assert bench.sink.stored(TRADES) == [row for row in rows if int(row) not in bad]
    assert [row for _, row in bench.refused] == [row for row in rows if int(row) in bad]
    assert bench.sink.gaps == ([a_gap()] if with_gap else [])
    assert len(bench.commits) == 1
    assert bench.commits[0][1].rows == 20 - len(bad)


async def test_refused_gap_is_reported_in_words() -> None:
    """A gap that the server will not take is reported, and the rows after it are stored."""

    class GapRefusingSink(MemorySink):
        async def write(self, batch: Batch) -> Written:
            if a_gap(note="bad") in batch.gaps:
                raise RowsRefused("bad gap")
            return await super().write(batch)

    bench = Bench(GapRefusingSink())
    for note in ("good", "bad", "fine"):
        bench.batcher.add_gap(TRADES, a_gap(note=note), 0.0)
    bench.add(b"1")

    await bench.writer.drain(deadline_s=10.0)

    ((table, words),) = bench.refused
    assert table is TRADES
    assert b"note='bad'" in words
    assert bench.sink.gaps == [a_gap(note="good"), a_gap(note="fine")]
    assert bench.sink.stored(TRADES) == [b"1"]
    assert bench.writer.stats().refused == 1


async def test_mismatch_of_the_schema_ends_the_writer() -> None:
    """What neither waiting nor splitting can mend comes out, and the rows are still held."""
    bench = Bench()
    bench.sink.fail_next.append(SchemaMismatch("no such table"))
    bench.add(b"1")

    with pytest.raises(ExceptionGroup) as raised:
        await bench.writer.run()

    assert raised.group_contains(SchemaMismatch, match="no such table")
    assert bench.batcher.stats().rows == 1


async def test_drain_writes_everything_that_is_held() -> None:
    """Draining commits rows that are not due yet, in all tables, and `run` ends."""
    bench = Bench(limits=BatchLimits(max_rows=3, max_age_s=1_000.0))
    async with asyncio.TaskGroup() as group:
        run = group.create_task(bench.writer.run())
        bench.add(*(b"%d" % number for number in range(50)))
        bench.add(b"t", table=BOOK_TICKERS)
        await asyncio.sleep(0.01)

        assert await bench.writer.drain(deadline_s=10.0) == 0
        await run

    assert len(bench.sink.stored(TRADES)) == 50
    assert bench.sink.stored(BOOK_TICKERS) == [b"t"]


@pytest.mark.parametrize("started", [False, True])
async def test_drain_gives_up_at_its_deadline_and_loses_nothing(started: bool) -> None:
    """A database that stays away ends the drain in time; the rows are counted and still held."""
    bench = Bench()
    bench.sink.fail_next += [StoreUnavailable("down")] * 1_000
    bench.add(b"1", b"2")
    async with asyncio.TaskGroup() as group:
        if started:
            group.create_task(bench.writer.run())
            await asyncio.sleep(1.0)
        started_s = bench.clock.monotonic_s()

        assert await bench.writer.drain(deadline_s=3.0) == 2

    assert bench.clock.monotonic_s() - started_s == pytest.approx(3.0)
    batch = bench.batcher.take(TRADES, 0.0, force=True)
    assert batch is not None
    assert batch.rows == [b"1", b"2"]


async def test_cancelled_writer_puts_its_batch_back() -> None:
    """Cancelling in mid-write leaves the batch to whoever comes next."""
    sink = HeldSink()
    bench = Bench(sink)
    bench.add(b"1")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await bench.writer.run()
    sink.go.set()

    assert await bench.writer.drain(deadline_s=10.0) == 0
    assert sink.stored(TRADES) == [b"1"]


async def test_idle_writer_wakes_rarely() -> None:
    """Without rows the writer looks around at most twenty times a second."""
    looks = 0

    class CountingBatcher(Batcher):
        def next_due_s(self, table: Table) -> float | None:
            nonlocal looks
            looks += table is TRADES
            return super().next_due_s(table)

    bench = Bench()
    writer = Writer(
        bench.sink,
        CountingBatcher(),
        clock=bench.clock,
        on_commit=lambda *_: None,
        on_refused=lambda *_: None,
        rng=random.Random(1),
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10.0):
            await writer.run()

    assert looks <= 201
