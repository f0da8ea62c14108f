"""The loop that publishes: every round the whole truth, and a database that is away is waited out."""

import asyncio
from collections.abc import Sequence

import pytest

from ingest.board.layout import Diagnosis, StreamState
from ingest.errors import RowsRefused, StoreUnavailable
from ingest.store.publish import StreamRow as TableRow
from ingest.supervisor.freshness import StreamFreshness, judge_all
from ingest.supervisor.publisher import FreshnessPublisher, shard_row, table_row
from tests.unit.board.builders import (
    BTC_TRADE,
    a_board,
    a_shard,
    a_stream,
    ago_us,
    never_seen,
    some_facts,
)


def test_published_row_says_the_same() -> None:
    """What the store writes is what was judged, word for word."""
    stream = a_stream(age_s=3, state=StreamState.STALE, diagnosis=Diagnosis.HALF_OPEN, feed=4, reconnects=2)
    (row,) = judge_all(some_facts(a_shard(a_board({BTC_TRADE: stream}, shard=7)), open_gaps={BTC_TRADE: 5}))

    assert table_row(row) == TableRow(
        key=BTC_TRADE,
        shard=7,
        feed="4",
        state="stale",
        diagnosis="half_open",
        last_event_us=ago_us(3),
        last_recv_us=ago_us(3),
        last_commit_us=ago_us(3),
        threshold_s=60.0,
        verified_quiet_us=None,
        reconnects=2,
        open_gaps=5,
    )


def test_published_row_of_a_stream_on_no_feed_names_none() -> None:
    """A stream that was never subscribed has an empty feed in the table."""
    board = a_board({BTC_TRADE: never_seen()._replace(feed=-1)})

    assert [table_row(row).feed for row in judge_all(some_facts(a_shard(board)))] == [""]


def test_shard_that_is_not_there_is_down_unless_the_service_was_stopped() -> None:
    """Nobody shall take an orderly end for a crash."""
    ended = a_shard(a_board(), running=False)

    assert shard_row(ended).state == "down"
    assert shard_row(ended, is_stopped=True).state == "stopped"
    assert shard_row(a_shard(a_board()), is_stopped=True).state == "running"


def test_shard_that_ends_again_and_again_is_quarantined() -> None:
    """Whether its newest process runs or not: until it has run well; an orderly stop is that all the same."""
    looping = a_shard(a_board(), running=False, crash_looping=True)

    assert shard_row(looping).state == "quarantined"
    assert shard_row(a_shard(a_board(), crash_looping=True)).state == "quarantined"
    assert shard_row(looping, is_stopped=True).state == "stopped"


class TableThatFails:
    """A table that raises what it is given, in order, and then takes everything."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.rounds: list[Sequence[StreamFreshness]] = []

    async def write(self, rows: Sequence[StreamFreshness]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.rounds.append(rows)


def a_publisher(table: TableThatFails, judged: asyncio.Event | None = None) -> FreshnessPublisher:
    return FreshnessPublisher(
        rows=lambda: judge_all(some_facts()),
        write=table.write,
        judged=judged or asyncio.Event(),
        deadline_s=10,
    )


async def test_publisher_writes_the_rows() -> None:
    """One round is one write of all rows."""
    table = TableThatFails()

    assert await a_publisher(table).publish_once()
    assert [len(rows) for rows in table.rounds] == [1]


async def test_publisher_survives_a_database_that_is_away() -> None:
    """An unreachable or slow database costs rounds, and they are counted until one succeeds."""
    table = TableThatFails(StoreUnavailable("gone"), TimeoutError())
    publisher = a_publisher(table)

    assert [await publisher.publish_once() for _ in range(2)] == [False, False]
    assert publisher.failures == 2
    assert await publisher.publish_once()
    assert publisher.failures == 0


async def test_publisher_lets_out_what_waiting_cannot_cure() -> None:
    """An error that is ours is not retried for ever in silence."""
    with pytest.raises(RowsRefused):
        await a_publisher(TableThatFails(RowsRefused("bad column"))).publish_once()


@pytest.mark.virtual_time
async def test_publisher_gives_a_write_that_hangs_its_deadline() -> None:
    """A write without an answer ends as a failed round."""

    async def hang(_rows: Sequence[StreamFreshness]) -> None:
        """Never answer."""
        await asyncio.Event().wait()

    publisher = FreshnessPublisher(rows=list, write=hang, judged=asyncio.Event())

    assert not await publisher.publish_once()


@pytest.mark.virtual_time
async def test_publisher_writes_as_soon_as_it_was_judged() -> None:
    """One round at once, and one for each time; what was judged during a write is written after it."""
    table, judged = TableThatFails(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(a_publisher(table, judged).run())
        for _ in range(9):
            await asyncio.sleep(1.0)
            judged.set()
        await asyncio.sleep(0.5)
        running.cancel()

    assert len(table.rounds) == 10


@pytest.mark.virtual_time
async def test_publisher_writes_although_nobody_judges() -> None:
    """A judge that hangs leaves states behind, and no table that looks as if nobody wrote it."""
    table = TableThatFails()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(9.0):
            await a_publisher(table).run()

    assert len(table.rounds) == 5
