"""The newest trades and aggregate trades of one symbol, for the REST answers.

Pure. Columns of machine numbers, because a busy market makes millions of rows. Ids rise, and may skip
some that the exchange has never had. Bounded: beyond `limit` rows the oldest quarter is dropped; what REST
is asked for before that is answered from the oldest row on.
"""

from array import array
from bisect import bisect_left, bisect_right
from typing import NamedTuple


class TradeRow(NamedTuple):
    trade_id: int
    ts_us: int
    price: int
    qty: int
    buyer_is_maker: bool


class AggRow(NamedTuple):
    agg_trade_id: int
    ts_us: int
    price: int
    qty: int
    first_trade_id: int
    last_trade_id: int
    buyer_is_maker: bool


class Rows:
    """Rows with rising ids in machine-number columns; the first column is the time (us)."""

    __slots__ = ("_columns", "_ids", "_limit")

    def __init__(self, width: int, limit: int) -> None:
        self._ids = array("q")
        self._columns = tuple(array("q") for _ in range(width))
        self._limit = limit

    def __len__(self) -> int:
        return len(self._ids)

    def append(self, row_id: int, *values: int) -> None:
        self._ids.append(row_id)
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        if len(self._ids) > self._limit:
            self._drop(self._limit // 4)

    def at(self, index: int) -> tuple[int, ...]:
        """Id and values of the row at an index."""
        return (self._ids[index], *(column[index] for column in self._columns))

    def index_from_id(self, row_id: int) -> int:
        """Index of the first row whose id is not below `row_id`."""
        return bisect_left(self._ids, row_id)

    def index_from_time(self, ts_us: int) -> int:
        """Index of the first row at or after a time."""
        return bisect_left(self._columns[0], ts_us)

    def index_after_time(self, ts_us: int) -> int:
        """Index of the first row after a time."""
        return bisect_right(self._columns[0], ts_us)

    def _drop(self, rows: int) -> None:
        for column in (self._ids, *self._columns):
            del column[:rows]


class Tape:
    """What was traded, newest last."""

    def __init__(self, limit: int = 200_000) -> None:
        self.trades = Rows(4, limit)
        self.aggs = Rows(6, limit)

    def add_trade(self, row: TradeRow) -> None:
        self.trades.append(row.trade_id, row.ts_us, row.price, row.qty, row.buyer_is_maker)

    def add_agg(self, row: AggRow) -> None:
        self.aggs.append(*row)

    def trade_rows(self, start: int, stop: int) -> list[TradeRow]:
        """Trades at the indexes `start` up to, not including, `stop`."""
        rows = map(self.trades.at, range(max(start, 0), min(stop, len(self.trades))))
        return [TradeRow(i, ts, price, qty, bool(maker)) for i, ts, price, qty, maker in rows]

    def agg_rows(self, start: int, stop: int) -> list[AggRow]:
        """Aggregate trades at the indexes `start` up to, not including, `stop`."""
        rows = map(self.aggs.at, range(max(start, 0), min(stop, len(self.aggs))))
        return [AggRow(i, ts, p, q, f, last, bool(m)) for i, ts, p, q, f, last, m in rows]
