"""The reader's connections: read only, in UTC, each call within one state of the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import asyncpg

from ingest.errors import IngestError
from ingest.store.dsn import for_driver
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.sessions import SessionLimits, connect_errors, session_settings

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    from ingest.store.sessions import Connection, Pool

APPLICATION: Final = "ingest-reader"
_GIVE_BACK_S: Final = 5.0


def reader_settings(limits: SessionLimits) -> dict[str, str]:
    """Settings of a session that only reads, whatever the server's own defaults are."""
    read_only = {"default_transaction_read_only": "on", "datestyle": "ISO"}
    return session_settings(APPLICATION, limits) | read_only


class Database:
    """A small pool. May be used by several tasks of one event loop."""

    def __init__(self, pool: "Pool", url: str, limits: SessionLimits) -> None:
        self._pool = pool
        self.url = url
        self.limits = limits

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, *, connections: int, limits: SessionLimits) -> AsyncIterator["Database"]:
        """Connect once, to know that it can be done; StoreError or ConfigError when it cannot."""
        with connect_errors():
            dsn = for_driver(url)
            pool = await asyncpg.create_pool(
                dsn.url,
                password=dsn.password,
                min_size=1,
                max_size=connections,
                max_inactive_connection_lifetime=60.0,
                timeout=limits.connect_s,
                command_timeout=limits.command_s,
                server_settings=reader_settings(limits),
                reset=_left_as_it_is,
            )
        try:
            yield cls(pool, url, limits)
        finally:
            pool.terminate()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator["Connection"]:
        """A connection that sees one state of the database for as long as the block lasts.

        What the driver raises inside comes out as one of our errors.
        """
        try:
            connection = await self._pool.acquire(timeout=self.limits.acquire_s)
        except DRIVER_ERRORS as error:
            raise translated(error) from error
        try:
            async with _one_state(connection):
                yield connection
        except DRIVER_ERRORS as error:
            raise translated(error) from error
        finally:
            await self._give_back(connection)

    async def _give_back(self, connection: "PoolConnectionProxy[asyncpg.Record]") -> None:
        # A connection that has ended may have given itself back, and the place in the pool is free.
        with suppress(*DRIVER_ERRORS):
            await self._pool.release(connection, timeout=_GIVE_BACK_S)


@asynccontextmanager
async def _one_state(connection: "Connection") -> AsyncIterator[None]:
    """Like the driver's transaction, but a connection that failed, or was cancelled half-way, is ended."""
    try:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield
        await connection.execute("COMMIT")
    except (IngestError, ValueError, TypeError):
        # A refusal of ours: the connection is as good as before.
        await connection.execute("ROLLBACK")
        raise
    except BaseException:
        with suppress(asyncpg.InterfaceError):
            connection.terminate()
        raise


async def _left_as_it_is(_: "Connection") -> None:
    """Nothing to reset between two uses: nobody sets anything."""
