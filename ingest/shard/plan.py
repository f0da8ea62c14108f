"""Which stream is on which shard and feed: balanced by expected message rate, not by count.

Pure and deterministic: the same streams with the same rates give the same plan, so that a shard that
is started again gets what it had. All streams of a symbol travel on one feed, so that what belongs
together (a book's deltas and its best prices) is seen in one order.

With two lines every stream is planned twice, on two shards. The first line is the one that keeps books;
otherwise they are equal. No shard has both lines of a stream.

Heaviest symbols are placed first, each on the least loaded shard, then inside the shard on the least
loaded feed that has room. A feed never carries more than `streams_per_feed`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingest.events import StreamKey


@dataclass(frozen=True)
class FeedPlan:
    """One websocket: its number (unique over all shards), the streams on it, and which line of theirs."""

    feed: int
    streams: tuple[StreamKey, ...]
    line: int = 1


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
    line: int = 1


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
    rates: Mapping[StreamKey, float], *, shards: int, streams_per_feed: int, lines: int = 1
) -> tuple[ShardPlan, ...]:
    """Distribute streams by their expected messages a second.

    Returns as many shards as have anything to do, at most `shards`. Raises ValueError when a symbol
    alone has more streams than a feed may carry, or there are more lines than shards.
    """
    if lines > shards:
        raise ValueError(f"{lines} lines of a stream need as many shards; there are {shards}")
    bins = [_Bin() for _ in range(shards)]
    for symbol in _heaviest_first(rates, streams_per_feed):
        lightest = sorted(bins, key=lambda shard: (shard.rate, shard.streams))
        for line, shard in enumerate(lightest[:lines], start=1):
            shard.symbols.append(_Symbol(symbol.keys, symbol.rate, line))
    plans, first_feed = [], 0
    for number, shard in enumerate(filter(lambda shard: shard.symbols, bins)):
        feeds = [
            (line, keys)
            for line in range(1, lines + 1)
            for keys in _split([each for each in shard.symbols if each.line == line], streams_per_feed)
        ]
        numbered = enumerate(feeds, start=first_feed)
        plans.append(ShardPlan(number, tuple(FeedPlan(feed, keys, line) for feed, (line, keys) in numbered)))
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
