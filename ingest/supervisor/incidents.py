"""Incidents on their way to `ops.incidents`: each change of a story is one upsert.

A bounded queue: while the database is away the newest state of each incident waits, and nothing else;
there are never more of them than open incidents and those closed meanwhile, of which the oldest go
first beyond `_CAPACITY`.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import structlog

from ingest.clock import Clock
from ingest.errors import StoreUnavailable
from ingest.store.journal import storable
from ingest.store.retrying import RetryPolicy, until_available
from ingest.store.statements import statement
from ingest.supervisor.ladder import Repair

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

log = structlog.get_logger()

Session: TypeAlias = "Callable[[], AbstractAsyncContextManager[Connection]]"

_CAPACITY = 500
_ENDED_KEPT = 50
_MARKET = "spot"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EndedIncident(NamedTuple):
    """One that is over; its times are on the monotonic clock."""

    repair: Repair
    ended_s: float


class IncidentLog:
    """`put` never waits; `run` writes."""

    def __init__(self, session: Session, *, clock: Clock, rng: random.Random) -> None:
        self.dropped = 0
        self.ended: deque[EndedIncident] = deque(maxlen=_ENDED_KEPT)
        """The newest that are over, oldest first; all of them are in the table."""
        self._session = session
        self._clock = clock
        self._rng = rng
        self._service = clock.wall_ns() // 1_000
        self._waiting: dict[str, tuple[object, ...]] = {}
        self._arrived = asyncio.Event()

    def put(self, repair: Repair, *, closed: bool) -> None:
        """Keep an incident's newest state for writing."""
        name = f"{self._service}-{repair.number}"
        now_s, now_us = self._clock.monotonic_s(), self._clock.wall_ns() // 1_000

        def wall(at_s: float) -> datetime:
            return _EPOCH + timedelta(microseconds=now_us - int((now_s - at_s) * 1e6))

        story = [f"{wall(record.at_s):%H:%M:%S} {record.what}" for record in repair.story]
        if closed:
            self.ended.append(EndedIncident(repair, now_s))
            story.append(f"{wall(now_s):%H:%M:%S} over after {now_s - repair.opened_s:.0f} s")
        self._waiting.pop(name, None)
        self._waiting[name] = (
            name,
            _MARKET,
            repair.shard if repair.shard >= 0 else None,
            str(repair.feed) if repair.feed >= 0 else None,
            [str(key) for key in sorted(repair.affected)],
            repair.diagnosis.name.lower() if repair.diagnosis else "unknown",
            storable(repair.evidence),
            repair.step.name.lower(),
            story,
            wall(repair.opened_s),
            wall(now_s) if closed else None,
        )
        while len(self._waiting) > _CAPACITY:
            self._waiting.pop(next(iter(self._waiting)))
            self.dropped += 1
        self._arrived.set()

    async def run(self) -> None:
        """Write until cancelled; a database that is away is waited for."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                name, row = next(iter(self._waiting.items()))
                write = partial(self._write, row)
                await until_available(write, policy=RetryPolicy(), rng=self._rng, on_retry=_told)
                if self._waiting.get(name) is row:
                    del self._waiting[name]

    async def _write(self, row: tuple[object, ...]) -> None:
        async with self._session() as connection:
            await connection.execute(statement("put_incident"), *row)


def _told(error: BaseException) -> None:
    if isinstance(error, StoreUnavailable):
        log.info("incident.not_written", error=str(error))
