"""Takes batches when they are due, has them committed, and only then lets go of them.

One lane per table, so that one table's trouble does not hold up another's; within a lane strictly one
batch after another, so that the newest committed id never runs ahead of a lost batch. Readers are never
waited for and never wait: rows come through the `Batcher`, and the lanes are woken by a clock, at most
`1 / tick_s` times a second, not by rows.

What happens when a write fails (`store.decisions` says which failure is which):

    StoreUnavailable   the same batch again, for ever; the sink stages it, as the outcome is unknown
    RowsRefused        halved until what is refused stands alone; that is reported and its gap is written in
                       its place, the rest is written
    anything else      leaves `run`: somebody has to look

With a spool, a batch has `SpoolLimits.after_s` to get into the database, or less when memory runs short;
then it goes to the disk, and all that comes later for its table goes behind it, until the disk has nothing
left of that table: what is committed stays contiguous. The disk's batches are written beside, oldest first,
each with all the time it needs. Where the disk has no room the batch stays in memory and is tried again.

Invariants: a batch is acknowledged after its commit, or when the spool has it, or put back; what is held
when `run` ends, however it ends, goes to the spool.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from ingest.buffer.batcher import Batch, Batcher
from ingest.buffer.spool import Chunk, Spool
from ingest.buffer.tables import TABLES, Table
from ingest.clock import Clock
from ingest.errors import RowsRefused, SchemaMismatch
from ingest.events import Gap
from ingest.store.retrying import RetryPolicy, until_available
from ingest.store.sink import Sink, Written

OnCommit: TypeAlias = Callable[[Batch, Written, int], None]
"""Called with the batch, what became of it, and the wall time of the commit in nanoseconds."""

OnRefused: TypeAlias = Callable[[Table, bytes, RowsRefused], Gap | None]
"""Called with the table, the encoded row (or a gap in words), and why it was refused.

The gap that it returns for a row is written where the row would have been.
"""

TICK_S: Final = 0.05
MOST_REFUSED: Final = 1_000
"""So many refused rows of a table without a single good one between them are no longer the rows' fault."""

_SPOOL_EVERY_S: Final = 0.5
_FULL_PAUSE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class WriterStats:
    """Since the start. `failing_since_s` is on the monotonic clock, None while writes succeed."""

    batches: int
    rows: int
    conflicts: int
    refused: int
    retries: int
    failing_since_s: float | None
    last_error: str


