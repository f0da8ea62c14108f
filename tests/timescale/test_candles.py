"""Candles as continuous aggregates: the numbers of the tables, late rows, history, no query misled."""

import random
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ingest.binance.answers import Instrument
from ingest.clock import SystemClock
from ingest.config import load_settings, storage_plan
from ingest.events import Trade
from ingest.store.arrange import arrange
from ingest.store.candle_aggregates import CandleRefresh, arrange_candles
from ingest.store.candles import GRAINS, are_aggregates, candle_lag, refresh_candles
from ingest.store.convert import convert
from ingest.store.coverage import cover_trades
from ingest.store.instants import instant, microseconds
from ingest.store.migrate import migrate
from ingest.store.partitions import ensure_partitions
from ingest.store.postgres import PostgresSink
from ingest.store.sessions import connected
from ingest.supervisor.candles import CandleKeeper
from tests.candles import COLUMNS, WIDTH_US, Candle, candles_of, encoded, random_trades
from tests.plugin_database import unique_name
from tests.rows import NOW_US, a_batch

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

DEADLINE_S = 120.0
SYMBOLS = ("BTCUSDT", "ETHUSDT")
INSTRUMENTS = [Instrument(each, "TRADING", each[:3], "USDT", "0.01", "0.00001") for each in SYMBOLS]
DAY_US = WIDTH_US["1d"]
OLD_US = NOW_US // DAY_US * DAY_US - 10 * DAY_US
"""Long before the window of any policy."""
PLAN = storage_plan(load_settings(environment={}))


def some_trades(seed: int, *, since_us: int, span_s: int, count: int = 300, first_id: int = 1) -> list[Trade]:
    """Of both symbols, in the order of their times."""
    rng = random.Random(seed)
    found = [
        trade
        for symbol in SYMBOLS
        for trade in random_trades(
            rng, symbol, since_us=since_us, span_s=span_s, count=count, first_id=first_id
        )
    ]
    return sorted(found, key=lambda trade: trade.ts_us)


HISTORY = some_trades(1, since_us=OLD_US, span_s=2 * 86_400)
RECENT = some_trades(2, since_us=NOW_US - 7_200_000_000, span_s=7_190, first_id=1_000)


@pytest.fixture
async def connection(timescale_url: str) -> AsyncIterator["Connection"]:
    """A connection to a migrated database that nothing was arranged in yet."""
    await migrate(timescale_url, deadline_s=DEADLINE_S)
    async with connected(timescale_url) as opened:
        yield opened


@pytest.fixture
async def sink(timescale_url: str, connection: "Connection") -> AsyncIterator[PostgresSink]:
    """A sink on a database arranged while it was empty, which knows both symbols and speaks of them."""
    await arrange(timescale_url, PLAN, deadline_s=DEADLINE_S)
    async with PostgresSink.opened(timescale_url, connections=1) as opened:
        await opened.instrument_ids("spot", INSTRUMENTS)
        for symbol in SYMBOLS:
            await cover_trades(connection, "spot", symbol, OLD_US, NOW_US + DAY_US)
        yield opened


async def write(sink: PostgresSink, trades: Iterable[Trade]) -> None:
    ids = await sink.instrument_ids("spot", INSTRUMENTS)
    await sink.write_again(a_batch(encoded(trades, ids)))


async def stored_candles(connection: "Connection", grain: str) -> dict[tuple[str, int], Candle]:
    rows = await connection.fetch(f"SELECT symbol, open_time, {COLUMNS} FROM spot.candles_{grain}")
    return {(row[0], microseconds(row[1])): Candle(*row[2:]) for row in rows}


async def assert_candles_of(connection: "Connection", trades: Sequence[Trade]) -> None:
    for grain in GRAINS:
        assert await stored_candles(connection, grain) == candles_of(trades, grain), grain


async def run_policies(connection: "Connection") -> None:
    """As the server's scheduler would, which is not there."""
    for row in await connection.fetch(
        "SELECT job_id FROM timescaledb_information.jobs"
        " WHERE proc_name = 'policy_refresh_continuous_aggregate' ORDER BY job_id"
    ):
        await connection.execute("CALL run_job($1)", row["job_id"])


async def refreshed(connection: "Connection") -> None:
    """By the job for what came late, until nothing waits."""
    job = await connection.fetchval(
        "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'refresh_late_candles'"
    )
    while (await candle_lag(connection)).batches:
        await connection.execute("CALL run_job($1)", job)


