"""Databases with the schema in them: migrated once a session, copied for each test."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ingest.clock import SystemClock
from ingest.store.migrate import migrate
from ingest.store.partitions import ensure_partitions
from ingest.store.sessions import connected
from tests.plugin_database import (
    close_to_connections,
    create_database,
    database_name,
    drop_database,
    run_apart,
)

NOW = datetime.fromtimestamp(SystemClock().wall_ns() // 1_000_000_000, UTC)
"""When the test session began; partitions exist around it."""


@pytest.fixture(scope="session")
def schema_template(postgres_server: str) -> Iterator[str]:
    """Name of a database with every migration applied and today's partitions made."""
    url = run_apart(create_database(postgres_server))
    run_apart(_make_template(postgres_server, url))
    yield database_name(url)
    run_apart(drop_database(postgres_server, url))


@pytest.fixture
def migrated_url(postgres_server: str, schema_template: str) -> Iterator[str]:
    """URL of a database of the test's own, migrated, with partitions around today."""
    url = run_apart(create_database(postgres_server, template=schema_template))
    yield url
    run_apart(drop_database(postgres_server, url))


async def _make_template(admin_url: str, url: str) -> None:
    await migrate(url, deadline_s=60)
    async with connected(url) as connection:
        await ensure_partitions(connection, now=NOW)
    await close_to_connections(admin_url, url)
