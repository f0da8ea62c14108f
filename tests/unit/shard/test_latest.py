"""`ingest.shard.latest`: which books are published, which are withdrawn, and what a failure costs."""

import asyncio
from collections.abc import Sequence

import pytest

from ingest.errors import StoreUnavailable
from ingest.shard.latest import LatestBooks
from ingest.store.latest import LatestBook
from tests.unit.shard import builders as a
from tests.unit.shard.test_books import Shelf

EVERY_S = 1.0


class FakeTable:
    """Remembers what was written; fails when told to."""

    def __init__(self) -> None:
        self.books: list[list[LatestBook]] = []
        self.withdrawn: list[list[int]] = []
        self.is_away = False
        self.closed = 0

    async def write(self, books: Sequence[LatestBook], withdrawn: Sequence[int]) -> None:
        if self.is_away:
            raise StoreUnavailable("away")
        self.books.append(list(books))
        self.withdrawn.append(list(withdrawn))

    async def close(self) -> None:
        self.closed += 1

    def taken(self) -> tuple[list[tuple[int, int]], list[int]]:
        """Symbol and update of what was published since last time, and what was withdrawn."""
        books = [(book.symbol_id, book.last_update_id) for each in self.books for book in each]
        withdrawn = [symbol_id for each in self.withdrawn for symbol_id in each]
        self.books, self.withdrawn = [], []
        return books, withdrawn


class Stall:
    """Two books with the numbers 1 and 2, and where they are published."""

    def __init__(self, *, levels: int = 20) -> None:
        self.shelf = Shelf("BTCUSDT", "ETHUSDT")
        for number, stream in enumerate(self.shelf.streams.values(), start=1):
            stream.symbol_id = number
        self.table = FakeTable()
        self.latest = LatestBooks(self.shelf.books, self.table, levels=levels, every_s=EVERY_S)

    def live(self, symbol: str = "BTCUSDT") -> None:
        self.shelf.delta(1, 10, symbol=symbol)
        self.shelf.snapshot(10, symbol=symbol)


async def test_what_is_left_of_an_earlier_shard_is_withdrawn_first() -> None:
    """Nobody can say any more whether it was the book; once is enough."""
    stall = Stall()
    await stall.latest.publish()
    await stall.latest.publish()

    assert stall.table.taken() == ([], [1, 2])


async def test_live_book_is_published_when_it_has_changed() -> None:
    """And not again while it stands still: then it is only said that nothing has changed."""
    stall = Stall()
    stall.live()
    await stall.latest.publish()
    assert stall.table.taken() == ([(1, 10)], [2])

    await stall.latest.publish()
    assert stall.table.books == [[]]
    assert stall.table.taken() == ([], [])
    stall.shelf.delta(11, 12)
    await stall.latest.publish()
    assert stall.table.taken() == ([(1, 12)], [])


async def test_best_levels_are_published_with_their_update() -> None:
    """As many as were asked for, as array literals, dated by the exchange."""
    stall = Stall(levels=1)
    stall.shelf.live()
    await stall.latest.publish()

    ((book,),) = stall.table.books
    assert (book.bid_prices, book.bid_qtys) == ("{100.00000000}", "{1.00000000}")
    assert (book.ask_prices, book.ask_qtys) == ("{101.00000000}", "{1.00000000}")
    assert (book.last_update_id, book.ts_us) == (10, stall.shelf.streams[a.SYMBOL].last_event_us)


async def test_lost_book_is_withdrawn_and_comes_back() -> None:
    """As soon as it is right again, with whatever update that is."""
    stall = Stall()
    stall.live()
    await stall.latest.publish()
    stall.table.taken()
    stall.shelf.delta(20, 21)
    await stall.latest.publish()
    assert stall.table.taken() == ([], [1])

    stall.shelf.snapshot(21)
    await stall.latest.publish()
    assert stall.table.taken() == ([(1, 21)], [])


async def test_book_that_is_given_up_is_withdrawn() -> None:
    """Another shard may publish it from then on."""
    stall = Stall()
    stall.live()
    await stall.latest.publish()
    stall.table.taken()
    stall.shelf.books.remove("BTCUSDT")
    for _ in range(2):
        await stall.latest.publish()

    assert stall.table.taken() == ([], [1])


async def test_failure_is_made_good() -> None:
    """What failed is published the next time, as it is then."""
    stall = Stall()
    stall.live()
    stall.table.is_away = True
    for _ in range(3):
        await stall.latest.publish()
    stall.table.is_away = False
    stall.shelf.delta(11, 12)
    await stall.latest.publish()

    assert stall.latest.failures == 3
    assert stall.table.taken() == ([(1, 12)], [2])


async def run_until_cancelled(stall: Stall, *, is_away_then: bool) -> None:
    """Three periods, then the end of the group that the shard runs it in."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(stall.latest.run())
        await asyncio.sleep(3 * EVERY_S)
        stall.table.taken()
        stall.table.is_away = is_away_then
        task.cancel()


@pytest.mark.virtual_time
async def test_all_that_is_shown_is_withdrawn_in_the_end() -> None:
    """A stopped shard follows no book any more."""
    stall = Stall()
    stall.live()
    await run_until_cancelled(stall, is_away_then=False)

    assert stall.table.taken() == ([], [1])
    assert stall.table.closed == 1


@pytest.mark.virtual_time
async def test_database_that_is_away_does_not_hold_up_the_end() -> None:
    """The rows then show their age."""
    stall = Stall()
    stall.live()
    await run_until_cancelled(stall, is_away_then=True)

    assert stall.latest.failures == 1
    assert stall.table.closed == 1