class Writer:
    """Moves what the batcher holds into the sink until it is drained or cancelled."""

    def __init__(
        self,
        sink: Sink,
        batcher: Batcher,
        *,
        clock: Clock,
        on_commit: OnCommit,
        on_refused: OnRefused,
        rng: random.Random,
        retry: RetryPolicy | None = None,
        tick_s: float = TICK_S,
    ) -> None:
        self._sink = sink
        self._spool: Spool | None = None
        self._batcher = batcher
        self._clock = clock
        self._on_commit = on_commit
        self._on_refused = on_refused
        self._rng = rng
        self._retry = retry or RetryPolicy()
        self._tick_s = tick_s
        self._wakes = {table: asyncio.Event() for table in TABLES}
        self._spooled = {table: asyncio.Event() for table in TABLES}
        self._lanes: list[asyncio.Task[None]] = []
        self._replays: list[asyncio.Task[None]] = []
        self._patience: dict[Table, asyncio.Timeout] = {}
        self._refused_since: dict[Table, int] = {}
        self._failing: dict[Table, float] = {}
        self._batches = self._refused = self._retries = 0
        self._written = Written(0, 0, staged=False)
        self._last_error = ""
        self._drain_begun = asyncio.Event()
        self._lanes_done = False
        self._ended = asyncio.Event()
        self._ended.set()

    def spool_to(self, spool: Spool) -> None:
        """Let batches wait there while the database takes none, and write what is there. Before `run`."""
        self._spool = spool

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Write until `drain` has emptied the batcher. Once at a time; raises what the module says."""
        self._ended.clear()
        try:
            async with asyncio.TaskGroup() as group:
                clock = group.create_task(self._wake_lanes(), name="writer clock")
                self._lanes = self._each_table(group, self._lane, "writer")
                if self._spool is not None:
                    self._replays = self._each_table(group, self._replay, "replay")
                await asyncio.wait(self._lanes)
                await self._end_replays()
                clock.cancel()
        finally:
            try:
                await self._save_held()
            finally:
                self._ended.set()

    def _each_table(
        self, group: asyncio.TaskGroup, work: Callable[[Table], Coroutine[None, None, None]], name: str
    ) -> list[asyncio.Task[None]]:
        return [group.create_task(work(table), name=f"{name} {table.name}") for table in self._wakes]

    async def _end_replays(self) -> None:
        self._lanes_done = True
        for event in self._spooled.values():
            event.set()
        if self._replays:
            await asyncio.wait(self._replays)

    async def drain(self, *, deadline_s: float) -> int:
        """Write all that is held, then let `run` end; the number of rows that did not make it in time.

        Nobody may add rows any more. What the spool has when time is up stays there for the next process,
        and what is held goes there. Works beside a `run` and, when none is running, without one.
        """
        self._drain_begun.set()
        try:
            async with asyncio.timeout(deadline_s):
                await (self.run() if self._ended.is_set() else self._ended.wait())
        except TimeoutError:
            for task in (*self._lanes, *self._replays):
                task.cancel()
            await self._ended.wait()
        return self._batcher.stats().rows

    async def _save_held(self) -> None:
        """To the disk with what is still held; what it has no room for stays held."""
        spool = self._spool
        for table in self._wakes if spool is not None else ():
            while (batch := self._batcher.take(table, self._clock.monotonic_s(), force=True)) is not None:
                if spool is None or not await spool.put(batch):
                    self._batcher.put_back(batch)
                    break
                self._batcher.acknowledge(batch)

    async def _wake_lanes(self) -> None:
        while True:
            now_s = self._clock.monotonic_s()
            for table, wake in self._wakes.items():
                due_s = self._batcher.next_due_s(table)
                if self._draining or (due_s is not None and due_s <= now_s):
                    wake.set()
            self._hurry()
            await asyncio.sleep(self._tick_s)

    def _hurry(self) -> None:
        """When memory runs short, no batch has time any more."""
        spool = self._spool
        if spool is not None and self._patience and self._batcher.filling >= spool.limits.memory_share:
            for patience in self._patience.values():
                if not patience.expired():
                    patience.reschedule(asyncio.get_running_loop().time())

    @property
    def _draining(self) -> bool:
        return self._drain_begun.is_set()

    async def _lane(self, table: Table) -> None:
        wake = self._wakes[table]
        while True:
            batch = self._batcher.take(table, self._clock.monotonic_s(), force=self._draining)
            if batch is not None:
                await self._settle(batch)
                await self._gather_more(table)
            elif self._draining:
                return
            else:
                wake.clear()
                await wake.wait()

    async def _gather_more(self, table: Table) -> None:
        """Many small batches gain nothing behind a spool: wait a moment, unless much waits already."""
        if self._spool is None or not self._spool.holds(table):
            return
        due_s = self._batcher.next_due_s(table)
        if due_s is None or due_s > self._clock.monotonic_s():
            with suppress(TimeoutError):
                async with asyncio.timeout(_SPOOL_EVERY_S):
                    await self._drain_begun.wait()

    # ------------------------------------------------------------------ the spool

    async def _replay(self, table: Table) -> None:
        spool, spooled = self._spool, self._spooled[table]
        assert spool is not None
        while True:
            chunk = await spool.head(table)
            if chunk is not None:
                await self._replay_chunk(spool, chunk)
            elif self._lanes_done:
                return
            else:
                spooled.clear()
                await spooled.wait()

    async def _replay_chunk(self, spool: Spool, chunk: Chunk) -> None:
        if chunk.batch.rows or chunk.batch.gaps:
            self._committed(chunk.batch, await self._write(chunk.batch))
        await spool.forget(chunk)

    async def _written_or_spooled(self, batch: Batch) -> Written | None:
        """What became of it in the database; None when it is in the spool."""
        spool = self._spool
        if spool is None:
            return await self._write(batch)
        while True:
            if not spool.holds(batch.table):
                written = await self._write_in_time(batch, spool.limits.after_s)
                if written is not None:
                    return written
            if await spool.put(batch):
                self._spooled[batch.table].set()
                return None
            await asyncio.sleep(_FULL_PAUSE_S)

    async def _write_in_time(self, batch: Batch, after_s: float) -> Written | None:
        table = batch.table
        began_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(after_s) as patience:
                self._patience[table] = patience
                return await self._write(batch)
        except TimeoutError:
            if table not in self._failing:
                self._failing[table] = began_s
                self._last_error = f"{table.name}: no answer within {after_s:g} s"
            return None
        finally:
            del self._patience[table]

    # ------------------------------------------------------------------ a batch

    async def _settle(self, batch: Batch) -> None:
        try:
            written = await self._written_or_spooled(batch)
        except BaseException:
            self._batcher.put_back(batch)
            raise
        self._batcher.acknowledge(batch)
        if written is not None:
            self._committed(batch, written)

    def _committed(self, batch: Batch, written: Written) -> None:
        self._batches += 1
        self._written += written
        self._on_commit(batch, written, self._clock.wall_ns())

    async def _write(self, batch: Batch) -> Written:
        try:
            return await self._persistently(batch)
        except RowsRefused as error:
            refusal = error
        parts = _halves(batch)
        if not parts:
            return await self._refuse(batch, refusal)
        written = Written(0, 0, staged=False)
        for part in parts:
            written += await self._write(part)
        return written

    async def _persistently(self, batch: Batch) -> Written:
        def failed(error: BaseException) -> None:
            self._retries += 1
            self._last_error = str(error)
            self._failing.setdefault(batch.table, self._clock.monotonic_s())

        written = await until_available(
            lambda: self._sink.write(batch), policy=self._retry, rng=self._rng, on_retry=failed
        )
        self._failing.pop(batch.table, None)
        if batch.rows:
            self._refused_since.pop(batch.table, None)
        return written

    async def _refuse(self, batch: Batch, error: RowsRefused) -> Written:
        """Report what stands alone, and write a row's gap in its place; SchemaMismatch when all are bad."""
        self._refused += 1
        self._last_error = str(error)
        table = batch.table
        for refused_gap in batch.gaps:
            self._on_refused(table, repr(refused_gap).encode(), error)
        gaps = [gap for row in batch.rows if (gap := self._on_refused(table, row, error)) is not None]
        refused = self._refused_since[table] = self._refused_since.get(table, 0) + len(batch.rows)
        if refused >= MOST_REFUSED:
            raise SchemaMismatch(f"{table.name} has refused {refused} rows one after another: {error}")
        if gaps:
            return await self._write(batch.with_rows([], gaps=tuple(gaps)))
        return Written(0, 0, staged=False)

    def stats(self) -> WriterStats:
        """A snapshot of what was done."""
        return WriterStats(
            batches=self._batches,
            rows=self._written.rows,
            conflicts=self._written.conflicts,
            refused=self._refused,
            retries=self._retries,
            failing_since_s=min(self._failing.values(), default=None),
            last_error=self._last_error,
        )


def _halves(batch: Batch) -> list[Batch]:
    """Two parts of a batch, in order; none when it is a single row or gap. Gaps come before all rows."""
    rows, gaps = batch.rows, batch.gaps
    if rows and gaps:
        return [batch.with_rows([], gaps=gaps), batch.with_rows(rows, gaps=())]
    middle = max(len(rows), len(gaps)) // 2
    if middle == 0:
        return []
    return [
        batch.with_rows(rows[:middle], gaps=gaps[:middle]),
        batch.with_rows(rows[middle:], gaps=gaps[middle:]),
    ]
