"""The newest of each symbol on hypertables, rows and compressed ones alike, and a listener that is woken."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from ingest.binance.answers import Instrument
from ingest.buffer import encode
from ingest.buffer.tables import BOOK_TICKERS
from ingest.config import load_settings, storage_plan
from ingest.events import StreamKey
from ingest.store.arrange import arrange
from ingest.store.latest import LatestBook, publish_books
from ingest.store.migrate import migrate
from ingest.store.notifications import Names
from ingest.store.postgres import PostgresSink
from ingest.store.sessions import connected
from tests.rows import NOW_US, SYMBOL_ID, a_batch, a_book_ticker, a_trade

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

DEADLINE_S = 120.0
DAY_US = 86_400_000_000
BTC = Instrument("BTCUSDT", "TRADING", "BTC", "USDT", "0.01", "0.00001")
COMPRESS = (
    "SELECT public.compress_chunk(chunk)"
    " FROM public.show_chunks('spot_raw.trades', older_than => interval '5 days') AS chunk"
)


@pytest.fixture
async def connection(timescale_url: str) -> AsyncIterator["Connection"]:
    """A connection to hypertables in which BTCUSDT has the id that rows have."""
    await migrate(timescale_url, deadline_s=DEADLINE_S)
    await arrange(timescale_url, storage_plan(load_settings(environment={})), deadline_s=DEADLINE_S)
    async with connected(timescale_url) as opened:
        await opened.execute(f"ALTER TABLE ops.instruments ALTER symbol_id RESTART WITH {SYMBOL_ID}")
        yield opened


@pytest.fixture
async def sink(timescale_url: str, connection: "Connection") -> AsyncIterator[PostgresSink]:
    """A sink on them."""
    async with PostgresSink.opened(timescale_url, connections=1) as opened:
        await opened.instrument_ids("spot", [BTC])
        yield opened


def trades(*days_ago: int) -> list[bytes]:
    """One of each of these days, numbered from 0 upwards in time."""
    days = sorted(days_ago, reverse=True)
    return [
        encode.trade(SYMBOL_ID, a_trade(number, ts_us=NOW_US - day * DAY_US))
        for number, day in enumerate(days)
    ]


async def test_newest_row_is_found_in_an_open_chunk(sink: PostgresSink, connection: "Connection") -> None:
    """By view and function, as on plain tables."""
    await sink.write(a_batch(trades(0, 1, 5)))
    tickers = [encode.book_ticker(SYMBOL_ID, a_book_ticker(update_id)) for update_id in (5, 6)]
    await sink.write(a_batch(tickers, table=BOOK_TICKERS))

    assert await connection.fetchval("SELECT trade_id FROM spot.latest_trades WHERE symbol = 'BTCUSDT'") == 2
    assert await connection.fetchval("SELECT trade_id FROM spot.latest_trade('BTCUSDT')") == 2
    assert await connection.fetchval("SELECT update_id FROM spot.latest_book_tickers") == 6
    assert await connection.fetchval("SELECT update_id FROM spot.latest_book_ticker('BTCUSDT')") == 6


async def test_newest_row_is_found_in_a_compressed_chunk(
    sink: PostgresSink, connection: "Connection"
) -> None:
    """However old; the view does not look so far back."""
    await sink.write(a_batch(trades(10, 20, 30)))
    assert len(await connection.fetch(COMPRESS)) == 3

    assert await connection.fetchval("SELECT count(*) FROM spot.latest_trades") == 0
    assert await connection.fetchval("SELECT trade_id FROM spot.latest_trade('BTCUSDT')") == 2


@pytest.mark.usefixtures("sink")
async def test_published_book_is_read(connection: "Connection") -> None:
    """The table of books is no hypertable, and nobody has judged its stream yet."""
    book = LatestBook(SYMBOL_ID, 10, NOW_US, "{100.10,99}", "{1,2}", "{101}", "{3}")
    await publish_books(connection, [book], shard=0)

    row = await connection.fetchrow("SELECT * FROM spot.latest_book('BTCUSDT')")
    assert row is not None
    assert ([str(price) for price in row["bid_prices"]], row["state"]) == (["100.10", "99"], "unknown")


async def test_listener_is_woken_by_rows_of_a_hypertable(
    sink: PostgresSink, connection: "Connection"
) -> None:
    """And finds them."""
    heard: asyncio.Queue[object] = asyncio.Queue()
    await connection.add_listener("ingest_spot_trade", lambda *message: heard.put_nowait(message[-1]))
    sink.notify(Names({0: StreamKey("spot", "BTCUSDT", "trade")}.get, lambda _: "BTCUSDT"))
    await sink.write(a_batch(trades(0)))

    async with asyncio.timeout(DEADLINE_S):
        assert await heard.get() == f'{{"BTCUSDT":[1,{NOW_US}]}}'
    assert await connection.fetchval("SELECT trade_id FROM spot.latest_trade('BTCUSDT')") == 0
