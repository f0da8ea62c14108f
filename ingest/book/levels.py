"""The levels of an order book: price to quantity, both sides.

Decides which level a price means and whether a quantity removes it. Knows nothing of update ids, and so
not whether what it holds is right: `ingest.book.sync` does.

Invariants: a number has one key, however it is spelled; no level has a quantity of zero; quantities are
the exchange's own text. Removing a level that is not there is normal (the exchange announces removals of
levels that no snapshot held) and does nothing.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from heapq import nlargest, nsmallest
from typing import Final

from ingest.events import Level

_CANONICAL: Final = re.compile(r"(?:0|[1-9][0-9]*)\.[0-9]{8}")
_DECIMAL: Final = re.compile(r"0*([0-9]*)\.?([0-9]*?)0*")


def canonical_price(price: str) -> str:
    """Return the one spelling of a price: no leading zeros, eight decimals, more only where needed.

    That is how the exchange prints them. ValueError for what is not decimal text.
    """
    if _CANONICAL.fullmatch(price):
        return price
    match = _DECIMAL.fullmatch(price)
    if match is None or not price.strip("."):
        raise ValueError(f"not a price: {price!r}")
    whole, fraction = match.groups()
    return f"{whole or '0'}.{fraction:0<8}"


class Book:
    """Bids and asks by price. Cheap to change; finding the best levels looks at all of them."""

    __slots__ = ("asks", "bids")

    def __init__(self, bids: Iterable[Level] = (), asks: Iterable[Level] = ()) -> None:
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}
        self.apply(bids, asks)

    def __len__(self) -> int:
        """Count the levels of both sides."""
        return len(self.bids) + len(self.asks)

    def load(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Replace everything, as a snapshot does. ValueError as for `apply`."""
        self.bids.clear()
        self.asks.clear()
        self.apply(bids, asks)

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Set each level to its quantity; any spelling of zero removes it.

        ValueError for a price that is not decimal text; the levels before it are then set already, so
        that the book must be given up.
        """
        _set_levels(self.bids, bids)
        _set_levels(self.asks, asks)

    def best_bid(self) -> Level | None:
        """Return the highest bid, None when there is none."""
        return max(self.bids.items(), key=_price, default=None)

    def best_ask(self) -> Level | None:
        """Return the lowest ask, None when there is none."""
        return min(self.asks.items(), key=_price, default=None)

    def top(self, n: int) -> tuple[list[Level], list[Level]]:
        """Return up to `n` bids and `n` asks, best first, in exact order of their prices."""
        return nlargest(n, self.bids.items(), key=_price), nsmallest(n, self.asks.items(), key=_price)

    def is_crossed(self) -> bool:
        """Tell whether the best bid is at or above the best ask, which no true book is."""
        if not self.bids or not self.asks:
            return False
        # Rounding to float never swaps two prices, so only a tie in floats needs the exact answer.
        if max(map(float, self.bids)) < min(map(float, self.asks)):
            return False
        return max(map(Decimal, self.bids)) >= min(map(Decimal, self.asks))


def _set_levels(side: dict[str, str], rows: Iterable[Level]) -> None:
    for price, qty in rows:
        # What is a key already is spelled right; only new spellings cost a look.
        key = price if price in side else canonical_price(price)
        if qty.strip("0."):
            side[key] = qty
        else:
            side.pop(key, None)


def _price(level: Level) -> Decimal:
    return Decimal(level[0])
