"""How each table is to be kept: span of its chunks, when they go to the columnstore, when they are dropped.

Decides what the configuration leaves open: which columns the columnstore is parted and ordered by, and
what is not compressed as early as the rest. Pure; carried out by `store.arrange` and `store.retention`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from ingest.store.capability import Asked

OPEN_CANDLES: Final = timedelta(days=40)
"""Candles younger than this stay rows: the longest, of a month, is written again and again while it is open.

Measured with 2.2 million candles of 50 symbols (TimescaleDB 2.29.2): 342 MB as rows, 53 MB by columns.
2,000 repaired ones into converted chunks took 68 ms where they were of 2 symbols and 243 ms where they were
of 50, against 18 ms among rows. A repair can bear that; a stream of last-write-wins must not.
"""


class _Layout(NamedTuple):
    """What the configuration calls the table, and how the columnstore lays it out.

    One symbol is what queries ask for, the newest rows first; `ts DESC` costs 5 to 12 % in size and makes
    the newest row of a converted chunk some 70 times cheaper to find.
    """

    kind: str
    ts_column: str
    segment_by: str
    order_by: str


_LAYOUTS: Final[Mapping[str, _Layout]] = MappingProxyType(
    {
        "spot_raw.trades": _Layout("trade", "ts", "symbol_id", "ts DESC, trade_id DESC"),
        "spot_raw.agg_trades": _Layout("agg_trade", "ts", "symbol_id", "ts DESC, agg_trade_id DESC"),
        "spot_raw.book_tickers": _Layout("book_ticker", "ts", "symbol_id", "ts DESC, update_id DESC"),
        "spot_raw.depth_deltas": _Layout("depth", "ts", "symbol_id", "ts DESC, final_update_id DESC"),
        "spot_raw.depth_snapshots": _Layout("depth", "ts", "symbol_id", "ts DESC, last_update_id DESC"),
        "spot_raw.klines": _Layout("kline", "open_time", "symbol_id, interval", "open_time DESC"),
        "spot_raw.tickers": _Layout("ticker", "ts", "symbol_id, kind", "ts DESC"),
        "spot_raw.avg_prices": _Layout("avg_price", "ts", "symbol_id, interval", "ts DESC"),
    }
)
_CANDLES: Final[Mapping[str, str]] = MappingProxyType(
    {f"spot_raw.candles_{span}": f"candle_{span}" for span in ("1s", "1m", "1h", "1d")}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan:
    """One table; `compress_after` and `keep` None: never."""

    relation: str
    ts_column: str
    chunk: timedelta
    segment_by: str
    order_by: str
    compress_after: timedelta | None
    keep: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragePlan:
    """`candles` maps relations to how long they are kept; None: for ever."""

    timescale: "Asked"
    tables: tuple[TablePlan, ...]
    candles: Mapping[str, timedelta | None]
    candle_window: timedelta
    """How far back candles are made anew, where the server does it by itself."""

    def keep_of(self, relation: str) -> timedelta | None:
        """How long rows of a relation are kept; None: for ever, as all that the plan does not name."""
        by_name = {table.relation: table.keep for table in self.tables}
        return by_name.get(relation, self.candles.get(relation))


def make_plan(
    *,
    timescale: "Asked" = "auto",
    chunk_hours: Mapping[str, float],
    keep_days: Mapping[str, float],
    compress_after_s: float,
    candle_window_days: float = 3.0,
) -> StoragePlan:
    """Put the configuration together; the mappings are by kind, 0 stands for never."""
    tables = tuple(
        TablePlan(
            relation=relation,
            ts_column=layout.ts_column,
            chunk=timedelta(hours=chunk_hours[layout.kind]),
            segment_by=layout.segment_by,
            order_by=layout.order_by,
            compress_after=_compressed(layout.kind, compress_after_s),
            keep=_kept(keep_days[layout.kind]),
        )
        for relation, layout in _LAYOUTS.items()
    )
    candles = {relation: _kept(keep_days[kind]) for relation, kind in _CANDLES.items()}
    return StoragePlan(
        timescale=timescale,
        tables=tables,
        candles=MappingProxyType(candles),
        candle_window=timedelta(days=candle_window_days),
    )


def _compressed(kind: str, after_s: float) -> timedelta | None:
    if not after_s:
        return None
    after = timedelta(seconds=after_s)
    return max(after, OPEN_CANDLES) if kind == "kline" else after


def _kept(days: float) -> timedelta | None:
    return timedelta(days=days) if days else None
