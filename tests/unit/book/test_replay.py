"""Recorded sessions of the exchange, replayed into the machine."""

from bisect import bisect_right
from collections import defaultdict

import orjson

from ingest.binance import parse, streams
from ingest.book.sync import Action, BookLive, BookSync, RequestSnapshot
from ingest.events import BookTicker, DepthDelta, DepthSnapshot, Level
from tests.unit import recordings
from tests.unit.recordings import Frame


def read(frame: Frame) -> DepthDelta | DepthSnapshot | BookTicker | None:
    """Return what a frame or answer says about a book, None if nothing."""
    if frame.rest_symbol:
        return parse.rest_depth(orjson.loads(frame.text), frame.rest_symbol, frame.recv_ns)
    item = parse.split_frame(frame.text)
    assert isinstance(item, tuple)
    event = parse.PARSERS[streams.stream_of(item[0])[1]](item[1], frame.recv_ns)
    return event if isinstance(event, DepthDelta | BookTicker) else None


def test_the_recorded_btcusdt_session_ends_at_the_known_book() -> None:
    """6,495 deltas and one snapshot, without a break, end at the best levels that are known."""
    sync = BookSync("BTCUSDT")
    actions: list[Action] = []
    deltas = 0
    for frame in recordings.btcusdt():
        if frame.rest_symbol is None and "@depth" not in frame.text:
            continue
        event = read(frame)
        if isinstance(event, DepthSnapshot):
            actions += sync.on_snapshot(event)
        elif isinstance(event, DepthDelta):
            actions += sync.on_delta(event)
            deltas += 1

    assert actions == [RequestSnapshot("BTCUSDT", 0), BookLive("BTCUSDT", 50093239224)]
    assert (deltas, sync.update_id) == (6495, 50093696318)
    assert sync.book is not None
    assert sync.book.best_bid() == ("61602.01000000", "1.67177000")
    assert sync.book.best_ask() == ("61602.02000000", "2.66795000")
    assert (len(sync.book.bids), len(sync.book.asks)) == (1971, 2962)
    assert sync.check() == []


ENDS = {
    "AAVEUPUSDT": (82464143, 400, 1003),
    "ADARUB": (1720419, 206, 209),
    "BUSDTRY": (10166148, 113, 114),
    "GTOBTC": (137196766, 151, 1000),
    "ONTTRY": (282150, 67, 146),
    "PERLBNB": (97581387, 124, 636),
    "QSPBTC": (105811224, 133, 1000),
    "STEEMETH": (126265017, 233, 843),
    "SWRVBUSD": (64830403, 357, 1002),
    "VETETH": (327913381, 1004, 1000),
}


def test_ten_recorded_symbols_agree_with_their_book_tickers() -> None:
    """Snapshots that come before older deltas make right books, which the exchange's best prices confirm."""
    events = [event for event in map(read, recordings.ten_symbols()) if event is not None]
    tickers: dict[str, list[BookTicker]] = defaultdict(list)
    for event in events:
        if isinstance(event, BookTicker):
            tickers[event.symbol].append(event)
    syncs = {symbol: BookSync(symbol) for symbol in ENDS}
    actions: list[Action] = []
    compared = 0
    for event in events:
        if isinstance(event, BookTicker):
            continue
        sync = syncs[event.symbol]
        before = sync.update_id
        actions += sync.on_delta(event) if isinstance(event, DepthDelta) else sync.on_snapshot(event)
        if sync.update_id not in (None, before) and isinstance(event, DepthDelta):
            compared += agrees(sync, tickers[event.symbol])

    assert compared == 573
    assert sum(isinstance(action, RequestSnapshot) for action in actions) == len(ENDS)
    assert {action.symbol for action in actions if isinstance(action, BookLive)} == set(ENDS)
    assert len(actions) == 2 * len(ENDS)
    assert {symbol: end_of(sync) for symbol, sync in syncs.items()} == ENDS


def agrees(sync: BookSync, tickers: list[BookTicker]) -> bool:
    """Assert that the best levels are those of the newest ticker so far; False if there was none yet."""
    assert sync.book is not None
    assert sync.update_id is not None
    index = bisect_right(tickers, sync.update_id, key=lambda ticker: ticker.update_id)
    if index == 0:
        return False
    ticker = tickers[index - 1]
    best: tuple[Level | None, Level | None] = (sync.book.best_bid(), sync.book.best_ask())
    assert best == ((ticker.bid_price, ticker.bid_qty), (ticker.ask_price, ticker.ask_qty))
    return True


def end_of(sync: BookSync) -> tuple[int | None, int, int]:
    """Return the last update and the number of levels of a live book."""
    assert sync.book is not None
    return sync.update_id, len(sync.book.bids), len(sync.book.asks)
