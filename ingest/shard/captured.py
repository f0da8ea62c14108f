"""The seam at which a shard's inputs are captured, when they are.

Everything that the middle of a shard (lanes, streams, books) is told from outside passes here: frames and
connections, streams that come and go, snapshots, ticks, and what the clock said. `shard.replay` tells the
same to the same code. Whether anything is captured is decided when a shard starts: `NO_CAPTURE` hands all
back as it is, so that a frame passes no line of this module.

Invariant: what is told is recorded first, and a reading of the clock directly behind what caused it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final, Protocol

from ingest import __version__
from ingest.capture.files import Header
from ingest.capture.recorder import Recorder
from ingest.capture.records import Kind
from ingest.capture.retention import Retention
from ingest.capture.writer import CaptureWriter, WriterLimits
from ingest.clock import Clock
from ingest.config import CaptureSection, Settings
from ingest.events import DepthSnapshot, StreamKey
from ingest.feed.connection import Feed
from ingest.feed.contract import FeedEnd, FeedSession, FrameSink, Overlap, OverlapLimits, Takeover

_CLOSE_S: Final = 2.0
_FRAME: Final = int(Kind.FRAME)

OnSnapshot = Callable[[DepthSnapshot], None]
OnFailed = Callable[[str], None]
LookAgain = Callable[[str], bool]


class LaneSink(FrameSink, Protocol):
    """A sink that says back to its feed what the exchange says to it."""

    def attach(self, feed: Feed) -> None: ...


class Capture(Protocol):
    """What a shard tells, or lets pass."""

    def sink(self, feed: int, lane: LaneSink) -> LaneSink:
        """Where a feed delivers instead of into its lane."""
        ...

    def clock(self, clock: Clock) -> Clock:
        """A clock whose wall time may end in a row."""
        ...

    def snapshots(self, on_snapshot: OnSnapshot) -> OnSnapshot:
        """What is called with a book that was asked for."""
        ...

    def failures(self, on_failed: OnFailed) -> OnFailed:
        """What is called when it could not be had."""
        ...

    def looks(self, look_again: LookAgain) -> LookAgain:
        """What is called when a live book shall be compared with the exchange's."""
        ...

    def added(
        self, feed: int, key: StreamKey, resume: tuple[int | None, int] | None, line: int = 1
    ) -> None: ...

    def removed(self, feed: int, keys: Iterable[StreamKey]) -> None: ...

    def broke(self, feed: int, keys: Iterable[StreamKey], cause: str) -> None: ...

    def tick(self) -> None: ...

    def instant(self, now_s: float, wall_us: int) -> None: ...


class _NoCapture:
    """Lets everything pass."""

    def sink(self, feed: int, lane: LaneSink) -> LaneSink:
        return lane

    def clock(self, clock: Clock) -> Clock:
        return clock

    def snapshots(self, on_snapshot: OnSnapshot) -> OnSnapshot:
        return on_snapshot

    def failures(self, on_failed: OnFailed) -> OnFailed:
        return on_failed

    def looks(self, look_again: LookAgain) -> LookAgain:
        return look_again

    def added(self, feed: int, key: StreamKey, resume: tuple[int | None, int] | None, line: int = 1) -> None:
        pass

    def removed(self, feed: int, keys: Iterable[StreamKey]) -> None:
        pass

    def broke(self, feed: int, keys: Iterable[StreamKey], cause: str) -> None:
        pass

    def tick(self) -> None:
        pass

    def instant(self, now_s: float, wall_us: int) -> None:
        pass


NO_CAPTURE: Final[Capture] = _NoCapture()


