"""The supervisor from start to stop: database, schema, symbols, plan, shards, and what it publishes.

It starts from the database and the exchange alone: nothing of an earlier life is needed. It writes no
market data. Whoever serves HTTP asks it for `facts()`.

Order of starting: folder, database, schema, exchange, plan, shards. Order of stopping: shards (each
drains), then the last freshness row, then the database; all within `service.stop_deadline_s`.
"""

import asyncio
import contextlib
import fcntl
import os
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from ingest.binance.parse import Instrument
from ingest.binance.rest import RestClient
from ingest.clock import Clock
from ingest.config import Settings, session_limits, storage_plan
from ingest.errors import ConfigError, RateLimited, RestRefused, RestUnavailable, StoreUnavailable
from ingest.events import StreamKey
from ingest.feed.budget_file import SharedBudget
from ingest.shard.address_budget import open_budget
from ingest.shard.job import job_path, write_job
from ingest.shard.plan import ShardPlan, make_plan
from ingest.store.arrange import arrange
from ingest.store.ledger import OpenGap, count_open_gaps, oldest_open_gaps
from ingest.store.migrate import migrate
from ingest.store.postgres import PostgresSink
from ingest.supervisor.candles import CandleKeeper
from ingest.supervisor.child import ShardKeeper
from ingest.supervisor.database import Database, embedded_folder, open_database
from ingest.supervisor.fleet import Fleet
from ingest.supervisor.freshness import Judged, ServiceFacts, StreamFreshness, judged
from ingest.supervisor.housekeeping import Housekeeping
from ingest.supervisor.incidents import IncidentLog
from ingest.supervisor.policy import RestartPolicy
from ingest.supervisor.publisher import FreshnessPublisher, shard_row, table_row
from ingest.supervisor.selection import choose_instruments, expected_rates
from ingest.supervisor.storage import StorageFacts, StorageWatch
from ingest.supervisor.vigil import Vigil, forget_former_streams, load_records

log = structlog.get_logger()

Answer = TypeVar("Answer")

_MARKET = "spot"
_START_ATTEMPTS = 3
_GAPS_EVERY_S = 5.0
_GAPS_SHOWN = 20
_TICK_S = 0.5
_JUDGED_FOR_S = 1.2
"""A little longer than it takes until the freshness table's rows are made anew."""
_MIGRATE_DEADLINE_S = 120.0
_CONNECTIONS = 3
_LAST_CANDLES_S = 2.0
_SHARD_STOP_SHARE = 0.65
"""Of the stop deadline: a shard that has not drained by then is killed."""


