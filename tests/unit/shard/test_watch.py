"""`ingest.shard.watch`: silence is noticed stream by stream, named, and answered with a new connection."""

from collections.abc import Sequence

import pytest

from ingest.board.layout import Diagnosis, StreamState
from ingest.feed.lifecycle import FeedPhase
from ingest.shard.stream import Stream
from ingest.shard.watch import SilenceWatch
from tests.unit.shard.builders import Bench, FakeFeed, a_lane

START_S = 1_000


class Watched:
    """A watch that is ticked once a second, and streams that speak when the test says so."""

    def __init__(self, **threshold_s: float) -> None:
        bench = Bench()
        self.by_kind = {
            kind: bench.stream(kind, threshold_s=seconds) for kind, seconds in threshold_s.items()
        }
        self.feed = FakeFeed()
        self.watch = SilenceWatch(self.feed, a_lane(list(self.by_kind.values()), self.feed))  # type: ignore[arg-type]
        self.now_s = START_S

    def pass_time(self, seconds: int, *, speaking: Sequence[str] = ()) -> None:
        for _ in range(seconds):
            self.now_s += 1
            for kind in speaking:
                self.by_kind[kind].news += 1
            self.watch.tick(self.now_s)

    def verdict(self, kind: str) -> tuple[StreamState, Diagnosis]:
        stream: Stream = self.by_kind[kind]
        return stream.state, stream.diagnosis


STREAM_SILENT = (StreamState.STALE, Diagnosis.STREAM_SILENT)
FEED_SILENT = (StreamState.STALE, Diagnosis.FEED_SILENT)
LIVE = (StreamState.LIVE, Diagnosis.NONE)


def test_stream_that_speaks_is_live() -> None:
    """And its feed is left alone."""
    watched = Watched(trade=10, depth=5)
    watched.pass_time(60, speaking=("trade", "depth"))

    assert watched.verdict("trade") == watched.verdict("depth") == LIVE
    assert watched.feed.replaced == []


def test_stream_that_has_not_spoken_yet_is_starting() -> None:
    """Until its threshold has passed nothing is known of it."""
    watched = Watched(trade=10)
    watched.pass_time(10)

    assert watched.verdict("trade") == (StreamState.STARTING, Diagnosis.NONE)


def test_silent_stream_among_speaking_ones_is_named() -> None:
    """Its neighbours stay live, and the reason for the new connection names it."""
    watched = Watched(trade=10, depth=5)
    watched.pass_time(3, speaking=("trade", "depth"))
    watched.pass_time(11, speaking=("depth",))

    assert watched.verdict("trade") == STREAM_SILENT
    assert watched.verdict("depth") == LIVE
    assert watched.feed.replaced == ["stream_stale: spot:BTCUSDT:trade"]


@pytest.mark.parametrize("last_to_speak", ["trade", "depth", "mini_ticker"])
def test_feed_that_brings_nothing_is_told_from_silent_streams(last_to_speak: str) -> None:
    """Thresholds differ by kind and last messages by seconds; all the same it is the feed that is silent."""
    watched = Watched(trade=120, depth=60, mini_ticker=60)
    watched.pass_time(3, speaking=("trade", "depth", "mini_ticker"))
    watched.pass_time(2, speaking=(last_to_speak,))
    watched.pass_time(63)

    assert watched.verdict("depth") == watched.verdict("mini_ticker") == FEED_SILENT
    assert len(watched.feed.replaced) >= 1

    watched.pass_time(60)
    assert watched.verdict("trade") == FEED_SILENT


def test_diagnosis_follows_what_comes_back() -> None:
    """When the others speak again and one does not, it is that stream that is silent."""
    watched = Watched(trade=10, depth=10)
    watched.pass_time(3, speaking=("trade", "depth"))
    watched.pass_time(12)
    assert watched.verdict("trade") == FEED_SILENT

    watched.pass_time(1, speaking=("depth",))
    assert watched.verdict("trade") == STREAM_SILENT
    assert watched.verdict("depth") == LIVE


def test_stale_stream_is_live_with_its_first_message() -> None:
    """Whatever its feed went through."""
    watched = Watched(trade=10)
    watched.pass_time(12)
    watched.pass_time(1, speaking=("trade",))

    assert watched.verdict("trade") == LIVE


def test_feed_is_replaced_once_per_silence_and_ever_less_often() -> None:
    """A merely quiet stream must not have its neighbours reconnected for ever."""
    watched = Watched(trade=10, depth=5)
    watched.pass_time(200, speaking=("depth",))

    assert len(watched.feed.replaced) == 4


def test_silence_counts_from_the_subscription() -> None:
    """A feed that was away for long gets its whole threshold once it is live again."""
    watched = Watched(trade=10)
    watched.feed.phase = FeedPhase.CONNECTING
    watched.pass_time(9)
    watched.feed.phase = FeedPhase.LIVE
    watched.pass_time(10)

    assert watched.feed.replaced == []


def test_feed_that_is_down_is_not_replaced() -> None:
    """It is being dialled anyway; its streams are recovering, and stale when that takes too long."""
    watched = Watched(trade=10)
    watched.pass_time(1, speaking=("trade",))
    watched.feed.phase = FeedPhase.CONNECTING
    watched.pass_time(5)
    assert watched.verdict("trade") == (StreamState.RECOVERING, Diagnosis.NONE)

    watched.pass_time(10)
    assert watched.verdict("trade")[0] is StreamState.STALE
    assert watched.feed.replaced == []


def test_reason_names_a_few_and_counts_the_rest() -> None:
    """A feed of hundreds of streams has a reason that can be read."""
    bench, feed = Bench(), FakeFeed()
    streams = [bench.stream("trade", symbol=f"S{number}USDT") for number in range(8)]
    watch = SilenceWatch(feed, a_lane(streams, feed))  # type: ignore[arg-type]
    for second in range(12):
        watch.tick(START_S + second)

    (reason,) = feed.replaced
    assert reason.startswith("stream_stale: spot:S0USDT:trade, ")
    assert reason.endswith("spot:S4USDT:trade and 3 more")
