"""Frames to the streams they belong to, and commits back to them: the middle of a shard.

Synchronous throughout: a feed's reader calls in with each frame, the writer with each commit, and
neither waits here. A frame that cannot be read or stored is counted, kept for inspection and never
stops anything; the stream it was about, or all of the feed when that cannot be told, may lack something
from then on, which those whose ids do not tell are told (`Stream.doubt`).
"""

import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import orjson
import structlog
from orjson import loads

from ingest.binance.frames import JsonObject
from ingest.binance.parse import Ack, Refusal, ServerShutdown, split_frame
from ingest.binance.streams import EVENT_TYPE, wire_name
from ingest.buffer.batcher import Batch
from ingest.events import GapCause
from ingest.feed.connection import Feed
from ingest.feed.contract import FeedEnd, FeedSession, OverlapLimits
from ingest.shard.overlap import LaneOverlap, Routes
from ingest.shard.stream import Stream
from ingest.store.sink import Written

log = structlog.get_logger()

_KEPT_LATENCIES = 512
_NOTHING: JsonObject = {}
_STREAM_NAME = re.compile(rb'"stream":"([^"]+)"')


@dataclass
class SessionCounters:
    """What the pipeline has counted since the shard began."""

    frames: int = 0
    bytes_received: int = 0
    malformed: int = 0
    rows_committed: int = 0
    batches_committed: int = 0
    conflicts: int = 0
    latencies_us: deque[int] = field(default_factory=lambda: deque(maxlen=_KEPT_LATENCIES))

    def latency_us(self, quantile: float) -> int:
        """A quantile of the newest commits' latencies, arrival to commit of their oldest row."""
        ordered = sorted(self.latencies_us)
        return ordered[min(int(quantile * len(ordered)), len(ordered) - 1)] if ordered else 0


