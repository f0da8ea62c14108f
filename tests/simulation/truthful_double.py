"""A double that remembers its books: what each looked like at any moment, to compare with what was stored.

It runs in a thread of the test itself, because only from inside can every change of a book be written down
before anything can go wrong with it on the wire.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from ingest.sim.book import Book, LevelUnits
from ingest.sim.decimals import printed
from ingest.sim.happenings import BookChanged
from ingest.sim.instrument import Instrument, parsed_levels
from ingest.sim.market import MarketPlan
from ingest.sim.server import DoubleConfig, ExchangeDouble

_DEADLINE_S = 30.0

T = TypeVar("T")
Side = dict[str, str]


class Change(NamedTuple):
    """What one depth event says; times as on the wire, in whole milliseconds."""

    at_us: int
    bids: list[LevelUnits]
    asks: list[LevelUnits]
    final_update_id: int


class History:
    """The book of one symbol as it began, and every change since."""

    def __init__(self, instrument: Instrument) -> None:
        self.changes: list[Change] = []
        self._beginning = instrument.book.copy()
        self._take = instrument.book_changed
        instrument.book_changed = self._book_changed  # type: ignore[method-assign]

    def _book_changed(self, change: BookChanged) -> None:
        _, _, final, event_us, bids, asks = change
        at_us = event_us // 1_000 * 1_000
        self.changes.append(Change(at_us, parsed_levels(bids), parsed_levels(asks), final))
        self._take(change)

    def books_at(self, moments_us: list[int]) -> Iterator[tuple[int, Side, Side]]:
        """The book at each of these moments, in ascending order: update id, bids, asks."""
        book, changes = self._beginning.copy(), list(self.changes)
        place = 0
        for at_us in sorted(moments_us):
            while place < len(changes) and changes[place].at_us <= at_us:
                change = changes[place]
                book.apply(change.final_update_id, change.bids, change.asks)
                place += 1
            yield at_us, *_sides(book)


def _sides(book: Book) -> tuple[Side, Side]:
    bids, asks = (
        {printed(price).decode(): printed(qty).decode() for price, qty in side.items()}
        for side in (book.bids, book.asks)
    )
    return bids, asks


class TruthfulDouble:
    """Use through `a_truthful_double`; offers what a `Service` wants of a double, and the histories."""

    def __init__(self, plan: MarketPlan) -> None:
        self.histories: dict[str, History] = {}
        self.ws_url = self.rest_url = ""
        self._plan = plan
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._over: asyncio.Event | None = None
        self._double: ExchangeDouble | None = None
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._run(),), daemon=True
        )

    async def _run(self) -> None:
        self._over = asyncio.Event()
        async with ExchangeDouble(DoubleConfig(market=self._plan, start="manual")) as double:
            self._double = double
            self.histories = {
                symbol: History(instrument) for symbol, instrument in double.exchange.instruments.items()
            }
            double.start()
            self.ws_url, self.rest_url = double.ws_url, double.rest_url
            self._ready.set()
            await self._over.wait()

    def begin(self) -> None:
        """Return when it listens and its market has begun."""
        self._thread.start()
        assert self._ready.wait(_DEADLINE_S)

    def end(self) -> None:
        """End it, with all its connections."""
        assert self._over is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_DEADLINE_S)
        self._loop.close()

    def tell(self, what: Callable[[ExchangeDouble], T]) -> T:
        """Do something with the double in its own thread; returns the outcome."""

        async def done() -> T:
            assert self._double is not None
            return what(self._double)

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(_DEADLINE_S)


@contextmanager
def a_truthful_double(plan: MarketPlan) -> Iterator[TruthfulDouble]:
    """A double whose market has begun."""
    double = TruthfulDouble(plan)
    double.begin()
    try:
        yield double
    finally:
        double.end()
