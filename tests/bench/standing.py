"""What the market of a strip says of itself by REST after so many frames: books, best prices, newest ids.

Pure. A book is what its first snapshot and all deltas since have made of it; as a lap repeats the levels of
the lap before, the deltas of one lap at most are applied, however many there were.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

import numpy as np
import orjson

from tests.bench.laps import Strip

_DAY_S: Final = 86_400
_SUFFIX: Final = {"trade": "trade", "quote": "bookTicker", "depth": "depth@100ms"}

Level = tuple[str, str]
"""Price and quantity as printed."""


class Snapshot(TypedDict):
    """The answer of `depth`."""

    lastUpdateId: int
    bids: list[Level]
    asks: list[Level]


class _Book:
    """Sides by price, as both are printed, after `applied` deltas."""

    def __init__(self, first: Snapshot) -> None:
        self.sides = [dict(levels) for levels in (first["bids"], first["asks"])]
        self.applied = 0

    def apply(self, data: Mapping[str, Sequence[Level]]) -> None:
        for side, name in zip(self.sides, "ba", strict=True):
            for price, qty in data[name]:
                if qty.strip("0") == ".":
                    side.pop(price, None)
                else:
                    side[price] = qty

    def cut(self, limit: int) -> tuple[list[Level], list[Level]]:
        """The best bids and asks, best first."""
        bids, asks = (sorted(side.items(), key=_by_price) for side in self.sides)
        return bids[::-1][:limit], asks[:limit]


def _by_price(level: Level) -> int:
    return int(level[0].replace(".", ""))  # always eight places


class Standing:
    """`snapshots` are the books before the strip's first frame, by symbol; it must have their deltas."""

    def __init__(self, strip: Strip, snapshots: Mapping[str, Snapshot]) -> None:
        self._strip = strip
        self._first = snapshots
        self._books = {symbol: _Book(snapshot) for symbol, snapshot in snapshots.items()}

    def depth(self, symbol: str, number: int, *, limit: int) -> Snapshot:
        """The book before frame `number`; `number` never falls. KeyError for an unknown symbol."""
        name, book = _stream(symbol, "depth"), self._books[symbol]
        frames = self._strip.frames_of(name)
        if not len(frames):
            return self._first[symbol]
        happened = self._strip.happened(name, number)
        for turn in range(max(book.applied, happened - len(frames)), happened):
            book.apply(self._data(frames[turn % len(frames)]))
        book.applied = happened
        bids, asks = book.cut(limit)
        return {"lastUpdateId": self._strip.last_id_at(name, number), "bids": bids, "asks": asks}

    def best_prices(self, symbol: str, number: int) -> dict[str, str]:
        """A row of `ticker/bookTicker`, as the newest book ticker says; from the book where there is none."""
        name = _stream(symbol, "quote")
        frames, happened = self._strip.frames_of(name), self._strip.happened(name, number)
        if happened:
            data = self._data(frames[(happened - 1) % len(frames)])
            best = [data[field] for field in ("b", "B", "a", "A")]
        else:
            book = self.depth(symbol, number, limit=1)
            best = [*book["bids"][0], *book["asks"][0]]
        fields = ("bidPrice", "bidQty", "askPrice", "askQty")
        return {"symbol": symbol} | dict(zip(fields, best, strict=True))

    def day_stats(self, symbol: str, number: int, *, rate: float) -> dict[str, object]:
        """A row of `ticker/24hr`, as if the whole day had gone at this rate."""
        name = _stream(symbol, "trade")
        frames = len(self._strip.frames_of(name))
        last_id = self._strip.last_id_at(name, number) if frames else -1
        count = int(frames / len(self._strip) * rate * _DAY_S)
        volume = f"{count}.00000000"
        return {"symbol": symbol, "count": count, "lastId": last_id, "quoteVolume": volume}

    def _data(self, frame: np.int64) -> dict[str, Any]:
        raw = self._strip.frames[frame]
        data: dict[str, Any] = orjson.loads(raw[raw.index(b'{"stream"') :])["data"]
        return data


def _stream(symbol: str, what: str) -> str:
    return f"{symbol.lower()}@{_SUFFIX[what]}"
