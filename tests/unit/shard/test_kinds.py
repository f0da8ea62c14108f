"""`ingest.shard.kinds`: what the ids of each kind promise, from message to row and gap."""

import pytest

from ingest.binance.frames import MalformedFrame
from ingest.book.sync import Action, BookLost, BookSync, RequestSnapshot, State
from ingest.buffer.tables import AGG_TRADES, BOOK_TICKERS, DEPTH_DELTAS, KLINES, TICKERS, TRADES
from ingest.events import DepthSnapshot, Gap, GapFilled
from ingest.shard.kinds import DepthStream
from tests.unit.shard import builders as a
from tests.unit.shard.builders import RECV_NS, Bench


def a_snapshot(last_update_id: int) -> DepthSnapshot:
    return DepthSnapshot(a.SYMBOL, last_update_id, 0, [("100.0", "1")], [("101.0", "1")], "sync", 0)


def bounds(gaps: list[Gap | GapFilled]) -> list[tuple[str, int | None, int | None]]:
    return [(type(gap).__name__, gap.first_id, gap.last_id) for gap in gaps]


@pytest.mark.parametrize(("kind", "table"), [("trade", TRADES), ("agg_trade", AGG_TRADES)])
def test_consecutive_ids_that_jump_open_a_gap(kind: str, table: object) -> None:
    """Every id between two that came is missing."""
    bench = Bench()
    stream = bench.stream(kind)
    message = a.trade if kind == "trade" else a.agg_trade
    for each in (1, 2, 5):
        stream.accept(message(each), RECV_NS)

    assert bounds(bench.gaps(stream.table)) == [("Gap", 3, 4)]
    assert stream.table is table
    assert stream.gaps_opened == 1


def test_trade_that_comes_twice_is_dropped() -> None:
    """It is counted and is no news."""
    bench = Bench()
    stream = bench.stream("trade")
    for trade_id in (1, 1, 2, 1):
        stream.accept(a.trade(trade_id), RECV_NS)

    assert (stream.messages, stream.news, stream.duplicates) == (4, 2, 2)
    assert bench.rows(TRADES) == 2


def test_hole_that_fills_late_is_closed_in_the_ledger() -> None:
    """The last missing trade says that all of the gap has come."""
    bench = Bench()
    stream = bench.stream("trade")
    for trade_id in (1, 4, 3, 2):
        stream.accept(a.trade(trade_id), RECV_NS)

    assert bounds(bench.gaps(TRADES)) == [("Gap", 2, 3), ("GapFilled", 2, 3)]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("trade", a.trade(1)),
        ("agg_trade", a.agg_trade(1)),
        ("book_ticker", a.book_ticker(1)),
        ("depth", a.depth(1, 2)),
        ("kline_1m", a.kline(0)),
        ("mini_ticker", a.mini_ticker(a.T0_MS)),
    ],
)
def test_message_about_another_symbol_is_refused(kind: str, message: dict[str, object]) -> None:
    """It would be stored under the wrong name; it changes nothing."""
    bench = Bench()
    stream = bench.stream(kind)
    with pytest.raises(MalformedFrame, match="ETHUSDT on the stream of BTCUSDT"):
        stream.accept({**message, "s": "ETHUSDT"}, RECV_NS)

    assert bench.rows(stream.table) == 0
    assert stream.news == 0


def test_message_that_cannot_be_stored_leaves_its_id_missing() -> None:
    """A damaged trade is not taken for seen: the one behind it opens a gap."""
    bench = Bench()
    stream = bench.stream("trade")
    stream.accept(a.trade(1), RECV_NS)
    with pytest.raises(MalformedFrame):
        stream.accept({**a.trade(2), "p": [100.1]}, RECV_NS)
    stream.accept(a.trade(3), RECV_NS)

    assert bounds(bench.gaps(TRADES)) == [("Gap", 2, 2)]


def test_depth_deltas_chain_by_their_ranges() -> None:
    """The next begins one after the end of the one before."""
    bench = Bench()
    stream = bench.stream("depth")
    for ids in ((1, 10), (11, 12), (15, 20)):
        stream.accept(a.depth(*ids), RECV_NS)

    assert bounds(bench.gaps(DEPTH_DELTAS)) == [("Gap", 13, 14)]


def test_book_is_told_of_new_deltas_only() -> None:
    """A repeated delta does not reach the book's machine."""
    actions: list[Action] = []
    book = BookSync(a.SYMBOL)
    stream = Bench().stream("depth", book=book, act=actions.append)
    for ids in ((1, 10), (1, 10), (11, 12)):
        stream.accept(a.depth(*ids), RECV_NS)

    assert actions == [RequestSnapshot(a.SYMBOL, 0)]
    assert book.state is State.BUFFERING


def test_broken_feed_breaks_the_book() -> None:
    """A live book whose stream went away is lost, and that is told."""
    actions: list[Action] = []
    book = BookSync(a.SYMBOL)
    stream = Bench().stream("depth", book=book, act=actions.append)
    stream.accept(a.depth(1, 10), RECV_NS)
    book.on_snapshot(a_snapshot(10))
    stream.broke()

    assert BookLost(a.SYMBOL, "disconnected", None, None) in actions
    assert book.book is None


