"""Events to the bytes of one COPY row, made once, when the event is parsed.

Binary rows: field count int16, then per field its length int32 and its value, big endian; timestamps
are int64 microseconds since 2000-01-01 UTC. Fields of fixed size come first, so that one `struct`
packs them all; numerics and texts follow. The order is that of `tables.Table.columns`.

Depth rows are COPY text, because arrays of the exchange's own strings then need no per-level work: one
line, fields parted by tabs, arrays in braces, timestamps in ISO form, ended by a newline.

Pure. Every function takes the symbol's id in `ops.instruments` and an event, and raises ValueError
for a value that the server could not take as a number (so that one bad row cannot spoil a batch).
Call them through the module: `encode.trade(symbol_id, event)`.
"""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from struct import Struct, pack
from typing import Final

from ingest.buffer.numeric import NUMERICS
from ingest.buffer.tables import Table
from ingest.events import (
    ALL_ASKS,
    AggTrade,
    AvgPrice,
    BookTicker,
    DepthDelta,
    DepthSnapshot,
    Event,
    Kline,
    Level,
    MiniTicker,
    Ticker,
    Trade,
)

_PG_EPOCH_US: Final = 946_684_800_000_000
_BINARY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_BINARY_TRAILER: Final = b"\xff\xff"

# Struct codes: h the field count, then i (length) with q (bigint, time), i (integer) or ? (boolean).
_TRADE: Final = Struct(">h iq iq iq ii i?").pack
_AGG_TRADE: Final = Struct(">h iq iq iq iq iq ii i?").pack
_BOOK_TICKER: Final = Struct(">h iq iq iq ii").pack
_KLINE: Final = Struct(">h iq iq iq iq iq ii i?").pack
_TICKER: Final = Struct(">h iq iq ii").pack
_TICKER_TAIL: Final = Struct(">iq iq iq iq iq").pack
_AVG_PRICE: Final = Struct(">h iq iq iq ii").pack

# The same with all that never changes as bytes, which takes half the time.
_LENGTH_8: Final = pack(">i", 8)
_TRADE_ROW: Final = Struct(">6s q 4s q 4s q 12s ?").pack
_TRADE_START: Final = pack(">h i", 7, 8)
_BOOK_TICKER_ROW: Final = Struct(">6s q 4s q 4s q 8s").pack
_BOOK_TICKER_START: Final = pack(">h i", 8, 8)

_NULL: Final = b"\xff\xff\xff\xff"
_MINI_TICKER_NULLS: Final = _NULL * 14


def copy_payload(table: Table, rows: Sequence[bytes]) -> bytes:
    """All that COPY into `table` expects, from rows encoded here."""
    if table.format == "text":
        return b"".join(rows)
    return b"".join((_BINARY_HEADER, *rows, _BINARY_TRAILER))


def trade(symbol_id: int, event: Trade) -> bytes:
    """A row of `TRADES`."""
    _, trade_id, ts_us, price, qty, buyer_is_maker, recv_ns = event
    ts, recv = ts_us - _PG_EPOCH_US, recv_ns // 1_000 - _PG_EPOCH_US
    try:
        fixed = _TRADE(7, 8, ts, 8, trade_id, 8, recv, 4, symbol_id, 1, buyer_is_maker)
    except struct.error as cause:
        raise _out_of_range(event) from cause
    return fixed + NUMERICS[price] + NUMERICS[qty]


def trade_tail(symbol_id: int) -> bytes:
    """What `trade_row` wants to know of a symbol."""
    return pack(">i i i", 4, symbol_id, 1)


def trade_row(
    tail: bytes, trade_id: int, ts_us: int, recv_ns: int, buyer_is_maker: bool, numbers: bytes
) -> bytes:
    """As `trade`, with price and quantity encoded already. Raises struct.error."""
    ts, recv = ts_us - _PG_EPOCH_US, recv_ns // 1_000 - _PG_EPOCH_US
    fixed = _TRADE_ROW(_TRADE_START, ts, _LENGTH_8, trade_id, _LENGTH_8, recv, tail, buyer_is_maker)
    return fixed + numbers


def agg_trade(symbol_id: int, event: AggTrade) -> bytes:
    """A row of `AGG_TRADES`."""
    _, agg_trade_id, ts_us, price, qty, first_id, last_id, buyer_is_maker, recv_ns = event
    ts, recv = ts_us - _PG_EPOCH_US, recv_ns // 1_000 - _PG_EPOCH_US
    ids = (8, agg_trade_id, 8, first_id, 8, last_id)
    try:
        fixed = _AGG_TRADE(9, 8, ts, *ids, 8, recv, 4, symbol_id, 1, buyer_is_maker)
    except struct.error as cause:
        raise _out_of_range(event) from cause
    return fixed + NUMERICS[price] + NUMERICS[qty]


