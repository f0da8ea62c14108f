"""Candles in tables, from every way of writing trades, against candles worked out by hand."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import orjson
import pytest

from ingest.binance.answers import Instrument
from ingest.errors import RowsRefused, StoreUnavailable
from ingest.events import Trade
from ingest.store.candles import GRAINS, candle_lag, refresh_candles
from ingest.store.instants import instant, microseconds
from ingest.store.migrate import load_migrations, migrate
from ingest.store.partitions import ensure_partitions, rows_in_default
from ingest.store.postgres import PostgresSink
from ingest.store.sessions import connected
from tests.candles import COLUMNS, WIDTH_US, Candle, candles_of, encoded, random_trades
from tests.plugin_schema import NOW
from tests.rows import (
    NOW_US,
    SYMBOL_ID,
    a_bad_trade_row,
    a_batch,
    a_gap,
    a_kline,
    a_kline_batch,
    trade_rows,
)

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
DAY_US = WIDTH_US["1d"]
SINCE_US = NOW_US // DAY_US * DAY_US - 2 * 3_600_000_000
"""Two hours before a midnight, so that trades of four hours fill candles of two days."""


@pytest.fixture
async def sink(migrated_url: str) -> AsyncIterator[PostgresSink]:
    """A sink on a database of the test's own."""
    async with PostgresSink.opened(migrated_url) as opened:
        yield opened


async def known(sink: PostgresSink, symbols: Iterable[str] = SYMBOLS) -> dict[str, int]:
    instruments = [Instrument(each, "TRADING", each[:3], "USDT", "0.01", "0.00001") for each in symbols]
    return await sink.instrument_ids("spot", instruments)


async def rolled_up(connection: "Connection", *, most_batches: int = 100, most_trades: int = 20_000) -> int:
    """Refresh until nothing is left; how often that took."""
    times = 0
    while (
        done := await refresh_candles(connection, most_batches=most_batches, most_trades=most_trades)
    ) and done.batches:
        times += 1
    return times


async def stored_candles(connection: "Connection", grain: str) -> dict[tuple[str, int], Candle]:
    rows = await connection.fetch(f"SELECT symbol, open_time, {COLUMNS} FROM spot.candles_{grain}")
    return {(row[0], microseconds(row[1])): Candle(*row[2:]) for row in rows}


async def assert_candles_of(connection: "Connection", trades: Sequence[Trade]) -> None:
    for grain in GRAINS:
        assert await stored_candles(connection, grain) == candles_of(trades, grain), grain


def some_trades(seed: int, *, count: int = 3_000) -> list[Trade]:
    """Of three symbols over four hours around a midnight, in the order of their times."""
    rng = random.Random(seed)
    found = [
        trade
        for symbol in SYMBOLS
        for trade in random_trades(rng, symbol, since_us=SINCE_US, span_s=4 * 3_600, count=count)
    ]
    return sorted(found, key=lambda trade: trade.ts_us)


def in_batches(trades: Sequence[Trade], size: int) -> list[Sequence[Trade]]:
    return [trades[place : place + size] for place in range(0, len(trades), size)]


async def write(sink: PostgresSink, ids: Mapping[str, int], trades: Iterable[Trade]) -> None:
    await sink.write(a_batch(encoded(trades, dict(ids))))


async def test_candles_are_those_of_the_trades(sink: PostgresSink) -> None:
    """Of every width, with all their digits, over a midnight; open and close go by trade ids."""
    ids, trades = await known(sink), some_trades(1)
    for batch in in_batches(trades, 700):
        await write(sink, ids, batch)
    async with sink.session() as connection:
        await rolled_up(connection)

        await assert_candles_of(connection, trades)


async def test_candles_grow_with_their_trades(sink: PostgresSink) -> None:
    """Refreshed between batches, each time they are right; seconds and days are cut across."""
    ids, trades = await known(sink), some_trades(2, count=500)
    async with sink.session() as connection:
        for done, batch in enumerate(in_batches(trades, 300)):
            await write(sink, ids, batch)
            await rolled_up(connection)
            await assert_candles_of(connection, trades[: (done + 1) * 300])


async def test_every_way_of_writing_is_noted(sink: PostgresSink) -> None:
    """Direct, staged, repaired, in an order that is not that of time, and twice."""
    ids, trades = await known(sink), some_trades(3, count=600)
    random.Random(3).shuffle(trades)
    direct, staged, repaired = trades[:600], trades[400:1_200], trades[1_000:]
    sink._staging = dict.fromkeys(sink._staging, 0)
    assert not (await sink.write(a_batch(encoded(direct, ids)))).staged
    assert (await sink.write(a_batch(encoded(staged, ids), a_gap()))).staged
    async with sink.session() as connection:
        await rolled_up(connection)
        await assert_candles_of(connection, trades[:1_200])
        await sink.write_again(a_batch(encoded(repaired, ids)))
        await rolled_up(connection)

        await assert_candles_of(connection, trades)


