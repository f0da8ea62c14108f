"""One peer's measurement: warm, a trial that tells how many messages its time is enough for, then those.

A phase is over when the program has counted what was sent to it, or when all has left, its counts have stood
still for a while and it does not compute either: then some of it will never be counted, and that is told.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingest.store.sessions import connected
from ingest.store.statements import parse_statements
from tests.bench.measure import tree_cpu_s
from tests.bench.mix import symbol_names
from tests.bench.peers.catalog import PeerRow
from tests.bench.peers.client import PeerProcess, Reading, database_words, started
from tests.bench.peers.environments import PeerUnavailableError
from tests.bench.peers.measure import PeerMeasure
from tests.bench.peers.steering import FrontSteering, SubscriptionError

_TRIAL_MESSAGES: Final = 2_000
_TRIAL_SHARE: Final = 0.25
_SUBSCRIBED_LOOK_S: Final = 1.0
_SUBSCRIBED_TRIES: Final = 60
_PHASE_DEADLINE_S: Final = 120.0
_POLL_S: Final = 0.05
_STILL_S: Final = 2.0
_IDLE_SHARE: Final = 0.1
_TABLES: Final = dict(parse_statements(Path(__file__).with_name("tables.sql").read_text(encoding="utf-8")))


@dataclass(frozen=True, kw_only=True)
class PeerJob:
    """Where everything is. There are `messages`, the trial's included; the measured may take `seconds`."""

    mode: str
    kinds: tuple[str, ...]
    round: int
    symbols: int
    messages: int
    seconds: float
    ws_port: int
    rest_port: int
    database_url: str
    server_pid: int
    folder: Path

    def words(self, peer: PeerRow) -> dict[str, object]:
        """What the program is told."""
        return {
            "ws_url": f"ws://127.0.0.1:{self.ws_port}",
            "rest_url": f"http://127.0.0.1:{self.rest_port}",
            "symbols": symbol_names(self.symbols),
            "kinds": self.kinds,
            "store": peer.store,
            "database": database_words(self.database_url),
        }


async def measure_peer(
    peer: PeerRow, python: Path, job: PeerJob, steering: FrontSteering, *, version: str
) -> PeerMeasure:
    """Raises PeerUnavailableError with the reason when it does not work with this load."""
    if peer.stores:
        await _make_tables(job.database_url, peer.tables)
    async with started(peer, python, job.words(peer), job.folder / f"{peer.name}.log") as process:
        await _warm(process, steering)
        trial = await _phase(process, steering, trial_messages(job))
        rows_before = await _count_rows(job.database_url, peer)
        server_before_s = tree_cpu_s(job.server_pid)
        phase = await _phase(process, steering, affordable(trial, job))
        server_after_s = tree_cpu_s(job.server_pid)
    if not phase.received:
        raise PeerUnavailableError("nothing of what was sent has reached the user's code")
    server_s = None if server_before_s is None or server_after_s is None else server_after_s - server_before_s
    return PeerMeasure(
        mode=job.mode,
        row=peer.name,
        round=job.round,
        sent=phase.sent,
        received=phase.received,
        cpu_s=phase.cpu_s,
        wall_s=phase.wall_s,
        stored=await _count_rows(job.database_url, peer) - rows_before,
        server_cpu_s=server_s if peer.stores else None,
        python=version,
    )


@dataclass(frozen=True)
class Phase:
    """What came of so many messages."""

    sent: int
    received: int
    cpu_s: float
    wall_s: float


def trial_messages(job: PeerJob) -> int:
    """How many of the messages are tried first."""
    return min(_TRIAL_MESSAGES, int(job.messages * _TRIAL_SHARE))


def affordable(trial: Phase, job: PeerJob) -> int:
    """As many of the rest as will take the time allowed, by the trial's rate; not fewer than the trial's."""
    rate = trial.sent / trial.wall_s if trial.wall_s > 0 else 0.0
    return min(job.messages - trial.sent, max(trial.sent, int(rate * job.seconds)))


async def _warm(process: PeerProcess, steering: FrontSteering) -> None:
    """One message on each stream, with all that a client does at the first of each."""
    await _run(process, steering, await _subscribed(process, steering))


async def _subscribed(process: PeerProcess, steering: FrontSteering) -> int:
    """Wait until it has all streams; the number of first messages. A program that has ended is noticed."""
    reason = ""
    for _ in range(_SUBSCRIBED_TRIES):
        await process.read()
        try:
            return await steering.warm(deadline_s=_SUBSCRIBED_LOOK_S)
        except SubscriptionError as error:
            reason = str(error)
    raise PeerUnavailableError(reason)


async def _phase(process: PeerProcess, steering: FrontSteering, messages: int) -> Phase:
    return await _run(process, steering, await steering.prepare(messages))


async def _run(process: PeerProcess, steering: FrontSteering, sent: int) -> Phase:
    began = await process.expect(sent)
    await steering.go()
    try:
        async with asyncio.timeout(_PHASE_DEADLINE_S):
            ended = await _ended(process, steering)
    except TimeoutError:
        raise PeerUnavailableError(
            f"it has not finished {sent} messages in {_PHASE_DEADLINE_S:.0f} s"
        ) from None
    return Phase(sent, ended.received, ended.cpu_s - began.cpu_s, ended.wall_s - began.wall_s)


async def _ended(process: PeerProcess, steering: FrontSteering) -> Reading:
    loop = asyncio.get_running_loop()
    reading = since = await process.read()
    since_s = loop.time()
    while not reading.done:
        await asyncio.sleep(_POLL_S)
        reading = await process.read()
        span_s = loop.time() - since_s
        if (reading.received, reading.stored) != (since.received, since.stored):
            since, since_s = reading, loop.time()
        elif span_s >= _STILL_S:
            if reading.used_s - since.used_s < _IDLE_SHARE * span_s and await steering.is_sent():
                return reading
            since, since_s = reading, loop.time()
    return reading


async def _make_tables(url: str, tables: str) -> None:
    async with connected(url, application="bench") as connection:
        await connection.execute(_TABLES[tables])


async def _count_rows(url: str, peer: PeerRow) -> int:
    """In all tables that the peer writes to."""
    if not peer.stores:
        return 0
    async with connected(url, application="bench") as connection:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        counts = [await connection.fetchval(f'SELECT count(*) FROM public."{name}"') for (name,) in names]
    return sum(counts)
