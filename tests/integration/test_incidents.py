"""The story of an incident in the database: one row, always its newest state, whatever the database does."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ingest.board.layout import Diagnosis
from ingest.errors import StoreUnavailable
from ingest.events import StreamKey
from ingest.store.postgres import PostgresSink
from ingest.supervisor.incidents import IncidentLog
from ingest.supervisor.ladder import LadderLimits, Repair, Step
from ingest.supervisor.vigil import load_records
from tests.integration.wire import until

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

BTC, ETH = (StreamKey("spot", symbol, "trade") for symbol in ("BTCUSDT", "ETHUSDT"))
WALL = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
LADDER = LadderLimits()


@dataclass
class SetClock:
    """Noon at monotonic 1000 s, unless the wall clock is stepped."""

    now_s: float = 1_000.0
    step_s: float = 0.0

    def wall_ns(self) -> int:
        return int(WALL.timestamp() + self.now_s - 1_000.0 + self.step_s) * 1_000_000_000

    def monotonic_s(self) -> float:
        return self.now_s


@pytest.fixture
async def sink(migrated_url: str) -> AsyncIterator[PostgresSink]:
    """A sink on a database of the test's own."""
    async with PostgresSink.opened(migrated_url, connections=2) as opened:
        yield opened


def a_repair(number: int = 1, **more: int) -> Repair:
    repair = Repair(
        number=number,
        shard=more.get("shard", 0),
        feed=more.get("feed", 3),
        keys={ETH, BTC},
        diagnosis=Diagnosis.FEED_SILENT,
        evidence="the exchange pinged 4 s ago, and no data come",
        opened_s=1_000.0,
        step=Step.RESUBSCRIBE,
        step_until_s=1_000.0,
    )
    repair.enter(Step.REPLACE_FEED, 1_000.0, LADDER)
    return repair


def a_log(sink: PostgresSink, clock: SetClock | None = None) -> IncidentLog:
    return IncidentLog(sink.session, clock=clock or SetClock(), rng=random.Random(1))


async def rows(sink: PostgresSink) -> list[asyncpg.Record]:
    async with sink.session() as connection:
        return await connection.fetch("SELECT * FROM ops.incidents ORDER BY opened_at, incident")


