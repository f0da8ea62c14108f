"""A seeded market: N symbols with heavy-tailed rates whose streams agree with one another.

Pure: chance is a `random.Random` handed in, time a number; the same seed and the same calls give the
same market. Orders arrive as one Poisson process over all symbols, weighted by activity. An order
either takes (trades, book, book ticker) or quotes at the top (book, book ticker); changes deeper in the
book are drawn when a 100 ms depth window closes. Invariants: a book is never crossed nor empty on a
side; every change of the book has one update id and is in exactly one depth window; a book ticker is
the top of the book at its update id; trade and aggregate ids are consecutive.
"""

import dataclasses
import heapq
import math
from bisect import bisect
from itertools import accumulate
from typing import TYPE_CHECKING

from ingest.sim.book import Book
from ingest.sim.decimals import UNIT
from ingest.sim.happenings import Aggregated, BookChanged, Happening, Listing, TopChanged, Traded
from ingest.sim.names import symbol_names
from ingest.sim.wire import levels

if TYPE_CHECKING:
    from random import Random

WINDOW_US = 100_000
_SLOT_US = 10_000
_TAKE_SHARE = 0.33
"""Share of orders that take; with 1.36 trades each this gives the mix of about 27 % trades, 60 % book
tickers and 13 % depth events that a busy spot market shows."""
_TRADES_PER_ORDER = 0.45


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MarketPlan:
    """What kind of market to make. `rate` counts trade, bookTicker and depth@100ms messages."""

    symbols: int = 50
    rate: float = 1000.0
    seed: int = 1
    named: tuple[str, ...] = ()
    """Exact symbols to make, instead of `symbols` many made-up ones."""
    avoid: frozenset[str] = frozenset()
    non_ascii: int = 0
    """How many of the made-up symbols have a name outside ASCII."""
    levels: int = 200
    deep_changes: int = 14
    """Mean number of changes away from the top in each depth window."""
    tail: float = 1.1
    """Exponent of the activity by rank: the higher, the more the first symbols dominate."""


