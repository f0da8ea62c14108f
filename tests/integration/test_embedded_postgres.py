"""The embedded PostgreSQL against a real server: lives, deaths, leftovers, full disks, users."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

import asyncpg
import pytest

from ingest.cli.database import embedded_url
from ingest.errors import EmbeddedServerError
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.embedded_binaries import locate_install
from ingest.store.embedded_folder import DataFolder
from ingest.store.embedded_identity import choose_runner
from ingest.store.embedded_pidfile import processes_in
from tests.integration.embedded_programs import (
    FORBID_NAMESPACES,
    SUPERVISE,
    first_line,
    is_running,
    start_program,
    supervisor,
    wait_gone,
)

WAIT_S = 30.0
pytestmark = pytest.mark.deadline(120)
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells nobody of a parent's death")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do this")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Where a data folder may be made: a short path that every user can reach."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "pg"


@asynccontextmanager
async def running(data_dir: Path, **options: object) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_dir, **{"durable": False, **options})  # type: ignore[arg-type]
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def connected(url: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(url, timeout=WAIT_S, command_timeout=WAIT_S)
    try:
        yield connection
    finally:
        connection.terminate()


async def put(url: str, *numbers: int) -> None:
    async with connected(url) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS numbers (n int PRIMARY KEY)")
        await connection.executemany("INSERT INTO numbers VALUES ($1)", [(number,) for number in numbers])


async def stored(url: str) -> list[int]:
    async with connected(url) as connection:
        return [row["n"] for row in await connection.fetch("SELECT n FROM numbers ORDER BY n")]


async def made(data_dir: Path, **options: object) -> DataFolder:
    """A data folder with a database that was stopped cleanly and holds the number 1."""
    async with running(data_dir, **options) as server:
        await put(server.url, 1)
    return DataFolder(data_dir)


async def assert_starts_with_its_data(data_dir: Path) -> None:
    async with running(data_dir) as server:
        assert await stored(server.url) == [1]


# ---------------------------------------------------------------------- ordinary life


async def test_data_stay_between_runs(data_dir: Path) -> None:
    """What one run stored, the next one finds, at the same address."""
    async with running(data_dir, durable=True) as first:
        await put(first.url, 1, 2)
        url = first.url
    async with running(data_dir, durable=True) as second:
        assert await stored(second.url) == [1, 2]
        assert second.url == url


async def test_server_is_what_it_should_be(data_dir: Path) -> None:
    """UTF-8, sorted by bytes, UTC, with checksums, durable, our settings over the defaults."""
    async with (
        running(data_dir, durable=True, settings={"work_mem": "7MB"}) as server,
        connected(server.url) as connection,
    ):
        names = "server_encoding lc_collate timezone data_checksums fsync work_mem wal_level listen_addresses"
        found = {
            name: await connection.fetchval("SELECT current_setting($1, true)", name)
            for name in names.split()
        }
        collation = await connection.fetchval("SELECT datcollate FROM pg_database WHERE datname = 'ingest'")

    expected = ("UTF8", None, "UTC", "on", "on", "7MB", "minimal", "")
    assert tuple(found.values()) == expected
    assert collation == "C"


async def test_nobody_comes_in_over_a_network(data_dir: Path) -> None:
    """Every rule for connections over TCP says reject, should a setting ever open a port."""
    async with running(data_dir) as server, connected(server.url) as connection:
        rules = await connection.fetch(
            "SELECT type, auth_method FROM pg_hba_file_rules WHERE type <> 'local'"
        )

    assert rules
    assert {rule["auth_method"] for rule in rules} == {"reject"}


async def test_start_and_stop_may_be_repeated(data_dir: Path) -> None:
    """Starting a running server changes nothing, and so does stopping a stopped one."""
    server = EmbeddedPostgres(data_dir, durable=False)
    await server.stop()
    url = await server.start()
    pid = server.pid
    assert pid is not None
    assert (await server.start(), server.pid) == (url, pid)

    await server.stop()
    await server.stop()
    assert server.pid is None
    assert not is_running(pid)
    assert "exit code 0" in await server.wait_ended()


async def test_address_of_a_server_that_never_ran_is_an_error(data_dir: Path) -> None:
    """There is no address before the first start."""
    server = EmbeddedPostgres(data_dir)

    with pytest.raises(EmbeddedServerError, match="not been started"):
        _ = server.url
    assert "not running" in await server.wait_ended()


async def test_long_path_is_no_obstacle(data_dir: Path) -> None:
    """A data folder too deep for a socket's address works, and leaves no socket folder behind."""
    deep = data_dir / ("long" * 20) / ("ö ,x" * 5)
    async with running(deep) as server:
        await put(server.url, 1)
        place = DataFolder(deep).socket_dir()
        assert place.exists()
    assert not place.exists()
    await assert_starts_with_its_data(deep)


