"""The rows with a whole shard: real feeds, streams, live books, batcher, writer, board, journal.

What differs between the two is the sink alone: one acknowledges each batch as soon as its COPY payload
is built, the other is the production's, on the embedded PostgreSQL with its durable settings.

Before time is taken, all books are live and the database has left the staging that every start begins
with (`store.postgres`): what is measured is the steady state.
"""

import asyncio
import gc
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from pydantic import SecretStr

from ingest.binance.rest import RestClient
from ingest.board.mapped import BoardWriter, board_path, read_board
from ingest.buffer.batcher import Batch
from ingest.buffer.encode import copy_payload
from ingest.buffer.spool import Spool
from ingest.buffer.tables import DEPTH_SNAPSHOTS
from ingest.clock import SystemClock
from ingest.config import (
    BackfillSection,
    CaptureSection,
    DatabaseSection,
    ServiceSection,
    Settings,
    SpotSection,
)
from ingest.feed.budget_file import BudgetLimits, SharedBudget
from ingest.feed.dialling import open_dial
from ingest.shard.captured import RecordingCapture, open_capture
from ingest.shard.job import ShardJob
from ingest.shard.process import Shard, Tools
from ingest.store.notifications import Names
from ingest.store.postgres import PostgresSink
from ingest.store.sink import Sink, Written
from tests.bench.measure import Measure, RowJob, Span, Stopwatch, rss_bytes
from tests.bench.mix import SNAPSHOT_LEVELS, symbol_names
from tests.bench.steering import Prepared, Steering
from tests.bench.stored_rows import count_rows, empty_tables

DEADLINE_S = 240.0
_DRAIN_S = 10.0
_POLL_S = 0.1
_LIMITS = BudgetLimits(weight_per_min=1_000_000)
"""Thousands of books shall not take minutes until they are live."""


class _Executor(Protocol):
    """As much of a connection as the journal uses."""

    async def execute(self, query: str, *arguments: object) -> object: ...


class ShardSink(Sink, Protocol):
    """As much of `PostgresSink` as a running shard uses."""

    def session(self) -> object: ...

    def notify(self, names: Names) -> None: ...


class _Nowhere:
    async def execute(self, query: str, *arguments: object) -> object:
        return None


class AcknowledgingSink:
    """Builds each batch's COPY payload and calls it written."""

    def __init__(self) -> None:
        self.payload_bytes = 0

    async def write(self, batch: Batch) -> Written:
        """See `Sink.write`; nothing is stored."""
        self.payload_bytes += len(copy_payload(batch.table, batch.rows))
        await asyncio.sleep(0)  # as any other sink, it lets the loop go on
        return Written(len(batch.rows), 0, staged=False)

    def notify(self, names: Names) -> None:
        """Nobody listens."""

    @asynccontextmanager
    async def session(self) -> AsyncIterator[_Executor]:
        """For the journal, whose entries go nowhere."""
        yield _Nowhere()


class CountingSink:
    """Passes batches on and counts the rows of streams (not of stored books) once they are written."""

    def __init__(self, inner: ShardSink) -> None:
        self.session = inner.session
        self.notify = inner.notify
        self.rows = self.row_bytes = self.batches = self.conflicts = 0
        self._inner = inner
        self._goal = 0
        self._reached = asyncio.Event()

    async def write(self, batch: Batch) -> Written:
        """See `Sink.write`."""
        written = await self._inner.write(batch)
        if batch.table is not DEPTH_SNAPSHOTS:
            self.rows += len(batch.rows)
            self.row_bytes += batch.size_bytes
            self.conflicts += written.conflicts
            self.batches += 1
            if self.rows >= self._goal:
                self._reached.set()
        return written

    def expect(self, rows: int) -> None:
        """Count anew, up to so many."""
        self.rows = self.row_bytes = self.batches = self.conflicts = 0
        self._goal = rows
        self._reached.clear()

    async def wait_reached(self) -> None:
        """Return when all expected rows are written."""
        await self._reached.wait()


class _Taken(NamedTuple):
    """What a run has brought."""

    prepared: Prepared
    span: Span
    sink: CountingSink
    memory_bytes: int


async def measure_shard(job: RowJob, steering: Steering) -> Measure:
    """The whole shard, its sink acknowledging only."""
    sink = AcknowledgingSink()
    ids = {symbol: number for number, symbol in enumerate(symbol_names(job.symbols), start=1)}
    return await _measure(job, steering, await _run(job, steering, sink, ids))


async def measure_capture(job: RowJob, steering: Steering) -> Measure:
    """The same with its frames captured; the time ends when the last of them is in its file."""
    measure = await measure_shard(job, steering)
    return replace(measure, captured_bytes=sum(file.stat().st_size for file in _raw(job).iterdir()))


def _raw(job: RowJob) -> Path:
    return Path(job.data_dir) / f"raw-{job.round}"


