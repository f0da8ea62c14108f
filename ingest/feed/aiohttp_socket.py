"""A feed's websocket by aiohttp: the one that the most programs rely on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, NoReturn, TypeAlias

import aiohttp
from aiohttp import WSMsgType

from ingest.errors import FeedClosed
from ingest.feed.contract import FeedLimits
from ingest.feed.socket import Receiver, closed_by_exchange, connect_failed, handshake_refused

_AT_A_STRETCH = 256
"""Frames between two turns that others get while more are waiting: some milliseconds."""

_Response: TypeAlias = "aiohttp.ClientWebSocketResponse[Literal[False]]"
"""One whose text frames are handed over as bytes."""


def open_session() -> aiohttp.ClientSession:
    """What sockets are dialled through; the caller closes it."""
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    # A server that hangs up is dialled again at once by aiohttp, behind our back: one attempt of the
    # exchange's 300 that nobody has counted. There is no public switch.
    session._retry_connection = False
    return session


class AiohttpSocket:
    """See `feed.socket.Socket`."""

    def __init__(self, response: _Response, wall_ns: Callable[[], int]) -> None:
        self._response = response
        self._wall_ns = wall_ns

    @classmethod
    async def dial(
        cls, http: aiohttp.ClientSession, wall_ns: Callable[[], int], url: str, limits: FeedLimits
    ) -> "AiohttpSocket":
        """As `feed.socket.Dial`; `http` is from `open_session`."""
        try:
            async with asyncio.timeout(limits.connect_s):
                response = await http.ws_connect(
                    url,
                    autoping=False,
                    autoclose=False,
                    max_msg_size=limits.max_frame_bytes,
                    decode_text=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=limits.close_s),
                )
        except aiohttp.WSServerHandshakeError as error:
            raise handshake_refused(url, error.status) from error
        except (aiohttp.ClientError, OSError) as error:
            raise connect_failed(error) from error
        return cls(response, wall_ns)

    @property
    def local_port(self) -> int:
        name = self._response.get_extra_info("sockname")
        return int(name[1]) if isinstance(name, tuple) and len(name) > 1 else 0

    async def receive_into(self, receiver: Receiver) -> NoReturn:
        receive, wall_ns, on_frame = self._response.receive, self._wall_ns, receiver.on_frame
        # A member of an enum is looked up by a function, which would cost more than the rest of the loop.
        text, binary = WSMsgType.TEXT, WSMsgType.BINARY
        frames = 0
        while True:
            message = await receive()
            recv_ns = wall_ns()
            kind = message.type
            if kind is text or kind is binary:
                on_frame(message.data, recv_ns)
                frames += 1
                if not frames % _AT_A_STRETCH:
                    await asyncio.sleep(0)
            elif kind is WSMsgType.PING:
                await receiver.on_ping(message.data, recv_ns)
            elif kind is WSMsgType.PONG:
                receiver.on_pong(message.data, recv_ns)
            else:
                raise self._end(kind, message.data, message.extra)

    def _end(self, kind: WSMsgType, data: object, text: str | None) -> FeedClosed:
        if kind is WSMsgType.CLOSE:
            return closed_by_exchange(data if isinstance(data, int) else None, text)
        if kind is WSMsgType.ERROR:
            return FeedClosed(f"protocol_error: {data}", code=self._response.close_code)
        return FeedClosed("connection_lost", code=self._response.close_code)

    async def send(self, message: str) -> None:
        await _sent(self._response.send_str(message))

    async def ping(self, payload: bytes) -> None:
        await _sent(self._response.ping(payload))

    async def pong(self, payload: bytes) -> None:
        await _sent(self._response.pong(payload))

    async def close(self) -> None:
        await _sent(self._response.close())


async def _sent(sending: Awaitable[object]) -> None:
    try:
        await sending
    except aiohttp.ClientError as error:
        raise ConnectionError(str(error)) from error
