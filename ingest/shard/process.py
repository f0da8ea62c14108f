"""One shard from start to stop: everything of a shard wired together, and its order of ending.

Two groups of tasks, one inside the other. The outer one owns what must still work while the shard
ends: writer, journal, status. The inner one owns what takes things in: feeds, snapshots, books.
Stopping cancels the inner group, lets the writer drain within its deadline, and then ends the outer.
Before all of them the board is made, and the database waited for (`shard.starting`).
"""

import asyncio
import gc
import os
import random
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from ingest.binance.limits import depth_weight
from ingest.binance.rest import RestClient
from ingest.board.layout import ShardState
from ingest.board.mapped import BoardWriter, board_path
from ingest.book.depths import DepthGoals, first_levels
from ingest.book.snapshots import SnapshotFetcher, SnapshotLimits
from ingest.buffer.batcher import Batcher, BatchLimits
from ingest.buffer.spool import Spool
from ingest.buffer.spool_folder import newest_elsewhere, spool_path, take_over
from ingest.buffer.spool_format import reach
from ingest.buffer.spool_limits import SpoolLimits, SpoolStats
from ingest.clock import Clock
from ingest.config import Settings, history_leaves, session_limits
from ingest.events import DepthSnapshot, StreamKey
from ingest.feed.budget_file import Budget, SharedBudget
from ingest.feed.contract import FeedLimits
from ingest.feed.dialling import open_dial
from ingest.feed.socket import Dial
from ingest.shard.address_budget import open_budget
from ingest.shard.books import Books
from ingest.shard.captured import NO_CAPTURE, Capture, open_capture
from ingest.shard.feeds import Feeds, ResumePoints, Surroundings
from ingest.shard.job import ShardJob
from ingest.shard.latest import LatestBooks
from ingest.shard.looks import LookLimits, Looks, Told
from ingest.shard.orders import Order
from ingest.shard.pipeline import Commits, SessionCounters
from ingest.shard.records import Refusals, SessionRecords
from ingest.shard.repair import Repairer
from ingest.shard.spooled import committed_spans, with_spooled
from ingest.shard.starting import Waiting, carry_over, read_former
from ingest.shard.status import CachedInstant, Sources, StatusWriter
from ingest.store.journal import Journal
from ingest.store.latest import LatestBooksTable
from ingest.store.notifications import Names
from ingest.store.postgres import PostgresSink
from ingest.store.retrying import RetryPolicy, until_available
from ingest.store.sessions import SessionLimits
from ingest.store.writer import Writer

log = structlog.get_logger()

_BOOKS_EVERY_S = 1.0
_RESUME_WINDOW_US = 3 * 86_400 * 1_000_000
_MARKET = "spot"
_KEPT_FRAMES_PER_MINUTE = 60
_DRAIN_SHARE = 0.5
"""Of the time that the whole service may take to stop: the rest belongs to those who wait for us."""

SPARE_STREAMS = 2_048
SPARE_FEEDS = 48
"""Room on the board for what is adopted while the shard runs."""

MAX_WAITING_ORDERS = 256

_LATEST_LIMITS = SessionLimits(connect_s=5.0, statement_s=5.0)
"""Of what is published anew a second later."""


@dataclass(frozen=True)
class Tools:
    """What a shard works with, opened before it and closed after it."""

    sink: PostgresSink
    rest: RestClient
    dial: Dial
    budget: SharedBudget
    board: BoardWriter
    clock: Clock
    rng: random.Random
    spool: Spool | None = None
    capture: Capture = NO_CAPTURE


