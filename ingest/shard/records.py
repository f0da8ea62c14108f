"""What a shard writes down about its connections and about what it could not store.

Malformed frames are counted without limit and kept with one: a broken server could send nothing else.
"""

from collections.abc import Callable

import structlog

from ingest.buffer.origins import market_of, origin
from ingest.buffer.tables import Table
from ingest.clock import Clock
from ingest.errors import RowsRefused
from ingest.events import Gap, StreamKey
from ingest.feed.contract import FeedEnd, FeedSession
from ingest.store.journal import Journal, Quarantined, SessionClosed, SessionOpened

log = structlog.get_logger()

_MARKET = "spot"


class SessionRecords:
    """The journal's author."""

    def __init__(self, shard: int, journal: Journal, *, clock: Clock, kept_frames_per_minute: int) -> None:
        self._shard = shard
        self._journal = journal
        self._clock = clock
        self._kept_per_minute = kept_frames_per_minute
        self._minute = 0
        self._kept = 0

    def session(self, session: FeedSession, streams: int, end: FeedEnd | None) -> None:
        """A feed's connection has opened (`end` None) or ended."""
        opened = SessionOpened(
            market=_MARKET,
            feed=str(session.feed),
            shard=self._shard,
            url=session.url,
            connected_us=session.connected_wall_ns // 1_000,
            streams=streams,
        )
        if end is None:
            self._journal.record(opened)
            return
        self._journal.record(
            SessionClosed(
                *opened,
                closed_us=self._clock.wall_ns() // 1_000,
                close_code=end.code,
                reason=end.reason,
                messages=end.messages,
            )
        )

    def frame_malformed(self, feed: int, error: str, frame: bytes) -> None:
        """A frame that could not be parsed, or not be stored."""
        now_us = self._clock.wall_ns() // 1_000
        if now_us // 60_000_000 != self._minute:
            self._minute, self._kept = now_us // 60_000_000, 0
        self._kept += 1
        if self._kept <= self._kept_per_minute:
            log.warning("frame.malformed", feed=feed, error=error, frame=frame[:200].decode(errors="replace"))
            self._journal.record(Quarantined(now_us, _MARKET, self._shard, str(feed), "frame", error, frame))

    def row_refused(self, table: Table, row: bytes, error: RowsRefused) -> None:
        """A row that the database will never take."""
        log.error("row.refused", table=table.name, error=str(error))
        now_us = self._clock.wall_ns() // 1_000
        self._journal.record(Quarantined(now_us, _MARKET, self._shard, "", table.name, str(error), row))


class Refusals:
    """What becomes of a row that the database will never take: kept for inspection, and a gap."""

    def __init__(self, records: SessionRecords, *, symbol_of: Callable[[int], str], clock: Clock) -> None:
        self._records = records
        self._symbol_of = symbol_of
        self._clock = clock

    def __call__(self, table: Table, row: bytes, error: RowsRefused) -> Gap | None:
        """Keep the row; the gap that stands for it, None when it has no id to be missed by."""
        self._records.row_refused(table, row, error)
        try:
            read = origin(table, row)
        except ValueError:
            return None
        if read.last_id is None:
            return None
        return Gap(
            key=StreamKey(market_of(table), self._symbol_of(read.symbol_id), read.kind),
            first_id=read.first_id,
            last_id=read.last_id,
            start_us=read.ts_us,
            end_us=read.ts_us,
            cause="row_refused",
            repairable=False,
            note=f"the database refused this row, which is in ops.quarantine: {error}",
            opened_us=self._clock.wall_ns() // 1_000,
        )
