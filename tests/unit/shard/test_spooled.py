"""What is on the disk counts as known when a shard starts: no false gap, and no row forgotten."""

import pytest

from ingest.buffer.origins import Span
from ingest.buffer.tables import TRADES
from ingest.events import Gap, StreamKey
from ingest.shard.spooled import committed_spans, with_spooled
from ingest.store.lookup import ResumePoint
from tests.unit.shard.builders import RECV_NS, SYMBOL, Bench, trade

TRADE = StreamKey("spot", SYMBOL, "trade")
CANDLE = StreamKey("spot", SYMBOL, "kline_1m")
TICKER = StreamKey("spot", SYMBOL, "mini_ticker")
MINUTE_MS = 60_000


def a_span(key: StreamKey, last_id: int | None, end_us: int = 9_000) -> Span:
    return Span(key, last_id, last_id, end_us, end_us, 1)


def test_stream_goes_on_behind_what_is_spooled() -> None:
    """The spool reaches further than the database: it is resumed from, the database is what queries see."""
    points = {(SYMBOL, "trade"): ResumePoint(10, 1_000)}

    found = with_spooled(points, {TRADE: a_span(TRADE, 25)}, [TRADE])

    assert found == {(SYMBOL, "trade"): ResumePoint(25, 9_000, committed_us=1_000)}


def test_stream_of_which_nothing_is_committed_is_known_from_the_disk_alone() -> None:
    """All that it ever brought may still be in the spool."""
    found = with_spooled({}, {TRADE: a_span(TRADE, 25)}, [TRADE])

    assert found == {(SYMBOL, "trade"): ResumePoint(25, 9_000, committed_us=0)}


def test_database_that_reaches_further_stands() -> None:
    """Rows that were committed and not yet removed from the disk change nothing."""
    points = {(SYMBOL, "trade"): ResumePoint(30, 10_000)}

    assert with_spooled(points, {TRADE: a_span(TRADE, 25)}, [TRADE]) == points


def test_streams_of_others_are_left_alone() -> None:
    """Only what this shard carries is looked at."""
    assert with_spooled({}, {TRADE: a_span(TRADE, 25)}, [CANDLE]) == {}


@pytest.mark.parametrize(
    ("key", "span", "expected"),
    [
        (CANDLE, a_span(CANDLE, 3 * MINUTE_MS), ResumePoint(None, 180_000_000, committed_us=0)),
        (CANDLE, a_span(CANDLE, None), None),
        (TICKER, a_span(TICKER, None), ResumePoint(None, 9_000, committed_us=0)),
    ],
)
def test_kinds_resume_in_their_own_units(key: StreamKey, span: Span, expected: ResumePoint | None) -> None:
    """Candles after the newest closed one, by its open time; quotes by time."""
    assert with_spooled({}, {key: span}, [key]).get((SYMBOL, key.kind)) == expected


def test_database_is_told_to_the_spool_in_its_units() -> None:
    """For judging what an unreadable part may have held."""
    spans = committed_spans(
        {
            (SYMBOL, "trade"): ResumePoint(10, 1_000),
            (SYMBOL, "kline_1m"): ResumePoint(None, 60_000_000),
        }
    )

    assert (spans[TRADE].last_id, spans[CANDLE].last_id) == (10, MINUTE_MS)


@pytest.mark.parametrize(("first_live", "gap"), [(26, None), (27, (26, 26)), (31, (26, 30))])
def test_first_live_message_is_measured_against_the_disk(
    first_live: int, gap: tuple[int, int] | None
) -> None:
    """What follows the spooled rows is no gap; what lies between them and it is one, and nothing else is."""
    bench = Bench()
    stream = bench.stream("trade")
    point = with_spooled({(SYMBOL, "trade"): ResumePoint(10, 1_000)}, {TRADE: a_span(TRADE, 25)}, [TRADE])
    resumed = point[SYMBOL, "trade"]
    assert resumed.last_id is not None
    stream.resume(resumed.last_id, resumed.ts_us)

    stream.accept(trade(first_live), RECV_NS)

    found = [(g.first_id, g.last_id, g.cause) for g in bench.gaps(TRADES) if isinstance(g, Gap)]
    assert found == ([] if gap is None else [(*gap, "restart")])
