"""Captured records are told to the code that dealt with them, and what is missing is made good or counted."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from ingest.buffer.tables import BOOK_TICKERS, DEPTH_DELTAS, DEPTH_SNAPSHOTS, TRADES, Table
from ingest.capture.records import NOW_S, Kind, Record
from ingest.events import Gap
from ingest.shard.replay import ReplayBatcher, ReplayCounts, RunReplay, symbols_in
from ingest.shard.replay_files import ReplayReport, find_parts
from tests.unit.capture.builders import HEADER, a_file, some_frames
from tests.unit.shard import builders
from tests.unit.shard.builders import RECV_NS, T0_MS

TRADE, DEPTH, TICKER = (["spot", "BTCUSDT", kind] for kind in ("trade", "depth", "book_ticker"))
WIRE = {"trade": "btcusdt@trade", "depth": "btcusdt@depth@100ms", "book_ticker": "btcusdt@bookTicker"}


def a_frame(kind: str, data: dict[str, object], *, feed: int = 4, epoch: int = 1) -> Record:
    payload = orjson.dumps({"stream": WIRE[kind], "data": data})
    return Record(Kind.FRAME, feed, epoch, RECV_NS, payload)


def a_trade(trade_id: int, **place: int) -> Record:
    return a_frame("trade", builders.trade(trade_id), **place)


def added(stream: list[str], *, feed: int = 4, line: int = 1, resume: Sequence[int] | None = None) -> Record:
    body = {"stream": stream, "line": line, "resume": resume}
    return Record(Kind.ADDED, feed, payload=orjson.dumps(body))


def opened(epoch: int = 1, *, feed: int = 4) -> Record:
    return Record(Kind.OPENED, feed, epoch, RECV_NS, b'{"url":"ws://x"}')


def ended(epoch: int = 1, *, seamless: bool = False) -> Record:
    body = {"reason": "lost", "code": 1006, "age_s": 5.0, "messages": 3, "seamless": seamless}
    return Record(Kind.ENDED, 4, epoch, RECV_NS, orjson.dumps(body))


def standing(*streams: list[str], epoch: int = 1) -> Record:
    body = {"now_s": 3.0, "streams": [[4, 1, list(streams)]], "open": [[4, epoch, RECV_NS, "ws://x"]]}
    return Record(Kind.STANDING, stamp_ns=RECV_NS, payload=orjson.dumps(body))


class Replayed:
    """A run into a batcher that nobody empties."""

    def __init__(self, *records: Record) -> None:
        self.counts = ReplayCounts()
        self.batcher = ReplayBatcher(self.counts)
        self.run = RunReplay(HEADER, self.batcher, {"BTCUSDT": 7}, self.counts)
        self.play(*records)

    def play(self, *records: Record) -> "Replayed":
        self.run.play(records, 0, len(records))
        return self

    def rows(self, table: Table) -> list[bytes]:
        batch = self.batcher.take(table, 0.0, force=True)
        return [] if batch is None else batch.rows

    def gaps(self, table: Table) -> list[tuple[int | None, int | None, str]]:
        batch = self.batcher.take(table, 0.0, force=True)
        found = [] if batch is None else batch.gaps
        return [(gap.first_id, gap.last_id, gap.cause) for gap in found if isinstance(gap, Gap)]


def test_frames_become_rows() -> None:
    """And what could not be read then is not read now."""
    malformed = Record(Kind.FRAME, 4, 1, RECV_NS, b"{")
    replayed = Replayed(added(TRADE), opened(), a_trade(1), malformed, a_trade(2), a_trade(2))

    assert len(replayed.rows(TRADES)) == 2
    assert (replayed.counts.frames, replayed.counts.malformed, replayed.counts.unplaced) == (4, 1, 0)


def test_stream_goes_on_from_where_it_was_resumed() -> None:
    """The gap since then is the live run's."""
    replayed = Replayed(added(TRADE, resume=[10, 1]), opened(), a_trade(15))

    assert replayed.gaps(TRADES) == [(11, 14, "restart")]


def test_broken_connection_is_told() -> None:
    """What follows it may have missed something; a seamless end has not."""
    ticker = [a_frame("book_ticker", builders.book_ticker(number)) for number in (5, 9)]
    lost = Replayed(added(TICKER), opened(), ticker[0], ended(), opened(2), ticker[1])
    moved = Replayed(added(TICKER), opened(), ticker[0], ended(seamless=True), opened(2), ticker[1])

    assert lost.gaps(BOOK_TICKERS) == [(6, 8, "disconnect")]
    assert moved.gaps(BOOK_TICKERS) == []


