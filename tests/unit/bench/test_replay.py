"""The days that are made from the recorded session: reproducible, no unknown holes, real values."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from ingest.events import DepthDelta, DepthSnapshot
from tests.bench.replay import Extent, Replay, merged
from tests.bench.session import recorded_session

FIRST_DAY = datetime(2024, 8, 5, tzinfo=UTC)


def extent(rows: int = 3_000, *, symbols: int = 4, days: int = 2, seed: int = 1) -> Extent:
    return Extent(rows=rows, symbols=symbols, days=days, seed=seed, first_day=FIRST_DAY)


def us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def test_same_extent_makes_same_events() -> None:
    """Two replays of one seed make the same trades, of another seed other ones."""
    first, second, other = (list(Replay(extent(seed=seed)).trades(1)) for seed in (7, 7, 8))

    assert first == second != other


def test_rows_are_about_as_many_as_asked_for() -> None:
    """Trades, book tickers and deltas of all symbols together are the rows, but for the holes."""
    replay = Replay(extent())
    kinds = (replay.trades, replay.book_tickers, replay.depth_deltas)
    made = sum(1 for number in range(4) for kind in kinds for _ in kind(number))
    missing = sum(hole.last_id - hole.first_id + 1 for number in range(4) for hole in replay.holes(number))

    assert made + missing == pytest.approx(3_000, abs=30)


def test_trade_ids_are_consecutive_but_for_the_holes() -> None:
    """Whatever ids are missing are exactly those of the known holes."""
    replay = Replay(extent(30_000))
    trades = list(replay.trades(0))
    missing = [
        (before.trade_id + 1, after.trade_id - 1, before.ts_us, after.ts_us)
        for before, after in pairwise(trades)
        if after.trade_id != before.trade_id + 1
    ]

    assert missing
    assert missing == replay.holes(0)


@pytest.mark.parametrize("number", range(4))
def test_events_fill_the_days(number: int) -> None:
    """Times ascend, lie within the days, and the newest is seconds from the end."""
    asked = extent()
    replay = Replay(asked)
    for times in (
        [trade.ts_us for trade in replay.trades(number)],
        [ticker.ts_us for ticker in replay.book_tickers(number)],
        [delta.ts_us for delta in replay.depth_deltas(number)],
    ):
        assert times == sorted(times)
        assert us(asked.first_day) <= times[0] + 1_000
        assert us(asked.end - timedelta(seconds=10)) < times[-1] < us(asked.end)


def test_values_are_the_recorded_ones() -> None:
    """Quantities are the recorded texts, and prices move in the recorded steps."""
    recorded = recorded_session().trades
    steps = {round((b.price - a.price) / 1e8, 2) for a, b in pairwise(recorded)}
    trades = list(Replay(extent()).trades(3))[:200]
    moves = [round(float(b.price) - float(a.price), 2) for a, b in pairwise(trades)]

    assert {trade.qty for trade in trades} <= {trade.qty for trade in recorded}
    assert sum(move in steps for move in moves) >= len(moves) - 10  # holes and repeats


def test_books_agree_with_the_snapshots_on_their_way() -> None:
    """From one snapshot on, the deltas make the best levels of the next; ids continue in between."""
    replay = Replay(extent(110_000, symbols=1))
    first, second = list(replay.depth_snapshots(0))[:2]
    deltas = [
        d for d in replay.depth_deltas(0) if first.last_update_id < d.final_update_id <= second.last_update_id
    ]

    assert deltas[0].first_update_id == first.last_update_id + 1
    assert all(b.first_update_id == a.final_update_id + 1 for a, b in pairwise(deltas))
    assert deltas[-1].final_update_id == second.last_update_id
    assert _best_after(first, deltas) == (second.bids[:20], second.asks[:20])


def _best_after(snapshot: DepthSnapshot, deltas: list[DepthDelta]) -> tuple[object, object]:
    bids, asks = dict(snapshot.bids), dict(snapshot.asks)
    for delta in deltas:
        bids.update(delta.bids)
        asks.update(delta.asks)
    kept = [[(p, q) for p, q in side.items() if float(q)] for side in (bids, asks)]
    return (
        sorted(kept[0], key=lambda level: -float(level[0]))[:20],
        sorted(kept[1], key=lambda level: float(level[0]))[:20],
    )


def test_depth_is_of_the_first_symbols_alone() -> None:
    """A symbol beyond the first five has neither deltas nor snapshots."""
    replay = Replay(extent(symbols=6))

    assert list(replay.depth_deltas(4))
    assert not list(replay.depth_deltas(5))
    assert not list(replay.depth_snapshots(5))


def test_rows_are_merged_by_their_moments() -> None:
    """Rows of several symbols come in the order of their moments, in batches of a size."""
    streams = (iter([(1, b"a"), (4, b"d")]), iter([(2, b"b"), (3, b"c"), (5, b"e")]))

    assert list(merged(streams, size=2)) == [[b"a", b"b"], [b"c", b"d"], [b"e"]]
