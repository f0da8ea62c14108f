"""Every kind of database trouble, provoked on a real server: the decision is carried out, nothing is lost.

One writer, as a shard has it, without a spool: what cannot be written waits in memory. Each test makes
trouble, sees the writer fail with the code that the table of decisions names, ends the trouble, and finds
every row stored once.
"""

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import pytest

from ingest.buffer import encode
from ingest.buffer.batcher import Batcher, BatchLimits
from ingest.buffer.tables import DEPTH_DELTAS, TRADES, Table
from ingest.clock import SystemClock
from ingest.errors import IngestError, SchemaMismatch, StoreError
from ingest.shard.records import Refusals, SessionRecords
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.journal import Journal
from ingest.store.migrate import migrate
from ingest.store.partitions import ensure_partitions
from ingest.store.postgres import PostgresSink
from ingest.store.retrying import RetryPolicy
from ingest.store.sessions import SessionLimits, connected
from ingest.store.writer import Writer
from tests.plugin_schema import NOW
from tests.rows import NOW_US, SYMBOL_ID, a_bad_trade_row, a_delta, a_gap, trade_rows

DEADLINE_S = 45.0
QUICK = SessionLimits(connect_s=5.0, acquire_s=5.0, statement_s=2.0, lock_s=0.3)


class Bench:
    """A writer on a real database that tells how it fares."""

    def __init__(self, sink: PostgresSink) -> None:
        self.sink = sink
        self.clock = SystemClock()
        self.batcher = Batcher(BatchLimits(max_rows=200, max_age_s=0.01))
        self.journal = Journal(sink.session, rng=random.Random(1))
        records = SessionRecords(0, self.journal, clock=self.clock, kept_frames_per_minute=1)
        self.writer = Writer(
            sink,
            self.batcher,
            clock=self.clock,
            on_commit=lambda *_: None,
            on_refused=Refusals(records, symbol_of=lambda _: "BTCUSDT", clock=self.clock),
            rng=random.Random(1),
            retry=RetryPolicy(first_s=0.01, cap_s=0.2),
            tick_s=0.005,
        )

    def add(self, first: int, last: int) -> None:
        """Trades first..last."""
        self.add_rows(trade_rows(range(first, last + 1)))

    def add_rows(self, rows: list[bytes], table: Table = TRADES) -> None:
        for row in rows:
            assert self.batcher.add(table, row, 0, 1, 1, NOW_US * 1_000, self.clock.monotonic_s())

    async def fails_with(self, text: str) -> None:
        """Wait until a write has failed with this in its words."""
        await until(lambda: self.writer.stats().failing_since_s is not None and text in self.last_error)

    async def commits(self) -> None:
        """Wait until all that was added is stored."""
        await until(lambda: self.batcher.stats().rows == 0)
        assert self.writer.stats().failing_since_s is None

    @property
    def last_error(self) -> str:
        return self.writer.stats().last_error


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def bench_on(url: str, *, connections: int = 2, limits: SessionLimits = QUICK) -> AsyncIterator[Bench]:
    """A running writer; at the end everything must have been written."""
    async with PostgresSink.opened(url, connections=connections, limits=limits) as sink:
        bench = Bench(sink)
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.writer.run())
            yield bench
            assert await bench.writer.drain(deadline_s=DEADLINE_S) == 0
        await bench.journal.drain(deadline_s=DEADLINE_S)


async def stored_ids(url: str) -> list[int]:
    async with connected(url) as connection:
        rows = await connection.fetch("SELECT trade_id FROM spot_raw.trades ORDER BY trade_id")
        return [row[0] for row in rows]


@asynccontextmanager
async def own_server(**settings: str) -> AsyncIterator[tuple[EmbeddedPostgres, str]]:
    """A server of the test's own, migrated, that may be ended."""
    with tempfile.TemporaryDirectory(prefix="ingest-trouble-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", durable=False, settings=settings)
        url = await server.start()
        try:
            await migrate(url, deadline_s=DEADLINE_S)
            async with connected(url) as connection:
                await ensure_partitions(connection, now=NOW)
            yield server, url
        finally:
            await server.stop()


# ---------------------------------------------------------------------- the server goes and comes


@pytest.mark.deadline(180)
@pytest.mark.parametrize(
    "how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["fast", "immediate", "killed"]
)
async def test_restarts_of_the_server_are_waited_out(how: signal.Signals) -> None:
    """Five restarts in a row while rows come: each is there once."""
    async with own_server() as (server, url):
        async with bench_on(url) as bench:
            for round_number in range(5):
                first = round_number * 200
                bench.add(first, first + 99)
                assert server.pid is not None
                os.kill(server.pid, how)
                await server.wait_ended()
                bench.add(first + 100, first + 199)
                await until(lambda: bench.writer.stats().failing_since_s is not None)
                await server.start()
                await bench.commits()

        assert await stored_ids(url) == list(range(1_000))
        assert bench.writer.stats().refused == 0


