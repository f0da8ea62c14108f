"""A successor's way into a lane, for as long as its predecessor still delivers there.

What it owns: one `Crossing` for each stream of the lane, and the routes that lead through them. A stream
whose two sides have met is routed straight to its destination again, from both connections. What it
decides: whether the successor may take over, from what the crossings say. What it never does: parse more
of a message than its position, or close a connection.

    every stream has met                               ready, once it has settled
    some that moves is not brought by the successor    wait; refuse after the deadline
    some is held back                                  wait, up to the deadline
    some is quiet on both                              wait, up to the deadline: it was subscribed meanwhile,
                                                       so that whatever comes, comes on the successor
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Protocol, TypeAlias

import structlog

from ingest.binance.frames import JsonObject
from ingest.binance.order import PositionReader, is_consecutive, position_reader
from ingest.feed.contract import OverlapLimits, Takeover
from ingest.sequence.crossing import Crossing
from ingest.shard.stream import Stream

log = structlog.get_logger()

Accept: TypeAlias = Callable[[JsonObject, int], None]
Routes: TypeAlias = dict[str, tuple[Accept, str | None]]
"""By wire name: what takes a message, and the event type that it must have (None: any)."""

Message: TypeAlias = tuple[JsonObject, int]


class OverlappedLane(Protocol):
    """The lane as an overlap needs it."""

    def on_frame(self, data: bytes, recv_ns: int, routes: Routes | None = None) -> None: ...

    def on_held_malformed(self, name: str, data: JsonObject, error: ValueError) -> None: ...

    def on_overlap_over(self) -> None: ...


class LaneOverlap:
    """An `ingest.feed.contract.Overlap`. `carrier_routes` are changed for as long as it lasts."""

    def __init__(
        self,
        lane: OverlappedLane,
        streams: Mapping[str, Stream],
        carrier_routes: Routes,
        limits: OverlapLimits,
    ) -> None:
        self.routes: Routes = dict(carrier_routes)
        self._carrier_routes = carrier_routes
        self._lane = lane
        self._limits = limits
        self._now_s = 0.0
        self._live_s: float | None = None
        self._is_over = False
        self._met: set[str] = set()
        self._passages = {name: _Passage(stream) for name, stream in streams.items()}
        for name, passage in self._passages.items():
            event_type = carrier_routes[name][1]
            carrier_routes[name] = (partial(self._carried, name, passage), event_type)
            self.routes[name] = (partial(self._offered, name, passage), event_type)

    def on_frame(self, data: bytes, recv_ns: int) -> None:
        """Take a frame of the successor."""
        self._lane.on_frame(data, recv_ns, self.routes)

    def joins(self, name: str) -> bool:
        """Whether the successor brings this stream without a break."""
        return name in self._met

    def forget(self, names: Collection[str]) -> None:
        """These streams are given up; whoever says so changes the routes."""
        for name in names:
            self._passages.pop(name, None)
            self._met.discard(name)

    def judge(self, now_s: float, live_s: float | None) -> Takeover:
        self._now_s, self._live_s = now_s, live_s
        for name, passage in list(self._passages.items()):
            if passage.crossing.silent_s(now_s) > self._limits.patience_s:
                self._give_up(name, passage)
        return Takeover.WAIT if live_s is None else self._verdict(now_s - live_s)

    def finish(self) -> None:
        self._end(deliver=True)

    def abandon(self) -> None:
        # What is held was for after what the carrier brings; it brings that itself.
        self._end(deliver=False)

    # ------------------------------------------------------------------ messages

    def _carried(self, name: str, passage: "_Passage", data: JsonObject, recv_ns: int) -> None:
        passage.stream.accept(data, recv_ns)
        position = passage.stream.position
        self._go_on(name, passage, passage.crossing.carried(position, self._now_s, is_owed=self._is_owed()))

    def _offered(self, name: str, passage: "_Passage", data: JsonObject, recv_ns: int) -> None:
        first, position = passage.position_of(data), passage.stream.position
        held = passage.crossing.offered(first, (data, recv_ns), position, self._now_s)
        self._go_on(name, passage, held)

    def _go_on(self, name: str, passage: "_Passage", messages: Collection[Message]) -> None:
        if passage.crossing.passes:
            self._close(name, passage)
            if passage.crossing.is_joined:
                self._met.add(name)
            else:
                passage.stream.doubt()
        self._accept_all(name, passage.stream, messages)

    def _accept_all(self, name: str, stream: Stream, messages: Collection[Message]) -> None:
        for data, recv_ns in messages:
            try:
                stream.accept(data, recv_ns)
            except ValueError as error:
                self._lane.on_held_malformed(name, data, error)

    def _give_up(self, name: str, passage: "_Passage") -> None:
        self._go_on(name, passage, passage.crossing.give_up())

    def _close(self, name: str, passage: "_Passage") -> None:
        """From now on messages of both sides go straight to the stream."""
        self._passages.pop(name, None)
        for routes in (self._carrier_routes, self.routes):
            routes[name] = (passage.stream.accept, routes[name][1])

    # ------------------------------------------------------------------ judging

    def _is_owed(self) -> bool:
        """Whether the successor has been listening long enough to bring what the carrier does."""
        return self._live_s is not None and self._now_s - self._live_s >= self._limits.settle_s

    def _verdict(self, live_for_s: float) -> Takeover:
        if live_for_s < self._limits.settle_s:
            return Takeover.WAIT
        if not self._passages:
            return Takeover.READY
        if live_for_s < self._limits.deadline_s:
            return Takeover.WAIT
        owed = {name: passage.crossing.owes_s(self._now_s) for name, passage in self._passages.items()}
        lacking = {name: owes_s for name, owes_s in owed.items() if owes_s is not None}
        if not lacking:
            return Takeover.READY
        if max(lacking.values()) <= self._limits.settle_s:
            return Takeover.WAIT
        log.warning("ws.not_overlapping", streams=len(lacking), first=min(lacking))
        return Takeover.REFUSED if self._limits.may_refuse else Takeover.READY

    # ------------------------------------------------------------------ its end

    def _end(self, *, deliver: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        passages, self._passages = self._passages, {}
        for name, passage in passages.items():
            self._close(name, passage)
            if deliver:
                self._settle(name, passage)
        self._lane.on_overlap_over()

    def _settle(self, name: str, passage: "_Passage") -> None:
        """The carrier is gone: what was held or owed may follow a hole."""
        is_quiet = passage.crossing.is_awaited and passage.crossing.moved_since_s is None
        if not is_quiet:
            passage.stream.doubt()
        self._accept_all(name, passage.stream, passage.crossing.give_up())


class _Passage:
    """A stream on its way across."""

    __slots__ = ("crossing", "position_of", "stream")

    def __init__(self, stream: Stream) -> None:
        kind = stream.key.kind
        self.stream = stream
        self.crossing: Crossing[Message] = Crossing(consecutive=is_consecutive(kind))
        self.position_of: PositionReader = position_reader(kind)
