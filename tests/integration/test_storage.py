"""How rows are kept on a plain server: what is arranged, refused, and dropped; and who may convert."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ingest.clock import SystemClock
from ingest.config import load_settings, storage_plan
from ingest.errors import ConfigError, StoreError, StoreUnavailable
from ingest.store.arrange import arrange
from ingest.store.capability import probe_all
from ingest.store.convert import convert
from ingest.store.partitions import ensure_partitions
from ingest.store.postgres import PostgresSink
from ingest.store.retention import Dropped, NotDropped, drop_expired, hot_indexes
from ingest.store.sessions import connected
from ingest.store.storage_plan import StoragePlan
from ingest.supervisor.housekeeping import Housekeeping
from tests.plugin_schema import NOW

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

DEADLINE_S = 60.0
DAY = timedelta(days=1)
INSERT = (
    "INSERT INTO spot_raw.trades (ts, trade_id, recv_ts, symbol_id, buyer_is_maker, price, qty)"
    " VALUES ($1, $2, $1, 1, true, 1, 1)"
)


def a_plan(timescale: str = "off", **keep_days: float) -> StoragePlan:
    kept = ", ".join(f"{kind} = {days}" for kind, days in keep_days.items())
    environment = {"INGEST_DATABASE_TIMESCALE": timescale, "INGEST_STORAGE_KEEP_DAYS": f"{{ {kept} }}"}
    return storage_plan(load_settings(environment=environment))


@pytest.fixture
async def connection(migrated_url: str) -> AsyncIterator["Connection"]:
    """A connection to a database that is arranged to keep trades for ten days."""
    await arrange(migrated_url, a_plan(trade=10), deadline_s=DEADLINE_S)
    async with connected(migrated_url) as opened:
        yield opened


async def dropped(connection: "Connection", now: datetime = NOW) -> list[Dropped | NotDropped]:
    """What a round does to the trades; the partitions of other tables are none of a test's business."""
    outcomes = [each async for each in drop_expired(connection, now=now, server_has_jobs=False)]
    return [each for each in outcomes if each.relation in {"spot_raw.trades", "spot_raw.kept"}]


async def old_trades(connection: "Connection", *days_ago: int) -> None:
    for number, days in enumerate(days_ago, 1):
        at = NOW - days * DAY
        await ensure_partitions(connection, now=at, days_ahead=0, days_back=0)
        await connection.execute(INSERT, at, number)


# ---------------------------------------------------------------------- arranging


async def test_plain_server_keeps_partitions(migrated_url: str) -> None:
    """Nothing is changed and nothing left over; it is written down."""
    arranged = await arrange(migrated_url, a_plan("off"), deadline_s=DEADLINE_S)
    assert (arranged.changed, arranged.left) == ((), ())
    assert arranged.judgement.use.edition == "plain"

    async with connected(migrated_url) as connection:
        rows = {row["relation"]: row for row in await connection.fetch("SELECT * FROM ops.storage")}
        found = await connection.fetchrow("SELECT asked, used FROM ops.capability")
    assert {name: row["kind"] for name, row in rows.items() if row["kind"] != "partitions"} == {
        "spot_raw.candles_1h": "table",
        "spot_raw.candles_1d": "table",
    }
    assert rows["spot_raw.candles_1s"]["keep"] == 30 * DAY
    assert (rows["spot_raw.trades"]["chunk"], rows["spot_raw.trades"]["keep"]) == (DAY, 90 * DAY)
    assert (rows["spot_raw.klines"]["keep"], rows["spot_raw.klines"]["compress_after"]) == (None, None)
    assert found is not None
    assert tuple(found) == ("off", "plain")


@pytest.fixture
async def plain_url(migrated_url: str) -> str:
    """URL of a database on a server that has no TimescaleDB at all."""
    async with connected(migrated_url) as connection:
        if (await probe_all(connection)).available:
            pytest.skip("this server has TimescaleDB")
    return migrated_url


async def test_auto_takes_a_plain_server_as_it_is(plain_url: str) -> None:
    """Without a warning: nobody has asked for more."""
    arranged = await arrange(plain_url, a_plan("auto"), deadline_s=DEADLINE_S)

    assert (arranged.judgement.use.edition, arranged.judgement.warnings) == ("plain", ())
    assert (arranged.changed, arranged.left) == ((), ())