class RecordingCapture:
    """Records everything before it lets it pass."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.added = recorder.added
        self.removed = recorder.removed
        self.broke = recorder.broke
        self.tick = recorder.tick
        self.instant = recorder.instant

    def sink(self, feed: int, lane: LaneSink) -> LaneSink:
        return _RecordedSink(feed, lane, self.recorder)

    def clock(self, clock: Clock) -> Clock:
        return _RecordedClock(clock, self.recorder)

    def snapshots(self, on_snapshot: OnSnapshot) -> OnSnapshot:
        def recorded(snapshot: DepthSnapshot) -> None:
            self.recorder.snapshot(snapshot)
            on_snapshot(snapshot)

        return recorded

    def failures(self, on_failed: OnFailed) -> OnFailed:
        def recorded(symbol: str) -> None:
            self.recorder.failed(symbol)
            on_failed(symbol)

        return recorded

    def looks(self, look_again: LookAgain) -> LookAgain:
        def recorded(symbol: str) -> bool:
            self.recorder.look(symbol)
            return look_again(symbol)

        return recorded


class _RecordedSink:
    def __init__(self, number: int, lane: LaneSink, recorder: Recorder) -> None:
        self._number = number
        self._lane = lane
        self._recorder = recorder
        self._append = recorder.append
        self._on_frame = lane.on_frame
        self._feed: Feed | None = None

    def attach(self, feed: Feed) -> None:
        self._feed = feed
        self._lane.attach(feed)

    def on_frame(self, data: bytes, recv_ns: int) -> None:
        self.record(data, recv_ns)
        self._on_frame(data, recv_ns)

    def record(self, data: bytes, recv_ns: int) -> None:
        feed = self._feed
        self._append((_FRAME, self._number, feed.epoch if feed is not None else 0, recv_ns, data))

    def overlap(self, limits: OverlapLimits) -> Overlap:
        self._recorder.overlap(self._number, "begin", limits=asdict(limits))
        return _RecordedOverlap(self._number, self._lane.overlap(limits), self.record, self._recorder)

    def on_connected(self, session: FeedSession) -> None:
        self._recorder.opened(session)
        self._lane.on_connected(session)

    def on_disconnected(self, session: FeedSession, end: FeedEnd) -> None:
        self._recorder.ended(session, end)
        self._lane.on_disconnected(session, end)


class _RecordedOverlap:
    def __init__(
        self, number: int, overlap: Overlap, record: Callable[[bytes, int], None], recorder: Recorder
    ) -> None:
        self._number = number
        self._overlap = overlap
        self._record = record
        self._recorder = recorder

    def on_frame(self, data: bytes, recv_ns: int) -> None:
        self._record(data, recv_ns)
        self._overlap.on_frame(data, recv_ns)

    def judge(self, now_s: float, live_s: float | None) -> Takeover:
        self._recorder.overlap(self._number, "judge", now_s=now_s, live_s=live_s)
        return self._overlap.judge(now_s, live_s)

    def finish(self) -> None:
        self._recorder.overlap(self._number, "finish")
        self._overlap.finish()

    def abandon(self) -> None:
        self._recorder.overlap(self._number, "abandon")
        self._overlap.abandon()


class _RecordedClock:
    """What its wall time says is recorded; the monotonic one only orders what is done."""

    def __init__(self, clock: Clock, recorder: Recorder) -> None:
        self._clock = clock
        self._recorder = recorder

    def wall_ns(self) -> int:
        wall_ns = self._clock.wall_ns()
        self._recorder.clock(wall_ns)
        return wall_ns

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()


@contextmanager
def open_capture(settings: Settings, shard: int, *, clock: Clock) -> Iterator[Capture]:
    """The shard's capture, written out and closed at the end; `NO_CAPTURE` when none is wanted.

    A folder that cannot be written is logged and costs the capture, not the shard.
    """
    section = settings.capture
    if not section.enabled:
        yield NO_CAPTURE
        return
    header = Header(
        program=__version__,
        shard=shard,
        run=clock.wall_ns(),
        part=1,
        stored_levels=settings.spot.stored_levels,
        store_every_s=settings.spot.snapshot_every_s,
    )
    folder = Path(section.folder) if section.folder else settings.service.data_dir / "raw"
    writer = CaptureWriter(folder, header, clock=clock, limits=_limits(section))
    recorder = Recorder(writer, buffer_bytes=section.buffer_mib * 2**20)
    writer.start()
    try:
        yield RecordingCapture(recorder)
    finally:
        recorder.close(deadline_s=_CLOSE_S)


def _limits(section: CaptureSection) -> WriterLimits:
    retention = Retention(
        rotate_bytes=section.rotate_mib * 2**20,
        rotate_s=section.rotate_s,
        keep_bytes=section.keep_mib * 2**20 or None,
        keep_s=section.keep_s or None,
    )
    return WriterLimits(flush_s=section.flush_s, level=section.level, retention=retention)
