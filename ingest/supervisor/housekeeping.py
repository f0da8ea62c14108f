"""What the database needs from time to time: partitions made ahead, old rows dropped, a look at its jobs.

At the start it says what the server can do and refuses one that lacks what was asked for. What fails later
is told and tried again the next round: no row waits for it, since there is a net below the partitions, and
too much is kept rather than too little.
"""

import asyncio
from collections import Counter
from contextlib import aclosing
from datetime import UTC, datetime

import structlog

from ingest.clock import Clock
from ingest.errors import StoreError, StoreUnavailable
from ingest.store.arrange import record_capability
from ingest.store.capability import Capability, Judgement, judge, losses, probe
from ingest.store.partitions import ensure_partitions, rows_in_default
from ingest.store.postgres import PostgresSink
from ingest.store.retention import Dropped, FailedJob, NotDropped, drop_expired, failed_jobs, hot_indexes
from ingest.store.statements import statement
from ingest.store.storage_plan import StoragePlan

log = structlog.get_logger()

_EVERY_S = 3_600.0
_FIRST_S = 60.0
"""When the service has just begun, the rows that come have right of way."""


class Housekeeping:
    """Await `start()`, then keep `run()` running until it is cancelled."""

    def __init__(self, sink: PostgresSink, plan: StoragePlan, *, clock: Clock) -> None:
        self._sink = sink
        self._plan = plan
        self._clock = clock
        self._use: Capability | None = None
        self._told_jobs: Counter[int] = Counter()

    async def start(self) -> None:
        """Look at the server and make the first partitions.

        ConfigError when it has less than was asked for, StoreError when it is too old or cannot be asked.
        """
        async with self._sink.session() as connection:
            judgement = judge(await probe(connection), self._plan.timescale)
        self._use = judgement.use
        await self._tell_capability(judgement)
        await self._make_partitions()
        await self._tell_storage()

    async def run(self) -> None:
        """Go round each hour."""
        await asyncio.sleep(_FIRST_S)
        while True:
            try:
                await self.round()
            except StoreUnavailable as error:
                log.warning("housekeeping.not_done", error=str(error))
            await asyncio.sleep(_EVERY_S)

    async def round(self) -> None:
        """All of it once; StoreUnavailable when the database cannot be asked."""
        await self._make_partitions()
        await self._drop_expired()
        await self._look_at_jobs()

    # ------------------------------------------------------------------ at the start

    async def _tell_capability(self, judgement: Judgement) -> None:
        use = judgement.use
        log.info("database.capability", server=str(use), asked=self._plan.timescale, instead=losses(use))
        for warning in judgement.warnings:
            log.warning("database.capability_warning", warning=warning)
        try:
            async with self._sink.session() as connection:
                await record_capability(connection, self._plan.timescale, judgement)
        except StoreError as error:
            # It stands in the log, and serves nothing but looking.
            log.warning("database.capability_not_recorded", error=str(error))

    async def _tell_storage(self) -> None:
        async with self._sink.session() as connection:
            rows = await connection.fetch(statement("storage"))
            hot = await hot_indexes(connection)
        other = [row["relation"] for row in rows if row["keep"] != self._plan.keep_of(row["relation"])]
        if other:
            hint = "run `ingest migrate` with this configuration"
            log.warning("storage.not_as_configured", relations=other, hint=hint)
        if not hot.fit:
            log.warning(
                "storage.indexes_exceed_memory",
                index_mib=hot.index_bytes >> 20,
                shared_buffers_mib=hot.buffer_bytes >> 20,
                hint="shorten [storage] chunk_hours, or give the server more shared_buffers",
            )

    # ------------------------------------------------------------------ each round

    async def _make_partitions(self) -> None:
        async with self._sink.session() as connection:
            made = await ensure_partitions(connection, now=self._now())
            astray = {table: rows for table, rows in (await rows_in_default(connection)).items() if rows}
        if made:
            moved = sum(partition.moved for partition in made)
            log.info("partitions.made", partitions=len(made), moved=moved)
        if astray:
            # Stored and visible, but in the net below the partitions: rows of days nobody planned for.
            log.error("partitions.rows_in_default", **astray)

    async def _drop_expired(self) -> None:
        has_jobs = self._use is not None and self._use.jobs
        async with self._sink.session() as connection:
            dropping = drop_expired(connection, now=self._now(), server_has_jobs=has_jobs)
            async with aclosing(dropping):
                async for outcome in dropping:
                    if isinstance(outcome, NotDropped):
                        log.warning(
                            "storage.not_dropped", relation=outcome.relation, error=str(outcome.error)
                        )
                    else:
                        log.info("storage.dropped", relation=outcome.relation, what=outcome.what)

    async def _look_at_jobs(self) -> None:
        if self._use is None or not self._use.jobs:
            return
        async with self._sink.session() as connection:
            failed = await failed_jobs(connection)
        for job in failed:
            if self._is_new(job):
                log.warning(
                    "storage.job_failed",
                    job=job.job,
                    policy=job.policy,
                    relation=job.relation,
                    failures=job.failures,
                    hint="timescaledb_information.job_history tells why",
                )

    def _is_new(self, job: FailedJob) -> bool:
        """Whether it has failed again since it was last told of."""
        is_new = job.failures > self._told_jobs[job.job]
        self._told_jobs[job.job] = job.failures
        return is_new

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall_ns() / 1e9, UTC)


def _tell_outcome(outcome: Dropped | NotDropped) -> None:
    if isinstance(outcome, Dropped):
        log.info("storage.dropped", relation=outcome.relation, what=outcome.what)
    else:
        log.warning("storage.not_dropped", relation=outcome.relation, error=str(outcome.error))
