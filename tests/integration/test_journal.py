"""What the journal writes, on a real server."""

import asyncio
import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

from ingest.store.instants import instant
from ingest.store.journal import Journal, Quarantined, SessionClosed, SessionOpened
from ingest.store.postgres import PostgresSink
from ingest.store.retrying import RetryPolicy
from ingest.store.sessions import connected
from tests.rows import NOW_US

DEADLINE_S = 30.0
OPENED = SessionOpened("spot", "spot-0", 0, "wss://example/stream", NOW_US, 12)
CLOSED = SessionClosed(*OPENED, closed_us=NOW_US + 5, close_code=1006, reason="reset\0", messages=345)


@pytest.fixture
async def sink(migrated_url: str) -> AsyncIterator[PostgresSink]:
    """A sink on a database of the test's own."""
    async with PostgresSink.opened(migrated_url, connections=2) as opened:
        yield opened


def a_journal(sink: PostgresSink, *, keep: int = 100) -> Journal:
    retry = RetryPolicy(first_s=0.01, cap_s=0.1)
    return Journal(sink.session, rng=random.Random(1), retry=retry, keep=keep)


def a_frame(number: int = 0, payload: bytes = b"{") -> Quarantined:
    return Quarantined(NOW_US + number, "spot", 0, "spot-0", "frame", "not JSON: \udc80\0", payload)


async def fetch(sink: PostgresSink, query: str) -> list[asyncpg.Record]:
    async with sink.session() as connection:
        return await connection.fetch(query)


@pytest.mark.parametrize("entries", [[OPENED, CLOSED], [CLOSED], [CLOSED, OPENED], [OPENED, CLOSED, CLOSED]])
async def test_session_has_one_row_however_its_entries_come(
    sink: PostgresSink, entries: list[SessionOpened | SessionClosed]
) -> None:
    """Opening and closing end as one row, also when one was dropped, came late, or was written twice."""
    journal = a_journal(sink)
    for entry in entries:
        journal.record(entry)
    assert await journal.drain(deadline_s=DEADLINE_S) == 0

    (row,) = await fetch(sink, "SELECT * FROM ops.feed_sessions")
    times = (instant(NOW_US), instant(NOW_US + 5))
    assert tuple(row) == ("spot", "spot-0", 0, "wss://example/stream", *times, 1006, "reset", 12, 345)


async def test_open_session_has_no_end(sink: PostgresSink) -> None:
    """While a feed is connected its row has neither end nor reason."""
    journal = a_journal(sink)
    journal.record(OPENED)
    await journal.drain(deadline_s=DEADLINE_S)

    (row,) = await fetch(sink, "SELECT closed_at, close_code, reason, messages FROM ops.feed_sessions")
    assert tuple(row) == (None, None, None, 0)


async def test_quarantined_frame_is_kept_for_inspection_once(sink: PostgresSink) -> None:
    """A frame is stored with its bytes, cut when huge, and not doubled when it is written again."""
    journal = a_journal(sink)
    for entry in (a_frame(), a_frame(), a_frame(1, b"\0\xff" * 100_000)):
        journal.record(entry)
    await journal.drain(deadline_s=DEADLINE_S)

    rows = await fetch(sink, "SELECT source, error, payload FROM ops.quarantine ORDER BY id")
    assert [(row["source"], row["error"], row["payload"][:2]) for row in rows] == [
        ("frame", "not JSON: ?", b"{"),
        ("frame", "not JSON: ?", b"\0\xff"),
    ]
    assert len(rows[1]["payload"]) == 65_536


async def test_quarantine_keeps_only_the_newest(sink: PostgresSink) -> None:
    """The table of frames is trimmed now and then to its newest rows."""
    journal = a_journal(sink, keep=10)
    for number in range(101):
        journal.record(a_frame(number))
    await journal.drain(deadline_s=DEADLINE_S)

    rows = await fetch(sink, "SELECT at FROM ops.quarantine ORDER BY id")
    assert [row["at"] for row in rows] == [instant(NOW_US + number) for number in range(91, 101)]


async def test_entries_survive_lost_connections(sink: PostgresSink, migrated_url: str) -> None:
    """Sessions that the server ends cost no entry."""
    journal = a_journal(sink)
    async with connected(migrated_url) as other, asyncio.TaskGroup() as group:
        group.create_task(journal.run())
        for number in range(50):
            journal.record(a_frame(number))
            await asyncio.sleep(0)
            if number % 10 == 0:
                await other.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )
        assert await journal.drain(deadline_s=DEADLINE_S) == 0

    assert len(await fetch(sink, "SELECT id FROM ops.quarantine")) == 50
