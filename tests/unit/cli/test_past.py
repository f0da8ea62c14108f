"""A span of time by its ids, from an exchange that the tests make up."""

from collections.abc import Sequence

import click
import pytest

from ingest.cli.past import persistently, span_of, span_or_wrong_use
from ingest.errors import ExchangeError, RestRefused, RestUnavailable
from ingest.events import AggTrade, Kline, StreamKey, Trade

MINUTE_US = 60_000_000
FAR_US = 10**15


class History:
    """One aggregate of two trades each minute from minute 10 on, up to now; candles without a break."""

    def __init__(self, *, now_minute: int = 20, first_minute: int = 10) -> None:
        self.minutes = range(first_minute, now_minute)

    async def trades(self, symbol: str, *, from_id: int | None = None, limit: int = 1_000) -> list[Trade]:
        assert from_id is None
        newest = 2 * self.minutes[-1] + 1
        return [Trade(symbol, newest, 0, "1", "1", True, 0)]

    async def agg_trades(
        self, symbol: str, *, from_id: int | None = None, start_ms: int | None = None, limit: int = 1_000
    ) -> list[AggTrade]:
        found = [
            AggTrade(symbol, minute, minute * MINUTE_US, "1", "1", 2 * minute, 2 * minute + 1, True, 0)
            for minute in self.minutes
        ]
        if start_ms is None:
            return found[-limit:]
        return [each for each in found if each.ts_us >= start_ms * 1_000][:limit]

    async def klines(self, symbol: str, interval: str, *, start_ms: int, limit: int = 1_000) -> list[Kline]:
        opens = [minute * MINUTE_US for minute in self.minutes if minute * MINUTE_US >= start_ms * 1_000]
        return [_candle(symbol, open_us) for open_us in opens[:limit]]


def _candle(symbol: str, open_us: int) -> Kline:
    prices = ("1",) * 6
    close_us = open_us + MINUTE_US - 1_000
    return Kline(symbol, "1m", open_us, close_us, *prices, 1, "1", "1", True, close_us, 0)


async def ids(
    kind: str, first: float, last: float, *, now: float = 20, history: History | None = None
) -> Sequence[int] | None:
    """First and last id between two minutes."""
    key = StreamKey("spot", "BTCUSDT", kind)
    bounds = (int(first * MINUTE_US), int(last * MINUTE_US))
    gap = await span_of(history or History(), key, *bounds, now_us=int(now * MINUTE_US))
    return None if gap is None else (gap.first_id, gap.last_id)


async def test_trades_are_found_through_the_aggregates_they_are_in() -> None:
    """From the first at or after the one time to the last before the other."""
    assert await ids("trade", 12, 14) == (24, 27)
    assert await ids("trade", 11.5, 14.5) == (24, 29)


async def test_aggregates_are_found_by_their_time() -> None:
    """The end is exclusive."""
    assert await ids("agg_trade", 12, 14) == (12, 13)
    assert await ids("agg_trade", 11.5, 14.5) == (12, 14)


@pytest.mark.parametrize(("kind", "first", "last"), [("trade", 36, 39), ("agg_trade", 18, 19)])
async def test_span_that_goes_beyond_now_ends_with_the_newest(kind: str, first: int, last: int) -> None:
    """Nothing is expected of the future."""
    assert await ids(kind, 18, 99) == (first, last)


@pytest.mark.parametrize("kind", ["trade", "agg_trade", "kline_1m"])
@pytest.mark.parametrize(("first", "last"), [(30, 40), (2, 5)], ids=["after", "before"])
async def test_span_without_events_is_none(kind: str, first: int, last: int) -> None:
    """Before the listing, after the newest."""
    assert await ids(kind, first, last) is None


async def test_candles_are_bounded_by_their_openings() -> None:
    """In milliseconds; a candle belongs to the span that it opens in."""
    assert await ids("kline_1m", 12, 14) == (12 * 60_000, 13 * 60_000)
    assert await ids("kline_1m", 11.5, 14.5) == (12 * 60_000, 14 * 60_000)


async def test_candle_that_is_open_is_left_to_the_stream() -> None:
    """The one before it is the last; alone it is none."""
    assert await ids("kline_1m", 12, 99, now=19.5) == (12 * 60_000, 18 * 60_000)
    assert await ids("kline_1m", 19, 99, now=19.5) is None


@pytest.mark.parametrize(("since", "until", "span"), [(5, None, (5, 19)), (5, 7, (5, 7)), (5, 99, (5, 20))])
def test_span_ends_now_at_the_latest(since: int, until: int | None, span: tuple[int, int]) -> None:
    """What is stored while the exchange is asked would have no other side to be compared with."""
    assert span_or_wrong_use(since, until, default_us=19, now_us=20) == span


@pytest.mark.parametrize(
    ("since", "until", "told"),
    [
        (19, None, "in the future, or is too young"),
        (5, 5, "before --to"),
        (30, 20, "before --to"),
        (30, 40, "in the future"),
    ],
)
def test_span_that_has_nothing_in_it_is_wrong_use(since: int, until: int | None, told: str) -> None:
    """And says which of the two times is wrong."""
    with pytest.raises(click.BadParameter, match=told):
        span_or_wrong_use(since, until, default_us=19, now_us=20)


@pytest.mark.virtual_time
async def test_what_time_may_heal_is_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Until it works, which may take a minute: so it is said, once."""
    failures: list[ExchangeError] = [RestUnavailable("away") for _ in range(5)]

    async def ask() -> str:
        if failures:
            raise failures.pop()
        return "answer"

    assert await persistently(ask) == "answer"
    assert capsys.readouterr().err == "trying again: away\n"


@pytest.mark.virtual_time
async def test_what_no_repetition_can_change_is_told_at_once() -> None:
    """And what never heals in the end."""
    asked = 0

    async def refused() -> None:
        nonlocal asked
        asked += 1
        raise RestRefused("no")

    async def unavailable() -> None:
        raise RestUnavailable("away")

    with pytest.raises(RestRefused):
        await persistently(refused)
    assert asked == 1
    with pytest.raises(RestUnavailable):
        await persistently(unavailable)