def test_stream_that_was_asked_for_again_is_told() -> None:
    """With its cause."""
    broke = Record(Kind.BROKE, 4, payload=orjson.dumps({"streams": [TRADE], "cause": "resubscribe"}))

    assert Replayed(added(TRADE), opened(), a_trade(1), broke, a_trade(3)).gaps(TRADES) == [
        (2, 2, "resubscribe")
    ]


def test_stream_that_has_left_is_not_stored() -> None:
    """Nor are its late frames malformed."""
    removed = Record(Kind.REMOVED, 4, payload=orjson.dumps({"streams": [TRADE]}))
    replayed = Replayed(added(TRADE), added(TICKER), opened(), a_trade(1), removed, a_trade(2))

    assert len(replayed.rows(TRADES)) == 1
    assert (replayed.counts.malformed, replayed.counts.unplaced) == (0, 0)


def a_book() -> list[Record]:
    """A book that becomes live with its second record behind the stream's."""
    sides = {"bids": [["99.0", "1.0"]], "asks": [["101.0", "1.0"]], "known": ["0", "Infinity"]}
    body = {"symbol": "BTCUSDT", "lastUpdateId": 100, **sides}
    return [
        *(added(DEPTH), opened(), a_frame("depth", builders.depth(95, 101))),
        Record(Kind.SNAPSHOT, stamp_ns=RECV_NS, payload=orjson.dumps(body)),
        Record(Kind.CLOCK, stamp_ns=1_790_000_000_123_456_000),
    ]


def test_book_is_stored_with_the_reading_of_the_clock_that_it_had() -> None:
    """The reading stands behind what caused it."""
    (row,) = Replayed(*a_book()).rows(DEPTH_SNAPSHOTS)

    assert row.split(b"\t")[2] == b"2026-09-21 14:13:20.123456+00"


def test_book_is_stored_by_the_ticks_and_times_of_then() -> None:
    """Not by today's; a book that did not change since is stored once."""
    replayed = Replayed(*a_book())
    for now_s in (10.0, 400.0, 401.0, 800.0):
        replayed.play(Record(Kind.INSTANT, stamp_ns=1, payload=NOW_S.pack(now_s)), Record(Kind.TICK))
    assert len(replayed.rows(DEPTH_SNAPSHOTS)) == 1

    replayed.play(a_frame("depth", builders.depth(102, 103)))
    replayed.play(Record(Kind.INSTANT, stamp_ns=1, payload=NOW_S.pack(1_200.0)), Record(Kind.TICK))
    assert replayed.batcher.stats().tables[DEPTH_SNAPSHOTS].rows == 2


def test_second_line_of_a_stream_has_no_book() -> None:
    """Its deltas are stored; another shard keeps the book."""
    replayed = Replayed(added(DEPTH, line=2), *a_book()[1:])

    assert len(replayed.rows(DEPTH_DELTAS)) == 1
    assert replayed.rows(DEPTH_SNAPSHOTS) == []


def test_snapshot_that_nobody_asked_for_is_counted() -> None:
    """Because what asked for it is missing from the capture."""
    replayed = Replayed(*a_book()[:2])
    replayed.play(*a_book()[3:])
    replayed.play(Record(Kind.FAILED, payload=b'{"symbol":"BTCUSDT"}'))
    replayed.play(Record(Kind.FAILED, payload=b'{"symbol":"ETHUSDT"}'))

    assert (replayed.counts.unplaced, replayed.rows(DEPTH_SNAPSHOTS)) == (3, [])


def test_frame_of_a_feed_that_is_not_there_is_counted() -> None:
    """It cannot be placed."""
    assert Replayed(a_trade(1, feed=9)).counts.unplaced == 1


def test_what_stands_is_made_good() -> None:
    """Streams and connections that are missing come, those that are over go, and all others stay."""
    replayed = Replayed(added(TRADE), added(TICKER), opened(), a_trade(1), a_frame_of_ticker(5))
    replayed.play(standing(TRADE, DEPTH, epoch=2))
    replayed.play(
        a_trade(3, epoch=2), a_frame_of_ticker(9, epoch=2), a_frame("depth", builders.depth(1, 2), epoch=2)
    )

    assert replayed.gaps(TRADES) == [(2, 2, "disconnect")]
    assert len(replayed.rows(BOOK_TICKERS)) == 1
    assert len(replayed.rows(DEPTH_DELTAS)) == 1
    assert replayed.counts.malformed == 0


def a_frame_of_ticker(update_id: int, *, epoch: int = 1) -> Record:
    return a_frame("book_ticker", builders.book_ticker(update_id), epoch=epoch)