class Supervisor:
    """Call `run()` once."""

    def __init__(self, settings: Settings, *, clock: Clock, rng: random.Random) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._keepers: list[ShardKeeper] = []
        self._schema_checked = False
        self._is_stopped = False
        self._open_gaps: Mapping[StreamKey, int] = {}
        self._oldest_gaps: Sequence[OpenGap] = ()
        self._judged: Judged | None = None
        self._vigil: Vigil | None = None
        self._candles: CandleKeeper | None = None
        self._budget: SharedBudget | None = None
        self._storage: StorageWatch | None = None
        self._published_s: float | None = None
        self._ticked_s = clock.monotonic_s()

    def facts(self) -> ServiceFacts:
        """All that is known now."""
        now_s, written_s = self._clock.monotonic_s(), self._published_s
        return ServiceFacts(
            now_wall_ns=self._clock.wall_ns(),
            now_monotonic_ns=int(now_s * 1e9),
            shards=tuple(keeper.facts() for keeper in self._keepers),
            schema_checked=self._schema_checked,
            is_stopped=self._is_stopped,
            open_gaps=self._open_gaps,
            judgements=self._vigil.judgements() if self._vigil is not None else {},
            candle_lag_s=self._candles.lag_s if self._candles is not None else None,
            candle_backlog=self._candles.backlog if self._candles is not None else None,
            table_age_s=None if written_s is None else now_s - written_s,
        )

    def judge(self) -> Judged:
        """All that is known now, with one row for each stream."""
        self._judged = judged(self.facts())
        return self._judged

    def newest_judged(self) -> Judged:
        """The same as of a moment ago, where somebody has asked just before: it is made for thousands."""
        found, now_ns = self._judged, int(self._clock.monotonic_s() * 1e9)
        if found is None or now_ns - found.facts.now_monotonic_ns > _JUDGED_FOR_S * 1e9:
            return self.judge()
        return found

    @property
    def vigil(self) -> Vigil | None:
        """What looks after silence; None until the shards are planned."""
        return self._vigil

    @property
    def banned_for_s(self) -> float:
        """Seconds until REST may be asked again; 0 when it may."""
        return self._budget.banned_for_s() if self._budget is not None else 0.0

    def budget_used(self) -> dict[str, tuple[int, int]]:
        """Of each budget of this address: used within its window, and the limit; empty before the start."""
        return self._budget.filling() if self._budget is not None else {}

    @property
    def oldest_gaps(self) -> Sequence[OpenGap]:
        """The open gaps of the ledger that have waited longest, as of a few seconds ago."""
        return self._oldest_gaps

    @property
    def storage(self) -> StorageFacts:
        """What the tables take and what their disk has left, as of at most a minute ago."""
        return self._storage.facts if self._storage is not None else StorageFacts()

    @property
    def published_s(self) -> float | None:
        """When the freshness table was last written, on the monotonic clock; None before the first try."""
        return self._published_s

    def tick_age_s(self) -> float:
        """Seconds since the supervisor last went round its loop."""
        return self._clock.monotonic_s() - self._ticked_s

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`. Raises IngestError's classes when it cannot start, or not go on."""
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(self._tick(), name="tick")
            await self._serve(stop)
            ticking.cancel()

    async def _tick(self) -> None:
        while True:
            self._ticked_s = self._clock.monotonic_s()
            await asyncio.sleep(_TICK_S)

    async def _serve(self, stop: asyncio.Event) -> None:
        with _claimed(self._settings.service.data_dir):
            async with open_database(self._settings, clock=self._clock, rng=self._rng) as database:
                if database.is_embedded:
                    await self._prepare(database.url)
                async with PostgresSink.opened(
                    database.url,
                    connections=_CONNECTIONS,
                    application="ingest supervisor",
                    limits=session_limits(self._settings),
                ) as sink:
                    await sink.check_schema()
                    self._schema_checked = True
                    await self._supervise(database, sink, stop)

    async def _prepare(self, url: str) -> None:
        """Bring a database that is ours alone to the schema, and its tables to the configuration."""
        applied = await migrate(url, deadline_s=_MIGRATE_DEADLINE_S)
        arranged = await arrange(url, storage_plan(self._settings), deadline_s=_MIGRATE_DEADLINE_S)
        log.info("database.ready", embedded=True, migrations_applied=len(applied), arranged=arranged.changed)

    async def _supervise(self, database: Database, sink: PostgresSink, stop: asyncio.Event) -> None:
        housekeeping = Housekeeping(sink, storage_plan(self._settings), clock=self._clock)
        await housekeeping.start()
        spot = self._settings.spot
        budget = self._budget = open_budget(self._settings, clock=self._clock, rng=self._rng)
        self._published_s = self._clock.monotonic_s()
        with contextlib.closing(budget), contextlib.ExitStack() as ending:
            ending.callback(setattr, self, "_budget", None)
            async with RestClient(spot.rest_url, budget, clock=self._clock) as rest:
                plans, symbol_ids = await self._plan(sink, rest)
                self._keepers = [self._keeper(plan, symbol_ids, database.url) for plan in plans]
                await forget_former_streams(sink, [key for plan in plans for key in plan.streams])
                self._vigil = Vigil(
                    self._settings,
                    Fleet(self._keepers, self._settings, symbol_ids),
                    rest=rest,
                    sink=sink,
                    incidents=IncidentLog(sink.session, clock=self._clock, rng=self._rng),
                    facts=self.facts,
                    records=await load_records(sink),
                    clock=self._clock,
                )
                await self._run_shards(database, sink, housekeeping, stop)

    async def _run_shards(
        self, database: Database, sink: PostgresSink, housekeeping: Housekeeping, stop: asyncio.Event
    ) -> None:
        vigil = self._vigil
        assert vigil is not None
        publisher = FreshnessPublisher(
            rows=lambda: self.judge().rows,
            write=lambda rows: self._publish(sink, rows),
            judged=vigil.judged,
        )
        self._storage = self._storage_watch(database, sink)
        self._candles = CandleKeeper(sink.session, clock=self._clock)
        loops = {
            "database": database.watch(),
            "storage": self._storage.run(),
            "freshness": publisher.run(),
            "housekeeping": housekeeping.run(),
            "gaps": self._count_gaps(sink),
            "candles": self._candles.run(),
            **vigil.loops(),
        }
        async with asyncio.TaskGroup() as group:
            lasting = [group.create_task(loop, name=name) for name, loop in loops.items()]
            keeping = [
                group.create_task(keeper.run(), name=f"shard {i}") for i, keeper in enumerate(self._keepers)
            ]
            try:
                await stop.wait()
            finally:
                await self._stop_shards(keeping)
                for task in lasting:
                    task.cancel()
            self._is_stopped = True
            await publisher.publish_once()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_CANDLES_S):
                    await self._candles.round()
            with contextlib.suppress(StoreUnavailable):
                await vigil.save()

    def _storage_watch(self, database: Database, sink: PostgresSink) -> StorageWatch:
        return StorageWatch(
            sink.session,
            database_folder=embedded_folder(self._settings) if database.is_embedded else None,
            spool_folder=self._settings.service.data_dir / "spool",
            clock=self._clock,
        )

    async def _stop_shards(self, keeping: Sequence[asyncio.Task[None]]) -> None:
        deadline_s = self._settings.service.stop_deadline_s * _SHARD_STOP_SHARE
        log.info("service.stopping", shards=len(self._keepers))
        async with asyncio.TaskGroup() as group:
            for keeper in self._keepers:
                group.create_task(keeper.stop(deadline_s))
        if keeping:
            await asyncio.wait(keeping, timeout=deadline_s)

    # ------------------------------------------------------------------ starting

    async def _plan(
        self, sink: PostgresSink, rest: RestClient
    ) -> tuple[tuple[ShardPlan, ...], Mapping[str, int]]:
        """Ask the exchange what there is, choose, store the instruments, and distribute the streams."""
        spot = self._settings.spot
        named = spot.symbols if isinstance(spot.symbols, list) else None
        listed = await _listed(rest, named)
        if named is not None:
            choose_instruments(spot, listed, ())  # tells which names are wrong
        stats = await _patiently(lambda: rest.day_stats(named))
        chosen = choose_instruments(spot, listed, stats)
        symbol_ids = await sink.instrument_ids(_MARKET, chosen)
        rates = expected_rates([instrument.symbol for instrument in chosen], spot.kinds, stats)
        plans = make_plan(
            rates,
            shards=self._settings.service.shards,
            streams_per_feed=spot.streams_per_feed,
            lines=spot.redundancy,
        )
        log.info(
            "service.planned",
            symbols=len(chosen),
            streams=len(rates),
            shards=len(plans),
            feeds=sum(len(plan.feeds) for plan in plans),
            expected_messages_per_s=round(sum(rates.values())),
        )
        return plans, symbol_ids

    def _keeper(self, plan: ShardPlan, symbol_ids: Mapping[str, int], database_url: str) -> ShardKeeper:
        data_dir = self._settings.service.data_dir
        job = job_path(data_dir, plan.shard)
        write_job(job, plan, self._settings, symbol_ids)
        return ShardKeeper(
            plan,
            job=job,
            data_dir=data_dir,
            database_url=database_url,
            policy=RestartPolicy(),
            clock=self._clock,
            rng=self._rng,
        )

    # ------------------------------------------------------------------ while it runs

    async def _publish(self, sink: PostgresSink, rows: Sequence[StreamFreshness]) -> None:
        await sink.publish_stream_states([table_row(row) for row in rows])
        self._published_s = self._clock.monotonic_s()
        facts = self.facts()
        await sink.publish_shards([shard_row(shard, is_stopped=facts.is_stopped) for shard in facts.shards])

    async def _count_gaps(self, sink: PostgresSink) -> None:
        while True:
            try:
                async with sink.session() as connection:
                    self._open_gaps = await count_open_gaps(connection)
                    # They are looked for only where there are any.
                    some = await oldest_open_gaps(connection, _GAPS_SHOWN) if self._open_gaps else ()
                    self._oldest_gaps = some
            except StoreUnavailable as error:
                log.warning("gaps.not_counted", error=str(error))
            await asyncio.sleep(_GAPS_EVERY_S)


@contextmanager
def _claimed(data_dir: Path) -> Iterator[None]:
    """Hold the data folder for this process alone. Raises ConfigError when another one has it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        fd = os.open(data_dir / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"[service] data_dir: {data_dir} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        yield
    except BlockingIOError:
        owner = os.pread(fd, 20, 0).decode(errors="replace") or "unknown"
        raise ConfigError(
            f"[service] data_dir: {data_dir} is in use by another ingest (process {owner}); "
            "stop it, or give this one a folder of its own"
        ) from None
    finally:
        os.close(fd)


async def _listed(rest: RestClient, named: list[str] | None) -> list[Instrument]:
    """What the exchange lists of the named symbols, or everything."""
    try:
        return await _patiently(lambda: rest.exchange_info(named))
    except RestRefused:
        if named is None:
            raise
        # One unknown name has them all refused, and the answer does not say which: look it up.
        return await _patiently(rest.exchange_info)


async def _patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """A question at start-up, asked a few times before it is said that the exchange cannot be reached."""
    attempts = AsyncRetrying(
        retry=retry_if_exception_type((RestUnavailable, RateLimited)),
        stop=stop_after_attempt(_START_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.5, max=3.0),
        before_sleep=_tell,
        reraise=True,
    )
    async for attempt in attempts:
        with attempt:
            return await ask()
    raise AssertionError("the last attempt raises")  # pragma: no cover


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    log.warning("exchange.not_reached", error=str(error), attempt=state.attempt_number)
