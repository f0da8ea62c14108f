"""`ingest.shard.overlap`: a successor's way into a lane, and when it may take over."""

from dataclasses import replace

import orjson
import pytest

from ingest.binance.streams import wire_name
from ingest.book.sync import BookSync
from ingest.buffer.tables import BOOK_TICKERS, DEPTH_DELTAS, TRADES
from ingest.events import Gap
from ingest.feed.contract import OverlapLimits, Takeover
from ingest.shard.overlap import LaneOverlap
from ingest.shard.pipeline import FeedLane
from ingest.shard.stream import Stream
from tests.unit.shard import builders as a
from tests.unit.shard.builders import A_SESSION, AN_END, RECV_NS, Bench, a_lane

LIMITS = OverlapLimits(settle_s=1.0, deadline_s=10.0, patience_s=2.0)
LIVE_S = 100.0


def frame(kind: str, data: object) -> bytes:
    return orjson.dumps({"stream": wire_name(a.SYMBOL, kind), "data": data})


class Crossroads:
    """A lane of some kinds, the carrier's way in, and that of a successor that is subscribed."""

    def __init__(self, *kinds: str, limits: OverlapLimits = LIMITS) -> None:
        self.bench, self.malformed, self.book = Bench(), list[str](), BookSync(a.SYMBOL)
        self.streams: dict[str, Stream] = {kind: self.bench.stream(kind, book=self.book) for kind in kinds}
        self.lane: FeedLane = a_lane(
            list(self.streams.values()), on_malformed=lambda _, error, __: self.malformed.append(error)
        )
        self.limits = limits

    def begin(self) -> LaneOverlap:
        self.heir = self.lane.overlap(self.limits)
        self.heir.judge(LIVE_S, LIVE_S)
        return self.heir

    def carrier_brings(self, kind: str, *messages: dict[str, object]) -> None:
        for message in messages:
            self.lane.on_frame(frame(kind, message), RECV_NS)

    def heir_brings(self, kind: str, *messages: dict[str, object]) -> None:
        for message in messages:
            self.heir.on_frame(frame(kind, message), RECV_NS)

    def judged(self, after_s: float) -> Takeover:
        """The verdict so long after the successor was subscribed."""
        return self.heir.judge(LIVE_S + after_s, LIVE_S)


def test_successor_that_is_ahead_makes_no_gap() -> None:
    """Its trades wait until the carrier has brought those before them; each is stored once."""
    at = Crossroads("trade")
    at.carrier_brings("trade", a.trade(1))
    at.begin()
    at.heir_brings("trade", a.trade(4), a.trade(5))
    at.carrier_brings("trade", a.trade(2), a.trade(3), a.trade(4))
    at.heir_brings("trade", a.trade(6))
    at.carrier_brings("trade", a.trade(5), a.trade(6), a.trade(7))
    batch = at.bench.taken(TRADES)

    assert batch is not None
    assert (len(batch.rows), batch.gaps) == (7, ())
    assert at.streams["trade"].duplicates == 3


def test_successor_that_is_ahead_does_not_lose_the_book() -> None:
    """Deltas reach the book in the order of their ids."""
    at = Crossroads("depth")
    at.carrier_brings("depth", a.depth(1, 2))
    at.begin()
    state = at.book.state
    at.heir_brings("depth", a.depth(5, 6))
    at.carrier_brings("depth", a.depth(3, 4), a.depth(5, 6))
    at.heir_brings("depth", a.depth(7, 8))

    assert at.book.state is state
    assert at.bench.gaps(DEPTH_DELTAS) == []


def test_successor_takes_over_when_all_streams_overlap() -> None:
    """Not before it has settled."""
    at = Crossroads("trade", "book_ticker")
    at.carrier_brings("trade", a.trade(1))
    at.carrier_brings("book_ticker", a.book_ticker(10))
    at.begin()
    at.heir_brings("trade", a.trade(2))
    assert at.judged(5.0) is Takeover.WAIT
    at.heir_brings("book_ticker", a.book_ticker(10))

    assert at.judged(0.9) is Takeover.WAIT
    assert at.judged(5.0) is Takeover.READY
    assert at.heir.judge(LIVE_S, None) is Takeover.WAIT


def test_quiet_stream_is_waited_for_only_so_long() -> None:
    """Whatever comes on it comes on the successor, too."""
    at = Crossroads("trade", "book_ticker")
    at.carrier_brings("book_ticker", a.book_ticker(10))
    at.begin()
    at.heir_brings("trade", a.trade(2))
    assert at.judged(9.9) is Takeover.WAIT
    assert at.judged(10.0) is Takeover.READY
    at.heir.finish()
    at.heir_brings("book_ticker", a.book_ticker(20))

    assert at.bench.gaps(BOOK_TICKERS) == []


def test_successor_that_lacks_a_stream_is_refused() -> None:
    """It is given time to bring what the carrier has just brought."""
    at = Crossroads("trade")
    at.begin()
    at.judged(9.5)
    at.carrier_brings("trade", a.trade(1))

    assert at.judged(10.2) is Takeover.WAIT
    assert at.judged(11.0) is Takeover.REFUSED


def test_successor_need_not_bring_what_came_before_it_listened() -> None:
    """Its subscription may have been too late for it."""
    at = Crossroads("trade")
    at.begin()
    at.carrier_brings("trade", a.trade(1))

    assert at.judged(10.0) is Takeover.READY


