"""A real PostgreSQL for the tests: one throw-away server a session, one fresh database a test.

The server is the one that the package itself embeds, without durability; or, where
`INGEST_TEST_DATABASE_URL` names one, that: its user must be allowed to make databases and roles. What the
tests make there has names of its own, so that several runs, and remains of one that was killed, are in
nobody's way. A database there has the TimescaleDB extension if the one that the URL names has it.
Whoever needs more than an empty database makes a template with `create_database` once and copies it per test.
Tests that end a server, or fill its disk, start one of their own.
"""

import asyncio
import itertools
import os
import secrets
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest

from ingest.store.embedded import EmbeddedPostgres

DEADLINE_S = 60.0
VARIABLE = "INGEST_TEST_DATABASE_URL"
_run = f"{os.getpid()}_{secrets.token_hex(3)}"
_numbers = itertools.count(1)

T = TypeVar("T")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL, with all rights, of a PostgreSQL server that lives as long as the test session."""
    if url := os.environ.get(VARIABLE):
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="ingest-test-") as folder, asyncio.Runner() as runner:
        server = EmbeddedPostgres(Path(folder) / "postgres", durable=False)
        url = runner.run(server.start())
        try:
            yield url
        finally:
            runner.run(server.stop())


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty database of the test's own."""
    url = run_apart(create_database(postgres_server))
    yield url
    run_apart(drop_database(postgres_server, url))


def unique_name(what: str = "test") -> str:
    """A name for a database or a role that nobody else on the server has."""
    return f"ingest_{what}_{_run}_{next(_numbers)}"


async def create_database(admin_url: str, *, template: str | None = None) -> str:
    """Make a database, empty or a copy of `template`, which nobody may be connected to; returns its URL."""
    name = unique_name()
    # Copying the files is faster than logging every page, on a server that may lose everything.
    strategy = "wal_log" if os.environ.get(VARIABLE) else "file_copy"
    await _execute(
        admin_url, f'CREATE DATABASE "{name}" TEMPLATE "{template or "template0"}" STRATEGY {strategy}'
    )
    url = with_database(admin_url, name)
    if template is None and await has_timescale(admin_url):
        await _execute(url, "CREATE EXTENSION IF NOT EXISTS timescaledb")
    return url


async def close_to_connections(admin_url: str, url: str) -> None:
    """Make a database fit to be a template: nobody, be it autovacuum or a scheduler, is connected."""
    name = database_name(url)
    await _execute(admin_url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    await _execute(
        admin_url,
        f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'",
    )


async def drop_database(admin_url: str, url: str) -> None:
    """Drop a database, with whoever is still connected to it."""
    statement = f'DROP DATABASE IF EXISTS "{database_name(url)}" WITH (FORCE)'
    for deadline_s in (10.0, 20.0):
        # Where TimescaleDB's scheduler is just coming, the first may wait for it for ever.
        with suppress(TimeoutError):
            return await _execute(admin_url, statement, deadline_s=deadline_s)
    return await _execute(admin_url, statement)


def database_name(url: str) -> str:
    """The database that a URL names."""
    return urlsplit(url).path.removeprefix("/")


def with_database(url: str, name: str) -> str:
    """The same server's URL for another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def with_user(url: str, user: str, password: str | None = None) -> str:
    """The same database's URL for another user."""
    parts = urlsplit(url)
    secret = "" if password is None else f":{quote(password, safe='')}"
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}{secret}@{place}"))


async def has_timescale(url: str) -> bool:
    connection = await asyncpg.connect(url, timeout=DEADLINE_S, command_timeout=DEADLINE_S)
    try:
        query = "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'"
        return bool(await connection.fetchval(query))
    finally:
        await connection.close(timeout=DEADLINE_S)


async def _execute(url: str, statement: str, *, deadline_s: float = DEADLINE_S) -> None:
    connection = await asyncpg.connect(url, timeout=DEADLINE_S, command_timeout=deadline_s)
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=DEADLINE_S)


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run on a loop of its own: a fixture must not depend on the loop that the test runs on."""
    with asyncio.Runner() as runner:
        return runner.run(coroutine)
