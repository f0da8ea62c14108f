"""The loop that looks after the two lines of each stream: orders to the one behind, gaps that are none.

The decisions are those of `supervisor.lines`. A gap is closed here a few seconds after it was opened, by
whichever line it was opened; one that nobody covers within `REVIEW_S` is cut to what is missing on both lines
(`supervisor.trimming`), or stays what it is.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from ingest.binance.streams import REPAIRABLE
from ingest.clock import Clock
from ingest.errors import StoreUnavailable
from ingest.events import StreamKey
from ingest.shard.orders import Order
from ingest.store.ledger import (
    GapPart,
    close_covered_gaps,
    gaps_after,
    gaps_beside,
    newest_gap_id,
    trim_gap,
)
from ingest.store.postgres import PostgresSink
from ingest.supervisor.freshness import ServiceFacts
from ingest.supervisor.lines import Coverage, Leads, LineWatch, MissedRange, Spans, covers, line_views
from ingest.supervisor.trimming import Beside, Part, remains, ripe

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

log = structlog.get_logger()

TICK_S: Final = 1.0
REVIEW_S: Final = 120.0
"""How long the other line may take to commit what lies beyond a gap."""
_FIRST_LOOK: Final = 20_000
_OUT_OF_ORDER: Final = 1_000
"""Numbers of gaps are given out before their commit: so far behind the newest may one still appear."""
_MOST_PENDING: Final = 20_000
_MOST_TRIMMED: Final = 100
"""Gaps that are compared with those beside them at a time; the others wait for the next round."""


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
        self.gaps_trimmed = 0
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
            self._decide(covered)
            await self._trim(connection, spans, now_s)
        self._decide(self._left_to_rest(now_s))
        self._forget(newest - _OUT_OF_ORDER)

    async def _trim(self, connection: "Connection", spans: Spans, now_s: float) -> None:
        """Cut what has had its time."""
        for gap in ripe(self._pending.values(), now_s, review_s=REVIEW_S)[:_MOST_TRIMMED]:
            rows = await gaps_beside(connection, gap.gap_id)
            beside = [Beside(Part(*part), is_missing) for part, is_missing in rows]
            left = remains(gap, self._coverage.stretches(gap.key, spans), beside)
            if left is not None:
                await trim_gap(connection, gap.gap_id, [GapPart(*part) for part in left])
                self.gaps_trimmed += 1
                log.info("lines.gap_trimmed", gap=gap.gap_id, stream=str(gap.key), parts=len(left))
            self._decide([gap.gap_id])

    def _left_to_rest(self, now_s: float) -> list[int]:
        return [
            gap_id
            for gap_id, (gap, seen_s) in self._pending.items()
            if gap.key.kind in REPAIRABLE and now_s - seen_s > REVIEW_S
        ]

    def _decide(self, gap_ids: Iterable[int]) -> None:
        for gap_id in gap_ids:
            del self._pending[gap_id]
            self._decided.add(gap_id)

    def _forget(self, oldest_id: int) -> None:
        self._decide(list(self._pending)[: max(0, len(self._pending) - _MOST_PENDING)])
        self._decided = {gap_id for gap_id in self._decided if gap_id >= oldest_id}
