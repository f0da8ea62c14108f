"""The traffic of the benchmark: seeded frames that look like the exchange's, and the books under them.

Pure. What they copy of the recorded spot BTCUSDT session of 2024-08-08: the next book ticker of a symbol
differs in one quantity (91 %), else in one price and its quantity; six trades of ten repeat the price
before; half of the levels in a depth delta are removals and most prices come back. Levels a delta are
the issue's about 20 (that session has a median of 22 and a mean of 46). Symbols are unequally busy, the
n-th in proportion to 1 / (n + 10).

Invariants: ids never repeat; trades and depth deltas continue without a hole; a book never crosses.
"""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.bench.standing import Snapshot

MIX: Final[Mapping[str, int]] = {"trade": 27, "book_ticker": 60, "depth": 13}
"""Shares of the kinds in percent: the realistic mix."""

FOUR_KINDS: Final[Mapping[str, int]] = {"trade": 25, "agg_trade": 4, "book_ticker": 58, "depth": 13}
"""Nearly the same with a fourth stream for each symbol."""

SNAPSHOT_LEVELS: Final = 100
_SUFFIXES: Final = {
    "trade": "trade",
    "agg_trade": "aggTrade",
    "book_ticker": "bookTicker",
    "depth": "depth@100ms",
}
_UNIT: Final = 10**8
_LEVELS_A_SIDE: Final = 10.0
_REACH_TICKS: Final = 400
_REMOVED: Final = 0.48
_NEW_PRICE: Final = 0.09
_NEW_TRADE_PRICE: Final = 0.38
_MESSAGES_A_MS: Final = 100


class Frame(NamedTuple):
    """One text frame of a combined connection, and the stream that it is on."""

    stream: str
    payload: bytes


def symbol_names(count: int) -> list[str]:
    """The symbols of the benchmark."""
    return [f"SYM{number:04d}USDT" for number in range(count)]


def decimal_text(units: int) -> str:
    """An amount in units of 1e-8 as the exchange prints it."""
    return f"{units // _UNIT}.{units % _UNIT:08d}"


@dataclass
class _Symbol:
    """One symbol's state between its frames; prices in units of 1e-8."""

    name: str
    tick: int
    mid: int
    trade_id: int
    update_id: int
    ticker_id: int
    agg_trade_id: int
    best: list[str] = field(default_factory=list)
    trade_price: str = ""

    def bid(self, ticks: int) -> str:
        return decimal_text(self.mid - ticks * self.tick)

    def ask(self, ticks: int) -> str:
        return decimal_text(self.mid + ticks * self.tick)


