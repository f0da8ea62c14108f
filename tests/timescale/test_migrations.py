"""The schema, and the extension's features that the program builds on, against TimescaleDB itself."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from ingest.binance.answers import Instrument
from ingest.buffer.tables import TRADES
from ingest.store.migrate import load_migrations, migrate
from ingest.store.postgres import PostgresSink
from ingest.store.sessions import connected
from tests.rows import SYMBOL_ID, a_batch, a_kline, a_kline_batch, trade_rows

BTC = Instrument("BTCUSDT", "TRADING", "BTC", "USDT", "0.01", "0.00001")


@pytest.fixture
async def connection(timescale_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to a database with every migration applied."""
    await migrate(timescale_url, deadline_s=60)
    async with connected(timescale_url) as opened:
        yield opened


@pytest.fixture
async def sink(
    timescale_url: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> AsyncIterator[PostgresSink]:
    """A sink in which BTCUSDT has the id that rows have."""
    await connection.execute(f"ALTER TABLE ops.instruments ALTER symbol_id RESTART WITH {SYMBOL_ID}")
    async with PostgresSink.opened(timescale_url) as opened:
        assert await opened.instrument_ids("spot", [BTC]) == {"BTCUSDT": SYMBOL_ID}
        yield opened


async def test_every_migration_is_applied_once(timescale_url: str) -> None:
    """All of them on the first run, none on the second."""
    first = await migrate(timescale_url, deadline_s=60)

    assert first == load_migrations()
    assert await migrate(timescale_url, deadline_s=60) == []


async def test_batches_are_written_once_however_often_they_come(
    sink: PostgresSink, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Staged, direct, and direct with a conflict that makes it staged."""
    staged = await sink.write(a_batch(trade_rows(range(10))))
    sink._staging[TRADES] = 0
    direct = await sink.write(a_batch(trade_rows(range(10, 20))))
    again = await sink.write(a_batch(trade_rows(range(5, 25))))

    assert [(each.rows, each.conflicts, each.staged) for each in (staged, direct, again)] == [
        (10, 0, True),
        (10, 0, False),
        (5, 15, True),
    ]
    assert await connection.fetchval("SELECT count(*) FROM spot.trades WHERE symbol = 'BTCUSDT'") == 25


async def test_last_version_of_a_candle_wins(
    sink: PostgresSink, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """The upsert of candles is understood as it is by a server."""
    await sink.write(a_kline_batch(a_kline("101", after_s=1), a_kline("103", after_s=3)))
    await sink.write(a_kline_batch(a_kline("102", after_s=2)))

    assert [str(row[0]) for row in await connection.fetch("SELECT close FROM spot.klines")] == ["103"]


# ---------------------------------------------------------------------- what the extension can do


@pytest.fixture
async def hypertable(
    sink: PostgresSink, connection: "asyncpg.Connection[asyncpg.Record]"
) -> "asyncpg.Connection[asyncpg.Record]":
    """A copy of the trades, as a hypertable with the same key, that holds 100 rows."""
    await connection.execute("CREATE TABLE spot_raw.copied (LIKE spot_raw.trades INCLUDING ALL)")
    await connection.execute("SELECT create_hypertable('spot_raw.copied', by_range('ts', INTERVAL '1 day'))")
    await sink.write(a_batch(trade_rows(range(100))))
    await connection.execute("INSERT INTO spot_raw.copied SELECT * FROM spot_raw.trades")
    return connection


async def test_hypertable_has_chunks_and_the_key(hypertable: "asyncpg.Connection[asyncpg.Record]") -> None:
    """The key holds across COPY and ON CONFLICT."""
    again = "INSERT INTO spot_raw.copied SELECT * FROM spot_raw.trades"
    with pytest.raises(asyncpg.UniqueViolationError):
        await hypertable.execute(again)

    assert await hypertable.execute(f"{again} ON CONFLICT DO NOTHING") == "INSERT 0 0"
    assert await hypertable.fetchval("SELECT count(*) FROM show_chunks('spot_raw.copied')") >= 1


async def test_columnstore_keeps_rows_and_refuses_duplicates(
    hypertable: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """Chunks are converted, the rows are the same, and late ones find the key."""
    before = await hypertable.fetch("SELECT * FROM spot_raw.copied ORDER BY trade_id")
    await hypertable.execute(
        "ALTER TABLE spot_raw.copied SET (timescaledb.enable_columnstore,"
        " timescaledb.segmentby = 'symbol_id', timescaledb.orderby = 'ts DESC, trade_id DESC')"
    )
    for row in await hypertable.fetch("SELECT show_chunks('spot_raw.copied')::text"):
        await hypertable.execute(f"CALL convert_to_columnstore('{row[0]}')")

    chunks = "SELECT bool_and(is_compressed) FROM timescaledb_information.chunks"
    assert await hypertable.fetchval(chunks) is True
    assert await hypertable.fetch("SELECT * FROM spot_raw.copied ORDER BY trade_id") == before
    late = "INSERT INTO spot_raw.copied SELECT * FROM spot_raw.trades ON CONFLICT DO NOTHING"
    assert await hypertable.execute(late) == "INSERT 0 0"


MINUTES = """
CREATE MATERIALIZED VIEW spot_raw.minutes
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT symbol_id, time_bucket('1 minute', ts) AS bucket, first(price, trade_id) AS open, count(*) AS trades
FROM spot_raw.copied GROUP BY symbol_id, bucket WITH NO DATA
"""
HOURS = """
CREATE MATERIALIZED VIEW spot_raw.hours
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT symbol_id, time_bucket('1 hour', bucket) AS hour, sum(trades) AS trades
FROM spot_raw.minutes GROUP BY symbol_id, hour WITH NO DATA
"""


async def test_continuous_aggregates_answer_before_and_after_their_refresh(
    hypertable: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """In real time from the rows, then from what is materialised; one upon the other."""
    await hypertable.execute(MINUTES)
    await hypertable.execute(HOURS)
    count = "SELECT sum(trades)::int FROM spot_raw.hours"
    before = await hypertable.fetchval(count)
    await hypertable.execute("CALL refresh_continuous_aggregate('spot_raw.minutes', NULL, NULL)")
    await hypertable.execute("CALL refresh_continuous_aggregate('spot_raw.hours', NULL, NULL)")

    assert [before, await hypertable.fetchval(count)] == [100, 100]


async def test_jobs_run_when_they_are_called(hypertable: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Policies of the columnstore, the aggregate and retention, and a job of one's own."""
    await hypertable.execute(MINUTES)
    await hypertable.execute("ALTER TABLE spot_raw.copied SET (timescaledb.enable_columnstore)")
    await hypertable.execute("CALL add_columnstore_policy('spot_raw.copied', after => INTERVAL '-10 days')")
    await hypertable.execute(
        "SELECT add_continuous_aggregate_policy('spot_raw.minutes', start_offset => INTERVAL '1 hour',"
        " end_offset => INTERVAL '-1 hour', schedule_interval => INTERVAL '1 hour')"
    )
    await hypertable.execute("CREATE TABLE ops.ran (job integer)")
    await hypertable.execute(
        "CREATE PROCEDURE ops.run_it(job integer, config jsonb)"
        " LANGUAGE sql AS 'INSERT INTO ops.ran VALUES ($1)'"
    )
    await hypertable.execute("SELECT add_job('ops.run_it', '1 hour')")
    jobs = await hypertable.fetch("SELECT job_id FROM timescaledb_information.jobs WHERE job_id >= 1000")
    for (job,) in jobs:
        await hypertable.execute(f"CALL run_job({job})")

    assert len(jobs) == 3
    assert await hypertable.fetchval("SELECT count(*) FROM ops.ran") == 1
    chunks = (
        "SELECT bool_and(is_compressed) FROM timescaledb_information.chunks WHERE hypertable_name = 'copied'"
    )
    assert await hypertable.fetchval(chunks) is True
    assert await hypertable.fetchval("SELECT sum(trades)::int FROM spot_raw.minutes") == 100


async def test_retention_drops_whole_chunks(hypertable: "asyncpg.Connection[asyncpg.Record]") -> None:
    """By the policy's job; and the aggregate of the dropped rows stays."""
    await hypertable.execute(MINUTES)
    await hypertable.execute("CALL refresh_continuous_aggregate('spot_raw.minutes', NULL, NULL)")
    job = await hypertable.fetchval("SELECT add_retention_policy('spot_raw.copied', INTERVAL '-10 days')")
    await hypertable.execute(f"CALL run_job({job})")

    assert await hypertable.fetchval("SELECT count(*) FROM spot_raw.copied") == 0
    assert await hypertable.fetchval("SELECT sum(trades)::int FROM spot_raw.minutes") == 100
