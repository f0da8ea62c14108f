"""Programs that the tests of the embedded server run beside themselves, and may kill."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

WAIT_S = 30.0
REPOSITORY = Path(__file__).parents[2]

SUPERVISE = """
import asyncio, sys
from pathlib import Path
from ingest.store.embedded import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
    print(await server.start(), server.pid, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await server.stop()

try:
    asyncio.run(main())
except Exception as error:
    print(f"{type(error).__name__}: {error}", flush=True)
"""
"""Starts a server, prints its URL and number or the error, and stops it after a line of input."""

FORBID_NAMESPACES = """
import ctypes, os, sys

to_parent, to_child = os.pipe(), os.pipe()
if (child := os.fork()) == 0:
    ctypes.CDLL(None).unshare(0x10000000)
    os.write(to_parent[1], b"x")
    os.read(to_child[0], 1)
    open("/proc/sys/user/max_user_namespaces", "w").write("0")
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
os.read(to_parent[0], 1)
for kind in ("uid_map", "gid_map"):
    open(f"/proc/{child}/{kind}", "w").write("0 0 65536")
os.write(to_child[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""Runs the rest of its command line as root of a place with all users and no further namespaces."""


@dataclass
class Supervisor:
    """Another process that supervises a server; `pid` is the server's own number."""

    process: asyncio.subprocess.Process
    url: str
    pid: int

    async def kill(self) -> None:
        """End the supervising process as `kill -9` does."""
        self.process.kill()
        await self.process.wait()


async def start_program(*command: str, user: int | None = None) -> asyncio.subprocess.Process:
    path = os.pathsep.join([str(REPOSITORY), *(entry for entry in sys.path if entry.endswith("-packages"))])
    return await asyncio.create_subprocess_exec(
        *(command if user is None else as_user(user, command)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": path, "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=REPOSITORY,
    )


def as_user(user: int, command: tuple[str, ...]) -> tuple[str, ...]:
    """The same command with only this user's rights; uvloop cannot change the user itself."""
    return ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--", *command)


async def first_line(process: asyncio.subprocess.Process) -> str:
    """What the program says first, its whole answer when that is an error."""
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        return (await process.stdout.readline()).decode().strip()


@asynccontextmanager
async def supervisor(
    data_dir: Path, *before: str, python: str = sys.executable, user: int | None = None
) -> AsyncIterator[Supervisor]:
    """A server with a supervising process of its own, ended with the block."""
    process = await start_program(python, *before, "-c", SUPERVISE, str(data_dir), user=user)
    try:
        url, pid = (await first_line(process)).split(" ")
        yield Supervisor(process, url, int(pid))
    finally:
        if process.returncode is None:
            await process.communicate(b"stop\n")


async def wait_gone(pid: int) -> None:
    """Until the process has ended; one that nobody reaped yet has."""
    async with asyncio.timeout(WAIT_S):
        while is_running(pid):
            await asyncio.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # no /proc here, or gone since
        return not Path("/proc/self").exists()
