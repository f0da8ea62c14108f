"""Brings a database to the schema that this program writes to; forward only.

Decides whether the database and this program agree. Each migration is one transaction with its record;
whoever comes second waits, for a bounded time, on an advisory lock. Refused, with the migration's name:
one that was changed or removed after it was applied, one that should have come earlier, and a database
that is newer than the program. At the end the roles get their rights on what is there now.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ingest.clock import Clock, SystemClock
from ingest.errors import SchemaMismatch, StoreUnavailable
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.roles import grant_roles
from ingest.store.sessions import connected
from ingest.store.statements import sql_folder, statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

_FILE: Final = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql")
_LOCK_POLL_S: Final = 0.1
_LOCK_TIMEOUT: Final = "5s"


class Migration(NamedTuple):
    """One file of `sql/migrations`; `checksum` is the SHA-256 of its text with Unix line ends."""

    version: int
    name: str
    checksum: str
    sql: str

    def __str__(self) -> str:
        return f"{self.version:04d}_{self.name}"


def load_migrations(folder: Path | None = None) -> list[Migration]:
    """All migrations in order; SchemaMismatch when the files are not numbered 1, 2, 3 without a hole."""
    folder = folder or sql_folder() / "migrations"
    found = [_loaded(file) for file in sorted(folder.glob("*.sql"))]
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise SchemaMismatch(f"migrations are not numbered without a hole: {', '.join(map(str, found))}")
    return found


def _loaded(file: Path) -> Migration:
    match = _FILE.fullmatch(file.name)
    if match is None:
        raise SchemaMismatch(f"not the name of a migration: {file.name}")
    sql = file.read_text(encoding="utf-8")
    return Migration(int(match[1]), match[2], hashlib.sha256(sql.encode()).hexdigest(), sql)


async def migrate(
    database: "Connection | str",
    *,
    deadline_s: float,
    migrations: Sequence[Migration] | None = None,
    clock: Clock | None = None,
) -> list[Migration]:
    """Apply what is missing, and return it (empty when nothing was).

    `database` is a URL or a connection outside a transaction. StoreUnavailable when the deadline passes,
    also while another process migrates; SchemaMismatch as the module says.
    """
    if isinstance(database, str):
        async with connected(database, application="ingest migrate") as connection:
            return await migrate(connection, deadline_s=deadline_s, migrations=migrations, clock=clock)
    known = load_migrations() if migrations is None else migrations
    try:
        async with asyncio.timeout(deadline_s):
            return await _migrate_locked(database, known, clock or SystemClock())
    except TimeoutError as error:
        message = f"migrations not done within {deadline_s:g} s; is another process migrating?"
        raise StoreUnavailable(message) from error
    except DRIVER_ERRORS as error:
        raise translated(error) from error


async def _migrate_locked(
    connection: "Connection", known: Sequence[Migration], clock: Clock
) -> list[Migration]:
    async with migration_lock(connection):
        missing = _missing(await _applied(connection), known)
        for migration in missing:
            await _apply(connection, migration, clock)
        await grant_roles(connection)
        return missing


@asynccontextmanager
async def migration_lock(connection: "Connection") -> AsyncIterator[None]:
    """Hold what lets one process at a time change the schema; waits for it without limit."""
    while not await connection.fetchval(statement("try_migration_lock")):
        await asyncio.sleep(_LOCK_POLL_S)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute(statement("release_migration_lock"))


async def _apply(connection: "Connection", migration: Migration, clock: Clock) -> None:
    started_s = clock.monotonic_s()
    async with connection.transaction():
        await connection.execute("SELECT set_config('lock_timeout', $1, true)", _LOCK_TIMEOUT)
        # The session's limit is meant for batches; the caller's deadline bounds a migration.
        await connection.execute("SELECT set_config('statement_timeout', '0', true)")
        try:
            await connection.execute(migration.sql, timeout=3_600)
        except DRIVER_ERRORS as error:
            error.add_note(f"in migration {migration}")
            raise
        if not await connection.fetchval(statement("has_migrations_table")):
            await connection.execute(statement("create_migrations_table"))
        duration_ms = (clock.monotonic_s() - started_s) * 1_000
        record = (migration.version, migration.name, migration.checksum, duration_ms)
        await connection.execute(statement("record_migration"), *record)


async def check_schema(connection: "Connection", *, migrations: Sequence[Migration] | None = None) -> None:
    """Return when the database has exactly this program's migrations; SchemaMismatch otherwise."""
    try:
        applied = await _applied(connection)
    except DRIVER_ERRORS as error:
        raise translated(error) from error
    if missing := _missing(applied, load_migrations() if migrations is None else migrations):
        names = ", ".join(map(str, missing))
        raise SchemaMismatch(f"the database lacks migrations: {names}; run `ingest migrate`")


async def _applied(connection: "Connection") -> dict[int, tuple[str, str]]:
    """Name and checksum by version."""
    if not await connection.fetchval(statement("has_migrations_table")):
        return {}
    rows = await connection.fetch(statement("applied_migrations"))
    return {row["version"]: (row["name"], row["checksum"]) for row in rows}


def _missing(applied: Mapping[int, tuple[str, str]], known: Sequence[Migration]) -> list[Migration]:
    """What is still to be applied; SchemaMismatch when the past is not what this program knows."""
    by_version = {migration.version: migration for migration in known}
    for version, (name, checksum) in applied.items():
        migration = by_version.get(version)
        if migration is None:
            raise SchemaMismatch(_unknown(f"{version:04d}_{name}", newer=version > len(known)))
        if migration.name != name:
            raise SchemaMismatch(f"migration {migration} was applied under the name {version:04d}_{name}")
        if migration.checksum != checksum:
            raise SchemaMismatch(f"migration {migration} was changed after it had been applied")
    newest = max(applied, default=0)
    missing = [migration for migration in known if migration.version not in applied]
    if missing and missing[0].version < newest:
        raise SchemaMismatch(f"migration {missing[0]} was never applied, but later ones were")
    return missing


def _unknown(name: str, *, newer: bool) -> str:
    if newer:
        return f"the database is newer than this program: it has migration {name}"
    return f"migration {name} was applied, but this program lacks it"
