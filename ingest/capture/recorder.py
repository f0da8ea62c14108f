"""The event loop's side of a capture: it appends to a list, and hands the list over now and then.

What it decides: what is given up when the writer is too far behind (`buffer_bytes`): frames, snapshots and
times go, and are counted; connections and streams stay, because without them the rest cannot be read, and
because the exchange's own limits keep them few. What
it never does: write, compress, or wait.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import orjson
import structlog

from ingest.capture.records import NOW_S, Kind
from ingest.capture.standing import missing
from ingest.capture.writer import CaptureWriter, Waiting
from ingest.events import DepthSnapshot, StreamKey
from ingest.feed.contract import FeedEnd, FeedSession

log = structlog.get_logger()

_KEPT_ALWAYS: Final = frozenset({Kind.OPENED, Kind.ENDED, Kind.ADDED, Kind.REMOVED, Kind.BROKE, Kind.OVERLAP})
_RECORD_BYTES: Final = 200
"""What a record takes in memory beside its payload, about."""


class Recorder:
    """Everything that happens is told here, in its order, by one event loop."""

    def __init__(self, writer: CaptureWriter, *, buffer_bytes: int) -> None:
        self.missing = 0
        """Records that were given up, ever."""
        self._writer = writer
        self._buffer_bytes = buffer_bytes
        self._put_bytes = 0
        self._missing_since = 0
        self._waiting: list[Waiting] = []
        self.append: Final[Callable[[Waiting], None]] = self._waiting.append
        """Once a frame: (kind, feed, epoch, stamp_ns, payload)."""

    # ------------------------------------------------------------------ what happens

    def opened(self, session: FeedSession) -> None:
        """A connection has been opened."""
        self._note(Kind.OPENED, {"url": session.url}, session.feed, session.epoch, session.connected_wall_ns)

    def ended(self, session: FeedSession, end: FeedEnd) -> None:
        """It has ended."""
        body = {
            "reason": end.reason,
            "code": end.code,
            "age_s": end.age_s,
            "messages": end.messages,
            "seamless": end.seamless,
        }
        self._note(Kind.ENDED, body, session.feed, session.epoch, session.connected_wall_ns)

    def added(self, feed: int, key: StreamKey, resume: tuple[int | None, int] | None, line: int = 1) -> None:
        """A feed carries a line of a stream from now on; `resume`: the newest committed id and time (µs)."""
        self._note(
            Kind.ADDED,
            {"stream": list(key), "line": line, "resume": None if resume is None else list(resume)},
            feed,
        )

    def removed(self, feed: int, keys: Iterable[StreamKey]) -> None:
        """A feed carries these streams no longer."""
        self._note(Kind.REMOVED, {"streams": [list(key) for key in keys]}, feed)

    def broke(self, feed: int, keys: Iterable[StreamKey], cause: str) -> None:
        """Streams were away for a reason of their own."""
        self._note(Kind.BROKE, {"streams": [list(key) for key in keys], "cause": cause}, feed)

    def overlap(self, feed: int, step: str, **body: object) -> None:
        """A connection of a feed hands over to its successor, step by step."""
        self._note(Kind.OVERLAP, {"step": step, **body}, feed)

    def snapshot(self, snapshot: DepthSnapshot) -> None:
        """A book gets the exchange's."""
        body = {
            "symbol": snapshot.symbol,
            "lastUpdateId": snapshot.last_update_id,
            "bids": snapshot.bids,
            "asks": snapshot.asks,
            "known": [snapshot.bids_known_from, snapshot.asks_known_to],
        }
        self._note(Kind.SNAPSHOT, body, stamp_ns=snapshot.recv_ns)

    def look(self, symbol: str) -> None:
        """A live book will be compared with the exchange's."""
        self._note(Kind.LOOK, {"symbol": symbol})

    def failed(self, symbol: str) -> None:
        """A book does not get the exchange's this time."""
        self._note(Kind.FAILED, {"symbol": symbol})

    def tick(self) -> None:
        """Books are looked after."""
        self.append((Kind.TICK, 0, 0, 0, b""))

    def clock(self, wall_ns: int) -> None:
        """The clock was read, and what it said may end in a row."""
        self.append((Kind.CLOCK, 0, 0, wall_ns, b""))

    def instant(self, now_s: float, wall_us: int) -> None:
        """The shard's cached time has moved on; hands over what was recorded before."""
        self.append((Kind.INSTANT, 0, 0, wall_us * 1_000, NOW_S.pack(now_s)))
        self.hand_over()

    def _note(
        self, kind: Kind, body: Mapping[str, object], feed: int = 0, epoch: int = 0, stamp_ns: int = 0
    ) -> None:
        self.append((kind, feed, epoch, stamp_ns, orjson.dumps(body)))

    # ------------------------------------------------------------------ to the writer

    def hand_over(self) -> None:
        """Give the writer what was recorded so far, or as much of it as it may still take."""
        records = self._waiting.copy()
        self._waiting.clear()
        size = sum([len(record[4]) for record in records]) + _RECORD_BYTES * len(records)
        if self._put_bytes + size - self._writer.taken_bytes > self._buffer_bytes:
            records, size = self._without_bulk(records)
        elif self._missing_since:
            records.insert(0, missing(self._missing_since))
            self._missing_since = 0
        if records:
            self._put_bytes += size
            self._writer.put(records, size)

    def _without_bulk(self, records: list[Waiting]) -> tuple[list[Waiting], int]:
        kept = [record for record in records if record[0] in _KEPT_ALWAYS]
        if not self._missing_since:
            log.error("capture.behind", why="the disk is slower than the exchange: frames are not captured")
        self.missing += len(records) - len(kept)
        self._missing_since += len(records) - len(kept)
        return kept, sum([len(record[4]) for record in kept]) + _RECORD_BYTES * len(kept)

    def close(self, *, deadline_s: float) -> None:
        """Have everything written and the file closed, within a deadline."""
        self.hand_over()
        if self._missing_since:
            self._writer.put([missing(self._missing_since)], 0)
        if not self._writer.stop(deadline_s=deadline_s):
            log.error("capture.not_closed", why=f"the disk takes longer than {deadline_s:g} s")
        log.info(
            "capture.closed",
            records=self._writer.written_records,
            bytes=self._writer.written_bytes,
            missing=self.missing + self._writer.lost_records,
        )
