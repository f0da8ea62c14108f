"""Whose an encoded row is: stream, ids and time, read back from its bytes.

`encode` makes the bytes and forgets the event; who has to name a row that was refused, or a batch that was
damaged on the disk, finds here what to write into the ledger. Ids are in the unit of the kind's gaps:
closed candles count by open time in milliseconds; quotes, stored books and open candles have none.

Pure. The places of the fields are those of `tables.Table.columns`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from struct import Struct, error
from typing import Final, NamedTuple, cast

from ingest.buffer.tables import (
    AGG_TRADES,
    AVG_PRICES,
    BOOK_TICKERS,
    DEPTH_DELTAS,
    DEPTH_SNAPSHOTS,
    KLINES,
    TICKERS,
    TRADES,
    Table,
)
from ingest.events import Market, StreamKey

BOOK_KIND: Final = "depth_snapshot"
"""What a stored book is counted under; no stream has this kind."""

_PG_EPOCH_US: Final = 946_684_800_000_000

_TRADE: Final = Struct(">2x 4xq 4xq 12x 4xi").unpack_from
_AGG_TRADE: Final = Struct(">2x 4xq 4xq 36x 4xi").unpack_from
_KLINE: Final = Struct(">2x 4xq 12x 4xq 24x 4xi 4x? i").unpack_from
_TICKER: Final = Struct(">2x 4xq 12x 4xi i").unpack_from
_AVG_PRICE: Final = Struct(">2x 4xq 24x 4xi").unpack_from
_TIME_OF_TRADE: Final = Struct(">2x 4xq").unpack_from
_TRADE_TIME_AND_SYMBOL: Final = Struct(">2x 4xq 24x 4xi").unpack_from
_SYMBOL_BYTES: Final = itemgetter(slice(42, 46))
_KLINE_TEXT_AT: Final = 79
_TICKER_TEXT_AT: Final = 38


class Origin(NamedTuple):
    """A row's stream (by the symbol's number), ids and event time; a row of one id has it twice."""

    symbol_id: int
    kind: str
    first_id: int | None
    last_id: int | None
    ts_us: int


class Span(NamedTuple):
    """The rows of one stream among others: lowest and highest id, earliest and latest time, how many."""

    key: StreamKey
    first_id: int | None
    last_id: int | None
    start_us: int
    end_us: int
    rows: int


class TouchedTrades(NamedTuple):
    """A span in which these symbols have got trades; times in microseconds since the epoch, inclusive."""

    symbol_ids: list[int]
    oldest_us: int
    newest_us: int


def origin(table: Table, row: bytes) -> Origin:
    """Whose row this is. ValueError when the bytes are no row of the table."""
    try:
        return _READERS[table](row)
    except (error, IndexError, UnicodeDecodeError) as cause:
        raise ValueError(f"no row of {table.name}: {row[:80]!r}") from cause


def market_of(table: Table) -> Market:
    """The market whose rows a table holds."""
    return cast(Market, table.schema.removesuffix("_raw"))


def spans(table: Table, rows: Iterable[bytes], symbol_of: Callable[[int], str]) -> list[Span]:
    """What these rows are, stream by stream in the order of their first rows.

    `symbol_of` gives the name for a symbol's number. A row that cannot be read counts nowhere.
    """
    found: dict[tuple[int, str], list[Origin]] = {}
    for row in rows:
        try:
            read = origin(table, row)
        except ValueError:
            continue
        found.setdefault((read.symbol_id, read.kind), []).append(read)
    return [
        _span(StreamKey(market_of(table), symbol_of(symbol_id), kind), origins)
        for (symbol_id, kind), origins in found.items()
    ]


def touched_trades(rows: Sequence[bytes], *, apart_from_us: int) -> list[TouchedTrades]:
    """Where in time encoded trades lie: all in one span, or symbol by symbol where that is so long.

    `rows` are some of `TRADES`. One pass in C (0.13 us a row), but for a batch of `apart_from_us` and more
    (0.28 us): a few late rows in it would make every symbol's span as long.
    """
    if not rows:
        return []
    # As bytes the rows sort by their times, which come first and are positive: big endian, since 2000.
    oldest_us, newest_us = (_TIME_OF_TRADE(row)[0] + _PG_EPOCH_US for row in (min(rows), max(rows)))
    if newest_us - oldest_us < apart_from_us:
        symbol_ids = [int.from_bytes(each, "big") for each in set(map(_SYMBOL_BYTES, rows))]
        return [TouchedTrades(sorted(symbol_ids), oldest_us, newest_us)]
    times: dict[int, list[int]] = {}
    for ts, symbol_id in map(_TRADE_TIME_AND_SYMBOL, rows):
        times.setdefault(symbol_id, []).append(ts + _PG_EPOCH_US)
    return [TouchedTrades([symbol_id], min(each), max(each)) for symbol_id, each in sorted(times.items())]


def _span(key: StreamKey, origins: list[Origin]) -> Span:
    times = [read.ts_us for read in origins]
    first_ids = [read.first_id for read in origins if read.first_id is not None]
    last_ids = [read.last_id for read in origins if read.last_id is not None]
    return Span(
        key,
        min(first_ids, default=None),
        max(last_ids, default=None),
        min(times),
        max(times),
        len(origins),
    )


def _trade(row: bytes) -> Origin:
    ts, trade_id, symbol_id = _TRADE(row)
    return Origin(symbol_id, "trade", trade_id, trade_id, ts + _PG_EPOCH_US)


def _agg_trade(row: bytes) -> Origin:
    ts, agg_trade_id, symbol_id = _AGG_TRADE(row)
    return Origin(symbol_id, "agg_trade", agg_trade_id, agg_trade_id, ts + _PG_EPOCH_US)


def _book_ticker(row: bytes) -> Origin:
    ts, update_id, symbol_id = _TRADE(row)
    return Origin(symbol_id, "book_ticker", update_id, update_id, ts + _PG_EPOCH_US)


def _kline(row: bytes) -> Origin:
    opened, ts, symbol_id, is_closed, length = _KLINE(row)
    interval = row[_KLINE_TEXT_AT : _KLINE_TEXT_AT + length].decode()
    open_ms = (opened + _PG_EPOCH_US) // 1_000 if is_closed else None
    return Origin(symbol_id, f"kline_{interval}", open_ms, open_ms, ts + _PG_EPOCH_US)


def _ticker(row: bytes) -> Origin:
    ts, symbol_id, length = _TICKER(row)
    kind = row[_TICKER_TEXT_AT : _TICKER_TEXT_AT + length].decode()
    return Origin(symbol_id, kind, None, None, ts + _PG_EPOCH_US)


def _avg_price(row: bytes) -> Origin:
    ts, symbol_id = _AVG_PRICE(row)
    return Origin(symbol_id, "avg_price", None, None, ts + _PG_EPOCH_US)


def _depth_delta(row: bytes) -> Origin:
    ts, first_id, final_id, _, symbol_id = row.split(b"\t", 5)[:5]
    return Origin(int(symbol_id), "depth", int(first_id), int(final_id), _microseconds(ts))


def _depth_snapshot(row: bytes) -> Origin:
    ts, _, _, symbol_id = row.split(b"\t", 4)[:4]
    return Origin(int(symbol_id), BOOK_KIND, None, None, _microseconds(ts))


def _microseconds(iso: bytes) -> int:
    moment = datetime.fromisoformat(iso.decode("ascii"))
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond


_READERS: Final[Mapping[Table, Callable[[bytes], Origin]]] = {
    TRADES: _trade,
    AGG_TRADES: _agg_trade,
    BOOK_TICKERS: _book_ticker,
    DEPTH_DELTAS: _depth_delta,
    DEPTH_SNAPSHOTS: _depth_snapshot,
    KLINES: _kline,
    TICKERS: _ticker,
    AVG_PRICES: _avg_price,
}
