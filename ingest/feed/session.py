"""One websocket of a feed: dialled, subscribed, read, kept alive, and ended for a named reason.

What it owns: the socket with its one reader, the pace of what is sent on it (requests, pongs, our own
pings), the answers that are due, and the signs that the link is dead or that a successor is wanted.
What it never does: parse a frame, judge a stream, dial again. `feed.connection` decides what comes
before and after a session; what the exchange answers comes back through `acknowledged` and `refused`.

Invariants:

* `serve` ends with one reason and leaves no task behind; `hang_up` has a deadline, so a half-open
  socket cannot hold up whoever waits for the session.
* Everything that is sent, pings and pongs included, goes through the session's own pacer.
* A request that goes unanswered ends the session only while it is not subscribed yet. Later it asks
  for a successor instead: the other streams still come.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from ingest.clock import Clock
from ingest.errors import FeedClosed, LocationRefused
from ingest.feed.contract import FeedLimits, FeedSession, FrameSink, Overlap, Signs, Takeover
from ingest.feed.lifecycle import FeedAction, FeedEvent, FeedLifecycle, FeedPhase, Subscriptions
from ingest.feed.pacing import Pacer
from ingest.feed.rotation import place_of, rotate_after_s
from ingest.feed.socket import Dial, Socket

log = structlog.get_logger()

MAX_WAITING_REQUESTS = 64
ROTATION = "rotation"
"""The reason of a session that is old enough."""
_TICK_S = 0.25


class Request(NamedTuple):
    """A control message; `answered` is called when the exchange has acknowledged it."""

    request_id: int
    message: str
    answered: Callable[[], None] | None = None


@dataclass(frozen=True)
class Link:
    """What all sessions of a feed work with."""

    feed: int
    sink: FrameSink
    dial: Dial
    clock: Clock
    rng: random.Random
    limits: FeedLimits


@dataclass
class Floor:
    """Which session of a feed is delivering: what its sink hears is said on this one."""

    speaker: "Session | None" = None


class Session:
    """Call `dial()`, then `serve()`, then `hang_up()`; the other methods may be called while it serves."""

    def __init__(self, url: str, link: Link, floor: Floor, overlap: Overlap | None = None) -> None:
        """`overlap` is the way into the sink while a predecessor delivers there."""
        loop = asyncio.get_running_loop()
        self.url = url
        self.messages = 0
        """Frames with data or answers in them."""
        self.epoch = 0
        """Which connection of its feed it is, counted from 1; 0 before it is open."""
        self.last_frame_ns = 0
        self.signs = Signs()
        self.wanted: asyncio.Future[str] = loop.create_future()
        """Done, with the reason, when a successor shall take over."""
        self.ready: asyncio.Future[None] = loop.create_future()
        """Done when the session carries all that its predecessor does, and may take over."""
        self.is_refused = False
        """It was not let take over, because it did not bring what its predecessor brought."""
        self._end: asyncio.Future[FeedClosed] = loop.create_future()
        self._link = link
        self._limits = link.limits
        self._clock = link.clock
        self._floor = floor
        self._overlap = overlap
        self._deliver = link.sink.on_frame if overlap is None else overlap.on_frame
        self._lifecycle = FeedLifecycle()
        self._socket: Socket | None = None
        self._opened_s = self._live_s = 0.0
        self._probes = 0
        self._probe_is_due = False
        self._subscriptions = Subscriptions(link.limits.acknowledge_s)
        self._initial: set[int] = set()
        self._requests: deque[Request] = deque()
        self._then: dict[int, Callable[[], None]] = {}
        self._work = asyncio.Event()
        self._pacer = Pacer()

    @property
    def phase(self) -> FeedPhase:
        return self._lifecycle.phase

    @property
    def is_open(self) -> bool:
        return self.phase in {FeedPhase.SUBSCRIBING, FeedPhase.LIVE}

    @property
    def facts(self) -> FeedSession:
        """What is told of it to others."""
        return FeedSession(self._link.feed, self.url, self.signs.connected_wall_ns, self.epoch)

    def age_s(self) -> float:
        """Seconds since it was opened."""
        return self._clock.monotonic_s() - self._opened_s

    # ------------------------------------------------------------------ its life

    async def dial(self) -> None:
        """Open the socket. Raises FeedClosed, SlowDown, LocationRefused."""
        self._on(FeedEvent.DIALLING)
        try:
            self._socket = await self._link.dial(self.url, self._limits)
        except (FeedClosed, LocationRefused):
            self._on(FeedEvent.FAILED)
            raise
        self.signs.connected_wall_ns = self.last_frame_ns = self._clock.wall_ns()
        self._opened_s = self._clock.monotonic_s()
        self.signs.local_port = self._socket.local_port
        self._on(FeedEvent.OPENED)

    async def serve(self, subscriptions: Sequence[Request]) -> FeedClosed:
        """Subscribe, read and watch until one of them finds that it is over; returns why."""
        self._initial = {request.request_id for request in subscriptions}
        self._requests.extendleft(reversed(subscriptions))
        self._work.set()
        self._confirm()
        socket = self._open_socket
        reasons: list[FeedClosed] = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(socket.receive_into(self))
                group.create_task(self._send_all(socket))
                group.create_task(self._watch())
        except* FeedClosed as closed:
            reasons += [error for error in closed.exceptions if isinstance(error, FeedClosed)]
        return reasons[0]

    def over(self, how: FeedEvent) -> None:
        """The session has ended (FAILED) or was stopped (STOP); nothing can be sent on it any more."""
        self._on(how)
        self.signs.local_port = 0

    async def hang_up(self) -> None:
        """Close the socket, within a deadline."""
        try:
            async with asyncio.timeout(2 * self._limits.close_s):
                await self._open_socket.close()
        except OSError as error:
            log.info("ws.close_failed", feed=self._link.feed, error=str(error))

    # ------------------------------------------------------------------ what it is told

    def take_over(self) -> None:
        """Carry the streams alone."""
        overlap, self._overlap = self._overlap, None
        self._deliver = self._link.sink.on_frame
        if overlap is not None:
            overlap.finish()

    def ask_for_successor(self, reason: str) -> None:
        """A successor shall take over, for the first reason that is given."""
        if not self.wanted.done():
            self.wanted.set_result(reason)

    def end(self, reason: str) -> None:
        """End it at once."""
        if not self._end.done():
            self._end.set_result(FeedClosed(reason))

    def request(self, requests: Sequence[Request]) -> bool:
        """Send these when their turn comes; False when too many wait already."""
        if len(self._requests) + len(requests) > MAX_WAITING_REQUESTS:
            return False
        self._requests.extend(requests)
        self._work.set()
        return True

    def probe(self) -> None:
        """Send a ping of our own, ahead of all requests that wait."""
        self._probe_is_due = True
        self._work.set()

    def acknowledged(self, request_id: int) -> bool:
        """The exchange has confirmed a request; False when this session has not sent it."""
        if not self._subscriptions.answered(request_id):
            return False
        self._initial.discard(request_id)
        then = self._then.pop(request_id, None)
        if then is not None:
            then()
        self._confirm()
        return True

    def refused(self, message: str, request_id: int | None) -> None:
        """The exchange has refused a request; it need not have said which."""
        if request_id in self._initial or (request_id is None and self.phase is FeedPhase.SUBSCRIBING):
            self.end(f"subscription_refused: {message}")
        elif request_id is not None:
            # Asked for while others are carried: those shall not pay for it.
            self._subscriptions.answered(request_id)
            self._then.pop(request_id, None)

    # ------------------------------------------------------------------ opening

    @property
    def _open_socket(self) -> Socket:
        assert self._socket is not None
        return self._socket

    def _confirm(self) -> None:
        """Everything that was asked for at the start has been answered."""
        if not self._initial and self.phase is FeedPhase.SUBSCRIBING:
            self._live_s = self._clock.monotonic_s()
            self._on(FeedEvent.CONFIRMED)

    # ------------------------------------------------------------------ what comes, and sending

    def on_frame(self, data: bytes, recv_ns: int) -> None:
        """Called by the socket, for each message with data or an answer in it."""
        self.last_frame_ns = recv_ns
        self.messages += 1
        self._floor.speaker = self
        self._deliver(data, recv_ns)

    async def on_ping(self, payload: bytes, recv_ns: int) -> None:
        """Called by the socket: answered at once, whatever else waits to be sent."""
        self.last_frame_ns = self.signs.last_ping_ns = recv_ns
        came_s = self._clock.monotonic_s()
        self._pacer.sent_pong(came_s)
        await self._send(self._open_socket.pong(payload))
        self.signs.pong_latency_us = int((self._clock.monotonic_s() - came_s) * 1e6)

    def on_pong(self, payload: bytes, recv_ns: int) -> None:
        """Called by the socket."""
        self.last_frame_ns = recv_ns
        # Any other payload is unsolicited, or answers a ping that a newer one has overtaken.
        if self._probes and bytes(payload) == _probe_payload(self._probes):
            self.signs.pong_wall_ns = recv_ns

    async def _send_all(self, socket: Socket) -> None:
        """The one sender beside the pongs: a probe first, then requests in their order, at their pace."""
        while True:
            while not (self._probe_is_due or self._requests):
                self._work.clear()
                await self._work.wait()
            await asyncio.sleep(self._pacer.reserve(self._clock.monotonic_s()))
            if self._probe_is_due:
                await self._send_probe(socket)
            else:
                await self._send_request(socket, self._requests.popleft())

    async def _send_probe(self, socket: Socket) -> None:
        self._probe_is_due = False
        self._probes += 1
        self.signs.probe_wall_ns = self._clock.wall_ns()
        await self._send(socket.ping(_probe_payload(self._probes)))

    async def _send_request(self, socket: Socket, request: Request) -> None:
        # Counted before it is sent: the answer may be read before the send returns.
        self._subscriptions.sent(request.request_id, self._clock.monotonic_s())
        if request.answered is not None:
            self._then[request.request_id] = request.answered
        await self._send(socket.send(request.message))

    async def _send(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._limits.send_s):
                await sending
        except OSError as error:  # TimeoutError is one
            raise FeedClosed(f"send_failed: {type(error).__name__}: {error}") from error

    # ------------------------------------------------------------------ watching

    async def _watch(self) -> None:
        """End the session when it is told to or when the link is dead; see when it is ready or too old."""
        limits = self._limits
        now_s = self._clock.monotonic_s()
        rotate_at_s = now_s + self._rotate_after_s()
        newest_frame_ns, newer_at_s = self.last_frame_ns, now_s
        while True:
            if self._overlap is not None:
                self._judge_overlap(self._overlap, now_s)
            done, _ = await asyncio.wait([self._end], timeout=_TICK_S)
            if done:
                raise self._end.result()
            now_s = self._clock.monotonic_s()
            self._judge_answers(now_s)
            # Whether the stamp moved is looked at, not what it says: the wall clock may be stepped.
            if self.last_frame_ns != newest_frame_ns:
                newest_frame_ns, newer_at_s = self.last_frame_ns, now_s
            elif now_s - newer_at_s > limits.silent_link_s:
                raise FeedClosed(f"link_silent: no frame of any kind for {now_s - newer_at_s:.0f} s")
            if now_s > rotate_at_s:
                self.ask_for_successor(ROTATION)

    def _rotate_after_s(self) -> float:
        opened_s = self.signs.connected_wall_ns / 1e9
        return rotate_after_s(self._limits.rotation, opened_wall_s=opened_s, place=place_of(self._link.feed))

    def _judge_overlap(self, overlap: Overlap, now_s: float) -> None:
        takeover = overlap.judge(now_s, self._live_s if self.phase is FeedPhase.LIVE else None)
        if takeover is Takeover.REFUSED:
            self.is_refused = True
            raise FeedClosed("not_overlapping: it does not bring what its predecessor brings")
        if takeover is Takeover.READY and not self.ready.done():
            self.ready.set_result(None)

    def _judge_answers(self, now_s: float) -> None:
        for request_id in self._subscriptions.overdue(now_s):
            if request_id in self._initial:
                raise FeedClosed(f"subscription_unanswered: request {request_id}")
            self._subscriptions.answered(request_id)
            self._then.pop(request_id, None)
            self.ask_for_successor(f"request_unanswered: request {request_id}")

    def _on(self, event: FeedEvent) -> None:
        if self._lifecycle.on(event) is FeedAction.REPORT_LIVE:
            log.info("ws.subscribed", feed=self._link.feed)


def _probe_payload(number: int) -> bytes:
    return b"probe %d" % number