def test_successor_is_taken_as_it_is_when_others_were_no_better() -> None:
    """What it lacks is a gap, bounded from above."""
    at = Crossroads("book_ticker", limits=replace(LIMITS, may_refuse=False))
    at.begin()
    at.judged(2.0)
    at.carrier_brings("book_ticker", a.book_ticker(10))
    assert at.judged(11.0) is Takeover.READY
    at.heir.finish()
    at.lane.on_frame(frame("book_ticker", a.book_ticker(20)), RECV_NS)
    (gap,) = at.bench.gaps(BOOK_TICKERS)

    assert isinstance(gap, Gap)
    assert (gap.first_id, gap.last_id, gap.cause) == (11, 19, "sequence")


def test_silent_carrier_does_not_hold_up_its_successor() -> None:
    """After a while what was held goes on; what lies before it is a gap."""
    at = Crossroads("trade", "book_ticker")
    at.carrier_brings("trade", a.trade(1))
    at.carrier_brings("book_ticker", a.book_ticker(10))
    at.begin()
    at.heir_brings("trade", a.trade(5))
    at.heir_brings("book_ticker", a.book_ticker(20), a.book_ticker(21))
    assert at.judged(2.0) is Takeover.WAIT
    assert at.bench.rows(TRADES) == 1
    assert at.judged(2.1) is Takeover.READY
    (gap,) = at.bench.gaps(TRADES)
    batch = at.bench.taken(BOOK_TICKERS)

    assert isinstance(gap, Gap)
    assert (gap.first_id, gap.last_id) == (2, 4)
    assert batch is not None
    assert (len(batch.rows), [(g.first_id, g.last_id) for g in batch.gaps]) == (3, [(11, 19)])


def test_end_of_the_carrier_breaks_only_what_does_not_overlap() -> None:
    """What was held goes on behind the break."""
    at = Crossroads("trade", "book_ticker")
    at.carrier_brings("trade", a.trade(1))
    at.carrier_brings("book_ticker", a.book_ticker(10))
    at.lane.on_connected(A_SESSION)
    at.begin()
    at.lane.on_connected(A_SESSION)
    at.heir_brings("trade", a.trade(2))
    at.heir_brings("book_ticker", a.book_ticker(20))
    at.lane.on_disconnected(A_SESSION, AN_END)
    batch = at.bench.taken(BOOK_TICKERS)

    assert [at.streams[kind].reconnects for kind in ("trade", "book_ticker")] == [0, 1]
    assert at.bench.gaps(TRADES) == []
    assert batch is not None
    assert (len(batch.rows), [gap.cause for gap in batch.gaps if isinstance(gap, Gap)]) == (2, ["disconnect"])


def test_end_of_the_successor_changes_nothing() -> None:
    """What it had brought ahead of the carrier is forgotten: the carrier brings it, too."""
    at = Crossroads("trade")
    at.carrier_brings("trade", a.trade(1))
    at.begin()
    at.heir_brings("trade", a.trade(3))
    at.heir.abandon()
    at.heir.abandon()
    at.carrier_brings("trade", a.trade(2), a.trade(3))
    batch = at.bench.taken(TRADES)

    assert batch is not None
    assert (len(batch.rows), batch.gaps) == (3, ())
    assert at.lane.overlap(LIMITS) is not at.heir


def test_streams_come_and_go_while_two_connections_are_open() -> None:
    """New ones are taken from both; those that are given up from neither, and nobody waits for them."""
    at = Crossroads("trade")
    at.carrier_brings("trade", a.trade(1))
    at.begin()
    at.heir_brings("trade", a.trade(5))
    ticker = at.bench.stream("book_ticker")
    at.lane.add([ticker])
    at.lane.remove([at.streams["trade"]])
    at.carrier_brings("book_ticker", a.book_ticker(10))
    at.heir_brings("book_ticker", a.book_ticker(10), a.book_ticker(11))
    at.heir_brings("trade", a.trade(6))
    at.carrier_brings("trade", a.trade(2))

    assert at.judged(1.0) is Takeover.READY
    assert (at.bench.rows(TRADES), at.bench.rows(BOOK_TICKERS)) == (1, 2)
    assert at.malformed == []


@pytest.mark.parametrize("damage", [{"t": None}, {"p": [1]}], ids=["no-position", "no-price"])
def test_message_that_cannot_be_used_is_kept_though_it_was_held(damage: dict[str, object]) -> None:
    """And those around it are stored."""
    at = Crossroads("trade")
    at.carrier_brings("trade", a.trade(1))
    at.begin()
    at.heir_brings("trade", a.trade(3), {**a.trade(4), **damage}, a.trade(4))
    at.carrier_brings("trade", a.trade(2))

    assert len(at.malformed) == 1
    assert at.bench.rows(TRADES) == 4


def test_second_successor_replaces_the_first() -> None:
    """One at a time: the routes of the first lead nowhere special any more."""
    at = Crossroads("trade")
    at.carrier_brings("trade", a.trade(1))
    first = at.begin()
    at.begin()
    first.finish()
    at.heir_brings("trade", a.trade(2))

    assert at.judged(1.0) is Takeover.READY
