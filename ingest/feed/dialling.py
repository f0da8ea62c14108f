"""Opening a websocket, and reading the reason out of what goes wrong with one."""

import asyncio
from typing import Literal, TypeAlias

import aiohttp
from aiohttp import WSMsgType

from ingest.errors import FeedClosed, LocationRefused
from ingest.feed.contract import FeedLimits

Socket: TypeAlias = "aiohttp.ClientWebSocketResponse[Literal[False]]"
"""A websocket whose text frames are handed over as bytes."""


class SlowDown(FeedClosed):
    """The exchange has refused a handshake because this address asks too often."""


def open_session() -> aiohttp.ClientSession:
    """What feeds dial through; the caller closes it."""
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    # A server that hangs up is dialled again at once by aiohttp, behind our back: one attempt of the
    # exchange's 300 that nobody has counted. There is no public switch.
    session._retry_connection = False
    return session


async def open_socket(http: aiohttp.ClientSession, url: str, limits: FeedLimits) -> Socket:
    """Dial. Raises FeedClosed, SlowDown, LocationRefused."""
    try:
        async with asyncio.timeout(limits.connect_s):
            return await http.ws_connect(
                url,
                autoping=False,
                autoclose=False,
                max_msg_size=limits.max_frame_bytes,
                decode_text=False,
                timeout=aiohttp.ClientWSTimeout(ws_close=limits.close_s),
            )
    except aiohttp.WSServerHandshakeError as error:
        raise _handshake_refused(url, error.status) from error
    except (aiohttp.ClientError, OSError) as error:
        raise FeedClosed(f"connect_failed: {type(error).__name__}: {error}") from error


def _handshake_refused(url: str, status: int) -> FeedClosed | LocationRefused:
    if status == 451:
        return LocationRefused(f"{url} refuses this location (HTTP 451)")
    kind = SlowDown if status in {429, 418} else FeedClosed
    return kind(f"handshake_refused: HTTP {status}")


def local_port(socket: Socket) -> int:
    """Of the socket at our end; 0 when the transport does not tell."""
    name = socket.get_extra_info("sockname")
    return int(name[1]) if isinstance(name, tuple) and len(name) > 1 else 0


def end_of(kind: WSMsgType, data: object, text: str | None, socket: Socket) -> FeedClosed:
    """The reason in a message that ends a connection."""
    if kind is WSMsgType.CLOSE:
        reason = f"closed_by_exchange: {text}" if text else "closed_by_exchange"
        return FeedClosed(reason, code=data if isinstance(data, int) else None)
    if kind is WSMsgType.ERROR:
        return FeedClosed(f"protocol_error: {data}", code=socket.close_code)
    return FeedClosed("connection_lost", code=socket.close_code)
