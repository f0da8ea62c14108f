"""Tables as hypertables: arranged, converted, compressed, dropped; and written to as before all the while."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from ingest.binance.answers import Instrument
from ingest.buffer import encode
from ingest.buffer.tables import KLINES, TABLES, TRADES
from ingest.config import load_settings, storage_plan
from ingest.errors import StoreError
from ingest.store.arrange import Arranged, arrange
from ingest.store.convert import convert
from ingest.store.instants import instant
from ingest.store.migrate import migrate
from ingest.store.partitions import ensure_partitions, rows_in_default
from ingest.store.postgres import PostgresSink
from ingest.store.repairs import partitions_for
from ingest.store.retention import Dropped, drop_expired, failed_jobs, hot_indexes
from ingest.store.sessions import connected
from tests.rows import NOW_US, SYMBOL_ID, a_batch, a_kline, a_kline_batch, a_trade, trade_rows

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

DEADLINE_S = 120.0
BTC = Instrument("BTCUSDT", "TRADING", "BTC", "USDT", "0.01", "0.00001")
DAY_US = 86_400_000_000
DAY = timedelta(days=1)
NOW = instant(NOW_US)
NAMES = [f"spot_raw.{table.name}" for table in TABLES]


async def arranged(url: str, asked: str = "auto", **settings: str) -> Arranged:
    """The database as the configuration says: `compress_after_s`, `keep_days`, `chunk_hours`."""
    environment = {f"INGEST_STORAGE_{key.upper()}": value for key, value in settings.items()}
    environment["INGEST_DATABASE_TIMESCALE"] = asked
    return await arrange(url, storage_plan(load_settings(environment=environment)), deadline_s=DEADLINE_S)


async def converted(url: str, *, stop_after: int | None = None) -> list[str]:
    """What the conversion tells of each step; it is broken off after so many of them."""
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        if len(told) == stop_after:
            raise KeyError(line)

    await convert(url, storage_plan(load_settings(environment={})), tell=tell)
    return told


@pytest.fixture
async def connection(timescale_url: str) -> AsyncIterator["Connection"]:
    """A connection to a migrated database in which BTCUSDT has the id that rows have."""
    await migrate(timescale_url, deadline_s=DEADLINE_S)
    async with connected(timescale_url) as opened:
        await opened.execute(f"ALTER TABLE ops.instruments ALTER symbol_id RESTART WITH {SYMBOL_ID}")
        yield opened


@pytest.fixture
async def sink(timescale_url: str, connection: "Connection") -> AsyncIterator[PostgresSink]:
    """A sink on hypertables."""
    await arranged(timescale_url)
    async with PostgresSink.opened(timescale_url, connections=1) as opened:
        await opened.instrument_ids("spot", [BTC])
        yield opened


def old_trades(ids: range, *, days: int) -> list[bytes]:
    """Trades of some days ago, a millisecond apart."""
    at_us = NOW_US - days * DAY_US
    return [encode.trade(SYMBOL_ID, a_trade(each, ts_us=at_us + each * 1_000)) for each in ids]


async def kinds(connection: "Connection") -> dict[str, str]:
    """Of what is written by batches; for candles see `test_candles`."""
    rows = await connection.fetch("SELECT relation, kind FROM ops.storage WHERE relation = ANY ($1)", NAMES)
    return {row["relation"]: row["kind"] for row in rows}


async def policies(connection: "Connection") -> Mapping[str, dict[str, str]]:
    """Of each table: `compress_after` and `drop_after`; those of candles aside."""
    found: dict[str, dict[str, str]] = {}
    for row in await connection.fetch(
        "SELECT hypertable_name::text, config ->> 'compress_after', config ->> 'drop_after'"
        " FROM timescaledb_information.jobs WHERE hypertable_schema = 'spot_raw'"
        " AND hypertable_name::text NOT LIKE 'candles%'"
    ):
        policy = found.setdefault(row[0], {})
        policy.update({name: age for name, age in zip(("compress", "drop"), row[1:], strict=True) if age})
    return found


async def run_jobs(connection: "Connection", table: str, procedure: str) -> None:
    for (job,) in await connection.fetch(
        "SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_name = $1 AND proc_name = $2",
        table,
        procedure,
    ):
        await connection.execute(f"CALL public.run_job({job})")


async def columnar_chunks(connection: "Connection", table: str) -> int:
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM timescaledb_information.chunks"
            " WHERE hypertable_name = $1 AND is_compressed",
            table,
        )
    )


async def one(connection: "Connection", query: str) -> object:
    return await connection.fetchval(query)


# ---------------------------------------------------------------------- arranging


async def test_tables_of_an_owner_who_may_not_log_in_get_no_jobs(
    connection: "Connection", timescale_url: str
) -> None:
    """The extension came after the tables were handed over; when he may, all is arranged."""
    owner = f"owner_{uuid4().hex[:12]}"
    await connection.execute(f"CREATE ROLE {owner} NOLOGIN")
    try:
        await connection.execute(f"ALTER TABLE spot_raw.trades OWNER TO {owner}")
        first = await arranged(timescale_url)
        jobs = await connection.fetchval(
            "SELECT count(*) FROM timescaledb_information.jobs WHERE hypertable_schema = 'spot_raw'"
        )
        await connection.execute(f"ALTER ROLE {owner} LOGIN")
        second = await arranged(timescale_url)
    finally:
        await connection.execute(f"REASSIGN OWNED BY {owner} TO CURRENT_USER; DROP ROLE {owner}")

    assert (first.judgement.use.edition, jobs) == ("apache", 0)
    assert f"ALTER ROLE {owner} LOGIN" in " ".join(first.judgement.warnings)
    assert second.judgement.use.edition == "full"


async def test_empty_tables_become_hypertables_once(connection: "Connection", timescale_url: str) -> None:
    """All of them at the first run, with policies; the second changes nothing."""
    first = await arranged(timescale_url)
    second = await arranged(timescale_url, "full")

    changed = {sentence for sentence in first.changed if "candles" not in sentence}
    assert changed == {f"{name} is a hypertable" for name in NAMES}
    assert first.judgement.use.edition == "full"
    assert (second.changed, second.left) == ((), ())
    assert await kinds(connection) == dict.fromkeys(NAMES, "hypertable")
    found = await policies(connection)
    assert found["trades"] == {"compress": "1 day", "drop": "90 days"}
    assert found["klines"] == {"compress": "40 days"}
    assert await one(connection, "SELECT count(*) FROM ops.partition_plan") == 0
    assert not await one(connection, "SELECT to_regnamespace('ops_conversion') IS NOT NULL")


async def test_hypertable_is_the_table_that_it_replaces(connection: "Connection", timescale_url: str) -> None:
    """Columns, keys, rights, owner and comments are those of before, and views stand as they stood."""
    about = (
        "SELECT c.oid::regclass::text, obj_description(c.oid), c.relowner,"
        " array(SELECT a::text FROM unnest(coalesce(relacl, acldefault('r', relowner))) AS a ORDER BY 1),"
        " array(SELECT concat(attname, atttypid::regtype, attnotnull, col_description(c.oid, attnum))"
        "  FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum),"
        " array(SELECT replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') FROM pg_index"
        "  WHERE indrelid = c.oid AND indexrelid::regclass::text <> 'spot_raw.trades_by_time' ORDER BY 1),"
        " CASE relkind WHEN 'v' THEN pg_get_viewdef(c.oid) END, c.reloptions"
        " FROM pg_class AS c WHERE relnamespace::regnamespace::text IN ('spot', 'spot_raw')"
        " AND (relkind = 'v' AND relname NOT LIKE 'candle%' OR c.oid::regclass::text = ANY ($1)) ORDER BY 1"
    )
    await connection.execute(
        "CREATE ROLE reads; CREATE ROLE writes;"
        "GRANT SELECT ON spot.trades TO reads; GRANT SELECT, INSERT ON spot_raw.trades TO writes;"
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;"
        "ALTER VIEW spot.trades SET (security_barrier = true);"
        "COMMENT ON TABLE spot_raw.trades IS 'kept';"
        "CREATE FUNCTION spot.newest() RETURNS spot.trades LANGUAGE sql AS 'SELECT * FROM spot.trades';"
        "CREATE VIEW spot.over AS SELECT symbol FROM spot.trades"
    )
    try:
        before = await connection.fetch(about, sorted(NAMES))
        await arranged(timescale_url)

        assert await connection.fetch(about, sorted(NAMES)) == before
        assert await one(connection, "SELECT count(*) FROM spot.over") == 0
    finally:
        await connection.execute(
            "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM PUBLIC;"
            "DROP OWNED BY reads, writes; DROP ROLE reads; DROP ROLE writes"
        )


async def test_changed_configuration_alters_the_policies(
    connection: "Connection", timescale_url: str
) -> None:
    """Ages and spans; what is no longer wanted goes."""
    await arranged(timescale_url)
    other = {
        "compress_after_s": "172800",
        "keep_days": "{ trade = 0, depth = 3 }",
        "chunk_hours": "{ trade = 6 }",
    }
    changed = (await arranged(timescale_url, **other)).changed

    assert "spot_raw.trades: new chunks span 06:00:00 (were: 1 day)" in changed
    assert "spot_raw.trades: no policy drops chunks any more (was: after 90 days)" in changed
    assert "spot_raw.depth_deltas: a policy drops chunks after 3 days" in changed
    found = await policies(connection)
    assert found["trades"] == {"compress": "2 days"}
    assert found["depth_deltas"] == {"compress": "2 days", "drop": "3 days"}
    kept = await connection.fetchrow(
        "SELECT chunk, compress_after, keep FROM ops.storage WHERE relation LIKE '%.trades'"
    )
    assert kept is not None
    assert tuple(kept) == (timedelta(hours=6), 2 * DAY, None)
    assert (await arranged(timescale_url, **other)).changed == ()

    await arranged(timescale_url, **{**other, "compress_after_s": "0"})
    assert "trades" not in await policies(connection)


async def test_apache_edition_has_hypertables_without_policies(
    connection: "Connection", timescale_url: str
) -> None:
    """What needs the Timescale licence is not touched, and taken away where it was."""
    await arranged(timescale_url, "apache")
    assert set((await kinds(connection)).values()) == {"hypertable"}
    assert await policies(connection) == {}

    await arranged(timescale_url, "full")
    await arranged(timescale_url, "apache")
    assert await policies(connection) == {}


async def test_off_uses_partitions_and_undoes_nothing(connection: "Connection", timescale_url: str) -> None:
    """Whatever the server could do; hypertables that are there stay, and are named."""
    off = await arranged(timescale_url, "off")
    assert (off.judgement.use.edition, off.changed, off.left) == ("plain", (), ())
    assert set((await kinds(connection)).values()) == {"partitions"}

    await arranged(timescale_url)
    again = await arranged(timescale_url, "off")
    assert "spot_raw.trades stays a hypertable: nothing makes partitions of one" in again.left
    assert "candles stay continuous aggregates: history is in them that is nowhere else" in again.left
    assert await policies(connection) == {}


# ---------------------------------------------------------------------- converting


@pytest.fixture
async def partitioned(connection: "Connection", timescale_url: str) -> "Connection":
    """Trades of four days in partitions, and some in the default one; nothing of it arranged."""
    async with PostgresSink.opened(timescale_url, connections=1) as sink:
        await sink.instrument_ids("spot", [BTC])
        await ensure_partitions(connection, now=NOW, days_back=3, days_ahead=1)
        for days in range(4):
            await sink.write(a_batch(old_trades(range(days * 100, days * 100 + 50), days=days)))
        await sink.write(a_batch(old_trades(range(900, 907), days=30)))
    return connection


async def test_table_with_rows_is_left_and_named(partitioned: "Connection", timescale_url: str) -> None:
    """The others become hypertables; this one goes on as it was."""
    found = await arranged(timescale_url)

    sentence = "spot_raw.trades has rows and stays partitioned: `ingest migrate --convert` moves it"
    assert found.left == (sentence,)
    assert {name for name, kind in (await kinds(partitioned)).items() if kind == "partitions"} == {
        "spot_raw.trades"
    }
    assert await one(partitioned, "SELECT count(*) FROM spot.trades") == 207


async def test_rows_are_moved_into_a_hypertable(partitioned: "Connection", timescale_url: str) -> None:
    """All of them, those of the default partition too, once; and a second conversion finds nothing to do."""
    every_row = "SELECT string_agg(t::text, ';' ORDER BY t::text) FROM spot.trades AS t"
    before = await one(partitioned, every_row)
    await arranged(timescale_url)
    told = await converted(timescale_url)

    assert await one(partitioned, every_row) == before
    assert (await kinds(partitioned))["spot_raw.trades"] == "hypertable"
    assert (await policies(partitioned))["trades"] == {"compress": "1 day", "drop": "90 days"}
    assert "spot_raw.trades_default: 7 rows (1 of" in told[0]
    assert "spot_raw.trades is a hypertable" in told
    assert "candles are continuous aggregates" in told
    assert await one(partitioned, "SELECT count(*) FROM ops.conversions") == 0
    assert await converted(timescale_url) == []


async def test_interrupted_conversion_goes_on(partitioned: "Connection", timescale_url: str) -> None:
    """What was copied is not copied again; until the end all rows are where they were."""
    await arranged(timescale_url)
    with pytest.raises(KeyError):
        await converted(timescale_url, stop_after=2)
    assert await one(partitioned, "SELECT count(*) FROM ops.conversions") == 2
    assert await one(partitioned, "SELECT count(*) FROM spot.trades") == 207

    told = await converted(timescale_url)
    assert not any("trades_default" in line for line in told)
    assert await one(partitioned, "SELECT count(*) FROM spot.trades") == 207


async def test_conversion_begins_anew_after_a_writer(partitioned: "Connection", timescale_url: str) -> None:
    """Rows that came in between, and changes of rows already copied, are not lost."""
    await arranged(timescale_url)
    with pytest.raises(KeyError):
        await converted(timescale_url, stop_after=2)
    async with PostgresSink.opened(timescale_url, connections=1) as sink:
        await sink.write(a_batch(old_trades(range(900, 910), days=30)))

    told = await converted(timescale_url)
    assert "spot_raw.trades_default: 10 rows" in told[0]
    assert await one(partitioned, "SELECT count(*) FROM spot.trades") == 210


# ---------------------------------------------------------------------- writing


async def test_batches_go_into_hypertables_as_into_partitions(
    sink: PostgresSink, connection: "Connection"
) -> None:
    """Staged, direct, and direct with a conflict that makes it staged; old days need no preparation."""
    staged = await sink.write(a_batch(trade_rows(range(10))))
    sink._staging[TRADES] = 0
    direct = await sink.write(a_batch(trade_rows(range(10, 20))))
    again = await sink.write(a_batch(trade_rows(range(5, 25))))
    await partitions_for(connection, "trade", NOW_US - 900 * DAY_US, NOW_US - 899 * DAY_US)
    old = await sink.write_again(a_batch(old_trades(range(500, 510), days=900)))

    assert [(each.rows, each.conflicts, each.staged) for each in (staged, direct, again, old)] == [
        (10, 0, True),
        (10, 0, False),
        (5, 15, True),
        (10, 0, True),
    ]
    assert await one(connection, "SELECT count(*) FROM spot.trades WHERE symbol = 'BTCUSDT'") == 35


async def test_nothing_is_left_to_do_about_partitions(sink: PostgresSink, connection: "Connection") -> None:
    """None lack, none has a net; what asks for one gets none."""
    assert await ensure_partitions(connection, now=NOW) == []
    assert await rows_in_default(connection) == {}
    assert await connection.fetchval("SELECT ops.ensure_partition('spot_raw.trades', now())") is None


async def test_late_trades_reach_a_converted_chunk_once(sink: PostgresSink, connection: "Connection") -> None:
    """Repaired ones, among others that are there already, through staging and through COPY; twice is once."""
    await sink.write(a_batch(old_trades(range(0, 3_000, 2), days=3)))
    await run_jobs(connection, "trades", "policy_compression")
    assert await columnar_chunks(connection, "trades") >= 1

    repaired = await sink.write_again(a_batch(old_trades(range(1_000, 2_000), days=3)))
    twice = await sink.write_again(a_batch(old_trades(range(1_000, 2_000), days=3)))
    sink._staging[TRADES] = 0
    direct = await sink.write(a_batch(old_trades(range(2_001, 3_000, 2), days=3)))
    sink._staging[TRADES] = 0
    mixed = await sink.write(a_batch(old_trades(range(1_000), days=3)))

    assert [(each.rows, each.conflicts) for each in (repaired, twice, direct, mixed)] == [
        (500, 500),
        (0, 1_000),
        (500, 0),
        (500, 500),
    ]
    ids = "SELECT array_agg(trade_id ORDER BY trade_id) FROM spot.trades"
    assert await one(connection, ids) == list(range(3_000))
    await run_jobs(connection, "trades", "policy_compression")
    assert await one(connection, ids) == list(range(3_000))


async def test_batch_of_many_symbols_reaches_a_converted_chunk(
    sink: PostgresSink, connection: "Connection"
) -> None:
    """However much has to be unpacked for it: more than the extension's default limit, 100,000 rows."""
    await connection.execute(
        "INSERT INTO spot_raw.klines SELECT t, t, t, t, 1, s, true, '1m', 1, 1, 1, 1, 1, 1, 1, 1"
        " FROM generate_series($1::timestamptz, $1::timestamptz + interval '999 minutes', '1 minute') AS t,"
        " generate_series(1, 110) AS s",
        instant(NOW_US - 100 * DAY_US),
    )
    await run_jobs(connection, "klines", "policy_compression")
    assert await columnar_chunks(connection, "klines") >= 1

    open_us = NOW_US - 100 * DAY_US
    later = a_kline("777", is_closed=True, after_s=90, open_us=open_us)
    rows = [encode.kline(symbol, later) for symbol in range(1, 111)]
    written = await sink.write(a_batch(rows, table=KLINES))
    assert written.rows == 110
    assert await one(connection, "SELECT count(*) FROM spot_raw.klines WHERE close = 777") == 110
    assert await one(connection, "SELECT count(*) FROM spot_raw.klines") == 110_000


