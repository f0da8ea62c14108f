"""What happened at the exchange, delivered or not: the truth that a database can be compared with.

Pure. Per (symbol, kind) three columns: id, time in ms, and a digest, which is `zlib.crc32` of the
event's fields as printed on the wire, joined by `|`:

| kind            | id                  | fields of the digest                                       |
|-----------------|---------------------|------------------------------------------------------------|
| `trade`         | t                   | p q m                                                      |
| `agg_trade`     | a                   | p q f l m                                                  |
| `book_ticker`   | u                   | b B a A                                                    |
| `depth`         | u (100 ms stream)   | U bids asks, a side being `price:qty,price:qty,…`          |
| `depth_1s`      | u (1000 ms stream)  | as `depth`; kept from the first subscription to `@depth`   |
| `kline_<i>`     | k.t in ms           | o h l c v n q V Q; closed candles only                     |
| `mini_ticker`   | E in ms             | c o h l v q                                                |
| `ticker`        | E in ms             | p P w x c Q b B a A o h l v q                              |
| `avg_price`     | E in ms             | w                                                          |

`m` is printed `true` or `false`. The time is E, for a book ticker (which has none) the moment at the
exchange, for a kline the end of the candle. Partial depth and `!miniTicker@arr` are views of the above
and not entered. Invariants: an event enters when it happens, before any fault can touch it; beyond
`limit` events the oldest blocks are dropped and counted.
"""

from array import array
from collections import deque
from typing import NamedTuple
from zlib import crc32

_BLOCK = 2048


class Entry(NamedTuple):
    event_id: int
    ts_ms: int
    digest: int


class _Block:
    __slots__ = ("digests", "ids", "ts_ms")

    def __init__(self) -> None:
        self.ids = array("q")
        self.ts_ms = array("q")
        self.digests = array("I")


class Series:
    """The entries of one symbol and kind, oldest first."""

    __slots__ = ("_blocks", "_ledger", "dropped", "happened", "kind", "last_id", "symbol")

    def __init__(self, ledger: "Ledger", symbol: str, kind: str) -> None:
        self.symbol = symbol
        self.kind = kind
        self.happened = 0
        self.dropped = 0
        self.last_id: int | None = None
        self._ledger = ledger
        self._blocks: deque[_Block] = deque()

    def add(self, event_id: int, ts_ms: int, printed_fields: bytes) -> None:
        """Enter one event; `printed_fields` is what the digest is taken of."""
        if not self._blocks or len(self._blocks[-1].ids) >= _BLOCK:
            self._blocks.append(self._ledger.new_block(self))
        block = self._blocks[-1]
        block.ids.append(event_id)
        block.ts_ms.append(ts_ms)
        block.digests.append(crc32(printed_fields))
        self.happened += 1
        self.last_id = event_id
        self._ledger.kept += 1

    def __len__(self) -> int:
        return self.happened - self.dropped

    def entries(self) -> list[Entry]:
        """All entries that are still kept."""
        rows: list[Entry] = []
        for block in self._blocks:
            rows.extend(map(Entry, block.ids, block.ts_ms, block.digests))
        return rows

    def columns(self) -> dict[str, list[int]]:
        """The same as three lists: `ids`, `ts_ms`, `digests`."""
        ids: list[int] = []
        ts_ms: list[int] = []
        digests: list[int] = []
        for block in self._blocks:
            ids.extend(block.ids)
            ts_ms.extend(block.ts_ms)
            digests.extend(block.digests)
        return {"ids": ids, "ts_ms": ts_ms, "digests": digests}

    def forget_oldest(self) -> int:
        """Drop the oldest block; returns the number of events in it."""
        gone = len(self._blocks.popleft().ids)
        self.dropped += gone
        return gone


class Ledger:
    """All series, bounded together."""

    def __init__(self, limit: int = 4_000_000) -> None:
        self._limit = limit
        self.kept = 0
        self._series: dict[tuple[str, str], Series] = {}
        self._ages: deque[Series] = deque()
        self.dropped = 0

    def series(self, symbol: str, kind: str) -> Series:
        """The series of a symbol and kind; made when there is none."""
        key = (symbol, kind)
        if key not in self._series:
            self._series[key] = Series(self, symbol, kind)
        return self._series[key]

    def entries(self, symbol: str, kind: str) -> list[Entry]:
        """Entries of one series; empty when nothing of that kind happened."""
        series = self._series.get((symbol, kind))
        return series.entries() if series else []

    def all_series(self) -> list[Series]:
        """Every series with at least one event, by symbol and kind."""
        return [self._series[key] for key in sorted(self._series) if self._series[key].happened]

    @property
    def happened(self) -> int:
        return sum(series.happened for series in self._series.values())

    def new_block(self, series: Series) -> _Block:
        """Room for the next events of a series; makes it by dropping the oldest blocks of any."""
        while self._ages and self.kept + _BLOCK > self._limit:
            gone = self._ages.popleft().forget_oldest()
            self.kept -= gone
            self.dropped += gone
        self._ages.append(series)
        return _Block()


def depth_fields(first_update_id: int, bids: bytes, asks: bytes) -> bytes:
    """What the digest of a depth event is taken of, from its printed sides."""
    return b"%d|%b|%b" % (first_update_id, _side(bids), _side(asks))


def _side(levels: bytes) -> bytes:
    """`["1.0","2.0"],["3.0","4.0"]` as `1.0:2.0,3.0:4.0`."""
    return levels[2:-2].replace(b'"],["', b",").replace(b'","', b":")
