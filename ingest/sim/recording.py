"""A recorded session of one symbol, read from gz files into happenings with their moments.

Files only; no clock. One line is "<receive time, ns> <JSON>"; frames carry the combined wrapper, the
one line without it is the REST depth snapshot. Aggregate trades are not in the recording: consecutive
trades of one side, price and time are one taker order at one price, and are grouped into one.
"""

import functools
import gzip
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import NamedTuple, TypeAlias

import orjson

from ingest.sim.book import Book
from ingest.sim.decimals import units
from ingest.sim.happenings import Aggregated, BookChanged, Happening, Listing, TopChanged, Traded

BUNDLED = ("spot-btcusdt-20240808.gz", "spot-btcusdt-20240809.gz")
_QUOTES = ("USDT", "USDC", "FDUSD", "BTC")

Frame: TypeAlias = dict[str, str]


class Moment(NamedTuple):
    """A happening and when it was received, in microseconds since the first line."""

    offset_us: int
    happening: Happening


class Recording(NamedTuple):
    """A session; the times of its happenings are offsets as well, possibly a little negative."""

    listing: Listing
    first_book: Book
    """The snapshot's levels, labelled with the update id before the first delta."""
    moments: tuple[Moment, ...]
    length_us: int
    longest_delay_us: int
    """At most so long after its trade time a trade was received."""


class RecordingError(ValueError):
    """The files are not a recording of one spot symbol."""


@functools.cache
def bundled_recording() -> Recording:
    """The BTCUSDT session that comes with the package (`recordings/ORIGIN.txt`)."""
    folder = resources.files("ingest.sim") / "recordings"
    return _read([gzip.decompress((folder / name).read_bytes()) for name in BUNDLED])


def load_recording(paths: Iterable[Path]) -> Recording:
    """A session from gz files, in the order of their lines."""
    return _read([gzip.decompress(path.read_bytes()) for path in paths])


def _read(files: list[bytes]) -> Recording:
    lines = [line for text in files for line in text.splitlines() if line]
    if not lines:
        raise RecordingError("the recording is empty")
    reader = _Reader(int(lines[0].partition(b" ")[0]))
    for line in lines:
        recv_ns, _, frame = line.partition(b" ")
        reader.take(int(recv_ns), frame)
    return reader.recording()


class _Reader:
    """Collects moments with the recording's own times, then moves those to offsets."""

    def __init__(self, first_ns: int) -> None:
        self._first_ns = first_ns
        self._last_offset_us = 0
        self._symbol = ""
        self._snapshot: dict[str, list[list[str]]] | None = None
        self._moments: list[Moment] = []
        self._group: list[Traded] = []
        self._group_place = 0
        self._aggs: list[tuple[int, Moment]] = []

    def take(self, recv_ns: int, frame: bytes) -> None:
        offset_us = self._last_offset_us = (recv_ns - self._first_ns) // 1000
        if frame.startswith(b'{"lastUpdateId"'):
            if self._snapshot is None:
                self._snapshot = orjson.loads(frame)
            return
        wrapper = orjson.loads(frame)
        happening = self._happening(wrapper["stream"].partition("@")[2], wrapper["data"], frame)
        self._moments.append(Moment(offset_us, happening))
        if isinstance(happening, Traded):
            self._aggregate(happening)

    def _happening(self, suffix: str, data: Frame, frame: bytes) -> Happening:
        self._symbol = data["s"]
        if suffix == "trade":
            return _traded(data)
        if suffix == "bookTicker":
            return _top(data)
        if suffix == "depth@100ms":
            return _changed(data, frame)
        raise RecordingError(f"a stream that cannot be played: {suffix!r}")

    def _aggregate(self, trade: Traded) -> None:
        if self._group and _same_order(self._group[-1], trade):
            self._group.append(trade)
        else:
            self._close_group()
            self._group = [trade]
        self._group_place = len(self._moments)

    def _close_group(self) -> None:
        if not self._group:
            return
        first, last = self._group[0], self._group[-1]
        agg_id = first.trade_id if not self._aggs else self._aggs[-1][1].happening[1] + 1
        qty = sum(trade.qty for trade in self._group)
        ids = (first.trade_id, last.trade_id)
        times = (last.event_us, last.ts_us)
        agg = Aggregated(last.symbol, agg_id, *times, last.price, qty, *ids, last.buyer_is_maker)
        place = self._group_place
        self._aggs.append((place, Moment(self._moments[place - 1].offset_us, agg)))

    def recording(self) -> Recording:
        self._close_group()
        deltas = [moment.happening for moment in self._moments if isinstance(moment.happening, BookChanged)]
        if self._snapshot is None or not deltas:
            raise RecordingError("a recording needs a depth snapshot and depth deltas")
        moments = self._merged()
        skew_us = min(
            offset_us - happening.event_us
            for offset_us, happening in moments
            if not isinstance(happening, TopChanged)
        )
        shifted = tuple(Moment(m.offset_us, _shifted(m, skew_us)) for m in moments)
        trades = [(o, happening) for o, happening in shifted if isinstance(happening, Traded)]
        return Recording(
            listing=_listing(self._symbol, trades[0][1].price if trades else 0),
            first_book=_first_book(self._snapshot, deltas[0].first_update_id - 1),
            moments=shifted,
            length_us=self._last_offset_us,
            longest_delay_us=max((offset_us - trade.ts_us for offset_us, trade in trades), default=0),
        )

    def _merged(self) -> list[Moment]:
        """The moments with each aggregate right behind its last trade."""
        merged: list[Moment] = []
        start = 0
        for place, agg in self._aggs:
            merged += self._moments[start:place]
            merged.append(agg)
            start = place
        return merged + self._moments[start:]