async def test_batch_leaves_one_note_or_none(sink: PostgresSink) -> None:
    """It is a part of the batch's transaction; what has no trades in it leaves none."""
    await known(sink)
    await sink.write(a_batch(trade_rows(range(1, 9))))
    await sink.write(a_batch([], a_gap()))
    await sink.write(a_kline_batch(a_kline()))
    with pytest.raises(RowsRefused):
        await sink.write(a_batch([a_bad_trade_row(9)]))
    async with sink.session() as connection:
        notes = await connection.fetch("SELECT symbol_ids, oldest, newest FROM spot_raw.trades_touched")
    assert [tuple(note) for note in notes] == [
        ([SYMBOL_ID], instant(NOW_US + 1_000), instant(NOW_US + 8_000))
    ]


@pytest.mark.parametrize("most_trades", [1, 7, 400])
async def test_long_span_is_rolled_up_piece_by_piece(sink: PostgresSink, most_trades: int) -> None:
    """Each transaction takes a bounded number of trades; what is left of the span is history."""
    ids = await known(sink)
    trades = [trade for trade in some_trades(5, count=100) if trade.symbol == "BTCUSDT"]
    await write(sink, ids, trades)
    async with sink.session() as connection:
        times = await rolled_up(connection, most_trades=most_trades)

        await assert_candles_of(connection, trades)
    assert times >= len(trades) / (most_trades + 100)
    assert most_trades > len(trades) or times > 1


async def test_backlog_does_not_hold_up_what_is_new(sink: PostgresSink) -> None:
    """History takes one turn in each refresh, however much of it waits."""
    ids, trades = await known(sink), some_trades(6, count=200)
    async with sink.session() as connection:
        await write(sink, ids, trades)
        await connection.execute("UPDATE spot_raw.trades_touched SET is_backlog = true")
        young = [trade._replace(trade_id=trade.trade_id + 10_000, ts_us=NOW_US) for trade in trades[:5]]
        await write(sink, ids, young)
        await refresh_candles(connection, most_batches=1)

        second = (young[0].symbol, NOW_US)
        assert (await stored_candles(connection, "1s"))[second] == candles_of(young, "1s")[second]
        lag = await candle_lag(connection)
    assert (lag.batches, lag.backlog > 0) == (0, True)


async def test_two_refreshes_at_once_do_no_harm(sink: PostgresSink) -> None:
    """One does it, the other says that it does not; together they come to the end."""
    ids, trades = await known(sink), some_trades(7)
    for batch in in_batches(trades, 300):
        await write(sink, ids, batch)

    async def keep_refreshing() -> None:
        async with sink.session() as connection:
            while (await candle_lag(connection)).batches or (await candle_lag(connection)).backlog:
                await refresh_candles(connection, most_batches=3)

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(keep_refreshing())
    async with sink.session() as connection:
        await assert_candles_of(connection, trades)


async def test_refresh_that_fails_leaves_everything_to_the_next(sink: PostgresSink) -> None:
    """Notes go with the transaction that makes the candles."""
    ids, trades = await known(sink), some_trades(8, count=100)
    await write(sink, ids, trades)
    async with sink.session() as connection:
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await refresh_candles(connection)
                raise ZeroDivisionError
        assert (await candle_lag(connection)).batches == 3
        await rolled_up(connection)

        await assert_candles_of(connection, trades)


async def test_refresh_that_is_locked_out_says_so_in_time(sink: PostgresSink) -> None:
    """Whoever holds the candles makes it wait for the session's limit, not for ever."""
    ids = await known(sink)
    await write(sink, ids, some_trades(8, count=10))
    async with sink.session() as other, other.transaction():
        await other.execute("LOCK TABLE spot_raw.candles_1s IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable):
            async with sink.session() as connection:
                await refresh_candles(connection)


async def test_old_trades_come_into_partitions_of_their_days(sink: PostgresSink) -> None:
    """What is filled in months later does not fall into the net."""
    ids = await known(sink)
    rng = random.Random(9)
    trades = [
        trade
        for days in (40, 90, 91)
        for trade in random_trades(
            rng,
            "BTCUSDT",
            since_us=NOW_US - days * DAY_US,
            span_s=20,
            count=50,
            first_id=1_000_000 - days * 1_000,
        )
    ]
    async with sink.session() as connection:
        for days in (40, 90, 91):
            await ensure_partitions(
                connection, now=instant(NOW_US - days * DAY_US), days_ahead=0, days_back=1
            )
        await connection.execute("DROP TABLE " + ", ".join(await _candle_partitions(connection)))
        await sink.write_again(a_batch(encoded(trades, ids)))
        await rolled_up(connection)

        await assert_candles_of(connection, trades)
        assert set((await rows_in_default(connection)).values()) == {0}


async def _candle_partitions(connection: "Connection") -> list[str]:
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent IN"
        " ('spot_raw.candles_1s'::regclass, 'spot_raw.candles_1m'::regclass)"
        " AND inhrelid::regclass::text NOT LIKE '%_default'"
    )
    return [row[0] for row in rows]


