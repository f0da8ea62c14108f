"""The row `spool`: a shard whose database was away writes what waits on the disk while live messages go on.

The database is away by word of the sink, which refuses as a real one does that cannot be reached; the spool
is the production's, on the disk that the database lies on. Time runs from the moment at which the database
is back until the disk is empty, the wait of a writer that has tried in vain included.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

from ingest.buffer.batcher import Batch
from ingest.buffer.spool import Spool
from ingest.buffer.spool_limits import SpoolLimits
from ingest.clock import SystemClock
from ingest.errors import StoreUnavailable
from ingest.store.postgres import PostgresSink
from ingest.store.sink import Written
from tests.bench.measure import Measure, RowJob, Stopwatch
from tests.bench.steering import Steering
from tests.bench.stored_rows import count_rows, empty_tables
from tests.bench.whole import CountingSink, running_shard

_POLL_S = 0.02


class AbsentSink:
    """Passes batches on, except while the database `is_away`."""

    def __init__(self, inner: PostgresSink) -> None:
        self.is_away = False
        self.session = inner.session
        self.notify = inner.notify
        self._inner = inner

    async def write(self, batch: Batch) -> Written:
        """See `Sink.write`."""
        if self.is_away:
            raise StoreUnavailable("away, for the benchmark")
        return await self._inner.write(batch)


async def measure_spool(job: RowJob, steering: Steering) -> Measure:
    """Spool as many rows as the job has messages, then catch up; live messages come from the beginning."""
    path = Path(job.data_dir) / f"bench-{job.round}.spool"
    before = await _happened(steering)

    async def begin() -> None:
        await steering.wait_subscribed()
        await steering.pace(job.live_rate)

    async with PostgresSink.opened(job.database_url, application="bench") as sink:
        ids = await empty_tables(sink, job)
        absent = AbsentSink(sink)
        counting = CountingSink(absent)
        with Spool.opened(path, SpoolLimits(), clock=SystemClock()) as spool:
            async with running_shard(job, steering, counting, ids, spool=spool, warm=begin):
                measure = await _caught_up(job, steering, spool, absent, counting)
                await steering.rest()
                await _settled(counting, spool)
    stored, distinct = await count_rows(job.database_url)
    lost = await _happened(steering) - before - distinct
    return replace(
        measure,
        stored_rows=measure.messages - lost,
        distinct_rows=measure.messages - lost - (stored - distinct),
    )


async def _happened(steering: Steering) -> int:
    return sum(stream.frames for stream in (await steering.ledger()).values())


async def _caught_up(
    job: RowJob, steering: Steering, spool: Spool, sink: AbsentSink, counting: CountingSink
) -> Measure:
    sink.is_away = True
    while spool.stats().rows < job.messages:
        await asyncio.sleep(_POLL_S)
    before, waiting = await steering.state(), spool.stats().rows
    counting.expect(0)
    watch = Stopwatch(job.server_pid)
    sink.is_away = False
    while not spool.is_empty():
        await asyncio.sleep(_POLL_S)
    span, rows, after = watch.stop(), counting.rows, await steering.state()
    return Measure(
        row=job.row,
        course=job.course,
        round=job.round,
        streams=job.streams,
        messages=rows,
        received_bytes=0,
        cpu_s=span.cpu_s,
        wall_s=span.wall_s,
        sender_cpu_s=after.cpu_s - before.cpu_s,
        rows=rows,
        row_bytes=counting.row_bytes,
        batches=counting.batches,
        conflicts=counting.conflicts,
        server_cpu_s=span.server_cpu_s,
        spooled_rows=waiting,
        live_messages=after.number - before.number,
    )


async def _settled(counting: CountingSink, spool: Spool) -> None:
    """Until nothing more is written: as many rows as a moment ago."""
    rows = -1
    while rows != counting.rows or not spool.is_empty():
        rows = counting.rows
        await asyncio.sleep(1.0)
