"""Following a stream on a real database: every row once, whatever happens to repairs and connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from ingest.reader import AsyncReader, Hole, IncompleteData, StaleData, Trade
from tests.integration.stored_market import MINUTE, SECOND, SYMBOL, StoredMarket, now, stored_market

LONG = 3_600.0
"""So old may data be in tests that are not about age."""
READERS = "FROM pg_stat_activity WHERE application_name = 'ingest-reader' AND datname = current_database()"


@pytest.fixture
async def market(migrated_url: str) -> AsyncIterator[StoredMarket]:
    """A market of which only the symbols are known."""
    async with stored_market(migrated_url) as market:
        yield market


@pytest.fixture
async def reader(migrated_url: str) -> AsyncIterator[AsyncReader]:
    """A reader of the same database."""
    async with AsyncReader.connect(migrated_url) as reader:
        yield reader


async def take(rows: AsyncIterator[Trade], count: int) -> list[int]:
    """The ids of the next rows."""
    return [(await anext(rows)).id for _ in range(count)]


async def begun(market: StoredMarket) -> datetime:
    """Trades 1 to 10 at the start of the minute that has just gone; the stream is fresh."""
    start = now() - MINUTE
    await market.trades(range(1, 11), start)
    await market.fresh("trade", now())
    return start


async def test_follow_gives_first_what_was_missed_then_what_comes(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """From an id on, each row once; woken by the notice of the commit."""
    start = await begun(market)

    rows = reader.follow(SYMBOL, since=4, max_age=LONG)
    assert await take(rows, 6) == [5, 6, 7, 8, 9, 10]
    await market.trades([11, 12], start, notify=True)
    assert await take(rows, 2) == [11, 12]


async def test_follow_without_an_id_begins_with_what_comes(market: StoredMarket, reader: AsyncReader) -> None:
    """What is stored before is not given."""
    start = await begun(market)

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(take(reader.follow(SYMBOL, max_age=LONG), 1))
        await until_listening(market)
        await market.trades([11], start, notify=True)

    assert first.result() == [11]


async def until_listening(market: StoredMarket) -> None:
    """Until somebody has made himself known to the doorbell and looked once."""
    sql = f"SELECT count(*) {READERS} AND query LIKE $1 AND state = 'idle'"
    for query in ("LISTEN%", "COMMIT%"):
        while not await market.connection.fetchval(sql, query):
            await asyncio.sleep(0.02)


async def test_follow_of_a_long_past_goes_page_by_page(market: StoredMarket, reader: AsyncReader) -> None:
    """From the very beginning, too, and from any id in between."""
    start = now() - 90 * MINUTE
    await market.trades(range(1, 5_001), start)
    await market.fresh("trade", now())

    assert await take(reader.follow(SYMBOL, since=0, max_age=LONG), 5_000) == list(range(1, 5_001))
    assert await take(reader.follow(SYMBOL, since=1_234, max_age=LONG), 3) == [1_235, 1_236, 1_237]


async def test_follow_without_notices_looks_once_a_second(market: StoredMarket, reader: AsyncReader) -> None:
    """A writer that does not ring is heard all the same."""
    start = await begun(market)

    rows = reader.follow(SYMBOL, since=9, max_age=LONG)
    assert await take(rows, 1) == [10]
    await market.trades([11], start, notify=False)
    assert await take(rows, 1) == [11]


async def test_follow_outlives_its_connections(market: StoredMarket, reader: AsyncReader) -> None:
    """All of the reader's backends are ended again and again; no row is missing, none is twice."""
    start = await begun(market)
    rows = reader.follow(SYMBOL, since=0, max_age=LONG)
    seen = await take(rows, 10)

    for round_ in range(1, 6):
        await market.connection.execute(f"SELECT pg_terminate_backend(pid) {READERS}")
        await market.trades(range(10 * round_ + 1, 10 * round_ + 11), start, notify=True)
        seen += await take(rows, 10)

    assert seen == list(range(1, 61))


async def test_follow_waits_for_the_repair_of_a_hole(market: StoredMarket, reader: AsyncReader) -> None:
    """What lies behind it is held back until it is whole, and then given in order."""
    start = await begun(market)
    await market.trades(range(15, 18), start)
    gap_id = await market.gap("trade", (11, 14), (start + 10 * SECOND, start + 15 * SECOND))
    rows = reader.follow(SYMBOL, since=8, max_age=LONG)
    assert await take(rows, 2) == [9, 10]

    async with asyncio.TaskGroup() as tasks:
        rest = tasks.create_task(take(rows, 7))
        await market.trades([13, 14], start, notify=True)
        await asyncio.sleep(0)
        await market.trades([11, 12], start, notify=True)
        await market.settle(gap_id)

    assert rest.result() == [11, 12, 13, 14, 15, 16, 17]


