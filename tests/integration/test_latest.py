"""The newest trade, book ticker and book of each symbol, as a signal job asks for them."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import asyncpg
import pytest

from ingest.binance.answers import Instrument
from ingest.buffer import encode
from ingest.buffer.tables import BOOK_TICKERS
from ingest.errors import StoreUnavailable
from ingest.events import StreamKey
from ingest.store.latest import (
    LatestBook,
    LatestBooksTable,
    publish_books,
    publisher_beat,
    withdraw_books,
)
from ingest.store.postgres import PostgresSink
from ingest.store.publish import StreamRow
from ingest.store.sessions import DEFAULT_LIMITS
from tests.rows import NOW_US, a_batch, a_book_ticker, a_trade, trade_rows

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
HOUR_US = 3_600_000_000


@pytest.fixture
async def sink(migrated_url: str) -> AsyncIterator[PostgresSink]:
    """A sink on a database of the test's own, with three symbols."""
    async with PostgresSink.opened(migrated_url, connections=2) as opened:
        yield opened


@pytest.fixture
async def ids(sink: PostgresSink) -> dict[str, int]:
    """The symbols' numbers."""
    instruments = [Instrument(symbol, "TRADING", "X", "USDT", "0.01", "0.1") for symbol in SYMBOLS]
    return await sink.instrument_ids("spot", instruments)


async def fetch(sink: PostgresSink, query: str, *arguments: object) -> list[asyncpg.Record]:
    async with sink.session() as connection:
        return await connection.fetch(query, *arguments)


# ---------------------------------------------------------------------- trades and book tickers


async def test_newest_trade_of_each_symbol(sink: PostgresSink, ids: dict[str, int]) -> None:
    """By time, then by id; a symbol without any has no row."""
    await sink.write(a_batch(trade_rows([1, 2], symbol_id=ids["BTCUSDT"])))
    twins = [a_trade(3, ts_us=NOW_US), a_trade(4, ts_us=NOW_US, price="7.5")]
    await sink.write(a_batch([encode.trade(ids["ETHUSDT"], twin) for twin in twins]))

    rows = await fetch(sink, "SELECT * FROM spot.latest_trades ORDER BY symbol")
    assert [(row["symbol"], row["trade_id"]) for row in rows] == [("BTCUSDT", 2), ("ETHUSDT", 4)]
    (eth,) = await fetch(sink, "SELECT * FROM spot.latest_trade('ETHUSDT')")
    assert dict(eth) | {"symbol": "ETHUSDT", "age_s": 0} == dict(rows[1]) | {"age_s": 0}
    assert 0 <= eth["age_s"] < 86_400  # since the tests were collected


async def test_newest_book_ticker_of_each_symbol(sink: PostgresSink, ids: dict[str, int]) -> None:
    """The same of best bids and asks."""
    rows = [encode.book_ticker(ids["BTCUSDT"], a_book_ticker(update_id)) for update_id in (5, 6)]
    await sink.write(a_batch(rows, table=BOOK_TICKERS))

    (row,) = await fetch(sink, "SELECT * FROM spot.latest_book_tickers")
    (one,) = await fetch(sink, "SELECT * FROM spot.latest_book_ticker('BTCUSDT')")
    assert (row["symbol"], row["update_id"], one["update_id"]) == ("BTCUSDT", 6, 6)
    assert dict(one) | {"symbol": "BTCUSDT", "age_s": 0} == dict(row) | {"age_s": 0}


async def test_views_end_where_the_functions_go_on(sink: PostgresSink, ids: dict[str, int]) -> None:
    """Views show the last 24 hours, functions the newest row however old, also outside all partitions."""
    long_ago = a_trade(1, ts_us=NOW_US - 400 * 24 * HOUR_US)
    ticker = a_book_ticker(9)._replace(ts_us=NOW_US - 25 * HOUR_US)
    await sink.write(a_batch([encode.trade(ids["BTCUSDT"], long_ago)]))
    await sink.write(a_batch([encode.book_ticker(ids["BTCUSDT"], ticker)], table=BOOK_TICKERS))

    assert not await fetch(sink, "SELECT FROM spot.latest_trades")
    assert not await fetch(sink, "SELECT FROM spot.latest_book_tickers")
    (trade,) = await fetch(sink, "SELECT * FROM spot.latest_trade('BTCUSDT')")
    (quote,) = await fetch(sink, "SELECT * FROM spot.latest_book_ticker('BTCUSDT')")
    assert (trade["trade_id"], quote["update_id"]) == (1, 9)


@pytest.mark.parametrize("function", ["latest_trade", "latest_book_ticker", "latest_book"])
@pytest.mark.usefixtures("ids")
async def test_unknown_or_empty_symbol_has_no_row(sink: PostgresSink, function: str) -> None:
    """Neither one that is not ingested nor one of which nothing is stored."""
    for symbol in ("NOPEUSDT", "SOLUSDT", None):
        assert not await fetch(sink, f"SELECT FROM spot.{function}($1::text)", symbol)