async def test_same_numbers_as_in_tables(timescale_url: str, connection: "Connection") -> None:
    """A database with rows is converted: its candles, and their history, are the same after it."""
    trades = [*HISTORY, *RECENT]
    await ensure_partitions(connection, now=instant(NOW_US))
    async with PostgresSink.opened(timescale_url, connections=1) as opened:
        await opened.instrument_ids("spot", INSTRUMENTS)
        await write(opened, trades)
    assert not await are_aggregates(connection)
    while (done := await refresh_candles(connection)) and done.batches:
        pass
    await assert_candles_of(connection, trades)
    before = {grain: await _all_of(connection, grain) for grain in GRAINS}
    await arrange(timescale_url, PLAN, deadline_s=DEADLINE_S)
    assert not await are_aggregates(connection)
    told: list[str] = []
    await convert(timescale_url, PLAN, tell=told.append)

    assert "candles are continuous aggregates" in told
    assert await are_aggregates(connection)
    assert {grain: await _all_of(connection, grain) for grain in GRAINS} == before
    await run_policies(connection)
    assert {grain: await _all_of(connection, grain) for grain in GRAINS} == before
    assert (await arrange(timescale_url, PLAN, deadline_s=DEADLINE_S)).changed == ()


async def _all_of(connection: "Connection", grain: str) -> list[tuple[object, ...]]:
    rows = await connection.fetch(f"SELECT * FROM spot.candles_{grain} ORDER BY symbol, open_time")
    return [tuple(row) for row in rows]


async def test_young_trades_are_in_candles_at_once(sink: PostgresSink, connection: "Connection") -> None:
    """Of every width, materialised or not; nothing has to be refreshed for it."""
    await write(sink, RECENT)
    await assert_candles_of(connection, RECENT)
    await refreshed(connection)
    await run_policies(connection)
    await assert_candles_of(connection, RECENT)
    now_us = SystemClock().wall_ns() // 1_000
    young = some_trades(3, since_us=now_us - 2_000_000, span_s=2, count=20, first_id=2_000)
    await write(sink, young)

    await assert_candles_of(connection, [*RECENT, *young])


@pytest.mark.parametrize("compressed", [False, True], ids=["rows", "columnstore"])
async def test_late_trades_reach_candles(
    sink: PostgresSink, connection: "Connection", *, compressed: bool
) -> None:
    """However old, of what is materialised already, and also into chunks of the columnstore."""
    late = set(random.Random(4).sample(range(len(HISTORY)), 150))
    await write(sink, [trade for place, trade in enumerate(HISTORY) if place not in late])
    await write(sink, RECENT)
    await refreshed(connection)
    await run_policies(connection)
    if compressed:
        await connection.execute(
            "SELECT compress_chunk(c)"
            " FROM show_chunks('spot_raw.trades', older_than => interval '2 days') AS c"
        )
    await write(sink, [HISTORY[place] for place in sorted(late)])
    assert (await candle_lag(connection)).batches > 0
    await refreshed(connection)

    await assert_candles_of(connection, [*HISTORY, *RECENT])
    assert (await candle_lag(connection)).batches == 0
    await run_policies(connection)
    await assert_candles_of(connection, [*HISTORY, *RECENT])


async def test_candle_that_lacks_late_trades_is_not_closed(
    sink: PostgresSink, connection: "Connection"
) -> None:
    """From their commit to the refresh; the other candles stay as they are."""
    await write(sink, [*HISTORY, *RECENT])
    await refreshed(connection)
    await run_policies(connection)
    whole = await _flags(connection)
    assert [minute for minute, flags in whole.items() if flags[0] and flags[1]]
    last = max(trade.trade_id for trade in HISTORY)
    late = next(t for t in HISTORY if t.symbol == "BTCUSDT")._replace(trade_id=last + 1)
    await write(sink, [late])
    minute = instant(late.ts_us - late.ts_us % WIDTH_US["1m"])

    assert await _flags(connection) == {**whole, minute: (False, False)}
    await refreshed(connection)
    assert (await _flags(connection))[minute][0]


