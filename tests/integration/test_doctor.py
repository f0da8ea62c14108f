"""`ingest doctor` against the exchange double, real databases and real folders."""

import asyncio
import json
import os
import random
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest

from ingest.cli import main
from ingest.clock import SystemClock
from ingest.config import load_settings
from ingest.doctor.examine import Surroundings, examine
from ingest.doctor.findings import Finding, Level, worst
from ingest.sim import faults
from ingest.sim.market import MarketPlan
from ingest.sim.server import DoubleConfig, ExchangeDouble
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.migrate import migrate
from ingest.store.sessions import connected
from tests.plugin_database import run_apart, unique_name, with_user

DEADLINE_S = 30.0
OK, WARNING, FAILED = Level.OK, Level.WARNING, Level.FAILED
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")


@pytest.fixture
async def double() -> AsyncIterator[ExchangeDouble]:
    """A market of two symbols."""
    async with ExchangeDouble(DoubleConfig(market=MarketPlan(named=("BTCUSDT", "ETHUSDT")))) as made:
        yield made


class SkewedClock(SystemClock):
    """The clock of an exchange that is a minute ahead of ours."""

    def wall_ns(self) -> int:
        return super().wall_ns() + 60 * 1_000_000_000


def variables(folder: Path, double: ExchangeDouble | None, **more: str) -> dict[str, str]:
    """A configuration; without a double nobody is at the exchange's addresses."""
    ws_url, rest_url = ("ws://127.0.0.1:9", "http://127.0.0.1:9")
    if double is not None:
        ws_url, rest_url = double.ws_url, double.rest_url
    return {
        "INGEST_SPOT_WS_URL": ws_url,
        "INGEST_SPOT_REST_URL": rest_url,
        "INGEST_SERVICE_DATA_DIR": str(folder / "var"),
        "INGEST_SERVICE_HTTP_PORT": "0",
        "INGEST_SPOT_SYMBOLS": "BTCUSDT,ETHUSDT",
        # So that the disk of the tests need not be large.
        "INGEST_SPOOL_MAX_MIB": "1",
        **more,
    }


async def found_with(environment: dict[str, str], *, deadline_s: float = DEADLINE_S) -> dict[str, Finding]:
    """Findings by what was looked at; of several the gravest."""
    around = Surroundings(clock=SystemClock(), rng=random.Random(1), deadline_s=deadline_s)
    found: dict[str, Finding] = {}
    for finding in await examine(load_settings(environment=environment), around):
        if finding.check not in found or finding.level > found[finding.check].level:
            found[finding.check] = finding
    return found


# ---------------------------------------------------------------------- the exchange


async def test_all_is_well_with_exchange_and_database(
    tmp_path: Path, double: ExchangeDouble, migrated_url: str
) -> None:
    """Every check is there, none of them complains, and nothing is left in the folder."""
    found = await found_with(variables(tmp_path, double, INGEST_DATABASE_URL=migrated_url))

    complaints = [each for each in found.values() if each.level is not OK]
    # The server of the tests may lose everything, and has no room for a second service.
    assert {each.check for each in complaints} <= {"database durability", "data folder", "disk", "memory"}
    for check in (
        "alerts",
        "one service",
        "spool",
        "open files",
        "proxies",
        "exchange by REST",
        "exchange by websocket",
        "clock and the exchange",
        "symbols",
        "disk",
        "database",
        "database connections",
        "clock and the database server",
        "database version",
        "database schema",
        "database rights",
    ):
        assert check in found
    assert "sends btcusdt@trade" in found["exchange by websocket"].found
    assert list(tmp_path.iterdir()) == []


async def test_refused_location_is_named_with_the_way_out(tmp_path: Path, double: ExchangeDouble) -> None:
    """HTTP 451 for both ways, with the addresses that answer in more places."""
    double.add_fault(faults.RestFault(status=451))
    double.add_fault(faults.Refuse(status=451))

    found = await found_with(variables(tmp_path, double))

    for check in ("exchange by REST", "exchange by websocket"):
        assert found[check].level is FAILED
        assert "location (HTTP 451)" in found[check].found
        assert "data-api.binance.vision" in found[check].advice
    assert "symbols" not in found


