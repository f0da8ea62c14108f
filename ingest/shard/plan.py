"""Which stream is on which shard and feed: balanced by expected message rate, not by count.

Pure and deterministic: the same streams with the same rates give the same plan, so that a shard that
is started again gets what it had. All streams of a symbol travel on one feed, so that what belongs
together (a book's deltas and its best prices) is seen in one order.

Heaviest symbols are placed first, each on the least loaded shard, then inside the shard on the least
loaded feed that has room. A feed never carries more than `streams_per_feed`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingest.events import StreamKey


@dataclass(frozen=True)
class FeedPlan:
    """One websocket: its number (unique over all shards) and the streams on it."""

    feed: int
    streams: tuple[StreamKey, ...]


@dataclass(frozen=True)
class ShardPlan:
    """One shard process. A stream's slot on the board is its place in `streams`."""

    shard: int
    feeds: tuple[FeedPlan, ...]

    @property
    def streams(self) -> tuple[StreamKey, ...]:
        return tuple(key for feed in self.feeds for key in feed.streams)


@dataclass
class _Symbol:
    keys: list[StreamKey]
    rate: float


@dataclass
class _Bin:
    symbols: list[_Symbol] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return sum(symbol.rate for symbol in self.symbols)

    @property
    def streams(self) -> int:
        return sum(len(symbol.keys) for symbol in self.symbols)


def make_plan(
    rates: Mapping[StreamKey, float], *, shards: int, streams_per_feed: int
) -> tuple[ShardPlan, ...]:
    """Distribute streams by their expected messages a second.

    Returns as many shards as have anything to do, at most `shards`. Raises ValueError when a symbol
    alone has more streams than a feed may carry.
    """
    bins = [_Bin() for _ in range(shards)]
    for symbol in _heaviest_first(rates, streams_per_feed):
        min(bins, key=lambda shard: (shard.rate, shard.streams)).symbols.append(symbol)
    plans, first_feed = [], 0
    for number, shard in enumerate(filter(lambda shard: shard.symbols, bins)):
        feeds = _split(shard.symbols, streams_per_feed)
        plans.append(ShardPlan(number, tuple(FeedPlan(first_feed + i, keys) for i, keys in enumerate(feeds))))
        first_feed += len(feeds)
    return tuple(plans)


def _heaviest_first(rates: Mapping[StreamKey, float], streams_per_feed: int) -> list[_Symbol]:
    symbols: dict[tuple[str, str], _Symbol] = {}
    for key in sorted(rates):
        symbol = symbols.setdefault((key.market, key.symbol), _Symbol([], 0.0))
        symbol.keys.append(key)
        symbol.rate += rates[key]
    for (_, name), symbol in symbols.items():
        if len(symbol.keys) > streams_per_feed:
            raise ValueError(f"{name} has {len(symbol.keys)} streams; a feed carries {streams_per_feed}")
    return sorted(symbols.values(), key=lambda symbol: (-symbol.rate, symbol.keys))


def _split(symbols: Sequence[_Symbol], streams_per_feed: int) -> list[tuple[StreamKey, ...]]:
    """Heaviest first onto the least loaded feed with room; one more feed when none has."""
    total = sum(len(symbol.keys) for symbol in symbols)
    feeds = [_Bin() for _ in range(-(-total // streams_per_feed))]
    for symbol in symbols:
        roomy = [feed for feed in feeds if feed.streams + len(symbol.keys) <= streams_per_feed]
        if not roomy:
            roomy = [_Bin()]
            feeds += roomy
        min(roomy, key=lambda feed: (feed.rate, feed.streams)).symbols.append(symbol)
    return [tuple(key for symbol in feed.symbols for key in symbol.keys) for feed in feeds if feed.symbols]
