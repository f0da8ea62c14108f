"""Migrations against a real server."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import pytest

from ingest.errors import ConfigError, SchemaMismatch, StoreError, StoreUnavailable
from ingest.store.migrate import Migration, check_schema, load_migrations, migrate
from ingest.store.sessions import connected
from ingest.store.statements import statement
from tests.plugin_database import with_database

DEADLINE_S = 60.0

CONTRACT = {
    "spot.trades": "symbol trade_id ts price qty buyer_is_maker recv_ts symbol_id",
    "spot.agg_trades": (
        "symbol agg_trade_id ts price qty first_trade_id last_trade_id buyer_is_maker recv_ts symbol_id"
    ),
    "spot.book_tickers": "symbol update_id ts bid_price bid_qty ask_price ask_qty recv_ts symbol_id",
    "spot.depth_deltas": (
        "symbol first_update_id final_update_id ts bid_prices bid_qtys ask_prices ask_qtys recv_ts symbol_id"
    ),
    "spot.depth_snapshots": (
        "symbol last_update_id ts bid_prices bid_qtys ask_prices ask_qtys reason recv_ts"
        " bids_known_from asks_known_to symbol_id"
    ),
    "spot.klines": (
        "symbol interval open_time close_time open high low close volume quote_volume trades"
        " taker_buy_volume taker_buy_quote_volume is_closed recv_ts event_ts symbol_id"
    ),
    "spot.tickers": (
        "symbol ts kind last_price open high low volume quote_volume recv_ts price_change"
        " price_change_percent weighted_avg_price prev_close_price last_qty bid_price bid_qty ask_price"
        " ask_qty open_time close_time first_trade_id last_trade_id trades"
    ),
    "spot.avg_prices": "symbol ts interval avg_price last_trade_ts recv_ts",
    **dict.fromkeys(
        ("spot.candles_1s", "spot.candles_1m", "spot.candles_1h", "spot.candles_1d"),
        "symbol open_time close_time open high low close volume quote_volume trades taker_buy_volume"
        " taker_buy_quote_volume vwap first_trade_id last_trade_id is_closed is_complete missing_trades"
        " symbol_id",
    ),
    "spot.candle_differences": "symbol interval open_time field ours theirs",
    "ops.trade_coverage": "market symbol span carried_until",
    "ops.stream_freshness": (
        "market symbol kind shard feed state diagnosis last_event_ts last_recv_ts last_commit_ts age_s"
        " threshold_s verified_quiet_at reconnects open_gaps updated_at trades_behind"
    ),
    "ops.gaps": (
        "gap_id market symbol kind first_id last_id start_ts end_ts cause state rows_repaired opened_at"
        " closed_at note"
    ),
    "ops.feed_sessions": ("market feed shard url connected_at closed_at close_code reason streams messages"),
}


def a_migration(version: int, name: str, sql: str = "SELECT 1") -> Migration:
    return Migration(version, name, f"checksum of {sql}", sql)


ONE = a_migration(1, "one", "CREATE SCHEMA ops")
TWO = a_migration(2, "two", "CREATE TABLE ops.two (n integer)")
THREE = a_migration(3, "three", "CREATE TABLE ops.three (n integer)")


async def applied(url: str) -> list[str]:
    async with connected(url) as connection:
        rows = await connection.fetch(statement("applied_migrations"))
    return [row["name"] for row in rows]


@pytest.mark.parametrize("relation", CONTRACT)
async def test_relation_has_the_columns_of_the_contract(migrated_url: str, relation: str) -> None:
    """What other programs select answers with exactly the promised columns."""
    async with connected(migrated_url) as connection:
        query = await connection.prepare(f"SELECT * FROM {relation}")

        assert " ".join(attribute.name for attribute in query.get_attributes()) == CONTRACT[relation]


async def test_every_table_and_view_is_commented(migrated_url: str) -> None:
    """A reader finds words about each relation that is meant for readers."""
    async with connected(migrated_url) as connection:
        bare = await connection.fetch(
            "SELECT relnamespace::regnamespace || '.' || relname FROM pg_class "
            "WHERE relnamespace::regnamespace::text IN ('spot', 'ops') AND relkind IN ('r', 'v', 'p') "
            "AND obj_description(oid, 'pg_class') IS NULL"
        )
    assert bare == []


async def test_migrations_are_applied_once_and_recorded(database_url: str) -> None:
    """The first call applies all, with checksum and duration; the second has nothing to do."""
    first = await migrate(database_url, deadline_s=DEADLINE_S)
    second = await migrate(database_url, deadline_s=DEADLINE_S)

    assert first == load_migrations()
    assert second == []
    async with connected(database_url) as connection:
        await check_schema(connection)
        rows = await connection.fetch("SELECT * FROM ops.schema_migrations ORDER BY version")
    assert [row["checksum"] for row in rows] == [migration.checksum for migration in first]
    assert all(row["duration_ms"] >= 0 and row["applied_at"] for row in rows)


async def test_several_at_once_apply_everything_once(database_url: str) -> None:
    """Processes that start together do not trip over each other."""
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(migrate(database_url, deadline_s=DEADLINE_S)) for _ in range(5)]

    assert sorted(len(run.result()) for run in runs) == [0, 0, 0, 0, len(load_migrations())]


async def test_waiting_for_another_migration_has_an_end(database_url: str) -> None:
    """While another session holds the lock, migrating gives up at its deadline and says why."""
    async with connected(database_url) as other:
        await other.execute(statement("try_migration_lock"))

        with pytest.raises(StoreUnavailable, match=r"within 0\.3 s; is another process migrating"):
            await migrate(database_url, deadline_s=0.3)

    assert await migrate(database_url, deadline_s=DEADLINE_S, migrations=[ONE]) == [ONE]


async def test_failing_migration_leaves_nothing_behind(database_url: str) -> None:
    """A migration that fails half-way is rolled back whole; the ones before it stay."""
    broken = a_migration(2, "broken", "CREATE TABLE ops.half (n integer); SELECT no_such_column")

    with pytest.raises(SchemaMismatch, match="no_such_column"):
        await migrate(database_url, deadline_s=DEADLINE_S, migrations=[ONE, broken])

    assert await applied(database_url) == ["one"]
    async with connected(database_url) as connection:
        assert await connection.fetchval("SELECT to_regclass('ops.half')") is None
    assert await migrate(database_url, deadline_s=DEADLINE_S, migrations=[ONE, TWO]) == [TWO]


@pytest.mark.parametrize(
    ("known", "complaint"),
    [
        ([ONE, TWO._replace(checksum="other"), THREE], "0002_two was changed after it had been applied"),
        ([ONE, TWO._replace(name="zwei"), THREE], "0002_zwei was applied under the name 0002_two"),
        ([ONE, THREE._replace(version=3)], "0002_two was applied, but this program lacks it|newer than"),
        ([ONE], "newer than this program: it has migration 0002_two"),
    ],
    ids=["changed", "renamed", "missing", "newer"],
)
async def test_past_that_differs_is_refused_by_name(
    database_url: str, known: Sequence[Migration], complaint: str
) -> None:
    """A changed, renamed or missing past migration, or a newer database, is named and left alone."""
    await migrate(database_url, deadline_s=DEADLINE_S, migrations=[ONE, TWO])

    with pytest.raises(SchemaMismatch, match=complaint):
        await migrate(database_url, deadline_s=DEADLINE_S, migrations=known)
    async with connected(database_url) as connection:
        with pytest.raises(SchemaMismatch, match=complaint):
            await check_schema(connection, migrations=known)
    assert await applied(database_url) == ["one", "two"]


async def test_migration_that_came_too_late_is_refused(database_url: str) -> None:
    """A migration that should have been applied before a later one is not slipped in."""
    await migrate(database_url, deadline_s=DEADLINE_S, migrations=[ONE, TWO, THREE])
    async with connected(database_url) as connection:
        await connection.execute("DELETE FROM ops.schema_migrations WHERE version = 2")

    with pytest.raises(SchemaMismatch, match="0002_two was never applied, but later ones were"):
        await migrate(database_url, deadline_s=DEADLINE_S, migrations=[ONE, TWO, THREE])


async def test_check_names_what_is_missing(database_url: str) -> None:
    """A shard that meets an empty database says which migrations it lacks and what to do."""
    async with connected(database_url) as connection:
        with pytest.raises(SchemaMismatch, match=r"0001_operations.*ingest migrate"):
            await check_schema(connection)


def test_files_must_be_numbered_without_a_hole(tmp_path: Path) -> None:
    """A forgotten or doubly given number is noticed before anything is applied."""
    for name in ("0001_one.sql", "0003_three.sql"):
        (tmp_path / name).write_text("SELECT 1")

    with pytest.raises(SchemaMismatch, match="0001_one, 0003_three"):
        load_migrations(tmp_path)


def test_file_with_another_name_is_refused(tmp_path: Path) -> None:
    """A file that does not look like a migration is not silently left out."""
    (tmp_path / "fix.sql").write_text("SELECT 1")

    with pytest.raises(SchemaMismatch, match=r"fix\.sql"):
        load_migrations(tmp_path)


def test_checksum_does_not_depend_on_line_ends(tmp_path: Path) -> None:
    """A checkout with other line ends has the same migrations."""
    folders = [tmp_path / "unix", tmp_path / "dos"]
    for folder, line_end in zip(folders, (b"\n", b"\r\n"), strict=True):
        folder.mkdir()
        (folder / "0001_one.sql").write_bytes(b"SELECT 1;" + line_end)

    assert load_migrations(folders[0]) == load_migrations(folders[1])


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql://me:top/secret@127.0.0.1:5432/x", ConfigError),
        ("postgresql://me:topsecret@127.0.0.1:1/x", StoreUnavailable),
        ("postgresql://me:topsecret@/x?host=/nowhere", StoreUnavailable),
        ("mysql://me:topsecret@127.0.0.1/x", ConfigError),
    ],
)
async def test_password_is_in_no_message(url: str, kind: type[Exception]) -> None:
    """However connecting fails, nothing that is raised, nor what caused it, quotes the password."""
    with pytest.raises(kind) as raised:
        await migrate(url, deadline_s=DEADLINE_S)

    error: BaseException | None = raised.value
    while error is not None:
        assert "secret" not in f"{error} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


async def test_missing_database_is_not_waited_for(postgres_server: str) -> None:
    """A database that does not exist is a mistake, not an outage."""
    url = with_database(postgres_server, "no_such_database")
    with pytest.raises(StoreError, match="no_such_database") as raised:
        await migrate(url, deadline_s=DEADLINE_S)

    assert not raised.value.transient
    assert isinstance(raised.value.__cause__, asyncpg.InvalidCatalogNameError)