@pytest.mark.parametrize("asked", ["apache", "full"])
async def test_what_the_server_lacks_is_refused(plain_url: str, asked: str) -> None:
    """Naming it, what was found, and what to do; nothing is written."""
    said = rf'timescale = "{asked}": found PostgreSQL [0-9.]+ without TimescaleDB; install'
    with pytest.raises(ConfigError, match=said):
        await arrange(plain_url, a_plan(asked), deadline_s=DEADLINE_S)

    async with PostgresSink.opened(plain_url) as sink:
        with pytest.raises(ConfigError, match=said):
            await Housekeeping(sink, a_plan(asked), clock=SystemClock()).start()
        async with sink.session() as connection:
            assert await connection.fetchval("SELECT count(*) FROM ops.capability") == 0


async def test_changed_ages_are_in_force_once_arranged(connection: "Connection", migrated_url: str) -> None:
    """The newest arrangement decides what is kept."""
    await old_trades(connection, 12)
    await arrange(migrated_url, a_plan(trade=0), deadline_s=DEADLINE_S)
    assert await dropped(connection) == []

    await arrange(migrated_url, a_plan(trade=5), deadline_s=DEADLINE_S)
    assert [each.relation for each in await dropped(connection)] == ["spot_raw.trades"]


# ---------------------------------------------------------------------- retention


async def test_only_partitions_of_which_all_is_too_old_are_dropped(connection: "Connection") -> None:
    """The oldest first; one that ends within the time to keep stays, as does everything younger."""
    await old_trades(connection, 0, 9, 10, 11, 30)
    names = [f"spot_raw.trades_p{NOW - days * DAY:%Y%m%d}" for days in (30, 11)]

    assert await dropped(connection) == [Dropped("spot_raw.trades", name) for name in names]
    rows = await connection.fetch("SELECT trade_id FROM spot_raw.trades ORDER BY trade_id")
    assert [row[0] for row in rows] == [1, 2, 3]
    assert await dropped(connection) == []


async def test_old_rows_in_the_net_are_dropped_too(connection: "Connection") -> None:
    """Those that never had a partition would stay for ever; younger ones wait for theirs."""
    for number, days in enumerate((400, 300, 10, -300)):
        await connection.execute(INSERT, NOW - days * DAY + timedelta(hours=1), number)

    assert await dropped(connection) == [Dropped("spot_raw.trades", "2 rows")]
    assert await connection.fetchval("SELECT array_agg(trade_id ORDER BY trade_id) FROM spot_raw.trades") == [
        2,
        3,
    ]


async def test_rows_of_a_plain_table_are_dropped_by_age(connection: "Connection") -> None:
    """A relation without partitions loses rows, not parts."""
    await connection.execute(
        "CREATE TABLE spot_raw.kept (open_time timestamptz); ALTER TABLE spot_raw.kept OWNER TO ingest_owner;"
        "INSERT INTO spot_raw.kept SELECT now() - n * interval '1 hour' FROM generate_series(1, 25000) AS n;"
        "INSERT INTO ops.storage (relation, kind, ts_column, keep)"
        " VALUES ('spot_raw.kept', 'table', 'open_time', '1000.5 hours')"
    )
    (gone,) = await dropped(connection, datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, UTC))

    assert gone == Dropped("spot_raw.kept", "24000 rows")
    assert await connection.fetchval("SELECT count(*) FROM spot_raw.kept") == 1_000


async def test_lock_is_not_waited_for(connection: "Connection", migrated_url: str) -> None:
    """A partition that somebody reads stays until the next round; writers go on meanwhile."""
    await old_trades(connection, 0, 20)
    async with connected(migrated_url) as reader:
        async with reader.transaction():
            await reader.fetch("SELECT * FROM spot_raw.trades")
            (stays,) = await dropped(connection)
            await connection.execute(INSERT, NOW, 99)
        assert isinstance(stays, NotDropped)
        assert isinstance(stays.error, StoreUnavailable)
        assert "lock timeout" in str(stays.error)

    assert isinstance((await dropped(connection))[0], Dropped)


