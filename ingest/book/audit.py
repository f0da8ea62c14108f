"""Two books of one moment, compared level by level: how wrong is the one, how do they make a better one.

Pure. Decides nothing about moments: whoever asks has brought both books to the same update. Compared is
what both know; a price that only one of them knows of says nothing about the other.
"""

from decimal import Decimal
from typing import NamedTuple

from ingest.book.levels import Book


class Comparison(NamedTuple):
    """`levels` prices had a level in one of the books at least; in `mismatches` of them the two differ."""

    levels: int
    mismatches: int


def compare(ours: Book, theirs: Book) -> Comparison:
    """Compare the levels of two books within the range that both of them know."""
    bids = _compare(
        {price: qty for price, qty in ours.bids.items() if theirs.knows_bid(price)},
        {price: qty for price, qty in theirs.bids.items() if ours.knows_bid(price)},
    )
    asks = _compare(
        {price: qty for price, qty in ours.asks.items() if theirs.knows_ask(price)},
        {price: qty for price, qty in theirs.asks.items() if ours.knows_ask(price)},
    )
    return Comparison(bids.levels + asks.levels, bids.mismatches + asks.mismatches)


def _compare(ours: dict[str, str], theirs: dict[str, str]) -> Comparison:
    prices = ours.keys() | theirs.keys()
    same = sum(_is_same(ours.get(price), theirs.get(price)) for price in prices)
    return Comparison(len(prices), len(prices) - same)


def _is_same(ours: str | None, theirs: str | None) -> bool:
    if ours is None or theirs is None or ours == theirs:
        return ours == theirs
    return Decimal(ours) == Decimal(theirs)


def deepen(ours: Book, theirs: Book) -> bool:
    """Take over each side of an agreeing book that is known further; tell whether any was."""
    deeper_bids = Decimal(theirs.bids_known_from) < Decimal(ours.bids_known_from)
    deeper_asks = Decimal(theirs.asks_known_to) > Decimal(ours.asks_known_to)
    if deeper_bids:
        ours.bids = theirs.bids
    if deeper_asks:
        ours.asks = theirs.asks
    ours.has_long_prices |= theirs.has_long_prices
    ours.know(
        theirs.bids_known_from if deeper_bids else ours.bids_known_from,
        theirs.asks_known_to if deeper_asks else ours.asks_known_to,
    )
    return deeper_bids or deeper_asks
