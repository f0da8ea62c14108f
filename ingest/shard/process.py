"""One shard from start to stop: everything of a shard wired together, and its order of ending.

Two groups of tasks, one inside the other. The outer one owns what must still work while the shard
ends: writer, journal, status. The inner one owns what takes things in: feeds, snapshots, the watch.
Stopping cancels the inner group, lets the writer drain within its deadline, and then ends the outer.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import structlog

from ingest.binance.rest import RestClient
from ingest.binance.streams import subscribe_batches, subscribe_message, wire_name
from ingest.board.layout import ShardState
from ingest.board.mapped import BoardWriter, board_path
from ingest.book.snapshots import SnapshotFetcher, SnapshotLimits
from ingest.book.sync import BookSync
from ingest.buffer.batcher import Batcher, BatchLimits
from ingest.clock import Clock
from ingest.config import Settings, session_limits
from ingest.events import StreamKey
from ingest.feed.budget_file import Budget, SharedBudget
from ingest.feed.connection import Feed, FeedLimits, open_session
from ingest.feed.staleness import SilenceTimer
from ingest.shard.address_budget import open_budget
from ingest.shard.books import Books
from ingest.shard.job import ShardJob
from ingest.shard.kinds import DepthStream, make_stream
from ingest.shard.pipeline import Commits, FeedLane, SessionCounters
from ingest.shard.plan import FeedPlan
from ingest.shard.records import SessionRecords
from ingest.shard.status import CachedInstant, Sources, StatusWriter
from ingest.shard.stream import Stream, StreamContext
from ingest.shard.watch import SilenceWatch
from ingest.store.journal import Journal
from ingest.store.lookup import ResumePoint
from ingest.store.postgres import PostgresSink
from ingest.store.writer import Writer

log = structlog.get_logger()

_WATCH_EVERY_S = 1.0
_RESUME_WINDOW_US = 3 * 86_400 * 1_000_000
_MARKET = "spot"
_KEPT_FRAMES_PER_MINUTE = 60
_DRAIN_SHARE = 0.5
"""Of the time that the whole service may take to stop: the rest belongs to those who wait for us."""

ResumePoints = Mapping[tuple[str, str], ResumePoint]


@dataclass(frozen=True)
class Tools:
    """What a shard works with, opened before it and closed after it."""

    sink: PostgresSink
    rest: RestClient
    http: aiohttp.ClientSession
    budget: SharedBudget
    board: BoardWriter
    clock: Clock
    rng: random.Random


class Shard:
    """`run` works until `stop` is set, or until something happens that a shard cannot heal."""

    def __init__(self, job: ShardJob, tools: Tools, resume: ResumePoints) -> None:
        self._job = job
        self._tools = tools
        self._instant = CachedInstant(tools.clock)
        self._counters = SessionCounters()
        self._batcher = Batcher(_batch_limits(job.settings))
        self._journal = Journal(tools.sink.session, rng=tools.rng)
        self._records = SessionRecords(
            job.plan.shard, self._journal, clock=tools.clock, kept_frames_per_minute=_KEPT_FRAMES_PER_MINUTE
        )
        self._books = self._make_books()
        self._fetcher = self._make_fetcher()
        self._books.attach(self._fetcher)
        slots = {key: slot for slot, key in enumerate(job.plan.streams)}
        self._feeds = [self._make_feed(plan, slots, resume) for plan in job.plan.feeds]
        self._streams = [stream for _, lane in self._feeds for stream in lane.streams]
        commits = Commits({stream.slot: stream for stream in self._streams}, self._counters)
        self._writer = Writer(
            tools.sink,
            self._batcher,
            clock=tools.clock,
            on_commit=commits.on_commit,
            on_refused=self._records.row_refused,
            rng=tools.rng,
        )
        self._status = StatusWriter(tools.board, self._sources(), clock=tools.clock, instant=self._instant)

    async def run(self, stop: asyncio.Event, *, drain_s: float) -> int:
        """Receive and store until `stop`; then drain. Returns the rows that could not be stored in time."""
        left = 0
        async with asyncio.TaskGroup() as lasting:
            background = [
                lasting.create_task(self._status.run(), name="status"),
                lasting.create_task(self._writer.run(), name="writer"),
                lasting.create_task(self._journal.run(), name="journal"),
            ]
            await self._receive_until(stop)
            self._status.state = ShardState.DRAINING
            left = await self._writer.drain(deadline_s=drain_s)
            await self._journal.drain(deadline_s=1.0)
            for task in background:
                task.cancel()
        self._status.state = ShardState.STOPPED
        self._status.write_all()
        return left

    async def _receive_until(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as receiving:
            tasks = [receiving.create_task(feed.run(), name=f"feed {feed.number}") for feed, _ in self._feeds]
            tasks.append(receiving.create_task(self._fetcher.run(), name="snapshots"))
            tasks.append(receiving.create_task(self._watch(), name="watch"))
            self._status.state = ShardState.RUNNING
            await stop.wait()
            for task in tasks:
                task.cancel()

    async def _watch(self) -> None:
        watches = [SilenceWatch(feed, lane) for feed, lane in self._feeds]
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            for watch in watches:
                watch.tick(self._instant.now_s)
            self._books.tick()

    # ------------------------------------------------------------------ wiring

    def _make_books(self) -> Books:
        spot = self._job.settings.spot
        return Books(
            self._batcher,
            clock=self._tools.clock,
            instant=self._instant,
            store_every_s=spot.snapshot_every_s,
            stored_levels=spot.stored_levels,
        )

    def _make_fetcher(self) -> SnapshotFetcher:
        return SnapshotFetcher(
            self._tools.rest.depth,
            on_snapshot=self._books.on_snapshot,
            on_failed=self._books.on_failed,
            clock=self._tools.clock,
            rng=self._tools.rng,
            limits=SnapshotLimits(levels=self._job.settings.spot.snapshot_limit),
        )

    def _make_feed(
        self, plan: FeedPlan, slots: Mapping[StreamKey, int], resume: ResumePoints
    ) -> tuple[Feed, FeedLane]:
        tools = self._tools
        streams = [self._make_stream(key, slots[key], plan.feed, resume) for key in plan.streams]
        lane = FeedLane(
            streams,
            self._counters,
            on_malformed=self._records.frame_malformed,
            on_session=self._records.session,
        )
        feed = Feed(
            plan.feed,
            f"{self._job.settings.spot.ws_url}/stream",
            _subscriptions(plan.streams),
            sink=lane,
            http=tools.http,
            budget=tools.budget,
            clock=tools.clock,
            rng=tools.rng,
            limits=FeedLimits(),
        )
        lane.attach(feed)
        return feed, lane

    def _make_stream(self, key: StreamKey, slot: int, feed: int, resume: ResumePoints) -> Stream:
        threshold_s = self._job.settings.spot.stale_after_s.of(key.kind)
        context = StreamContext(
            key=key,
            slot=slot,
            symbol_id=self._job.symbol_ids[key.symbol],
            feed=feed,
            batcher=self._batcher,
            instant=self._instant,
            timer=SilenceTimer(threshold_s, self._instant.now_s),
        )
        stream = make_stream(context, book=BookSync(key.symbol), act=self._books.act)
        if isinstance(stream, DepthStream):
            self._books.add(stream)
        point = resume.get((key.symbol, key.kind))
        if point is not None:
            stream.resume(point.last_id if point.last_id is not None else -1, point.ts_us)
        return stream

    def _sources(self) -> Sources:
        fetcher, writer, budget = self._fetcher, self._writer, self._tools.budget
        return Sources(
            streams=self._streams,
            feeds=self._feeds,
            books=self._books,
            batcher=self._batcher,
            counters=self._counters,
            snapshots=lambda: (fetcher.fetched, fetcher.waiting),
            store=lambda: (writer.stats().retries, writer.stats().failing_since_s is None),
            weight_used=lambda: budget.used(Budget.WEIGHT),
        )


def _batch_limits(settings: Settings) -> BatchLimits:
    batch = settings.batch
    return BatchLimits(
        max_rows=batch.rows,
        max_bytes=batch.bytes,
        max_age_s=batch.age_s,
        buffer_bytes=batch.buffer_mib * 2**20,
    )


def _subscriptions(streams: Sequence[StreamKey]) -> dict[int, str]:
    """The SUBSCRIBE messages of a feed by their request ids."""
    batches = subscribe_batches([wire_name(key.symbol, key.kind) for key in streams])
    return {number: subscribe_message(names, number) for number, names in enumerate(batches, start=1)}


@asynccontextmanager
async def open_tools(job: ShardJob, *, clock: Clock, rng: random.Random) -> AsyncIterator[Tools]:
    """Everything that a shard holds open, closed in the opposite order."""
    settings = job.settings
    async with AsyncExitStack() as stack:
        budget = open_budget(settings, clock=clock, rng=rng)
        stack.callback(budget.close)
        sink = await stack.enter_async_context(
            PostgresSink.opened(
                settings.database.url.get_secret_value(),
                connections=settings.database.connections,
                application=f"ingest shard {job.plan.shard}",
                limits=session_limits(settings),
            )
        )
        await sink.check_schema()
        rest = await stack.enter_async_context(RestClient(settings.spot.rest_url, budget, clock=clock))
        http = await stack.enter_async_context(open_session())
        board = BoardWriter.create(
            board_path(settings.service.data_dir, job.plan.shard),
            shard=job.plan.shard,
            pid=os.getpid(),
            keys=job.plan.streams,
            feeds=len(job.plan.feeds),
            started_wall_ns=clock.wall_ns(),
        )
        stack.callback(board.close)
        yield Tools(sink, rest, http, budget, board, clock, rng)


async def run_shard(job: ShardJob, stop: asyncio.Event, *, clock: Clock, rng: random.Random) -> int:
    """Run one shard until `stop`. Returns the rows that were left unwritten (0 when all is well)."""
    async with open_tools(job, clock=clock, rng=rng) as tools:
        symbols = sorted({key.symbol for key in job.plan.streams})
        kinds = sorted({key.kind for key in job.plan.streams})
        since_us = clock.wall_ns() // 1_000 - _RESUME_WINDOW_US
        resume = await tools.sink.resume_points(_MARKET, symbols, kinds, since_us=since_us)
        log.info("shard.ready", streams=len(job.plan.streams), feeds=len(job.plan.feeds), resumed=len(resume))
        shard = Shard(job, tools, resume)
        return await shard.run(stop, drain_s=job.settings.service.stop_deadline_s * _DRAIN_SHARE)
