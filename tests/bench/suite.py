"""Runs the rows in rounds: one generator and one database for all, a fresh process for each measurement."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson

from ingest.clock import SystemClock
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.migrate import migrate
from ingest.store.partitions import ensure_partitions
from ingest.store.sessions import connected
from tests.bench.load import LoadJob, job_text
from tests.bench.measure import Measure, RowJob
from tests.bench.mix import MIX

ROWS: Final = ("null", "floor", "parse", "shard", "capture", "stored")
FLOOR: Final = "floor"
_ROOT: Final = Path(__file__).parents[2]
_READY_DEADLINE_S: Final = 300.0
_ROW_DEADLINE_S: Final = 300.0
_MIGRATE_DEADLINE_S: Final = 60.0


class BenchError(Exception):
    """A row or the generator has failed; its own words are on standard error."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is to be measured. The floor is measured in every round, named or not."""

    messages: int
    rounds: int
    rows: Sequence[str] = ROWS
    symbols: int = 200
    seed: int = 1
    mix: Mapping[str, int] = field(default_factory=lambda: dict(MIX))
    data_dir: Path | None = None
    durable: bool = True


async def run_suite(options: Options, tell: Callable[[Measure], None]) -> list[Measure]:
    """All measures, in the order in which they were taken; `tell` hears of each. Raises BenchError.

    A round begins and ends with the floor, so that what happens to the machine meanwhile meets it too.
    """
    rows = [FLOOR, *(row for row in ROWS if row in options.rows and row != FLOOR), FLOOR]
    measures: list[Measure] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=options.data_dir)))
        job = await stack.enter_async_context(_generator(options, folder))
        if "stored" in rows:
            job = await stack.enter_async_context(_with_database(job, folder, durable=options.durable))
        for number in range(options.rounds):
            for row in rows:
                measures.append(await _measured(replace(job, row=row, round=number)))
                tell(measures[-1])
    return measures


@asynccontextmanager
async def _generator(options: Options, folder: Path) -> AsyncIterator[RowJob]:
    """A generator that has made its frames; the job says where it is."""
    load = LoadJob(options.messages, options.symbols, options.seed, options.mix)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.load", job_text(load)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        async with asyncio.timeout(_READY_DEADLINE_S):
            line = await process.stdout.readline()
        if not line:
            raise BenchError("the load generator has not come up")
        ports = orjson.loads(line)
        yield RowJob(
            row=FLOOR,
            ws_port=ports["ws"],
            rest_port=ports["rest"],
            symbols=options.symbols,
            kinds=tuple(options.mix),
            data_dir=str(folder),
        )
    finally:
        process.stdin.close()  # by this it knows that it is over
        await _ended(process)


@asynccontextmanager
async def _with_database(job: RowJob, folder: Path, *, durable: bool) -> AsyncIterator[RowJob]:
    """The embedded PostgreSQL, migrated, on the settings that it has in production if `durable`."""
    server = EmbeddedPostgres(folder / "postgres", durable=durable)
    url = await server.start()
    try:
        await migrate(url, deadline_s=_MIGRATE_DEADLINE_S)
        now = datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, UTC)
        async with connected(url) as connection:
            await ensure_partitions(connection, now=now)
        yield replace(job, database_url=url, server_pid=server.pid or 0)
    finally:
        await server.stop()


async def _measured(job: RowJob) -> Measure:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    try:
        async with asyncio.timeout(_ROW_DEADLINE_S):
            answer, _ = await process.communicate(orjson.dumps(asdict(job)))
    finally:
        await _ended(process)
    if process.returncode:
        raise BenchError(f"the row {job.row!r} has failed")
    return Measure(**orjson.loads(answer))


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Wait for a process' end, and make it come when it does not."""
    try:
        async with asyncio.timeout(10.0):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