async def measure_stored(job: RowJob, steering: Steering) -> Measure:
    """The whole shard into PostgreSQL; then a look at what is there."""
    async with PostgresSink.opened(job.database_url, application="bench") as sink:
        ids = await empty_tables(sink, job)
        taken = await _run(job, steering, sink, ids)
    stored, distinct = await count_rows(job.database_url)
    return replace(
        await _measure(job, steering, taken),
        stored_rows=stored - job.streams,
        distinct_rows=distinct - job.streams,
    )


async def _run(job: RowJob, steering: Steering, inner: ShardSink, ids: dict[str, int]) -> _Taken:
    """Run a shard on this sink, and measure."""
    sink = CountingSink(inner)
    async with running_shard(job, steering, sink, ids) as tools:
        memory_bytes = rss_bytes()
        prepared = await steering.prepare()
        sink.expect(prepared.messages)
        watch = Stopwatch(job.server_pid)
        await steering.go()
        await sink.wait_reached()
        if isinstance(tools.capture, RecordingCapture):
            tools.capture.recorder.close(deadline_s=DEADLINE_S)
        span = watch.stop()
    return _Taken(prepared, span, sink, memory_bytes)


@asynccontextmanager
async def running_shard(
    job: RowJob,
    steering: Steering,
    sink: CountingSink,
    ids: dict[str, int],
    *,
    spool: Spool | None = None,
    warm: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[Tools]:
    """A shard that has written as many rows as it has streams, with all books live; stopped afterwards.

    `warm` makes the first frames come.
    """
    settings = _settings(job)
    sink.expect(job.streams)
    stop = asyncio.Event()
    async with _tools(job, settings, sink, spool) as tools:
        shard = Shard(ShardJob(plan=job.plan(), settings=settings, symbol_ids=ids), tools, {})
        async with asyncio.TaskGroup() as group:
            running = group.create_task(shard.run(stop, asyncio.Queue(), drain_s=_DRAIN_S))
            async with asyncio.timeout(DEADLINE_S):
                await (warm or steering.warm)()
                await _warmed(job, sink, tools.board)
                gc.collect()
                yield tools
            stop.set()
            await running


async def _warmed(job: RowJob, sink: CountingSink, board: BoardWriter) -> None:
    await sink.wait_reached()
    wanted = job.symbols if "depth" in job.kinds else 0
    while read_board(board.path).header.books_live < wanted:
        await asyncio.sleep(_POLL_S)


def _settings(job: RowJob) -> Settings:
    """Production's defaults but for the addresses, and snapshots that are not deepened meanwhile."""
    return Settings(
        database=DatabaseSection(url=SecretStr(job.database_url)),
        service=ServiceSection(data_dir=Path(job.data_dir)),
        backfill=BackfillSection(enabled=False),
        capture=CaptureSection(enabled=job.row == "capture", folder=str(_raw(job))),
        spot=SpotSection(
            ws_url=job.ws_url,
            rest_url=job.rest_url,
            ws_client="picows" if job.row == "quick" else "aiohttp",
            symbols=symbol_names(job.symbols),
            kinds=list(job.kinds),
            snapshot_limit=SNAPSHOT_LEVELS,
        ),
    )


@asynccontextmanager
async def _tools(
    job: RowJob,
    settings: Settings,
    sink: CountingSink,
    spool: Spool | None,
) -> AsyncIterator[Tools]:
    clock, rng = SystemClock(), random.Random(1)
    plan = job.plan()
    budget_file = Path(job.data_dir) / "run" / "address.budget"
    budget_file.unlink(missing_ok=True)  # each measurement has a fresh minute
    async with AsyncExitStack() as stack:
        budget = stack.enter_context(closing(SharedBudget(budget_file, _LIMITS, clock=clock, rng=rng)))
        rest = await stack.enter_async_context(RestClient(settings.spot.rest_url, budget, clock=clock))
        board = BoardWriter.create(
            board_path(settings.service.data_dir, plan.shard),
            shard=plan.shard,
            pid=os.getpid(),
            keys=plan.streams,
            feeds=[feed.feed for feed in plan.feeds],
            started_wall_ns=clock.wall_ns(),
        )
        stack.callback(board.close)
        dial = await stack.enter_async_context(open_dial(settings.spot.ws_client, clock.wall_ns))
        capture = stack.enter_context(open_capture(settings, plan.shard, clock=clock))
        yield Tools(cast(PostgresSink, sink), rest, dial, budget, board, clock, rng, spool, capture)


async def _measure(job: RowJob, steering: Steering, taken: _Taken) -> Measure:
    prepared, span, counting, memory_bytes = taken
    return Measure(
        row=job.row,
        course=job.course,
        round=job.round,
        streams=job.streams,
        messages=prepared.messages,
        received_bytes=prepared.wire_bytes,
        cpu_s=span.cpu_s,
        wall_s=span.wall_s,
        sender_cpu_s=await steering.sender_cpu_s(),
        rows=counting.rows,
        row_bytes=counting.row_bytes,
        batches=counting.batches,
        conflicts=counting.conflicts,
        server_cpu_s=span.server_cpu_s,
        rss_bytes=memory_bytes,
    )
