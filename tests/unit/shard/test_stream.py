"""`ingest.shard.stream`: rows to the batcher, and what becomes of those that it refuses."""

from ingest.buffer.batcher import ROW_OVERHEAD_BYTES
from ingest.buffer.tables import DEPTH_DELTAS, KLINES, TRADES
from ingest.events import Gap
from ingest.shard.stream import Stream
from tests.unit.shard import builders as a
from tests.unit.shard.builders import RECV_NS, Bench


def trade_bytes() -> int:
    """What one encoded trade takes in the buffer."""
    bench = Bench()
    bench.stream("trade").accept(a.trade(1), RECV_NS)
    return bench.batcher.stats().held_bytes


def accept_trades(stream: Stream, *ids: int) -> None:
    for trade_id in ids:
        stream.accept(a.trade(trade_id), RECV_NS)


def test_stored_row_moves_the_stream_on() -> None:
    """Newest id, event time and receive time are those of the newest row."""
    stream = Bench().stream("trade")
    accept_trades(stream, 5, 6)

    assert (stream.last_id, stream.last_event_us) == (6, a.T0_US + 6_000)
    assert (stream.last_recv_ns, stream.news, stream.messages) == (RECV_NS, 2, 2)


def test_late_row_does_not_take_the_stream_back() -> None:
    """A trade out of a hole is stored and leaves the newest id and time as they are."""
    bench = Bench()
    stream = bench.stream("trade")
    accept_trades(stream, 5, 7, 6)

    assert (stream.last_id, stream.last_event_us) == (7, a.T0_US + 7_000)
    assert bench.rows(TRADES) == 3


def test_every_version_of_a_candle_moves_the_time_on() -> None:
    """Updates of one candle share their id, and the newest of them is the newest event."""
    stream = Bench().stream("kline_1m")
    for after_ms in (1_000, 3_000):
        stream.accept(a.kline(0, after_ms=after_ms), RECV_NS)

    assert stream.last_event_us % 60_000_000 == 3_000_000


def test_broken_feed_is_remembered_until_the_next_row() -> None:
    """What is missing right behind a disconnection is missing because of it."""
    bench = Bench()
    stream = bench.stream("trade")
    accept_trades(stream, 5)
    stream.broke()
    accept_trades(stream, 8, 11)
    gaps = bench.gaps(TRADES)

    assert [gap.cause for gap in gaps if isinstance(gap, Gap)] == ["disconnect", "sequence"]
    assert stream.reconnects == 1


def test_stream_that_was_mute_names_that_cause() -> None:
    """What is missing when a stream comes back after a new subscription was missed by its silence."""
    bench = Bench()
    stream = bench.stream("trade")
    accept_trades(stream, 5)
    stream.broke("resubscribe")
    accept_trades(stream, 8)

    assert [gap.cause for gap in bench.gaps(TRADES) if isinstance(gap, Gap)] == ["resubscribe"]


def test_stream_that_leaves_says_what_it_owes() -> None:
    """Rows that found the buffer full are confessed although none follows them."""
    bench = Bench.with_buffer(trade_bytes())
    stream = bench.stream("trade")
    accept_trades(stream, 1, 2)
    stream.leave()
    stream.leave()
    (gap,) = bench.gaps(TRADES)

    assert isinstance(gap, Gap)
    assert (gap.first_id, gap.last_id, gap.cause) == (2, 2, "buffer_full")


def test_feed_that_breaks_before_the_first_row_breaks_nothing() -> None:
    """Where nothing is stored yet, nothing can be missing."""
    bench = Bench()
    stream = bench.stream("book_ticker")
    stream.broke()
    stream.accept(a.book_ticker(9), RECV_NS)

    assert bench.gaps(stream.table) == []


def test_resumed_stream_continues_the_committed_ids() -> None:
    """After a restart the ids beyond the newest committed one are missing because of the restart."""
    bench = Bench()
    stream = bench.stream("trade")
    stream.resume(5, a.T0_US)
    accept_trades(stream, 8)
    (gap,) = bench.gaps(TRADES)

    assert isinstance(gap, Gap)
    assert (gap.first_id, gap.last_id, gap.cause, gap.start_us) == (6, 7, "restart", a.T0_US)


def test_resumed_stream_drops_what_is_committed() -> None:
    """Ids up to the newest committed one are duplicates."""
    bench = Bench()
    stream = bench.stream("trade")
    stream.resume(5, a.T0_US)
    accept_trades(stream, 4, 5, 6)

    assert bench.rows(TRADES) == 1
    assert stream.duplicates == 2


def test_feed_that_breaks_while_resuming_keeps_the_cause() -> None:
    """A shard that has not heard its stream since its start is still away because of the restart."""
    bench = Bench()
    stream = bench.stream("trade")
    stream.resume(5, a.T0_US)
    stream.broke()
    accept_trades(stream, 8)
    (gap,) = bench.gaps(TRADES)

    assert isinstance(gap, Gap)
    assert gap.cause == "restart"


