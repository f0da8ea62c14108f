"""The best levels of a book that is looked at again and again, found from where they were the last time.

`Book.top` ranks all levels, which for a thousand a side takes four times as long as it does to leave out
those that are worse than a price: the one that was a little behind the last of the best when they were
looked for before. When too few are left, because the market has moved, all are ranked again.

Pure. Invariant: what is returned is what `Book.top` returns.
"""

from collections.abc import Iterable
from typing import Final

from ingest.book.levels import Book, rank
from ingest.events import Level

_MARGIN: Final = 2
"""The price to begin with is that of so many times the wanted level, as the market may move until then."""


class Nearest:
    """The `levels` best bids and asks of one book."""

    def __init__(self, levels: int) -> None:
        self._levels = levels
        self._last_bid = self._last_ask = ""

    def top(self, book: Book) -> tuple[list[Level], list[Level]]:
        """Return what `book.top(levels)` does."""
        if book.has_long_prices:
            return book.top(self._levels)
        bids = self._found(_at_least(book.bids, self._last_bid), self._last_bid, best_is_high=True)
        asks = self._found(_at_most(book.asks, self._last_ask), self._last_ask, best_is_high=False)
        if bids is None or asks is None:
            all_bids, all_asks = book.top(self._levels * _MARGIN)
            bids, asks = [price for price, _ in all_bids], [price for price, _ in all_asks]
        self._last_bid, self._last_ask = self._mark(bids), self._mark(asks)
        n = self._levels
        return [(price, book.bids[price]) for price in bids[:n]], [(p, book.asks[p]) for p in asks[:n]]

    def _mark(self, best_first: list[str]) -> str:
        """Where to begin the next time."""
        place = min(len(best_first), self._levels * _MARGIN) - 1
        return best_first[place] if place >= 0 else ""

    def _found(self, candidates: Iterable[str], mark: str, *, best_is_high: bool) -> list[str] | None:
        """The candidates, best first; None when a level that is none of them may be among the best."""
        ranked = sorted(candidates, key=rank, reverse=best_is_high)
        if len(ranked) < self._levels or not mark:
            return None
        last = rank(ranked[self._levels - 1])
        is_enough = last >= rank(mark) if best_is_high else last <= rank(mark)
        return ranked if is_enough else None


# Prices of one length compare as text; of other lengths any may be better, and all are ranked.


def _at_least(side: Iterable[str], mark: str) -> list[str]:
    width = len(mark)
    return [price for price in side if price >= mark or len(price) != width] if mark else []


def _at_most(side: Iterable[str], mark: str) -> list[str]:
    width = len(mark)
    return [price for price in side if price <= mark or len(price) != width] if mark else []