async def test_candle_outlives_what_it_was_made_of(sink: PostgresSink) -> None:
    """A late row in a time whose trades were dropped does not take a whole candle's place."""
    ids, trades = await known(sink), some_trades(10, count=300)
    await write(sink, ids, trades)
    async with sink.session() as connection:
        await rolled_up(connection)
        await connection.execute("TRUNCATE spot_raw.trades, spot_raw.candles_1s")
        late = trades[10]._replace(trade_id=5_000)
        await write(sink, ids, [late])
        await rolled_up(connection)

        assert await stored_candles(connection, "1m") == candles_of(trades, "1m")
        assert await stored_candles(connection, "1d") == candles_of(trades, "1d")


async def test_migration_leaves_stored_trades_to_be_rolled_up(database_url: str) -> None:
    """A database of an earlier version has its candles when its history was worked off."""
    before = [each for each in load_migrations() if each.name != "candles"]
    earlier = before[: next(n for n, each in enumerate(load_migrations()) if each.name == "candles")]
    await migrate(database_url, deadline_s=60, migrations=earlier)
    trades = some_trades(11, count=100)
    async with connected(database_url) as connection:
        await ensure_partitions(connection, now=NOW)
        for symbol in SYMBOLS:
            await connection.execute(
                "INSERT INTO ops.instruments (market, symbol, status, base_asset, quote_asset, first_seen)"
                " VALUES ('spot', $1, 'TRADING', 'A', 'B', $2)",
                symbol,
                instant(SINCE_US + 3_600_000_000),
            )
        await connection.executemany(
            "INSERT INTO spot_raw.trades"
            " SELECT $1, $2, $1, symbol_id, $4, $5::text::numeric, $6::text::numeric"
            " FROM ops.instruments WHERE symbol = $3",
            [(instant(t.ts_us), t.trade_id, t.symbol, t.buyer_is_maker, t.price, t.qty) for t in trades],
        )
        await migrate(connection, deadline_s=60)
        assert (await candle_lag(connection)).backlog == len(SYMBOLS)
        await rolled_up(connection, most_trades=30)

        await assert_candles_of(connection, trades)
        spans = await connection.fetch("SELECT lower(span), upper_inf(span) FROM ops.trade_coverage")
        live = min(trade.ts_us for trade in trades if trade.ts_us >= SINCE_US + 3_600_000_000)
    assert len(spans) == len(SYMBOLS)
    assert min(row[0] for row in spans) == instant(live)
    assert all(row[1] for row in spans)


async def test_knowledge_is_looked_up_once_for_a_symbol(sink: PostgresSink) -> None:
    """However many candles are asked for: of all symbols or of one, and of those alone."""
    ids, trades = await known(sink, (*SYMBOLS, *(f"S{number}USDT" for number in range(60)))), some_trades(11)
    await write(sink, ids, trades)
    async with sink.session() as connection:
        await rolled_up(connection)
        await connection.execute("ANALYZE")
        # Parameters of which nothing is known let few candles be expected: fewer than there are symbols.
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(
            "PREPARE of_all (timestamptz, timestamptz) AS"
            " SELECT * FROM spot.candles_1m WHERE open_time >= $1 AND open_time < $2"
        )
        await connection.execute(
            "PREPARE of_one (text, timestamptz) AS"
            " SELECT * FROM spot.candles_1m WHERE symbol = $1 AND open_time >= $2"
        )

        assert await look_ups(connection, "EXECUTE of_all ('2000-01-01', 'infinity')") == len(ids)
        assert await look_ups(connection, "EXECUTE of_one ('ETHUSDT', '2000-01-01')") == 1


async def look_ups(connection: "Connection", query: str) -> int:
    """How often a query calls `ops.trade_knowledge`."""
    [[plan]] = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")
    left, found = [orjson.loads(plan)[0]["Plan"]], 0
    while left:
        node = left.pop()
        left += node.get("Plans", [])
        found += node["Actual Loops"] if node.get("Function Name") == "trade_knowledge" else 0
    return found