async def test_last_version_of_a_candle_wins_in_a_converted_chunk(
    sink: PostgresSink, connection: "Connection"
) -> None:
    """A closed one over an open one that was compressed, and never the other way."""
    open_us = NOW_US - 100 * DAY_US
    await sink.write(a_kline_batch(a_kline("101", after_s=10, open_us=open_us)))
    await run_jobs(connection, "klines", "policy_compression")
    assert await columnar_chunks(connection, "klines") == 1

    await sink.write_again(a_kline_batch(a_kline("102", is_closed=True, after_s=60, open_us=open_us)))
    await sink.write_again(a_kline_batch(a_kline("103", after_s=30, open_us=open_us)))
    rows = await connection.fetch("SELECT close, is_closed FROM spot.klines")
    assert [(str(row[0]), row[1]) for row in rows] == [("102", True)]


# ---------------------------------------------------------------------- dropping


async def old_and_new(sink: PostgresSink) -> None:
    for days in (0, 80, 89, 95, 200):
        await sink.write(a_batch(old_trades(range(days, days + 1), days=days)))


async def test_policy_drops_old_chunks(sink: PostgresSink, connection: "Connection") -> None:
    """The server's job does what the configuration says, and the service leaves it to that."""
    await old_and_new(sink)
    gone = [each async for each in drop_expired(connection, now=NOW, server_has_jobs=True)]
    assert gone == []

    await run_jobs(connection, "trades", "policy_retention")
    assert await one(connection, "SELECT array_agg(trade_id ORDER BY trade_id) FROM spot.trades") == [
        0,
        80,
        89,
    ]
    assert await failed_jobs(connection) == []