def _traded(data: Frame) -> Traded:
    times = (int(data["E"]) * 1000, int(data["T"]) * 1000)
    maker = bool(data["m"])
    return Traded(data["s"], int(data["t"]), *times, units(data["p"]), units(data["q"]), maker)


def _top(data: Frame) -> TopChanged:
    bid, ask = (units(data["b"]), units(data["B"])), (units(data["a"]), units(data["A"]))
    return TopChanged(data["s"], int(data["u"]), 0, *bid, *ask)


def _changed(data: Frame, frame: bytes) -> BookChanged:
    """The sides are cut out of the frame as they were printed."""
    bids_at = frame.index(b',"b":[') + 6
    asks_at = frame.index(b'],"a":[', bids_at)
    sides = (frame[bids_at:asks_at], frame[asks_at + 7 : frame.rindex(b"]")])
    return BookChanged(data["s"], int(data["U"]), int(data["u"]), int(data["E"]) * 1000, *sides)


def _same_order(earlier: Traded, later: Traded) -> bool:
    same_time_and_price = earlier.ts_us == later.ts_us and earlier.price == later.price
    return same_time_and_price and earlier.buyer_is_maker == later.buyer_is_maker


def _shifted(moment: Moment, skew_us: int) -> Happening:
    """The happening with its times as offsets, never after its reception."""
    happening = moment.happening
    if isinstance(happening, TopChanged):
        return happening._replace(ts_us=moment.offset_us)
    if isinstance(happening, BookChanged):
        return happening._replace(event_us=happening.event_us + skew_us)
    event_us, ts_us = happening.event_us + skew_us, happening.ts_us + skew_us
    return happening._replace(event_us=event_us, ts_us=ts_us)


def _first_book(snapshot: dict[str, list[list[str]]], update_id: int) -> Book:
    book = Book()
    bids = [(units(price), units(qty)) for price, qty in snapshot["bids"]]
    asks = [(units(price), units(qty)) for price, qty in snapshot["asks"]]
    book.apply(update_id, bids, asks)
    return book


def _listing(symbol: str, price: int) -> Listing:
    quote = next((quote for quote in _QUOTES if symbol.endswith(quote)), "USDT")
    return Listing(symbol, symbol.removesuffix(quote), quote, 10**6, 10**3, price)