def test_rows_that_find_the_buffer_full_become_one_gap() -> None:
    """It is confessed before the first row that is kept again, and bounds all that was refused."""
    bench = Bench.with_buffer(2 * trade_bytes())
    stream = bench.stream("trade")
    accept_trades(stream, 1, 2, 3, 4, 5)
    assert bench.rows(TRADES) == 2
    accept_trades(stream, 6)
    batch = bench.taken(TRADES)

    assert batch is not None
    (gap,) = batch.gaps
    assert isinstance(gap, Gap)
    assert (gap.first_id, gap.last_id, gap.cause) == (3, 5, "buffer_full")
    assert (gap.start_us, gap.end_us) == (a.T0_US + 3_000, a.T0_US + 5_000)
    assert gap.note.startswith("3 rows ")
    assert len(batch.rows) == 1
    assert stream.refused_rows == 3


def test_refused_depth_deltas_are_missing_from_their_first_update_on() -> None:
    """A delta covers a range of updates, and all of it is missing."""
    bench = Bench()
    stream = bench.stream("depth")
    stream.accept(a.depth(1, 10), RECV_NS)
    bench = Bench.with_buffer(bench.batcher.stats().held_bytes + ROW_OVERHEAD_BYTES // 2)
    stream = bench.stream("depth")
    for first, final in ((1, 10), (11, 20), (21, 30)):
        stream.accept(a.depth(first, final), RECV_NS)
    bench.taken(DEPTH_DELTAS)
    stream.accept(a.depth(31, 40), RECV_NS)
    (gap,) = bench.gaps(DEPTH_DELTAS)

    assert isinstance(gap, Gap)
    assert (gap.first_id, gap.last_id) == (11, 30)


def test_refused_candles_are_missing_by_open_time_in_milliseconds() -> None:
    """The same unit as in every other gap of a candle."""
    bench = Bench()
    stream = bench.stream("kline_1m")
    stream.accept(a.kline(0, closed=True), RECV_NS)
    bench = Bench.with_buffer(bench.batcher.stats().held_bytes + ROW_OVERHEAD_BYTES // 2)
    stream = bench.stream("kline_1m")
    for minute in (0, 1):
        stream.accept(a.kline(minute, closed=True), RECV_NS)
    bench.taken(KLINES)
    stream.accept(a.kline(2, closed=True), RECV_NS)
    (gap,) = bench.gaps(KLINES)

    assert isinstance(gap, Gap)
    open_ms = a.T0_MS // a.MINUTE_MS * a.MINUTE_MS + a.MINUTE_MS
    assert (gap.first_id, gap.last_id) == (open_ms, open_ms)


def test_late_row_that_is_refused_widens_the_gap_downwards() -> None:
    """Refused rows need not come in order."""
    bench = Bench.with_buffer(2 * trade_bytes())
    stream = bench.stream("trade")
    accept_trades(stream, 1, 5, 6, 3)
    bench.taken(TRADES)
    accept_trades(stream, 7)
    (gap,) = bench.gaps(TRADES)

    assert isinstance(gap, Gap)
    assert (gap.first_id, gap.last_id) == (3, 6)


def test_gap_of_a_kind_that_cannot_be_had_again_says_so() -> None:
    """Depth deltas are in no REST answer; trades are."""
    bench = Bench()
    stream = bench.stream("depth")
    for first, final in ((1, 10), (21, 30)):
        stream.accept(a.depth(first, final), RECV_NS)
    (gap,) = bench.gaps(DEPTH_DELTAS)

    assert isinstance(gap, Gap)
    assert (gap.repairable, gap.first_id, gap.last_id) == (False, 11, 20)
    assert gap.note == "the exchange does not give this kind again"


def test_stream_knows_since_when_it_has_missed_nothing() -> None:
    """From its first row, and after a gap from the row behind that; a range begins at its first id."""
    stream = Bench().stream("trade")
    before = stream.unbroken_since_id
    accept_trades(stream, 5, 6)
    unbroken = stream.unbroken_since_id
    accept_trades(stream, 9, 10)
    depth = Bench().stream("depth")
    depth.accept(a.depth(3, 7), RECV_NS)

    assert (before, unbroken, stream.unbroken_since_id) == (-1, 5, 9)
    assert depth.unbroken_since_id == 3


def test_stream_knows_what_it_had_before_its_newest_gap() -> None:
    """Up to the row before the gap; of a kind without ids up to the time of that row."""
    trades, quotes = Bench().stream("trade"), Bench().stream("mini_ticker")
    before = trades.former
    accept_trades(trades, 5, 6, 9)
    once = trades.former
    accept_trades(trades, 10, 20)
    for at_ms in (1_000, 2_000, 9_000):
        if at_ms == 9_000:
            quotes.broke()
        quotes.accept(a.mini_ticker(at_ms=at_ms), RECV_NS)

    assert (before, once, trades.former) == ((-1, -1), (5, 6), (9, 10))
    assert quotes.former == (1_000, 2_000)


def test_refused_rows_are_no_part_of_what_a_stream_had() -> None:
    """What it had ends before them."""
    bench = Bench.with_buffer(trade_bytes())
    stream = bench.stream("trade")
    accept_trades(stream, 1, 2, 3)
    bench.taken(TRADES)
    accept_trades(stream, 4)

    assert stream.former == (1, 1)


def test_rows_that_were_refused_break_the_stream() -> None:
    """They are no less missing than those that never came."""
    bench = Bench.with_buffer(trade_bytes())
    stream = bench.stream("trade")
    accept_trades(stream, 1, 2)
    bench.taken(TRADES)
    accept_trades(stream, 3)
    bench.taken(TRADES)
    accept_trades(stream, 4)

    assert stream.unbroken_since_id == 4
