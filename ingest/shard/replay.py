"""A captured run, told again to the code that dealt with it: lanes, streams, books, batcher.

What it decides: nothing. It makes what the records say was there, and tells it what they say it was told;
the rows come out of the same code, and are the same. Times are the captured ones: the cached time that dates
gaps, and each reading of the clock, which stands behind the record that caused it. What it never does: dial,
fetch, write, or look at today's clock.

Where records are missing (`hole`, `Kind.MISSING`), every stream counts as having been away, so that what
cannot be filled in becomes a gap; what cannot be placed any more is counted and dropped.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

import orjson

from ingest.binance.answers import rest_depth
from ingest.book.sync import ImpossibleInput
from ingest.buffer.batcher import Batcher
from ingest.buffer.tables import DEPTH_SNAPSHOTS, Table
from ingest.capture.files import Header
from ingest.capture.records import NOW_S, Kind, Record
from ingest.events import Gap, GapCause, GapFilled, Market, StreamKey
from ingest.feed.contract import FeedEnd, FeedSession, OverlapLimits
from ingest.shard.books import Books
from ingest.shard.kinds import DepthStream
from ingest.shard.overlap import LaneOverlap
from ingest.shard.pipeline import FeedLane, SessionCounters
from ingest.shard.stream import Stream, StreamContext
from ingest.shard.streams import make_bookless, make_stream

_LOST: Final = FeedEnd("not in the capture", None, 0.0, 0)


@dataclass
class ReplayCounts:
    """What became of the records."""

    frames: int = 0
    malformed: int = 0
    snapshots: int = 0
    missing: int = 0
    """Records that the capture itself says it lacks."""
    unplaced: int = 0
    """Records that belong to something that is not there, because what made it is missing."""
    gaps: int = 0


class ReplayBatcher(Batcher):
    """A batcher whose rows are due at once, whatever the captured clocks say.

    A book that did not change between two storings gives the same key twice; the first row wins, which a
    database cannot tell when both come in one batch, as they never do live.
    """

    def __init__(self, counts: ReplayCounts) -> None:
        super().__init__()
        self._counts = counts
        self._stored_books: dict[bytes, bytes] = {}

    def add(
        self,
        table: Table,
        row: bytes,
        slot: int,
        ts_us: int,
        last_id: int,
        recv_ns: int,
        now_s: float,
    ) -> bool:
        if table is DEPTH_SNAPSHOTS and not self._is_another_book(row):
            return True
        return super().add(table, row, slot, ts_us, last_id, recv_ns, 0.0)

    def add_gap(self, table: Table, gap: Gap | GapFilled, now_s: float) -> None:
        self._counts.gaps += isinstance(gap, Gap)
        super().add_gap(table, gap, 0.0)

    def _is_another_book(self, row: bytes) -> bool:
        ts, update_id, _, symbol_id, _ = row.split(b"\t", 4)
        key = ts + b"\t" + update_id
        if self._stored_books.get(symbol_id) == key:
            return False
        self._stored_books[symbol_id] = key
        return True


class Lane(Protocol):
    """Where a frame is told."""

    def on_frame(self, data: bytes, recv_ns: int) -> None: ...


@dataclass
class _Overlap:
    """A successor's way into its lane, and which connection it is, once that is open."""

    way_in: LaneOverlap
    epoch: int | None = None


@dataclass
class _Instant:
    now_s: float = 0.0
    wall_us: int = 0


class _CapturedClock:
    """Says what was said: the readings that stand behind the record that is being told."""

    def __init__(self, instant: _Instant) -> None:
        self._instant = instant
        self._records: Sequence[Record] = ()
        self._next = 0

    def told(self, records: Sequence[Record], index: int) -> None:
        """The record at this place is being told."""
        self._records, self._next = records, index + 1

    def wall_ns(self) -> int:
        if self._next < len(self._records) and self._records[self._next].kind == Kind.CLOCK:
            self._next += 1
            return self._records[self._next - 1].stamp_ns
        return self._instant.wall_us * 1_000

    def monotonic_s(self) -> float:
        return self._instant.now_s


