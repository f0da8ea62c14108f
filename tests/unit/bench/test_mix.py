"""The benchmark's traffic: reproducible, without holes, and fit for the parsers and the books."""

from collections import Counter
from collections.abc import Iterable, Iterator

from ingest.binance.parse import PARSERS, split_frame
from ingest.binance.streams import stream_of
from ingest.book.sync import BookSync
from ingest.events import AggTrade, BookTicker, DepthDelta, DepthSnapshot, Event, Trade
from tests.bench.mix import FOUR_KINDS, MIX, Frame, Market, symbol_names
from tests.bench.standing import Snapshot

SYMBOLS = symbol_names(5)


def market(seed: int = 7) -> Market:
    return Market(SYMBOLS, seed=seed, start_ms=1_700_000_000_000)


def parsed(frames: Iterable[Frame]) -> Iterator[Event]:
    for frame in frames:
        item = split_frame(frame.payload)
        assert isinstance(item, tuple)
        name, data = item
        assert name == frame.stream
        yield PARSERS[stream_of(name)[1]](data, 0)


def test_same_seed_makes_same_frames() -> None:
    """Two markets of one seed make the same bytes, of another seed other ones."""
    first, second, other = (list(market(seed).frames(200, MIX)) for seed in (7, 7, 8))

    assert first == second != other


def test_frames_keep_the_proportions() -> None:
    """Of many frames, the kinds have about their shares."""
    kinds = Counter(stream_of(frame.stream)[1] for frame in market().frames(5_000, MIX))

    for kind, share in MIX.items():
        assert abs(kinds[kind] / 50 - share) < 3


def test_trades_continue_and_tickers_rise() -> None:
    """Per symbol, trade ids are consecutive and the update ids of book tickers rise."""
    last: dict[tuple[type, str], int] = {}
    for event in parsed(market().frames(3_000, MIX)):
        if isinstance(event, Trade):
            assert event.trade_id == last.get((Trade, event.symbol), event.trade_id - 1) + 1
            last[Trade, event.symbol] = event.trade_id
        elif isinstance(event, BookTicker):
            assert event.update_id > last.get((BookTicker, event.symbol), 0)
            last[BookTicker, event.symbol] = event.update_id


def test_aggregate_trades_continue_beside_trades() -> None:
    """Per symbol, ids of aggregate trades are consecutive, and each is of one trade."""
    last: dict[str, int] = {}
    for event in parsed(market().frames(3_000, FOUR_KINDS)):
        if isinstance(event, AggTrade):
            assert event.agg_trade_id == last.get(event.symbol, event.agg_trade_id - 1) + 1
            assert event.first_trade_id == event.last_trade_id
            last[event.symbol] = event.agg_trade_id

    assert set(last) == set(SYMBOLS)


def test_depth_has_about_twenty_levels() -> None:
    """The mean number of levels in a delta, both sides together, is about twenty."""
    deltas = [
        event for event in parsed(market().frames(3_000, {"depth": 1})) if isinstance(event, DepthDelta)
    ]
    mean = sum(len(delta.bids) + len(delta.asks) for delta in deltas) / len(deltas)

    assert 15 < mean < 23


def test_books_go_live_at_the_snapshot_and_stay_live() -> None:
    """The REST answers fit the first frames, and no later delta breaks or crosses a book."""
    exchange = market()
    books = {name: BookSync(name) for name in SYMBOLS}
    for event in parsed(exchange.first_of_each(("depth",))):
        assert isinstance(event, DepthDelta)
        books[event.symbol].on_delta(event)
    for name, answer in exchange.snapshots().items():
        books[name].on_snapshot(snapshot(name, answer))

    for event in parsed(exchange.frames(2_000, {"depth": 1})):
        assert isinstance(event, DepthDelta)
        assert books[event.symbol].on_delta(event) == []

    assert all(book.book is not None and book.check() == [] for book in books.values())


def snapshot(name: str, answer: Snapshot) -> DepthSnapshot:
    return DepthSnapshot(name, answer["lastUpdateId"], 0, answer["bids"], answer["asks"], "sync", 0)
