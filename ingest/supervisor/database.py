"""The database that the service uses: the configured one, or the embedded server kept running.

The embedded server is watched like a shard: when it ends by itself it is started again, at once and
then with backoff. Its URL stays the same, so that everybody's next attempt to connect finds it.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from ingest.clock import Clock
from ingest.config import Settings
from ingest.errors import EmbeddedServerError
from ingest.feed.backoff import Backoff, BackoffLimits
from ingest.store.dsn import is_open_to_all, password_file
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.running import embedded_folder_of

log = structlog.get_logger()

_STOP_S = 3.0


class Database:
    """`url` is where to connect; `watch` must run for as long as it is used."""

    def __init__(
        self, url: str, embedded: EmbeddedPostgres | None, *, clock: Clock, rng: random.Random
    ) -> None:
        self.url = url
        self._embedded = embedded
        self._clock = clock
        self._rng = rng

    @property
    def is_embedded(self) -> bool:
        return self._embedded is not None

    async def watch(self) -> None:
        """Keep the embedded server running until cancelled; returns at once for a configured one."""
        server = self._embedded
        if server is None:
            return
        backoff = Backoff(BackoffLimits(), self._rng)
        while True:
            started_s = self._clock.monotonic_s()
            how = await server.wait_ended()
            backoff.lasted(self._clock.monotonic_s() - started_s)
            log.error("database.ended", how=how)
            await self._start_again(server, backoff)

    async def _start_again(self, server: EmbeddedPostgres, backoff: Backoff) -> None:
        while True:
            await asyncio.sleep(backoff.next_delay_s())
            try:
                await server.start()
            except EmbeddedServerError as error:
                log.error("database.not_started", error=str(error))
            else:
                log.info("database.started_again", pid=server.pid)
                return


@asynccontextmanager
async def open_database(settings: Settings, *, clock: Clock, rng: random.Random) -> AsyncIterator[Database]:
    """The configured database, or the embedded one, started now and stopped at the end."""
    url = settings.database.dsn
    if url:
        file = password_file(url)
        if file is not None and is_open_to_all(file):
            log.warning("database.password_file_open_to_all", file=str(file))
        yield Database(url, None, clock=clock, rng=rng)
        return
    server = EmbeddedPostgres(embedded_folder(settings))
    log.info("database.starting", folder=str(embedded_folder(settings)))
    embedded_url = await server.start()
    try:
        yield Database(embedded_url, server, clock=clock, rng=rng)
    finally:
        await server.stop(deadline_s=_STOP_S)


def embedded_folder(settings: Settings) -> Path:
    """Where the embedded server keeps its data."""
    return embedded_folder_of(settings.service.data_dir)