def book_ticker(symbol_id: int, event: BookTicker) -> bytes:
    """A row of `BOOK_TICKERS`."""
    _, update_id, ts_us, bid_price, bid_qty, ask_price, ask_qty, recv_ns = event
    ts, recv = ts_us - _PG_EPOCH_US, recv_ns // 1_000 - _PG_EPOCH_US
    try:
        fixed = _BOOK_TICKER(8, 8, ts, 8, update_id, 8, recv, 4, symbol_id)
    except struct.error as cause:
        raise _out_of_range(event) from cause
    return fixed + NUMERICS[bid_price] + NUMERICS[bid_qty] + NUMERICS[ask_price] + NUMERICS[ask_qty]


def book_ticker_tail(symbol_id: int) -> bytes:
    """What `book_ticker_row` wants to know of a symbol."""
    return pack(">i i", 4, symbol_id)


def book_ticker_row(tail: bytes, update_id: int, recv_ns: int, bid: bytes, ask: bytes) -> bytes:
    """As `book_ticker`, with price and quantity of each side encoded already. Raises struct.error."""
    recv = recv_ns // 1_000 - _PG_EPOCH_US
    fixed = _BOOK_TICKER_ROW(_BOOK_TICKER_START, recv, _LENGTH_8, update_id, _LENGTH_8, recv, tail)
    return fixed + bid + ask


