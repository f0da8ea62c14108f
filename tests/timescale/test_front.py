"""The front end of TimescaleDB in WebAssembly: that drivers find in it what they find in a server."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from ingest.store.sessions import connected
from tests.plugin_database import with_database
from tests.plugin_timescale import FETCHED, FRONT, MOST_RSS_BYTES, TimescaleServers

DEADLINE_S = 20.0


async def connect(url: str, **settings: str) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(
        url, timeout=DEADLINE_S, command_timeout=DEADLINE_S, server_settings=settings or None
    )


@pytest.fixture
async def client(wasm_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection as a program makes it that says nothing of encryption."""
    connection = await connect(wasm_url)
    yield connection
    await connection.close(timeout=DEADLINE_S)


@pytest.fixture
async def other(wasm_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A second one."""
    connection = await connect(wasm_url)
    yield connection
    connection.terminate()


@pytest.fixture
async def table(client: "asyncpg.Connection[asyncpg.Record]") -> str:
    """Name of a table with a key and a text."""
    await client.execute("CREATE TABLE kept (id bigint PRIMARY KEY, said text)")
    return "kept"


# ---------------------------------------------------------------------- statements


async def test_server_says_what_it_is(client: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A PostgreSQL of its own version, with the extension of the version that is locked."""
    assert client.get_server_version()[:3] == (17, 0, 5)
    version = await client.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    assert version == "2.23.0-dev"


async def test_two_clients_prepare_statements_of_one_name(
    client: "asyncpg.Connection[asyncpg.Record]", other: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Drivers number their statements, so that the names of all clients are the same."""
    doubled = await client.prepare("SELECT $1::int * 2", name="mine")
    negated = await other.prepare("SELECT -$1::int", name="mine")

    assert [await doubled.fetchval(4), await negated.fetchval(4)] == [8, -4]


async def test_cursor_gives_its_rows_in_turn(client: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A portal lives from batch to batch of its transaction."""
    async with client.transaction():
        rows = [row[0] async for row in client.cursor("SELECT generate_series(1, 250)", prefetch=100)]

    assert rows == list(range(1, 251))


async def test_savepoint_undoes_what_came_after_it(
    client: "asyncpg.Connection[asyncpg.Record]", table: str
) -> None:
    """A failed statement costs no more than its savepoint."""
    async with client.transaction():
        await client.execute("INSERT INTO kept VALUES (1)")
        with pytest.raises(asyncpg.UniqueViolationError):
            async with client.transaction():
                await client.execute("INSERT INTO kept VALUES (1)")
        await client.execute("INSERT INTO kept VALUES (2)")

    assert await client.fetchval("SELECT count(*) FROM kept") == 2


async def test_refused_statement_in_every_protocol_leaves_the_connection_usable(
    client: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """Simple, prepared, and refused only when it is carried out."""
    for statement, arguments in (
        ("SELECT nope", ()),
        ("SELECT nope + $1", (1,)),
        ("SELECT 1 / $1::int", (0,)),
    ):
        with pytest.raises(asyncpg.PostgresError):
            await client.execute(statement, *arguments)
        assert await client.fetchval("SELECT 1") == 1


async def test_message_of_many_packets_is_put_together(client: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Parameters of megabytes arrive whole."""
    assert await client.fetchval("SELECT sum(n) FROM unnest($1::bigint[]) AS n", list(range(300_000))) == (
        299_999 * 150_000
    )


# ---------------------------------------------------------------------- copy


@pytest.mark.parametrize("count", [0, 1, 1_000, 50_000])
async def test_copied_rows_are_there_and_come_back(
    client: "asyncpg.Connection[asyncpg.Record]", table: str, count: int
) -> None:
    """In binary, any number of them; out again by COPY, too."""
    records = [(number, f"row {number}") for number in range(count)]

    assert await client.copy_records_to_table(table, records=records) == f"COPY {count}"
    back = bytearray()
    await client.copy_from_table(table, output=_appending_to(back), format="csv")
    assert back.decode().splitlines() == [f"{number},{said}" for number, said in records]


def _appending_to(buffer: bytearray):  # type: ignore[no-untyped-def]
    async def append(data: bytes) -> None:
        buffer.extend(data)

    return append


async def test_key_that_refuses_a_copied_row_refuses_all(
    client: "asyncpg.Connection[asyncpg.Record]", table: str
) -> None:
    """In and out of a transaction; the connection goes on."""
    await client.execute("INSERT INTO kept VALUES (7)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await client.copy_records_to_table(table, records=[(6, "new"), (7, "again")])
    with pytest.raises(asyncpg.UniqueViolationError):
        async with client.transaction():
            await client.copy_records_to_table(table, records=[(6, "new"), (7, "again")])

    assert await client.fetchval("SELECT count(*) FROM kept") == 1


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_copy_that_its_source_breaks_off_stores_nothing(
    client: "asyncpg.Connection[asyncpg.Record]", table: str, in_transaction: bool
) -> None:
    """The source's error comes out, the connection goes on."""

    async def source() -> AsyncIterator[bytes]:
        yield b"1\tone\n"
        raise ValueError("no more rows")

    await client.execute("BEGIN" if in_transaction else "SELECT 1")
    with pytest.raises(ValueError, match="no more rows"):
        await client.copy_to_table(table, source=source())
    await client.execute("ROLLBACK" if in_transaction else "SELECT 1")

    assert await client.fetchval("SELECT count(*) FROM kept") == 0


async def test_copy_into_what_is_not_there_is_refused(client: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Later than by a server, after the rows, but with its error."""
    with pytest.raises(asyncpg.UndefinedTableError):
        await client.copy_records_to_table("nowhere", records=[(1,)])

    assert await client.fetchval("SELECT 1") == 1


async def test_staged_rows_are_merged_without_the_known_ones(
    client: "asyncpg.Connection[asyncpg.Record]", table: str
) -> None:
    """COPY into a temporary table and INSERT ... ON CONFLICT DO NOTHING, in one transaction."""
    await client.execute("INSERT INTO kept VALUES (1), (2)")
    await client.execute("CREATE TEMP TABLE stage (LIKE kept) ON COMMIT DELETE ROWS")
    async with client.transaction():
        await client.copy_records_to_table("stage", records=[(2, ""), (3, "")])
        merged = await client.execute("INSERT INTO kept SELECT * FROM stage ON CONFLICT DO NOTHING")

    assert merged == "INSERT 0 1"
    assert await client.fetchval("SELECT count(*) FROM stage") == 0


# ---------------------------------------------------------------------- several clients of one session


async def test_pool_takes_turns_and_comes_back_reset(wasm_url: str) -> None:
    """Five connections, each use of one ended by RESET ALL, which brings back what was asked for at first."""
    async with asyncpg.create_pool(
        wasm_url, min_size=5, max_size=5, server_settings={"application_name": "pooled"}
    ) as pool:

        async def work(number: int) -> tuple[int, str, str]:
            async with pool.acquire(timeout=DEADLINE_S) as connection:
                await connection.execute("SET search_path = pg_catalog; SET application_name = 'mine'")
                await connection.execute("SELECT pg_sleep(0)")
            async with pool.acquire(timeout=DEADLINE_S) as connection, connection.transaction():
                names = await connection.fetchrow(
                    "SELECT current_setting('search_path'), current_setting('application_name')"
                )
                assert names is not None
                return await connection.fetchval("SELECT $1::int", number), names[0], names[1]

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work(number)) for number in range(20)]
        assert [task.result() for task in tasks] == [
            (number, '"$user", public', "pooled") for number in range(20)
        ]


async def test_each_client_has_its_own_settings_role_and_temporary_tables(wasm_url: str) -> None:
    """What a session holds is put away while another has the engine, and is gone with its client."""
    async with connected(wasm_url, application="one") as one, connected(wasm_url) as two:
        await one.execute("CREATE ROLE reader; SET work_mem = '7MB'")
        await one.execute("CREATE TEMP TABLE stage (id serial PRIMARY KEY); INSERT INTO stage DEFAULT VALUES")
        await one.execute("SET ROLE reader")
        await two.execute("CREATE TEMP TABLE stage (other text)")
        question = "SELECT current_user, current_setting('work_mem'), current_setting('application_name')"
        mine = [await connection.fetchrow(question) for connection in (one, two)]
        await one.execute("RESET ROLE")

        assert list(map(tuple, filter(None, mine))) == [
            ("reader", "7MB", "one"),
            ("postgres", "4MB", "ingest"),
        ]
        assert [await one.fetchval("TABLE pg_temp.stage"), await two.fetchval("TABLE pg_temp.stage")] == [
            1,
            None,
        ]
    async with connected(wasm_url) as three:
        left = "SELECT array_agg(relname) FROM pg_class WHERE relnamespace = pg_my_temp_schema()"
        assert await three.fetchval(left) is None


@pytest.mark.parametrize("reset", ["RESET ALL", "RESET search_path", "DISCARD ALL"])
async def test_what_is_reset_is_what_a_server_starts_with(
    client: "asyncpg.Connection[asyncpg.Record]", reset: str
) -> None:
    """Not what the engine does, whose path begins with pg_catalog."""
    await client.execute("SET search_path = ops")
    await client.execute(reset)

    shown = await client.fetchval("SHOW search_path")
    assert shown == '"$user", public'


async def test_settings_of_the_service_are_accepted(wasm_url: str) -> None:
    """Those that the program asks for with each connection are in force."""
    async with connected(wasm_url, application="ingest test") as connection:
        names = ("application_name", "timezone", "statement_timeout", "lock_timeout", "jit")
        settings = [await connection.fetchval("SELECT current_setting($1)", name) for name in names]

    assert settings == ["ingest test", "UTC", "30s", "2s", "off"]


async def test_setting_that_there_is_not_refuses_the_connection(wasm_url: str) -> None:
    """With the engine's own error; others are served on."""
    with pytest.raises(asyncpg.UndefinedObjectError):
        await connect(wasm_url, no_such_setting="1")
    async with connected(wasm_url) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_other_databases_and_users_are_refused(wasm_url: str) -> None:
    """There is one of each, and a test that means another must not pass."""
    for url in (with_database(wasm_url, "other"), wasm_url.replace("//postgres@", "//reader@")):
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await connect(url)


async def test_notification_reaches_every_client_that_listens(
    client: "asyncpg.Connection[asyncpg.Record]", other: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Also after another has stopped to listen to the same channel, and when it comes from another."""
    heard: asyncio.Queue[object] = asyncio.Queue()
    await client.add_listener("news", lambda *said: heard.put_nowait(said[2:]))

    async def nobody(*_: object) -> None:
        """Hears and says nothing."""

    await other.add_listener("news", nobody)
    await other.remove_listener("news", nobody)
    await other.execute("UNLISTEN *")
    async with other.transaction():
        await other.execute("SELECT pg_notify('news', 'said')")
        assert heard.empty()

    async with asyncio.timeout(DEADLINE_S):
        assert await heard.get() == ("news", "said")
    assert heard.empty()


async def test_others_wait_for_the_end_of_a_transaction(
    client: "asyncpg.Connection[asyncpg.Record]", other: "asyncpg.Connection[asyncpg.Record]", table: str
) -> None:
    """Nobody reads what is not committed."""
    async with asyncio.TaskGroup() as group, client.transaction():
        await client.execute("INSERT INTO kept VALUES (1)")
        reading = group.create_task(other.fetchval("SELECT count(*) FROM kept"))
        await client.execute("INSERT INTO kept VALUES (2)")
        assert not reading.done()

    assert reading.result() == 2


async def test_transaction_of_a_client_that_is_gone_is_rolled_back(
    client: "asyncpg.Connection[asyncpg.Record]", other: "asyncpg.Connection[asyncpg.Record]", table: str
) -> None:
    """And the next has the engine."""
    await other.execute("BEGIN; INSERT INTO kept VALUES (1)")
    other.terminate()

    assert await client.fetchval("SELECT count(*) FROM kept") == 0


# ---------------------------------------------------------------------- the process


@pytest.fixture
def front() -> Iterator["subprocess.Popen[bytes]"]:
    """A front end of the test's own, started with nothing to run."""
    process = subprocess.Popen(
        [FETCHED / "node", FRONT / "front.mjs", FETCHED], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    yield process
    process.kill()
    process.communicate()


def test_front_end_ends_with_its_parent(
    timescale_servers: TimescaleServers, front: "subprocess.Popen[bytes]"
) -> None:
    """It ends by itself when nobody holds its standard input any more."""
    assert front.stdin is not None
    front.stdin.close()
    front.stdin = None

    assert front.wait(timeout=60) == 0


async def leave_something(url: str) -> None:
    async with connected(url) as connection:
        await connection.execute("CREATE ROLE somebody; CREATE SCHEMA ops; CREATE TABLE ops.kept (id int)")
        await connection.execute(
            "ALTER DATABASE postgres SET work_mem = '9MB'; GRANT ALL ON ops.kept TO somebody"
        )
        await connection.execute("CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'")


async def what_is_left(url: str) -> list[object]:
    questions = (
        "to_regrole('somebody')",
        "to_regnamespace('ops')",
        "to_regprocedure('public.mine()')",
        "(SELECT setconfig FROM pg_db_role_setting)",
        "to_regprocedure('public.time_bucket(interval,timestamptz)')",
    )
    async with connected(url) as connection:
        return [await connection.fetchval(f"SELECT {question}::text") for question in questions]


async def test_each_test_finds_nothing_but_the_extension(
    wasm_url: str, timescale_servers: TimescaleServers
) -> None:
    """Roles, schemas, functions and settings of a test are gone for the next."""
    await leave_something(wasm_url)
    server = await asyncio.to_thread(timescale_servers.empty)

    assert server.url == wasm_url
    assert server.rss_bytes() < MOST_RSS_BYTES
    *gone, extension = await what_is_left(server.url)
    assert gone == [None, None, None, None]
    assert extension is not None


def test_lost_server_is_replaced(timescale_servers: TimescaleServers) -> None:
    """A test whose statement the engine did not survive costs no other test."""
    lost = timescale_servers.empty()
    lost.stop()
    replacement = timescale_servers.empty()

    assert replacement.is_running
    assert replacement.url != lost.url
