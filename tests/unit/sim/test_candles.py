"""Candles agree with the trades that made them."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ingest.sim.candles import Candle, Candles, Closed
from ingest.sim.intervals import INTERVAL_MS, open_time_ms

START_MS = 1_723_161_240_000
Trade = tuple[int, int, int, bool]
TRADES = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(1, 99), st.integers(1, 99), st.booleans()), min_size=1
)


def _played(trades: list[Trade]) -> tuple[Candles, list[Closed], list[tuple[int, int, int, bool]]]:
    """Trades with the given pauses between them; returns them with absolute times."""
    candles, closed, dated = Candles(), list[Closed](), []
    now_ms = START_MS
    for number, (pause_ms, price, qty, maker) in enumerate(trades):
        now_ms += pause_ms
        dated.append((now_ms, price, qty, maker))
        closed += candles.add(number, now_ms, price, qty, maker)
    return candles, closed, dated


def _naive(dated: list[Trade], interval: str, open_ms: int) -> tuple[int, ...]:
    inside = [(n, trade) for n, trade in enumerate(dated) if open_time_ms(interval, trade[0]) == open_ms]
    prices = [price for _, (_, price, _, _) in inside]
    taken = [(p, q) for _, (_, p, q, maker) in inside if not maker]
    return (
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
        sum(q for _, (_, _, q, _) in inside),
        sum(p * q for _, (_, p, q, _) in inside),
        sum(q for _, q in taken),
        sum(p * q for p, q in taken),
        inside[0][0],
        inside[-1][0],
        len(inside),
    )


def _fields(candle: Candle) -> tuple[int, ...]:
    prices = (candle.open, candle.high, candle.low, candle.close)
    sums = (candle.volume, candle.quote, candle.taker_volume, candle.taker_quote)
    return (*prices, *sums, candle.first_trade_id, candle.last_trade_id, candle.trades)


@given(TRADES, st.sampled_from(sorted(INTERVAL_MS)))
def test_candles_equal_naive_aggregation(trades: list[Trade], interval: str) -> None:
    """Every candle with trades, closed or open, is what aggregating its trades gives."""
    candles, closed, dated = _played(trades)
    shown = candles.shown(interval)
    assert shown is not None
    all_of_interval = [candle for name, candle in closed if name == interval] + [shown]

    for candle in all_of_interval:
        if candle.trades:
            assert _fields(candle) == _naive(dated, interval, candle.open_ms)
    assert sum(candle.trades for candle in all_of_interval) == len(trades)


@given(TRADES)
def test_candles_leave_no_hole(trades: list[Trade]) -> None:
    """Seconds without trades have a candle too, at the last price."""
    _, closed, _ = _played(trades)
    seconds = [candle for name, candle in closed if name == "1s"]

    for earlier, later in itertools.pairwise(seconds):
        assert later.open_ms == earlier.end_ms
        if not later.trades:
            assert (later.open, later.high, later.low, later.close) == (earlier.close,) * 4
            assert (later.first_trade_id, later.last_trade_id, later.volume) == (-1, -1, 0)


def test_roll_closes_what_ended_without_a_trade() -> None:
    """Time alone closes candles."""
    candles = Candles()
    candles.open_at(START_MS, 100)

    closed = candles.roll(START_MS + 60_000)

    assert [name for name, _ in closed].count("1s") == 60
    assert [name for name, _ in closed].count("1m") == 1


def test_candles_show_nothing_before_a_price() -> None:
    """Without a price there is no candle."""
    assert Candles().shown("1m") is None
    assert Candles().roll(START_MS) == []
