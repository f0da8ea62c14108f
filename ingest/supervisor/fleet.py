"""The shards together: orders to them, and who carries which streams while the service runs.

The plan of the start may change: symbols come and go, and a shard that ends again and again gives its
streams away; once it runs well it is as good as any for what has to be carried next. Every change is
written into the shard's job file before it is ordered, so that a shard which is started again, for
whatever reason, carries what it should.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import structlog

from ingest.config import Settings
from ingest.events import StreamKey
from ingest.shard.job import job_path, write_job
from ingest.shard.orders import Adopt, Drop, Order
from ingest.shard.plan import FeedPlan, ShardPlan
from ingest.supervisor.child import ShardKeeper

log = structlog.get_logger()

_STREAMS_PER_ORDER = 250
"""So many of the longest names that a board takes still fit a line."""


class Fleet:
    """All keepers of the service."""

    def __init__(
        self, keepers: Sequence[ShardKeeper], settings: Settings, symbol_ids: Mapping[str, int]
    ) -> None:
        self.keepers = tuple(keepers)
        self.symbol_ids = dict(symbol_ids)
        self._settings = settings
        self._next_feed = 1 + max((feed.feed for k in keepers for feed in k.plan.feeds), default=-1)
        self._by_number = {keeper.plan.shard: keeper for keeper in keepers}
        self._evacuated: set[int] = set()

    @property
    def symbols(self) -> set[str]:
        """Every planned symbol."""
        return {key.symbol for key in self.streams}

    @property
    def streams(self) -> list[StreamKey]:
        return [key for keeper in self.keepers for key in keeper.plan.streams]

    def order(self, shard: int, order: Order) -> bool:
        """Tell a shard to do something; False when it cannot be told now."""
        told = self._by_number[shard].order(order)
        log.info("shard.ordered", shard=shard, order=type(order).__name__, told=told)
        return told

    def recycle(self, shard: int, reason: str) -> None:
        """Have a shard's process ended and started anew."""
        log.error("shard.recycled", shard=shard, reason=reason)
        self._by_number[shard].recycle()

    def adopt(
        self,
        streams: Sequence[StreamKey],
        symbol_ids: Mapping[str, int],
        *,
        but_not: int = -1,
        line: int = 1,
    ) -> bool:
        """Give streams to the shard with the fewest, on a feed of their own; False when nobody can.

        No shard is given a stream whose other line it has.
        """
        self.symbol_ids |= symbol_ids
        able = [k for k in self.keepers if k.plan.shard != but_not and k.plan.shard not in self._evacuated]
        able = [keeper for keeper in able if not set(streams) & set(keeper.plan.streams)]
        able = [keeper for keeper in able if keeper.pid is not None] or able
        if not able or not streams:
            return False
        keeper = min(able, key=lambda keeper: len(keeper.plan.streams))
        feed = FeedPlan(self._next_feed, tuple(streams), line)
        self._next_feed += 1
        self._replan(keeper, replace(keeper.plan, feeds=(*keeper.plan.feeds, feed)))
        if not _has_room(keeper):
            self.recycle(keeper.plan.shard, f"no room on its board for {len(streams)} more streams")
            return True
        for part in _parts(feed.streams):
            ids = {key.symbol: self.symbol_ids[key.symbol] for key in part}
            self.order(keeper.plan.shard, Adopt(feed.feed, part, ids, line))
        return True

    def drop(self, symbols: Sequence[str]) -> list[StreamKey]:
        """Forget symbols; returns the streams that were theirs."""
        gone: list[StreamKey] = []
        for keeper in self.keepers:
            theirs = [key for key in keeper.plan.streams if key.symbol in symbols]
            if theirs:
                self._replan(keeper, _without(keeper.plan, symbols))
                for part in _parts(theirs):
                    self.order(keeper.plan.shard, Drop(part))
                gone += theirs
        return gone

    def evacuate(self, shard: int) -> None:
        """Give the streams of a shard that ends again and again to the others, once."""
        if shard in self._evacuated or len(self._evacuated) + 1 >= len(self.keepers):
            return
        self._evacuated.add(shard)
        keeper = self._by_number[shard]
        feeds = keeper.plan.feeds
        self._replan(keeper, replace(keeper.plan, feeds=()))
        log.error("shard.quarantined", shard=shard, streams=sum(len(feed.streams) for feed in feeds))
        kept = tuple(each for feed in feeds for each in self._give_away(feed, shard))
        if kept:
            # Nobody else may have them, and their other line goes on: they wait for this shard.
            self._replan(keeper, replace(keeper.plan, feeds=kept))

    def _give_away(self, feed: FeedPlan, shard: int) -> list[FeedPlan]:
        """Have others carry a feed's streams; returns what nobody may have."""
        groups: dict[frozenset[int], list[StreamKey]] = defaultdict(list)
        for key in feed.streams:
            others = (keeper for keeper in self.keepers if key in keeper.plan.streams)
            groups[frozenset(keeper.plan.shard for keeper in others)].append(key)
        left = [
            key
            for keys in groups.values()
            if not self.adopt(keys, {}, but_not=shard, line=feed.line)
            for key in keys
        ]
        return [replace(feed, streams=tuple(left))] if left else []

    def readmit(self, shard: int) -> None:
        """Let a shard that runs well again carry what comes from now on.

        What it gave away stays where it is: to fetch it back would break every one of these streams.
        """
        if shard in self._evacuated:
            self._evacuated.discard(shard)
            log.info("shard.readmitted", shard=shard)

    def _replan(self, keeper: ShardKeeper, plan: ShardPlan) -> None:
        keeper.plan = plan
        path = job_path(self._settings.service.data_dir, plan.shard)
        write_job(path, plan, self._settings, self.symbol_ids)


def _parts(streams: Sequence[StreamKey]) -> Iterator[tuple[StreamKey, ...]]:
    """An order is one line, and a line has its limit."""
    for first in range(0, len(streams), _STREAMS_PER_ORDER):
        yield tuple(streams[first : first + _STREAMS_PER_ORDER])


def _has_room(keeper: ShardKeeper) -> bool:
    """Whether the plan fits the board: its slots were counted when the process started."""
    facts = keeper.facts()
    if facts.board is None or facts.has_former_board:
        return True
    identity, plan = facts.board.identity, keeper.plan
    return len(plan.streams) <= identity.n_streams and len(plan.feeds) <= identity.n_feeds


def _without(plan: ShardPlan, symbols: Sequence[str]) -> ShardPlan:
    feeds = (
        replace(feed, streams=tuple(key for key in feed.streams if key.symbol not in symbols))
        for feed in plan.feeds
    )
    return replace(plan, feeds=tuple(feed for feed in feeds if feed.streams))