class Shard:
    """`run` works until `stop` is set, or until something happens that a shard cannot heal."""

    def __init__(self, job: ShardJob, tools: Tools, resume: ResumePoints) -> None:
        self._job = job
        self._tools = tools
        self._instant = CachedInstant(tools.clock, on_refresh=tools.capture.instant)
        self._counters = SessionCounters()
        self._batcher = Batcher(_batch_limits(job.settings))
        self._journal = Journal(tools.sink.session, rng=tools.rng)
        self._records = SessionRecords(
            job.plan.shard, self._journal, clock=tools.clock, kept_frames_per_minute=_KEPT_FRAMES_PER_MINUTE
        )
        self._goals = _depth_goals(job.settings)
        self._books = self._make_books()
        self._fetcher = self._make_fetcher()
        self._books.attach(self._fetcher)
        self._looks = self._make_looks()
        self._feeds = Feeds(self._surroundings())
        self._feeds.plan(job.plan.feeds, job.symbol_ids, resume)
        if job.settings.database.notify:
            tools.sink.notify(Names(self._feeds.key_of, self._feeds.symbol_of))
        self._writer = self._make_writer()
        self._repairer = Repairer(
            tools.rest,
            tools.sink,
            streams=self._feeds.symbol_ids,
            clock=tools.clock,
            rng=tools.rng,
            # As with spools that shards have left: the first shard is the one that there always is.
            orphans_of=_MARKET if job.plan.shard == 0 else None,
        )
        self._status = StatusWriter(tools.board, self._sources(), clock=tools.clock, instant=self._instant)

    async def run(self, stop: asyncio.Event, orders: "asyncio.Queue[Order]", *, drain_s: float) -> int:
        """Receive, store and obey until `stop`; then drain. Returns the rows not stored in time."""
        left = 0
        async with asyncio.TaskGroup() as lasting:
            background = [
                lasting.create_task(self._status.run(), name="status"),
                lasting.create_task(self._writer.run(), name="writer"),
                lasting.create_task(self._journal.run(), name="journal"),
            ]
            await self._receive_until(stop, orders)
            self._status.state = ShardState.DRAINING
            left = await self._writer.drain(deadline_s=drain_s)
            await self._journal.drain(deadline_s=1.0)
            for task in background:
                task.cancel()
        self._status.state = ShardState.STOPPED
        self._status.write_all()
        return left

    async def _receive_until(self, stop: asyncio.Event, orders: "asyncio.Queue[Order]") -> None:
        async with asyncio.TaskGroup() as receiving:
            tasks = [
                receiving.create_task(self._feeds.run(orders), name="feeds"),
                receiving.create_task(self._fetcher.run(), name="snapshots"),
                receiving.create_task(self._look_after_books(), name="books"),
                receiving.create_task(self._looks.run(), name="looks"),
            ]
            if self._job.settings.backfill.enabled:
                tasks.append(receiving.create_task(self._repairer.run(), name="repairs"))
            if self._job.settings.spot.latest_book_every_s:
                tasks.append(receiving.create_task(self._make_latest().run(), name="latest books"))
            self._status.state = ShardState.RUNNING
            await stop.wait()
            for task in tasks:
                task.cancel()

    async def _look_after_books(self) -> None:
        while True:
            await asyncio.sleep(_BOOKS_EVERY_S)
            self._tools.capture.tick()
            self._books.tick()

    # ------------------------------------------------------------------ wiring

    def _make_writer(self) -> Writer:
        tools, feeds = self._tools, self._feeds
        writer = Writer(
            tools.sink,
            self._batcher,
            clock=tools.clock,
            on_commit=Commits(feeds.streams, self._counters).on_commit,
            on_refused=Refusals(self._records, symbol_of=feeds.symbol_of, clock=tools.clock),
            rng=tools.rng,
        )
        if tools.spool is not None:
            tools.spool.attach(feeds.symbol_of, feeds.number_of)
            writer.spool_to(tools.spool)
        return writer

    def _make_latest(self) -> LatestBooks:
        spot = self._job.settings.spot
        table = LatestBooksTable(
            self._job.settings.database.dsn,
            shard=self._job.plan.shard,
            every_s=spot.latest_book_every_s,
            limits=_LATEST_LIMITS,
        )
        return LatestBooks(
            self._books, table, levels=spot.latest_book_levels, every_s=spot.latest_book_every_s
        )

    def _make_books(self) -> Books:
        spot = self._job.settings.spot
        return Books(
            self._batcher,
            clock=self._tools.capture.clock(self._tools.clock),
            instant=self._instant,
            store_every_s=spot.snapshot_every_s,
            stored_levels=spot.stored_levels,
            wanted_levels=spot.snapshot_limit,
        )

    def _make_fetcher(self) -> SnapshotFetcher:
        return SnapshotFetcher(
            self._first_snapshot,
            on_snapshot=self._tools.capture.snapshots(self._books.on_snapshot),
            on_failed=self._tools.capture.failures(self._books.on_failed),
            clock=self._tools.clock,
            rng=self._tools.rng,
            limits=SnapshotLimits(),
        )

    async def _first_snapshot(self, symbol: str) -> DepthSnapshot:
        """As deep as the weight allows that all shards share, which start their books together."""
        missing = (self._books.wanted - self._books.live) * self._job.settings.service.shards
        room = self._tools.budget.room(Budget.WEIGHT, share=1.0)
        levels = first_levels(self._goals, depth_weight, missing=missing, room=room)
        return await self._tools.rest.depth(symbol, levels)

    def _make_looks(self) -> Looks:
        tools = self._tools
        return Looks(
            self._books,
            tools.rest.depth,
            self._spare_weight,
            Told(
                tools.capture.looks(self._books.look_again),
                tools.capture.snapshots(self._books.on_snapshot),
                tools.capture.failures(self._books.on_failed),
            ),
            clock=tools.clock,
            rng=tools.rng,
            limits=LookLimits(self._goals, self._job.settings.spot.audit_every_s),
        )

    def _spare_weight(self) -> int:
        """What may go into second looks now: their share, less what the missing books will take."""
        share = self._job.settings.limits.optional_share
        needed = self._fetcher.waiting * depth_weight(self._goals.first)
        return self._tools.budget.room(Budget.WEIGHT, share=share) - needed

    def _surroundings(self) -> Surroundings:
        tools = self._tools
        return Surroundings(
            url=f"{self._job.settings.spot.ws_url}/stream",
            dial=tools.dial,
            budget=tools.budget,
            board=tools.board,
            clock=tools.clock,
            rng=tools.rng,
            batcher=self._batcher,
            instant=self._instant,
            counters=self._counters,
            records=self._records,
            books=self._books,
            look_up=self._look_up,
            capture=tools.capture,
            limits=FeedLimits(rotation=self._job.settings.limits.rotation),
        )

    async def _look_up(self, keys: Collection[StreamKey]) -> ResumePoints:
        """The newest safe events of streams; a database that is away is waited for."""
        return await until_available(
            partial(_resume_points, self._tools.sink, self._tools.spool, self._job, keys, self._tools.clock),
            policy=RetryPolicy(),
            rng=self._tools.rng,
            on_retry=lambda error: log.info("resume.not_known", error=str(error)),
        )

    def _sources(self) -> Sources:
        fetcher, writer, budget = self._fetcher, self._writer, self._tools.budget
        spool = self._tools.spool
        return Sources(
            feeds=self._feeds.carried,
            books=self._books,
            batcher=self._batcher,
            counters=self._counters,
            snapshots=lambda: (fetcher.fetched, fetcher.waiting),
            store=lambda: (writer.stats().retries, writer.stats().failing_since_s is None),
            weight_used=lambda: budget.used(Budget.WEIGHT),
            tasks=lambda: len(asyncio.all_tasks()),
            spool=SpoolStats if spool is None else spool.stats,
            repairs=self._repairer.by_field,
        )


