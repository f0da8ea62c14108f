"""The journal's queue. What it writes: tests/integration."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ingest.errors import RowsRefused, SchemaMismatch, StoreError, StoreUnavailable
from ingest.store.journal import Journal, Quarantined

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

pytestmark = pytest.mark.virtual_time


class Refusing:
    """A session that fails before anything is written."""

    def __init__(self, error: StoreError) -> None:
        self.error: StoreError | None = error
        self.asked = 0

    @asynccontextmanager
    async def session(self) -> "AsyncIterator[Connection]":
        self.asked += 1
        if self.error is not None:
            raise self.error
        yield pytest.fail("written")


def an_entry(number: int = 0) -> Quarantined:
    return Quarantined(number, "spot", 0, "feed", "frame", "not JSON", b"{")


async def test_full_journal_drops_its_oldest_entry_and_counts_it() -> None:
    """Recording never blocks and never grows: the oldest entry gives way."""
    journal = Journal(Refusing(StoreUnavailable("down")).session, rng=random.Random(1), capacity=3)
    for number in range(5):
        journal.record(an_entry(number))

    assert (len(journal), journal.dropped) == (3, 2)


async def test_entry_waits_while_the_database_is_away() -> None:
    """A journal whose database stays away gives up at the deadline with its entry still there."""
    store = Refusing(StoreUnavailable("down"))
    journal = Journal(store.session, rng=random.Random(1))
    journal.record(an_entry())

    assert await journal.drain(deadline_s=60.0) == 1
    assert store.asked > 5
    assert journal.dropped == 0


async def test_refused_entry_is_dropped_and_counted() -> None:
    """An entry that the server will never take does not hold up the others."""
    journal = Journal(Refusing(RowsRefused("too odd")).session, rng=random.Random(1))
    journal.record(an_entry(1))
    journal.record(an_entry(2))

    assert await journal.drain(deadline_s=10.0) == 0
    assert journal.dropped == 2


async def test_mismatch_of_the_schema_ends_the_journal() -> None:
    """A table that is not there is nothing to wait for."""
    journal = Journal(Refusing(SchemaMismatch("no table")).session, rng=random.Random(1))
    journal.record(an_entry())

    with pytest.raises(ExceptionGroup) as raised:
        await journal.run()
    assert raised.group_contains(SchemaMismatch)
    assert len(journal) == 1


async def test_running_journal_is_ended_by_drain() -> None:
    """Drain ends a journal that waits for entries, and one that cannot write."""
    journal = Journal(Refusing(StoreUnavailable("down")).session, rng=random.Random(1))
    async with asyncio.TaskGroup() as group:
        group.create_task(journal.run())
        await asyncio.sleep(1.0)
        journal.record(an_entry())
        await asyncio.sleep(1.0)

        assert await journal.drain(deadline_s=5.0) == 1
