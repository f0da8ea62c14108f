"""The real service under the paced generator: `ingest run` on the embedded PostgreSQL, watched from outside.

Everything is the service's default (durability, tracking, freshness, alerts, books) but the addresses, the
symbols, the kinds and the number of shards. Nothing is asked of the service while it is measured; the boards'
headers and `/proc` are read.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from ingest.board.layout import (
    HEADER_VALUES_AT,
    HEADER_WORDS,
    HEARTBEAT_AT,
    WORD_BYTES,
    HeaderValues,
    Heartbeat,
    ShardState,
)
from ingest.board.mapped import board_path
from ingest.clock import SystemClock
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.sessions import SessionLimits, connected
from tests.bench.account import Account, Latency, commit_latencies, find_rows, settle
from tests.bench.generator import BenchError, generating
from tests.bench.load import LoadJob
from tests.bench.mix import symbol_names
from tests.bench.processes import Cast
from tests.bench.steering import Steering
from tests.bench.timeline import MemoryTrend, Timeline, quantile
from tests.simulation.service import Service

log = structlog.get_logger()

_LIMITS: Final = SessionLimits(statement_s=3_600, lock_s=60)
_START_DEADLINE_S: Final = 900.0
_DRAIN_DEADLINE_S: Final = 300.0
_BEAT_S: Final = 0.05
"""Twice for each heartbeat, so that hardly one is missed."""
_POLL_S: Final = 0.2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be run. `warm_rate` is that of the messages while books become live."""

    load: LoadJob
    shards: int
    data_dir: Path
    warm_rate: float = 2_000.0
    sections: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Of one rate held for a while. CPU is in µs a message by kind of process."""

    rate: float
    wall_s: float
    messages: int
    sent_rate: float
    cpu_us: Mapping[str, float]
    latency: Mapping[str, Latency]
    """Event to commit, by kind of stream."""
    board_p99_s: float
    """The shards' own: from the receiving of a batch's oldest row to its acknowledged commit, sampled."""
    lag_p50_ms: float
    lag_p99_ms: float
    lag_most_ms: float
    waiting_most_s: float
    waiting_last_s: float
    spooled_rows: int
    memory: Mapping[str, MemoryTrend]

    @property
    def latency_p99_s(self) -> float:
        """The worst of the kinds."""
        return max((each.p99_s for each in self.latency.values() if each.rows), default=float("nan"))


class Loaded:
    """A service whose streams are all subscribed and whose books are live."""

    def __init__(self, plan: Plan, service: Service, steering: Steering, cast: Cast, url: str) -> None:
        self._plan = plan
        self._service = service
        self._steering = steering
        self._cast = cast
        self._url = url
        self._clock = SystemClock()

    async def hold(
        self, rate: float, seconds: float, *, settle_s: float = 2.0, memory_every_s: float = 5.0
    ) -> Result:
        """Send at a rate for so long, watching; afterwards nothing is sent, and all is stored."""
        await self._steering.pace(rate)
        await asyncio.sleep(settle_s)
        timeline, before, cpu_before = Timeline(), await self._steering.state(), self._cast.cpu_s()
        since_us, began_s = self._clock.wall_ns() // 1_000, time.perf_counter()
        await self._watch(timeline, seconds, memory_every_s)
        wall_s, until_us = time.perf_counter() - began_s, self._clock.wall_ns() // 1_000
        after, cpu_after = await self._steering.state(), self._cast.cpu_s()
        await self.drain()
        messages = after.number - before.number
        latency = await self._latencies(since_us, until_us, messages)
        return Result(
            rate=rate,
            wall_s=wall_s,
            messages=messages,
            sent_rate=messages / wall_s,
            cpu_us={kind: (cpu_after[kind] - cpu_before[kind]) / messages * 1e6 for kind in cpu_after},
            latency=latency,
            board_p99_s=quantile(timeline.board_latencies_us, 0.99) / 1e6,
            lag_p50_ms=timeline.lag_ms(0.5),
            lag_p99_ms=timeline.lag_ms(0.99),
            lag_most_ms=timeline.lag_ms(1.0),
            waiting_most_s=max(timeline.waiting_s),
            waiting_last_s=timeline.waiting_s[-1],
            spooled_rows=timeline.spooled_rows,
            memory=timeline.memory_trends(),
        )

    async def drain(self) -> None:
        """Send nothing, and return when nothing waits anywhere."""
        async with asyncio.timeout(_DRAIN_DEADLINE_S):
            await self._steering.rest()
            while any(header.buffered_rows or header.spooled_rows for _, header in self._heads()):
                await asyncio.sleep(_POLL_S)
            # What has been read and not been encoded yet is on no board: one tick and one more.
            await asyncio.sleep(5 * _POLL_S)

    async def account(self) -> Account:
        """Every row beside every frame, once nothing waits."""
        ledger = await self._steering.ledger()
        async with connected(self._url, application="bench", limits=_LIMITS) as connection:
            return settle(ledger, await find_rows(connection, list(ledger)))

    async def troubles(self) -> dict[str, int]:
        """What should be nothing: gaps, shards that were started again, incidents by their diagnosis.

        A search goes beyond what is sustained, so that streams seem silent and are told to be.
        """
        async with connected(self._url, application="bench", limits=_LIMITS) as connection:
            gaps = await connection.fetchval("SELECT count(*) FROM ops.gaps")
            incidents = await connection.fetch(
                "SELECT diagnosis, count(*) AS incidents FROM ops.incidents GROUP BY diagnosis"
            )
            pids = {row["pid"] for row in await connection.fetch("SELECT pid FROM ops.shards")}
        restarts = len(set(self._cast.shards) - pids)
        named = {f"incidents of {row['diagnosis']}": int(row["incidents"]) for row in incidents}
        return {"gaps": gaps, "restarts": restarts, **named}

    async def _watch(self, timeline: Timeline, seconds: float, memory_every_s: float) -> None:
        """Fill the timeline."""
        began_s = time.perf_counter()
        memory_s = look_s = 0.0
        beats: dict[int, int] = {}
        batches = {shard: header.batches_committed for shard, (_, header) in enumerate(self._heads())}
        while (now_s := time.perf_counter() - began_s) < seconds:
            heads = self._heads()
            for shard, (beat, header) in enumerate(heads):
                if batches.get(shard) != header.batches_committed:
                    batches[shard] = header.batches_committed
                    timeline.board_latencies_us.append(header.commit_latency_last_us)
                if beats.get(shard) != beat.monotonic_ns:
                    beats[shard] = beat.monotonic_ns
                    timeline.lags_us.append(beat.loop_lag_us)
            if now_s >= memory_s:
                timeline.remembered(now_s, self._cast.memory_bytes())
                memory_s = now_s + memory_every_s
            if now_s >= look_s:
                await self._look(timeline, [header for _, header in heads])
                look_s = now_s + 1.0
            await asyncio.sleep(_BEAT_S)
        await self._look(timeline, [header for _, header in self._heads()])

    async def _look(self, timeline: Timeline, headers: Sequence[HeaderValues]) -> None:
        """How old is the oldest message that nobody can see: at the generator, in sockets, in shards."""
        now_ns, sent = self._clock.wall_ns(), await self._steering.state()
        oldest = [header.oldest_waiting_recv_ns for header in headers if header.oldest_waiting_recv_ns]
        waiting_s = max(0.0, (now_ns - min(oldest, default=now_ns)) / 1e9)
        bytes_a_second = max(1.0, sent.rate * sent.frame_bytes)
        timeline.waiting_s.append(waiting_s + sent.late_s + sent.backlog_bytes / bytes_a_second)
        timeline.spooled_rows = max(timeline.spooled_rows, sum(header.spooled_rows for header in headers))

    def _heads(self) -> list[tuple[Heartbeat, HeaderValues]]:
        folder = self._service.data_dir
        return [read_head(board_path(folder, shard)) for shard in range(self._plan.shards)]

    async def _latencies(self, since_us: int, until_us: int, messages: int) -> dict[str, Latency]:
        kinds = list(self._plan.load.mix)
        async with connected(self._url, application="bench", limits=_LIMITS) as connection:
            return await commit_latencies(
                connection, kinds, since_us=since_us, until_us=until_us, messages=messages
            )


def read_head(path: Path) -> tuple[Heartbeat, HeaderValues]:
    """The head of a board alone: reading thousands of streams twenty times a second would be felt."""
    with path.open("rb") as board:
        words = memoryview(board.read(HEADER_WORDS * WORD_BYTES)).cast("q").tolist()
    state, *values = words[HEADER_VALUES_AT : HEADER_VALUES_AT + len(HeaderValues._fields)]
    beat = Heartbeat._make(words[HEARTBEAT_AT : HEARTBEAT_AT + len(Heartbeat._fields)])
    return beat, HeaderValues(ShardState(state), *values)


@asynccontextmanager
async def loaded(plan: Plan) -> AsyncIterator[Loaded]:
    """Start generator and service, and wait until all books are live. Ends both, whatever happens."""
    async with AsyncExitStack() as stack:
        generator = await stack.enter_async_context(generating(replace(plan.load, paced=True)))
        steering = await stack.enter_async_context(Steering.opened(generator.rest_url))
        service = Service(plan.data_dir, None, **_sections(plan, generator.ws_url, generator.rest_url))
        stack.push_async_callback(asyncio.to_thread, service.end)
        try:
            async with asyncio.timeout(_START_DEADLINE_S):
                await asyncio.to_thread(service.start)
                await _until_live(plan, service, steering)
            yield await _watched(plan, service, steering, generator.pid)
        except BaseException:
            log.error("bench.service", last_words=service.last_words())
            raise
        await asyncio.to_thread(service.stop)


async def _until_live(plan: Plan, service: Service, steering: Steering) -> None:
    while not await steering.is_subscribed():
        if service.process is None or service.process.poll() is not None:
            raise BenchError("the service has ended while it started")
        await asyncio.sleep(_POLL_S)
    await steering.pace(plan.warm_rate)
    await asyncio.to_thread(service.wait_ready)
    wanted = plan.load.symbols if "depth" in plan.load.mix else 0
    paths = [board_path(service.data_dir, shard) for shard in range(plan.shards)]
    while sum(read_head(path)[1].books_live for path in paths) < wanted:
        await asyncio.sleep(_POLL_S)


async def _watched(plan: Plan, service: Service, steering: Steering, generator: int) -> Loaded:
    pids = await asyncio.to_thread(service.shard_pids)
    database, url = service.database_pid(), EmbeddedPostgres(service.data_dir / "postgres").url_of_running()
    if service.process is None or database is None or url is None or len(pids) < plan.shards:
        raise BenchError("the service is ready, but not all of its processes are there")
    cast = Cast([pids[shard] for shard in sorted(pids)], service.process.pid, database, generator)
    return Loaded(plan, service, steering, cast, url)


def _sections(plan: Plan, ws_url: str, rest_url: str) -> dict[str, dict[str, object]]:
    sections: dict[str, dict[str, object]] = {
        "service": {"shards": plan.shards},
        "spot": {
            "ws_url": ws_url,
            "rest_url": rest_url,
            "symbols": symbol_names(plan.load.symbols),
            "kinds": list(plan.load.mix),
        },
    }
    for name, values in plan.sections.items():
        sections[name] = {**sections.get(name, {}), **values}
    return sections
