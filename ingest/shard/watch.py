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
        self._spoke_s: float | None = None
        """When any stream of the feed last said something new."""

    def tick(self, now_s: float) -> None:
        """Judge every stream; ask for a new connection when one has been silent for too long."""
        is_live = self._feed.phase is FeedPhase.LIVE
        if is_live and not self._was_live:
            for stream in self._lane.streams:
                stream.timer.restart(now_s)
        self._was_live = is_live
        silent = [stream for stream in self._lane.streams if self._judge(stream, now_s, is_live=is_live)]
        self._diagnose(now_s)
        if silent and is_live:
            self._replace(silent, now_s)

    def _judge(self, stream: Stream, now_s: float, *, is_live: bool) -> bool:
        """Set the stream's state; True when it has newly passed its threshold."""
        overdue = stream.timer.is_overdue(stream.news, now_s)
        spoke = stream.news != stream.news_before
        if spoke or self._spoke_s is None:
            self._spoke_s = now_s
        stream.news_before = stream.news
        if spoke:
            stream.state, stream.diagnosis = StreamState.LIVE, Diagnosis.NONE
        elif overdue:
            stream.state, stream.diagnosis = StreamState.STALE, Diagnosis.STREAM_SILENT
        elif not is_live and stream.state is StreamState.LIVE:
            stream.state = StreamState.RECOVERING
        return overdue

    def _diagnose(self, now_s: float) -> None:
        """Tell a stream that is silent among others from a feed that brings nothing at all."""
        stale = [stream for stream in self._lane.streams if stream.state is StreamState.STALE]
        if not stale or self._spoke_s is None:
            return
        # Half a threshold: streams that fell silent together pass their thresholds one after another.
        limit_s = min(stream.timer.threshold_s for stream in stale) / 2
        feed_is_silent = now_s - self._spoke_s > limit_s
        for stream in stale:
            stream.diagnosis = Diagnosis.FEED_SILENT if feed_is_silent else Diagnosis.STREAM_SILENT

    def _replace(self, silent: Sequence[Stream], now_s: float) -> None:
        for stream in silent:
            stream.timer.replaced(now_s)
        names = ", ".join(str(stream.key) for stream in silent[:_NAMED])
        more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
        log.warning("stream.stale", feed=self._feed.number, streams=len(silent), named=names + more)
        self._feed.replace(f"stream_stale: {names}{more}")
