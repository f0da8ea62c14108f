"""`ingest.supervisor.line_keeper` over a real ledger: which gaps are none, and who is told."""

from collections.abc import AsyncIterator

import pytest

from ingest.board.layout import BoardSnapshot, StreamValues
from ingest.events import Gap, GapCause, StreamKey
from ingest.shard.orders import Order, Resubscribe
from ingest.store.instants import microseconds
from ingest.store.postgres import PostgresSink
from ingest.supervisor.freshness import ServiceFacts
from ingest.supervisor.line_keeper import REVIEW_S, LineKeeper
from tests.rows import BTC_TRADE, NOW_US, a_batch, a_gap, trade_rows
from tests.unit.board.builders import a_board, a_shard, some_facts
from tests.unit.shard.builders import SetClock

DEPTH = StreamKey("spot", "BTCUSDT", "depth")
QUOTES = StreamKey("spot", "BTCUSDT", "mini_ticker")


class Scene:
    """Two shards that carry the same stream; what each has is set by the test."""

    def __init__(self, sink: PostgresSink) -> None:
        self.sink, self.clock = sink, SetClock()
        self.key = BTC_TRADE
        self.lines = [StreamValues(feed=0, last_id=1), StreamValues(feed=0, last_id=1)]
        self.told: list[tuple[int, Order]] = []
        self.keeper = LineKeeper(facts=self.facts, halted=set, hands=self, sink=sink, clock=self.clock)

    def order(self, shard: int, order: Order) -> bool:
        self.told.append((shard, order))
        return True

    def facts(self) -> ServiceFacts:
        return some_facts(*(a_shard(self._board(n), pid=42) for n in (0, 1)))

    def _board(self, shard: int) -> BoardSnapshot:
        return a_board({self.key: self.lines[shard]}, shard=shard)

    async def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.now_s += 1.0
            await self.keeper.tick()

    async def states(self) -> list[str]:
        async with self.sink.session() as connection:
            rows = await connection.fetch("SELECT state FROM ops.gaps ORDER BY gap_id")
        return [row["state"] for row in rows]


@pytest.fixture
async def scene(migrated_url: str) -> AsyncIterator[Scene]:
    """Nothing is missing yet."""
    async with PostgresSink.opened(migrated_url, connections=1) as sink:
        yield Scene(sink)


async def missed(scene: Scene, cause: GapCause = "disconnect") -> None:
    """One line has missed the trades 5 to 9."""
    async with scene.sink.session() as connection:
        now_us = int(await connection.fetchval("SELECT extract(epoch FROM now()) * 1000000"))
    await scene.sink.write(a_batch(trade_rows([10]), a_gap()._replace(opened_us=now_us, cause=cause)))


async def test_gap_is_closed_when_the_other_line_has_committed_it(scene: Scene) -> None:
    """Not while that is on its way."""
    await missed(scene)
    scene.lines[1] = StreamValues(feed=0, last_id=30, unbroken_since_id=1, committed_id=8)
    await scene.pass_s(3)
    assert await scene.states() == ["open"]
    scene.lines[1] = scene.lines[1]._replace(committed_id=20)
    await scene.pass_s(2)

    assert await scene.states() == ["repaired"]
    assert scene.keeper.gaps_closed == 1


async def test_rows_that_came_and_were_lost_stay_missing(scene: Scene) -> None:
    """The line that lost them has received them, and would close its own gap."""
    await missed(scene, "spool_damaged")
    scene.lines[1] = StreamValues(feed=0, last_id=30, unbroken_since_id=1, committed_id=20)
    await scene.pass_s(3)

    assert await scene.states() == ["open"]


async def test_gap_that_both_lines_have_stays(scene: Scene) -> None:
    """After a while nobody waits for it any more."""
    await missed(scene)
    await scene.pass_s(int(REVIEW_S) + 2)
    scene.lines[1] = StreamValues(feed=0, last_id=30, unbroken_since_id=1, committed_id=20)
    await scene.pass_s(3)

    assert await scene.states() == ["open"]


async def depth_gap(scene: Scene, first_id: int, last_id: int) -> None:
    """A line has missed these deltas, one a millisecond."""
    async with scene.sink.session() as connection:
        now_us = int(await connection.fetchval("SELECT extract(epoch FROM now()) * 1000000"))
    start_us, end_us = NOW_US + (first_id - 1) * 1_000, NOW_US + (last_id + 1) * 1_000
    note = "not given again"
    gap = Gap(DEPTH, first_id, last_id, start_us, end_us, "disconnect", False, note, now_us)
    await scene.sink.write(a_batch([], gap))


