"""How a connection to the database is made and what its session is set to.

Decides the settings of every session of this program, and reads the URL, which may hold a password:
no error that leaves here quotes it.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg

from ingest.errors import ConfigError
from ingest.store.dsn import for_driver
from ingest.store.failures import DRIVER_ERRORS, translated

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """How long a session waits. The client's limit lies above the server's, which says more."""

    connect_s: float = 10.0
    acquire_s: float = 10.0
    statement_s: float = 30.0
    lock_s: float = 2.0

    @property
    def command_s(self) -> float:
        """The client's limit for one statement."""
        return self.statement_s + 5.0


DEFAULT_LIMITS: Final = SessionLimits()
_CLOSE_S: Final = 2.0


def session_settings(application: str, limits: SessionLimits) -> dict[str, str]:
    """Settings sent when connecting, so that they are the session's defaults."""
    return {
        "application_name": application,
        "timezone": "UTC",
        "synchronous_commit": "on",
        "statement_timeout": f"{int(limits.statement_s * 1000)}ms",
        "lock_timeout": f"{int(limits.lock_s * 1000)}ms",
        # Compiling costs more than any statement of ours, and many partitions make plans look dear.
        "jit": "off",
    }


@asynccontextmanager
async def connected(
    url: str, *, application: str = "ingest", limits: SessionLimits = DEFAULT_LIMITS
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """One connection, closed at the end; StoreError or ConfigError when there is none to be had."""
    with connect_errors():
        dsn = for_driver(url)
        connection = await asyncpg.connect(
            dsn.url,
            password=dsn.password,
            timeout=limits.connect_s,
            command_timeout=limits.command_s,
            server_settings=session_settings(application, limits),
        )
    try:
        yield connection
        with suppress(*DRIVER_ERRORS):
            await connection.close(timeout=_CLOSE_S)
    finally:
        connection.terminate()


@contextmanager
def connect_errors() -> Iterator[None]:
    """Translate what connecting raises; a URL that cannot be read is a mistake of configuration."""
    try:
        yield
    except asyncpg.ClientConfigurationError:
        raise _unreadable() from None
    except DRIVER_ERRORS as error:
        raise translated(error) from error
    except ValueError:
        raise _unreadable() from None


def _unreadable() -> ConfigError:
    """Neither chained nor quoted: the driver's text may hold a part of the password."""
    return ConfigError("the database URL cannot be read: is a special character not escaped?")