class FeedLane:
    """The `FrameSink` of one feed: what arrives on it, by the wire names of its streams.

    Two connections of the feed may deliver at once while one hands over to the other: the successor through
    a `LaneOverlap`.
    """

    def __init__(
        self,
        streams: Iterable[Stream],
        counters: SessionCounters,
        *,
        on_malformed: Callable[[int, str, bytes], None],
        on_session: Callable[[FeedSession, int, FeedEnd | None], None],
    ) -> None:
        self.last_data_ns = 0
        self._counters = counters
        self._streams: dict[str, Stream] = {}
        self._accept: Routes = {}
        self._overlap: LaneOverlap | None = None
        self._on_malformed = on_malformed
        self._on_session = on_session
        self._feed: Feed | None = None
        self._connections = 0
        self.add(streams)

    @property
    def streams(self) -> Collection[Stream]:
        return self._streams.values()

    def attach(self, feed: Feed) -> None:
        """The feed whose frames come here, and which hears what the exchange says to it."""
        self._feed = feed

    def add(self, streams: Iterable[Stream]) -> list[str]:
        """Take these streams' frames, too; returns their wire names."""
        named = {_name(stream): stream for stream in streams}
        self._streams.update(named)
        for routes in self._all_routes():
            routes.update(
                {name: (stream.accept, EVENT_TYPE[stream.key.kind]) for name, stream in named.items()}
            )
        for stream in named.values():
            stream.overlap(self._connections > 1)
        return list(named)

    def remove(self, streams: Iterable[Stream]) -> list[str]:
        """Take these streams' frames no longer; returns their wire names. What still comes is dropped."""
        names = self.names_of(streams)
        if self._overlap is not None:
            self._overlap.forget(names)
        for name in names:
            del self._streams[name]
            for routes in self._all_routes():
                routes[name] = (_ignore, None)
        return names

    def _all_routes(self) -> list[Routes]:
        """Of the carrier's frames, and of its successor's while there is one."""
        return [self._accept] if self._overlap is None else [self._accept, self._overlap.routes]

    def names_of(self, streams: Iterable[Stream]) -> list[str]:
        """The wire names of some streams."""
        return [_name(stream) for stream in streams]

    def broke(self, streams: Iterable[Stream], cause: GapCause) -> None:
        """These streams were away, for a reason of their own; those that have left meanwhile are not told."""
        for stream in streams:
            if self._streams.get(_name(stream)) is stream:
                stream.broke(cause)

    def on_frame(self, data: bytes, recv_ns: int, routes: Routes | None = None) -> None:
        """Take a frame of the carrier, or by the `routes` of another connection."""
        counters = self._counters
        counters.frames += 1
        counters.bytes_received += len(data)
        try:
            accept, message = None, _NOTHING
            try:
                frame = loads(data)
                message = frame["data"]
                known, event_type = (self._accept if routes is None else routes)[frame["stream"]]
                if message.get("e") == event_type or event_type is None:
                    accept = known
            except (KeyError, TypeError, AttributeError, orjson.JSONDecodeError):
                accept = None
            if accept is not None:
                self.last_data_ns = recv_ns
                accept(message, recv_ns)
            else:
                self._on_unexpected(data, routes)
        except ValueError as error:
            counters.malformed += 1
            for stream in self._concerned(data):
                stream.doubt()
            self._on_malformed(self._number, str(error), data)

    def _on_unexpected(self, data: bytes, routes: Routes | None) -> None:
        """What is no message of a stream that was asked for; ValueError unless it is a reply or a notice."""
        item = split_frame(data)
        if type(item) is not tuple:
            self._on_control(item)
            return
        name, message = item
        if name in (self._accept if routes is None else routes):
            raise ValueError(f"an event of an unknown type on {name}: {message.get('e')!r:.40}")
        raise ValueError(f"a stream that was not asked for: {name}")

    def _concerned(self, frame: bytes) -> Iterable[Stream]:
        """The streams one of which has lost what was in a frame that cannot be used."""
        if (named := _STREAM_NAME.search(frame)) is None:
            return () if _is_notice(frame) else self._streams.values()
        stream = self._streams.get(named[1].decode(errors="replace"))
        return self._streams.values() if stream is None else (stream,)

    def overlap(self, limits: OverlapLimits) -> LaneOverlap:
        """The way in for a successor."""
        if self._overlap is not None:
            self._overlap.abandon()
        self._overlap = LaneOverlap(self, self._streams, self._accept, limits)
        return self._overlap

    def on_overlap_over(self) -> None:
        """Either the successor carries the streams alone, or it is gone."""
        self._overlap = None

    def on_held_malformed(self, name: str, data: JsonObject, error: ValueError) -> None:
        """A message that was held back cannot be stored."""
        self._counters.malformed += 1
        if (stream := self._streams.get(name)) is not None:
            stream.doubt()
        self._on_malformed(self._number, str(error), orjson.dumps({"stream": name, "data": data}))

    def on_connected(self, session: FeedSession) -> None:
        self._count_connections(1)
        self._on_session(session, len(self._streams), None)

    def on_disconnected(self, session: FeedSession, end: FeedEnd) -> None:
        overlap = self._overlap
        for name, stream in self._streams.items():
            if end.seamless or (overlap is not None and overlap.joins(name)):
                stream.moved()
            else:
                stream.broke()
        if overlap is not None and not end.seamless:
            overlap.finish()
        self._count_connections(-1)
        self._on_session(session, len(self._streams), end)

    def _count_connections(self, change: int) -> None:
        self._connections += change
        for stream in self._streams.values():
            stream.overlap(self._connections > 1)

    @property
    def _number(self) -> int:
        return self._feed.number if self._feed is not None else -1

    def _on_control(self, item: object) -> None:
        feed = self._feed
        if feed is None:
            return
        if isinstance(item, Ack):
            if isinstance(item.request_id, int):
                feed.acknowledged(item.request_id)
        elif isinstance(item, Refusal):
            log.error("ws.refused", feed=feed.number, code=item.code, message=item.message)
            feed.refused(item.message, item.request_id if isinstance(item.request_id, int) else None)
        elif isinstance(item, ServerShutdown):
            feed.shutdown_announced()


def _name(stream: Stream) -> str:
    return wire_name(stream.key.symbol, stream.key.kind)


def _is_notice(frame: bytes) -> bool:
    """Whether a frame without a stream's name is whole: then it is about something else than our data."""
    try:
        return type(orjson.loads(frame)) is dict
    except orjson.JSONDecodeError:
        return False


def _ignore(message: JsonObject, recv_ns: int) -> None:
    """What was on its way when its stream was given up."""


class Commits:
    """What the writer reports back: which events a query can see by now. `streams` are by their number."""

    def __init__(self, streams: Mapping[int, Stream], counters: SessionCounters) -> None:
        self._streams = streams
        self._counters = counters

    def on_commit(self, batch: Batch, written: Written, committed_wall_ns: int) -> None:
        """A batch is committed; called after the commit and only then."""
        counters = self._counters
        counters.batches_committed += 1
        counters.rows_committed += written.rows
        counters.conflicts += written.conflicts
        if batch.oldest_recv_ns is not None:
            counters.latencies_us.append(max(0, committed_wall_ns - batch.oldest_recv_ns) // 1_000)
        for number, mark in batch.marks.items():
            stream = self._streams.get(number)
            if stream is not None:
                stream.committed_event_us = max(stream.committed_event_us, mark.ts_us)
                stream.committed_wall_ns = committed_wall_ns
                stream.committed_id = max(stream.committed_id, mark.last_id)
