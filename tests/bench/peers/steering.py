"""The runner's hold on the front (`front`): wait for a client, lay frames out, let them go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

_DEADLINE: Final = aiohttp.ClientTimeout(total=180.0)


class SubscriptionError(Exception):
    """The client has not subscribed to all streams in time."""


class FrontSteering:
    """The front's HTTP."""

    def __init__(self, http: aiohttp.ClientSession, rest_url: str) -> None:
        self._http = http
        self._url = f"{rest_url}/load"

    @classmethod
    @asynccontextmanager
    async def opened(cls, rest_url: str) -> "AsyncIterator[FrontSteering]":
        """With a session of its own."""
        async with aiohttp.ClientSession(timeout=_DEADLINE) as http:
            yield cls(http, rest_url)

    async def warm(self, *, deadline_s: float) -> int:
        """Lay out one frame of each stream, once all are subscribed to. Raises SubscriptionError."""
        async with self._http.post(f"{self._url}/warm", params={"deadline_s": deadline_s}) as response:
            answer = await response.json()
            if response.status == 409:
                subscribed = answer["of"] - answer["missing"]
                raise SubscriptionError(f"it has subscribed to {subscribed} of {answer['of']} streams")
            return int(answer["messages"])

    async def prepare(self, messages: int) -> int:
        """Lay out the next so many frames; how many there were."""
        async with self._http.post(f"{self._url}/prepare", params={"messages": messages}) as response:
            return int((await response.json())["messages"])

    async def go(self) -> None:
        """Have them sent."""
        async with self._http.post(f"{self._url}/go", raise_for_status=True):
            pass

    async def is_sent(self) -> bool:
        """Whether all of them have left."""
        async with self._http.get(f"{self._url}/sent", raise_for_status=True) as response:
            return bool((await response.json())["sent"])
