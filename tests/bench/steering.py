"""The measuring side's hold on the load generator: wait for warmth, learn what will come, let it come."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp
import orjson

from tests.bench.pacer import Sent

_DEADLINE = aiohttp.ClientTimeout(total=120.0)
_POLL_S = 0.1


class Happened(NamedTuple):
    """On one stream: how many frames were sent, the first id and the newest one."""

    frames: int
    first_id: int
    last_id: int


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

    async def is_subscribed(self) -> bool:
        """Whether somebody reads each stream."""
        count = await self._get("subscribed")
        return bool(count["there"] >= count["wanted"])

    async def wait_subscribed(self) -> None:
        """Return when somebody reads each stream."""
        while not await self.is_subscribed():
            await asyncio.sleep(_POLL_S)

    async def pace(self, rate: float) -> Sent:
        """Have a paced tape sent at so many frames a second, from now on; 0: rest. How it stood then."""
        return Sent(**orjson.loads(await self._post("pace", {"rate": rate})))

    async def rest(self) -> Sent:
        """Have nothing more sent, and return when the readers have taken all that was."""
        before = await self.pace(0)
        while True:
            await asyncio.sleep(_POLL_S)
            now = await self.state()
            if now.number == before.number and not now.backlog_bytes:
                return now
            before = now

    async def state(self) -> Sent:
        """How sending goes."""
        return Sent(**await self._get("state"))

    async def ledger(self) -> dict[str, Happened]:
        """What has happened on each stream of a paced tape."""
        return {name: Happened(*values) for name, values in (await self._get("ledger")).items()}

    async def sender_cpu_s(self) -> float:
        """CPU that the generator took for sending."""
        return float((await self._get("sent"))["cpu_s"])

    async def _get(self, what: str) -> dict[str, Any]:
        async with self.http.get(f"{self._url}/{what}", raise_for_status=True) as response:
            answer: dict[str, Any] = orjson.loads(await response.read())
            return answer

    async def _post(self, what: str, body: object = None) -> bytes:
        url = f"{self._url}/{what}"
        async with self.http.post(url, json=body, raise_for_status=True) as response:
            return await response.read()
