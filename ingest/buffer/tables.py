"""What a batch is written to: name, columns in the order of the encoded row, and what a conflict means.

The columns and types here are the contract between `encode`, which makes the bytes, and
`sql/migrations`, which makes the tables; every new connection compares the two (`store.postgres`).
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal


class Conflict(enum.Enum):
    """What is done with a row whose key is already stored."""

    IGNORE = "ignore"
    LAST_WRITE_WINS = "last_write_wins"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One physical table. Compared by identity: these are constants, and keys of hot dictionaries."""

    name: str
    schema: str
    format: Literal["binary", "text"]
    key: tuple[str, ...]
    columns: tuple[str, ...]
    column_types: tuple[str, ...]
    conflict: Conflict = Conflict.IGNORE

    def __repr__(self) -> str:
        return f"Table({self.schema}.{self.name})"


def _table(
    name: str,
    columns: Mapping[str, str],
    *,
    key: tuple[str, ...],
    copy_format: Literal["binary", "text"] = "binary",
    conflict: Conflict = Conflict.IGNORE,
) -> Table:
    return Table(
        name=name,
        schema="spot_raw",
        format=copy_format,
        key=key,
        columns=tuple(columns),
        column_types=tuple(columns.values()),
        conflict=conflict,
    )


_TIME: Final = "timestamp with time zone"

TRADES: Final = _table(
    "trades",
    {
        "ts": _TIME,
        "trade_id": "bigint",
        "recv_ts": _TIME,
        "symbol_id": "integer",
        "buyer_is_maker": "boolean",
        "price": "numeric",
        "qty": "numeric",
    },
    key=("symbol_id", "ts", "trade_id"),
)

AGG_TRADES: Final = _table(
    "agg_trades",
    {
        "ts": _TIME,
        "agg_trade_id": "bigint",
        "first_trade_id": "bigint",
        "last_trade_id": "bigint",
        "recv_ts": _TIME,
        "symbol_id": "integer",
        "buyer_is_maker": "boolean",
        "price": "numeric",
        "qty": "numeric",
    },
    key=("symbol_id", "ts", "agg_trade_id"),
)

BOOK_TICKERS: Final = _table(
    "book_tickers",
    {
        "ts": _TIME,
        "update_id": "bigint",
        "recv_ts": _TIME,
        "symbol_id": "integer",
        "bid_price": "numeric",
        "bid_qty": "numeric",
        "ask_price": "numeric",
        "ask_qty": "numeric",
    },
    key=("symbol_id", "ts", "update_id"),
)

DEPTH_DELTAS: Final = _table(
    "depth_deltas",
    {
        "ts": _TIME,
        "first_update_id": "bigint",
        "final_update_id": "bigint",
        "recv_ts": _TIME,
        "symbol_id": "integer",
        "bid_prices": "numeric[]",
        "bid_qtys": "numeric[]",
        "ask_prices": "numeric[]",
        "ask_qtys": "numeric[]",
    },
    key=("symbol_id", "ts", "final_update_id"),
    copy_format="text",
)

DEPTH_SNAPSHOTS: Final = _table(
    "depth_snapshots",
    {
        "ts": _TIME,
        "last_update_id": "bigint",
        "recv_ts": _TIME,
        "symbol_id": "integer",
        "bid_prices": "numeric[]",
        "bid_qtys": "numeric[]",
        "ask_prices": "numeric[]",
        "ask_qtys": "numeric[]",
        "reason": "text",
        "bids_known_from": "numeric",
        "asks_known_to": "numeric",
    },
    key=("symbol_id", "ts", "last_update_id"),
    copy_format="text",
)

KLINES: Final = _table(
    "klines",
    {
        "open_time": _TIME,
        "close_time": _TIME,
        "event_ts": _TIME,
        "recv_ts": _TIME,
        "trades": "bigint",
        "symbol_id": "integer",
        "is_closed": "boolean",
        "interval": "text",
        "open": "numeric",
        "high": "numeric",
        "low": "numeric",
        "close": "numeric",
        "volume": "numeric",
        "quote_volume": "numeric",
        "taker_buy_volume": "numeric",
        "taker_buy_quote_volume": "numeric",
    },
    key=("symbol_id", "interval", "open_time"),
    conflict=Conflict.LAST_WRITE_WINS,
)

TICKERS: Final = _table(
    "tickers",
    {
        "ts": _TIME,
        "recv_ts": _TIME,
        "symbol_id": "integer",
        "kind": "text",
        "last_price": "numeric",
        "open": "numeric",
        "high": "numeric",
        "low": "numeric",
        "volume": "numeric",
        "quote_volume": "numeric",
        "price_change": "numeric",
        "price_change_percent": "numeric",
        "weighted_avg_price": "numeric",
        "prev_close_price": "numeric",
        "last_qty": "numeric",
        "bid_price": "numeric",
        "bid_qty": "numeric",
        "ask_price": "numeric",
        "ask_qty": "numeric",
        "open_time": _TIME,
        "close_time": _TIME,
        "first_trade_id": "bigint",
        "last_trade_id": "bigint",
        "trades": "bigint",
    },
    key=("symbol_id", "ts", "kind"),
)

AVG_PRICES: Final = _table(
    "avg_prices",
    {
        "ts": _TIME,
        "last_trade_ts": _TIME,
        "recv_ts": _TIME,
        "symbol_id": "integer",
        "interval": "text",
        "avg_price": "numeric",
    },
    key=("symbol_id", "ts", "interval"),
)

TABLES: Final = (
    TRADES,
    AGG_TRADES,
    BOOK_TICKERS,
    DEPTH_DELTAS,
    DEPTH_SNAPSHOTS,
    KLINES,
    TICKERS,
    AVG_PRICES,
)

_TABLE_OF_KIND: Final = MappingProxyType(
    {
        "trade": TRADES,
        "agg_trade": AGG_TRADES,
        "book_ticker": BOOK_TICKERS,
        "depth": DEPTH_DELTAS,
        "mini_ticker": TICKERS,
        "ticker": TICKERS,
        "avg_price": AVG_PRICES,
    }
)


def table_of_kind(kind: str) -> Table:
    """The table that a stream of this kind is stored in; ValueError for a kind that is not known."""
    if kind.startswith("kline_"):
        return KLINES
    try:
        return _TABLE_OF_KIND[kind]
    except KeyError:
        raise ValueError(f"unknown kind of stream: {kind!r}") from None
