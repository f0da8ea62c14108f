"""The event loop's side: what is told is handed over, or counted."""

from collections.abc import Sequence
from typing import cast

import orjson

from ingest.capture.recorder import Recorder
from ingest.capture.records import NOW_S, Kind
from ingest.capture.writer import CaptureWriter, Waiting
from ingest.events import DepthSnapshot, StreamKey
from ingest.feed.contract import FeedEnd, FeedSession

BTC = StreamKey("spot", "BTCUSDT", "trade")
SESSION = FeedSession(4, "ws://x", 99, epoch=2)
FRAME = (Kind.FRAME, 4, 2, 1, b"x" * 100)


class SlowWriter:
    """Keeps what it is given, and takes nothing until it is told."""

    def __init__(self) -> None:
        self.taken_bytes = self.put_bytes = 0
        self.written_records = self.written_bytes = self.lost_records = 0
        self.records: list[Waiting] = []
        self.stopped = False

    def put(self, records: Sequence[Waiting], size_bytes: int) -> None:
        self.records += records
        self.put_bytes += size_bytes

    def take_all(self) -> None:
        self.taken_bytes = self.put_bytes

    def stop(self, *, deadline_s: float) -> bool:
        self.stopped = True
        return True


def a_recorder(buffer_bytes: int = 10**6) -> tuple[Recorder, SlowWriter]:
    writer = SlowWriter()
    return Recorder(cast(CaptureWriter, writer), buffer_bytes=buffer_bytes), writer


def test_nothing_is_handed_over_before_the_time_moves_on() -> None:
    """A frame costs an append and no more."""
    recorder, writer = a_recorder()
    recorder.append(FRAME)
    assert writer.records == []

    recorder.instant(1.5, 7)
    assert writer.records == [FRAME, (Kind.INSTANT, 0, 0, 7_000, NOW_S.pack(1.5))]


def test_everything_that_is_told_keeps_its_place() -> None:
    """With what a replay needs of it."""
    recorder, writer = a_recorder()
    recorder.added(4, BTC, (17, 5))
    recorder.opened(SESSION)
    recorder.append(FRAME)
    recorder.snapshot(DepthSnapshot("BTCUSDT", 8, 0, [("1", "2")], [], "resync", 55, "0", "9"))
    recorder.clock(56)
    recorder.failed("ETHUSDT")
    recorder.look("BTCUSDT")
    recorder.tick()
    recorder.broke(4, [BTC], "resubscribe")
    recorder.removed(4, iter([BTC]))
    recorder.ended(SESSION, FeedEnd("why", 1006, 1.5, 3, seamless=True))
    recorder.hand_over()
    told = [
        (r[0], r[1], r[2], r[3], orjson.loads(r[4]) if r[4][:1] == b"{" else r[4]) for r in writer.records
    ]

    key = ["spot", "BTCUSDT", "trade"]
    assert told == [
        (Kind.ADDED, 4, 0, 0, {"stream": key, "line": 1, "resume": [17, 5]}),
        (Kind.OPENED, 4, 2, 99, {"url": "ws://x"}),
        FRAME,
        (
            *(Kind.SNAPSHOT, 0, 0, 55),
            {"symbol": "BTCUSDT", "lastUpdateId": 8, "bids": [["1", "2"]], "asks": [], "known": ["0", "9"]},
        ),
        (Kind.CLOCK, 0, 0, 56, b""),
        (Kind.FAILED, 0, 0, 0, {"symbol": "ETHUSDT"}),
        (Kind.LOOK, 0, 0, 0, {"symbol": "BTCUSDT"}),
        (Kind.TICK, 0, 0, 0, b""),
        (Kind.BROKE, 4, 0, 0, {"streams": [key], "cause": "resubscribe"}),
        (Kind.REMOVED, 4, 0, 0, {"streams": [key]}),
        (
            *(Kind.ENDED, 4, 2, 99),
            {"reason": "why", "code": 1006, "age_s": 1.5, "messages": 3, "seamless": True},
        ),
    ]


def test_frames_are_given_up_when_the_writer_is_too_far_behind() -> None:
    """Connections and streams are not; when there is room again, the number of the missing comes first."""
    recorder, writer = a_recorder(buffer_bytes=1_000)
    recorder.append(FRAME)
    recorder.hand_over()
    for _ in range(5):
        recorder.append(FRAME)
    recorder.opened(SESSION)
    recorder.hand_over()
    assert [record[0] for record in writer.records] == [Kind.FRAME, Kind.OPENED]
    assert recorder.missing == 5

    writer.take_all()
    recorder.append(FRAME)
    recorder.hand_over()
    assert [record[0] for record in writer.records[2:]] == [Kind.MISSING, Kind.FRAME]
    assert orjson.loads(writer.records[2][4]) == {"records": 5}
    recorder.append(FRAME)
    recorder.hand_over()
    assert writer.records[-1] == FRAME
    assert recorder.missing == 5


def test_what_is_missing_at_the_end_is_said() -> None:
    """Even when there was no room any more."""
    recorder, writer = a_recorder(buffer_bytes=100)
    recorder.append(FRAME)
    recorder.close(deadline_s=1.0)

    assert [record[0] for record in writer.records] == [Kind.MISSING]
    assert writer.stopped