async def written(sink: PostgresSink, incidents: IncidentLog) -> list[asyncpg.Record]:
    """The table once nothing waits any more."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(incidents.run())
        await until(lambda: not incidents._waiting)
        running.cancel()
    return await rows(sink)


async def test_incident_is_one_row_that_says_everything(sink: PostgresSink) -> None:
    """Which streams, why, what was done and when; open until it is over."""
    incidents = a_log(sink)
    incidents.put(a_repair(), closed=False)
    (row,) = await written(sink, incidents)

    assert (row["market"], row["shard"], row["feed"]) == ("spot", 0, "3")
    assert row["streams"] == ["spot:BTCUSDT:trade", "spot:ETHUSDT:trade"]
    assert (row["diagnosis"], row["step"]) == ("feed_silent", "replace_feed")
    assert row["evidence"] == "the exchange pinged 4 s ago, and no data come"
    assert row["story"] == ["12:00:00 step replace_feed"]
    assert (row["opened_at"], row["closed_at"]) == (WALL, None)


async def test_evidence_that_quotes_anything_is_taken(sink: PostgresSink) -> None:
    """What an exchange, or whatever answers in its place, has said never ends the supervisor."""
    repair = a_repair()
    repair.evidence = "REST could not be asked: \0 and half a character \ud83d"
    incidents = a_log(sink)
    incidents.put(repair, closed=False)
    (row,) = await written(sink, incidents)

    assert row["evidence"] == "REST could not be asked:  and half a character ?"


async def test_newest_incidents_that_are_over_are_remembered(sink: PostgresSink) -> None:
    """For who looks at the service and not at the table; bounded, and without those that are open."""
    clock = SetClock()
    incidents = a_log(sink, clock)
    for number in range(60):
        clock.now_s += 1
        incidents.put(a_repair(number), closed=False)
        incidents.put(a_repair(number), closed=number != 59)

    assert [each.repair.number for each in incidents.ended] == [*range(9, 59)]
    assert incidents.ended[-1].ended_s == 1_059.0


async def test_incident_goes_on_in_its_row(sink: PostgresSink) -> None:
    """Steps, streams that joined, and the end, each with its time."""
    clock = SetClock()
    incidents, repair = a_log(sink, clock), a_repair()
    incidents.put(repair, closed=False)
    await written(sink, incidents)
    clock.now_s += 15
    repair.join({StreamKey("spot", "XRPUSDT", "trade")}, clock.now_s)
    repair.enter(Step.ALERT, clock.now_s, LADDER)
    incidents.put(repair, closed=False)
    clock.now_s += 5
    incidents.put(repair, closed=True)
    (row,) = await written(sink, incidents)

    assert row["story"] == [
        "12:00:00 step replace_feed",
        "12:00:15 streams joined: 1",
        "12:00:15 step alert",
        "12:00:20 over after 20 s",
    ]
    assert "spot:XRPUSDT:trade" in row["streams"]
    assert (row["step"], row["opened_at"], row["closed_at"]) == ("alert", WALL, WALL + timedelta(seconds=20))


async def test_incident_about_no_single_stream_has_no_place(sink: PostgresSink) -> None:
    """The exchange, or the database."""
    repair = a_repair(shard=-1, feed=-1)
    repair.affected, repair.diagnosis = frozenset(), Diagnosis.NONE
    incidents = a_log(sink)
    incidents.put(repair, closed=False)
    (row,) = await written(sink, incidents)

    assert (row["shard"], row["feed"], row["streams"], row["diagnosis"]) == (None, None, [], "unknown")


async def test_incidents_of_two_services_do_not_meet(sink: PostgresSink) -> None:
    """Each counts from one, and has its own start in the name."""
    for clock in (SetClock(), SetClock(now_s=2_000.0)):
        incidents = a_log(sink, clock)
        incidents.put(a_repair(1), closed=False)
        incidents.put(a_repair(2), closed=True)
        await written(sink, incidents)

    assert len({row["incident"] for row in await rows(sink)}) == 4


async def test_closed_incident_stays_closed(sink: PostgresSink) -> None:
    """A late word of the same story does not open it again."""
    incidents = a_log(sink)
    incidents.put(a_repair(), closed=True)
    await written(sink, incidents)
    incidents.put(a_repair(), closed=False)
    (row,) = await written(sink, incidents)

    assert row["closed_at"] == WALL


async def test_service_that_begins_closes_what_another_left_open(sink: PostgresSink) -> None:
    """It looks at everything anew; what was closed stays as it was."""
    incidents = a_log(sink)
    incidents.put(a_repair(1), closed=False)
    incidents.put(a_repair(2), closed=True)
    await written(sink, incidents)
    await load_records(sink)
    left, over = await rows(sink)

    assert left["closed_at"] is not None
    assert left["story"][-1].endswith(" a new supervisor has begun")
    assert (over["closed_at"], len(over["story"])) == (WALL, 2)


# --- the database is away ---


class Gate:
    """Sessions that fail while it is closed."""

    def __init__(self, sink: PostgresSink) -> None:
        self.is_closed = True
        self.tried = 0
        self._sink = sink

    def session(self) -> "AbstractAsyncContextManager[Connection]":
        return self._session()

    @asynccontextmanager
    async def _session(self) -> "AsyncIterator[Connection]":
        self.tried += 1
        if self.is_closed:
            raise StoreUnavailable("connection refused")
        async with self._sink.session() as connection:
            yield connection


async def test_newest_state_waits_for_the_database(sink: PostgresSink) -> None:
    """What it was in between is in its story."""
    gate, clock = Gate(sink), SetClock()
    incidents = IncidentLog(gate.session, clock=clock, rng=random.Random(1))
    repair = a_repair()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(incidents.run())
        incidents.put(repair, closed=False)
        await until(lambda: gate.tried)
        clock.now_s += 3
        incidents.put(repair, closed=True)
        gate.is_closed = False
        await until(lambda: not incidents._waiting)
        running.cancel()

    (row,) = await rows(sink)
    assert row["closed_at"] == WALL + timedelta(seconds=3)


def test_oldest_go_first_when_too_many_wait() -> None:
    """Memory is bounded however long the database is away, and what was dropped is counted."""
    incidents = IncidentLog(
        Gate(None).session,  # type: ignore[arg-type]
        clock=SetClock(),
        rng=random.Random(1),
    )
    for number in range(1, 506):
        incidents.put(a_repair(number), closed=False)
    incidents.put(a_repair(6), closed=True)

    assert (incidents.dropped, len(incidents._waiting)) == (5, 500)
    assert next(iter(incidents._waiting)).endswith("-7")
