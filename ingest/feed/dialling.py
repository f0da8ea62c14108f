"""Which library opens the websockets of a shard's feeds."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from ingest.feed.aiohttp_socket import AiohttpSocket, open_session
from ingest.feed.socket import Dial, WsClient


@asynccontextmanager
async def open_dial(client: WsClient, wall_ns: Callable[[], int]) -> AsyncIterator[Dial]:
    """`wall_ns` stamps what arrives. Close it behind the feeds."""
    if client == "aiohttp":
        async with open_session() as http:
            yield partial(AiohttpSocket.dial, http, wall_ns)
    else:
        from ingest.feed.picows_socket import PicowsSocket

        yield partial(PicowsSocket.dial, ssl.create_default_context(), wall_ns)
