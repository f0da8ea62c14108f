"""Days of many symbols, made by repeating the recorded session; deterministic by seed.

Decides which events there are: nothing here writes them. Trades and book tickers of every symbol fill all
the days: the session is repeated end to end and stretched in time so that a symbol has its share of the
rows, which falls with its number. Depth is as dense as it was recorded, for the first few symbols, in the
last part of each day, with the snapshots that the service would store.

Repeats differ: each symbol has a price level of its own that walks from hour to hour. Sequences of prices,
quantities, sides, levels and delays between exchange and receiver are the recorded ones. Ids go on from
repeat to repeat. A few short runs of trades are missing, and known (`holes`).
"""

import functools
import heapq
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from ingest.events import BookTicker, DepthDelta, DepthSnapshot, Trade
from ingest.sim.decimals import UNIT, printed
from tests.bench.mix import symbol_names
from tests.bench.session import RecordedBook, Side, recorded_session

TRADE_SHARE: Final = 0.70
DELTA_SHARE: Final = 0.06
DEPTH_SYMBOLS: Final = 5
_HOLES_A_DAY: Final = 2
_TRIES_A_DAY: Final = 40
_LONGEST_HOLE: Final = 40
_DAY_US: Final = 86_400_000_000
_HOUR_US: Final = 3_600_000_000
_MINUTE_US: Final = 60_000_000
_SHORTEST_US: Final = 1_000_000
_LARGEST_SHIFT: Final = 40_000 * UNIT
_LARGEST_STEP_CENTS: Final = 5_000
_CENT: Final = UNIT // 100


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much there shall be: at least `rows`, snapshots and candles not counted."""

    rows: int
    first_day: datetime
    symbols: int = 50
    days: int = 3
    seed: int = 1

    @property
    def end(self) -> datetime:
        """The moment after the last row."""
        return self.first_day + timedelta(days=self.days)

    @property
    def newest_day(self) -> datetime:
        """Midnight at which the newest day begins."""
        return self.end - timedelta(days=1)

    @property
    def depth_symbols(self) -> int:
        return min(DEPTH_SYMBOLS, self.symbols)

    def names(self) -> list[str]:
        return symbol_names(self.symbols)

    def weights(self) -> list[float]:
        """Share of each symbol in the trades and book tickers."""
        shares = [1 / (number + 2) for number in range(self.symbols)]
        return [share / sum(shares) for share in shares]

    @property
    def deltas_a_window(self) -> int:
        """Depth deltas of one symbol on one day; a day holds no more at the recorded density."""
        session = recorded_session()
        wanted = round(self.rows * DELTA_SHARE / self.depth_symbols / self.days)
        return min(max(wanted, 10), _DAY_US * len(session.deltas) // session.length_us)

    @property
    def depth_window(self) -> timedelta:
        """The last part of each day, in which there is depth."""
        session = recorded_session()
        return timedelta(microseconds=self.deltas_a_window * session.length_us // len(session.deltas))


class Hole(NamedTuple):
    """Trades that are missing, bounds inclusive; the times of the rows before and after, in one minute."""

    first_id: int
    last_id: int
    start_us: int
    end_us: int

    def touches(self, other: "Hole") -> bool:
        """Whether no stored row lies between the two."""
        return self.first_id - 1 <= other.last_id + 1 and other.first_id - 1 <= self.last_id + 1


class Replay:
    """All events of one symbol after another; the same extent makes the same ones."""

    def __init__(self, extent: Extent) -> None:
        self._extent = extent
        self._session = recorded_session()
        self._names = extent.names()
        self._start_us = _us(extent.first_day)
        self._span_us = extent.days * _DAY_US

    # ------------------------------------------------------------------ trades

    def trades(self, number: int) -> Iterator[Trade]:
        """In the order of their ids, which are consecutive but for the holes."""
        missing = {i for hole in self.holes(number) for i in range(hole.first_id, hole.last_id + 1)}
        name, recorded = self._names[number], self._session.trades
        trade_id = self._first_id(number)
        for repeat in self._trade_playing(number).repeats():
            text = self._prices(number, repeat.begin_us, (trade.price for trade in recorded))
            for place in repeat.places:
                offset_us, delay_us, price, qty, buyer_is_maker = recorded[place]
                ts_us = _whole_ms(repeat.at_us(offset_us))
                if trade_id not in missing:
                    recv_ns = (ts_us + delay_us) * 1_000
                    yield Trade(name, trade_id, ts_us, text[price], qty, buyer_is_maker, recv_ns)
                trade_id += 1

    def holes(self, number: int) -> list[Hole]:
        """Ascending, apart from each other, none at an end. There may be none where trades are rare."""
        rng, playing = self._rng("holes", number), self._trade_playing(number)
        first_id, found = self._first_id(number), list[Hole]()
        for _ in range(_TRIES_A_DAY * self._extent.days):
            begin = rng.randrange(1, playing.number_of)
            after = begin + rng.randint(1, _LONGEST_HOLE)
            if after >= playing.number_of:
                continue
            start_us, end_us = (_whole_ms(playing.at_us(index)) for index in (begin - 1, after))
            hole = Hole(first_id + begin, first_id + after - 1, start_us, end_us)
            if start_us // _MINUTE_US == end_us // _MINUTE_US and not any(map(hole.touches, found)):
                found.append(hole)
        return sorted(found[: _HOLES_A_DAY * self._extent.days])

    def _trade_playing(self, number: int) -> "_Playing":
        return self._playing(number, [trade.offset_us for trade in self._session.trades], TRADE_SHARE)

    # ------------------------------------------------------------------ book tickers

    def book_tickers(self, number: int) -> Iterator[BookTicker]:
        """In the order of their update ids."""
        name, recorded = self._names[number], self._session.tickers
        base_id = self._first_id(number)
        share = 1 - TRADE_SHARE - DELTA_SHARE
        for repeat in self._playing(number, [ticker.offset_us for ticker in recorded], share).repeats():
            prices = itertools.chain.from_iterable((t.bid_price, t.ask_price) for t in recorded)
            text = self._prices(number, repeat.begin_us, prices)
            repeat_id = base_id + repeat.number * self._session.updates
            for place in repeat.places:
                offset_us, update, bid, bid_qty, ask, ask_qty = recorded[place]
                ts_us = repeat.at_us(offset_us)
                sides = (text[bid], bid_qty, text[ask], ask_qty)
                yield BookTicker(name, repeat_id + update, ts_us, *sides, ts_us * 1_000)

    # ------------------------------------------------------------------ depth

    def depth_deltas(self, number: int) -> Iterator[DepthDelta]:
        """In the order of their ids; nothing for a symbol without depth."""
        for event in self._depth(number):
            if isinstance(event, DepthDelta):
                yield event

    def depth_snapshots(self, number: int) -> Iterator[DepthSnapshot]:
        """One at the beginning of each repeat, and as often as the service would."""
        for event in self._depth(number, only_snapshots=True):
            if isinstance(event, DepthSnapshot):
                yield event

    def _depth(self, number: int, *, only_snapshots: bool = False) -> Iterator[DepthDelta | DepthSnapshot]:
        if number >= self._extent.depth_symbols:
            return
        name, recorded = self._names[number], self._session.deltas
        base_id = self._first_id(number)
        for repeat in self._depth_repeats():
            text = self._prices(number, repeat.begin_us, _depth_prices())
            repeat_id = base_id + repeat.number * self._session.updates
            for place in repeat.places:
                offset_us, delay_us, first, final, bids, asks, book = recorded[place]
                ts_us = _whole_ms(repeat.at_us(offset_us))
                if book is not None:
                    yield _snapshot(name, repeat_id, ts_us - 1_000, book, text)
                if not only_snapshots:
                    sides = (_levels(bids, text), _levels(asks, text))
                    ids = (repeat_id + first, repeat_id + final)
                    yield DepthDelta(name, *ids, ts_us, *sides, (ts_us + delay_us) * 1_000)

    def _depth_repeats(self) -> Iterator["_Repeat"]:
        """The session unstretched, as often as it takes, up to the end of each day."""
        length_us, size = self._session.length_us, len(self._session.deltas)
        count, number = self._extent.deltas_a_window, 0
        for day in range(self._extent.days):
            day_end_us = self._start_us + (day + 1) * _DAY_US
            begin_us = float(day_end_us - count * length_us // size)
            for done in range(0, count, size):
                yield _Repeat(number, range(min(size, count - done)), begin_us, 1.0)
                begin_us += length_us
                number += 1

    # ------------------------------------------------------------------ repeats

    def _playing(self, number: int, offsets: Sequence[int], share: float) -> "_Playing":
        """From a chance place in the session on, stretched so that the last event is close to the end."""
        rng = self._rng("phase", number)
        size, length_us = len(offsets), self._session.length_us
        count = 2 + round(self._extent.rows * share * self._extent.weights()[number])
        phase = repeats = last = played_us = 0
        while played_us < _SHORTEST_US:  # a few trades may all be of one moment
            phase = rng.randrange(size)
            repeats, last = divmod(phase + count - 1, size)
            played_us = repeats * length_us + offsets[last] - offsets[phase]
        stretch = (self._span_us - rng.randrange(1, 5_000_000)) / played_us
        begin_us = self._start_us - offsets[phase] * stretch
        return _Playing(offsets, count, phase, begin_us, stretch, length_us * stretch)

    def _prices(self, number: int, at_us: float, prices: Iterable[int]) -> dict[int, str]:
        """What each recorded price is called in a repeat that begins at a moment."""
        hour = max(0, int(at_us - self._start_us) // _HOUR_US)
        rng = self._rng("level", number)
        shift = rng.randrange(_LARGEST_SHIFT // 2, _LARGEST_SHIFT, _CENT)
        for _ in range(hour):
            shift += rng.randint(-_LARGEST_STEP_CENTS, _LARGEST_STEP_CENTS) * _CENT
        return {price: printed(price + shift).decode() for price in set(prices)}

    def _first_id(self, number: int) -> int:
        return self._rng("ids", number).randrange(10**8, 4 * 10**9)

    def _rng(self, purpose: str, number: int) -> random.Random:
        return random.Random(f"{self._extent.seed} {purpose} {number}")


@dataclass(frozen=True, slots=True)
class _Repeat:
    """One playing of the session, or of the part `places` of it."""

    number: int
    places: range
    begin_us: float
    stretch: float

    def at_us(self, offset_us: int) -> int:
        return int(self.begin_us + offset_us * self.stretch)


class _Playing(NamedTuple):
    """`number_of` events of one kind: the session end to end, from the place `phase` on."""

    offsets: Sequence[int]
    number_of: int
    phase: int
    begin_us: float
    """Of the first session, of which only the part from `phase` on is played."""
    stretch: float
    length_us: float

    def repeats(self) -> Iterator[_Repeat]:
        size = len(self.offsets)
        end = self.phase + self.number_of
        for number, first in enumerate(range(0, end, size)):
            places = range(self.phase if number == 0 else 0, min(size, end - first))
            yield self._repeat(number, places)

    def at_us(self, index: int) -> int:
        """When the event with this index, from 0 on, happens."""
        number, place = divmod(self.phase + index, len(self.offsets))
        return self._repeat(number, range(0)).at_us(self.offsets[place])

    def _repeat(self, number: int, places: range) -> _Repeat:
        return _Repeat(number, places, self.begin_us + number * self.length_us, self.stretch)


@functools.cache
def _depth_prices() -> frozenset[int]:
    """Every price of a level of the session."""
    sides: list[Side] = []
    for delta in recorded_session().deltas:
        books = [delta.book_before] if delta.book_before else []
        sides += [delta.bids, delta.asks, *(side for book in books for side in (book.bids, book.asks))]
    return frozenset(price for side in sides for price, _ in side)


def _snapshot(
    name: str, repeat_id: int, ts_us: int, book: RecordedBook, text: Mapping[int, str]
) -> DepthSnapshot:
    bids, asks = _levels(book.bids, text), _levels(book.asks, text)
    reason = "periodic" if book.update else "sync"
    known = (bids[-1][0], asks[-1][0])
    return DepthSnapshot(name, repeat_id + book.update, ts_us, bids, asks, reason, ts_us * 1_000, *known)


def _levels(side: Side, text: Mapping[int, str]) -> list[tuple[str, str]]:
    return [(text[price], qty) for price, qty in side]


def _whole_ms(us: int) -> int:
    """The exchange tells milliseconds."""
    return us // 1_000 * 1_000


def _us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def merged(streams: Iterable[Iterator[tuple[int, bytes]]], *, size: int) -> Iterator[list[bytes]]:
    """Encoded rows of many symbols with their moments, in batches in about the order of arrival."""
    # A session's messages arrive almost in the order of their times; so do the rows of a running service.
    in_order = heapq.merge(*streams)
    while batch := [row for _, row in itertools.islice(in_order, size)]:
        yield batch
