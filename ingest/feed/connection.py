"""One feed: a websocket that carries many streams, kept up for as long as it is wanted.

What it owns: dialling within the shared budget, subscribing at the exchange's pace, answering pings
with their payload, stamping each frame once where it leaves the socket, and coming back after any
end. What it never does: parse a frame, judge a stream, or wait for the database. Frames go to a
`FrameSink`, synchronously; what is said back (an acknowledgement, a stale stream, a server that
announces its end) comes in through the `Feed`'s methods.

Every session ends with a named reason. A reason that trying again can heal is retried for ever,
at once the first time and then with backoff; anything else leaves `run` and ends the shard.
"""

import asyncio
import random
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import aiohttp
import structlog
from aiohttp import WSMsgType
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from ingest.clock import Clock
from ingest.errors import BudgetExhausted, FeedClosed, LocationRefused
from ingest.feed.backoff import Backoff, BackoffLimits
from ingest.feed.budget_file import Budget, SharedBudget
from ingest.feed.lifecycle import FeedAction, FeedEvent, FeedLifecycle, FeedPhase, Subscriptions
from ingest.feed.pacing import Pacer

log = structlog.get_logger()

Socket: TypeAlias = "aiohttp.ClientWebSocketResponse[Literal[False]]"
"""A websocket whose text frames are handed over as bytes."""


@dataclass(frozen=True)
class FeedLimits:
    """Deadlines of a feed, in seconds. The exchange pings every 20 s and cuts after 24 h."""

    connect_s: float = 10.0
    acknowledge_s: float = 10.0
    send_s: float = 5.0
    close_s: float = 1.0
    # No frame of any kind, not even one of the pings due every 20 s: the link is dead.
    silent_link_s: float = 50.0
    life_s: float = 23.5 * 3600
    life_jitter_s: float = 1800.0
    max_frame_bytes: int = 16 * 1024 * 1024
    backoff: BackoffLimits = field(default_factory=BackoffLimits)


@dataclass(frozen=True)
class FeedSession:
    """One connection of a feed, from dialling to its end."""

    feed: int
    url: str
    connected_wall_ns: int


@dataclass(frozen=True)
class FeedEnd:
    """How a session ended."""

    reason: str
    code: int | None
    age_s: float
    messages: int


class FrameSink(Protocol):
    """Where a feed delivers. Nothing here may wait: the socket is read by whoever calls it."""

    def on_frame(self, data: bytes, recv_ns: int) -> None: ...

    def on_connected(self, session: FeedSession) -> None: ...

    def on_disconnected(self, session: FeedSession, end: FeedEnd) -> None: ...


def open_session() -> aiohttp.ClientSession:
    """What feeds dial through; the caller closes it."""
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    # A server that hangs up is dialled again at once by aiohttp, behind our back: one attempt of the
    # exchange's 300 that nobody has counted. There is no public switch.
    session._retry_connection = False
    return session


