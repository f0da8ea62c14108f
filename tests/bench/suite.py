"""Runs the rows in rounds: a generator for each course, one database for all, a process for each measure."""

import asyncio
import os
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
from tests.bench.certificate import make_certificate
from tests.bench.courses import FLOOR, ROWS, WITH_DATABASE, WITH_TLS, Course, courses
from tests.bench.generator import ROOT, BenchError, Generator, ended, generating
from tests.bench.load import LoadJob
from tests.bench.measure import Measure, RowJob
from tests.bench.mix import MIX

_ROW_DEADLINE_S: Final = 600.0
_MIGRATE_DEADLINE_S: Final = 60.0
_SAMPLER: Final = (
    str(Path(sys.executable).with_name("py-spy")),
    *"record --rate 500 --function --output".split(),
)
_TRUSTED: Final = "SSL_CERT_FILE"
"""By this variable OpenSSL, and so aiohttp, trusts an authority."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is to be measured. Each course's floor is measured in every round, named or not.

    `spool_rate` is of the live messages, a second, behind which the row `spool` catches up. With `flame` a
    flame graph of the last row's process is drawn there, sampled by py-spy: its figures are not to be used.
    """

    messages: int
    rounds: int
    rows: Sequence[str] = ROWS
    symbols: int = 200
    many_symbols: int = 2_000
    seed: int = 1
    mix: Mapping[str, int] = field(default_factory=lambda: dict(MIX))
    spool_rate: float = 10_000.0
    data_dir: Path | None = None
    durable: bool = True
    flame: Path | None = None


async def run_suite(options: Options, tell: Callable[[Measure], None]) -> list[Measure]:
    """All measures, in the order in which they were taken; `tell` hears of each. Raises BenchError.

    A course begins and ends with its floor, so that what happens to the machine meanwhile meets it too.
    """
    measures: list[Measure] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=options.data_dir)))
        plans = await _plans(options, folder, stack)
        for number in range(options.rounds):
            for job in [each for plan in plans for each in plan]:
                flame = options.flame if job.row == options.rows[-1] else None
                measures.append(await _measured(replace(job, round=number), folder, flame))
                tell(measures[-1])
    return measures


async def _plans(options: Options, folder: Path, stack: AsyncExitStack) -> list[list[RowJob]]:
    """The jobs of a round by course, with all that they need started."""
    load = LoadJob(options.messages, options.symbols, options.seed, options.mix)
    if WITH_TLS & set(options.rows):
        made = make_certificate(folder)
        load = replace(load, certificate=str(made.certificate), key=str(made.key))
    database = ("", 0)
    if WITH_DATABASE & set(options.rows):
        database = await stack.enter_async_context(_database(folder, durable=options.durable))
    plans = []
    for course in courses(load, options.rows, many_symbols=options.many_symbols):
        generator = await stack.enter_async_context(generating(course.load))
        job = _job(options, course, generator, folder)
        job = replace(job, database_url=database[0], server_pid=database[1])
        plans.append([_for_row(job, row, course, generator) for row in (FLOOR, *course.rows, FLOOR)])
    return plans


def _job(options: Options, course: Course, generator: Generator, folder: Path) -> RowJob:
    return RowJob(
        row=FLOOR,
        course=course.name,
        ws_url=generator.ws_url,
        rest_port=generator.rest_port,
        symbols=course.load.symbols,
        kinds=tuple(course.load.mix),
        data_dir=str(folder),
        messages=options.messages,
        live_rate=options.spool_rate,
    )


def _for_row(job: RowJob, row: str, course: Course, generator: Generator) -> RowJob:
    streams_per_feed = course.streams_per_feed.get(row, job.streams_per_feed)
    ws_url = f"wss://127.0.0.1:{generator.wss_port}" if row in WITH_TLS else job.ws_url
    return replace(job, row=row, streams_per_feed=streams_per_feed, ws_url=ws_url)


@asynccontextmanager
async def _database(folder: Path, *, durable: bool) -> AsyncIterator[tuple[str, int]]:
    """URL and process of the embedded PostgreSQL, migrated, on production's settings if `durable`."""
    server = EmbeddedPostgres(folder / "postgres", durable=durable)
    url = await server.start()
    try:
        await migrate(url, deadline_s=_MIGRATE_DEADLINE_S)
        now = datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, UTC)
        async with connected(url) as connection:
            await ensure_partitions(connection, now=now)
        yield url, server.pid or 0
    finally:
        await server.stop()


async def _measured(job: RowJob, folder: Path, flame: Path | None) -> Measure:
    sampling = [] if flame is None else [*_SAMPLER, str(flame), "--"]
    trusting = {_TRUSTED: str(folder / "authority.pem")} if job.row in WITH_TLS else {}
    process = await asyncio.create_subprocess_exec(
        *(*sampling, sys.executable, "-m", "tests.bench.worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **trusting},
    )
    try:
        async with asyncio.timeout(_ROW_DEADLINE_S):
            answer, _ = await process.communicate(orjson.dumps(asdict(job)))
    finally:
        await ended(process)
    if process.returncode:
        raise BenchError(f"the row {job.row!r} has failed")
    # Before and behind the answer the sampler has its say.
    return Measure(**orjson.loads(next(line for line in answer.splitlines() if line.startswith(b"{"))))