async def test_setting_that_the_server_refuses_is_told_in_its_words(data_dir: Path) -> None:
    """A start that fails says why, in the server's own words, and leaves the folder free."""
    with pytest.raises(EmbeddedServerError, match="no_such_setting"):
        await EmbeddedPostgres(data_dir, durable=False, settings={"no_such_setting": "1"}).start()

    async with running(data_dir):
        pass


async def test_start_that_is_cancelled_leaves_nothing_behind(data_dir: Path) -> None:
    """Whoever is cancelled while starting leaves neither a process nor a lock."""
    await made(data_dir)
    server = EmbeddedPostgres(data_dir, durable=False)
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        start = tasks.create_task(server.start())
        while server.pid is None:
            await asyncio.sleep(0)
        start.cancel()

    assert list(processes_in(data_dir / "cluster")) == []
    await assert_starts_with_its_data(data_dir)


# ---------------------------------------------------------------------- sudden deaths


async def test_killed_server_is_told_and_started_again(data_dir: Path) -> None:
    """kill -9 of the server is noticed, named, and a new start has every committed row."""
    async with running(data_dir) as server:
        await put(server.url, 1)
        url, pid = server.url, server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        async with asyncio.timeout(WAIT_S):
            assert "SIGKILL" in await server.wait_ended()
        assert await server.start() == url
        assert server.pid != pid
        assert await stored(url) == [1]


@pytest.mark.deadline(120)
async def test_server_that_is_asked_to_end_does_not_wait_for_its_sessions(data_dir: Path) -> None:
    """A SIGTERM from outside would leave it closed to newcomers for as long as an old session stays."""
    async with running(data_dir) as server, connected(server.url) as lasting:
        await put(server.url, 1)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGTERM)

        async with asyncio.timeout(90):
            assert "exit code 0" in await server.wait_ended()
        await server.start()
        assert await stored(server.url) == [1]
        assert lasting.is_closed()


class AskedToEndAtOnce(EmbeddedPostgres):
    """Gets a SIGTERM before it was asked anything, while somebody else is connected already."""

    lasting: "asyncpg.Connection[asyncpg.Record] | None" = None

    async def _ensure_database(self) -> None:
        if self.lasting is None:
            self.lasting = await self._first_connection()
            assert self.pid is not None
            os.kill(self.pid, signal.SIGTERM)
            async with asyncio.timeout(WAIT_S):
                while not await refuses(self._url("postgres")):
                    await asyncio.sleep(0.02)
        await super()._ensure_database()


@pytest.mark.deadline(120)
async def test_server_that_is_asked_to_end_while_it_starts_ends(data_dir: Path) -> None:
    """The start fails instead of waiting for the other session to leave; the next one succeeds."""
    server = AskedToEndAtOnce(data_dir, durable=False)
    try:
        async with asyncio.timeout(90):
            with pytest.raises(EmbeddedServerError, match="exit code 0"):
                await server.start()
            await server.start()
        await put(server.url, 1)
    finally:
        await server.stop()