def test_book_ticker_ids_may_jump_on_a_connection() -> None:
    """Not each update changes the best price, so a jump proves nothing."""
    bench = Bench()
    stream = bench.stream("book_ticker")
    for update_id in (1, 90, 90, 80, 80):
        stream.accept(a.book_ticker(update_id), RECV_NS)
    batch = bench.taken(BOOK_TICKERS)

    assert batch is not None
    assert (len(batch.rows), batch.gaps, stream.duplicates) == (3, (), 2)


@pytest.mark.parametrize(("update_id", "expected"), [(90, [("Gap", 2, 89)]), (2, [])])
def test_book_ticker_behind_a_break_may_have_lost_some(
    update_id: int, expected: list[tuple[str, int, int]]
) -> None:
    """The ids between bound what may be missing; the very next id proves that nothing is."""
    bench = Bench()
    stream = bench.stream("book_ticker")
    stream.accept(a.book_ticker(1), RECV_NS)
    stream.broke()
    stream.accept(a.book_ticker(update_id), RECV_NS)

    assert bounds(bench.gaps(BOOK_TICKERS)) == expected


def test_candle_that_was_never_seen_closed_is_a_gap() -> None:
    """By open times in milliseconds."""
    bench = Bench()
    stream = bench.stream("kline_1m")
    stream.accept(a.kline(0, closed=True), RECV_NS)
    stream.accept(a.kline(1), RECV_NS)
    stream.accept(a.kline(3), RECV_NS)
    open_ms = a.T0_MS // a.MINUTE_MS * a.MINUTE_MS

    assert bounds(bench.gaps(KLINES)) == [("Gap", open_ms + 60_000, open_ms + 120_000)]


def test_candle_that_closes_late_fills_its_gap() -> None:
    """The closed version of a missed candle is welcome; an open one is not."""
    bench = Bench()
    stream = bench.stream("kline_1m")
    stream.accept(a.kline(0, closed=True), RECV_NS)
    stream.accept(a.kline(2), RECV_NS)
    stream.accept(a.kline(1), RECV_NS)
    stream.accept(a.kline(1, closed=True), RECV_NS)

    assert [name for name, *_ in bounds(bench.gaps(KLINES))] == ["Gap", "GapFilled"]
    assert stream.duplicates == 1


def test_version_of_a_candle_that_was_overtaken_is_dropped() -> None:
    """Two connections bring each version twice, and an old one must not overwrite a newer."""
    bench = Bench()
    stream = bench.stream("kline_1m")
    for after_ms in (1_000, 3_000, 1_000, 3_000, 5_000):
        stream.accept(a.kline(0, after_ms=after_ms), RECV_NS)

    assert bench.rows(KLINES) == 3
    assert stream.duplicates == 2


def test_resumed_candles_continue_the_newest_closed_one() -> None:
    """The candle after it is next; one further on is behind a gap."""
    bench = Bench()
    stream = bench.stream("kline_1m")
    open_us = a.T0_US // 60_000_000 * 60_000_000
    stream.resume(-1, open_us)
    stream.accept(a.kline(2), RECV_NS)
    ((_, first_ms, last_ms),) = bounds(bench.gaps(KLINES))

    assert (first_ms, last_ms) == (open_us // 1_000 + 60_000, open_us // 1_000 + 60_000)


def test_ticker_that_is_not_newer_is_dropped() -> None:
    """State, not events: an old one says nothing."""
    bench = Bench()
    stream = bench.stream("mini_ticker")
    for at_ms in (1_000, 1_000, 500, 2_000):
        stream.accept(a.mini_ticker(a.T0_MS + at_ms), RECV_NS)

    assert bench.rows(TICKERS) == 2
    assert stream.duplicates == 2


@pytest.mark.parametrize(("after_ms", "gaps"), [(1_000, 0), (5_000, 1)])
def test_ticker_behind_a_longer_break_has_a_gap_in_time(after_ms: int, gaps: int) -> None:
    """It has no ids, so the gap is bounded by the times of its neighbours."""
    bench = Bench()
    stream = bench.stream("mini_ticker")
    stream.accept(a.mini_ticker(a.T0_MS), RECV_NS)
    stream.broke()
    stream.accept(a.mini_ticker(a.T0_MS + after_ms), RECV_NS)

    assert bounds(bench.gaps(TICKERS)) == [("Gap", None, None)] * gaps


def test_depth_without_a_book_is_stored_all_the_same() -> None:
    """With its gaps: another shard keeps the book of that stream."""
    bench = Bench()
    stream = bench.stream("depth", bookless=True)
    for first in (1, 3, 7):
        stream.accept(a.depth(first, first + 1), RECV_NS)
    batch = bench.taken(DEPTH_DELTAS)

    assert not isinstance(stream, DepthStream)
    assert batch is not None
    assert (len(batch.rows), [(gap.first_id, gap.last_id) for gap in batch.gaps]) == (3, [(5, 6)])


def test_other_kinds_do_not_care_who_keeps_the_book() -> None:
    """They are what they always are."""
    bench = Bench()

    assert type(bench.stream("trade", bookless=True)) is type(bench.stream("trade"))