def kline(symbol_id: int, event: Kline) -> bytes:
    """A row of `KLINES`."""
    times = (event.open_time_us, event.close_time_us, event.ts_us, event.recv_ns // 1_000)
    opened, closed, ts, recv = (us - _PG_EPOCH_US for us in times)
    try:
        ints = (8, event.trades, 4, symbol_id, 1, event.is_closed)
        fixed = _KLINE(16, 8, opened, 8, closed, 8, ts, 8, recv, *ints)
    except struct.error as cause:
        raise _out_of_range(event) from cause
    return b"".join(
        (
            fixed,
            _text(event.interval),
            NUMERICS[event.open],
            NUMERICS[event.high],
            NUMERICS[event.low],
            NUMERICS[event.close],
            NUMERICS[event.volume],
            NUMERICS[event.quote_volume],
            NUMERICS[event.taker_buy_volume],
            NUMERICS[event.taker_buy_quote_volume],
        )
    )


def mini_ticker(symbol_id: int, event: MiniTicker) -> bytes:
    """A row of `TICKERS` with kind `mini_ticker`; what only the 24 h ticker knows is null."""
    return _ticker_head(symbol_id, event, kind="mini_ticker") + _MINI_TICKER_NULLS


def ticker(symbol_id: int, event: Ticker) -> bytes:
    """A row of `TICKERS` with kind `ticker`."""
    opened, closed = event.open_time_us - _PG_EPOCH_US, event.close_time_us - _PG_EPOCH_US
    ids = (8, event.first_trade_id, 8, event.last_trade_id, 8, event.trades)
    try:
        tail = _TICKER_TAIL(8, opened, 8, closed, *ids)
    except struct.error as cause:
        raise _out_of_range(event) from cause
    return b"".join(
        (
            _ticker_head(symbol_id, event, kind="ticker"),
            NUMERICS[event.price_change],
            NUMERICS[event.price_change_percent],
            NUMERICS[event.weighted_avg_price],
            NUMERICS[event.prev_close_price],
            NUMERICS[event.last_qty],
            NUMERICS[event.bid_price],
            NUMERICS[event.bid_qty],
            NUMERICS[event.ask_price],
            NUMERICS[event.ask_qty],
            tail,
        )
    )


def _ticker_head(symbol_id: int, event: MiniTicker | Ticker, *, kind: str) -> bytes:
    ts, recv = event.ts_us - _PG_EPOCH_US, event.recv_ns // 1_000 - _PG_EPOCH_US
    try:
        fixed = _TICKER(24, 8, ts, 8, recv, 4, symbol_id)
    except struct.error as cause:
        raise _out_of_range(event) from cause
    return b"".join(
        (
            fixed,
            _text(kind),
            NUMERICS[event.last_price],
            NUMERICS[event.open],
            NUMERICS[event.high],
            NUMERICS[event.low],
            NUMERICS[event.volume],
            NUMERICS[event.quote_volume],
        )
    )


def avg_price(symbol_id: int, event: AvgPrice) -> bytes:
    """A row of `AVG_PRICES`."""
    times = (event.ts_us, event.last_trade_ts_us, event.recv_ns // 1_000)
    ts, last_trade, recv = (us - _PG_EPOCH_US for us in times)
    try:
        fixed = _AVG_PRICE(6, 8, ts, 8, last_trade, 8, recv, 4, symbol_id)
    except struct.error as cause:
        raise _out_of_range(event) from cause
    return fixed + _text(event.interval) + NUMERICS[event.avg_price]


def depth_delta(symbol_id: int, event: DepthDelta) -> bytes:
    """A line of `DEPTH_DELTAS`."""
    _, first_id, final_id, ts_us, bids, asks, recv_ns = event
    bid_prices, bid_qtys = _columns(bids)
    ask_prices, ask_qtys = _columns(asks)
    row = (
        f"{_iso(ts_us)}\t{first_id}\t{final_id}\t{_iso(recv_ns // 1_000)}\t{symbol_id}\t"
        f"{{{bid_prices}}}\t{{{bid_qtys}}}\t{{{ask_prices}}}\t{{{ask_qtys}}}\n"
    ).encode("ascii")
    if row.translate(None, _NUMBER_BYTES) != _DELTA_BREAKS or row.count(b",") != _commas(bids, asks):
        raise _not_levels(bids, asks)
    return row


def depth_snapshot(symbol_id: int, event: DepthSnapshot) -> bytes:
    """A line of `DEPTH_SNAPSHOTS`."""
    _, last_id, ts_us, bids, asks, reason, recv_ns, bids_known_from, asks_known_to = event
    times = f"{_iso(ts_us)}\t{last_id}\t{_iso(recv_ns // 1_000)}\t{symbol_id}"
    return b"%b\t%b\t%b\t%b\t%b\n" % (
        times.encode("ascii"),
        _arrays(bids, asks),
        _escaped(reason),
        _bound(bids_known_from),
        _bound(asks_known_to),
    )


def level_arrays(bids: list[Level], asks: list[Level]) -> tuple[str, str, str, str]:
    """Array literals of bid prices, bid quantities, ask prices and ask quantities."""
    bid_prices, bid_qtys, ask_prices, ask_qtys = _arrays(bids, asks).decode("ascii").split("\t")
    return bid_prices, bid_qtys, ask_prices, ask_qtys


def _bound(price: str) -> bytes:
    raw = price.encode("ascii")
    if price != ALL_ASKS and raw.translate(None, b"0123456789."):
        raise ValueError(f"not the bound of a book: {price!r:.80}")
    return raw


def _out_of_range(event: Event) -> ValueError:
    return ValueError(f"a number is out of range: {event!r:.200}")


_ARRAY_BREAKS: Final = b"{}\t{}\t{}\t{}"
_TIME_BREAKS: Final = b"-- ::+"
_DELTA_BREAKS: Final = _TIME_BREAKS + b"\t\t\t" + _TIME_BREAKS + b"\t\t" + _ARRAY_BREAKS + b"\n"
_NUMBER_BYTES: Final = b"0123456789.,"

# What is left of a row when digits, points and commas are taken away must be its breaks alone, and the commas
# must be as many as the levels need: junk from outside cannot become structure here.


def _arrays(bids: list[Level], asks: list[Level]) -> bytes:
    """Four array literals, parted by tabs: bid prices, bid quantities, ask prices, ask quantities."""
    columns = (*_columns(bids), *_columns(asks))
    literals = "\t".join([f"{{{column}}}" for column in columns]).encode("ascii")
    if literals.translate(None, _NUMBER_BYTES) != _ARRAY_BREAKS or literals.count(b",") != _commas(
        bids, asks
    ):
        raise _not_levels(bids, asks)
    return literals


def _columns(levels: list[Level]) -> tuple[str, str]:
    """Prices and quantities, each parted by commas."""
    if not levels:
        return "", ""
    prices, qtys = zip(*levels, strict=True)
    return ",".join(prices), ",".join(qtys)


def _commas(bids: list[Level], asks: list[Level]) -> int:
    return 2 * ((len(bids) or 1) + (len(asks) or 1) - 2)


def _not_levels(bids: list[Level], asks: list[Level]) -> ValueError:
    return ValueError(f"a depth level is not a plain decimal: {[*bids, *asks]!r:.80}")


_iso_second_memo: Final[dict[int, str]] = {}


def _iso(us: int) -> str:
    second = us // 1_000_000
    text = _iso_second_memo.get(second)
    if text is None:
        if len(_iso_second_memo) >= 1_024:
            _iso_second_memo.clear()
        text = _iso_second_memo[second] = _iso_second(second)
    return f"{text}{str(us % 1_000_000).zfill(6)}+00"


def _iso_second(second: int) -> str:
    try:
        return datetime.fromtimestamp(second, UTC).isoformat(" ")[:19] + "."
    except (OverflowError, OSError) as cause:
        raise ValueError(f"time out of range: {second} s") from cause


def _text(value: str) -> bytes:
    raw = value.encode()
    return pack(">i", len(raw)) + raw


_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": ""})


def _escaped(value: str) -> bytes:
    return value.translate(_ESCAPES).encode()
