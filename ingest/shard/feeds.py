"""The feeds of one shard with their lanes and streams: those of the plan, and what orders make of them.

What it owns: which stream is on which feed and in which slot of the board, and the tasks of the feeds.
It carries out orders (`shard.orders`) and judges none of them; one that cannot be carried out is logged
and forgotten, because whoever gave it sees on the board what became of it.

Invariants: a stream is on one feed at most; its slot on the board is free again when it is dropped, its
number never is. A stream that is adopted is subscribed only when its newest committed event has been
looked up: whatever it missed before becomes a gap.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import structlog

from ingest.binance.limits import MAX_STREAMS_PER_FEED
from ingest.binance.streams import request_messages
from ingest.board.layout import encode_key
from ingest.board.mapped import BoardWriter
from ingest.buffer.batcher import Batcher
from ingest.clock import Clock
from ingest.errors import BoardError, StoreError
from ingest.events import StreamKey
from ingest.feed.budget_file import SharedBudget
from ingest.feed.connection import Feed
from ingest.feed.contract import FeedLimits
from ingest.feed.socket import Dial
from ingest.shard.books import Books
from ingest.shard.captured import NO_CAPTURE, Capture
from ingest.shard.kinds import DepthStream
from ingest.shard.orders import Adopt, Drop, Order, Probe, ReplaceFeed, Resubscribe
from ingest.shard.pipeline import FeedLane, SessionCounters
from ingest.shard.plan import FeedPlan
from ingest.shard.records import SessionRecords
from ingest.shard.stream import Instant, Stream, StreamContext
from ingest.shard.streams import make_bookless, make_stream
from ingest.store.lookup import ResumePoint

log = structlog.get_logger()

ResumePoints: TypeAlias = Mapping[tuple[str, str], ResumePoint]
"""By symbol and kind."""


@dataclass(frozen=True)
class Surroundings:
    """What feeds and streams are built from and deliver into."""

    url: str
    dial: Dial
    budget: SharedBudget
    board: BoardWriter
    clock: Clock
    rng: random.Random
    batcher: Batcher
    instant: Instant
    counters: SessionCounters
    records: SessionRecords
    books: Books
    look_up: Callable[[Collection[StreamKey]], Awaitable[ResumePoints]]
    """The newest committed events of streams; waits for the database. Raises StoreError."""
    limits: FeedLimits = field(default_factory=FeedLimits)
    capture: Capture = NO_CAPTURE


@dataclass(frozen=True, eq=False)
class CarriedFeed:
    """A feed, the lane it delivers into, its slot on the board, and which line of its streams it carries."""

    feed: Feed
    lane: FeedLane
    slot: int
    line: int = 1


class Feeds:
    """`plan` what there is from the start, then `run` until cancelled."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.carried: dict[int, CarriedFeed] = {}
        """By the feed's number."""
        self.streams: dict[int, Stream] = {}
        """By the stream's number."""
        self.symbols: dict[int, str] = {}
        """Names of symbols by their numbers in the database; what was once carried stays."""
        self._number_by_key: dict[StreamKey, int] = {}
        self._around = surroundings
        self._numbers = itertools.count()
        self._adopting: set[StreamKey] = set()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def plan(self, plans: Sequence[FeedPlan], symbol_ids: Mapping[str, int], resume: ResumePoints) -> None:
        """Make the feeds of the plan; the board was made for it: slots are places in the plan."""
        slots = itertools.count()
        for slot, feed in enumerate(plans):
            carried = self._make_feed(feed.feed, slot, feed.line)
            for key in feed.streams:
                self._add_stream(carried, key, next(slots), symbol_ids[key.symbol], resume)

    def number_of(self, key: StreamKey) -> int | None:
        """The number of a stream that is carried now."""
        return self._number_by_key.get(key)

    def key_of(self, number: int) -> StreamKey | None:
        """The stream of a number, when it is carried now."""
        stream = self.streams.get(number)
        return None if stream is None else stream.key

    def symbol_of(self, symbol_id: int) -> str:
        """The name of a symbol that is, or was, carried; else its number in words."""
        return self.symbols.get(symbol_id, f"symbol {symbol_id}")

    def symbol_ids(self) -> dict[StreamKey, int]:
        """The streams whose gaps are repaired here, with the database's ids of their symbols.

        Those that are carried now; of two lines the first.
        """
        firsts = (carried for carried in self.carried.values() if carried.line == 1)
        return {stream.key: stream.symbol_id for carried in firsts for stream in carried.lane.streams}

    async def run(self, orders: "asyncio.Queue[Order]") -> None:
        """Keep all feeds up, and carry out orders as they come."""
        async with asyncio.TaskGroup() as self._group:
            for number in self.carried:
                self._start(number)
            while True:
                self.carry_out(await orders.get())

    def carry_out(self, order: Order) -> None:
        """Carry out one order, or log why it cannot be."""
        what = type(order).__name__
        try:
            match order:
                case Resubscribe(streams):
                    self._resubscribe(streams)
                case ReplaceFeed():
                    self._replace(order)
                case Probe(feed):
                    self._feed(feed).feed.probe()
                case Adopt():
                    self._adopt(order)
                case Drop(streams):
                    self._drop(streams)
        except (ValueError, BoardError) as error:
            log.warning("order.refused", order=what, error=str(error))
        else:
            log.info("order.taken", order=what)

    # ------------------------------------------------------------------ repairs

    def _feed(self, number: int) -> CarriedFeed:
        if number not in self.carried:
            raise ValueError(f"no feed {number} here")
        return self.carried[number]

    def _resubscribe(self, keys: Collection[StreamKey]) -> None:
        for carried, streams in self._by_feed(keys):
            if not carried.feed.resubscribe(carried.lane.names_of(streams), self._marking(carried, streams)):
                log.info("order.pointless", order="Resubscribe", feed=carried.feed.number)

    def _marking(self, carried: CarriedFeed, streams: Sequence[Stream]) -> Callable[[], None]:
        return lambda: self._broke(carried, streams)

    def _broke(self, carried: CarriedFeed, streams: Sequence[Stream]) -> None:
        here = [stream for stream in streams if stream in carried.lane.streams]
        self._around.capture.broke(carried.feed.number, [stream.key for stream in here], "resubscribe")
        carried.lane.broke(here, "resubscribe")

    def _replace(self, order: ReplaceFeed) -> None:
        carried = self._feed(order.feed)
        stale = [stream for stream in carried.lane.streams if stream.key in order.stale]
        self._broke(carried, stale)
        if not carried.feed.replace(order.reason):
            log.info("order.pointless", order="ReplaceFeed", feed=order.feed)

    def _by_feed(self, keys: Collection[StreamKey]) -> list[tuple[CarriedFeed, list[Stream]]]:
        wanted = set(keys)
        found = [
            (carried, [stream for stream in carried.lane.streams if stream.key in wanted])
            for carried in self.carried.values()
        ]
        return [(carried, streams) for carried, streams in found if streams]

    # ------------------------------------------------------------------ coming and going

    def _adopt(self, order: Adopt) -> None:
        here = {stream.key for stream in self.streams.values()} | self._adopting
        keys = [key for key in dict.fromkeys(order.streams) if key not in here]
        self._check_room(order.feed, keys)
        self._adopting.update(keys)
        if keys and self._group is not None:
            self._group.create_task(self._adopt_when_known(order, keys), name=f"adopt for {order.feed}")

    def _check_room(self, feed: int, keys: Collection[StreamKey]) -> None:
        board = self._around.board
        for key in keys:
            encode_key(key)
        if len(keys) + len(self._adopting) > board.free_streams:
            raise BoardError(f"{len(keys)} streams more than the board has room for")
        carried = self.carried.get(feed)
        if carried is None and not board.free_feeds:
            raise BoardError("the board has no room for another feed")
        if carried is not None and len(keys) + len(carried.lane.streams) > MAX_STREAMS_PER_FEED:
            raise ValueError(f"feed {feed} would carry more than {MAX_STREAMS_PER_FEED} streams")

    async def _adopt_when_known(self, order: Adopt, keys: Sequence[StreamKey]) -> None:
        try:
            resume = await self._around.look_up(keys)
            # Some may have been dropped again while the database was asked.
            self._take([key for key in keys if key in self._adopting], order, resume)
        except (StoreError, BoardError) as error:
            log.error("order.failed", order="Adopt", feed=order.feed, error=str(error))
        finally:
            self._adopting.difference_update(keys)

    def _take(self, keys: Sequence[StreamKey], order: Adopt, resume: ResumePoints) -> None:
        if not keys:
            return
        board, number = self._around.board, order.feed
        is_new = number not in self.carried
        if is_new:
            self._make_feed(number, board.adopt_feed(number), order.line)
        carried = self.carried[number]
        streams = [
            self._add_stream(carried, key, board.adopt_stream(key), order.symbol_ids[key.symbol], resume)
            for key in keys
        ]
        if is_new:
            self._start(number)
        log.info("streams.adopted", feed=number, streams=len(streams), is_new_feed=is_new)

    def _drop(self, keys: Collection[StreamKey]) -> None:
        self._adopting.difference_update(keys)
        for carried, streams in self._by_feed(keys):
            self._around.capture.removed(carried.feed.number, [stream.key for stream in streams])
            carried.feed.remove(carried.lane.remove(streams))
            for stream in streams:
                self._forget(stream)
            if not carried.lane.streams:
                self._close(carried)
            log.info("streams.dropped", feed=carried.feed.number, streams=len(streams))

    def _forget(self, stream: Stream) -> None:
        stream.leave()
        if isinstance(stream, DepthStream):
            self._around.books.remove(stream.symbol)
        del self.streams[stream.number]
        self._number_by_key.pop(stream.key, None)
        self._around.board.release_stream(stream.slot)

    def _close(self, carried: CarriedFeed) -> None:
        number = carried.feed.number
        del self.carried[number]
        self._around.board.release_feed(carried.slot)
        if task := self._tasks.pop(number, None):
            task.cancel()

    def _start(self, number: int) -> None:
        assert self._group is not None
        task = self._group.create_task(self.carried[number].feed.run(), name=f"feed {number}")
        self._tasks[number] = task

    # ------------------------------------------------------------------ making them

    def _make_feed(self, number: int, slot: int, line: int) -> CarriedFeed:
        around = self._around
        lane = FeedLane(
            (),
            around.counters,
            on_malformed=around.records.frame_malformed,
            on_session=around.records.session,
        )
        sink = around.capture.sink(number, lane)
        feed = Feed(
            number,
            around.url,
            (),
            write=request_messages,
            sink=sink,
            dial=around.dial,
            budget=around.budget,
            clock=around.clock,
            rng=around.rng,
            limits=around.limits,
        )
        sink.attach(feed)
        self.carried[number] = CarriedFeed(feed, lane, slot, line)
        return self.carried[number]

    def _add_stream(
        self, carried: CarriedFeed, key: StreamKey, slot: int, symbol_id: int, resume: ResumePoints
    ) -> Stream:
        around = self._around
        context = StreamContext(
            key=key,
            slot=slot,
            number=next(self._numbers),
            symbol_id=symbol_id,
            feed=carried.feed.number,
            batcher=around.batcher,
            instant=around.instant,
        )
        if carried.line > 1:
            stream = make_bookless(context)
        else:
            book = around.books.new_book(key.symbol) if key.kind == "depth" else None
            stream = make_stream(context, book=book, act=around.books.act)
        if isinstance(stream, DepthStream):
            around.books.add(stream)
        point = resume.get((key.symbol, key.kind))
        around.capture.added(
            carried.feed.number, key, None if point is None else point[:2], line=carried.line
        )
        if point is not None:
            stream.resume(point.last_id if point.last_id is not None else -1, point.ts_us)
            if point.committed_us is not None:
                stream.committed_event_us = point.committed_us
        self.streams[stream.number] = stream
        self.symbols[symbol_id] = key.symbol
        self._number_by_key[key] = stream.number
        carried.feed.add(carried.lane.add([stream]))
        return stream