class Feed:
    """Call `run()` once. `subscriptions` are ready-made messages by request id."""

    def __init__(  # noqa: PLR0913  all that a connection touches is handed in
        self,
        number: int,
        url: str,
        subscriptions: dict[int, str],
        *,
        sink: FrameSink,
        http: aiohttp.ClientSession,
        budget: SharedBudget,
        clock: Clock,
        rng: random.Random,
        limits: FeedLimits,
    ) -> None:
        self.number = number
        self.url = url
        self.messages = 0
        self.reconnects = 0
        self.last_frame_ns = 0
        self.last_ping_ns = 0
        self.connected_wall_ns = 0
        self.last_close_code = 0
        self._messages_to_send = subscriptions
        self._sink = sink
        self._http = http
        self._budget = budget
        self._clock = clock
        self._rng = rng
        self._limits = limits
        self._backoff = Backoff(limits.backoff, rng)
        self._lifecycle = FeedLifecycle()
        self._end: asyncio.Future[FeedClosed] | None = None
        self._subscriptions = Subscriptions(limits.acknowledge_s)
        self._unsent = 0
        self._pacer = Pacer()

    @property
    def phase(self) -> FeedPhase:
        return self._lifecycle.phase

    async def run(self) -> None:
        """Keep the feed up until cancelled. Raises what retrying cannot heal (LocationRefused)."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((FeedClosed, BudgetExhausted)), wait=self._wait_s, reraise=True
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await self._one_session()
        finally:
            self._lifecycle.on(FeedEvent.STOP)

    def acknowledged(self, request_id: int) -> None:
        """The exchange has confirmed one subscription message."""
        self._subscriptions.answered(request_id)
        all_answered = not self._unsent and not self._subscriptions.pending
        if all_answered and self.phase is FeedPhase.SUBSCRIBING:
            self._on(FeedEvent.CONFIRMED)

    def refused(self, message: str) -> None:
        """The exchange has refused a message of ours."""
        self.replace(f"subscription_refused: {message}")

    def replace(self, reason: str) -> None:
        """End this connection, if there is one, for `reason`; a new one is dialled."""
        if self._end is not None and not self._end.done():
            self._end.set_result(FeedClosed(reason))

    def _wait_s(self, _: RetryCallState) -> float:
        return self._backoff.next_delay_s()

    async def _one_session(self) -> None:
        await self._budget.acquire(Budget.CONNECTS)
        self._on(FeedEvent.DIALLING)
        try:
            socket = await self._dial()
        except (FeedClosed, LocationRefused) as error:
            self._on(FeedEvent.FAILED)
            log.warning("ws.connect_failed", feed=self.number, url=self.url, reason=str(error))
            raise
        await self._serve(socket)

    async def _dial(self) -> Socket:
        try:
            async with asyncio.timeout(self._limits.connect_s):
                return await self._http.ws_connect(
                    self.url,
                    autoping=False,
                    autoclose=False,
                    max_msg_size=self._limits.max_frame_bytes,
                    decode_text=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=self._limits.close_s),
                )
        except aiohttp.WSServerHandshakeError as error:
            raise self._handshake_refused(error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise FeedClosed(f"connect_failed: {type(error).__name__}: {error}") from error

    def _handshake_refused(self, error: aiohttp.WSServerHandshakeError) -> FeedClosed | LocationRefused:
        if error.status == 451:
            return LocationRefused(f"{self.url} refuses this location (HTTP 451)")
        if error.status in {429, 418}:
            # An address that is told to slow down goes to the top of the ladder at once.
            self._backoff.failures = max(self._backoff.failures, 6)
        return FeedClosed(f"handshake_refused: HTTP {error.status}")

    async def _serve(self, socket: Socket) -> None:
        session = FeedSession(self.number, self.url, self._clock.wall_ns())
        opened_s = self._clock.monotonic_s()
        before = self.messages
        self._opened(session)
        closed = FeedClosed("stopped")
        try:
            closed = await self._until_closed(socket)
        finally:
            await self._hang_up(socket)
            age_s = self._clock.monotonic_s() - opened_s
            end = FeedEnd(closed.reason, closed.code, age_s, self.messages - before)
            self._closed(session, end)
        raise closed

    def _opened(self, session: FeedSession) -> None:
        self._subscriptions = Subscriptions(self._limits.acknowledge_s)
        self._unsent = len(self._messages_to_send)
        self._end = asyncio.get_running_loop().create_future()
        self.connected_wall_ns = self.last_frame_ns = session.connected_wall_ns
        self._on(FeedEvent.OPENED)
        log.info("ws.connect", feed=self.number, url=self.url, reconnects=self.reconnects)
        self._sink.on_connected(session)

    def _closed(self, session: FeedSession, end: FeedEnd) -> None:
        self._end = None
        self._backoff.lasted(end.age_s)
        self.reconnects += 1
        self.last_close_code = end.code or 0
        self._on(FeedEvent.FAILED)
        log.info(
            "ws.disconnect",
            feed=self.number,
            reason=end.reason,
            code=end.code,
            age_s=round(end.age_s, 3),
            messages=end.messages,
        )
        self._sink.on_disconnected(session, end)

    async def _until_closed(self, socket: Socket) -> FeedClosed:
        """Read, subscribe and watch until one of them finds that the connection is over."""
        reasons: list[FeedClosed] = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(socket))
                group.create_task(self._subscribe(socket))
                group.create_task(self._watch())
        except* FeedClosed as closed:
            reasons += [error for error in closed.exceptions if isinstance(error, FeedClosed)]
        return reasons[0]

    async def _read(self, socket: Socket) -> None:
        """The one reader of this socket. It waits for nothing but the socket."""
        receive = socket.receive
        wall_ns = self._clock.wall_ns
        on_frame = self._sink.on_frame
        while True:
            message = await receive()
            self.last_frame_ns = recv_ns = wall_ns()
            if message.type is WSMsgType.TEXT or message.type is WSMsgType.BINARY:
                self.messages += 1
                on_frame(message.data, recv_ns)
            elif message.type is WSMsgType.PING:
                await self._pong(socket, message.data, recv_ns)
            elif message.type is not WSMsgType.PONG:
                raise _end_of(message.type, message.data, message.extra, socket)

    async def _pong(self, socket: Socket, payload: bytes, recv_ns: int) -> None:
        self.last_ping_ns = recv_ns
        self._pacer.sent_pong(self._clock.monotonic_s())
        await self._send(socket.pong(payload))

    async def _subscribe(self, socket: Socket) -> None:
        for request_id, message in self._messages_to_send.items():
            await asyncio.sleep(self._pacer.reserve(self._clock.monotonic_s()))
            # Counted before it is sent: the answer may be read before the send returns.
            self._subscriptions.sent(request_id, self._clock.monotonic_s())
            self._unsent -= 1
            await self._send(socket.send_str(message))

    async def _send(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._limits.send_s):
                await sending
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise FeedClosed(f"send_failed: {type(error).__name__}: {error}") from error

    async def _watch(self) -> None:
        """End the session when it is told to, when the link is dead, or when its life is over."""
        end = self._end
        assert end is not None
        now_s = self._clock.monotonic_s()
        rotate_at_s = now_s + self._limits.life_s - self._rng.uniform(0.0, self._limits.life_jitter_s)
        newest_frame_ns, newer_at_s = self.last_frame_ns, now_s
        while True:
            done, _ = await asyncio.wait([end], timeout=1.0)
            if done:
                raise end.result()
            now_s = self._clock.monotonic_s()
            if overdue := self._subscriptions.overdue(now_s):
                raise FeedClosed(f"subscription_unanswered: request {overdue[0]}")
            # Whether the stamp moved is looked at, not what it says: the wall clock may be stepped.
            if self.last_frame_ns != newest_frame_ns:
                newest_frame_ns, newer_at_s = self.last_frame_ns, now_s
            elif now_s - newer_at_s > self._limits.silent_link_s:
                raise FeedClosed(f"link_silent: no frame of any kind for {now_s - newer_at_s:.0f} s")
            if now_s > rotate_at_s:
                raise FeedClosed("rotation")

    async def _hang_up(self, socket: Socket) -> None:
        try:
            async with asyncio.timeout(2 * self._limits.close_s):
                await socket.close()
        except (aiohttp.ClientError, OSError) as error:
            log.info("ws.close_failed", feed=self.number, error=str(error))

    def _on(self, event: FeedEvent) -> None:
        if self._lifecycle.on(event) is FeedAction.REPORT_LIVE:
            log.info("ws.subscribed", feed=self.number)


def _end_of(kind: WSMsgType, data: object, text: str | None, socket: Socket) -> FeedClosed:
    """The reason in a message that ends a connection."""
    if kind is WSMsgType.CLOSE:
        reason = f"closed_by_exchange: {text}" if text else "closed_by_exchange"
        return FeedClosed(reason, code=data if isinstance(data, int) else None)
    if kind is WSMsgType.ERROR:
        return FeedClosed(f"protocol_error: {data}", code=socket.close_code)
    return FeedClosed("connection_lost", code=socket.close_code)