def _depth_goals(settings: Settings) -> DepthGoals:
    spot = settings.spot
    return DepthGoals(
        first=spot.first_snapshot_limit,
        full=spot.snapshot_limit,
        deepest=spot.deepest_snapshot_limit,
        deepest_books=spot.deepest_books,
        audit=spot.audit_levels,
    )


def _batch_limits(settings: Settings) -> BatchLimits:
    batch = settings.batch
    return BatchLimits(
        max_rows=batch.rows,
        max_bytes=batch.bytes,
        max_age_s=batch.age_s,
        buffer_bytes=batch.buffer_mib * 2**20,
    )


def _spool_limits(settings: Settings) -> SpoolLimits:
    spool = settings.spool
    return SpoolLimits(
        max_bytes=spool.max_mib * 2**20,
        max_age_s=spool.max_age_s,
        after_s=spool.after_s,
        synchronous=spool.synchronous,
    )


@asynccontextmanager
async def open_tools(
    job: ShardJob,
    sink: PostgresSink,
    spool: Spool | None,
    board: BoardWriter,
    *,
    clock: Clock,
    rng: random.Random,
) -> AsyncIterator[Tools]:
    """Everything else that a shard holds open, closed in the opposite order."""
    async with AsyncExitStack() as stack:
        budget = open_budget(job.settings, clock=clock, rng=rng)
        stack.callback(budget.close)
        rest = await stack.enter_async_context(
            RestClient(
                job.settings.spot.rest_url, budget, clock=clock, history_leaves=history_leaves(job.settings)
            )
        )
        dial = await stack.enter_async_context(open_dial(job.settings.spot.ws_client, clock.wall_ns))
        capture = stack.enter_context(open_capture(job.settings, job.plan.shard, clock=clock))
        yield Tools(sink, rest, dial, budget, board, clock, rng, spool, capture)