@pytest.mark.parametrize(("status", "level"), [(403, FAILED), (503, WARNING)])
async def test_firewall_and_trouble_of_the_exchange_are_told_apart(
    tmp_path: Path, double: ExchangeDouble, status: int, level: Level
) -> None:
    """By the status, not by the body, which may be anybody's."""
    double.add_fault(faults.RestFault(status=status, html=True))

    found = await found_with(variables(tmp_path, double))

    assert found["exchange by REST"].level is level
    assert f"HTTP {status}" in found["exchange by REST"].found
    assert found["exchange by websocket"].level is OK


async def test_ban_is_remembered_and_not_prolonged(tmp_path: Path, double: ExchangeDouble) -> None:
    """Where a service has its budget, the ban goes into it, and the next look does not ask."""
    (tmp_path / "var" / "run").mkdir(parents=True)
    (tmp_path / "var" / "run" / "address.budget").touch()
    double.add_fault(faults.RestFault(status=418, retry_after_s=600, path="time"))

    first = await found_with(variables(tmp_path, double))
    asked = dict(double.weight_by_minute)
    second = await found_with(variables(tmp_path, double))

    assert "for 600 s (HTTP 418)" in first["exchange by REST"].found
    assert "it was not asked" in second["exchange by REST"].found
    assert dict(double.weight_by_minute) == asked
    assert second["exchange by websocket"].level is OK


async def test_skewed_clock_is_found(tmp_path: Path) -> None:
    """By the exchange's time, whose clock it is not to say."""
    config = DoubleConfig(market=MarketPlan(named=("BTCUSDT",)))
    async with ExchangeDouble(config, clock=SkewedClock()) as double:
        found = await found_with(variables(tmp_path, double, INGEST_SPOT_SYMBOLS="BTCUSDT"))

    said = found["clock and the exchange"]
    assert said.level is FAILED
    assert 50 < float(said.found.split()[2]) < 70
    assert "behind the exchange" in said.found


async def test_symbol_that_is_not_listed_is_found(tmp_path: Path, double: ExchangeDouble) -> None:
    """The start would refuse it."""
    found = await found_with(variables(tmp_path, double, INGEST_SPOT_SYMBOLS="BTCUSDT,NOPEUSDT"))

    assert found["symbols"].level is FAILED


async def test_websocket_that_carries_nothing_is_found(tmp_path: Path, double: ExchangeDouble) -> None:
    """A connection that is acknowledged and silent is not the same as one that is well."""
    double.pause()

    found = await found_with(variables(tmp_path, double))

    assert found["exchange by websocket"].level is WARNING
    assert "has acknowledged btcusdt@trade, and nothing of it came" in found["exchange by websocket"].found


