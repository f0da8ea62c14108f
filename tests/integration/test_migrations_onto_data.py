"""Every migration applied onto a database that is in use: rows stay, the schema comes out the same.

`tests/data/schema/<name of a migration>.sql` holds rows as they could be when that migration was the newest.
A table without rows of that kind gets one made up by its columns' types; where the table refuses that, the
test asks for a file. So a new migration is tried from the day it is there.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ingest.errors import SchemaMismatch, StoreUnavailable
from ingest.store import migrate as migrating
from ingest.store.migrate import Migration, load_migrations, migrate
from ingest.store.sessions import connected
from tests.catalog import lines_of

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

DEADLINE_S = 60.0
ROWS = Path(__file__).parents[1] / "data" / "schema"
MIGRATIONS = load_migrations()
EARLIER = MIGRATIONS[:-1]

_TABLES = """
SELECT c.oid, c.oid::regclass::text AS name,
    (SELECT array_agg(quote_ident(attname) ORDER BY attnum) FROM pg_attribute
     WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname IN ('ops', 'spot_raw') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY 1
"""
_COLUMNS = """
SELECT quote_ident(attname) AS name, format_type(atttypid, atttypmod) AS type_name
FROM pg_attribute
WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attidentity = '' AND attgenerated = ''
"""
_MADE_UP = {
    "integer": "1",
    "bigint": "1",
    "smallint": "1",
    "text": "'x'",
    "name": "'x'",
    "boolean": "true",
    "numeric": "1.50",
    "double precision": "1.5",
    "timestamp with time zone": "'2026-01-01 10:00+00'",
    "interval": "'1 hour'",
    "date": "'2026-01-01'",
    "bytea": "'\\x00'",
    "jsonb": "'{}'",
    "regclass": "'pg_class'::regclass",
}


@pytest.fixture(params=EARLIER, ids=str)
def earlier(request: pytest.FixtureRequest) -> Migration:
    """Each migration but the newest: the one that a database in use stands at."""
    found: Migration = request.param
    return found


async def a_database_in_use(url: str, newest: Migration) -> None:
    """Migrate up to here, and put rows into every table there is."""
    for migration in MIGRATIONS[: newest.version]:
        await migrate(url, deadline_s=DEADLINE_S, migrations=MIGRATIONS[: migration.version])
        file = ROWS / f"{migration.name}.sql"
        async with connected(url) as connection:
            if file.exists():
                await connection.execute(file.read_text(encoding="utf-8"))
    async with connected(url) as connection:
        for table in await connection.fetch(_TABLES):
            if not await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table['name']})"):
                await _make_up_a_row(connection, table)


async def _make_up_a_row(connection: "Connection", table: asyncpg.Record) -> None:
    columns = await connection.fetch(_COLUMNS, table["oid"])
    values = [_made_up(column["type_name"]) for column in columns]
    names = ", ".join(column["name"] for column in columns)
    try:
        await connection.execute(f"INSERT INTO {table['name']} ({names}) VALUES ({', '.join(values)})")
    except asyncpg.PostgresError as error:
        pytest.fail(f"write rows of {table['name']} into {ROWS}/<name of its migration>.sql: {error}")


def _made_up(type_name: str) -> str:
    """A value of a type, as SQL; null where none is known, which a column may refuse."""
    if type_name.endswith("[]"):
        return f"ARRAY[{_made_up(type_name.removesuffix('[]'))}]::{type_name}"
    return _MADE_UP.get(type_name.partition("(")[0], "NULL")


async def rows_of(connection: "Connection", columns: dict[str, list[str]]) -> dict[str, set[str]]:
    """Every row of these tables, with these columns, as text."""
    return {
        table: {
            row[0] for row in await connection.fetch(f"SELECT ROW({', '.join(names)})::text FROM {table}")
        }
        for table, names in columns.items()
    }


async def columns_of(connection: "Connection") -> dict[str, list[str]]:
    return {table["name"]: table["columns"] for table in await connection.fetch(_TABLES)}


async def test_rows_stay_and_the_schema_comes_out_the_same(
    database_url: str, migrated_url: str, earlier: Migration
) -> None:
    """From each earlier version: every row stays, and the catalogs are those of a fresh database."""
    await a_database_in_use(database_url, earlier)
    async with connected(database_url) as connection:
        columns = await columns_of(connection)
        before = await rows_of(connection, columns)
    assert all(before.values())

    applied = await migrate(database_url, deadline_s=DEADLINE_S)

    assert applied == MIGRATIONS[earlier.version :]
    async with connected(database_url) as connection, connected(migrated_url) as fresh:
        after = await rows_of(connection, columns)
        assert {table: before[table] - after[table] for table in before if before[table] - after[table]} == {}
        assert await lines_of(connection) == await lines_of(fresh)


@pytest.mark.parametrize("mode", ["ACCESS SHARE", "ROW EXCLUSIVE"], ids=["reader", "writer"])
async def test_migration_gives_way_to_who_uses_the_tables(
    database_url: str, earlier: Migration, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a long transaction it comes through, or gives up and leaves all as it was; then it does."""
    monkeypatch.setattr(migrating, "_LOCK_TIMEOUT", "100ms")
    await a_database_in_use(database_url, earlier)
    next_one = MIGRATIONS[: earlier.version + 1]
    async with connected(database_url) as user, connected(database_url) as looker:
        tables = ", ".join((await columns_of(looker)).keys() - {"ops.schema_migrations"})
        before, refusal = await lines_of(looker), None
        async with user.transaction():
            await user.execute(f"LOCK TABLE {tables} IN {mode} MODE")
            try:
                await migrate(database_url, deadline_s=DEADLINE_S, migrations=next_one)
            except StoreUnavailable as error:
                refusal = error.sqlstate
            if refusal is not None:
                assert refusal == "55P03"
                assert await lines_of(looker) == before

    await migrate(database_url, deadline_s=DEADLINE_S, migrations=next_one)
    assert await migrate(database_url, deadline_s=DEADLINE_S, migrations=next_one) == []


async def test_file_that_was_edited_after_it_was_applied_is_refused(database_url: str) -> None:
    """A database is not migrated by other files than those it was made with, and is left as it was."""
    await migrate(database_url, deadline_s=DEADLINE_S, migrations=EARLIER)
    edited = [EARLIER[0]._replace(checksum="of an edited file"), *MIGRATIONS[1:]]
    async with connected(database_url) as connection:
        before = await lines_of(connection)

        with pytest.raises(SchemaMismatch, match="was changed after it had been applied"):
            await migrate(database_url, deadline_s=DEADLINE_S, migrations=edited)
        assert await lines_of(connection) == before
