"""What happens at the exchange: the records that a source hands to the exchange.

Pure. A source is a recorded session or a seeded market. Prices and quantities are in units of 1e-8,
times in microseconds since the epoch.
"""

from typing import NamedTuple, Protocol, TypeAlias

from ingest.sim.book import Book


class Traded(NamedTuple):
    symbol: str
    trade_id: int
    event_us: int
    ts_us: int
    price: int
    qty: int
    buyer_is_maker: bool


class Aggregated(NamedTuple):
    """All trades of one taker order at one price."""

    symbol: str
    agg_trade_id: int
    event_us: int
    ts_us: int
    price: int
    qty: int
    first_trade_id: int
    last_trade_id: int
    buyer_is_maker: bool


class TopChanged(NamedTuple):
    """Best bid and ask after update `update_id`."""

    symbol: str
    update_id: int
    ts_us: int
    bid: int
    bid_qty: int
    ask: int
    ask_qty: int


class BookChanged(NamedTuple):
    """One closed window of the 100 ms depth stream; levels as printed, `["price","qty"],…`."""

    symbol: str
    first_update_id: int
    final_update_id: int
    event_us: int
    bids: bytes
    asks: bytes


Happening: TypeAlias = Traded | Aggregated | TopChanged | BookChanged


class Listing(NamedTuple):
    """A symbol as exchangeInfo shows it; the three steps are in units of 1e-8."""

    symbol: str
    base_asset: str
    quote_asset: str
    tick: int
    lot: int
    open_price: int
    """Price before the first trade; 0 when unknown."""


class Source(Protocol):
    """Where happenings come from. Time is told to it; it never looks."""

    listings: tuple[Listing, ...]
    applies_deltas: bool
    """Whether the book is to be moved by `BookChanged` (a recording) or moves by itself (a market)."""

    def book(self, symbol: str) -> Book:
        """The book of a symbol as it stands, to be read (and, with `applies_deltas`, moved)."""
        ...

    def start(self, now_us: int) -> None:
        """Time begins to count at `now_us`."""
        ...

    def advance(self, now_us: int, limit: int) -> list[Happening]:
        """What happened up to `now_us`, in order; stops a little above `limit`, to be called again."""
        ...

    def skip(self, pause_us: int) -> None:
        """So much time has passed in which nothing happened; it is not made up for."""
        ...

    def halt(self, symbol: str, halted: bool) -> None:
        """Nothing more happens to this symbol until it is called with False."""
        ...

    def flush(self, now_us: int) -> list[Happening]:
        """Close the open depth windows now."""
        ...

    def settled_us(self) -> int:
        """No trade with an earlier time will come any more."""
        ...

    def is_over(self) -> bool:
        """Whether nothing will ever come any more."""
        ...
