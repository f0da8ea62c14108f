"""A load generator's process: started, told apart by its ports, and ended by its standard input."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from tests.bench.load import LoadJob, job_text

ROOT: Final = Path(__file__).parents[2]
_READY_DEADLINE_S: Final = 600.0
_END_DEADLINE_S: Final = 10.0


class BenchError(Exception):
    """A row or the generator has failed; its own words are on standard error."""


@dataclass(frozen=True)
class Generator:
    """Where it is. `wss_port` is 0 without a certificate."""

    pid: int
    ws_port: int
    rest_port: int
    wss_port: int = 0

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.ws_port}"

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"


@asynccontextmanager
async def generating(load: LoadJob) -> AsyncIterator[Generator]:
    """A generator that has made its frames. Raises BenchError."""
    async with serving("tests.bench.load", job_text(load)) as generator:
        yield generator


@asynccontextmanager
async def serving(module: str, job: str) -> AsyncIterator[Generator]:
    """A module's process that prints its ports when it is ready. Raises BenchError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, job),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        async with asyncio.timeout(_READY_DEADLINE_S):
            line = await process.stdout.readline()
        if not line:
            raise BenchError(f"{module} has not come up")
        ports = orjson.loads(line)
        yield Generator(process.pid, ports["ws"], ports["rest"], ports.get("wss", 0))
    finally:
        process.stdin.close()  # by this it knows that it is over
        await ended(process)


async def ended(process: asyncio.subprocess.Process) -> None:
    """Wait for a process' end, and make it come when it does not."""
    try:
        async with asyncio.timeout(_END_DEADLINE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