async def test_fail_over_to_a_read_only_server_is_waited_out(migrated_url: str) -> None:
    """While the database is read only rows wait; connections made meanwhile do not keep it so."""
    database = urlsplit(migrated_url).path.removeprefix("/")
    async with bench_on(migrated_url) as bench, connected(migrated_url) as other:
        await other.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
        await _end_other_sessions(other)
        bench.add(1, 500)
        await bench.fails_with("25006")
        await other.execute("SET default_transaction_read_only = off")
        await other.execute(f'ALTER DATABASE "{database}" RESET default_transaction_read_only')
        await bench.commits()

    assert await stored_ids(migrated_url) == list(range(1, 501))


async def _end_other_sessions(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )


@pytest.mark.deadline(120)
async def test_too_many_connections_are_waited_out() -> None:
    """Others have taken every slot of the server; when one is free again, writing goes on."""
    settings = {"max_connections": "6", "superuser_reserved_connections": "0", "reserved_connections": "0"}
    async with own_server(**settings) as (_, url), bench_on(url, connections=1) as bench:
        others = [await asyncpg.connect(url, timeout=DEADLINE_S) for _ in range(5)]
        try:
            async with asyncio.timeout(DEADLINE_S):
                while "53300" not in bench.last_error:
                    await _end_other_sessions_but(others)
                    others += await _fill(url)
                    bench.add(len(others), len(others))
                    await asyncio.sleep(0.05)
        finally:
            for other in others:
                other.terminate()
        bench.add(1_000, 1_100)
        await bench.commits()


async def _end_other_sessions_but(kept: list["asyncpg.Connection[asyncpg.Record]"]) -> None:
    """End the writer's session, from one of the others."""
    pids = [other.get_server_pid() for other in kept if not other.is_closed()]
    open_one = next(other for other in kept if not other.is_closed())
    await open_one.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND NOT pid = ANY ($1::int[])",
        pids,
    )


async def _fill(url: str) -> list["asyncpg.Connection[asyncpg.Record]"]:
    taken = []
    try:
        while True:
            taken.append(await asyncpg.connect(url, timeout=DEADLINE_S))
    except (asyncpg.TooManyConnectionsError, asyncpg.CannotConnectNowError):
        return taken


@pytest.fixture
def password_rules() -> Iterator[Path]:
    """Who may connect how, in a file that a server under another user can read."""
    with tempfile.TemporaryDirectory(prefix="ingest-rules-") as folder:
        rules = Path(folder) / "hba.conf"
        rules.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        rules.chmod(0o644)
        Path(folder).chmod(0o755)
        yield rules


async def _writer_made(admin: "asyncpg.Connection[asyncpg.Record]", admin_url: str) -> str:
    """A role that may write and nothing more, with the password `before`; returns its URL."""
    await admin.execute("CREATE ROLE writer LOGIN PASSWORD 'before'")
    await admin.execute("GRANT USAGE ON SCHEMA ops, spot, spot_raw TO writer")
    await admin.execute("GRANT ALL ON ALL TABLES IN SCHEMA ops, spot_raw TO writer")
    return urlunsplit(urlsplit(admin_url)._replace(netloc="writer:before@"))


@pytest.mark.deadline(120)
async def test_changed_password_is_waited_out(password_rules: Path) -> None:
    """New connections are refused until the password is what it was; the rows wait."""
    async with own_server(hba_file=str(password_rules)) as (_, admin_url), connected(admin_url) as admin:
        url = await _writer_made(admin, admin_url)
        async with bench_on(url) as bench:
            bench.add(1, 100)
            await bench.commits()
            await admin.execute("ALTER ROLE writer PASSWORD 'after'")
            await _end_other_sessions(admin)
            bench.add(101, 200)
            await bench.fails_with("28P01")
            assert "before" not in bench.last_error
            await admin.execute("ALTER ROLE writer PASSWORD 'before'")
            await bench.commits()

        assert await stored_ids(admin_url) == list(range(1, 201))


# ---------------------------------------------------------------------- the server does not answer


async def test_lock_that_is_held_for_long_is_waited_out(migrated_url: str) -> None:
    """Each attempt ends by the session's own limit and gives its connection back, however often."""
    async with bench_on(migrated_url) as bench:
        async with connected(migrated_url) as holder, holder.transaction():
            await holder.execute("LOCK TABLE spot_raw.trades IN ACCESS EXCLUSIVE MODE")
            bench.add(1, 500)
            await bench.fails_with("55P03")
            bench.add_rows([encode.depth_delta(SYMBOL_ID, a_delta())], DEPTH_DELTAS)
            await until(lambda: bench.batcher.is_empty(DEPTH_DELTAS))  # another table does not wait
            await until(lambda: bench.writer.stats().retries >= 5)
        await bench.commits()

    assert await stored_ids(migrated_url) == list(range(1, 501))


