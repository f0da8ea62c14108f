"""A feed's websocket by picows: frames come as they are read, without a task's turn for each.

So a flooded shard takes a third less CPU than on aiohttp, a calm one 5 % less (`docs/costs.md`). picows
hands over frames, so messages in parts are joined here; what has to be answered waits for `receive_into`.
Invariants: the order is the wire's among frames of data; a receiver that fails ends the connection, and
hears nothing after its end; nothing waits without a bound.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import aiohappyeyeballs
import picows
from picows import WSMsgType

from ingest.errors import FeedClosed
from ingest.feed.contract import FeedLimits
from ingest.feed.socket import Receiver, closed_by_exchange, connect_failed, handshake_refused

_AT_A_STRETCH = 2_048
"""Messages between two turns that others get while more are waiting: some 20 ms. What is read in one go is
seldom more, and what is kept for the next turn costs twice."""
MAX_WAITING_SIGNS = 64
"""Pings and pongs that wait to be handled; a peer that sends more at once is let go."""
_NEXT_ADDRESS_S = 0.25
"""Then the next of a host's addresses is tried beside the one that does not answer (RFC 8305)."""
_LOGGER = "feed"
_TEXT, _BINARY, _CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION


class PicowsSocket(picows.WSListener):
    """See `feed.socket.Socket`. Made by `dial`; picows calls `on_ws_...`, `pause_` and `resume_writing`."""

    def __init__(self, wall_ns: Callable[[], int], limits: FeedLimits) -> None:
        self._wall_ns = wall_ns
        self._limits = limits
        self._receiver: Receiver | None = None
        self._is_direct = False
        """Whole messages go straight to the receiver; else they are kept for `receive_into` to hand over."""
        self._left = _AT_A_STRETCH
        self._kept: deque[tuple[bytes, int]] = deque()
        """At most what was read in one go: nothing is read while something is kept."""
        self._parts: list[bytes] = []
        self._part_bytes = 0
        self._signs: asyncio.Queue[tuple[WSMsgType, bytes, int] | None] = asyncio.Queue(MAX_WAITING_SIGNS)
        """None wakes `receive_into` for something else."""
        self._end: Exception | None = None
        self._is_over = asyncio.Event()
        """The peer has said goodbye or is gone, or we are done with it."""
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_open = False
        self._raw: socket.socket | None = None
        self._transport: picows.WSTransport

    @classmethod
    async def dial(
        cls, tls: ssl.SSLContext, wall_ns: Callable[[], int], url: str, limits: FeedLimits
    ) -> "PicowsSocket":
        """As `feed.socket.Dial`."""
        made = cls(wall_ns, limits)
        try:
            async with asyncio.timeout(limits.connect_s):
                await picows.ws_connect(
                    lambda: made,
                    url,
                    ssl_context=tls,
                    websocket_handshake_timeout=None,
                    logger_name=_LOGGER,
                    enable_auto_pong=False,
                    max_frame_size=limits.max_frame_bytes,
                    max_redirects=0,
                    socket_factory=made._connect,
                )
        except picows.WSInvalidStatusError as error:
            status = int(error.response.status) if error.response is not None else 0
            raise handshake_refused(url, status) from error
        except (picows.WSError, OSError) as error:
            raise connect_failed(error) from error
        finally:
            made._cut_unless_open()
        if not made._is_open:  # picows says nothing of a peer that hangs up before it has answered
            raise connect_failed(ConnectionResetError("hung up before the handshake was over"))
        return made

    async def _connect(self, url: picows.WSParsedURL) -> socket.socket:
        """A connection to the first of a host's addresses that answers."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        self._raw = await aiohappyeyeballs.start_connection(
            found, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1, loop=loop
        )
        return self._raw

    def _cut_unless_open(self) -> None:
        """picows leaves the connection behind when its handshake is cancelled, by our deadline or at all."""
        if self._raw is not None and not self._is_open:
            with suppress(OSError):  # it is closed already
                self._raw.shutdown(socket.SHUT_RDWR)

    # ------------------------------------------------------------------ receiving

    async def receive_into(self, receiver: Receiver) -> NoReturn:
        self._receiver = receiver
        try:
            while True:
                await self._hand_over_kept(receiver)
                if self._is_over.is_set() and self._signs.empty():
                    raise self._end or await self._loss()
                sign = await self._signs.get()
                if sign is not None:
                    await _tell(receiver, *sign)
        finally:
            self._is_direct = False
            self._receiver = None
            self._kept.clear()

    async def _hand_over_kept(self, receiver: Receiver) -> None:
        """Others get a turn now and then; afterwards all is read and goes its direct way again."""
        kept = self._kept
        while kept:
            for _ in range(min(len(kept), _AT_A_STRETCH)):
                receiver.on_frame(*kept.popleft())
            await asyncio.sleep(0)
        if not self._is_direct and not self._is_over.is_set():
            self._left, self._is_direct = _AT_A_STRETCH, not self._parts
            self._transport.underlying_transport.resume_reading()

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport
        self._is_open = True
        # Until somebody listens: what comes with the handshake is kept, the rest waits where it is.
        transport.underlying_transport.pause_reading()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Everything that comes passes here, and nearly everything leaves in the first branch."""
        kind = frame.msg_type
        if self._is_direct and kind is _TEXT and frame.fin and self._receiver is not None:
            try:
                self._receiver.on_frame(frame.get_payload_as_bytes(), self._wall_ns())
            except Exception as error:  # noqa: BLE001  picows would go on; `receive_into` raises it
                self._finish(error)
            self._left -= 1
            if not self._left:
                self._break(frame)
        elif self._is_over.is_set():
            return
        elif kind is _TEXT or kind is _BINARY or kind is _CONTINUATION:
            is_first = kind is not _CONTINUATION
            self._take_part(frame.get_payload_as_bytes(), is_first=is_first, is_last=frame.fin)
        elif kind is WSMsgType.CLOSE:
            self._finish(_goodbye(frame.get_payload_as_bytes()))
        elif self._signs.full():
            self._violated(f"more than {MAX_WAITING_SIGNS} pings and pongs at once", 1008)
        else:
            self._signs.put_nowait((kind, frame.get_payload_as_bytes(), self._wall_ns()))

    def _break(self, frame: picows.WSFrame) -> None:
        """Others shall have their turn before the rest of what was read is handed over."""
        self._left = _AT_A_STRETCH
        if self._is_direct and not frame.last_in_buffer:
            self._hold()

    def _hold(self) -> None:
        """Keep what comes, and read no more, until `receive_into` has handed it over."""
        self._is_direct = False
        self._transport.underlying_transport.pause_reading()
        self._wake()

    def _take_part(self, data: bytes, *, is_first: bool, is_last: bool) -> None:
        if is_first is bool(self._parts):
            self._violated("a message inside another" if is_first else "a part of no message", 1002)
            return
        self._parts.append(data)
        self._part_bytes += len(data)
        if self._part_bytes > self._limits.max_frame_bytes:
            self._violated(f"a message of more than {self._limits.max_frame_bytes} bytes", 1009)
        elif is_last:
            self._kept.append((b"".join(self._parts), self._wall_ns()))
            self._parts, self._part_bytes = [], 0
            if self._receiver is not None:
                self._hold()
        else:
            self._is_direct = False  # a message that is whole would be one inside another

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self._writable.set()
        self._finish(None)

    async def _loss(self) -> FeedClosed:
        """Without a close frame: cut, or because of what picows would not read."""
        try:
            await self._transport.wait_disconnected()
        except picows.WSProtocolError as error:
            return FeedClosed(f"protocol_error: {error.args[-1]}", code=int(error.args[0]))
        return FeedClosed("connection_lost")

    def _violated(self, what: str, code: int) -> None:
        self._finish(FeedClosed(f"protocol_error: {what}", code=code))

    def _finish(self, why: Exception | None) -> None:
        """The first reason stays. What came before it is handed over still, what comes later is not."""
        self._is_direct = False
        if not self._is_over.is_set():
            self._end = why
            self._is_over.set()
            self._wake()

    def _wake(self) -> None:
        if not self._signs.full():  # else `receive_into` has something to do anyway
            self._signs.put_nowait(None)

    # ------------------------------------------------------------------ sending

    @property
    def local_port(self) -> int:
        name = self._transport.underlying_transport.get_extra_info("sockname")
        return int(name[1]) if isinstance(name, tuple) and len(name) > 1 else 0

    async def send(self, message: str) -> None:
        self._check_open()
        self._transport.send(_TEXT, message.encode())
        await self._writable.wait()

    async def ping(self, payload: bytes) -> None:
        self._check_open()
        self._transport.send_ping(payload)
        await self._writable.wait()

    async def pong(self, payload: bytes) -> None:
        self._check_open()
        self._transport.send_pong(payload)
        await self._writable.wait()

    def _check_open(self) -> None:
        # picows would drop the message and say nothing.
        if self._transport.is_disconnected or self._transport.is_close_frame_sent:
            raise ConnectionResetError("the connection is closed")

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def close(self) -> None:
        transport = self._transport
        try:
            async with asyncio.timeout(self._limits.close_s):
                transport.underlying_transport.resume_reading()
                transport.send_close(picows.WSCloseCode.OK)
                await self._is_over.wait()
                transport.disconnect()
                with suppress(picows.WSError):  # told by `receive_into`
                    await transport.wait_disconnected()
        except TimeoutError:
            transport.disconnect(graceful=False)


async def _tell(receiver: Receiver, kind: WSMsgType, payload: bytes, recv_ns: int) -> None:
    if kind is WSMsgType.PING:
        await receiver.on_ping(payload, recv_ns)
    else:
        receiver.on_pong(payload, recv_ns)


def _goodbye(payload: bytes) -> FeedClosed:
    """By the payload of a close frame: two bytes of code and a text, or nothing."""
    code = int.from_bytes(payload[:2], "big") if len(payload) > 1 else 0
    return closed_by_exchange(code, payload[2:].decode("utf-8", "replace"))
