"""Three roles: each can do its work, as a user who has been granted that role and nothing else."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from ingest.binance.answers import Instrument
from ingest.buffer.tables import TABLES
from ingest.cli import main
from ingest.cli.tables import read_status
from ingest.events import StreamKey
from ingest.sequence.backfill import IdRange, Settled
from ingest.store import ledger, repairs, rhythms
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.instants import instant
from ingest.store.journal import Quarantined, SessionClosed, SessionOpened, write_entry
from ingest.store.migrate import check_schema, load_migrations, migrate
from ingest.store.partitions import ensure_partitions, rows_in_default
from ingest.store.postgres import PostgresSink
from ingest.store.publish import ShardRow, StreamRow
from ingest.store.retention import Dropped, drop_expired
from ingest.store.roles import grant_roles, missing_roles
from ingest.store.sessions import connected
from ingest.store.statements import parse_statements, sql_folder, statement
from tests.integration.test_postgres_sink import ROWS
from tests.plugin_database import (
    create_database,
    database_name,
    drop_database,
    run_apart,
    unique_name,
    with_database,
    with_user,
)
from tests.plugin_schema import NOW
from tests.rows import BTC_TRADE, NOW_US, a_batch, a_gap, the_gap_filled, trade_rows

DEADLINE_S = 60
SCHEMAS = ["ops", "spot", "spot_raw"]
BTC = Instrument("BTCUSDT", "TRADING", "BTC", "USDT", "0.01", "0.00001")
DENIED = asyncpg.InsufficientPrivilegeError
STREAM = StreamRow(BTC_TRADE, 0, "0", "live", "", NOW_US, NOW_US, NOW_US, 5.0, NOW_US, 0, 0)


class Users:
    """Users of one database, each with one role; they are taken away at the end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._names: list[str] = []

    def with_role(self, role: str) -> str:
        """The URL of a new user with nothing but this role."""
        name = unique_name(role.removeprefix("ingest_"))
        self._names.append(name)
        with ThreadPoolExecutor(1) as apart:  # a test's own loop may be running here
            apart.submit(run_apart, _execute(self._url, f"CREATE ROLE {name} LOGIN IN ROLE {role}")).result()
        return with_user(self._url, name)

    def end(self) -> None:
        for name in self._names:
            run_apart(_execute(self._url, f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}"))


async def _execute(url: str, sql: str) -> None:
    async with connected(url) as connection:
        await connection.execute(sql)


@pytest.fixture
def users(migrated_url: str) -> Iterator[Users]:
    """Users of a migrated database."""
    made = Users(migrated_url)
    yield made
    made.end()


@pytest.fixture
def writer_url(users: Users) -> str:
    """What shards and the supervisor connect with."""
    return users.with_role("ingest_writer")


@pytest.fixture
def reader_url(users: Users) -> str:
    """What signal jobs and notebooks connect with."""
    return users.with_role("ingest_reader")


# ---------------------------------------------------------------------- the writer's work


async def test_writer_stores_every_kind_of_row(writer_url: str) -> None:
    """Instruments, then each table by the staged and by the direct way, gaps in the same transaction."""
    async with PostgresSink.opened(writer_url) as sink:
        await sink.check_schema()
        ids = await sink.instrument_ids("spot", [BTC])
        await sink.instrument_ids("spot", [BTC._replace(status="BREAK")])
        for table in TABLES:
            await sink.write(a_batch([ROWS[table]], table=table))
            sink._staging[table] = 0
            again = await sink.write(a_batch([ROWS[table]], a_gap(note=table.name), table=table))
            assert again.conflicts == 1
        await sink.write(a_batch(trade_rows(range(5, 10)), the_gap_filled()))
        points = await sink.resume_points("spot", ["BTCUSDT"], ["trade", "kline_1m"], since_us=0)

        assert ids == {"BTCUSDT": 1}
        assert await sink.stored_book("spot", "BTCUSDT") is None
        assert points == {}


async def test_writer_of_two_lines_looks_for_book_tickers_by_id(writer_url: str) -> None:
    """Where two lines bring the same streams everything is staged."""
    async with PostgresSink.opened(writer_url, lines=2) as sink:
        for table in TABLES:
            assert (await sink.write(a_batch([ROWS[table]], table=table))).staged


async def test_writer_makes_partitions_and_counts_what_fell_beside(
    writer_url: str, migrated_url: str
) -> None:
    """For days ahead, and for an old day that a repair needs: rows in the net move with it."""
    old_us = NOW_US - 40 * 86_400_000_000
    async with connected(writer_url) as writer:
        made = await ensure_partitions(writer, now=NOW + timedelta(days=2))
        await writer.execute(
            "INSERT INTO spot_raw.trades VALUES ($1, 1, now(), 1, true, 1, 1)", instant(old_us)
        )
        astray = await rows_in_default(writer)
        await repairs.partitions_for(writer, "trade", old_us, old_us)
        settled = await rows_in_default(writer)

    assert {partition.relation for partition in made} >= {"spot_raw.trades", "spot_raw.depth_deltas"}
    assert (astray["spot_raw.trades"], settled["spot_raw.trades"]) == (1, 0)
    async with connected(migrated_url) as admin:
        owners = await admin.fetch(
            "SELECT DISTINCT c.relowner::regrole::text FROM pg_class AS c"
            " WHERE c.relnamespace = 'spot_raw'::regnamespace"
        )
    assert len(owners) == 1, "partitions belong to whom their table belongs"


async def test_writer_keeps_the_ledger(writer_url: str) -> None:
    """Gaps are listed, settled in parts, trimmed and closed."""
    async with PostgresSink.opened(writer_url) as sink, sink.session() as connection:
        await sink.instrument_ids("spot", [BTC])
        await ledger.write_gaps(connection, [a_gap(), a_gap(20, 30), a_gap(40, 50, repairable=False)])
        (first, second) = await repairs.open_gaps(connection, [BTC_TRADE], most=9)
        await repairs.hole_of(connection, first, 1)
        settled = Settled("repaired", 3, (IdRange(first.first_id, first.first_id),))
        await repairs.settle_gap(connection, first, settled, closed_us=NOW_US)
        newest = await ledger.newest_gap_id(connection)
        await ledger.gaps_after(connection, 0)
        await ledger.gaps_beside(connection, newest)
        await ledger.trim_gap(connection, 3, [ledger.GapPart(41, 42, NOW_US, NOW_US)])
        await ledger.close_covered_gaps(connection, [second.gap_id])
        await repairs.orphaned_gaps(connection, "spot", most=9)

        assert await ledger.count_open_gaps(connection) == {}
        assert await ledger.oldest_open_gaps(connection, 9) == []


async def test_writer_publishes_and_forgets(writer_url: str) -> None:
    """The freshness table, shards, rhythms, incidents, sessions and the quarantine."""
    async with PostgresSink.opened(writer_url) as sink, sink.session() as connection:
        for _ in range(2):
            await sink.publish_stream_states([STREAM])
            await sink.publish_shards([ShardRow(0, None, "up", None, 0, None, None, 0, 0, 0)])
            learned = rhythms.StoredRhythm(BTC_TRADE, (1.0,), (9,), 9, 5.0, "why")
            await rhythms.save_rhythms(connection, [learned])
            await connection.execute(
                statement("put_incident"),
                *(
                    "1-1",
                    "spot",
                    0,
                    "0",
                    ["spot:BTCUSDT:trade"],
                    "stream_silent",
                    "",
                    "alert",
                    ["x"],
                    NOW,
                    None,
                ),
            )
        assert len(await rhythms.load_rhythms(connection)) == 1
        await connection.execute(statement("close_orphaned_incidents"))
        await rhythms.forget_streams(connection, [StreamKey("spot", "NONE", "trade")])
        await rhythms.forget_unplanned(connection, "spot", [])
        for entry in (
            SessionOpened("spot", "0", 0, "ws://x", NOW_US, 3),
            SessionClosed("spot", "0", 0, "ws://x", NOW_US, 3, NOW_US, 1000, "stopped", 9),
            Quarantined(NOW_US, "spot", 0, "0", "frame", "broken", b"{"),
        ):
            await write_entry(connection, entry)
        await connection.execute(statement("trim_quarantine"), 0)
    async with connected(writer_url) as lone:
        await read_status(lone)


# ---------------------------------------------------------------------- every statement

_ROLE_OF_FILE = {
    **dict.fromkeys(
        ("alerts", "audit", "books", "deadman", "doctor", "export", "gaps", "reader", "sizes", "status"),
        "ingest_reader",
    ),
    **dict.fromkeys(
        (
            "candles",
            "journal",
            "latest",
            "ledger",
            "lookup",
            "notify",
            "partitions",
            "publish",
            "repairs",
            "silence",
            "staging",
            "verify",
        ),
        "ingest_writer",
    ),
    "candle_aggregates": "ingest_owner",
    "schema": "ingest_owner",
    "storage": "ingest_owner",
}
"""The least role that must be able to execute the statements of a file of `sql/queries`."""

_ROLE_OF_STATEMENT = {
    **dict.fromkeys(("has_migrations_table", "applied_migrations", "missing_roles"), "ingest_reader"),
    **dict.fromkeys(("column_types", "may_grant_roles", "promise_columns"), "ingest_writer"),
    "rhythm_explanations": "ingest_reader",
    **dict.fromkeys(("probe_capability", "capability", "storage"), "ingest_reader"),
    **dict.fromkeys(
        (
            *("record_capability", "forget_conversions", "has_conversions", "hot_index_bytes"),
            *("expired_partitions", "drop_partition", "delete_expired", "drop_expired_chunks"),
            *("partitioned_relations", "partitions_to_copy", "copied_partitions"),
        ),
        "ingest_writer",
    ),
    "note_relation_sizes": "ingest_writer",
    # Locks need no right.
    **dict.fromkeys(
        (
            *("try_migration_lock", "release_migration_lock", "lock_instruments", "lock_book_tickers"),
            *("join_writers", "exclude_writers", "admit_writers"),
        ),
        "ingest_reader",
    ),
}
"""Those that need less than the rest of their file, or more."""

_MORE_THAN_READS = re.compile(r"\b(INSERT|UPDATE|DELETE)\b")
_NOT_EXPLAINED = frozenset(
    {
        *("create_stages", "create_migrations_table", "hand_over", "export_begin"),
        # Of TimescaleDB.
        *("create_extension", "failed_jobs", "hypertable_sizes", "columnstore_sizes"),
    }
)
_ROLES = ("ingest_reader", "ingest_writer", "ingest_owner")


def _statements() -> list[tuple[str, str, str]]:
    """File, name, text."""
    found = []
    for file in sorted((sql_folder() / "queries").glob("*.sql")):
        found += [(file.stem, *piece) for piece in parse_statements(file.read_text(encoding="utf-8"))]
    return [piece for piece in found if piece[1] not in _NOT_EXPLAINED and piece[0] != "candle_aggregates"]


def _least_role(file: str, name: str) -> str:
    return _ROLE_OF_STATEMENT.get(name) or _ROLE_OF_FILE[file]


@pytest.mark.parametrize("role", _ROLES)
async def test_every_statement_may_be_executed_by_the_role_that_needs_it(users: Users, role: str) -> None:
    """And one that writes by none below; whether it may is asked by EXPLAIN."""
    wrong = []
    async with connected(users.with_role(role)) as connection:
        if connection.get_server_version() < (16,):
            pytest.skip("EXPLAIN of a statement with parameters takes PostgreSQL 16")
        if role == "ingest_owner" and not await _is_handed_over(connection):
            pytest.skip("with TimescaleDB everything stays with the user who has migrated")
        await connection.execute(statement("create_stages"))
        for file, name, text in _statements():
            must = _ROLES.index(_least_role(file, name)) <= _ROLES.index(role)
            try:
                await connection.execute(f"EXPLAIN (GENERIC_PLAN) {text}")
            except DENIED as error:
                wrong += [f"may not {name}: {error}"] if must else []
            else:
                wrong += [f"may {name}"] if not must and _MORE_THAN_READS.search(text) else []

    assert wrong == []


async def _is_handed_over(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    owner = await connection.fetchval(
        "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'ops'"
    )
    return bool(owner == "ingest_owner")


# ---------------------------------------------------------------------- nothing more

_MISCHIEF = (
    "CREATE TABLE spot_raw.mine (a integer)",
    "CREATE TABLE ops.mine (a integer)",
    "CREATE VIEW spot.mine AS SELECT 1 AS a",
    "CREATE FUNCTION ops.mine() RETURNS integer LANGUAGE sql RETURN 1",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "ALTER TABLE spot_raw.trades ADD COLUMN a integer",
    "ALTER TABLE spot_raw.klines ALTER COLUMN open TYPE float8",
    "ALTER FUNCTION ops.ensure_partition RENAME TO mine",
    "CREATE INDEX ON spot_raw.trades (ts)",
    "CREATE TRIGGER t BEFORE INSERT ON ops.gaps EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "DROP TABLE spot_raw.trades",
    "DROP VIEW spot.trades",
    "TRUNCATE spot_raw.trades",
    "TRUNCATE ops.gaps",
    "DELETE FROM spot_raw.trades",
    "UPDATE spot_raw.trades SET price = 1",
    "UPDATE spot_raw.depth_deltas SET bid_prices = '{}'",
    "DELETE FROM spot_raw.klines",
    "DELETE FROM ops.gaps",
    "DELETE FROM ops.instruments",
    "DELETE FROM ops.incidents",
    "INSERT INTO ops.schema_migrations (version, name, checksum, duration_ms) VALUES (99, '', '', 0)",
    "UPDATE ops.partition_plan SET grain = 'month'",
    "INSERT INTO ops.role_rights VALUES ('ingest_writer', 'ops', 'relation', 'gaps', '{DELETE}')",
    "SELECT ops.grant_roles()",
    "CALL ops.hand_over()",
    "SET ROLE ingest_owner",
    "GRANT ingest_owner TO CURRENT_USER",
    "COPY spot_raw.trades TO '/dev/null'",
)

_WRITES = (
    "INSERT INTO ops.gaps DEFAULT VALUES",
    "UPDATE ops.gaps SET note = ''",
    "DELETE FROM ops.stream_state",
    "INSERT INTO spot_raw.trades VALUES (now(), 1, now(), 1, true, 1, 1)",
    "INSERT INTO ops.quarantine (at) VALUES (now())",
    "SELECT ops.ensure_partition('spot_raw.trades', now())",
    "SELECT payload FROM ops.quarantine",
    "SELECT * FROM ops.quarantine",
    "SELECT * FROM ops.role_rights",
    "SELECT ops.rows_in_default()",
    "SELECT gap_id FROM ops.gaps FOR UPDATE",
    "DO 'BEGIN LOCK TABLE ops.gaps IN ROW EXCLUSIVE MODE; END'",
)


async def _may(connection: "asyncpg.Connection[asyncpg.Record]", attempts: tuple[str, ...]) -> list[str]:
    """Those of the attempts that are not refused for want of a right."""
    done = []
    for attempt in attempts:
        try:
            await connection.execute(attempt)
        except DENIED:
            continue
        except asyncpg.PostgresError as error:
            done.append(f"{attempt}: {error!r}")
        else:
            done.append(attempt)
    return done


async def test_writer_may_do_nothing_more(writer_url: str) -> None:
    """No DDL, nothing of what is stored deleted or altered, nothing of what others wrote."""
    async with connected(writer_url) as writer:
        assert await _may(writer, _MISCHIEF) == []


async def test_reader_may_change_nothing(reader_url: str) -> None:
    """Neither data nor schema; and what could not be stored is nothing for it."""
    async with connected(reader_url) as reader:
        assert await _may(reader, _MISCHIEF + _WRITES) == []


async def test_others_may_nothing_at_all(users: Users) -> None:
    """A user of the server without a role of ours sees nothing, and calls nothing."""
    async with connected(users.with_role("pg_monitor")) as stranger:
        relations = await stranger.fetch(
            "SELECT c.relname FROM pg_class AS c"
            " WHERE c.relnamespace::regnamespace::text = ANY ($1) AND c.relkind IN ('r', 'p', 'v', 'm')"
            " AND has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE')",
            SCHEMAS,
        )
        functions = await stranger.fetch(
            "SELECT p.proname FROM pg_proc AS p"
            " WHERE p.pronamespace::regnamespace::text = ANY ($1)"
            " AND has_function_privilege(p.oid, 'EXECUTE')",
            SCHEMAS,
        )

        assert (relations, functions) == ([], [])
        assert await _may(stranger, ("SELECT * FROM spot.trades",)) == []


async def test_writer_drops_only_what_is_too_old(writer_url: str, migrated_url: str) -> None:
    """Housekeeping works with the writer's rights, and these do not reach what is to be kept."""
    parent = "spot_raw.trades"
    async with connected(migrated_url) as admin:
        await admin.execute("UPDATE ops.storage SET keep = '10 days' WHERE relation = $1", parent)
    async with connected(writer_url) as writer:
        for days in (20, 5):
            await writer.fetchval(statement("ensure_partition"), parent, NOW - timedelta(days=days))
        kept = f"spot_raw.trades_p{NOW - timedelta(days=5):%Y%m%d}"
        with pytest.raises(DENIED, match="are to be kept"):
            await writer.execute(statement("drop_partition"), parent, kept)
        with pytest.raises(DENIED, match="are to be kept"):
            await writer.fetchval(statement("delete_expired"), parent, "ts", NOW, 1)
        dropped = [found async for found in drop_expired(writer, now=NOW, server_has_jobs=False)]

    assert dropped == [Dropped(parent, f"spot_raw.trades_p{NOW - timedelta(days=20):%Y%m%d}")]


async def test_partitions_cannot_be_made_of_anything_else(writer_url: str) -> None:
    """With its owner's rights the function works on the planned tables only, and goes by pg_catalog."""
    async with connected(writer_url) as writer:
        await writer.execute("CREATE TEMP TABLE mine (a integer); CREATE TEMP TABLE pg_inherits (a integer)")
        await writer.execute("SET search_path = pg_temp, spot_raw, pg_catalog")
        for relation in ("mine", "ops.gaps", "spot_raw.trades_default", "pg_catalog.pg_authid"):
            assert await writer.fetchval(statement("ensure_partition"), relation, NOW) is None
        old = NOW - timedelta(days=90)

        assert await writer.fetchval(statement("ensure_partition"), "spot_raw.trades", old) == 0


async def test_functions_with_their_owners_rights_have_a_path_of_their_own(migrated_url: str) -> None:
    """Nobody can put something of his own in the way, and not everybody may call them."""
    async with connected(migrated_url) as admin:
        rows = await admin.fetch(
            "SELECT p.proname, p.proconfig, has_function_privilege('public', p.oid, 'EXECUTE') AS public"
            " FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
            " WHERE n.nspname IN ('ops', 'spot', 'spot_raw') AND p.prosecdef"
        )

    assert {"ensure_partition", "completeness", "rows_in_default"} <= {row["proname"] for row in rows}
    for row in rows:
        assert "search_path=pg_catalog, pg_temp" in row["proconfig"], row["proname"]
        assert not row["public"], row["proname"]


# ---------------------------------------------------------------------- the reader's work

_CALLS = {
    "is_fresh": "ops.is_fresh('spot', 'BTCUSDT', 'trade', '1 day')",
    "require_fresh": "ops.require_fresh('spot', 'BTCUSDT', 'trade', '1 day')",
    "completeness": "ops.completeness('spot', 'BTCUSDT', now() - interval '1 day', now())",
    "share_before": "ops.share_before(now(), now() - interval '1 s', now())",
    "fresh_until": "ops.fresh_until(f) FROM ops.stream_state AS f",
    "missing_roles": "ops.missing_roles()",
    "trade_knowledge": "ops.trade_knowledge(1)::text",
    "ids_within": "ops.ids_within('{[1,5)}', 2, 9)",
    "rounding_of": "ops.rounding_of(0.123456789, 2)",
    "latest_trade": "spot.latest_trade('BTCUSDT')",
    "latest_book_ticker": "spot.latest_book_ticker('BTCUSDT')",
    "latest_book": "spot.latest_book('BTCUSDT')",
}
"""How each function that readers may call is called; a new one belongs here too."""


def _documented_relations() -> list[str]:
    readme = (sql_folder().parent / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Reading the data")[2].partition("\nBehind them")[0]
    names = {name for line in section.splitlines() if line.startswith("| `") for name in _names_in(line)}
    return sorted(names - {"ops.quarantine"})


def _names_in(line: str) -> list[str]:
    return re.findall(r"`((?:spot|ops)\.[a-z_0-9]+)`", line.split("|")[1])


async def test_reader_reads_every_documented_relation(reader_url: str) -> None:
    """All that the README names; of the quarantine what was refused and why, without the rows themselves."""
    names = _documented_relations()
    async with connected(reader_url) as reader:
        for name in names:
            await reader.fetch(f"SELECT * FROM {name} LIMIT 1")
        await reader.fetch("SELECT id, at, market, shard, feed, source, error FROM ops.quarantine")

    assert {"spot.trades", "ops.gaps", "ops.stream_freshness", "ops.shards"} <= set(names)


async def test_reader_calls_every_function_that_is_for_it(writer_url: str, reader_url: str) -> None:
    """And each works with no more rights than the reader has."""
    async with PostgresSink.opened(writer_url) as sink:
        await sink.instrument_ids("spot", [BTC])
        await sink.publish_stream_states([STREAM])
        await sink.write(a_batch(trade_rows([1, 2], symbol_id=1)))
    async with connected(reader_url) as reader:
        callable_ = await reader.fetch(
            "SELECT DISTINCT p.proname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
            " WHERE n.nspname IN ('ops', 'spot') AND has_function_privilege(p.oid, 'EXECUTE')"
        )
        for call in _CALLS.values():
            await reader.fetch(f"SELECT {call}")
        minutes = await reader.fetch(f"SELECT * FROM {_CALLS['completeness']}")

    assert {row["proname"] for row in callable_} == set(_CALLS)
    assert sum(row["stored"] for row in minutes) == 2


async def test_reader_sees_the_status(reader_url: str) -> None:
    """What `ingest status` and `ingest gaps` ask needs no more than reading."""
    async with connected(reader_url) as reader:
        await read_status(reader)
        await check_schema(reader)


# ---------------------------------------------------------------------- the owner's work


@pytest.fixture
def owner_url(postgres_server: str, schema_template: str) -> Iterator[str]:
    """A member of the owner, on an empty database in which it may make schemas and nothing else."""
    url = run_apart(create_database(postgres_server))
    users = Users(url)
    member_url = users.with_role("ingest_owner")
    grant = f'GRANT CREATE ON DATABASE "{database_name(url)}" TO ingest_owner'
    run_apart(_execute(url, grant))
    yield member_url
    users.end()
    run_apart(drop_database(postgres_server, url))


async def test_owner_migrates_an_empty_database(owner_url: str) -> None:
    """And grants all that ops.role_rights says."""
    assert await migrate(owner_url, deadline_s=DEADLINE_S) == load_migrations()
    async with connected(owner_url) as owner:
        await ensure_partitions(owner, now=NOW)
        lacking = await owner.fetch("SELECT * FROM ops.lacking_rights()")
        await grant_roles(owner)

    assert lacking == []
    assert await missing_roles(owner_url) == []


async def test_tables_made_later_get_their_grants(owner_url: str) -> None:
    """The next arranging grants what is new; the rest is left as it is."""
    await migrate(owner_url, deadline_s=DEADLINE_S)
    async with connected(owner_url) as owner:
        await owner.execute(
            "CREATE TABLE spot_raw.later (a integer); CREATE VIEW spot.later AS SELECT a FROM spot_raw.later"
        )
        commands = await owner.fetchval(statement("grant_roles"))
        again = await owner.fetchval(statement("grant_roles"))
        rights = await owner.fetchrow(
            "SELECT has_table_privilege('ingest_writer', 'spot_raw.later', 'INSERT') AS writes,"
            " has_table_privilege('ingest_reader', 'spot.later', 'SELECT') AS reads,"
            " has_table_privilege('ingest_reader', 'spot_raw.later', 'SELECT') AS reads_raw"
        )

    assert (commands, again) == (4, 0)
    assert rights is not None
    assert tuple(rights) == (True, True, True)


async def test_user_who_owns_nothing_changes_nothing(writer_url: str) -> None:
    """`ingest migrate` as the writer finds the schema up to date, and grants nothing."""
    assert await migrate(writer_url, deadline_s=DEADLINE_S) == []


async def test_schema_is_handed_over_to_its_owner(migrated_url: str) -> None:
    """Without the extension, whose jobs want an owner who may log in, everything belongs to the owner."""
    async with connected(migrated_url) as admin:
        if not await _is_handed_over(admin) and await admin.fetchval(
            "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'"
        ):
            pytest.skip("with TimescaleDB everything stays with the user who has migrated")
        owners = await admin.fetch(
            "SELECT relowner::regrole FROM pg_class WHERE relnamespace::regnamespace::text = ANY ($1)"
            " UNION SELECT proowner::regrole FROM pg_proc WHERE pronamespace::regnamespace::text = ANY ($1)"
            " UNION SELECT nspowner::regrole FROM pg_namespace WHERE nspname = ANY ($1)",
            SCHEMAS,
        )

    assert [row[0] for row in owners] == ["ingest_owner"]


# ---------------------------------------------------------------------- a server without the roles


@pytest.fixture
async def bare_server() -> AsyncIterator[str]:
    """URL of a server of the test's own, on which nobody has migrated anything yet."""
    with tempfile.TemporaryDirectory(prefix="ingest-roles-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", durable=False)
        try:
            yield await server.start()
        finally:
            await server.stop()


async def test_two_databases_may_make_the_roles_at_once(bare_server: str) -> None:
    """Roles belong to the server: whoever comes second finds them, and nothing fails."""
    async with connected(bare_server) as admin:
        await admin.execute("CREATE DATABASE another")
    urls = (bare_server, with_database(bare_server, "another"))
    async with asyncio.TaskGroup() as group:
        migrating = [group.create_task(migrate(url, deadline_s=DEADLINE_S)) for url in urls]

    assert [task.result() for task in migrating] == [load_migrations()] * 2
    for url in urls:
        assert await missing_roles(url) == []
        async with connected(url) as admin:
            assert await admin.fetch("SELECT * FROM ops.lacking_rights()") == []


async def test_roles_that_may_not_be_made_are_named_and_granted_later(
    bare_server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a managed server: the command says what is missing, and the next one grants it."""
    async with connected(bare_server) as admin:
        await admin.execute("CREATE ROLE tenant LOGIN")
        await admin.execute("CREATE DATABASE rented OWNER tenant")
    url = with_user(with_database(bare_server, "rented"), "tenant")
    first = await asyncio.to_thread(_migrate_by_command, url, monkeypatch, capsys)
    async with connected(bare_server) as admin:
        for line in first[-4:-1]:
            await admin.execute(line)
    second = await asyncio.to_thread(_migrate_by_command, url, monkeypatch, capsys)

    assert first[-4:-1] == [
        f"  CREATE ROLE {role} NOLOGIN;" for role in ("ingest_owner", "ingest_writer", "ingest_reader")
    ]
    assert "the schema is up to date" in second
    assert not [line for line in second if "roles" in line]
    async with connected(url) as tenant:
        assert await tenant.fetch("SELECT * FROM ops.lacking_rights()") == []
        assert await tenant.fetchval("SELECT has_table_privilege('ingest_reader', 'spot.trades', 'SELECT')")


def _migrate_by_command(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    monkeypatch.setenv("INGEST_DATABASE_URL", url)
    with pytest.raises(SystemExit) as ended:
        main(["migrate"])
    assert ended.value.code == 0
    return capsys.readouterr().out.splitlines()