async def test_lost_connection_ends_the_round(connection: "Connection", migrated_url: str) -> None:
    """There is no use in asking on."""
    await old_trades(connection, 20)
    async with connected(migrated_url) as other:
        await other.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())

    with pytest.raises(StoreUnavailable):
        await dropped(connection)


async def test_function_drops_nothing_but_planned_partitions(connection: "Connection") -> None:
    """Whoever may call it cannot drop other tables with it."""
    with pytest.raises(Exception, match="ops.shards is no partition of ops.gaps"):
        await connection.execute("SELECT ops.drop_partition('ops.gaps', 'ops.shards')")


# ---------------------------------------------------------------------- the service


async def test_housekeeping_keeps_partitions_and_ages(connection: "Connection", migrated_url: str) -> None:
    """A start makes partitions and notes what the server can do; a round drops what is too old."""
    await old_trades(connection, 20)
    async with PostgresSink.opened(migrated_url) as sink:
        housekeeping = Housekeeping(sink, a_plan(trade=10), clock=SystemClock())
        await housekeeping.start()
        await housekeeping.round()

    assert await connection.fetchval("SELECT used FROM ops.capability") == "plain"
    assert await connection.fetchval("SELECT count(*) FROM spot_raw.trades") == 0


async def test_hot_indexes_are_those_of_now(connection: "Connection") -> None:
    """Partitions long past, and those made ahead, do not count."""
    before = await hot_indexes(connection)
    await old_trades(connection, *[30] * 1)
    await connection.execute(
        "INSERT INTO spot_raw.trades SELECT $1, n, $1, 1, true, 1, 1 FROM generate_series(1000, 3000) AS n",
        NOW - 30 * DAY,
    )
    assert (await hot_indexes(connection)) == before
    await connection.execute(
        "INSERT INTO spot_raw.trades SELECT $1, n, $1, 1, true, 1, 1 FROM generate_series(1000, 3000) AS n",
        NOW,
    )
    after = await hot_indexes(connection)
    assert after.index_bytes > before.index_bytes
    assert after.fit


# ---------------------------------------------------------------------- converting


async def test_conversion_needs_hypertables(migrated_url: str) -> None:
    """A server without them has nothing to convert to."""
    with pytest.raises(ConfigError, match=r'--convert: \[database\] timescale = "off" and PostgreSQL'):
        await convert(migrated_url, a_plan(), tell=lambda _: None)


async def test_nobody_converts_beside_a_writer(migrated_url: str) -> None:
    """Whoever has a sink open keeps conversions away, however idle he is."""
    async with PostgresSink.opened(migrated_url, connections=1):
        with pytest.raises(StoreError, match="stop the service, then convert"):
            await convert(migrated_url, a_plan(), tell=lambda _: None)

    with pytest.raises(ConfigError):
        await convert(migrated_url, a_plan(), tell=lambda _: None)


async def test_nobody_writes_beside_a_conversion(connection: "Connection", migrated_url: str) -> None:
    """A writer that comes meanwhile is told to come again."""
    await connection.execute("SELECT pg_advisory_lock(hashtext('ingest writers'), 0)")
    with pytest.raises(StoreUnavailable, match="being converted"):
        async with PostgresSink.opened(migrated_url, connections=1):
            pass

    await connection.execute("SELECT pg_advisory_unlock(hashtext('ingest writers'), 0)")
    async with PostgresSink.opened(migrated_url, connections=1):
        pass


async def test_writer_makes_a_half_done_conversion_begin_anew(
    connection: "Connection", migrated_url: str
) -> None:
    """What was copied may be changed from now on."""
    await connection.execute(
        "INSERT INTO ops.conversions VALUES ('spot_raw.trades', 'spot_raw.trades_p1', 5)"
    )
    async with PostgresSink.opened(migrated_url, connections=1):
        assert await connection.fetchval("SELECT count(*) FROM ops.conversions") == 0


async def test_arranging_has_a_deadline(connection: "Connection", migrated_url: str) -> None:
    """It waits for whoever migrates, but not for ever."""
    await connection.execute("SELECT pg_advisory_lock(hashtext('ingest migrations'), 0)")
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(StoreUnavailable, match="is another process migrating"):
            await arrange(migrated_url, a_plan(), deadline_s=0.3)
