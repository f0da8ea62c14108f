"""A plain websocket client for tests of the exchange double: aiohttp and nothing of ours."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from ingest.sim.market import MarketPlan
from ingest.sim.server import DoubleConfig, ExchangeDouble

DEADLINE_S = 20.0
Json = Any


def market_config(*, symbols: int = 2, rate: float = 1500.0, **more: Json) -> DoubleConfig:
    """A small seeded market; further fields of the configuration by name."""
    return DoubleConfig(market=MarketPlan(symbols=symbols, rate=rate, seed=7, levels=40), **more)


class Client:
    """One connection. Pings are left to the test unless `autoping`."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.seen: list[Json] = []

    async def send(self, message: Json) -> None:
        await self.ws.send_str(message if isinstance(message, str) else orjson.dumps(message).decode())

    async def frame(self) -> aiohttp.WSMessage:
        async with asyncio.timeout(DEADLINE_S):
            return await self.ws.receive()

    async def next(self, wanted: Callable[[Json], bool] = lambda event: True) -> Json:
        """The next JSON message that is wanted; AssertionError when the connection ends."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                message = await self.ws.receive()
                assert message.type in _DATA, f"connection ended: {message}"
                if message.type is aiohttp.WSMsgType.TEXT:
                    event = orjson.loads(message.data)
                    self.seen.append(event)
                    if wanted(event):
                        return event

    async def reply(self, request_id: Json) -> Json:
        """The answer to a control message."""
        return await self.next(lambda event: isinstance(event, dict) and event.get("id", "-") == request_id)

    async def events(self, number: int, wanted: Callable[[Json], bool] = lambda event: True) -> list[Json]:
        return [await self.next(wanted) for _ in range(number)]

    async def close_frame(self) -> tuple[int | None, str]:
        """Code and reason of the end of the connection; 1006 without a close frame."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                message = await self.ws.receive()
                if message.type is aiohttp.WSMsgType.CLOSE:
                    return message.data, message.extra or ""
                if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                    return 1006, ""


_DATA = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG)


@asynccontextmanager
async def connected(double: ExchangeDouble, path: str, *, autoping: bool = True) -> AsyncIterator[Client]:
    """A client connected to a path of the double."""
    url = double.ws_url + path
    patience = aiohttp.ClientWSTimeout(ws_close=0.5)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, autoping=autoping, timeout=patience) as ws,
    ):
        yield Client(ws)


async def get(double: ExchangeDouble, path: str, **headers: str) -> tuple[int, Json, dict[str, str]]:
    """Status, parsed body (text when it is no JSON) and headers of a GET."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(double.rest_url + path, headers=headers) as response,
    ):
        body = await response.read()
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            parsed = body.decode()
        return response.status, parsed, dict(response.headers)


async def post(double: ExchangeDouble, path: str, body: Json = None) -> tuple[int, Json]:
    data = orjson.dumps(body)
    async with (
        aiohttp.ClientSession() as session,
        session.post(double.rest_url + path, data=data) as response,
    ):
        return response.status, orjson.loads(await response.read())


def is_event(kind: str) -> Callable[[Json], bool]:
    """Whether a message is an event of this type, combined or raw."""
    return lambda message: _data(message).get("e") == kind


def _data(message: Json) -> Json:
    data = message.get("data", message) if isinstance(message, dict) else {}
    return data if isinstance(data, dict) else {}