async def test_connections_that_are_lost_while_a_table_is_locked_are_replaced(migrated_url: str) -> None:
    """Nothing of a new session wants the lock: rows of other tables are committed, staged ones, too."""
    async with bench_on(migrated_url) as bench:
        async with connected(migrated_url) as holder, holder.transaction():
            await holder.execute("LOCK TABLE spot_raw.trades IN ACCESS EXCLUSIVE MODE")
            bench.add(1, 100)
            await bench.fails_with("55P03")
            for round_number in range(3):
                await _end_other_sessions(holder)
                delta = encode.depth_delta(SYMBOL_ID, a_delta(10 + round_number))
                bench.add_rows([delta], DEPTH_DELTAS)
                await until(lambda: bench.batcher.is_empty(DEPTH_DELTAS))
        await bench.commits()

    assert await stored_ids(migrated_url) == list(range(1, 101))


async def test_statement_that_takes_too_long_is_tried_again(migrated_url: str) -> None:
    """The server ends it (57014), and the next attempt may be lucky."""
    async with connected(migrated_url) as other, bench_on(migrated_url) as bench:
        await other.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN PERFORM pg_sleep(3); RETURN new; END$$;"
            "CREATE TRIGGER slow BEFORE INSERT ON spot_raw.trades FOR EACH STATEMENT EXECUTE FUNCTION slow()"
        )
        await other.execute("ALTER FUNCTION slow() RESET ALL")
        bench.add(1, 100)
        await bench.fails_with("57014")
        await _without_trigger(other, "slow")
        await bench.commits()

    assert await stored_ids(migrated_url) == list(range(1, 101))


