"""Takes batches when they are due, has them committed, and only then lets go of them.

One lane per table, so that one table's trouble does not hold up another's; within a lane strictly one
batch after another, so that the newest committed id never runs ahead of a lost batch. Readers are never
waited for and never wait: rows come through the `Batcher`, and the lanes are woken by a clock, at most
`1 / tick_s` times a second, not by rows.

What happens when a write fails:

    StoreUnavailable   the same batch again, for ever; the sink stages it, as the outcome is unknown
    RowsRefused        halved until what is refused stands alone; that is reported, the rest is written
    anything else      leaves `run`: somebody has to look

Invariant: a batch is acknowledged after its commit, or put back; cancelling loses nothing that was held.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from ingest.buffer.batcher import Batch, Batcher
from ingest.buffer.tables import TABLES, Table
from ingest.clock import Clock
from ingest.errors import RowsRefused
from ingest.store.retrying import RetryPolicy, until_available
from ingest.store.sink import Sink, Written

OnCommit: TypeAlias = Callable[[Batch, Written, int], None]
"""Called with the batch, what became of it, and the wall time of the commit in nanoseconds."""

OnRefused: TypeAlias = Callable[[Table, bytes, RowsRefused], None]
"""Called with the table, the encoded row (or a gap in words), and why it was refused."""

TICK_S: Final = 0.05


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
        self._batcher = batcher
        self._clock = clock
        self._on_commit = on_commit
        self._on_refused = on_refused
        self._rng = rng
        self._retry = retry or RetryPolicy()
        self._tick_s = tick_s
        self._wakes = {table: asyncio.Event() for table in TABLES}
        self._lanes: list[asyncio.Task[None]] = []
        self._failing: dict[Table, float] = {}
        self._batches = self._refused = self._retries = 0
        self._written = Written(0, 0, staged=False)
        self._last_error = ""
        self._draining = False
        self._ended = asyncio.Event()
        self._ended.set()

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Write until `drain` has emptied the batcher. Once at a time; raises what the module says."""
        self._ended.clear()
        try:
            async with asyncio.TaskGroup() as group:
                self._lanes = [
                    group.create_task(self._lane(table), name=f"writer {table.name}") for table in self._wakes
                ]
                clock = group.create_task(self._wake_lanes(), name="writer clock")
                await asyncio.wait(self._lanes)
                clock.cancel()
        finally:
            self._ended.set()

    async def drain(self, *, deadline_s: float) -> int:
        """Write all that is held, then let `run` end; the number of rows that did not make it in time.

        Nobody may add rows any more. Works beside a `run` and, when none is running, without one.
        """
        self._draining = True
        try:
            async with asyncio.timeout(deadline_s):
                await (self.run() if self._ended.is_set() else self._ended.wait())
        except TimeoutError:
            for lane in self._lanes:
                lane.cancel()
            await self._ended.wait()
        return self._batcher.stats().rows

    async def _wake_lanes(self) -> None:
        while True:
            now_s = self._clock.monotonic_s()
            for table, wake in self._wakes.items():
                due_s = self._batcher.next_due_s(table)
                if self._draining or (due_s is not None and due_s <= now_s):
                    wake.set()
            await asyncio.sleep(self._tick_s)

    async def _lane(self, table: Table) -> None:
        wake = self._wakes[table]
        while True:
            batch = self._batcher.take(table, self._clock.monotonic_s(), force=self._draining)
            if batch is not None:
                await self._commit(batch)
            elif self._draining:
                return
            else:
                wake.clear()
                await wake.wait()

    # ------------------------------------------------------------------ a batch

    async def _commit(self, batch: Batch) -> None:
        try:
            written = await self._write(batch)
        except BaseException:
            self._batcher.put_back(batch)
            raise
        self._batcher.acknowledge(batch)
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
            return self._refuse(batch, refusal)
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
        return written

    def _refuse(self, batch: Batch, error: RowsRefused) -> Written:
        self._refused += 1
        self._last_error = str(error)
        for refused in (*batch.rows, *(repr(gap).encode() for gap in batch.gaps)):
            self._on_refused(batch.table, refused, error)
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