class MarketSymbol:
    """One symbol: its book, its ids, and the depth window that is open."""

    def __init__(self, listing: Listing, rng: "Random", plan: MarketPlan, *, phase_us: int) -> None:
        self.listing = listing
        self.symbol = listing.symbol
        self.halted = False
        self.phase_us = phase_us
        self.book = Book(rng.randrange(10**6, 10**10))
        self._rng = rng
        self._plan = plan
        self._tick, self._lot = listing.tick, listing.lot
        self._mean_lots = max(int(rng.uniform(50, 500) * UNIT * UNIT / listing.open_price / self._lot), 5)
        self._trade_id = rng.randrange(10**5, 4 * 10**9)
        self._agg_id = self._trade_id * 3 // 4
        self._first_in_window = 0
        self._window_bids: dict[int, int] = {}
        self._window_asks: dict[int, int] = {}
        self._fill()

    def order(self, ts_us: int) -> list[Happening]:
        """One order at the top of the book; empty when it found too little to take."""
        happenings: list[Happening] = []
        before = self.book.update_id
        if self._rng.random() < _TAKE_SHARE:
            self._take(ts_us, happenings)
        else:
            self._quote()
        if self.book.update_id == before:
            return []
        bid, bid_qty = self.book.best_bid()
        ask, ask_qty = self.book.best_ask()
        happenings.append(TopChanged(self.symbol, self.book.update_id, ts_us, bid, bid_qty, ask, ask_qty))
        return happenings

    def has_window(self) -> bool:
        return self._first_in_window != 0

    def close_window(self, event_us: int) -> BookChanged:
        """Draw the deeper changes and close the depth window; only with one open."""
        self._change_deep()
        changed = BookChanged(
            self.symbol,
            self._first_in_window,
            self.book.update_id,
            event_us,
            levels(sorted(self._window_bids.items(), reverse=True)),
            levels(sorted(self._window_asks.items())),
        )
        self._window_bids, self._window_asks, self._first_in_window = {}, {}, 0
        return changed

    def _take(self, ts_us: int, happenings: list[Happening]) -> None:
        """A taker order, which may eat several levels; one aggregate trade for each."""
        buys = self._rng.random() < 0.5
        wanted = self._lots()
        for _ in range(1 if self._rng.random() < 0.9 else 4):
            price, there = self.book.best_ask() if buys else self.book.best_bid()
            prices = self.book.ask_prices if buys else self.book.bid_prices
            if len(prices) < 5:
                return
            filled = min(wanted, there)
            self._fill_at(price, filled, ts_us, buys=buys, happenings=happenings)
            self._set(price, there - filled, bid=not buys)
            wanted -= filled
            if not wanted:
                return

    def _fill_at(self, price: int, qty: int, ts_us: int, *, buys: bool, happenings: list[Happening]) -> None:
        first = self._trade_id + 1
        for part in self._parts(qty):
            self._trade_id += 1
            happenings.append(Traded(self.symbol, self._trade_id, ts_us, ts_us, price, part, not buys))
        self._agg_id += 1
        ids = (first, self._trade_id)
        happenings.append(Aggregated(self.symbol, self._agg_id, ts_us, ts_us, price, qty, *ids, not buys))

    def _parts(self, qty: int) -> list[int]:
        """Split a fill over one to three makers, in whole lots."""
        lots = qty // self._lot
        if lots < 3 or self._rng.random() < 0.8:
            return [qty]
        cut = self._rng.randrange(1, lots) * self._lot
        return [cut, qty - cut]

    def _quote(self) -> None:
        """Improve, cancel or resize the best level of one side."""
        bid = self._rng.random() < 0.5
        price, qty = self.book.best_bid() if bid else self.book.best_ask()
        spread = self.book.ask_prices[0] - self.book.bid_prices[-1]
        chance = self._rng.random()
        if spread > self._tick and chance < 0.5:
            self._set(price + self._tick if bid else price - self._tick, self._qty(), bid=bid)
        elif chance < 0.08 and len(self.book.bid_prices if bid else self.book.ask_prices) > 20:
            self._set(price, 0, bid=bid)
        else:
            self._set(price, self._qty_other_than(qty), bid=bid)

    def _change_deep(self) -> None:
        mean = self._plan.deep_changes
        for _ in range(int(self._rng.expovariate(1 / mean)) if mean else 0):
            self._change_one_deep()
        self._replenish(bid=True)
        self._replenish(bid=False)

    def _change_one_deep(self) -> None:
        random = self._rng.random
        bid = random() < 0.5
        prices = self.book.bid_prices if bid else self.book.ask_prices
        behind = 1 + int(random() ** 2 * (len(prices) - 1))
        near = prices[-1] if bid else prices[0]
        price = near - behind * self._tick if bid else near + behind * self._tick
        removes = random() < 0.3 and len(prices) > self._plan.levels // 2
        if price > 0 and not (removes and price not in (self.book.bids if bid else self.book.asks)):
            self._set(price, 0 if removes else self._qty(), bid=bid)

    def _replenish(self, *, bid: bool) -> None:
        """Keep the number of levels near the plan's: drop far ones, add behind the last."""
        prices = self.book.bid_prices if bid else self.book.ask_prices
        wanted = self._plan.levels
        for _ in range(len(prices) - wanted * 5 // 4):
            self._set(prices[0] if bid else prices[-1], 0, bid=bid)
        for _ in range(min(wanted * 4 // 5 - len(prices), 20)):
            step = self._rng.randrange(1, 4) * self._tick
            price = prices[0] - step if bid else prices[-1] + step
            if price <= 0:
                return
            self._set(price, self._qty(), bid=bid)

    def _set(self, price: int, qty: int, *, bid: bool) -> None:
        """Change one level under the next update id, inside the open window."""
        book = self.book
        book.update_id += 1
        if not self._first_in_window:
            self._first_in_window = book.update_id
        if bid:
            book.set_bid(price, qty)
            self._window_bids[price] = qty
        else:
            book.set_ask(price, qty)
            self._window_asks[price] = qty

    def _lots(self) -> int:
        """A quantity with a heavy tail, in units of 1e-8."""
        return max(int(self._mean_lots * 0.3 * self._rng.paretovariate(1.3)), 1) * self._lot

    def _qty(self) -> int:
        return max(int(self._mean_lots * self._rng.expovariate(0.5)), 1) * self._lot

    def _qty_other_than(self, qty: int) -> int:
        fresh = self._qty()
        return fresh if fresh != qty else fresh + self._lot

    def _fill(self) -> None:
        bid = ask = self.listing.open_price // self._tick * self._tick
        for _ in range(self._plan.levels):
            ask += self._rng.randrange(1, 3) * self._tick
            self.book.set_ask(ask, self._qty())
            if bid > 0:
                self.book.set_bid(bid, self._qty())
            bid -= self._rng.randrange(1, 3) * self._tick


class Market:
    """All symbols of a plan, driven by one clock of random arrivals."""

    applies_deltas = False

    def __init__(self, plan: MarketPlan, rng: "Random") -> None:
        self.plan = plan
        self._rng = rng
        names = plan.named or symbol_names(plan.symbols, plan.avoid, plan.non_ascii)
        self._symbols = [
            MarketSymbol(_listing(name, rng), rng, plan, phase_us=rank * 37 % 10 * _SLOT_US)
            for rank, name in enumerate(names)
        ]
        self._by_name = {symbol.symbol: symbol for symbol in self._symbols}
        self.listings = tuple(symbol.listing for symbol in self._symbols)
        weights = [rng.paretovariate(2.0) / (rank + 1) ** plan.tail for rank in range(len(names))]
        self._cumulative = list(accumulate(weights))
        self._orders_per_us = orders_per_s(weights, plan.rate) / 1e6
        self._windows: list[tuple[int, int]] = []
        self._next_us = 0.0
        self._now_us = 0

    def book(self, symbol: str) -> Book:
        return self._by_name[symbol].book

    def start(self, now_us: int) -> None:
        self._now_us = now_us
        self._next_us = now_us + self._pause_us()

    def advance(self, now_us: int, limit: int) -> list[Happening]:
        happenings: list[Happening] = []
        while len(happenings) < limit:
            due_us = self._windows[0][0] if self._windows else math.inf
            if min(due_us, self._next_us) > now_us:
                self._now_us = now_us
                break
            if due_us <= self._next_us:
                happenings.append(self._close_window())
            else:
                self._order(happenings)
        return happenings

    def skip(self, pause_us: int) -> None:
        self._next_us += pause_us
        self._now_us += pause_us
        self._windows = [(due_us + pause_us, index) for due_us, index in self._windows]

    def halt(self, symbol: str, halted: bool) -> None:
        self._by_name[symbol].halted = halted

    def add(self, name: str) -> Listing:
        """One more symbol, as busy as the middle one; the others keep their rates."""
        symbol = MarketSymbol(_listing(name, self._rng), self._rng, self.plan, phase_us=0)
        former = self._cumulative[-1]
        middle = len(self._cumulative) // 2
        weight = self._cumulative[middle] - (self._cumulative[middle - 1] if middle else 0.0)
        self._symbols.append(symbol)
        self._by_name[name] = symbol
        self._cumulative.append(former + weight)
        self._orders_per_us *= (former + weight) / former
        self.listings = (*self.listings, symbol.listing)
        return symbol.listing

    def flush(self, now_us: int) -> list[Happening]:
        pending = [self._symbols[index] for _, index in sorted(self._windows)]
        self._windows = []
        return [symbol.close_window(now_us) for symbol in pending]

    def settled_us(self) -> int:
        return self._now_us

    def is_over(self) -> bool:
        return False

    def _order(self, happenings: list[Happening]) -> None:
        ts_us = self._now_us = int(self._next_us)
        self._next_us += self._pause_us()
        index = bisect(self._cumulative, self._rng.random() * self._cumulative[-1])
        symbol = self._symbols[min(index, len(self._symbols) - 1)]
        if symbol.halted:
            return
        was_open = symbol.has_window()
        happenings.extend(symbol.order(ts_us))
        if symbol.has_window() and not was_open:
            due_us = ts_us - (ts_us - symbol.phase_us) % WINDOW_US + WINDOW_US
            heapq.heappush(self._windows, (due_us, min(index, len(self._symbols) - 1)))

    def _close_window(self) -> BookChanged:
        due_us, index = heapq.heappop(self._windows)
        self._now_us = due_us
        return self._symbols[index].close_window(due_us)

    def _pause_us(self) -> float:
        return self._rng.expovariate(self._orders_per_us)


def orders_per_s(weights: list[float], rate: float) -> float:
    """Orders a second over all symbols that give `rate` messages a second.

    An order makes one book ticker and 0.45 trades; a symbol makes at most ten depth events a second.
    """
    total = sum(weights)

    def messages(orders: float) -> float:
        depth = sum(10 * (1 - math.exp(-orders * weight / total / 10)) for weight in weights)
        return orders * (1 + _TRADES_PER_ORDER) + depth

    low, high = 0.0, rate
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if messages(middle) < rate else (low, middle)
    return max(high, 1e-6)


def _listing(symbol: str, rng: "Random") -> Listing:
    """Steps such that a price has about five digits and a lot is worth cents."""
    price = int(math.exp(rng.uniform(math.log(0.05), math.log(5000))) * UNIT)
    tick = max(10 ** (len(str(price)) - 5), 1)
    lot = min(max(10 ** (13 - len(str(price))), 10), UNIT)
    quote = next((quote for quote in ("USDT", "USDC", "BTC") if symbol.endswith(quote)), "USDT")
    return Listing(symbol, symbol.removesuffix(quote), quote, tick, lot, price // tick * tick)
