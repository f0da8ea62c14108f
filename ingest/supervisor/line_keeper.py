"""The loop that looks after the two lines of each stream: orders to the one behind, gaps that are none.

The decisions are those of `supervisor.lines`. A gap is closed here a few seconds after it was opened, by
whichever line it was opened; one that nobody covers within `review_s` stays what it is.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from ingest.clock import Clock
from ingest.errors import StoreUnavailable
from ingest.events import StreamKey
from ingest.shard.orders import Order
from ingest.store.ledger import close_covered_gaps, gaps_after, newest_gap_id
from ingest.store.postgres import PostgresSink
from ingest.supervisor.freshness import ServiceFacts
from ingest.supervisor.lines import Coverage, Leads, LineWatch, MissedRange, covers, line_views

log = structlog.get_logger()

TICK_S: Final = 1.0
REVIEW_S: Final = 120.0
"""How long the other line may take to commit what lies beyond a gap."""
_FIRST_LOOK: Final = 20_000
_OUT_OF_ORDER: Final = 1_000
"""Numbers of gaps are given out before their commit: so far behind the newest may one still appear."""
_MOST_PENDING: Final = 20_000


class Hands(Protocol):
    """What may be done to shards."""

    def order(self, shard: int, order: Order) -> bool: ...


class LineKeeper:
    """`run` until cancelled."""

    def __init__(
        self,
        *,
        facts: Callable[[], ServiceFacts],
        halted: Callable[[], set[StreamKey]],
        hands: Hands,
        sink: PostgresSink,
        clock: Clock,
    ) -> None:
        self.leads = Leads()
        self.gaps_closed = 0
        self.orders = 0
        self._facts = facts
        self._halted = halted
        self._hands = hands
        self._sink = sink
        self._clock = clock
        self._watch = LineWatch()
        self._coverage = Coverage()
        self._pending: dict[int, tuple[MissedRange, float]] = {}
        """Gaps that nobody covers yet, and when they were first seen."""
        self._decided: set[int] = set()
        self._newest_gap: int | None = None

    async def run(self) -> None:
        """Look, order and review, once a tick."""
        while True:
            try:
                await self.tick()
            except StoreUnavailable as error:
                log.warning("lines.gaps_not_reviewed", error=str(error))
            await asyncio.sleep(TICK_S)

    async def tick(self) -> None:
        """One round. Raises StoreUnavailable."""
        now_s, facts = self._clock.monotonic_s(), self._facts()
        self.leads.look(facts)
        for told in self._watch.tick(now_s, line_views(facts, self._halted())):
            self.orders += 1
            log.warning(
                "line.behind", shard=told.shard, order=type(told.order).__name__, streams=told.streams
            )
            self._hands.order(told.shard, told.order)
        await self._review(now_s, facts)

    async def _review(self, now_s: float, facts: ServiceFacts) -> None:
        spans = self._coverage.look(facts)
        async with self._sink.session() as connection:
            newest = await newest_gap_id(connection)
            seen = newest - _FIRST_LOOK if self._newest_gap is None else self._newest_gap - _OUT_OF_ORDER
            self._newest_gap = newest
            for row in await gaps_after(connection, seen):
                if row.gap_id not in self._decided and row.gap_id not in self._pending:
                    self._pending[row.gap_id] = (MissedRange(*row), now_s)
            covered = [gap_id for gap_id, (gap, _) in self._pending.items() if covers(spans, gap)]
            if covered:
                self.gaps_closed += await close_covered_gaps(connection, covered)
                log.info("lines.gaps_closed", gaps=len(covered))
        self._settle(covered, now_s, newest - _OUT_OF_ORDER)

    def _settle(self, covered: list[int], now_s: float, oldest_id: int) -> None:
        late = [gap_id for gap_id, (_, seen_s) in self._pending.items() if now_s - seen_s > REVIEW_S]
        for gap_id in {*covered, *late}:
            del self._pending[gap_id]
            self._decided.add(gap_id)
        while len(self._pending) > _MOST_PENDING:
            self._decided.add(next(iter(self._pending)))
            del self._pending[next(iter(self._pending))]
        self._decided = {gap_id for gap_id in self._decided if gap_id >= oldest_id}