class Lost:
    """A connection of which nothing is left."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def fetchval(self, *_: object) -> None:
        raise self._error

    async def close(self, **_: object) -> None:
        raise self._error


class LosesItsFirstConnection(EmbeddedPostgres):
    """What asyncpg says of a server that was killed at that moment differs from time to time."""

    error: BaseException = OSError()

    async def _first_connection(self) -> "asyncpg.Connection[asyncpg.Record]":
        connection = await super()._first_connection()
        connection.terminate()
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)
        return cast("asyncpg.Connection[asyncpg.Record]", Lost(self.error))


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 11"),
        asyncpg.InterfaceError("closed"),
        TimeoutError(),
    ],
    ids=["internal", "interface", "timeout"],
)
async def test_server_that_is_killed_while_it_starts_is_a_failed_start(
    data_dir: Path, error: BaseException
) -> None:
    """Whatever the driver makes of it, so that it can be tried again."""
    server = LosesItsFirstConnection(data_dir, durable=False)
    server.error = error
    with pytest.raises(EmbeddedServerError, match="cannot be made"):
        await server.start()

    async with running(data_dir) as again:
        await put(again.url, 1)


@linux
async def test_busy_children_of_a_killed_server_do_not_block_the_next(data_dir: Path) -> None:
    """A session in mid-query does not notice that its server was killed; it is ended, then all goes on."""
    async with running(data_dir) as server, connected(server.url) as busy:
        await put(server.url, 1)
        backend = await busy.fetchval("SELECT pg_backend_pid()")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(expect_lost(busy))
            await wait_active(server.url, backend)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            async with asyncio.timeout(WAIT_S):
                await server.wait_ended()
            await server.start()

        assert not is_running(backend)
        assert await stored(server.url) == [1]


async def expect_lost(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Run a query that computes for ever until its connection is lost."""
    loop_for_ever = "DO $$ DECLARE n int := 0; BEGIN LOOP n := (n + 1) % 7; END LOOP; END $$"
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.execute(loop_for_ever, timeout=WAIT_S * 2)


async def wait_active(url: str, backend: int) -> None:
    async with asyncio.timeout(WAIT_S), connected(url) as watcher:
        question = "SELECT state FROM pg_stat_activity WHERE pid = $1"
        while await watcher.fetchval(question, backend) != "active":
            await asyncio.sleep(0.02)


async def test_server_that_does_not_react_is_ended_by_force(data_dir: Path) -> None:
    """A stopped process heeds no polite signal; after its deadline it and its children are gone."""
    server = EmbeddedPostgres(data_dir, durable=False)
    await server.start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)

    await server.stop(deadline_s=2.0)
    assert not is_running(pid)
    assert list(processes_in(data_dir / "cluster")) == []


@linux
async def test_server_ends_by_itself_when_its_supervisor_is_killed(data_dir: Path) -> None:
    """No server is left over when the process that started it is killed with -9."""
    async with supervisor(data_dir) as other:
        await put(other.url, 1)
        await other.kill()
        await wait_gone(other.pid)
    await assert_starts_with_its_data(data_dir)


@linux
async def test_sessions_may_finish_when_the_supervisor_is_killed(data_dir: Path) -> None:
    """Who still has a session goes on committing, nobody new comes in, and the last one out ends it."""
    async with supervisor(data_dir) as other:
        async with connected(other.url) as draining:
            await other.kill()
            await wait_refused(other.url)
            await draining.execute("CREATE TABLE numbers (n int PRIMARY KEY)")
            await draining.execute("INSERT INTO numbers VALUES (1)")
        await wait_gone(other.pid)
    await assert_starts_with_its_data(data_dir)


