"""The measuring side's hold on the load generator: wait for warmth, learn what will come, let it come."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import orjson

_DEADLINE = aiohttp.ClientTimeout(total=120.0)


@dataclass(frozen=True)
class Prepared:
    """What `go` will send: frames by stream, and all bytes on the wire."""

    frames: Mapping[str, int]
    wire_bytes: int

    @property
    def messages(self) -> int:
        return sum(self.frames.values())


class Steering:
    """The generator's HTTP; its docstring says in which order."""

    def __init__(self, http: aiohttp.ClientSession, rest_url: str) -> None:
        self.http = http
        self._url = f"{rest_url}/load"

    @classmethod
    @asynccontextmanager
    async def opened(cls, rest_url: str) -> "AsyncIterator[Steering]":
        """With a session that the measured sockets use too, as a shard's do."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=_DEADLINE) as http:
            yield cls(http, rest_url)

    async def warm(self) -> None:
        """Have one frame sent on each stream, once all are subscribed."""
        await self._post("warm")

    async def prepare(self) -> Prepared:
        """Have the measured frames laid out for the sockets that are there now."""
        answer = orjson.loads(await self._post("prepare"))
        return Prepared(answer["frames"], answer["bytes"])

    async def go(self) -> None:
        """Have them sent."""
        await self._post("go")

    async def sender_cpu_s(self) -> float:
        """CPU that the generator took for sending."""
        async with self.http.get(f"{self._url}/sent") as response:
            answer = await response.json()
        return float(answer["cpu_s"])

    async def _post(self, what: str) -> bytes:
        async with self.http.post(f"{self._url}/{what}", raise_for_status=True) as response:
            return await response.read()
