"""What REST says of a strip's market after any number of frames."""

import pytest

from ingest.book.sync import BookSync
from ingest.events import DepthDelta, DepthSnapshot
from tests.bench.laps import IDS_FROM, Reel, Strip
from tests.bench.mix import MIX, Market, symbol_names
from tests.bench.pacing import Pace
from tests.bench.standing import Snapshot, Standing
from tests.bench.wire import server_frame
from tests.unit.bench.test_laps import sent

SYMBOLS = symbol_names(2)


def make() -> tuple[Strip, dict[str, Snapshot]]:
    market = Market(SYMBOLS, seed=5, start_ms=1_700_000_000_000, ids_from=IDS_FROM)
    snapshots = market.snapshots()
    return Strip([(f.stream, server_frame(f.payload)) for f in market.frames(400, MIX)]), snapshots


@pytest.mark.parametrize("turns", [0, 1, 3, 9, 25])
def test_book_is_what_the_deltas_have_made_of_it(turns: int) -> None:
    """After any number of ticks, laps included, the answer equals a book that took every delta."""
    strip, snapshots = make()
    standing = Standing(strip, snapshots)
    reel = Reel(strip, dict.fromkeys(strip.streams, 0), Pace(len(strip), 20_000.0))
    books = {name: BookSync(name) for name in SYMBOLS}
    (lane,) = sent(reel, range(reel.ticks * 30), lanes=1)
    deltas = [event for event in lane if isinstance(event, DepthDelta)]
    number = reel.number_at(turns)

    for symbol in SYMBOLS:
        answer = standing.depth(symbol, number, limit=5_000)
        sync = books[symbol]
        its = [delta for delta in deltas if delta.symbol == symbol]
        sync.on_delta(its[0])
        first = snapshots[symbol]
        sync.on_snapshot(
            DepthSnapshot(symbol, first["lastUpdateId"], 0, first["bids"], first["asks"], "sync", 0)
        )
        for delta in its[1:]:
            if sync.update_id is not None and sync.update_id >= answer["lastUpdateId"]:
                break
            sync.on_delta(delta)
        if answer["lastUpdateId"] != first["lastUpdateId"]:
            assert sync.book is not None and sync.update_id == answer["lastUpdateId"]
            assert sync.book.top(5_000) == (
                [tuple(level) for level in answer["bids"]],
                [tuple(level) for level in answer["asks"]],
            )


def test_newest_trade_and_best_prices_are_the_newest_frames() -> None:
    """`ticker/24hr` ends with the last trade that was sent, `ticker/bookTicker` with the last ticker."""
    strip, snapshots = make()
    standing = Standing(strip, snapshots)
    symbol = SYMBOLS[0]
    number = 2 * len(strip)

    stats = standing.day_stats(symbol, number, rate=100.0)
    best = standing.best_prices(symbol, number)

    assert stats["lastId"] == strip.last_id_at(f"{symbol.lower()}@trade", number)
    assert set(best) == {"symbol", "bidPrice", "bidQty", "askPrice", "askQty"}
    assert float(best["bidPrice"]) < float(best["askPrice"])


def test_answers_are_cut_to_the_limit() -> None:
    """As many levels a side as were asked for, the best ones first."""
    strip, snapshots = make()
    book = Standing(strip, snapshots).depth(SYMBOLS[0], 0, limit=5)

    assert len(book["bids"]) == len(book["asks"]) == 5
    assert [float(price) for price, _ in book["bids"]] == sorted(
        (float(price) for price, _ in snapshots[SYMBOLS[0]]["bids"]), reverse=True
    )[:5]