async def _without_trigger(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> None:
    """Make a trigger's function harmless: a trigger cannot be dropped while the table is written to."""
    await connection.execute(
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN new; END$$"
    )


@pytest.mark.parametrize("code", ["53100", "53200", "58030", "XX000", "40001", "40P01", "57P01", "72000"])
async def test_trouble_of_the_server_itself_is_waited_out(migrated_url: str, code: str) -> None:
    """Disk full, out of memory, an error of the disk and the like: the same batch until it is taken."""
    async with connected(migrated_url) as other, bench_on(migrated_url) as bench:
        await _raise_for_each(other, "true", code)
        bench.add(1, 100)
        await bench.fails_with(code)
        await _without_trigger(other, "trouble")
        await bench.commits()

    assert await stored_ids(migrated_url) == list(range(1, 101))


async def _raise_for_each(
    connection: "asyncpg.Connection[asyncpg.Record]", condition: str, code: str
) -> None:
    await connection.execute(
        "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        f" IF {condition} THEN RAISE EXCEPTION 'made trouble' USING ERRCODE = '{code}'; END IF;"
        " RETURN new; END$$;"
        "CREATE TRIGGER trouble BEFORE INSERT ON spot_raw.trades FOR EACH ROW EXECUTE FUNCTION trouble()"
    )


class Swallower:
    """A proxy that, when told to, takes bytes and passes none on: a dead peer without a reset."""

    def __init__(self, target_url: str) -> None:
        self._target = urlsplit(target_url)
        self._tasks: list[asyncio.Task[None]] = []
        self._group: asyncio.TaskGroup | None = None
        self.swallows = False

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        async with asyncio.TaskGroup() as self._group:
            server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            try:
                yield server.sockets[0].getsockname()[1]
            finally:
                server.close()
                for task in self._tasks:
                    task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._group is not None
        self._tasks.append(self._group.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await self._open_target()
        try:
            async with asyncio.TaskGroup() as group:
                there = group.create_task(self._pump(reader, back_writer))
                back = group.create_task(self._pump(back_reader, writer))
                await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
                there.cancel()
                back.cancel()
        finally:
            writer.transport.abort()
            back_writer.transport.abort()

    async def _open_target(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if folder := parse_qs(self._target.query).get("host"):
            return await asyncio.open_unix_connection(f"{folder[0]}/.s.PGSQL.5432")
        return await asyncio.open_connection(self._target.hostname, self._target.port or 5432)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if not self.swallows:
                    writer.write(data)
                    await writer.drain()
        except ConnectionError:
            return


@pytest.mark.deadline(180)
async def test_dead_socket_without_reset_is_given_up_by_deadline(
    postgres_server: str, migrated_url: str
) -> None:
    """Nobody answers and nothing is reset: connect, acquire and command end by their own deadlines."""
    proxy = Swallower(postgres_server)
    async with proxy.listening() as port:
        parts = urlsplit(migrated_url)
        user = parts.netloc.rpartition("@")[0]
        url = f"postgresql://{user}@127.0.0.1:{port}{parts.path}?sslmode=disable"
        short = SessionLimits(connect_s=2.0, acquire_s=2.0, statement_s=0.5, lock_s=0.3)
        async with bench_on(url, limits=short) as bench:
            bench.add(1, 100)
            await bench.commits()
            proxy.swallows = True
            bench.add(101, 300)
            await bench.fails_with("TimeoutError")
            await until(lambda: bench.writer.stats().retries >= 3)
            proxy.swallows = False
            await bench.commits()

    assert await stored_ids(migrated_url) == list(range(1, 301))


# ---------------------------------------------------------------------- what waiting cannot mend


@pytest.mark.parametrize(
    ("code", "begin", "end"),
    [
        (
            "42P01",
            "ALTER TABLE spot_raw.trades RENAME TO moved",
            "ALTER TABLE spot_raw.moved RENAME TO trades",
        ),
        (
            "42501",
            "REVOKE INSERT ON spot_raw.trades FROM writer",
            "GRANT INSERT ON spot_raw.trades TO writer",
        ),
    ],
)
async def test_table_or_right_that_is_taken_away_is_waited_for(code: str, begin: str, end: str) -> None:
    """What is received meanwhile is worth more than an end: rows wait, and are stored when it is mended."""
    async with own_server() as (_, admin_url), connected(admin_url) as admin:
        url = await _writer_made(admin, admin_url)
        async with bench_on(url) as bench:
            bench.add(1, 100)
            await bench.commits()
            await admin.execute(begin)
            await _end_other_sessions(admin)
            bench.add(101, 200)
            await bench.fails_with(code)
            await admin.execute(end)
            await bench.commits()

        assert await stored_ids(admin_url) == list(range(1, 201))


@pytest.mark.parametrize(("code", "kind"), [("XX001", StoreError), ("42703", SchemaMismatch)])
async def test_what_nobody_can_wait_for_stops_the_writer(
    migrated_url: str, code: str, kind: type[IngestError]
) -> None:
    """Corrupted data and a table with other columns are not tried again for ever; the rows are still held."""
    async with connected(migrated_url) as other:
        await _raise_for_each(other, "true", code)
    async with PostgresSink.opened(migrated_url, connections=2, limits=QUICK) as sink:
        bench = Bench(sink)
        bench.add(1, 10)
        with pytest.raises(ExceptionGroup) as raised:
            await bench.writer.run()

        assert raised.group_contains(kind, match=code)


@pytest.mark.parametrize("code", ["22003", "23514", "P0001"])
async def test_bad_rows_go_to_quarantine_and_leave_a_gap(migrated_url: str, code: str) -> None:
    """Out of range, a check, a trigger that refuses: those rows alone; their ids stand in the ledger."""
    async with connected(migrated_url) as other:
        await _raise_for_each(other, "new.trade_id IN (7, 150)", code)
        async with bench_on(migrated_url) as bench:
            bench.batcher.add_gap(TRADES, a_gap(1_000, 1_001), bench.clock.monotonic_s())
            bench.add(1, 300)

        assert await stored_ids(migrated_url) == [n for n in range(1, 301) if n not in {7, 150}]
        gaps = await other.fetch(
            "SELECT symbol, kind, first_id, last_id, cause, state FROM ops.gaps ORDER BY first_id"
        )
        assert [tuple(row) for row in gaps] == [
            ("BTCUSDT", "trade", 7, 7, "row_refused", "unrepairable"),
            ("BTCUSDT", "trade", 150, 150, "row_refused", "unrepairable"),
            ("BTCUSDT", "trade", 1_000, 1_001, "disconnect", "open"),
        ]
        kept = await other.fetch("SELECT source, error, payload FROM ops.quarantine ORDER BY id")
        assert [row["payload"] for row in kept] == trade_rows([7, 150])
        assert all(row["source"] == "trades" and code in row["error"] for row in kept)


async def test_row_that_is_no_number_goes_to_quarantine(migrated_url: str) -> None:
    """Bytes that the server itself refuses, not a rule of anybody's."""
    rows = trade_rows(range(1, 101))
    rows[41] = a_bad_trade_row(42)
    async with bench_on(migrated_url) as bench:
        bench.add_rows(rows)

    assert await stored_ids(migrated_url) == [n for n in range(1, 101) if n != 42]


async def test_gap_that_cannot_be_written_is_reported_and_not_tried_for_ever(migrated_url: str) -> None:
    """An id beyond 64 bits is refused by the driver itself; what stands behind it is stored."""
    monster = a_gap(5, 2**70)
    async with bench_on(migrated_url) as bench:
        bench.batcher.add_gap(TRADES, monster, bench.clock.monotonic_s())
        bench.add(1, 10)
        await bench.commits()

    assert await stored_ids(migrated_url) == list(range(1, 11))
    assert bench.writer.stats().refused == 1
