"""The seam: nothing in the way when nothing is captured, everything recorded when it is."""

from typing import cast

import orjson
import pytest

from ingest.capture.recorder import Recorder
from ingest.capture.records import Kind
from ingest.capture.writer import CaptureWriter
from ingest.config import CaptureSection, ServiceSection, Settings
from ingest.events import DepthSnapshot, StreamKey
from ingest.feed.connection import Feed
from ingest.feed.contract import OverlapLimits, Takeover
from ingest.shard.captured import NO_CAPTURE, LaneSink, RecordingCapture, open_capture
from tests.unit.capture import builders as files
from tests.unit.capture.test_recorder import SlowWriter
from tests.unit.shard.builders import A_SESSION, AN_END, Bench, FakeFeed, SetInstant, a_lane, trade

SNAPSHOT = DepthSnapshot("BTCUSDT", 8, 0, [("1", "2")], [], "resync", 55)


class SpeakingFeed(FakeFeed):
    """The second connection speaks."""

    epoch = 2


class KeptLane:
    """Remembers what has reached it."""

    def __init__(self, writer: SlowWriter, recorder: Recorder) -> None:
        self.told: list[tuple[str, int]] = []
        self._writer, self._recorder = writer, recorder

    def _tell(self, what: str) -> None:
        self._recorder.hand_over()
        self.told.append((what, len(self._writer.records)))

    def attach(self, feed: Feed) -> None:
        self._tell("attach")

    def on_frame(self, data: bytes, recv_ns: int) -> None:
        self._tell("frame")

    def on_connected(self, session: object) -> None:
        self._tell("connected")

    def on_disconnected(self, session: object, end: object) -> None:
        self._tell("disconnected")


def a_capture() -> tuple[RecordingCapture, Recorder, SlowWriter]:
    writer = SlowWriter()
    recorder = Recorder(cast(CaptureWriter, writer), buffer_bytes=10**6)
    return RecordingCapture(recorder), recorder, writer


def test_without_a_capture_everything_is_what_it_was() -> None:
    """The lane itself is the sink, so that a frame costs nothing."""
    lane = a_lane([Bench().stream("trade")])
    clock, on_snapshot, on_failed = SetInstant(), lambda _: None, lambda _: None

    assert NO_CAPTURE.sink(3, lane) is lane
    assert NO_CAPTURE.snapshots(on_snapshot) is on_snapshot
    assert NO_CAPTURE.failures(on_failed) is on_failed
    assert NO_CAPTURE.clock(clock) is clock  # type: ignore[arg-type, comparison-overlap]


def test_what_a_lane_is_told_is_recorded_first() -> None:
    """Each with the connection that it came on."""
    capture, recorder, writer = a_capture()
    lane = KeptLane(writer, recorder)
    sink = capture.sink(3, cast(LaneSink, lane))
    sink.attach(cast(Feed, SpeakingFeed()))
    sink.on_connected(A_SESSION)
    sink.on_frame(b"a frame", 77)
    sink.on_disconnected(A_SESSION, AN_END)

    assert lane.told == [("attach", 0), ("connected", 1), ("frame", 2), ("disconnected", 3)]
    assert [record[0] for record in writer.records] == [Kind.OPENED, Kind.FRAME, Kind.ENDED]
    assert writer.records[1] == (Kind.FRAME, 3, 2, 77, b"a frame")


def test_what_books_are_told_is_recorded_first() -> None:
    """Snapshots, failures, and the clock's answer directly behind what asked."""
    capture, recorder, writer = a_capture()
    clock = capture.clock(FixedClock())
    read: list[int] = []
    capture.snapshots(lambda _: read.append(clock.wall_ns()))(SNAPSHOT)
    capture.failures(lambda _: None)("ETHUSDT")
    capture.tick()
    recorder.hand_over()

    assert [record[0] for record in writer.records] == [Kind.SNAPSHOT, Kind.CLOCK, Kind.FAILED, Kind.TICK]
    assert [writer.records[1][3]] == read == [1_234]
    assert clock.monotonic_s() == 5.0


class FixedClock:
    def wall_ns(self) -> int:
        return 1_234

    def monotonic_s(self) -> float:
        return 5.0


def test_capture_is_off_by_default() -> None:
    """And then no folder is made."""
    with open_capture(Settings(), 0, clock=FixedClock()) as capture:
        assert capture is NO_CAPTURE


@pytest.mark.parametrize("folder", ["", "elsewhere"])
def test_capture_goes_to_its_folder(folder: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`raw` under the data folder unless another is named; it is closed with its shard."""
    base = tmp_path_factory.mktemp("data")
    settings = Settings(
        service=ServiceSection(data_dir=base),
        capture=CaptureSection(enabled=True, folder=str(base / folder) if folder else ""),
    )
    with open_capture(settings, 7, clock=FixedClock()) as capture:
        capture.added(4, StreamKey("spot", "BTCUSDT", "trade"), None)
    (file,) = (base / (folder or "raw")).iterdir()

    assert file.name.startswith("shard-7-")
    assert [record.kind for record in files.records_in(files.read(file.read_bytes()))] == [
        Kind.ADDED,
        Kind.CLOSED,
    ]


def test_hand_over_is_recorded_step_by_step() -> None:
    """A successor's frames like any other's, and each look at whether it may take over."""
    capture, recorder, writer = a_capture()
    stream = Bench().stream("trade")
    sink = capture.sink(3, a_lane([stream]))
    sink.attach(cast(Feed, SpeakingFeed()))
    way_in = sink.overlap(OverlapLimits(settle_s=1.0, deadline_s=10.0, patience_s=2.0))
    way_in.on_frame(orjson.dumps({"stream": "btcusdt@trade", "data": trade(1)}), 77)
    verdicts = [way_in.judge(5.0, None), way_in.judge(7.0, 5.0)]
    way_in.finish()
    sink.overlap(OverlapLimits(settle_s=1.0, deadline_s=10.0, patience_s=2.0)).abandon()
    recorder.hand_over()

    steps = [orjson.loads(record[4])["step"] for record in writer.records if record[0] == Kind.OVERLAP]
    assert steps == ["begin", "judge", "judge", "finish", "begin", "abandon"]
    assert [record[2] for record in writer.records if record[0] == Kind.FRAME] == [2]
    assert (stream.messages, verdicts) == (1, [Takeover.WAIT, Takeover.READY])