def test_what_stands_changes_nothing_where_nothing_is_missing() -> None:
    """Files of a run follow each other without a seam."""
    replayed = Replayed(added(TRADE), added(TICKER), opened(), a_trade(1), a_frame_of_ticker(5))
    replayed.play(standing(TRADE, TICKER), a_trade(2), a_frame_of_ticker(9))

    assert len(replayed.rows(TRADES)) == 2
    assert replayed.gaps(BOOK_TICKERS) == []


@pytest.mark.parametrize("said", [True, False])
def test_what_is_missing_may_be_a_gap(said: bool) -> None:
    """Whether the capture says so, or its file has a hole: also for ids that only rise."""
    replayed = Replayed(added(TICKER), opened(), a_frame_of_ticker(5))
    if said:
        replayed.play(Record(Kind.MISSING, payload=b'{"records":12}'))
    else:
        replayed.run.hole()
    replayed.play(a_frame_of_ticker(9))

    assert replayed.gaps(BOOK_TICKERS) == [(6, 8, "disconnect")]
    assert (replayed.counts.missing, replayed.counts.gaps) == (12 if said else 0, 1)


def test_kind_of_record_that_is_not_known_is_passed_over() -> None:
    """A newer program may have written it."""
    assert len(Replayed(added(TRADE), opened(), Record(200), a_trade(1)).rows(TRADES)) == 1


def test_gaps_have_the_time_of_then() -> None:
    """The shard's cached one."""
    replayed = Replayed(
        *(added(TRADE), opened(), a_trade(1)),
        Record(Kind.INSTANT, stamp_ns=T0_MS * 1_000_000, payload=NOW_S.pack(1.0)),
        a_trade(3),
    )
    batch = replayed.batcher.take(TRADES, 0.0, force=True)

    assert batch is not None
    assert [gap.opened_us for gap in batch.gaps if isinstance(gap, Gap)] == [T0_MS * 1_000]


def test_symbols_are_known_beforehand() -> None:
    """From streams that come, and from those that stand."""
    records = [added(TRADE), standing(["spot", "ETHUSDT", "trade"]), a_trade(1)]

    assert symbols_in(records) == {"BTCUSDT", "ETHUSDT"}


def test_files_are_played_by_run_and_part(tmp_path: Path) -> None:
    """Whatever their order and however often they are named; what is none is told."""
    names = []
    for part in (10, 9, 11):
        path = tmp_path / replace(HEADER, part=part).file_name()
        path.write_bytes(a_file([some_frames(1)], part=part))
        names.append(path)
    (tmp_path / "notes.txt").write_text("left alone in a folder, told when it is named")
    report = ReplayReport()
    parts = find_parts([names[2], tmp_path, names[0], tmp_path / "notes.txt"], report)

    assert [part.header.part for part in parts] == [9, 10, 11]
    assert len(report.troubles) == 1
    assert not report.is_whole


def overlap(step: str, **body: object) -> Record:
    return Record(Kind.OVERLAP, 4, payload=orjson.dumps({"step": step, **body}))


LIMITS = {"settle_s": 1.0, "deadline_s": 10.0, "patience_s": 2.0, "may_refuse": True}


def test_hand_over_is_told_as_it_was() -> None:
    """What the successor brought ahead of its predecessor waits again: no gap is made that was none."""
    replayed = Replayed(
        *(added(TRADE), opened(), a_trade(1)),
        *(overlap("begin", limits=LIMITS), opened(2), overlap("judge", now_s=5.0, live_s=None)),
        *(a_trade(3, epoch=2), a_trade(2), overlap("judge", now_s=6.0, live_s=5.0), overlap("finish")),
        *(ended(seamless=True), a_trade(4, epoch=2)),
    )
    batch = replayed.batcher.take(TRADES, 0.0, force=True)

    assert batch is not None
    assert (len(batch.rows), batch.gaps, replayed.counts.unplaced) == (4, (), 0)


def test_hand_over_that_was_given_up_or_came_to_nothing_is_told() -> None:
    """What was held goes on when the predecessor is silent; a successor that ended leaves nothing behind."""
    begin = [overlap("begin", limits=LIMITS), opened(2), overlap("judge", now_s=5.0, live_s=5.0)]
    given_up = Replayed(
        *(added(TRADE), opened(), a_trade(1), *begin),
        *(a_trade(3, epoch=2), overlap("judge", now_s=8.0, live_s=5.0)),
    )
    ended_before = Replayed(
        *(added(TRADE), opened(), a_trade(1), *begin, a_trade(3, epoch=2), overlap("abandon")), a_trade(2)
    )

    assert given_up.gaps(TRADES) == [(2, 2, "sequence")]
    assert ended_before.gaps(TRADES) == []
    assert Replayed(added(TRADE), overlap("finish")).counts.unplaced == 1
