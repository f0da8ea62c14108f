"""Which database a command talks to: the configured one, or the embedded server if it runs or can be.

A command that only looks must not fail because the service runs, nor start a second server beside it:
it asks the running one, and starts the server itself only when nobody else has it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ingest.config import Settings
from ingest.errors import StoreError
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.sessions import connected
from ingest.supervisor.database import embedded_folder

_STARTING_DEADLINE_S: Final = 30.0
_POLL_S: Final = 0.1
_NOT_MADE_YET: Final = "3D000"


@asynccontextmanager
async def database_url(settings: Settings) -> AsyncIterator[str]:
    """A URL that can be connected to for as long as the block runs."""
    configured = settings.database.dsn
    if configured:
        yield configured
        return
    async with embedded_url(EmbeddedPostgres(embedded_folder(settings))) as url:
        yield url


@asynccontextmanager
async def embedded_url(server: EmbeddedPostgres) -> AsyncIterator[str]:
    """The URL of a server that somebody else runs, or of this one, which then runs as long as the block."""
    running = await _url_of_another(server)
    if running is not None:
        yield running
        return
    url = await server.start()
    try:
        yield url
    finally:
        await server.stop()


async def _url_of_another(server: EmbeddedPostgres) -> str | None:
    """As soon as it answers, as it may have begun a moment ago; None when nobody has it, or no longer."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + _STARTING_DEADLINE_S
    while (url := server.url_of_running()) is not None:
        try:
            async with connected(url):
                return url
        except StoreError as error:
            may_come = error.transient or error.sqlstate == _NOT_MADE_YET
            if not may_come or loop.time() > give_up_at:
                raise
        await asyncio.sleep(_POLL_S)
    return None
