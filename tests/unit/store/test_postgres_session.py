"""`PostgresSink.session`: how a connection goes back to the pool."""

import asyncpg
import pytest

from ingest.store.postgres import PostgresSink
from ingest.store.sessions import DEFAULT_LIMITS


class _Connection:
    def __init__(self, *, closed: bool | None) -> None:
        """None: it was given back, and answers nothing any more."""
        self._closed = closed

    def is_closed(self) -> bool:
        if self._closed is None:
            raise asyncpg.InterfaceError("cannot call is_closed(): released back to the pool")
        return self._closed


class _Pool:
    """Says that the connection's place is free already."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def acquire(self, *, timeout: float) -> _Connection:
        return self._connection

    async def release(self, connection: _Connection, *, timeout: float) -> None:
        raise asyncpg.InternalClientError("release() called on a free connection holder")


def _sink(*, closed: bool | None) -> PostgresSink:
    return PostgresSink(_Pool(_Connection(closed=closed)), DEFAULT_LIMITS)  # type: ignore[arg-type]


@pytest.mark.parametrize("closed", [True, None], ids=["closed", "given back altogether"])
async def test_lost_connection_may_give_itself_back_first(closed: bool | None) -> None:
    """Its place in the pool is free, which is all that is wanted."""
    async with _sink(closed=closed).session():
        pass


async def test_open_connection_that_cannot_be_given_back_is_an_error() -> None:
    """A place in the pool that is lost for ever must not go unnoticed."""
    with pytest.raises(asyncpg.InternalClientError):
        async with _sink(closed=False).session():
            pass
