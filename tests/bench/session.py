"""The recorded session of one symbol, taken apart by kind: what `replay` repeats.

Offsets are microseconds since the session's beginning, by the exchange's clock; `delay_us` is what then
passed until the message was received. Prices are whole numbers of 1e-8, because they are shifted;
quantities are the text that the exchange printed.
"""

import functools
from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson

from ingest.sim.book import Book
from ingest.sim.decimals import printed, units
from ingest.sim.happenings import BookChanged, TopChanged, Traded
from ingest.sim.recording import Moment, Recording, bundled_recording

SNAPSHOT_EVERY_US: Final = 300_000_000
"""The service's `snapshot_every_s`."""
_SNAPSHOT_LEVELS: Final = 1_000

Side = Sequence[tuple[int, str]]
"""Levels as (price, quantity as printed)."""


class RecordedTrade(NamedTuple):
    offset_us: int
    delay_us: int
    price: int
    qty: str
    buyer_is_maker: bool


class RecordedTicker(NamedTuple):
    offset_us: int
    update: int
    """Update id, from the session's first one on."""
    bid_price: int
    bid_qty: str
    ask_price: int
    ask_qty: str


class RecordedBook(NamedTuple):
    """The book as it stood after `update`, the best levels of it."""

    update: int
    bids: Side
    asks: Side


class RecordedDelta(NamedTuple):
    offset_us: int
    delay_us: int
    first_update: int
    final_update: int
    bids: Side
    asks: Side
    book_before: RecordedBook | None
    """Where the service would have stored a snapshot: before the first delta, then at its interval."""


class Session(NamedTuple):
    """Each in the order of its offsets; update ids are counted from the book before the first delta."""

    trades: Sequence[RecordedTrade]
    tickers: Sequence[RecordedTicker]
    deltas: Sequence[RecordedDelta]
    length_us: int
    updates: int


@functools.cache
def recorded_session() -> Session:
    """The BTCUSDT session that comes with the package (`ingest/sim/recordings/ORIGIN.txt`)."""
    recording = bundled_recording()
    base_id = recording.first_book.update_id
    deltas = _deltas(recording, base_id)
    tickers = [
        _ticker(moment.happening, base_id)
        for moment in recording.moments
        if isinstance(moment.happening, TopChanged)
    ]
    return Session(
        trades=_trades(recording.moments),
        tickers=tickers,
        deltas=deltas,
        length_us=recording.length_us,
        updates=max(deltas[-1].final_update, tickers[-1].update),
    )


def _trades(moments: Sequence[Moment]) -> list[RecordedTrade]:
    return [
        RecordedTrade(h.ts_us, offset_us - h.ts_us, h.price, printed(h.qty).decode(), h.buyer_is_maker)
        for offset_us, h in moments
        if isinstance(h, Traded)
    ]


def _ticker(top: TopChanged, base_id: int) -> RecordedTicker:
    bid_qty, ask_qty = printed(top.bid_qty).decode(), printed(top.ask_qty).decode()
    return RecordedTicker(top.ts_us, top.update_id - base_id, top.bid, bid_qty, top.ask, ask_qty)


def _deltas(recording: Recording, base_id: int) -> list[RecordedDelta]:
    book, due_us = recording.first_book.copy(), 0
    found = []
    for offset_us, delta in recording.moments:
        if not isinstance(delta, BookChanged):
            continue
        book_before = None
        if offset_us >= due_us:
            book_before, due_us = _book(book, base_id), offset_us + SNAPSHOT_EVERY_US
        bids, asks = _side(delta.bids), _side(delta.asks)
        book.apply(delta.final_update_id, _in_units(bids), _in_units(asks))
        times = (delta.event_us, offset_us - delta.event_us)
        ids = (delta.first_update_id - base_id, delta.final_update_id - base_id)
        found.append(RecordedDelta(*times, *ids, bids, asks, book_before))
    return found


def _book(book: Book, base_id: int) -> RecordedBook:
    bids = [(price, printed(qty).decode()) for price, qty in book.top_bids(_SNAPSHOT_LEVELS)]
    asks = [(price, printed(qty).decode()) for price, qty in book.top_asks(_SNAPSHOT_LEVELS)]
    return RecordedBook(book.update_id - base_id, bids, asks)


def _side(levels: bytes) -> list[tuple[int, str]]:
    return [(units(price), qty) for price, qty in orjson.loads(b"[%b]" % levels)]


def _in_units(side: Side) -> list[tuple[int, int]]:
    return [(price, units(qty)) for price, qty in side]