def _make_board(job: ShardJob, clock: Clock) -> BoardWriter:
    path = board_path(job.settings.service.data_dir, job.plan.shard)
    former = read_former(path)
    board = BoardWriter.create(
        path,
        shard=job.plan.shard,
        pid=os.getpid(),
        keys=job.plan.streams,
        feeds=[feed.feed for feed in job.plan.feeds],
        started_wall_ns=clock.wall_ns(),
        spare_streams=SPARE_STREAMS,
        spare_feeds=SPARE_FEEDS,
    )
    carry_over(board, former, job.plan.streams)
    return board


def _open_spool(job: ShardJob, stack: AsyncExitStack, clock: Clock) -> Spool | None:
    """This shard's spool; the first shard's holds what shards have left that are no more."""
    settings = job.settings
    if not settings.spool.enabled:
        return None
    data_dir, shards = settings.service.data_dir, settings.service.shards
    orphans = partial(take_over, data_dir=data_dir, shards=shards, wall_ns=clock.wall_ns())
    opened = Spool.opened(
        spool_path(data_dir, job.plan.shard),
        _spool_limits(settings),
        clock=clock,
        take_over=orphans if job.plan.shard == 0 else None,
    )
    return stack.enter_context(opened)


async def _open_sink(job: ShardJob, stack: AsyncExitStack) -> PostgresSink:
    settings = job.settings
    opened = PostgresSink.opened(
        settings.database.dsn,
        connections=settings.database.connections,
        application=f"ingest shard {job.plan.shard}",
        limits=session_limits(settings),
        lines=settings.spot.redundancy,
    )
    return await stack.enter_async_context(opened)


async def _resume_points(
    sink: PostgresSink, spool: Spool | None, job: ShardJob, keys: Collection[StreamKey], clock: Clock
) -> ResumePoints:
    """The newest safe events of streams: committed, or on the disk of any shard."""
    data_dir = job.settings.service.data_dir
    safe = await asyncio.to_thread(newest_elsewhere, data_dir, job.plan.shard)
    symbols = sorted({key.symbol for key in keys})
    kinds = sorted({key.kind for key in keys})
    since_us = clock.wall_ns() // 1_000 - _RESUME_WINDOW_US
    points = await sink.resume_points(_MARKET, symbols, kinds, since_us=since_us)
    if spool is not None:
        spool.committed(committed_spans(points))
        reach(safe, spool.newest().values())
    return with_spooled(points, safe, keys)


async def run_shard(
    job: ShardJob, stop: asyncio.Event, orders: "asyncio.Queue[Order]", *, clock: Clock, rng: random.Random
) -> int:
    """Run one shard until `stop`. Returns the rows that were left unwritten (0 when all is well).

    A database that is away is waited for. What comes as orders meanwhile is carried out afterwards.
    """
    async with AsyncExitStack() as stack:
        board = stack.enter_context(_make_board(job, clock))
        spool = _open_spool(job, stack, clock)
        sinks: list[PostgresSink] = []

        async def begin() -> ResumePoints:
            if not sinks:
                sinks.append(await _open_sink(job, stack))
            await sinks[0].check_schema()
            return await _resume_points(sinks[0], spool, job, job.plan.streams, clock)

        resume = await Waiting(board, clock=clock, rng=rng).until_available(stop, begin)
        if resume is None:
            return 0
        log.info("shard.ready", streams=len(job.plan.streams), feeds=len(job.plan.feeds), resumed=len(resume))
        async with open_tools(job, sinks[0], spool, board, clock=clock, rng=rng) as tools:
            shard = Shard(job, tools, resume)
            # What is here stays: looking through all modules and streams for garbage again and again
            # would hold the loop for tens of milliseconds each time.
            gc.freeze()
            return await shard.run(stop, orders, drain_s=job.settings.service.stop_deadline_s * _DRAIN_SHARE)