async def test_follow_passes_over_what_the_exchange_has_not_either(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """That is no hole, and nobody is told."""
    start = await begun(market)
    await market.trades(range(15, 18), start)
    await market.gap(
        "trade", (11, 14), (start + 10 * SECOND, start + 15 * SECOND), state="absent_at_exchange"
    )

    assert await take(reader.follow(SYMBOL, since=9, max_age=LONG), 4) == [10, 15, 16, 17]


async def test_follow_refuses_a_hole_that_is_not_repaired_in_time(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """The error says what is missing, and the id from which it goes on."""
    start = await begun(market)
    await market.trades(range(15, 18), start)
    await market.gap("trade", (11, 14), (start + 10 * SECOND, start + 15 * SECOND))
    rows = reader.follow(SYMBOL, since=9, max_age=LONG, patience_s=0.0)
    assert await take(rows, 1) == [10]

    with pytest.raises(IncompleteData, match="ids 11 to 14") as caught:
        await take(rows, 1)

    assert caught.value.go_on_after == 14
    behind = reader.follow(SYMBOL, since=caught.value.go_on_after, max_age=LONG)
    assert await take(behind, 3) == [15, 16, 17]


async def test_follow_goes_on_over_a_hole_when_told_to_and_says_so(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """The hole is told right before the row behind it."""
    start = await begun(market)
    await market.trades(range(15, 18), start)
    told: list[Hole] = []
    rows = reader.follow(
        SYMBOL, since=9, max_age=LONG, require_complete=False, patience_s=0.0, on_hole=told.append
    )

    assert await take(rows, 1) == [10]
    assert await take(rows, 3) == [15, 16, 17]
    assert [(each.first_id, each.last_id) for hole in told for each in hole.missing] == [(11, 14)]


async def test_follow_refuses_a_stream_that_goes_stale_and_resumes_without_a_hole(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """Nothing is given while it is stale; after wait_fresh it goes on from the last id."""
    start = await begun(market)
    rows = reader.follow(SYMBOL, since=8, max_age=30)
    assert await take(rows, 2) == [9, 10]
    await market.fresh("trade", start, state="stale", diagnosis="stream_silent")
    await market.trades([11], start)
    with pytest.raises(StaleData, match="stream_silent"):
        await take(rows, 1)

    with pytest.raises(StaleData):
        await take(reader.follow(SYMBOL, since=10, max_age=30), 1)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(reader.wait_fresh([(SYMBOL, "trade")], max_age=30))
        await market.trades([12], start)
        await market.fresh("trade", now())

    assert waiting.done()
    assert await take(reader.follow(SYMBOL, since=10, max_age=30), 2) == [11, 12]


async def test_follow_says_that_the_database_is_away_as_soon_as_that_makes_data_stale(
    market: StoredMarket, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that cannot ask does not believe that all is well."""
    start = await begun(market)
    async with AsyncReader.connect(migrated_url) as reader:
        rows = reader.follow(SYMBOL, since=9, max_age=2)
        await market.fresh("trade", now())
        assert await take(rows, 1) == [10]
        refuse_connections(monkeypatch)
        await market.connection.execute(f"SELECT pg_terminate_backend(pid) {READERS}")

        with pytest.raises(StaleData, match="database_away") as caught:
            await take(rows, 1)

    assert caught.value.age is not None and caught.value.age > SECOND
    assert start < now()


def refuse_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a server that is gone would."""

    async def refused(*_: object, **__: object) -> object:
        raise ConnectionRefusedError("gone")

    monkeypatch.setattr(asyncpg, "connect", refused)
    monkeypatch.setattr("asyncpg.connection.connect", refused)
    monkeypatch.setattr("asyncpg.connect_utils._connect", refused)


async def test_follow_of_book_tickers_gives_late_ones_once(market: StoredMarket, reader: AsyncReader) -> None:
    """Ids only rise; one that comes behind a higher one is given behind it, and nothing twice."""
    start = now() - MINUTE
    await market.book_tickers([10, 13, 17], start)
    await market.fresh("book_ticker", now())
    rows = reader.follow(SYMBOL, "book_ticker", since=9, max_age=LONG)
    seen = [(await anext(rows)).id for _ in range(3)]

    await market.book_tickers([29, 21, 31], start + 10 * SECOND)
    await market.book_tickers([17], start + 20 * SECOND)
    await market.book_tickers([40], start + 21 * SECOND)
    seen += [(await anext(rows)).id for _ in range(4)]

    assert seen == [10, 13, 17, 29, 21, 31, 40]


async def test_follow_of_book_tickers_refuses_what_the_ledger_speaks_against(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """Right before the row behind the gap; behind it one may go on."""
    start = now() - MINUTE
    await market.book_tickers([10, 13], start)
    await market.book_tickers([30], start + 10 * SECOND)
    await market.gap("book_ticker", (14, 29), (start + SECOND, start + 10 * SECOND), state="unrepairable")
    await market.fresh("book_ticker", now())
    rows = reader.follow(SYMBOL, "book_ticker", since=9, max_age=LONG, patience_s=0.0)

    assert [(await anext(rows)).id for _ in range(2)] == [10, 13]
    with pytest.raises(IncompleteData) as caught:
        await anext(rows)
    behind = reader.follow(SYMBOL, "book_ticker", since=caught.value.go_on_after, max_age=LONG)
    assert (await anext(behind)).id == 30


async def test_follow_of_depth_goes_by_ranges(market: StoredMarket, reader: AsyncReader) -> None:
    """Each delta touches the one before."""
    start = now() - MINUTE
    await market.deltas([5, 6, 7, 9], start)
    await market.fresh("depth", now())
    rows = reader.follow(SYMBOL, "depth", since=5, max_age=LONG, patience_s=0.0)

    deltas = [await anext(rows) for _ in range(2)]

    assert [(delta.first_update_id, delta.bids) for delta in deltas] == [
        (6, [(Decimal(100), Decimal(6))]),
        (7, [(Decimal(100), Decimal(7))]),
    ]
    with pytest.raises(IncompleteData, match="ids 8 to 8"):
        await anext(rows)


async def test_follow_of_klines_gives_newer_versions_and_each_closed_one_once(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """A candle is over before the next one is given."""
    minute = now().replace(second=0, microsecond=0)
    await market.klines([minute - 2 * MINUTE, minute - MINUTE])
    await market.klines([minute], is_closed=False, event=minute + SECOND)
    await market.fresh("kline_1m", now())
    since = round((minute - 2 * MINUTE).timestamp() * 1_000)
    rows = reader.follow(SYMBOL, "kline_1m", since=since, max_age=LONG)
    first, second = await anext(rows), await anext(rows)
    assert [(first.ts, _closed(first)), (second.ts, _closed(second))] == [
        (minute - timedelta(milliseconds=1), True),
        (minute + SECOND, False),
    ]

    await market.klines([minute], is_closed=False, event=minute + 2 * SECOND)
    await market.notify("kline_1m")
    assert (await anext(rows)).ts == minute + 2 * SECOND
    await market.klines([minute], event=minute + MINUTE)
    await market.klines([minute + MINUTE], is_closed=False, event=minute + MINUTE + SECOND)
    third, fourth = await anext(rows), await anext(rows)
    assert (_closed(third), _closed(fourth)) == (True, False)


def _closed(row: object) -> bool:
    return bool(getattr(row, "is_closed"))  # noqa: B009


async def test_follow_of_klines_names_a_missing_one_by_its_time(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """Ids of candles are opening times in milliseconds."""
    minute = now().replace(second=0, microsecond=0) - 5 * MINUTE
    await market.klines([minute, minute + 2 * MINUTE])
    await market.fresh("kline_1m", now())
    since = round(minute.timestamp() * 1_000)

    with pytest.raises(IncompleteData) as caught:
        await anext(reader.follow(SYMBOL, "kline_1m", since=since, max_age=LONG, patience_s=0.0))

    assert caught.value.missing[0].first_id == since + 60_000
    assert caught.value.missing[0].start == (minute + MINUTE).astimezone(UTC)
    behind = reader.follow(SYMBOL, "kline_1m", since=caught.value.go_on_after, max_age=LONG)
    assert (await anext(behind)).id == since + 120_000


async def test_followers_share_one_doorbell(market: StoredMarket, reader: AsyncReader) -> None:
    """However many streams are followed, one connection listens; leaving one leaves the others alone."""
    start = await begun(market)
    await market.book_tickers([1], start)
    await market.fresh("book_ticker", now())
    trades = reader.follow(SYMBOL, since=9, max_age=LONG)
    async with aclosing(reader.follow(SYMBOL, "book_ticker", since=0, max_age=LONG)) as tickers:  # type: ignore[type-var]
        assert (await anext(tickers)).id == 1
        assert await take(trades, 1) == [10]
        assert await market.connection.fetchval(f"SELECT count(*) {READERS}") <= 3

    await market.trades([11], start, notify=True)
    assert await take(trades, 1) == [11]


async def test_reading_that_is_cancelled_leaves_a_reader_that_reads(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """At whatever point; the connection is not used again."""
    start = await begun(market)

    for turns in range(1, 30):
        reading = asyncio.get_running_loop().create_task(
            reader.trades(SYMBOL, start + 1.5 * SECOND, allow_stale=True)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading

    assert len(await reader.trades(SYMBOL, start + 1.5 * SECOND, allow_stale=True)) == 9