async def test_service_drops_old_chunks_without_jobs(
    sink: PostgresSink, connection: "Connection", timescale_url: str
) -> None:
    """Under the Apache edition, whole chunks and no others."""
    await arranged(timescale_url, "apache")
    await old_and_new(sink)
    gone = [each async for each in drop_expired(connection, now=NOW, server_has_jobs=False)]

    assert all(isinstance(each, Dropped) and each.relation == "spot_raw.trades" for each in gone)
    assert len(gone) == 2
    assert await one(connection, "SELECT array_agg(trade_id ORDER BY trade_id) FROM spot.trades") == [
        0,
        80,
        89,
    ]


async def test_indexes_of_the_newest_chunks_are_measured(
    sink: PostgresSink, connection: "Connection"
) -> None:
    """Those that new rows go into."""
    before = await hot_indexes(connection)
    await sink.write(a_batch(trade_rows(range(1_000))))
    after = await hot_indexes(connection)

    assert after.index_bytes > before.index_bytes
    assert after.buffer_bytes > 0


async def test_what_else_stands_on_a_table_stops_the_swap(
    connection: "Connection", timescale_url: str
) -> None:
    """A thing of somebody else's is not dropped with it: the table stays, with an error that names it."""
    await connection.execute("CREATE MATERIALIZED VIEW public.mine AS SELECT count(*) FROM spot_raw.trades")

    with pytest.raises(StoreError, match=r"cannot drop table spot_raw\.trades"):
        await arranged(timescale_url)
    assert (await kinds(connection))["spot_raw.trades"] == "partitions"


