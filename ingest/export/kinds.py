"""What can be exported: for each kind its statements, its columns, and by which column time goes.

A kind is that of a stream (`trade`, `kline_1m`), or of candles made from trades (`candles_1m`), or the stored
books (`depth_snapshot`). Pure: names and forms; what they are in Parquet is `ingest.export.arrow`'s.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


class Form(enum.Enum):
    """What a column holds, and so how its text is read."""

    TEXT = "text"
    WHOLE = "whole number"
    FLAG = "t or f"
    TIME = "microseconds since the epoch"
    NUMBER = "a decimal number"
    NUMBERS = "decimal numbers with a space between"
    LIMIT = "a decimal number or Infinity"
    """Kept as text: no decimal type holds an infinity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of rows. `columns` are in the order of the statement."""

    name: str
    statement: str
    columns: tuple[tuple[str, Form], ...]
    stream: str
    """The kind of stream whose gaps and freshness speak for these rows."""
    argument: str | None = None
    """The statement's fourth parameter, where it has one: an interval, or a kind of ticker."""
    time: str = "ts"
    ids: tuple[str, str] | None = None
    """The columns with the first and the last id of a row."""
    is_consecutive: bool = False
    """Whether the next row's first id is one more than the last id of this one."""

    @property
    def beside(self) -> str | None:
        """The statement for the rows beside a range; None where rows say themselves what they lack."""
        return None if self.is_judged else self.statement.replace("export_", "export_beside_")

    @property
    def is_judged(self) -> bool:
        """Whether rows have a column `is_complete`."""
        return ("is_complete", Form.FLAG) in self.columns

    @property
    def relation(self) -> str:
        """The view that the rows come from."""
        return f"spot.{self.statement.removeprefix('export_')}"


_FORMS: Final = MappingProxyType({"T": Form.TIME, "t": Form.TEXT, "w": Form.WHOLE, "f": Form.FLAG})


def _columns(**groups: str) -> tuple[tuple[str, Form], ...]:
    """`name=form` pairs in order; a form is one letter of `_FORMS`, or the name of a `Form`."""
    return tuple((name, _FORMS.get(form) or Form[form]) for name, form in groups.items())


_N: Final = "NUMBER"
_L: Final = "NUMBERS"
_TRADES: Final = _columns(symbol="t", trade_id="w", ts="T", price=_N, qty=_N, buyer_is_maker="f", recv_ts="T")
_AGG_TRADES: Final = _columns(
    symbol="t",
    agg_trade_id="w",
    ts="T",
    price=_N,
    qty=_N,
    first_trade_id="w",
    last_trade_id="w",
    buyer_is_maker="f",
    recv_ts="T",
)
_BOOK_TICKERS: Final = _columns(
    symbol="t", update_id="w", ts="T", bid_price=_N, bid_qty=_N, ask_price=_N, ask_qty=_N, recv_ts="T"
)
_DELTAS: Final = _columns(
    symbol="t",
    first_update_id="w",
    final_update_id="w",
    ts="T",
    bid_prices=_L,
    bid_qtys=_L,
    ask_prices=_L,
    ask_qtys=_L,
    recv_ts="T",
)
_SNAPSHOTS: Final = _columns(
    symbol="t",
    last_update_id="w",
    ts="T",
    bid_prices=_L,
    bid_qtys=_L,
    ask_prices=_L,
    ask_qtys=_L,
    reason="t",
    recv_ts="T",
    bids_known_from="LIMIT",
    asks_known_to="LIMIT",
)
_OHLC: Final = _columns(open=_N, high=_N, low=_N, close=_N, volume=_N, quote_volume=_N, trades="w")
_TAKERS: Final = _columns(taker_buy_volume=_N, taker_buy_quote_volume=_N)
_KLINES: Final = (
    *_columns(symbol="t", interval="t", open_time="T", close_time="T"),
    *_OHLC,
    *_TAKERS,
    *_columns(is_closed="f", recv_ts="T"),
)
_CANDLES: Final = (
    *_columns(symbol="t", open_time="T", close_time="T"),
    *_OHLC,
    *_TAKERS,
    *_columns(
        vwap=_N, first_trade_id="w", last_trade_id="w", is_closed="f", is_complete="f", missing_trades="w"
    ),
)
_TICKERS: Final = (
    *_columns(
        symbol="t", ts="T", kind="t", last_price=_N, open=_N, high=_N, low=_N, volume=_N, quote_volume=_N
    ),
    *_columns(
        recv_ts="T", price_change=_N, price_change_percent=_N, weighted_avg_price=_N, prev_close_price=_N
    ),
    *_columns(last_qty=_N, bid_price=_N, bid_qty=_N, ask_price=_N, ask_qty=_N, open_time="T", close_time="T"),
    *_columns(first_trade_id="w", last_trade_id="w", trades="w"),
)
_AVERAGES: Final = _columns(symbol="t", ts="T", interval="t", avg_price=_N, last_trade_ts="T", recv_ts="T")


def _single(
    name: str, column: str, columns: tuple[tuple[str, Form], ...], *, consecutive: bool = True
) -> Kind:
    statement = f"export_{name}s"
    return Kind(
        name=name,
        statement=statement,
        columns=columns,
        stream=name,
        ids=(column, column),
        is_consecutive=consecutive,
    )


_FIXED: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            _single("trade", "trade_id", _TRADES),
            _single("agg_trade", "agg_trade_id", _AGG_TRADES),
            _single("book_ticker", "update_id", _BOOK_TICKERS, consecutive=False),
            Kind(
                name="depth",
                statement="export_depth_deltas",
                columns=_DELTAS,
                stream="depth",
                ids=("first_update_id", "final_update_id"),
                is_consecutive=True,
            ),
            Kind(
                name="depth_snapshot",
                statement="export_depth_snapshots",
                columns=_SNAPSHOTS,
                stream="depth",
                ids=("last_update_id", "last_update_id"),
            ),
            *(
                Kind(name=name, statement="export_tickers", columns=_TICKERS, stream=name, argument=name)
                for name in ("mini_ticker", "ticker")
            ),
            Kind(name="avg_price", statement="export_avg_prices", columns=_AVERAGES, stream="avg_price"),
            *(
                Kind(
                    name=f"candles_{length}",
                    statement=f"export_candles_{length}",
                    columns=_CANDLES,
                    stream="trade",
                    time="open_time",
                )
                for length in ("1s", "1m", "1h", "1d")
            ),
        )
    }
)
_KLINE: Final = "kline_"
INTERVALS: Final = tuple("1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M".split())
NAMES: Final = (*_FIXED, *(f"{_KLINE}{interval}" for interval in INTERVALS))


def kind_of(name: str) -> Kind:
    """The kind of this name; KeyError when there is none."""
    if name in NAMES and name.startswith(_KLINE):
        interval = name.removeprefix(_KLINE)
        return Kind(
            name=name,
            statement="export_klines",
            columns=_KLINES,
            stream=name,
            argument=interval,
            time="open_time",
        )
    return _FIXED[name]
