"""An order book in whole units: prices and absolute quantities, best prices at hand.

Pure. It decides nothing about time or messages. Invariants: both price lists ascend and hold exactly
the keys of their dict; no quantity is zero. Whether the book is crossed is the writer's business
(`is_crossed` tells).
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from itertools import islice
from typing import TypeAlias

LevelUnits: TypeAlias = tuple[int, int]
"""(price, quantity) in units of 1e-8; a quantity of zero removes the price."""


class Book:
    """Levels after update `update_id`."""

    __slots__ = ("ask_prices", "asks", "bid_prices", "bids", "update_id")

    def __init__(self, update_id: int = 0) -> None:
        self.update_id = update_id
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.bid_prices: list[int] = []
        self.ask_prices: list[int] = []

    def set_bid(self, price: int, qty: int) -> None:
        _set(self.bids, self.bid_prices, price, qty)

    def set_ask(self, price: int, qty: int) -> None:
        _set(self.asks, self.ask_prices, price, qty)

    def apply(self, update_id: int, bids: Iterable[LevelUnits], asks: Iterable[LevelUnits]) -> None:
        """Set all these levels; the book then stands after `update_id`."""
        for price, qty in bids:
            _set(self.bids, self.bid_prices, price, qty)
        for price, qty in asks:
            _set(self.asks, self.ask_prices, price, qty)
        self.update_id = update_id

    def best_bid(self) -> LevelUnits:
        """Highest bid; (0, 0) when there is none."""
        if not self.bid_prices:
            return 0, 0
        price = self.bid_prices[-1]
        return price, self.bids[price]

    def best_ask(self) -> LevelUnits:
        """Lowest ask; (0, 0) when there is none."""
        if not self.ask_prices:
            return 0, 0
        price = self.ask_prices[0]
        return price, self.asks[price]

    def top_bids(self, limit: int) -> list[LevelUnits]:
        return [(price, self.bids[price]) for price in islice(reversed(self.bid_prices), limit)]

    def top_asks(self, limit: int) -> list[LevelUnits]:
        return [(price, self.asks[price]) for price in self.ask_prices[:limit]]

    def is_crossed(self) -> bool:
        return bool(self.bid_prices and self.ask_prices and self.bid_prices[-1] >= self.ask_prices[0])

    def copy(self) -> "Book":
        twin = Book(self.update_id)
        twin.bids, twin.asks = dict(self.bids), dict(self.asks)
        twin.bid_prices, twin.ask_prices = list(self.bid_prices), list(self.ask_prices)
        return twin


def difference(old: dict[int, int], new: dict[int, int]) -> list[LevelUnits]:
    """The levels to set so that the side `old` becomes `new`; ascending prices."""
    gone = [(price, 0) for price in old if price not in new]
    changed = [(price, qty) for price, qty in new.items() if old.get(price) != qty]
    return sorted(gone + changed)


def _set(levels: dict[int, int], prices: list[int], price: int, qty: int) -> None:
    if qty:
        if price not in levels:
            insort(prices, price)
        levels[price] = qty
    elif price in levels:
        del levels[price]
        del prices[bisect_left(prices, price)]
