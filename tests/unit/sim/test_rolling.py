"""The rolling day and the five-minute average."""

from ingest.sim.candles import Candle
from ingest.sim.rolling import Rolling

MINUTE_MS = 60_000


def _minute(number: int, *trades: tuple[int, int]) -> Candle:
    candle = Candle(number * MINUTE_MS, (number + 1) * MINUTE_MS, 100)
    for index, (price, qty) in enumerate(trades):
        candle.add(number * 10 + index, price, qty, False)
    return candle


def test_rolling_sums_closed_minutes_and_the_open_one() -> None:
    """Open, high, low, close and sums run over both."""
    rolling = Rolling()
    rolling.take_minute(_minute(0, (100, 1), (120, 2)))

    day = rolling.statistics(_minute(1, (90, 3)))

    assert (day.open, day.high, day.low, day.close) == (100, 120, 90, 90)
    assert (day.volume, day.quote, day.trades) == (6, 100 + 240 + 270, 3)
    assert (day.first_trade_id, day.last_trade_id, day.prior_close) == (0, 10, 100)


def test_rolling_forgets_what_is_older_than_a_day() -> None:
    """The day's open moves on, and the price before it is remembered."""
    rolling = Rolling()
    rolling.take_minute(_minute(0, (100, 1)))
    rolling.take_minute(_minute(1, (130, 1)))
    rolling.take_minute(_minute(1440, (110, 1)))

    day = rolling.statistics(_minute(1441))

    assert (day.open, day.prior_close, day.trades) == (130, 100, 2)


def test_rolling_without_trades_stands_at_the_price() -> None:
    """Before the first trade all prices are the open minute's and nothing was traded."""
    day = Rolling().statistics(_minute(0))

    assert (day.open, day.close, day.volume, day.first_trade_id) == (100, 100, 0, -1)
    assert day.weighted_average == 100


def test_average_covers_five_minutes() -> None:
    """Older minutes do not count, and no trades means the last price."""
    rolling = Rolling()
    rolling.take_minute(_minute(0, (1000, 9)))
    rolling.take_minute(_minute(1, (100, 1)))

    assert rolling.average(_minute(5, (200, 1))) == 150
    assert rolling.average(_minute(50)) == 100