async def ledger(scene: Scene) -> list[tuple[int, int, str, int, int]]:
    """Each row with the ids of the deltas around it, by its times."""
    async with scene.sink.session() as connection:
        rows = await connection.fetch("SELECT * FROM ops.gaps ORDER BY gap_id")
    return [
        (
            row["first_id"],
            row["last_id"],
            row["state"],
            (microseconds(row["start_ts"]) - NOW_US) // 1_000,
            (microseconds(row["end_ts"]) - NOW_US) // 1_000,
        )
        for row in rows
    ]


async def test_gaps_of_both_lines_are_cut_to_what_is_missing_on_both(scene: Scene) -> None:
    """The ledger says that once, and its cause; each line had the rest of what the other one has missed."""
    scene.key = DEPTH
    scene.lines = [StreamValues(last_id=4, unbroken_since_id=1, committed_id=4) for _ in range(2)]
    await scene.pass_s(2)
    await depth_gap(scene, 5, 9)
    await depth_gap(scene, 8, 12)
    now = StreamValues(last_id=30, committed_id=30, former_since_id=1)
    scene.lines[0] = now._replace(former_until_id=4, unbroken_since_id=10)
    scene.lines[1] = now._replace(former_until_id=7, unbroken_since_id=13)
    await scene.pass_s(int(REVIEW_S) + 3)
    found = await ledger(scene)
    await scene.pass_s(2 * int(REVIEW_S))

    assert found == [(5, 9, "repaired", 4, 10), (8, 12, "repaired", 7, 13), (8, 9, "unrepairable", 7, 10)]
    assert await ledger(scene) == found
    async with scene.sink.session() as connection:
        (row,) = await connection.fetch("SELECT cause, note FROM ops.gaps WHERE state = 'unrepairable'")
    assert (row["cause"], row["note"]) == ("disconnect", "not given again; part of gap 2")
    assert scene.keeper.gaps_trimmed == 2


async def test_same_gap_of_both_lines_is_said_once(scene: Scene) -> None:
    """As when the exchange itself was away: the row that says it best stays as it is."""
    scene.key = DEPTH
    await depth_gap(scene, 5, 9)
    await depth_gap(scene, 5, 11)
    scene.lines[0] = StreamValues(last_id=30, committed_id=30, unbroken_since_id=10)
    scene.lines[1] = StreamValues(last_id=30, committed_id=30, unbroken_since_id=12)
    await scene.pass_s(int(REVIEW_S) + 3)

    assert await ledger(scene) == [(5, 9, "unrepairable", 4, 10), (5, 11, "repaired", 4, 12)]


async def test_gap_without_ids_falls_into_parts_by_time(scene: Scene) -> None:
    """Two parts of one row do not take each other's place."""
    scene.key = QUOTES
    await scene.pass_s(2)
    async with scene.sink.session() as connection:
        now_us = int(await connection.fetchval("SELECT extract(epoch FROM now()) * 1000000"))
    gap = Gap(QUOTES, None, None, NOW_US, NOW_US + 60_000_000, "disconnect", False, "", now_us)
    await scene.sink.write(a_batch([], gap))
    now_ms = NOW_US // 1_000
    scene.lines[1] = StreamValues(
        last_id=now_ms + 90_000,
        committed_id=now_ms + 90_000,
        unbroken_since_id=now_ms + 80_000,
        former_since_id=now_ms + 20_000,
        former_until_id=now_ms + 30_000,
    )
    await scene.pass_s(int(REVIEW_S) + 3)
    async with scene.sink.session() as connection:
        rows = await connection.fetch("SELECT state, start_ts, end_ts FROM ops.gaps ORDER BY gap_id")

    bounds = [
        (row["state"], *((microseconds(row[each]) - NOW_US) / 1e6 for each in ("start_ts", "end_ts")))
        for row in rows
    ]
    assert bounds == [("repaired", 0, 60), ("unrepairable", 0, 20), ("unrepairable", 30, 60)]


async def test_line_that_is_behind_is_told(scene: Scene) -> None:
    """Its shard, and it alone."""
    await scene.pass_s(5)
    scene.lines[0] = scene.lines[0]._replace(last_id=50)
    await scene.pass_s(12)

    assert scene.told == [(1, Resubscribe((BTC_TRADE,)))]
    assert scene.keeper.orders == 1
