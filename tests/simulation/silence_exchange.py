"""The exchange, the shards and the boards of a simulated day, as far as the judges of silence can see.

`Line` is one stream: what is published, what arrives, which mute stretches hide some of it, and whether
an order about it was right. `Rest` answers as REST does, after 0.1 to 0.5 s: it may tell of what the
stream brings in the next tick only, one in two hundred answers about trades is from a cache of up to a
minute, and one quote in fifty looks like the last but one. Nothing here knows how silence is judged.
"""

import asyncio
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from ingest.binance import limits
from ingest.binance.parse import BestPrices, DayStats
from ingest.clock import Clock
from ingest.events import DepthSnapshot, StreamKey
from ingest.supervisor.watched import Reading
from ingest.supervisor.witness import NO_ID, Sight
from tests.simulation.silence_market import STANDSTILL_AT_S, STANDSTILL_S, Timeline

_FIRST_ID = 1_000_000
"""Ids begin at some number, not at zero: a symbol has traded before the day begins."""
_CACHED_SHARE = 0.005
SLACK_S = 70
"""A fault must be noticed this long after it could be: one answer may be misleading, the next is not."""
_NEVER = 1 << 60


@dataclass(slots=True)
class Fault:
    """One stream mute from `start` up to `end`, or until it is repaired."""

    start: int
    end: int
    is_stubborn: bool = False
    """Only another connection heals it."""
    per_s: float = 0.0
    kind: str = ""
    first_missed: int | None = None
    """The tick of the first message that did not come."""
    due: int | None = None
    """When it could first be known: something was missed, and the threshold had passed."""
    noticed: int | None = None
    ended: int = 0
    """When it would have ended by itself, or was ended by a repair of its feed before it was noticed."""

    @property
    def must_be_noticed(self) -> bool:
        return self.due is not None and self.ended > self.due + SLACK_S + self._blind_s(self.due)

    def _blind_s(self, since: int) -> int:
        """Seconds in which nobody could know: a book ticker's, while the whole exchange stands still.

        It carries no ids. What it missed before shows in nothing but the next change of prices, and in a
        standstill there is none; a trade stream's last id is told by REST at any time.
        """
        if self.kind != "book_ticker":
            return 0
        stood = min(self.ended, STANDSTILL_AT_S + STANDSTILL_S) - max(since, STANDSTILL_AT_S)
        return max(0, stood)


class Line:
    """One stream from the exchange to its board."""

    def __init__(
        self, key: StreamKey, place: tuple[int, int], published: Timeline, faults: Sequence[Fault]
    ) -> None:
        self.key, self.published, self.faults = key, published, list(faults)
        self.shard, self.feed = place
        self.news = 0
        self.moved = 0
        """The newest tick in which something arrived."""
        self.mended = 0
        """The newest tick in which a repair made the stream whole."""
        self.asked_for = -1
        """The newest tick in which a repair of it was ordered."""
        self._position = NO_ID
        self._epoch = (1, 0)
        self._run_start = self._run_end = 0
        self._at = 0
        self.reading = self._read()

    def advance(self, tick: int) -> bool | None:
        """True when something arrives in the tick, False when a fault hides it, None when nothing is said."""
        if tick >= self._run_end:
            self._next_run(tick)
        if tick < self._run_start:
            return None
        if self._at < len(self.faults) and self.fault(tick) is not None:
            return False
        per_tick = self.published.per_tick
        self.news += per_tick
        # As the timeline would count it, which is dearer.
        goes_on = self.moved == tick - 1 and self._position != NO_ID
        self._position = self._position + per_tick if goes_on else self.published.count(tick)
        self.moved = tick
        self.reading = self._read()
        return True

    def next_tick(self, tick: int) -> int:
        """When something is published after `tick`."""
        if tick + 1 >= self._run_end:
            self._next_run(tick + 1)
            return self._run_start
        return tick + 1

    def fault(self, tick: int) -> Fault | None:
        """The fault that makes the stream mute in the tick."""
        while self._at < len(self.faults) and self.faults[self._at].end <= tick:
            self._at += 1
        if self._at == len(self.faults) or tick < self.faults[self._at].start:
            return None
        return self.faults[self._at]

    def hidden_by(self, tick: int) -> Fault | None:
        """The fault that has kept a message from us since the newest one that arrived, or the repair."""
        since = max(self.moved, self.mended) + 1
        for fault in self.faults[: self._at + 1]:
            first, last = max(since, fault.start), min(fault.end - 1, tick)
            if first <= last and self.published.count(last) > self.published.count(first - 1):
                return fault
        return None

    def broke(self) -> None:
        """The shard marks the stream: whatever comes next may follow a hole."""
        self._epoch = (1, self._epoch[1] + 1)
        self.reading = self._read()

    def subscribe_anew(self, tick: int, *, is_new_feed: bool) -> None:
        """An order about the stream is carried out; a resubscription marks it only now."""
        if not is_new_feed:
            self.broke()
        self.heal(tick, is_new_feed=is_new_feed)
        if self.fault(tick) is None:
            self.mended = tick

    def heal(self, tick: int, *, is_new_feed: bool) -> None:
        """End the fault under way, if this is what ends it."""
        fault = self.fault(tick)
        if fault is not None and (is_new_feed or not fault.is_stubborn):
            fault.end = tick
            if fault.noticed is None:
                fault.ended = tick

    def sight(self, now_s: float) -> Sight:
        last_id = NO_ID if self._position == NO_ID else _FIRST_ID + self._position
        return Sight(now_s, self.news, float(self.moved), last_id)

    def _next_run(self, tick: int) -> None:
        self._run_start, self._run_end = self.published.run_from(tick) or (_NEVER, _NEVER)

    def _read(self) -> Reading:
        return Reading(self.shard, self.feed, self.news, self._epoch, True)


