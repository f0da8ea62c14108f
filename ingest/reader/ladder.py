"""A book whose best levels are at hand after every change.

Pure. Keeps the prices of a `Book` sorted beside it, so that a change costs a search and not a sort.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from ingest.book.levels import Book, canonical_price
from ingest.events import Level as PrintedLevel
from ingest.reader.rows import BookState, Level


class _Side:
    """The sorted prices of one side; `sign` is -1 where the highest is the best."""

    __slots__ = ("_keys", "_levels", "_sign")

    def __init__(self, levels: dict[str, str], sign: int) -> None:
        self._levels = levels
        self._sign = sign
        self._keys: list[tuple[Decimal, str]] = sorted(self._key(price) for price in levels)

    def changed(self, prices: Iterable[str]) -> None:
        """The levels at these prices, in their one spelling, may have come or gone."""
        for price in prices:
            key = self._key(price)
            place = bisect_left(self._keys, key)
            was_there = place < len(self._keys) and self._keys[place] == key
            if price in self._levels and not was_there:
                insort(self._keys, key)
            elif price not in self._levels and was_there:
                del self._keys[place]

    def best(self, levels: int) -> tuple[Level, ...]:
        return tuple((self._sign * key, Decimal(self._levels[price])) for key, price in self._keys[:levels])

    def _key(self, price: str) -> tuple[Decimal, str]:
        return self._sign * Decimal(price), price


class Ladder:
    """A book as it changes; `state` is what readers get."""

    def __init__(self, symbol: str, book: Book, update_id: int, ts: datetime) -> None:
        self.update_id = update_id
        self.ts = ts
        self._symbol = symbol
        self._book = book
        self._bids = _Side(book.bids, -1)
        self._asks = _Side(book.asks, 1)

    def take(self, book: Book) -> None:
        """Another book of the same update: it may be known farther."""
        self._book = book
        self._bids, self._asks = _Side(book.bids, -1), _Side(book.asks, 1)

    def apply(self, bids: list[PrintedLevel], asks: list[PrintedLevel], update_id: int, ts: datetime) -> None:
        """The changes of one delta, which has to be the next one."""
        self._book.apply(bids, asks)
        self._bids.changed(canonical_price(price) for price, _ in bids)
        self._asks.changed(canonical_price(price) for price, _ in asks)
        self.update_id, self.ts = update_id, ts

    def state(self, levels: int) -> BookState:
        """The best levels now, and how far they are all there is."""
        bids, asks = self._bids.best(levels), self._asks.best(levels)
        book = self._book
        return BookState(
            self._symbol,
            self.update_id,
            self.ts,
            bids,
            asks,
            bids[-1][0] if len(book.bids) > levels else Decimal(book.bids_known_from),
            asks[-1][0] if len(book.asks) > levels else Decimal(book.asks_known_to),
        )
