"""The rows with a whole shard: real feeds, streams, live books, batcher, writer, board, journal.

What differs between the two is the sink alone: one acknowledges each batch as soon as its COPY payload
is built, the other is the production's, on the embedded PostgreSQL with its durable settings.

Before time is taken, all books are live and the database has left the staging that every start begins
with (`store.postgres`): what is measured is the steady state.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

import aiohttp
from pydantic import SecretStr

from ingest.binance.answers import Instrument
from ingest.binance.rest import RestClient
from ingest.board.mapped import BoardWriter, board_path, read_board
from ingest.buffer import encode
from ingest.buffer.batcher import Batch, Mark
from ingest.buffer.encode import copy_payload
from ingest.buffer.tables import BOOK_TICKERS, DEPTH_DELTAS, DEPTH_SNAPSHOTS, TRADES, Table
from ingest.clock import SystemClock
from ingest.config import (
    BackfillSection,
    CaptureSection,
    DatabaseSection,
    ServiceSection,
    Settings,
    SpotSection,
)
from ingest.events import BookTicker, DepthDelta, Trade
from ingest.shard.address_budget import open_budget
from ingest.shard.captured import RecordingCapture, open_capture
from ingest.shard.job import ShardJob
from ingest.shard.process import Shard, Tools
from ingest.store.notifications import Names
from ingest.store.postgres import STICKY_BATCHES, PostgresSink
from ingest.store.sessions import connected
from ingest.store.sink import Sink, Written
from tests.bench.measure import Measure, RowJob, Span, Stopwatch
from tests.bench.mix import SNAPSHOT_LEVELS, symbol_names
from tests.bench.steering import Prepared, Steering

DEADLINE_S = 240.0
_DRAIN_S = 10.0
_POLL_S = 0.1
_MARKET = "spot"


class _Executor(Protocol):
    """As much of a connection as the journal uses."""

    async def execute(self, query: str, *arguments: object) -> object: ...


class _ShardSink(Sink, Protocol):
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

    def __init__(self, inner: _ShardSink) -> None:
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
        instruments = [
            Instrument(name, "TRADING", name, "USDT", None, None) for name in symbol_names(job.symbols)
        ]
        ids = await sink.instrument_ids(_MARKET, instruments)
        await _truncate(job.database_url)
        await _leave_staging(sink, symbol_id=ids[instruments[0].symbol])
        await _truncate(job.database_url)
        taken = await _run(job, steering, sink, ids, server_pid=job.server_pid)
    stored, distinct = await _look(job.database_url)
    warm = job.symbols * len(job.kinds)
    return replace(
        await _measure(job, steering, taken), stored_rows=stored - warm, distinct_rows=distinct - warm
    )


async def _run(
    job: RowJob, steering: Steering, inner: _ShardSink, ids: dict[str, int], *, server_pid: int = 0
) -> tuple[Prepared, Span, CountingSink]:
    """Run a shard on this sink, and measure."""
    settings = _settings(job)
    sink = CountingSink(inner)
    sink.expect(job.symbols * len(job.kinds))
    stop = asyncio.Event()
    async with _tools(job, settings, sink, steering.http) as tools:
        shard = Shard(ShardJob(plan=job.plan(), settings=settings, symbol_ids=ids), tools, {})
        async with asyncio.TaskGroup() as group:
            running = group.create_task(shard.run(stop, asyncio.Queue(), drain_s=_DRAIN_S))
            async with asyncio.timeout(DEADLINE_S):
                await _warm(job, steering, sink, tools.board)
                prepared = await steering.prepare()
                sink.expect(prepared.messages)
                watch = Stopwatch(server_pid)
                await steering.go()
                await sink.wait_reached()
                if isinstance(tools.capture, RecordingCapture):
                    tools.capture.recorder.close(deadline_s=DEADLINE_S)
                span = watch.stop()
            stop.set()
            await running
    return prepared, span, sink


async def _warm(job: RowJob, steering: Steering, sink: CountingSink, board: BoardWriter) -> None:
    """Until one row of each stream is written and all books are live."""
    await steering.warm()
    await sink.wait_reached()
    wanted = job.symbols if "depth" in job.kinds else 0
    while read_board(board.path).header.books_live < wanted:
        await asyncio.sleep(_POLL_S)


def _settings(job: RowJob) -> Settings:
    """Production's defaults but for the addresses, and a snapshot that fits into a minute's weight."""
    return Settings(
        database=DatabaseSection(url=SecretStr(job.database_url)),
        service=ServiceSection(data_dir=Path(job.data_dir)),
        backfill=BackfillSection(enabled=False),
        capture=CaptureSection(enabled=job.row == "capture", folder=str(_raw(job))),
        spot=SpotSection(
            ws_url=job.ws_url,
            rest_url=job.rest_url,
            symbols=symbol_names(job.symbols),
            kinds=list(job.kinds),
            snapshot_limit=SNAPSHOT_LEVELS,
        ),
    )


@asynccontextmanager
async def _tools(
    job: RowJob, settings: Settings, sink: CountingSink, http: aiohttp.ClientSession
) -> AsyncIterator[Tools]:
    clock, rng = SystemClock(), random.Random(1)
    plan = job.plan()
    budget_file = Path(job.data_dir) / "run" / "address.budget"
    budget_file.unlink(missing_ok=True)  # each measurement has a fresh minute
    budget_file.parent.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        budget = stack.enter_context(closing(open_budget(settings, clock=clock, rng=rng)))
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
        capture = stack.enter_context(open_capture(settings, plan.shard, clock=clock))
        yield Tools(cast(PostgresSink, sink), rest, http, budget, board, clock, rng, capture=capture)


# ---------------------------------------------------------------------- the database

_TABLES = {TRADES: "trade_id", BOOK_TICKERS: "update_id", DEPTH_DELTAS: "final_update_id"}


async def _leave_staging(sink: PostgresSink, *, symbol_id: int) -> None:
    """As many single-row batches as it takes until a table is written by COPY alone."""
    for number in range(STICKY_BATCHES):
        for table, row in _single_rows(symbol_id, number).items():
            batch = Batch(
                table=table,
                rows=[row],
                size_bytes=len(row),
                marks={0: Mark(number, number)},
                gaps=(),
                oldest_recv_ns=None,
                newest_recv_ns=None,
            )
            await sink.write(batch)


def _single_rows(symbol_id: int, number: int) -> dict[Table, bytes]:
    now_ns = SystemClock().wall_ns()
    ts_us, level = now_ns // 1_000, ("1.00000000", "1.00000000")
    return {
        TRADES: encode.trade(symbol_id, Trade("", number, ts_us, *level, False, now_ns)),
        BOOK_TICKERS: encode.book_ticker(symbol_id, BookTicker("", number, ts_us, *level, *level, now_ns)),
        DEPTH_DELTAS: encode.depth_delta(
            symbol_id, DepthDelta("", number, number, ts_us, [level], [level], now_ns)
        ),
    }


async def _truncate(url: str) -> None:
    names = ", ".join(f"{table.schema}.{table.name}" for table in (*_TABLES, DEPTH_SNAPSHOTS))
    async with connected(url) as connection:
        await connection.execute(f"TRUNCATE {names}")


async def _look(url: str) -> tuple[int, int]:
    """Rows in the three tables, and how many of them differ in symbol and id."""
    rows = distinct = 0
    async with connected(url) as connection:
        for table, column in _TABLES.items():
            query = f"SELECT count(*), count(DISTINCT (symbol_id, {column})) FROM {table.schema}.{table.name}"
            found = await connection.fetchrow(query)
            assert found is not None
            rows, distinct = rows + found[0], distinct + found[1]
    return rows, distinct


async def _measure(job: RowJob, steering: Steering, taken: tuple[Prepared, Span, CountingSink]) -> Measure:
    prepared, span, counting = taken
    return Measure(
        row=job.row,
        round=job.round,
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
    )