class Rest:
    """REST, with the weight of each minute; answers of the whole market are in `trades` and `quotes`."""

    def __init__(
        self,
        trades: Mapping[str, Timeline],
        quotes: Mapping[str, Timeline],
        *,
        clock: Clock,
        seconds: int,
        rng: Random,
    ) -> None:
        self.weights = array("l", bytes(8 * (seconds // 60 + 1)))
        self.questions = 0
        self._trades, self._quotes = trades, quotes
        self._clock, self._rng = clock, rng

    def banned_for_s(self) -> float:
        """Never."""
        return 0.0

    async def server_time_ms(self) -> int:
        await self._pay(1)
        return self._clock.wall_ns() // 1_000_000

    async def day_stats(self, symbols: Sequence[str] | None = None) -> list[DayStats]:
        self.questions += 1
        await self._pay(limits.day_ticker_weight(len(symbols) if symbols is not None else limits.ALL_SYMBOLS))
        tick, draw = int(self._clock.monotonic_s()), self._rng.randint
        cached = self._rng.random() < _CACHED_SHARE
        age = draw(2, 60) if cached else 0
        return [
            _day_stats(symbol, self._trades[symbol].count(tick - age if cached else tick + draw(0, 1)))
            for symbol in (self._trades if symbols is None else symbols)
        ]

    async def book_tickers(self, symbols: Sequence[str] | None = None) -> list[BestPrices]:
        await self._pay(
            limits.book_ticker_weight(len(symbols) if symbols is not None else limits.ALL_SYMBOLS)
        )
        tick, draw = int(self._clock.monotonic_s()), self._rng.randint
        return [
            _best_prices(symbol, self._quotes[symbol].count(tick + draw(0, 1)))
            for symbol in (self._quotes if symbols is None else symbols)
        ]

    async def depth(self, symbol: str, limit: int) -> DepthSnapshot:
        raise AssertionError(f"nobody watches the depth of {symbol}")

    async def _pay(self, weight: int) -> None:
        self.weights[int(self._clock.monotonic_s()) // 60] += weight
        await asyncio.sleep(self._rng.uniform(0.1, 0.5))


def _best_prices(symbol: str, count: int) -> BestPrices:
    shown = count if count % 50 else count - 2
    return BestPrices(symbol, f"{shown}.10", "1.0", f"{shown}.20", "2.0")


def _day_stats(symbol: str, count: int) -> DayStats:
    return DayStats(symbol, count, _FIRST_ID + count, "1.0")