@asynccontextmanager
async def a_mute_server() -> AsyncIterator[int]:
    """It takes every connection and never says a word; yields its port."""
    writers: list[asyncio.StreamWriter] = []

    async def keep(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def test_what_hangs_hides_nothing_else(tmp_path: Path) -> None:
    """An exchange and a database that take connections and say nothing have a deadline each."""
    async with a_mute_server() as port:
        environment = variables(
            tmp_path,
            None,
            INGEST_SPOT_WS_URL=f"ws://127.0.0.1:{port}",
            INGEST_SPOT_REST_URL=f"http://127.0.0.1:{port}",
            INGEST_DATABASE_URL=f"postgresql://me@127.0.0.1:{port}/x",
        )
        found = await found_with(environment, deadline_s=5.0)

    for check in ("exchange by REST", "exchange by websocket", "database"):
        assert found[check].level is FAILED
    assert found["disk"].check == "disk"
    assert found["data folder"].level is not FAILED


async def test_exchange_that_is_not_there_is_told(
    tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the system said; names are looked up before anything is dialled."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    address = f"127.0.0.1:{unused_port}"
    environment = variables(
        tmp_path,
        None,
        INGEST_SPOT_REST_URL=f"http://{address}",
        INGEST_SPOT_WS_URL="ws://stream.exchange.example",
    )
    found = await found_with(environment)

    assert "is not reached: " in found["exchange by REST"].found
    assert found["DNS of stream.exchange.example"].found == "Name or service not known"
    assert "exchange by websocket" not in found


@pytest.fixture
def unused_port() -> int:
    """Nobody listens there."""

    async def find() -> int:
        server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return port

    return run_apart(find())


# ---------------------------------------------------------------------- the database


class Users:
    """Users of one database, taken away at the end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._names: list[str] = []

    def make(self, clause: str = "") -> str:
        """The URL of a new user."""
        name = unique_name("user")
        self._names.append(name)
        self.execute(f"CREATE ROLE {name} LOGIN {clause}")
        return with_user(self._url, name)

    def execute(self, sql: str) -> None:
        with ThreadPoolExecutor(1) as apart:  # a test's own loop may be running here
            apart.submit(run_apart, _execute(self._url, sql)).result()

    def end(self) -> None:
        for name in self._names:
            self.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


async def _execute(url: str, sql: str) -> None:
    async with connected(url) as connection:
        await connection.execute(sql)


@pytest.fixture
def users(migrated_url: str) -> Iterator[Users]:
    """Users of a migrated database."""
    made = Users(migrated_url)
    yield made
    made.end()


async def test_user_without_rights_is_told_what_is_missing(tmp_path: Path, users: Users) -> None:
    """And the command that gives it; the schema cannot be read then either."""
    found = await found_with(variables(tmp_path, None, INGEST_DATABASE_URL=users.make()))

    rights = found["database rights"]
    assert rights.level is FAILED
    assert "lacks USAGE on schema ops" in rights.found
    assert "more" in rights.found
    assert "GRANT ingest_writer TO" in rights.advice
    assert "no right to read it" in found["database schema"].found


async def test_reader_is_told_what_a_service_needs_besides(tmp_path: Path, users: Users) -> None:
    """It may read, and no more."""
    url = users.make("IN ROLE ingest_reader")

    rights = (await found_with(variables(tmp_path, None, INGEST_DATABASE_URL=url)))["database rights"]

    assert rights.level is FAILED
    assert "INSERT on" in rights.found or "more" in rights.found
    assert "as a member of ingest_reader it may read" in rights.found


async def test_writer_may_what_the_service_needs(tmp_path: Path, users: Users) -> None:
    """Nothing is missing, and the schema is up to date."""
    url = users.make("IN ROLE ingest_writer")

    found = await found_with(variables(tmp_path, None, INGEST_DATABASE_URL=url))

    assert found["database rights"].level is OK
    assert found["database schema"].found == "up to date"


async def test_database_without_the_schema_is_found(tmp_path: Path, database_url: str) -> None:
    """With the command that makes it."""
    found = await found_with(variables(tmp_path, None, INGEST_DATABASE_URL=database_url))

    assert found["database schema"].level is FAILED
    assert "lacks migrations: 0001" in found["database schema"].found
    assert "`ingest migrate`" in found["database schema"].advice


async def test_read_only_database_is_found(tmp_path: Path, users: Users, migrated_url: str) -> None:
    """Nothing can be stored in it."""
    name = urlsplit(migrated_url).path.removeprefix("/")
    users.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')

    found = await found_with(variables(tmp_path, None, INGEST_DATABASE_URL=migrated_url))

    assert found["database writes"].level is FAILED


async def test_two_services_on_one_database_are_found(tmp_path: Path, migrated_url: str) -> None:
    """By the sessions of their supervisors."""
    sessions = [
        await asyncpg.connect(migrated_url, server_settings={"application_name": "ingest supervisor"})
        for _ in range(6)
    ]
    try:
        found = await found_with(variables(tmp_path, None, INGEST_DATABASE_URL=migrated_url))
    finally:
        for session in sessions:
            await session.close()

    assert "2 services write to this database" in found["one service"].found


async def test_database_that_is_not_there_is_told_without_its_password(
    tmp_path: Path, migrated_url: str
) -> None:
    """By what the server said; the place without user and password."""
    parts = urlsplit(migrated_url)
    url = urlunsplit(
        parts._replace(netloc=f"me:hunter2{parts.netloc[parts.netloc.rfind('@') :]}", path="/gone")
    )

    found = await found_with(variables(tmp_path, None, INGEST_DATABASE_URL=url))

    told = json.dumps([each._asdict() for each in found.values()])
    assert found["database"].level is FAILED
    assert "hunter2" not in told


async def test_embedded_server_is_asked_while_it_runs(tmp_path: Path) -> None:
    """And left alone when it does not: the doctor starts nothing."""
    environment = variables(tmp_path, None)
    before = await found_with(environment)
    assert "does not run now" in before["database"].found
    assert not (tmp_path / "var").exists()

    server = EmbeddedPostgres(tmp_path / "var" / "postgres", durable=False)
    url = await server.start()
    try:
        await migrate(url, deadline_s=60)
        found = await found_with(environment)
    finally:
        await server.stop()

    assert "the embedded server answers" in found["database"].found
    assert found["database schema"].found == "up to date"
    assert f"another program has the embedded database: process {os.getpid()}" in found["one service"].found


# ---------------------------------------------------------------------- the machine


@as_root
async def test_full_disk_is_found(tmp_path: Path) -> None:
    """It cannot be written, and the embedded database would not start on it."""
    place = tmp_path / "var"
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(options, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        (place / "filler").write_bytes(b"\0" * 2**20)
        found = await found_with(variables(tmp_path, None))
    finally:
        subprocess.run(["umount", str(place)], check=True)

    assert found["data folder"].level is FAILED
    assert "No space left on device" in found["data folder"].found
    assert "the embedded database does not start" in found["disk"].found


async def test_port_of_another_program_is_found(tmp_path: Path, double: ExchangeDouble) -> None:
    """Where no service runs whose port it could be."""
    port = str(urlsplit(double.rest_url).port)

    found = await found_with(variables(tmp_path, double, INGEST_SERVICE_HTTP_PORT=port))

    assert found["HTTP"].level is FAILED


# ---------------------------------------------------------------------- the command


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(("doctor", *arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_command_tells_what_to_do_and_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unused_port: int
) -> None:
    """In lines and as JSON, with the entry of the runbook; the exit code is that of the gravest finding."""
    gone = f"127.0.0.1:{unused_port}"
    secrets = {
        "INGEST_DATABASE_URL": f"postgresql://me:{quote('hunter1 x')}@{gone}/x",
        "INGEST_ALERTS_URLS": "json://user:hunter2@localhost/hunter3",
        "HTTPS_PROXY": "http://user:hunter4@proxy.example",
    }
    urls = {
        "INGEST_SPOT_REST_URL": f"http://me:hunter5@{gone}",
        "INGEST_SPOT_WS_URL": f"ws://me:hunter6@{gone}",
    }
    for name, value in variables(tmp_path, None, **secrets, **urls).items():
        monkeypatch.setenv(name, value)

    assert _run("--deadline", "20") == 1
    lines = capsys.readouterr().out
    assert "failed   exchange by REST" in lines
    assert "ingest/docs/runbook.md#feed-down" in lines
    assert "HTTPS_PROXY set" in lines
    assert "read from INGEST_ALERTS_URLS, INGEST_DATABASE_URL" in lines
    monkeypatch.setenv("INGEST_ALERTS_RUNBOOK_URL", "https://wiki.example/runbook")
    assert _run("--deadline", "20") == 1
    assert "https://wiki.example/runbook#feed-down" in capsys.readouterr().out
    assert _run("--json") == 1
    tree = json.loads(capsys.readouterr().out)
    assert tree["verdict"] == "failed"
    assert {each["level"] for each in tree["findings"]} == {"ok", "warning", "failed"}
    for told in (lines, json.dumps(tree)):
        assert "hunter" not in told


def test_mistakes_of_the_configuration_are_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of them; nothing else is looked at."""
    monkeypatch.setenv("INGEST_SERVICE_SHARDS", "0")
    monkeypatch.setenv("INGEST_SPOT_KINDS", "tarde")

    assert _run() == 2
    told = capsys.readouterr().out
    assert told.count("failed   configuration") == 2
    assert "2 things looked at: 2 failed" in told
    assert worst([]) is OK