class Market:
    """Makes frames one after another; the same seed makes the same ones.

    `ids_from` is added to all ids; from 10^11 on all of them have twelve digits.
    """

    def __init__(self, symbols: Sequence[str], *, seed: int, start_ms: int, ids_from: int = 0) -> None:
        self._ids_from = ids_from
        self._rng = random.Random(seed)
        self._start_ms = start_ms
        self._made = 0
        self._symbols = [self._new_symbol(name) for name in symbols]
        self._weights = list(itertools.accumulate(1 / (n + 10) for n in range(len(symbols))))
        self._makers = {
            "trade": self._trade,
            "agg_trade": self._agg_trade,
            "book_ticker": self._book_ticker,
            "depth": self._depth,
        }

    def first_of_each(self, kinds: Sequence[str]) -> Iterator[Frame]:
        """One frame of every stream."""
        for symbol in self._symbols:
            for kind in kinds:
                yield self._frame(symbol, kind)

    def snapshots(self) -> dict[str, Snapshot]:
        """The answers of REST `depth` after the frames made so far, by symbol."""
        return {symbol.name: self._snapshot(symbol) for symbol in self._symbols}

    def frames(self, count: int, mix: Mapping[str, int]) -> Iterator[Frame]:
        """The next frames, their kinds in the proportions of `mix`."""
        kinds = self._rng.choices(list(mix), list(mix.values()), k=count)
        symbols = self._rng.choices(self._symbols, cum_weights=self._weights, k=count)
        for kind, symbol in zip(kinds, symbols, strict=True):
            yield self._frame(symbol, kind)

    def _frame(self, symbol: _Symbol, kind: str) -> Frame:
        self._made += 1
        stream = f"{symbol.name.lower()}@{_SUFFIXES[kind]}"
        data = self._makers[kind](symbol, self._start_ms + self._made // _MESSAGES_A_MS)
        return Frame(stream, f'{{"stream":"{stream}","data":{{{data}}}}}'.encode())

    def _new_symbol(self, name: str) -> _Symbol:
        rng = self._rng
        tick = 10 ** rng.randint(2, 6)
        ids_from = self._ids_from
        symbol = _Symbol(
            name=name,
            tick=tick,
            mid=tick * rng.randint(10_000, 6_000_000),
            trade_id=ids_from + rng.randint(10**8, 4 * 10**9),
            update_id=ids_from + rng.randint(10**9, 5 * 10**10),
            ticker_id=ids_from + rng.randint(10**9, 5 * 10**10),
            agg_trade_id=ids_from + 10**9,
        )
        symbol.best = [symbol.bid(1), self._qty(), symbol.ask(1), self._qty()]
        symbol.trade_price = symbol.bid(1)
        return symbol

    def _qty(self) -> str:
        # Most quantities are small, and their last places are zeros (the exchange's step size).
        return decimal_text(1_000 * int(10 ** self._rng.uniform(1, 7)))

    def _trade(self, symbol: _Symbol, now_ms: int) -> str:
        symbol.trade_id += 1
        maker = self._traded(symbol)
        return (
            f'"e":"trade","E":{now_ms + 1},"s":"{symbol.name}","t":{symbol.trade_id},'
            f'"p":"{symbol.trade_price}","q":"{self._qty()}","T":{now_ms},"m":{maker},"M":true'
        )

    def _agg_trade(self, symbol: _Symbol, now_ms: int) -> str:
        """Of one trade each: by far the most are."""
        symbol.agg_trade_id += 1
        maker, agg_id = self._traded(symbol), symbol.agg_trade_id
        return (
            f'"e":"aggTrade","E":{now_ms + 1},"s":"{symbol.name}","a":{agg_id},'
            f'"p":"{symbol.trade_price}","q":"{self._qty()}","f":{agg_id},"l":{agg_id},'
            f'"T":{now_ms},"m":{maker},"M":true'
        )

    def _traded(self, symbol: _Symbol) -> str:
        """Let the price move; whether the buyer was the maker."""
        rng = self._rng
        if rng.random() < _NEW_TRADE_PRICE:
            symbol.trade_price = symbol.bid(rng.randint(-20, 20))
        return "true" if rng.random() < 0.5 else "false"

    def _book_ticker(self, symbol: _Symbol, _now_ms: int) -> str:
        rng, best = self._rng, symbol.best
        symbol.ticker_id += rng.randint(1, 3)
        is_ask = rng.random() < 0.5
        best[1 + 2 * is_ask] = self._qty()
        if rng.random() < _NEW_PRICE:
            ticks = rng.randint(1, 20)
            best[2 * is_ask] = symbol.ask(ticks) if is_ask else symbol.bid(ticks)
        return (
            f'"u":{symbol.ticker_id},"s":"{symbol.name}",'
            f'"b":"{best[0]}","B":"{best[1]}","a":"{best[2]}","A":"{best[3]}"'
        )

    def _depth(self, symbol: _Symbol, now_ms: int) -> str:
        first_id = symbol.update_id + 1
        bids = [[symbol.bid(ticks), self._level_qty()] for ticks in self._places()]
        asks = [[symbol.ask(ticks), self._level_qty()] for ticks in self._places()]
        symbol.update_id += max(1, len(bids) + len(asks))
        return (
            f'"e":"depthUpdate","E":{now_ms},"s":"{symbol.name}","U":{first_id},"u":{symbol.update_id},'
            f'"b":{_json(bids)},"a":{_json(asks)}'
        )

    def _places(self) -> list[int]:
        """Distances from the middle, in ticks and ascending, of the levels that change on one side."""
        rng = self._rng
        count = round(rng.expovariate(1 / _LEVELS_A_SIDE))
        # Most changes are near the best price; folding keeps all of them within reach.
        return sorted({1 + int(rng.expovariate(1 / 60)) % _REACH_TICKS for _ in range(count)})

    def _level_qty(self) -> str:
        return "0.00000000" if self._rng.random() < _REMOVED else self._qty()

    def _snapshot(self, symbol: _Symbol) -> Snapshot:
        places = range(1, SNAPSHOT_LEVELS + 1)
        return {
            "lastUpdateId": symbol.update_id,
            "bids": [(symbol.bid(ticks), self._qty()) for ticks in places],
            "asks": [(symbol.ask(ticks), self._qty()) for ticks in places],
        }


def _json(levels: Sequence[Sequence[str]]) -> str:
    return "[" + ",".join([f'["{price}","{qty}"]' for price, qty in levels]) + "]"
