"""One peer's program in its process: started, asked over pipes, ended. `programs.meter` is the other end."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import orjson

from tests.bench.peers.catalog import PeerRow
from tests.bench.peers.environments import PeerUnavailableError, last_words

_ROOT: Final = Path(__file__).parents[3]
_ANSWER_DEADLINE_S: Final = 30.0
_END_DEADLINE_S: Final = 10.0


@dataclass(frozen=True)
class Reading:
    """Counts of the phase; CPU and clock at its last progress, and the CPU that is used by now."""

    received: int
    stored: int
    done: bool
    cpu_s: float
    wall_s: float
    used_s: float


class PeerProcess:
    """Every method raises PeerUnavailableError, with the program's last words, once it has ended."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    async def expect(self, messages: int) -> Reading:
        """Begin a phase."""
        return await self._ask(f"expect {messages}\n")

    async def read(self) -> Reading:
        """How far it is."""
        return await self._ask("read\n")

    async def _ask(self, line: str) -> Reading:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            async with asyncio.timeout(_ANSWER_DEADLINE_S):
                self._process.stdin.write(line.encode())
                await self._process.stdin.drain()
                answer = await self._process.stdout.readline()
        except (ConnectionError, TimeoutError):
            answer = b""
        if not answer:
            raise PeerUnavailableError(f"its program has ended: {last_words(self._log)}")
        return Reading(**orjson.loads(answer))


@asynccontextmanager
async def started(
    peer: PeerRow, python: Path, job: dict[str, object], log: Path
) -> AsyncIterator[PeerProcess]:
    """The program on this job; its prints go to the log."""
    module = f"tests.bench.peers.programs.{peer.program}"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(str(python), "-m", module, orjson.dumps(job).decode()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=out,
            cwd=_ROOT,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )
    try:
        yield PeerProcess(process, log)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(_END_DEADLINE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def database_words(url: str) -> dict[str, str]:
    """Host (or folder of a Unix socket), port, user and database of the embedded server's URL."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    return {
        "host": query.get("host", [parts.hostname or ""])[0],
        "port": query.get("port", [str(parts.port or 5432)])[0],
        "user": parts.username or "",
        "database": parts.path.removeprefix("/"),
    }
