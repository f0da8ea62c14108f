"""`ingest.shard.plan`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.events import StreamKey
from ingest.shard.plan import make_plan

KINDS = ("trade", "book_ticker", "depth", "kline_1m", "mini_ticker")


def _rates(weights: dict[str, float], kinds: tuple[str, ...] = KINDS) -> dict[StreamKey, float]:
    return {
        StreamKey("spot", symbol, kind): weight / len(kinds)
        for symbol, weight in weights.items()
        for kind in kinds
    }


def test_heavy_symbols_are_spread_over_shards() -> None:
    """Two heavy symbols do not share a shard while a lighter partner is to be had."""
    plan = make_plan(_rates({"A": 100, "B": 90, "C": 10, "D": 5}), shards=2, streams_per_feed=100)

    symbols = [{key.symbol for key in shard.streams} for shard in plan]
    assert {"A"} <= symbols[0] and {"B"} <= symbols[1]


def test_shards_without_work_are_left_out() -> None:
    """One symbol needs one shard."""
    assert len(make_plan(_rates({"A": 1.0}), shards=4, streams_per_feed=10)) == 1


def test_symbol_with_more_streams_than_a_feed_is_refused() -> None:
    """All streams of a symbol travel together, so they must fit."""
    with pytest.raises(ValueError, match="A has 5 streams"):
        make_plan(_rates({"A": 1.0}), shards=1, streams_per_feed=4)


@given(
    st.dictionaries(st.text("ABCDEFG", min_size=1, max_size=4), st.floats(0.0, 1e4), min_size=1, max_size=60),
    st.integers(1, 6),
    st.integers(5, 40),
)
def test_every_stream_is_planned_once_and_no_feed_is_too_full(
    weights: dict[str, float], shards: int, streams_per_feed: int
) -> None:
    """Each stream is on exactly one feed, symbols stay whole, feed numbers are unique."""
    rates = _rates(weights)

    plan = make_plan(rates, shards=shards, streams_per_feed=streams_per_feed)

    feeds = [feed for shard in plan for feed in shard.feeds]
    planned = [key for feed in feeds for key in feed.streams]
    assert sorted(planned) == sorted(rates)
    assert max(len(feed.streams) for feed in feeds) <= streams_per_feed
    assert len({feed.feed for feed in feeds}) == len(feeds)
    assert sum(len({key.symbol for key in feed.streams}) for feed in feeds) == len(weights)
    assert [shard.shard for shard in plan] == list(range(len(plan)))


def test_plan_does_not_depend_on_the_order_of_its_input() -> None:
    """The same streams and rates give the same plan."""
    rates = _rates({"A": 3.0, "B": 3.0, "C": 1.0})
    backwards = dict(reversed(rates.items()))

    assert make_plan(rates, shards=2, streams_per_feed=10) == make_plan(
        backwards, shards=2, streams_per_feed=10
    )


@given(
    st.dictionaries(st.text("ABCDEFG", min_size=1, max_size=4), st.floats(0.0, 1e4), min_size=1, max_size=40),
    st.integers(2, 6),
    st.integers(5, 40),
)
def test_two_lines_of_a_stream_are_on_two_shards(
    weights: dict[str, float], shards: int, streams_per_feed: int
) -> None:
    """Each line has every stream once, a feed carries one line, and no shard has both of any stream."""
    rates = _rates(weights)

    plan = make_plan(rates, shards=shards, streams_per_feed=streams_per_feed, lines=2)

    for line in (1, 2):
        feeds = [feed for shard in plan for feed in shard.feeds if feed.line == line]
        assert sorted(key for feed in feeds for key in feed.streams) == sorted(rates)
    assert all(len(set(shard.streams)) == len(shard.streams) for shard in plan)
    numbers = [feed.feed for shard in plan for feed in shard.feeds]
    assert sorted(numbers) == list(range(len(numbers)))


def test_more_lines_than_shards_are_refused() -> None:
    """Two on one shard would die together."""
    with pytest.raises(ValueError, match="2 lines of a stream need as many shards"):
        make_plan(_rates({"A": 1.0}), shards=1, streams_per_feed=10, lines=2)
