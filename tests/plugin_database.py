"""A real PostgreSQL for the tests: one throw-away server a session, one fresh database a test.

The server is the one that the package itself embeds, without durability. Whoever needs more than an
empty database makes a template with `create_database` once and copies it per test.
"""

import asyncio
import itertools
import os
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from ingest.store.embedded import EmbeddedPostgres

DEADLINE_S = 60.0
_numbers = itertools.count(1)

T = TypeVar("T")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL, with all rights, of a PostgreSQL server that lives as long as the test session."""
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


async def create_database(admin_url: str, *, template: str = "template0", name: str | None = None) -> str:
    """Make a database as a copy of `template`, which nobody may be connected to; returns its URL."""
    name = name or f"test_{os.getpid()}_{next(_numbers)}"
    # Copying the files is faster than logging every page, on a server that may lose everything.
    await _execute(admin_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
    return with_database(admin_url, name)


async def drop_database(admin_url: str, url: str) -> None:
    """Drop a database, with whoever is still connected to it."""
    name = urlsplit(url).path.removeprefix("/")
    await _execute(admin_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def with_database(url: str, name: str) -> str:
    """The same server's URL for another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=DEADLINE_S, command_timeout=DEADLINE_S)
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=DEADLINE_S)


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run on a loop of its own: a fixture must not depend on the loop that the test runs on."""
    with asyncio.Runner() as runner:
        return runner.run(coroutine)
