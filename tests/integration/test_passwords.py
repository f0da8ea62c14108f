"""Passwords from files and from the environment, and what is said of those that are wrong."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.cli import main
from ingest.errors import SchemaMismatch, StoreUnavailable
from ingest.store import dsn
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.migrate import migrate
from ingest.store.postgres import PostgresSink
from ingest.store.sessions import connected
from tests.plugin_database import with_database, with_user

DEADLINE_S = 60
RULES = "local all postgres,stranger trust\nlocal all all scram-sha-256\n"
FIRST, SECOND = "first of them: @/?#", "second"


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """The URL of a migrated database that asks the user `keeper` for a password, without it."""
    with tempfile.TemporaryDirectory(prefix="ingest-rules-") as folder, asyncio.Runner() as runner:
        rules = Path(folder) / "hba.conf"
        rules.write_text(RULES)
        rules.chmod(0o644)
        Path(folder).chmod(0o755)  # the server may run as another user
        server = EmbeddedPostgres(Path(folder) / "postgres", durable=False, settings={"hba_file": str(rules)})
        url = runner.run(server.start())
        try:
            runner.run(migrate(url, deadline_s=DEADLINE_S))
            runner.run(_execute(url, "CREATE ROLE keeper LOGIN IN ROLE ingest_writer"))
            yield with_user(url, "keeper")
        finally:
            runner.run(server.stop())


@pytest.fixture
async def url(guarded: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, the password being the first one, and nobody else's password being found."""
    for name in ("PGPASSWORD", "PGPASSFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nowhere")
    await _change(guarded, FIRST)
    return guarded


async def _change(url: str, password: str) -> None:
    await _execute(with_user(url, "postgres"), f"ALTER ROLE keeper PASSWORD '{password}'")


async def _execute(url: str, sql: str) -> None:
    async with connected(url) as connection:
        await connection.execute(sql)


async def _works(url: str) -> bool:
    async with connected(url) as connection:
        return bool(await connection.fetchval("SELECT current_user = 'keeper'"))


def a_passfile(folder: Path) -> Path:
    path = folder / "passfile"
    path.write_text(f"*:*:*:keeper:{SECOND}\n")
    path.chmod(0o600)
    return path


async def test_password_is_found_wherever_it_is(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the URL, in a file of its own, in PGPASSWORD, in a passfile that the URL or PGPASSFILE names."""
    file = tmp_path / "password"
    file.write_text(f"{FIRST}\n")
    assert await _works(dsn.with_password(url, FIRST))
    assert await _works(dsn.with_password_file(url, file))
    assert await _works(dsn.resolved(dsn.with_password_file(url, file)))
    with monkeypatch.context() as environment:
        environment.setenv("PGPASSWORD", FIRST)
        assert await _works(url)
    await _change(url, SECOND)
    passfile = a_passfile(tmp_path)
    assert await _works(f"{url}&passfile={passfile}")
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    assert await _works(url)


async def test_new_connections_read_the_file_anew(url: str, tmp_path: Path) -> None:
    """A password that is changed there and here is no trouble for a pool that stands."""
    file = tmp_path / "password"
    file.write_text(FIRST)
    async with PostgresSink.opened(dsn.with_password_file(url, file), connections=1) as sink:
        await sink.check_schema()
        await _change(url, SECOND)
        await _end_sessions(url)
        with pytest.raises(StoreUnavailable):
            await _until_refused(sink)
        file.write_text(SECOND)
        async with asyncio.timeout(DEADLINE_S):
            while not await _answers(sink):
                await asyncio.sleep(0.05)


async def _end_sessions(url: str) -> None:
    sql = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'keeper'"
    await _execute(with_user(url, "postgres"), sql)


async def _until_refused(sink: PostgresSink) -> None:
    """The first failure is that of the connection that was ended."""
    for _ in range(3):
        try:
            await sink.check_schema()
        except StoreUnavailable as error:
            if error.sqlstate == "28P01":
                raise


async def _answers(sink: PostgresSink) -> bool:
    try:
        await sink.check_schema()
    except StoreUnavailable:
        return False
    return True


async def test_file_that_is_away_is_waited_for(url: str, tmp_path: Path) -> None:
    """As it may be while it is changed; the message has its name and no more."""
    with pytest.raises(StoreUnavailable, match=r"the password file cannot be read: No such file.*gone"):
        await _works(dsn.with_password_file(url, tmp_path / "gone"))


async def test_refusals_say_what_is_to_be_mended(url: str) -> None:
    """A wrong password, none at all, a user and a database that do not exist."""
    wrong = dsn.with_password(url, "hunter2")
    with pytest.raises(StoreUnavailable, match='failed for user "keeper"; is the password right') as refused:
        await _works(wrong)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(StoreUnavailable, match="is the password right"):
        await _works(url)
    with pytest.raises(StoreUnavailable, match='role "stranger" does not exist; does the user'):
        await _works(with_user(url, "stranger"))
    with pytest.raises(SchemaMismatch, match='database "nowhere" does not exist; make the database'):
        await _works(with_database(dsn.with_password(url, FIRST), "nowhere"))


def test_commands_take_the_password_from_the_environment(
    guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each by its configuration; a wrong one ends the command with one line, in which it is not repeated."""
    with asyncio.Runner() as runner:
        runner.run(_change(guarded, FIRST))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INGEST_DATABASE_URL", guarded)
    codes = []
    for password in (FIRST, "hunter2"):
        monkeypatch.setenv("INGEST_DATABASE_PASSWORD", password)
        with pytest.raises(SystemExit) as ended:
            main(["gaps"])
        codes.append(ended.value.code)
    said = capsys.readouterr().err

    assert codes == [0, 1]
    assert "password authentication failed" in said
    assert "hunter2" not in said
    assert "Traceback" not in said