class RunReplay:
    """One run of one shard. `symbol_ids` must know every symbol before a record that names it is told."""

    def __init__(
        self, header: Header, batcher: Batcher, symbol_ids: Mapping[str, int], counts: ReplayCounts
    ) -> None:
        self._batcher = batcher
        self._symbol_ids = symbol_ids
        self._counts = counts
        self._instant = _Instant()
        self._clock = _CapturedClock(self._instant)
        self._counters = SessionCounters()
        self._books = Books(
            batcher,
            clock=self._clock,
            instant=self._instant,
            store_every_s=header.store_every_s,
            stored_levels=header.stored_levels,
        )
        self._lanes: dict[int, FeedLane] = {}
        self._open: dict[tuple[int, int], FeedSession] = {}
        self._overlaps: dict[int, _Overlap] = {}
        self._numbers = itertools.count()
        self._tellers = {
            Kind.FRAME: self._frame,
            Kind.OPENED: self._opened,
            Kind.ENDED: self._ended,
            Kind.ADDED: self._added,
            Kind.REMOVED: self._removed,
            Kind.BROKE: self._broke,
            Kind.OVERLAP: self._overlapped,
            Kind.SNAPSHOT: self._snapshot,
            Kind.FAILED: self._failed,
            Kind.LOOK: self._look,
            Kind.TICK: self._tick,
            Kind.INSTANT: self._moved,
            Kind.STANDING: self._standing,
            Kind.MISSING: self._missing,
        }

    def play(self, records: Sequence[Record], start: int, stop: int) -> None:
        """Tell the records from `start` to before `stop`; cut between any two."""
        tellers, clock = self._tellers, self._clock
        for index in range(start, min(stop, len(records))):
            record = records[index]
            tell = tellers.get(record.kind)  # type: ignore[call-overload]
            if tell is not None:
                clock.told(records, index)
                tell(record)

    def hole(self) -> None:
        """Records are missing here: nobody knows what was said meanwhile."""
        for lane in self._lanes.values():
            lane.broke(list(lane.streams), "disconnect")

    # ------------------------------------------------------------------ connections

    def _frame(self, record: Record) -> None:
        self._counts.frames += 1
        lane = self._lanes.get(record.feed)
        if lane is None:
            self._counts.unplaced += 1
            return
        if record.epoch and (record.feed, record.epoch) not in self._open:
            self._connect(FeedSession(record.feed, "", record.stamp_ns, record.epoch))
        overlap = self._overlaps.get(record.feed)
        sink: Lane = overlap.way_in if overlap is not None and overlap.epoch == record.epoch else lane
        sink.on_frame(record.payload, record.stamp_ns)

    def _overlapped(self, record: Record) -> None:
        body, lane = orjson.loads(record.payload), self._lanes.get(record.feed)
        step, overlap = body["step"], self._overlaps.get(record.feed)
        if lane is not None and step == "begin":
            self._overlaps[record.feed] = _Overlap(lane.overlap(OverlapLimits(**body["limits"])))
        elif overlap is None:
            self._counts.unplaced += 1
        elif step == "judge":
            overlap.way_in.judge(body["now_s"], body["live_s"])
        else:
            del self._overlaps[record.feed]
            end = overlap.way_in.finish if step == "finish" else overlap.way_in.abandon
            end()

    def _opened(self, record: Record) -> None:
        url = orjson.loads(record.payload)["url"]
        self._connect(FeedSession(record.feed, url, record.stamp_ns, record.epoch))

    def _connect(self, session: FeedSession) -> None:
        lane = self._lanes.get(session.feed)
        if lane is not None and (session.feed, session.epoch) not in self._open:
            self._open[session.feed, session.epoch] = session
            overlap = self._overlaps.get(session.feed)
            if overlap is not None and overlap.epoch is None:
                overlap.epoch = session.epoch
            lane.on_connected(session)

    def _ended(self, record: Record) -> None:
        self._disconnect(record.feed, record.epoch, FeedEnd(**orjson.loads(record.payload)))

    def _disconnect(self, feed: int, epoch: int, end: FeedEnd) -> None:
        session, lane = self._open.pop((feed, epoch), None), self._lanes.get(feed)
        if session is not None and lane is not None:
            lane.on_disconnected(session, end)

    # ------------------------------------------------------------------ streams

    def _added(self, record: Record) -> None:
        body = orjson.loads(record.payload)
        self._add(record.feed, _key(body["stream"]), body["line"], body["resume"])

    def _add(
        self, feed: int, key: StreamKey, line: int, resume: "tuple[int | None, int] | None" = None
    ) -> None:
        lane = self._lanes.get(feed) or self._new_lane(feed)
        stream = self._new_stream(feed, key, line)
        if resume is not None:
            last_id, ts_us = resume
            stream.resume(-1 if last_id is None else last_id, ts_us)
        lane.add([stream])

    def _new_lane(self, feed: int) -> FeedLane:
        lane = self._lanes[feed] = FeedLane(
            (), self._counters, on_malformed=self._on_malformed, on_session=_not_recorded
        )
        return lane

    def _new_stream(self, feed: int, key: StreamKey, line: int) -> Stream:
        number = next(self._numbers)
        context = StreamContext(
            key=key,
            slot=number,
            number=number,
            symbol_id=self._symbol_ids[key.symbol],
            feed=feed,
            batcher=self._batcher,
            instant=self._instant,
        )
        if line > 1:
            return make_bookless(context)
        book = self._books.new_book(key.symbol) if key.kind == "depth" else None
        stream = make_stream(context, book=book, act=self._books.act)
        if isinstance(stream, DepthStream):
            self._books.add(stream)
        return stream

    def _removed(self, record: Record) -> None:
        self._remove(record.feed, map(_key, orjson.loads(record.payload)["streams"]))

    def _remove(self, feed: int, keys: Iterable[StreamKey]) -> None:
        lane, wanted = self._lanes.get(feed), set(keys)
        if lane is None:
            return
        streams = [stream for stream in lane.streams if stream.key in wanted]
        lane.remove(streams)
        for stream in streams:
            stream.leave()
            if isinstance(stream, DepthStream):
                self._books.remove(stream.symbol)
        if not lane.streams:
            del self._lanes[feed]
            self._open = {place: session for place, session in self._open.items() if place[0] != feed}

    def _broke(self, record: Record) -> None:
        body, lane = orjson.loads(record.payload), self._lanes.get(record.feed)
        keys = set(map(_key, body["streams"]))
        if lane is not None:
            streams = [stream for stream in lane.streams if stream.key in keys]
            lane.broke(streams, cast(GapCause, body["cause"]))

    # ------------------------------------------------------------------ books and time

    def _snapshot(self, record: Record) -> None:
        self._counts.snapshots += 1
        body = orjson.loads(record.payload)
        known_from, known_to = body["known"]
        snapshot = rest_depth(body, body["symbol"], record.stamp_ns)._replace(
            bids_known_from=known_from, asks_known_to=known_to
        )
        try:
            self._books.on_snapshot(snapshot)
        except (ImpossibleInput, KeyError):  # what asked for it is missing
            self._counts.unplaced += 1

    def _failed(self, record: Record) -> None:
        try:
            self._books.on_failed(orjson.loads(record.payload)["symbol"])
        except (ImpossibleInput, KeyError):
            self._counts.unplaced += 1

    def _look(self, record: Record) -> None:
        try:
            self._books.look_again(orjson.loads(record.payload)["symbol"])
        except (ImpossibleInput, KeyError):
            self._counts.unplaced += 1

    def _tick(self, record: Record) -> None:
        self._books.tick()

    def _moved(self, record: Record) -> None:
        self._instant.now_s = NOW_S.unpack(record.payload)[0]
        self._instant.wall_us = record.stamp_ns // 1_000

    # ------------------------------------------------------------------ holes

    def _standing(self, record: Record) -> None:
        """Make good what is missing; changes nothing where nothing is."""
        body = orjson.loads(record.payload)
        self._instant.now_s, self._instant.wall_us = body["now_s"], record.stamp_ns // 1_000
        lines = {feed: line for feed, line, _ in body["streams"]}
        wanted = {feed: dict.fromkeys(map(_key, streams)) for feed, _, streams in body["streams"]}
        for feed, lane in list(self._lanes.items()):
            self._remove(feed, {stream.key for stream in lane.streams} - wanted.get(feed, {}).keys())
        for feed, keys in wanted.items():
            lane_now = self._lanes.get(feed)
            here = set() if lane_now is None else {stream.key for stream in lane_now.streams}
            for key in keys:
                if key not in here:
                    self._add(feed, key, lines[feed])
        sessions = {
            (feed, epoch): FeedSession(feed, url, opened_ns, epoch)
            for feed, epoch, opened_ns, url in body["open"]
        }
        for feed, epoch in self._open.keys() - sessions.keys():
            self._disconnect(feed, epoch, _LOST)
        for session in sessions.values():
            self._connect(session)

    def _missing(self, record: Record) -> None:
        self._counts.missing += orjson.loads(record.payload)["records"]
        self.hole()

    def _on_malformed(self, feed: int, error: str, frame: bytes) -> None:
        self._counts.malformed += 1


def symbols_in(records: Iterable[Record]) -> set[str]:
    """Every symbol that these records bring."""
    found: set[str] = set()
    for record in records:
        if record.kind == Kind.ADDED:
            found.add(orjson.loads(record.payload)["stream"][1])
        elif record.kind == Kind.STANDING:
            body = orjson.loads(record.payload)
            found.update(stream[1] for *_, streams in body["streams"] for stream in streams)
    return found


def _key(parts: Sequence[str]) -> StreamKey:
    market, symbol, kind = parts
    return StreamKey(cast(Market, market), symbol, kind)


def _not_recorded(session: FeedSession, streams: int, end: FeedEnd | None) -> None:
    """The connections of then are not those of now."""