async def wait_refused(url: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await refuses(url):
            await asyncio.sleep(0.02)


async def refuses(url: str) -> bool:
    try:
        async with connected(url):
            return False
    except asyncpg.CannotConnectNowError:
        return True


async def test_new_supervisor_waits_for_those_who_still_drain(data_dir: Path) -> None:
    """A start beside the server of a killed supervisor waits until its sessions are over."""
    async with supervisor(data_dir) as other, connected(other.url) as draining:
        await draining.execute("CREATE TABLE numbers (n int PRIMARY KEY)")
        await other.kill()
        async with asyncio.TaskGroup() as tasks:
            start = tasks.create_task(
                EmbeddedPostgres(data_dir, durable=False, orphan_drain_s=WAIT_S).start()
            )
            await draining.execute("INSERT INTO numbers SELECT 1 FROM pg_sleep(0.5)")
            assert not start.done()
            draining.terminate()
        assert await stored(start.result()) == [1]
        await stop_by_number(data_dir)


async def stop_by_number(data_dir: Path) -> None:
    """Stop a server whose object is out of reach, by its pid file."""
    pid = int((data_dir / "cluster" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGINT)
    await wait_gone(pid)


async def test_orphan_that_never_drains_is_taken_down(data_dir: Path) -> None:
    """A session that nobody ends does not keep a new supervisor out for ever."""
    async with supervisor(data_dir) as other, connected(other.url):
        await put(other.url, 1)
        await other.kill()
        async with running(data_dir, orphan_drain_s=0.2) as server:
            assert not is_running(other.pid)
            assert await stored(server.url) == [1]


@linux
async def test_everything_killed_at_once_loses_no_committed_row(data_dir: Path) -> None:
    """kill -9 of the supervisor, the server and all its children is survived by the rows."""
    async with supervisor(data_dir) as other:
        await put(other.url, 1)
        numbers = [process.pid for process in processes_in(data_dir / "cluster")]
        for pid in (other.process.pid, *numbers):
            os.kill(pid, signal.SIGKILL)
        await other.process.wait()
        assert len(numbers) > 3
    await assert_starts_with_its_data(data_dir)


@linux
async def test_killed_initialisation_leaves_no_half_database(data_dir: Path) -> None:
    """Whoever dies while initialising leaves something that is never taken for a database."""
    process = await start_program(sys.executable, "-c", SUPERVISE, str(data_dir))
    async with asyncio.timeout(WAIT_S):
        while not (data_dir / "cluster.new" / "PG_VERSION").exists():
            await asyncio.sleep(0.001)
    process.kill()
    await process.wait()
    assert not (data_dir / "cluster").exists()

    await made(data_dir)
    assert not (data_dir / "cluster.new").exists()


# ---------------------------------------------------------------------- two at once


async def test_second_start_beside_a_running_one_names_its_process(data_dir: Path) -> None:
    """One folder, one supervisor: the second one is told who has it, and the first one goes on."""
    async with supervisor(data_dir) as other:
        with pytest.raises(EmbeddedServerError, match=f"already in use by process {other.process.pid}"):
            await EmbeddedPostgres(data_dir, durable=False).start()
        await put(other.url, 1)


async def test_command_waits_for_a_server_that_somebody_is_starting(data_dir: Path) -> None:
    """It has the folder's lock long before it answers, and its database is made last of all."""
    first, second = EmbeddedPostgres(data_dir), EmbeddedPostgres(data_dir)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        starting = group.create_task(first.start())
        while second.url_of_running() is None:
            await asyncio.sleep(0.01)
        async with embedded_url(second) as url:
            connection = await asyncpg.connect(url, timeout=10)
            assert await connection.fetchval("SELECT current_database()") == "ingest"
            await connection.close(timeout=10)
        await starting
        assert first.pid is not None
        assert second.pid is None
        await first.stop()


async def test_second_object_in_the_same_process_is_refused(data_dir: Path) -> None:
    """The lock also holds between two objects of one process."""
    async with running(data_dir) as server:
        with pytest.raises(EmbeddedServerError, match=f"process {os.getpid()}"):
            await EmbeddedPostgres(data_dir, durable=False).start()
        await put(server.url, 1)


@linux
async def test_server_that_somebody_else_started_is_left_alone(data_dir: Path) -> None:
    """A server started by hand on our data directory is named, not ended."""
    folder = await made(data_dir)
    runner = await choose_runner(folder, locate_install())
    by_hand = await runner.spawn(
        *("postgres", "-D", str(folder.cluster), "-c", "listen_addresses="),
        *("-c", f"unix_socket_directories={folder.socket_dir()}"),
        output=subprocess.DEVNULL,
    )
    async with asyncio.timeout(WAIT_S):
        while not (folder.cluster / "postmaster.pid").exists():
            await asyncio.sleep(0.02)

    with pytest.raises(EmbeddedServerError, match=f"process {by_hand.pid}, runs on"):
        await EmbeddedPostgres(data_dir, durable=False).start()
    assert by_hand.returncode is None
    by_hand.send_signal(signal.SIGQUIT)
    await by_hand.wait()


# ---------------------------------------------------------------------- stale pid files


def leave_pid_file(folder: DataFolder, pid: int) -> None:
    """What a server with this number would have left in its data directory and beside its socket."""
    lines = [pid, folder.cluster, 1_700_000_000, 5432, folder.socket_dir(), "", "  123  456", "ready"]
    text = "\n".join(map(str, lines)) + "\n"
    (folder.cluster / "postmaster.pid").write_text(text)
    (folder.socket_dir() / ".s.PGSQL.5432.lock").write_text(text)
    if os.geteuid() == 0:
        owner = folder.cluster.stat()
        os.chown(folder.cluster / "postmaster.pid", owner.st_uid, owner.st_gid)


@contextmanager
def unrelated_process(*, user: int | None = None) -> Iterator[int]:
    """A process that has nothing to do with any database."""
    identity = {} if user is None else {"user": user, "group": user}
    process = subprocess.Popen(["sleep", "600"], **identity)  # type: ignore[call-overload]
    try:
        yield process.pid
        assert process.poll() is None, "the unrelated process was ended"
    finally:
        process.kill()
        process.wait()


async def test_pid_file_of_an_unrelated_process_of_ours(data_dir: Path) -> None:
    """The number may belong to another process of the same user by now: it lives, and the server starts."""
    folder = await made(data_dir)
    with unrelated_process() as pid:
        leave_pid_file(folder, pid)
        await assert_starts_with_its_data(data_dir)


@as_root
async def test_pid_file_of_another_users_process(data_dir: Path) -> None:
    """The number may belong to another user's process by now."""
    folder = await made(data_dir)
    with unrelated_process(user=pwd.getpwnam("nobody").pw_uid) as pid:
        leave_pid_file(folder, pid)
        await assert_starts_with_its_data(data_dir)


async def test_pid_file_of_a_server_on_another_folder(data_dir: Path) -> None:
    """The number may even belong to a real server of ours, of another data folder."""
    folder = await made(data_dir)
    async with running(data_dir.with_name("other")) as other:
        assert other.pid is not None
        leave_pid_file(folder, other.pid)
        await assert_starts_with_its_data(data_dir)
        await put(other.url, 1)


async def test_pid_file_of_a_process_that_is_gone(data_dir: Path) -> None:
    """After a crash of everything the number usually belongs to nobody."""
    folder = await made(data_dir)
    with unrelated_process() as pid:
        pass
    leave_pid_file(folder, pid)
    await assert_starts_with_its_data(data_dir)


async def test_pid_file_of_the_machines_first_process(data_dir: Path) -> None:
    """In containers low numbers repeat: 1 is always alive and never a server."""
    folder = await made(data_dir)
    leave_pid_file(folder, 1)
    await assert_starts_with_its_data(data_dir)


@pytest.mark.parametrize("content", ["", "rubbish\n", "0\n\n\n"])
async def test_pid_file_that_was_cut_short(data_dir: Path, content: str) -> None:
    """A crash or a full disk may leave an empty or half-written file."""
    folder = await made(data_dir)
    (folder.cluster / "postmaster.pid").write_text(content)
    await assert_starts_with_its_data(data_dir)


# ---------------------------------------------------------------------- places that will not do


async def test_nearly_full_disk_is_refused_before_anything_is_written(data_dir: Path) -> None:
    """Too little room is told with folder and bytes, and nothing is made."""
    with pytest.raises(EmbeddedServerError, match=rf"\d+ bytes are free at {data_dir}"):
        await EmbeddedPostgres(data_dir, min_free_bytes=10**18).start()
    assert not data_dir.exists()


@contextmanager
def small_disk(place: Path, options: str) -> Iterator[Path]:
    """A file system of its own at `place`; skips where none may be mounted."""
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=False)
    if mount.returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@as_root
async def test_disk_that_fills_up_during_initialisation(data_dir: Path) -> None:
    """No space in mid-initialisation is told as such, and the half-made database is removed."""
    with small_disk(data_dir, "size=20m") as disk:
        with pytest.raises(EmbeddedServerError, match=r"disk is full: \d+ bytes were left at"):
            await EmbeddedPostgres(disk / "pg", min_free_bytes=0).start()
        assert [path.name for path in (disk / "pg").iterdir()] == ["owner.lock"]


def fill_up(filler: Path) -> None:
    """Write until there is no room."""
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


@as_root
async def test_disk_that_is_full_at_a_later_start(data_dir: Path) -> None:
    """A start without room for the server's first writes says that the disk is full; with room it goes."""
    with small_disk(data_dir, "size=120m") as disk:
        await made(disk / "pg", min_free_bytes=0)
        filler = disk / "filler"
        fill_up(filler)
        with pytest.raises(EmbeddedServerError, match=f"disk is (nearly )?full: .*{disk}"):
            await EmbeddedPostgres(disk / "pg", durable=False).start()
        with pytest.raises(EmbeddedServerError, match=f"{disk}"):
            await EmbeddedPostgres(disk / "pg", durable=False, min_free_bytes=0).start()
        filler.unlink()
        async with running(disk / "pg", min_free_bytes=0) as server:
            assert await stored(server.url) == [1]


@as_root
async def test_disk_that_cannot_be_written(data_dir: Path) -> None:
    """A read-only place is told with its name."""
    named = rf"cannot prepare the data folder {data_dir}/pg: Read-only"
    with small_disk(data_dir, "ro") as disk, pytest.raises(EmbeddedServerError, match=named):
        await EmbeddedPostgres(disk / "pg", min_free_bytes=0).start()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_folder_that_this_user_may_not_write(data_dir: Path) -> None:
    """A folder closed to us is told with its name."""
    data_dir.mkdir(mode=0o500)
    with pytest.raises(EmbeddedServerError, match="cannot prepare the data folder"):
        await EmbeddedPostgres(data_dir / "pg").start()


async def test_database_of_another_major_version_is_refused(data_dir: Path) -> None:
    """A database of another PostgreSQL is told with both versions and stays as it is."""
    folder = await made(data_dir)
    (folder.cluster / "PG_VERSION").write_text("14\n")

    with pytest.raises(EmbeddedServerError, match=r"made by PostgreSQL 14, the programs are of \d+"):
        await EmbeddedPostgres(data_dir).start()


async def test_folder_that_is_no_database_is_refused(data_dir: Path) -> None:
    """A folder of that name without a database in it is not touched."""
    (data_dir / "cluster").mkdir(parents=True)
    (data_dir / "cluster" / "precious").write_text("")

    with pytest.raises(EmbeddedServerError, match="not a PostgreSQL data directory"):
        await EmbeddedPostgres(data_dir).start()
    assert (data_dir / "cluster" / "precious").exists()


# ---------------------------------------------------------------------- as whom


def python_for_everybody() -> str:
    """An interpreter of this version that an unprivileged user may run; skips when there is none."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    check = "import asyncpg, ingest.store.embedded"
    path = os.pathsep.join([str(Path.cwd()), *(entry for entry in sys.path if entry.endswith("-packages"))])
    for python in (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin")):
        try:
            subprocess.run(
                [python or "", "-c", check],
                env={"PYTHONPATH": path},
                user="nobody",
                check=True,
                stderr=subprocess.DEVNULL,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return str(python)
    pytest.skip("no Python here that an unprivileged user may run")


@as_root
async def test_ordinary_user_needs_nothing_special(data_dir: Path) -> None:
    """An ordinary user's server runs as that user, and its files are that user's."""
    nobody = pwd.getpwnam("nobody")
    data_dir.mkdir()
    os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)
    async with supervisor(data_dir, python=python_for_everybody(), user=nobody.pw_uid) as other:
        await put(other.url, 1)
        assert Path(f"/proc/{other.pid}").stat().st_uid == nobody.pw_uid
        await other.kill()
        await wait_gone(other.pid)
    assert (data_dir / "cluster").stat().st_uid == nobody.pw_uid

    await assert_starts_with_its_data(data_dir)
    assert (data_dir / "cluster" / "PG_VERSION").stat().st_uid == nobody.pw_uid


@as_root
@linux
async def test_root_runs_it_without_changing_the_owner_of_anything(data_dir: Path) -> None:
    """Where user namespaces are allowed, root's files stay root's."""
    folder = await made(data_dir)

    runner = await choose_runner(folder, locate_install())
    if runner.identity.way != "namespace":
        pytest.skip("no user namespaces here")
    assert {path.stat().st_uid for path in data_dir.rglob("*")} == {0}


@as_root
@linux
async def test_root_without_namespaces_runs_it_as_an_unprivileged_user(data_dir: Path) -> None:
    """Where they are forbidden, an existing user gets the data folder, before and after a kill -9."""
    async with supervisor(data_dir, "-c", FORBID_NAMESPACES) as other:
        assert Path(f"/proc/{other.pid}").stat().st_uid in unprivileged()
        await put(other.url, 1)
        os.kill(other.pid, signal.SIGKILL)
        await wait_gone(other.pid)
    assert (data_dir / "cluster").stat().st_uid in unprivileged()

    await assert_starts_with_its_data(data_dir)
    assert (data_dir / "cluster" / "PG_VERSION").stat().st_uid in unprivileged()


@as_root
@linux
async def test_database_made_by_root_is_given_away_when_namespaces_are_forbidden(data_dir: Path) -> None:
    """A folder that worked with namespaces goes on working without, and the server dies with its parent."""
    await made(data_dir)
    async with supervisor(data_dir, "-c", FORBID_NAMESPACES) as other:
        assert await stored(other.url) == [1]


def unprivileged() -> set[int]:
    return {user.pw_uid for user in pwd.getpwall() if user.pw_name in ("postgres", "nobody", "daemon")}


@as_root
async def test_programs_below_a_closed_directory_are_copied(data_dir: Path) -> None:
    """An unprivileged user who cannot reach the installed programs runs a copy in the data folder."""
    closed = data_dir.with_name("closed")
    closed.mkdir(mode=0o700)
    package = locate_install().parent
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, closed / part.name, ignore=shutil.ignore_patterns("include"))
    folder = folder_of_nobody(data_dir)

    runner = await choose_runner(folder, closed / package.name / "pginstall")

    assert runner.install.is_relative_to(folder.binaries)
    assert (await runner.run("initdb", "--version", deadline_s=WAIT_S))[0] == 0


@as_root
async def test_folder_that_the_unprivileged_user_cannot_reach_is_explained(data_dir: Path) -> None:
    """Where no identity works, the error says why for each and what to do; owners stay as they were."""
    closed = data_dir.with_name("closed")
    closed.mkdir(mode=0o700)
    folder = folder_of_nobody(closed / "pg")

    with pytest.raises(EmbeddedServerError, match=r"as user nobody: Permission denied.*database\.url"):
        await choose_runner(folder, locate_install())
    assert folder.top.stat().st_uid == 0


def folder_of_nobody(data_dir: Path) -> DataFolder:
    """A data folder whose database belongs to an unprivileged user."""
    folder = DataFolder(data_dir)
    folder.cluster.mkdir(parents=True)
    nobody = pwd.getpwnam("nobody")
    os.chown(folder.cluster, nobody.pw_uid, nobody.pw_gid)
    return folder


@as_root
@linux
async def test_user_without_a_name_gets_a_namespace(data_dir: Path) -> None:
    """A number without an entry in the password file, as containers assign them, can run it too."""
    data_dir.mkdir()
    os.chown(data_dir, 54321, 54321)
    process = await start_program(python_for_everybody(), "-c", SUPERVISE, str(data_dir), user=54321)
    answer = await first_line(process)
    await process.communicate(b"stop\n")

    if "Operation not permitted" in answer:
        pytest.skip("no user namespaces for ordinary users here")
    assert answer.startswith("postgresql://")