async def _flags(connection: "Connection") -> dict[object, tuple[bool, bool]]:
    rows = await connection.fetch(
        "SELECT open_time, is_closed, is_complete FROM spot.candles_1m WHERE symbol = 'BTCUSDT'"
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def test_late_trades_do_not_hide_what_comes_after_them(
    sink: PostgresSink, connection: "Connection"
) -> None:
    """Refreshing the day that runs must not take it for finished."""
    midnight_us = NOW_US // DAY_US * DAY_US
    early = some_trades(
        5, since_us=midnight_us, span_s=max((NOW_US - midnight_us) // 2_000_000, 10), count=50
    )
    await write(sink, early)
    await refreshed(connection)
    later = some_trades(6, since_us=NOW_US - 5_000_000, span_s=5, count=50, first_id=1_000)
    await write(sink, later)

    await assert_candles_of(connection, [*early, *later])


async def test_what_was_dropped_stays_in_its_candles(sink: PostgresSink, connection: "Connection") -> None:
    """A late trade in a time whose trades are gone does not cost the candles of that time."""
    await write(sink, [*HISTORY, *RECENT])
    await refreshed(connection)
    await run_policies(connection)
    await connection.execute("SELECT drop_chunks('spot_raw.trades', older_than => interval '5 days')")
    await connection.execute("SELECT remove_retention_policy('spot_raw.trades')")
    await connection.execute(
        "SELECT add_retention_policy('spot_raw.trades', drop_after => interval '5 days')"
    )
    await write(sink, [HISTORY[7]._replace(trade_id=900)])
    await refreshed(connection)
    await run_policies(connection)

    await assert_candles_of(connection, [*HISTORY, *RECENT])


async def test_arranging_again_changes_what_differs(sink: PostgresSink, connection: "Connection") -> None:
    """Policies follow the configuration; views, history and what waits stay."""
    await write(sink, RECENT)
    assert await arrange_candles(connection, continuous=True) == []
    wider = CandleRefresh(window=timedelta(days=5))
    assert await arrange_candles(connection, continuous=True, refresh=wider) == [
        "candles are made anew 5 days back"
    ]
    assert await arrange_candles(connection, continuous=True, refresh=wider) == []
    assert await arrange_candles(connection, continuous=False) == []
    kinds = await connection.fetch("SELECT kind FROM ops.storage WHERE relation LIKE 'spot_raw.candles%'")

    assert await are_aggregates(connection)
    assert {row["kind"] for row in kinds} == {"continuous_aggregate"}
    await assert_candles_of(connection, RECENT)


async def test_rights_on_the_tables_are_rights_on_the_aggregates(
    timescale_url: str, connection: "Connection"
) -> None:
    """Whoever might read the candles before may do so after, and the views are the same."""
    role = unique_name("reads")
    await connection.execute(
        f"CREATE ROLE {role}; GRANT SELECT ON spot_raw.candles_1m, spot.candles_1m TO {role};"
        "CREATE VIEW spot.over AS SELECT symbol FROM spot.candles_1m"
    )
    before = await connection.fetch(_COLUMNS)
    await arrange(timescale_url, PLAN, deadline_s=DEADLINE_S)
    may = await connection.fetchrow(
        "SELECT has_table_privilege($1, 'spot_raw.candles_1m', 'SELECT'),"
        " has_table_privilege($1, 'spot.candles_1m', 'SELECT'),"
        " has_table_privilege($1, 'spot_raw.candles_1h', 'SELECT')",
        role,
    )
    # A role is the server's, and outlives the database.
    await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert await are_aggregates(connection)
    assert may is not None
    assert tuple(may) == (True, True, False)
    assert await connection.fetch(_COLUMNS) == before
    assert await connection.fetchval("SELECT count(*) FROM spot.over") == 0


_COLUMNS = """
SELECT c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = 'spot'::regnamespace AND c.relname LIKE 'candle%' AND a.attnum > 0
ORDER BY 1, 3
"""


async def test_partitioned_trades_have_their_candles_in_tables(connection: "Connection") -> None:
    """Nothing aggregates them continuously."""
    assert await arrange_candles(connection, continuous=True) == []
    assert not await are_aggregates(connection)


async def test_keeper_watches_what_the_server_does(sink: PostgresSink, connection: "Connection") -> None:
    """It finds out by itself how candles are kept, and tells what waits for the job."""
    await write(sink, HISTORY)
    keeper = CandleKeeper(sink.session, clock=SystemClock())

    assert await keeper.round()
    assert keeper.lag_s is not None
    assert keeper.lag_s > 0
    await refreshed(connection)
    assert await keeper.round()
    assert keeper.lag_s == 0
    await assert_candles_of(connection, HISTORY)
