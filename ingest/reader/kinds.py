"""What can be read: one table of kinds with their columns, ids and statements.

Pure. Statements are those of sql/queries/reader.sql; `rows` gives a span of time, `beside` the rows on either
side of it, `page` what follows an id.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ingest.reader.errors import UnknownName
from ingest.reader.intervals import CANDLE_INTERVALS, KLINE_INTERVALS

ColumnType: TypeAlias = Literal["id", "count", "time", "number", "flag", "text"]
"""`number` is a price or a quantity: exact in the database, as exact as asked for in a table."""

IdRule: TypeAlias = Literal["consecutive", "range", "rising", "candle"]

MARKETS: Final = ("spot",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How rows of a kind are read. `interval` is that of a candle, else empty."""

    name: str
    stream: str
    """The kind in `ops.stream_freshness` and `ops.gaps` that speaks for it."""
    columns: dict[str, ColumnType]
    id_column: str
    time_column: str
    id_rule: IdRule
    statements: str
    """What the names of its statements end in."""
    interval: str = ""


_TRADES: Final = Kind(
    name="trade",
    stream="trade",
    columns={
        "trade_id": "id",
        "ts": "time",
        "price": "number",
        "qty": "number",
        "buyer_is_maker": "flag",
        "recv_ts": "time",
    },
    id_column="trade_id",
    time_column="ts",
    id_rule="consecutive",
    statements="trades",
)
_AGG_TRADES: Final = Kind(
    name="agg_trade",
    stream="agg_trade",
    columns={
        "agg_trade_id": "id",
        "ts": "time",
        "price": "number",
        "qty": "number",
        "first_trade_id": "id",
        "last_trade_id": "id",
        "buyer_is_maker": "flag",
        "recv_ts": "time",
    },
    id_column="agg_trade_id",
    time_column="ts",
    id_rule="consecutive",
    statements="agg_trades",
)
_BOOK_TICKERS: Final = Kind(
    name="book_ticker",
    stream="book_ticker",
    columns={
        "update_id": "id",
        "ts": "time",
        "bid_price": "number",
        "bid_qty": "number",
        "ask_price": "number",
        "ask_qty": "number",
        "recv_ts": "time",
    },
    id_column="update_id",
    time_column="ts",
    id_rule="rising",
    statements="book_tickers",
)
_DEPTH: Final = Kind(
    name="depth",
    stream="depth",
    columns={},
    id_column="final_update_id",
    time_column="ts",
    id_rule="range",
    statements="depth_deltas",
)
_CANDLE_NUMBERS: Final[dict[str, ColumnType]] = {
    "open": "number",
    "high": "number",
    "low": "number",
    "close": "number",
    "volume": "number",
    "quote_volume": "number",
}
_TAKER_NUMBERS: Final[dict[str, ColumnType]] = {
    "taker_buy_volume": "number",
    "taker_buy_quote_volume": "number",
}
_PLAIN: Final = {kind.name: kind for kind in (_TRADES, _AGG_TRADES, _BOOK_TICKERS, _DEPTH)}
KIND_NAMES: Final = (*_PLAIN, *(f"kline_{interval}" for interval in KLINE_INTERVALS))


def kind_of(name: str) -> Kind:
    """The kind of a stream that can be read; UnknownName for any other."""
    found = _PLAIN.get(name)
    if found is not None:
        return found
    if name not in KIND_NAMES:
        raise UnknownName("kind", name, KIND_NAMES)
    return klines_of(name.removeprefix("kline_"))


def klines_of(interval: str) -> Kind:
    """The exchange's candles; UnknownName for an interval that it does not have."""
    if interval not in KLINE_INTERVALS:
        raise UnknownName("interval", interval, KLINE_INTERVALS)
    return Kind(
        name=f"kline_{interval}",
        stream=f"kline_{interval}",
        columns={
            "open_time": "time",
            "close_time": "time",
            **_CANDLE_NUMBERS,
            "trades": "count",
            **_TAKER_NUMBERS,
            "is_closed": "flag",
            "recv_ts": "time",
        },
        id_column="open_time",
        time_column="open_time",
        id_rule="candle",
        statements="klines",
        interval=interval,
    )


def candles_of(interval: str) -> Kind:
    """Candles made of the stored trades; UnknownName for an interval that is not made."""
    if interval not in CANDLE_INTERVALS:
        raise UnknownName("interval", interval, CANDLE_INTERVALS)
    return Kind(
        name=f"candle_{interval}",
        stream="trade",
        columns={
            "open_time": "time",
            "close_time": "time",
            **_CANDLE_NUMBERS,
            "trades": "count",
            **_TAKER_NUMBERS,
            "vwap": "number",
            "first_trade_id": "id",
            "last_trade_id": "id",
            "is_closed": "flag",
            "is_complete": "flag",
            "missing_trades": "count",
        },
        id_column="open_time",
        time_column="open_time",
        id_rule="candle",
        statements=f"candles_{interval}",
        interval=interval,
    )


def known_market(market: str) -> Literal["spot"]:
    """The market; UnknownName for one of which nothing is stored."""
    if market == "spot":
        return "spot"
    raise UnknownName("market", market, MARKETS)
