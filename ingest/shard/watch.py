"""Which streams have fallen silent, and what is done about it: their feed is replaced.

Judged once a second, stream by stream, by new messages alone (`feed.staleness`). A stream that is
stale stays marked so until it speaks again; replacing its feed is asked for once per silence, and
ever less often while it brings nothing.
"""

from collections.abc import Sequence

import structlog

from ingest.board.layout import Diagnosis, StreamState
from ingest.feed.connection import Feed
from ingest.feed.lifecycle import FeedPhase
from ingest.shard.pipeline import FeedLane
from ingest.shard.stream import Stream

log = structlog.get_logger()

_NAMED = 5
"""Streams named in a log line and a reason; the count says how many more."""


class SilenceWatch:
    """Looks after the streams of one feed."""

    def __init__(self, feed: Feed, lane: FeedLane) -> None:
        self._feed = feed
        self._lane = lane
        self._was_live = False

    def tick(self, now_s: float) -> None:
        """Judge every stream; ask for a new connection when one has been silent for too long."""
        is_live = self._feed.phase is FeedPhase.LIVE
        if is_live and not self._was_live:
            for stream in self._lane.streams:
                stream.timer.restart(now_s)
        self._was_live = is_live
        silent = [stream for stream in self._lane.streams if self._judge(stream, now_s, is_live=is_live)]
        if len(silent) == len(self._lane.streams):
            for stream in silent:
                stream.diagnosis = Diagnosis.FEED_SILENT
        if silent and is_live:
            self._replace(silent, now_s)

    def _judge(self, stream: Stream, now_s: float, *, is_live: bool) -> bool:
        """Set the stream's state; True when it has newly passed its threshold."""
        overdue = stream.timer.is_overdue(stream.news, now_s)
        spoke = stream.news != stream.news_before
        stream.news_before = stream.news
        if spoke:
            stream.state, stream.diagnosis = StreamState.LIVE, Diagnosis.NONE
        elif overdue:
            stream.state, stream.diagnosis = StreamState.STALE, Diagnosis.STREAM_SILENT
        elif not is_live and stream.state is StreamState.LIVE:
            stream.state = StreamState.RECOVERING
        return overdue

    def _replace(self, silent: Sequence[Stream], now_s: float) -> None:
        for stream in silent:
            stream.timer.replaced(now_s)
        names = ", ".join(str(stream.key) for stream in silent[:_NAMED])
        more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
        log.warning("stream.stale", feed=self._feed.number, streams=len(silent), named=names + more)
        self._feed.replace(f"stream_stale: {names}{more}")