async def test_age_of_a_continuous_aggregate_is_arranged(
    sink: PostgresSink, connection: "Connection"
) -> None:
    """Like that of a table: set, left alone, changed, taken away; and chunks of it can be dropped by hand."""
    await connection.execute(
        "CREATE MATERIALIZED VIEW spot_raw.hours WITH (timescaledb.continuous) AS"
        " SELECT symbol_id, public.time_bucket('1 hour', ts) AS open_time, count(*) FROM spot_raw.trades"
        " GROUP BY 1, 2 WITH NO DATA"
    )
    said = [
        await connection.fetchval("SELECT ops.arrange_retention('spot_raw.hours', $1)", keep)
        for keep in (90 * DAY, 90 * DAY, 30 * DAY, None, None)
    ]
    assert said == [
        "a policy drops chunks after 90 days",
        None,
        "a policy drops chunks after 30 days",
        "no policy drops chunks any more (was: after 30 days)",
        None,
    ]
    await connection.execute(
        "INSERT INTO ops.storage (relation, kind, ts_column, keep)"
        " VALUES ('spot_raw.hours', 'continuous_aggregate', 'open_time', '90 days')"
    )
    await sink.write(a_batch([*old_trades(range(1), days=200), *old_trades(range(1, 2), days=1)]))
    await connection.execute("CALL public.refresh_continuous_aggregate('spot_raw.hours', NULL, NULL)")
    await connection.execute("SELECT ops.drop_expired_chunks('spot_raw.hours', $1)", NOW - 90 * DAY)
    stored = "SELECT count(*) FROM spot_raw.hours WHERE open_time < now() - interval '90 days'"
    assert await one(connection, stored) == 0
