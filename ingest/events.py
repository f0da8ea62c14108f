"""What flows: small immutable records, one class for each thing that the exchange publishes.

Prices and quantities are the exchange's own decimal text, untouched up to the database. Times of
the exchange are whole microseconds since the epoch (`*_us`), whatever unit the connection used;
`recv_ns` is our own clock in nanoseconds, stamped once where the bytes left the socket.
"""

from typing import Final, Literal, NamedTuple, TypeAlias

Market: TypeAlias = Literal["spot"]

Level: TypeAlias = tuple[str, str]
"""(price, quantity) as printed by the exchange; a quantity of zero removes the price."""


class StreamKey(NamedTuple):
    """One symbol and kind of one market: the unit that is planned, timed and judged."""

    market: Market
    symbol: str
    kind: str

    def __str__(self) -> str:
        return f"{self.market}:{self.symbol}:{self.kind}"


class Trade(NamedTuple):
    symbol: str
    trade_id: int
    ts_us: int
    price: str
    qty: str
    buyer_is_maker: bool
    recv_ns: int


class AggTrade(NamedTuple):
    symbol: str
    agg_trade_id: int
    ts_us: int
    price: str
    qty: str
    first_trade_id: int
    last_trade_id: int
    buyer_is_maker: bool
    recv_ns: int


class BookTicker(NamedTuple):
    """Best bid and ask. The spot stream carries no time, so `ts_us` is the receive time."""

    symbol: str
    update_id: int
    ts_us: int
    bid_price: str
    bid_qty: str
    ask_price: str
    ask_qty: str
    recv_ns: int


class DepthDelta(NamedTuple):
    """A change of the book: absolute quantities for the updates `first_update_id`..`final_update_id`."""

    symbol: str
    first_update_id: int
    final_update_id: int
    ts_us: int
    bids: list[Level]
    asks: list[Level]
    recv_ns: int


ALL_BIDS: Final = "0"
ALL_ASKS: Final = "Infinity"
"""Bounds of the known range of a book of which nothing was cut off."""


class DepthSnapshot(NamedTuple):
    """The book after update `last_update_id`, best prices first.

    Bids are known from `bids_known_from` upwards and asks up to `asks_known_to`; beyond, nothing is.
    """

    symbol: str
    last_update_id: int
    ts_us: int
    bids: list[Level]
    asks: list[Level]
    reason: str
    recv_ns: int
    bids_known_from: str = ALL_BIDS
    asks_known_to: str = ALL_ASKS


class Kline(NamedTuple):
    symbol: str
    interval: str
    open_time_us: int
    close_time_us: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    quote_volume: str
    trades: int
    taker_buy_volume: str
    taker_buy_quote_volume: str
    is_closed: bool
    ts_us: int
    recv_ns: int


class MiniTicker(NamedTuple):
    symbol: str
    ts_us: int
    last_price: str
    open: str
    high: str
    low: str
    volume: str
    quote_volume: str
    recv_ns: int


class Ticker(NamedTuple):
    """The rolling 24 h ticker; `open_time_us` to `close_time_us` is its window."""

    symbol: str
    ts_us: int
    last_price: str
    open: str
    high: str
    low: str
    volume: str
    quote_volume: str
    price_change: str
    price_change_percent: str
    weighted_avg_price: str
    prev_close_price: str
    last_qty: str
    bid_price: str
    bid_qty: str
    ask_price: str
    ask_qty: str
    open_time_us: int
    close_time_us: int
    first_trade_id: int
    last_trade_id: int
    trades: int
    recv_ns: int


class AvgPrice(NamedTuple):
    symbol: str
    ts_us: int
    interval: str
    avg_price: str
    last_trade_ts_us: int
    recv_ns: int


Event: TypeAlias = Trade | AggTrade | BookTicker | DepthDelta | Kline | MiniTicker | Ticker | AvgPrice


GapCause: TypeAlias = Literal[
    "disconnect",  # the feed was away and the ids after it do not continue
    "sequence",  # ids jumped on a connection that stayed up
    "resubscribe",  # the stream was mute, and what came after it was asked for again does not continue
    "restart",  # the shard was away: the ids after it do not continue the committed ones
    "buffer_full",  # the database did not take rows for longer than the buffer reaches
    "row_refused",  # the database will never take this row: it is in ops.quarantine
    "spool_damaged",  # the rows waited on a disk that did not give them back
    "audit",  # the book did not agree with the exchange's: what made it so is not to be trusted
]


class Gap(NamedTuple):
    """A range of a stream that is known to be missing, bounds inclusive.

    `first_id`..`last_id` are the exchange's ids where the kind has consecutive ones; for a kind
    whose ids only rise they bound the range in which something may be missing. `start_us` and
    `end_us` are the event times of the neighbours on either side.
    """

    key: StreamKey
    first_id: int | None
    last_id: int | None
    start_us: int | None
    end_us: int | None
    cause: GapCause
    repairable: bool
    note: str
    opened_us: int


class GapFilled(NamedTuple):
    """All ids of a gap that was opened earlier have arrived after all (reordered, late)."""

    key: StreamKey
    first_id: int
    last_id: int
    rows: int
    closed_us: int
