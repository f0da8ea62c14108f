"""`ingest.supervisor.line_keeper` over a real ledger: which gaps are none, and who is told."""

from collections.abc import AsyncIterator

import pytest

from ingest.board.layout import BoardSnapshot, StreamValues
from ingest.events import GapCause
from ingest.shard.orders import Order, Resubscribe
from ingest.store.postgres import PostgresSink
from ingest.supervisor.freshness import ServiceFacts
from ingest.supervisor.line_keeper import REVIEW_S, LineKeeper
from tests.rows import BTC_TRADE, a_batch, a_gap, trade_rows
from tests.unit.board.builders import a_board, a_shard, some_facts
from tests.unit.shard.builders import SetClock


class Scene:
    """Two shards that carry the same stream; what each has is set by the test."""

    def __init__(self, sink: PostgresSink) -> None:
        self.sink, self.clock = sink, SetClock()
        self.lines = [StreamValues(feed=0, last_id=1), StreamValues(feed=0, last_id=1)]
        self.told: list[tuple[int, Order]] = []
        self.keeper = LineKeeper(facts=self.facts, halted=set, hands=self, sink=sink, clock=self.clock)

    def order(self, shard: int, order: Order) -> bool:
        self.told.append((shard, order))
        return True

    def facts(self) -> ServiceFacts:
        return some_facts(*(a_shard(self._board(n), pid=42) for n in (0, 1)))

    def _board(self, shard: int) -> BoardSnapshot:
        return a_board({BTC_TRADE: self.lines[shard]}, shard=shard)

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


async def test_line_that_is_behind_is_told(scene: Scene) -> None:
    """Its shard, and it alone."""
    await scene.pass_s(5)
    scene.lines[0] = scene.lines[0]._replace(last_id=50)
    await scene.pass_s(12)

    assert scene.told == [(1, Resubscribe((BTC_TRADE,)))]
    assert scene.keeper.orders == 1
