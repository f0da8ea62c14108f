"""Which database a command talks to: the configured one, or the embedded server if it runs or can be.

A command that only looks must not fail because the service runs, nor start a second server beside it:
it asks the running one, and starts the server itself only when nobody else has it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ingest.config import Settings
from ingest.store.embedded import EmbeddedPostgres
from ingest.supervisor.database import embedded_folder


@asynccontextmanager
async def database_url(settings: Settings) -> AsyncIterator[str]:
    """A URL that can be connected to for as long as the block runs."""
    configured = settings.database.url.get_secret_value()
    if configured:
        yield configured
        return
    server = EmbeddedPostgres(embedded_folder(settings))
    running = server.url_of_running()
    if running is not None:
        yield running
        return
    url = await server.start()
    try:
        yield url
    finally:
        await server.stop()
