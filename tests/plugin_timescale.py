"""A real TimescaleDB for the tests: one server a session, in WebAssembly, emptied for each test.

The server is `tests/timescale/front.mjs` run by node; `.ci/timescale` fetches what it runs. Where that is
absent its tests are skipped, and pytest's summary says so; in CI its absence is a failure. A native server
that has the extension and is named by `INGEST_TEST_DATABASE_URL` takes its place. There is one
database, so its tests run one after another, all in `tests/timescale/`, which is one worker's share.

One backend serves all connections in turn: nothing about locks, isolation, time-outs or speed is to be
learned from it. Jobs do not run by themselves; `CALL run_job(id)` runs one. A connection in a transaction
keeps all others waiting, for half a minute at most.
"""

import functools
import json
import os
import select
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.plugin_database import VARIABLE, create_database, drop_database, has_timescale, run_apart

FOLDER = "tests/timescale/"
FRONT = Path(__file__).parent / "timescale"
FETCHED = Path(__file__).parents[1] / ".cache" / "timescale"
DEADLINE_S = 60.0
CLEAN_S = 20.0
MOST_RSS_BYTES = 1_500_000_000

_ABSENT = "TIMESCALEDB IS ABSENT, nothing was tested with the extension: run .ci/timescale"

# All that a test may have left; the extension keeps its own in schemas of its own, and in public.
_CLEAN = """
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
        WHERE nspname !~ '^(pg_|_?timescaledb_)' AND nspname NOT IN ('public', 'information_schema')
        UNION ALL
        SELECT format('DROP %s IF EXISTS public.%I CASCADE', kind, relname)
        FROM pg_class JOIN (VALUES
            ('r', 'TABLE'), ('p', 'TABLE'), ('v', 'VIEW'), ('m', 'MATERIALIZED VIEW'), ('S', 'SEQUENCE')
        ) AS kinds (letter, kind) ON relkind::text = letter
        WHERE relnamespace = 'public'::regnamespace
        UNION ALL
        SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', oid::regprocedure) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND oid NOT IN (
            SELECT objid FROM pg_depend WHERE classid = 'pg_proc'::regclass AND deptype = 'e'
        )
        UNION ALL
        SELECT format('DROP OWNED BY %1$I; DROP ROLE %1$I', rolname) FROM pg_roles
        WHERE rolname !~ '^pg_' AND rolname <> current_user
        UNION ALL
        SELECT 'ALTER DATABASE postgres RESET ALL'
    LOOP
        EXECUTE statement;
    END LOOP;
    PERFORM public.delete_job(job_id) FROM timescaledb_information.jobs WHERE job_id >= 1000;
END $$
"""
_REMAINS = """
SELECT (SELECT count(*) FROM timescaledb_information.hypertables)
    + (SELECT count(*) FROM timescaledb_information.continuous_aggregates)
    + (SELECT count(*) FROM timescaledb_information.jobs WHERE job_id >= 1000)
"""


class TimescaleServer:
    """The process, and where it listens."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `stop`
        self._process = subprocess.Popen(
            [FETCHED / "node", FRONT / "front.mjs", FETCHED],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        self.url = f"postgresql://postgres@127.0.0.1:{self._told('port')}/postgres"

    def _told(self, fact: str) -> int:
        """A number out of the next line that it prints."""
        assert self._process.stdout is not None
        is_ready = select.select([self._process.stdout], [], [], DEADLINE_S)[0]
        if is_ready and (line := self._process.stdout.readline()):
            return int(json.loads(line)[fact])
        last_words = self.last_words()
        self.stop()
        raise RuntimeError(f"tests/timescale/front.mjs did not answer: {last_words}")

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        self._said.seek(0)
        return self._said.read().decode(errors="replace")[-2_000:]

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def rss_bytes(self) -> int:
        """Memory of the process."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return self._told("rss_bytes")

    def stop(self) -> None:
        """End it; it leaves nothing."""
        self._process.kill()
        self._process.communicate()
        self._said.close()


class TimescaleServers:
    """A server that is replaced by a new one when it is lost, too large or cannot be emptied."""

    def __init__(self) -> None:
        self._server: TimescaleServer | None = None

    def empty(self) -> TimescaleServer:
        """One whose database has the extension in it and nothing else."""
        if self._server is not None and not self._is_fit(self._server):
            self.stop()
        if self._server is None:
            self._server = TimescaleServer()
        return self._server

    def _is_fit(self, server: TimescaleServer) -> bool:
        if not server.is_running or server.rss_bytes() > MOST_RSS_BYTES:
            return False
        try:
            return run_apart(_emptied(server.url))
        except (asyncpg.PostgresError, OSError, TimeoutError):
            return False

    def stop(self) -> None:
        """End what is running."""
        if self._server is not None:
            self._server.stop()
            self._server = None


async def _emptied(url: str) -> bool:
    """Whether nothing is left after everything has been dropped."""
    connection = await asyncpg.connect(url, timeout=CLEAN_S, command_timeout=CLEAN_S)
    try:
        await connection.execute(_CLEAN)
        return bool(await connection.fetchval(_REMAINS) == 0)
    finally:
        await connection.close(timeout=CLEAN_S)


def _is_fetched() -> bool:
    """Whether what is locked is there."""
    locked, fetched = FRONT / "package-lock.json", FETCHED / "package-lock.json"
    return fetched.exists() and fetched.read_bytes() == locked.read_bytes()


@pytest.fixture(scope="session")
def timescale_servers() -> Iterator[TimescaleServers]:
    """What `timescale_url` takes its server from."""
    if not _is_fetched():
        pytest.fail(_ABSENT, pytrace=False)
    servers = TimescaleServers()
    try:
        yield servers
    finally:
        servers.stop()


@pytest.fixture
def timescale_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL, with all rights, of a database that has the extension in it and nothing else.

    A new one on the server that `INGEST_TEST_DATABASE_URL` names, if that has the extension.
    """
    native = _native_server()
    if native is None:
        yield request.getfixturevalue("wasm_url")
        return
    url = run_apart(create_database(native))
    run_apart(_without_jobs(url))
    yield url
    run_apart(drop_database(native, url))


async def _without_jobs(url: str) -> None:
    """Let nothing run but what the tests call: two that refresh the same would be in each other's way."""
    connection = await asyncpg.connect(url, timeout=DEADLINE_S, command_timeout=DEADLINE_S)
    try:
        await connection.execute("SELECT _timescaledb_functions.stop_background_workers()")
    finally:
        await connection.close(timeout=DEADLINE_S)


@functools.cache
def _native_server() -> str | None:
    url = os.environ.get(VARIABLE)
    return url if url and run_apart(has_timescale(url)) else None


@pytest.fixture
def wasm_url(timescale_servers: TimescaleServers) -> Iterator[str]:
    """The same of the one in WebAssembly."""
    server = timescale_servers.empty()
    yield server.url
    if not server.is_running:
        pytest.fail(f"TimescaleDB has died under the test: {server.last_words()}", pytrace=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test of the only database outside the folder that one worker runs; skip all without it."""
    needed = {"timescale_servers", "wasm_url"} | (set() if _native_server() else {"timescale_url"})
    wanting = [item for item in items if needed & set(getattr(item, "fixturenames", ()))]
    for item in wanting:
        if not item.nodeid.startswith(FOLDER):
            raise pytest.UsageError(f"{item.nodeid} uses TimescaleDB: move it to {FOLDER}")
    is_ci = os.environ.get("CI", "").lower() in {"1", "true"}
    if wanting and not is_ci and not _is_fetched():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason=_ABSENT))