# ---------------------------------------------------------------------- books

BOOK = LatestBook(0, 10, NOW_US, "{100.00000000,99}", "{1,2}", "{101}", "{3.50000000}")


async def publish(sink: PostgresSink, *books: LatestBook) -> None:
    async with sink.session() as connection:
        await publish_books(connection, books, shard=3)
        await publisher_beat(connection, shard=3, every_s=1.0)


async def judged(sink: PostgresSink, state: str = "live") -> None:
    """What the supervisor says of the depth stream of BTCUSDT."""
    key = StreamKey("spot", "BTCUSDT", "depth")
    row = StreamRow(key, 0, "0", state, "", NOW_US, NOW_US, NOW_US, 60.0, None, 0, 0)
    await sink.publish_stream_states([row])


async def book(sink: PostgresSink) -> asyncpg.Record:
    (row,) = await fetch(sink, "SELECT * FROM spot.latest_books")
    (one,) = await fetch(sink, "SELECT * FROM spot.latest_book('BTCUSDT')")
    assert dict(one) | {"symbol": "BTCUSDT", "age_s": 0} == dict(row) | {"age_s": 0}
    return row


async def test_published_book_is_read_as_it_was(sink: PostgresSink, ids: dict[str, int]) -> None:
    """Levels best first, exact, with their scale, and its update."""
    await judged(sink)
    await publish(sink, BOOK._replace(symbol_id=ids["BTCUSDT"]))

    row = await book(sink)
    assert (row["symbol"], row["last_update_id"], row["state"]) == ("BTCUSDT", 10, "live")
    assert [str(price) for price in row["bid_prices"]] == ["100.00000000", "99"]
    assert [str(qty) for qty in row["ask_qtys"]] == ["3.50000000"]
    assert row["age_s"] >= 0


async def test_published_book_never_steps_back(sink: PostgresSink, ids: dict[str, int]) -> None:
    """Two lines of a stream may publish in any order; a withdrawn book may begin anew."""
    btc = BOOK._replace(symbol_id=ids["BTCUSDT"])
    await publish(sink, btc)
    await publish(sink, btc._replace(last_update_id=9, bid_prices="{1,1}"))
    assert (await book(sink))["last_update_id"] == 10

    async with sink.session() as connection:
        await withdraw_books(connection, [btc.symbol_id, 999])
    await publish(sink, btc._replace(last_update_id=9))
    assert (await book(sink))["last_update_id"] == 9


async def test_book_that_cannot_be_relied_on_says_so(sink: PostgresSink, ids: dict[str, int]) -> None:
    """Nobody judges its stream; its stream is not live; its shard publishes no more; it was lost."""
    btc = BOOK._replace(symbol_id=ids["BTCUSDT"])
    await publish(sink, btc)
    assert (await book(sink))["state"] == "unknown"
    await judged(sink, "recovering")
    assert (await book(sink))["state"] == "recovering"
    await judged(sink)
    assert (await book(sink))["state"] == "live"
    await fetch(sink, "UPDATE spot_raw.book_publishers SET published_at = published_at - interval '6 s'")
    assert (await book(sink))["state"] == "behind"

    async with sink.session() as connection:
        await withdraw_books(connection, [btc.symbol_id])
    assert (await book(sink))["state"] == "resyncing"


async def test_dead_supervisor_makes_no_book_look_live(sink: PostgresSink, ids: dict[str, int]) -> None:
    """Its last word counts for 15 s."""
    await publish(sink, BOOK._replace(symbol_id=ids["BTCUSDT"]))
    await judged(sink)
    await fetch(sink, "UPDATE ops.stream_state SET updated_at = updated_at - interval '16 seconds'")

    assert (await book(sink))["state"] == "unknown"


async def test_failure_is_told_and_the_next_time_succeeds(
    sink: PostgresSink, ids: dict[str, int], migrated_url: str
) -> None:
    """Nothing is tried twice; a connection that has failed, or was ended, is replaced."""
    limits = replace(DEFAULT_LIMITS, lock_s=0.05)
    table = LatestBooksTable(migrated_url, shard=3, every_s=1.0, limits=limits)
    btc = BOOK._replace(symbol_id=ids["BTCUSDT"])
    try:
        await table.write([btc], [])
        async with sink.session() as connection, connection.transaction():
            await connection.execute("LOCK TABLE spot_raw.latest_books IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreUnavailable):
                await table.write([btc], [])
        await table.write([btc._replace(last_update_id=11)], [])
        kill = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = $1"
        await fetch(sink, kill, "ingest shard 3 books")
        with suppress(StoreUnavailable):  # unless its end was noticed before
            await table.write([btc], [])
        await table.write([btc._replace(last_update_id=12)], [])
    finally:
        await table.close()

    assert (await book(sink))["last_update_id"] == 12
