"""The top of the live books, to the table that `spot.latest_books` reads.

On a connection of its own, so that no batch ever waits for it: made when it is first needed and again after
each failure. Tries nothing twice: whoever publishes comes again soon with newer books.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.instants import instant
from ingest.store.sessions import SessionLimits, connected
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection


AT_ONCE: Final = 200
"""Books in one statement: the driver makes its bytes without a turn of the loop, about 2 ms for these."""


class LatestBook(NamedTuple):
    """The best levels of one book after an update, as array literals (`buffer.encode.level_arrays`)."""

    symbol_id: int
    last_update_id: int
    ts_us: int
    bid_prices: str
    bid_qtys: str
    ask_prices: str
    ask_qtys: str


async def publish_books(connection: "Connection", books: Sequence[LatestBook], *, shard: int) -> None:
    """Insert or replace the rows of these books, all in one statement; a book at most once.

    A row that is newer stays.
    """
    await connection.execute(
        statement("publish_latest_books"),
        [book.symbol_id for book in books],
        [book.last_update_id for book in books],
        [instant(book.ts_us) for book in books],
        [book.bid_prices for book in books],
        [book.bid_qtys for book in books],
        [book.ask_prices for book in books],
        [book.ask_qtys for book in books],
        shard,
    )


async def withdraw_books(connection: "Connection", symbol_ids: Sequence[int]) -> None:
    """Mark the rows of these symbols: they are not the book any more."""
    await connection.execute(statement("withdraw_latest_books"), symbol_ids)


async def publisher_beat(connection: "Connection", *, shard: int, every_s: float) -> None:
    """Say that all books of a shard are as they are published, and how often they are."""
    await connection.execute(statement("publisher_beat"), shard, every_s)


class LatestBooksTable:
    """What a shard publishes to. Not for use by several tasks; `close` it at the end."""

    def __init__(self, url: str, *, shard: int, every_s: float, limits: SessionLimits) -> None:
        """`url` may hold a password; `limits` bound each step; every `every_s` seconds will be written."""
        self._url = url
        self._shard = shard
        self._every_s = every_s
        self._limits = limits
        self._stack = AsyncExitStack()
        self._connection: Connection | None = None

    async def write(self, books: Sequence[LatestBook], withdrawn: Sequence[int]) -> None:
        """Withdraw, publish, and say that this is all. Raises StoreError: then what was done is unknown."""
        try:
            connection = await self._connected()
            if withdrawn:
                await withdraw_books(connection, withdrawn)
            for first in range(0, len(books), AT_ONCE):
                await publish_books(connection, books[first : first + AT_ONCE], shard=self._shard)
            await publisher_beat(connection, shard=self._shard, every_s=self._every_s)
        except DRIVER_ERRORS as error:
            self._drop()
            raise translated(error) from error
        except BaseException:
            self._drop()
            raise

    async def _connected(self) -> "Connection":
        if self._connection is None or self._connection.is_closed():
            await self.close()
            application = f"ingest shard {self._shard} books"
            opened = connected(self._url, application=application, limits=self._limits)
            self._connection = await self._stack.enter_async_context(opened)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()

    async def close(self) -> None:
        """End the connection; `write` makes another."""
        self._connection = None
        await self._stack.aclose()
