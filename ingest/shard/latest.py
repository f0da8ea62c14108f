"""The top of each live book, once a second, to where queries see it.

What it decides: which books are published (the live ones that have changed), which are withdrawn (those that
were lost, given up, or may have been left by a shard before), and in what slices the work is done, so that
the loop is never held for long. What it never does: delay a batch, or end the shard. What fails is left
until next time and told once.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from typing import Final, Protocol

import structlog

from ingest.book.nearest import Nearest
from ingest.buffer import encode
from ingest.errors import StoreError
from ingest.shard.books import Books
from ingest.shard.kinds import DepthStream
from ingest.store.latest import LatestBook

log = structlog.get_logger()

_AT_A_TIME: Final = 5
"""Books between two turns of the loop: well below 1 ms with 1,000 levels a side."""
_LAST_S: Final = 1.0
"""What withdrawing at the end may take."""


class BooksTable(Protocol):
    """What `LatestBooksTable` does."""

    async def write(self, books: Sequence[LatestBook], withdrawn: Sequence[int]) -> None: ...

    async def close(self) -> None: ...


class LatestBooks:
    """`run` until cancelled. A book that is kept and not live counts as shown until it was withdrawn."""

    def __init__(self, books: Books, table: BooksTable, *, levels: int, every_s: float) -> None:
        """`levels` a side, every `every_s` seconds."""
        self._books = books
        self._table = table
        self._levels = levels
        self._every_s = every_s
        self._shown: dict[int, int | None] = {}
        """By the symbol's number: the update that is published, None when it is withdrawn."""
        self._nearest: dict[int, Nearest] = {}
        self._is_failing = False
        self.published = 0
        self.failures = 0

    async def run(self) -> None:
        """Publish at once, then every so often; when cancelled, withdraw what is shown."""
        try:
            while True:
                await self.publish()
                await asyncio.sleep(self._every_s)
        finally:
            await self._leave()

    async def publish(self) -> None:
        """Bring the table up to date, or find that it is; a failure is left to the next time."""
        changed = await self._changed()
        live = {stream.symbol_id for stream in self._books.streams() if stream.book.book is not None}
        # Some may have been lost while others were looked at.
        books = [book for book in changed if book.symbol_id in live]
        withdrawn = self._lost(live)
        if await self._write(books, withdrawn):
            self.published += len(books)
            self._shown.update(dict.fromkeys(withdrawn))
            self._shown.update({book.symbol_id: book.last_update_id for book in books})
            self._forget_former()

    async def _write(self, books: Sequence[LatestBook], withdrawn: Sequence[int]) -> bool:
        try:
            await self._table.write(books, withdrawn)
        except StoreError as error:
            self.failures += 1
            if not self._is_failing:
                log.warning("books.not_published", error=str(error))
            self._is_failing = True
            return False
        if self._is_failing:
            log.info("books.published_again")
        self._is_failing = False
        return True

    async def _changed(self) -> list[LatestBook]:
        found: list[LatestBook] = []
        looked_at = 0
        for stream in self._books.streams():
            if stream.book.update_id in (None, self._shown.get(stream.symbol_id)):
                continue
            found += self._top(stream)
            looked_at += 1
            if looked_at % _AT_A_TIME == 0:
                await asyncio.sleep(0)
        return found

    def _top(self, stream: DepthStream) -> Iterator[LatestBook]:
        book, update_id = stream.book.book, stream.book.update_id
        if book is None or update_id is None or not stream.last_event_us:
            return
        try:
            nearest = self._nearest.setdefault(stream.symbol_id, Nearest(self._levels))
            arrays = encode.level_arrays(*nearest.top(book))
        except ValueError:
            return  # a quantity that is no number; the audit will find the book
        yield LatestBook(stream.symbol_id, update_id, stream.last_event_us, *arrays)

    def _lost(self, live: Collection[int]) -> list[int]:
        """Books that are not live, and not known to be withdrawn."""
        kept = {stream.symbol_id for stream in self._books.streams()}
        shown = {symbol_id for symbol_id, update_id in self._shown.items() if update_id is not None}
        unknown = kept - self._shown.keys()
        return sorted((shown | unknown).difference(live))

    def _forget_former(self) -> None:
        kept = {stream.symbol_id for stream in self._books.streams()}
        for symbol_id in [each for each in self._shown if each not in kept]:
            del self._shown[symbol_id]
            self._nearest.pop(symbol_id, None)

    async def _leave(self) -> None:
        """Nobody follows these books from here on."""
        shown = sorted(symbol_id for symbol_id, update_id in self._shown.items() if update_id is not None)
        try:
            async with asyncio.timeout(_LAST_S):
                if shown:
                    await self._write([], shown)
        except TimeoutError:
            log.info("books.not_withdrawn", books=len(shown))
        finally:
            await self._table.close()
