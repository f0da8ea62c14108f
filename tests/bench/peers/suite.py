"""Runs a mode in rounds: our own rows, then every peer, all on the same frames."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ingest.store.embedded import EmbeddedPostgres
from tests.bench.generator import serving
from tests.bench.peers.catalog import BY_NAME, MODES, PEERS, PeerRow
from tests.bench.peers.environments import PeerUnavailableError, ensure_environment
from tests.bench.peers.front import FrontJob
from tests.bench.peers.measure import PeerFailure, PeerMeasure
from tests.bench.peers.row import PeerJob, measure_peer
from tests.bench.peers.steering import FrontSteering
from tests.bench.suite import Options, run_suite

OURS: Final = ("parse", "shard", "stored")

Tell = Callable[[PeerMeasure | PeerFailure], None]


@dataclass(frozen=True, kw_only=True)
class PeerOptions:
    """What is to be measured. `interpreter` stands for every peer's environment when it is given."""

    messages: int
    seconds: float
    rounds: int
    folder: Path
    modes: Sequence[str] = tuple(MODES)
    rows: Sequence[str] = tuple(BY_NAME)
    symbols: int = 50
    seed: int = 1
    durable: bool = True
    interpreter: Path | None = None


@dataclass(frozen=True)
class _Ready:
    """A peer and what runs it."""

    peer: PeerRow
    python: Path
    version: str


async def run_peers(options: PeerOptions, tell: Tell) -> list[PeerMeasure | PeerFailure]:
    """Everything in the order in which it was taken; `tell` hears of each.

    Raises BenchError for what is our own; what a peer cannot do is a PeerFailure.
    """
    found: list[PeerMeasure | PeerFailure] = []

    def take(result: PeerMeasure | PeerFailure) -> None:
        found.append(result)
        tell(result)

    options.folder.mkdir(parents=True, exist_ok=True)
    peers, reasons = await _environments(options)
    for mode in options.modes:
        for name, reason in reasons.items():
            take(PeerFailure(mode, name, reason))
        await _run_mode(options, mode, peers, take)
    return found


async def _environments(options: PeerOptions) -> tuple[list[_Ready], dict[str, str]]:
    """The peers that can run, and why the others cannot."""
    ready, reasons = [], {}
    for peer in [peer for peer in PEERS if peer.name in options.rows]:
        try:
            python = await _python(options, peer)
            ready.append(_Ready(peer, python, await _version(python)))
        except PeerUnavailableError as error:
            reasons[peer.name] = str(error)
    return ready, reasons


async def _python(options: PeerOptions, peer: PeerRow) -> Path:
    if options.interpreter is not None:
        return options.interpreter.absolute()  # not resolved: a link is what makes it an environment's
    return await ensure_environment(peer.environment, options.folder.absolute(), least=peer.least_python)


async def _version(python: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *(str(python), "-c", "import platform; print(platform.python_version())"),
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await process.communicate()
    return answer.decode().strip()


async def _run_mode(options: PeerOptions, mode: str, peers: Sequence[_Ready], take: Tell) -> None:
    async with AsyncExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder)
        folder = Path(stack.enter_context(temporary))
        url, pid = await stack.enter_async_context(_database(folder, durable=options.durable))
        frames = FrontJob(options.messages, options.symbols, options.seed, MODES[mode])
        front = await stack.enter_async_context(serving("tests.bench.peers.front", frames.text()))
        steering = await stack.enter_async_context(FrontSteering.opened(front.rest_url))
        job = PeerJob(
            mode=mode,
            kinds=tuple(MODES[mode]),
            round=0,
            symbols=options.symbols,
            messages=options.messages,
            seconds=options.seconds,
            ws_port=front.ws_port,
            rest_port=front.rest_port,
            database_url=url,
            server_pid=pid,
            folder=options.folder,
        )
        for number in range(options.rounds):
            await _run_ours(options, mode, number, take)
            for ready in peers:
                take(await _outcome(ready, replace(job, round=number), steering))


async def _run_ours(options: PeerOptions, mode: str, number: int, take: Tell) -> None:
    """One round of our own rows, by the benchmark they belong to, with the same seed."""
    ours = Options(
        messages=options.messages,
        rounds=1,
        rows=OURS,
        symbols=options.symbols,
        seed=options.seed,
        mix=MODES[mode],
        data_dir=options.folder,
        durable=options.durable,
    )
    version = ".".join(map(str, sys.version_info[:3]))
    for measure in await run_suite(ours, lambda _: None):
        take(PeerMeasure.of_ours(replace(measure, round=number), mode, python=version))


async def _outcome(ready: _Ready, job: PeerJob, steering: FrontSteering) -> PeerMeasure | PeerFailure:
    try:
        return await measure_peer(ready.peer, ready.python, job, steering, version=ready.version)
    except PeerUnavailableError as error:
        return PeerFailure(job.mode, ready.peer.name, str(error))


@asynccontextmanager
async def _database(folder: Path, *, durable: bool) -> AsyncIterator[tuple[str, int]]:
    """A server of the peers' own, on the settings that ours has in production if `durable`."""
    server = EmbeddedPostgres(folder / "postgres", durable=durable)
    try:
        yield await server.start(), server.pid or 0
    finally:
        await server.stop()
