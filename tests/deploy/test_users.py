"""`k8s/database/users.sql`: whom compose.yaml, the manifests and the README have log in, on a real server."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from ingest.cli import cli
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.embedded_binaries import locate_install
from tests.deploy.tools import K8S
from tests.plugin_database import with_database, with_user
from tests.simulation.service import environment

DEADLINE_S = 60
PASSWORDS = {"OWNER_PASSWORD": "o'wner", "WRITER_PASSWORD": "writer", "READER_PASSWORD": "reader"}


@pytest.fixture
def market(tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of a server of its own, as its administrator: roles belong to a server."""
    with asyncio.Runner() as runner:
        server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
        url = runner.run(server.start())
        try:
            runner.run(told(url, "CREATE DATABASE market"))
            yield with_database(url, "market")
        finally:
            runner.run(server.stop())


async def told(url: str, statement: str) -> str:
    connection = await asyncpg.connect(url, timeout=DEADLINE_S, command_timeout=DEADLINE_S)
    try:
        return str(await connection.execute(statement))
    finally:
        await connection.close(timeout=DEADLINE_S)


def run_script(url: str) -> None:
    """As the image of the database does at its first start."""
    psql = str(locate_install() / "bin" / "psql")
    done = subprocess.run(
        [psql, "-X", "-v", "ON_ERROR_STOP=1", "-f", str(K8S / "database" / "users.sql"), url],
        env={**os.environ, **PASSWORDS},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_each_user_can_do_his_work_and_no_more(market: str) -> None:
    """The owner migrates, the collector writes, the analyst looks; the migration lacks nothing."""
    run_script(market)
    variables = environment(
        INGEST_DATABASE_URL=with_user(market, "ingest_owner", PASSWORDS["OWNER_PASSWORD"])
    )
    migrated = CliRunner().invoke(cli, ["migrate"], env=variables)
    collector, analyst = with_user(market, "collector", "writer"), with_user(market, "analyst", "reader")

    assert migrated.exit_code == 0, migrated.output
    assert "lacks" not in migrated.output
    asyncio.run(told(collector, "UPDATE ops.shards SET state = 'running'"))
    asyncio.run(told(analyst, "SELECT * FROM ops.stream_freshness"))
    for url, forbidden in (
        (collector, "CREATE TABLE ops.other (n int)"),
        (collector, "TRUNCATE spot_raw.trades"),
        (analyst, "UPDATE ops.shards SET state = 'running'"),
        (analyst, "CREATE TEMPORARY TABLE other (n int)"),
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            asyncio.run(told(url, forbidden))
