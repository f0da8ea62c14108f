"""Repairs the gaps of a shard's own streams by REST, beside everything else and after it.

One shard of a market also takes the gaps of streams that nobody carries any more, behind its own: a symbol
that was taken from the configuration, or delisted, still has its history at the exchange for a while, or is
refused as unknown. Should another shard adopt such a stream at that very moment, both repair its gap: each
row is stored once, and the gap closed once.

One gap at a time, one page at a time, the newest data first; between pages a newer gap goes before. The
rows of a page are committed before the next is asked for, so that a crash loses a page of work at most: the
next shard finds in the table what was stored, and in the ledger what was to be (`sequence.backfill`). All
questions go through the budget of the address and leave a part of it to snapshots and sweeps; a 429 or 418
is waited out there.

A repair never ends the shard: what the exchange or the database does to it is logged, and the gap waits.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog

from ingest.binance.limits import MAX_ROWS, UNKNOWN_SYMBOL
from ingest.binance.streams import ID_RULE, REPAIRABLE
from ingest.buffer.batcher import Batch
from ingest.clock import Clock
from ingest.errors import IngestError, RestRefused
from ingest.events import StreamKey
from ingest.sequence.backfill import (
    Agenda,
    Hole,
    OpenGap,
    Page,
    Patience,
    Settled,
    settle,
    shared_page,
)
from ingest.shard.history import History, batch_of, fetch_page
from ingest.store.journal import storable
from ingest.store.repairs import hole_of, open_gaps, orphaned_gaps, partitions_for, settle_gap
from ingest.store.sink import Written

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairLimits:
    """How often the ledger is looked at, how many gaps are known at a time, and how patient they are."""

    look_every_s: float = 2.0
    most_gaps: int = 200
    page_rows: int = MAX_ROWS
    patience: Patience = field(default_factory=Patience)


@dataclass(slots=True)
class RepairCounts:
    """Since the start."""

    pages: int = 0
    rows: int = 0
    closed: int = 0
    failures: int = 0
    """Steps that did not succeed: a page that could not be had or stored."""


class RepairStore(Protocol):
    """What `PostgresSink` does for repairs."""

    def session(self) -> "AbstractAsyncContextManager[Connection]": ...

    async def write_again(self, batch: Batch) -> Written: ...


class Repairer:
    """`run` until cancelled. `streams` gives the database's symbol id of each stream carried now.

    `orphans_of` is the market whose gaps that are nobody's are taken, too; one shard has it.
    """

    def __init__(
        self,
        history: History,
        store: RepairStore,
        *,
        streams: Callable[[], Mapping[StreamKey, int]],
        clock: Clock,
        rng: random.Random,
        limits: RepairLimits | None = None,
        orphans_of: str | None = None,
    ) -> None:
        self.counts = RepairCounts()
        self._history = history
        self._store = store
        self._streams = streams
        self._clock = clock
        self._limits = limits or RepairLimits()
        self._agenda = Agenda(rng, self._limits.patience)
        self._begun: dict[int, Hole] = {}
        self._orphans_of = orphans_of
        self._orphans: dict[StreamKey, int] = {}
        """Symbol ids of streams that nobody carries, as the ledger was last looked at."""
        self._look_at_s = 0.0

    def by_field(self) -> dict[str, int]:
        """What the board tells, by its names."""
        counts = self.counts
        return {
            "repairs_waiting": self.waiting,
            "repair_pages": counts.pages,
            "repaired_rows": counts.rows,
            "repairs_closed": counts.closed,
            "repair_failures": counts.failures,
        }

    @property
    def waiting(self) -> int:
        """Open gaps that are known."""
        return len(self._agenda)

    async def run(self) -> None:
        """Repair what there is, then look again every so often."""
        while True:
            await self._look()
            gap = self._agenda.next_due(self._clock.monotonic_s())
            if gap is None:
                await asyncio.sleep(self._limits.look_every_s)
            else:
                await self._advance(gap)

    async def _look(self) -> None:
        """See what the ledger has, unless that was done a moment ago."""
        now_s = self._clock.monotonic_s()
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + self._limits.look_every_s
        try:
            async with self._store.session() as connection:
                found = [*await self._own(connection), *await self._nobodys(connection)]
        except IngestError as error:
            log.info("repair.ledger_unknown", error=str(error))
            return
        self._agenda.renew(found)
        self._begun = {number: hole for number, hole in self._begun.items() if number in self._agenda}

    async def _own(self, connection: "Connection") -> list[OpenGap]:
        keys = [key for key in self._streams() if key.kind in REPAIRABLE]
        return await open_gaps(connection, keys, most=self._limits.most_gaps)

    async def _nobodys(self, connection: "Connection") -> list[OpenGap]:
        if self._orphans_of is None:
            return []
        found = await orphaned_gaps(connection, self._orphans_of, most=self._limits.most_gaps)
        # What is carried here may not be published yet.
        own = self._streams()
        orphans = [(gap, symbol_id) for gap, symbol_id in found if gap.key not in own]
        self._orphans = {gap.key: symbol_id for gap, symbol_id in orphans}
        return [gap for gap, _ in orphans]

    async def _advance(self, gap: OpenGap) -> None:
        """One page of a gap, or its end."""
        try:
            await self._take_step(gap)
        except (IngestError, ValueError) as error:
            # What was taken may not be stored: the next time begins with what the table has.
            self._begun.clear()
            self.counts.failures += 1
            log.warning("repair.failed", gap=gap.gap_id, stream=str(gap.key), error=str(error))
            self._agenda.failed(gap.gap_id, self._clock.monotonic_s())

    async def _take_step(self, gap: OpenGap) -> None:
        symbol_id = self._streams().get(gap.key, self._orphans.get(gap.key))
        if symbol_id is None:  # given up a moment ago; the ledger is looked at without it soon
            self._agenda.closed(gap.gap_id)
            return
        hole = await self._hole(gap, symbol_id)
        page = hole.next_page(self._limits.page_rows)
        if page is None:
            await self._conclude(gap, hole)
            return
        holes = [hole, *await self._companions(gap, symbol_id)]
        try:
            await self._turn(gap.key, holes, shared_page(holes, self._limits.page_rows) or page, symbol_id)
        except RestRefused as error:
            if error.code != UNKNOWN_SYMBOL:
                raise
            note = storable(f"the exchange refuses: {error}")
            await self._close(gap, Settled("unrepairable", hole.rows, note=note))
        else:
            if not hole.is_behind:
                self._agenda.progressed(gap.gap_id)

    async def _hole(self, gap: OpenGap, symbol_id: int) -> Hole:
        """The gap as far as it has got; what of it is stored is asked when it is begun."""
        hole = self._begun.get(gap.gap_id)
        if hole is None:
            async with self._store.session() as connection:
                hole = self._begun[gap.gap_id] = await hole_of(connection, gap, symbol_id)
        return hole

    async def _companions(self, gap: OpenGap, symbol_id: int) -> list[Hole]:
        """Other holes for which one page with this one's is enough: single lost frames come in swarms."""
        if ID_RULE[gap.key.kind] == "candle":
            return []
        now_s = self._clock.monotonic_s()
        others = self._agenda.companions(gap, now_s, most=self._limits.page_rows)
        return [await self._hole(other, symbol_id) for other in others]

    async def _turn(self, key: StreamKey, holes: Sequence[Hole], page: Page, symbol_id: int) -> None:
        """Ask for a page, and store what is wanted of it."""
        rows = await fetch_page(self._history, key, symbol_id, page)
        self.counts.pages += 1
        ids = [row.ids for row in rows]
        places = {place for hole in holes if hole.missing for place in hole.take(page, ids)}
        wanted = [rows[place] for place in sorted(places)]
        if not wanted:
            return
        times_us = [row.ts_us for row in wanted]
        async with self._store.session() as connection:
            await partitions_for(connection, key.kind, min(times_us), max(times_us))
        await self._store.write_again(batch_of(key.kind, wanted))
        self.counts.rows += len(wanted)

    async def _conclude(self, gap: OpenGap, hole: Hole) -> None:
        """Nothing more to ask: close the gap, or ask once more later."""
        settled = settle(hole, self._agenda.suspected(gap.gap_id))
        now_s = self._clock.monotonic_s()
        if settled is not None:
            await self._close(gap, settled)
        elif hole.is_behind:
            self._agenda.failed(gap.gap_id, now_s)
        else:
            self._agenda.suspect(gap.gap_id, hole.skipped, now_s)
        self._begun.pop(gap.gap_id, None)

    async def _close(self, gap: OpenGap, settled: Settled) -> None:
        async with self._store.session() as connection:
            await settle_gap(connection, gap, settled, closed_us=self._clock.wall_ns() // 1_000)
        self._begun.pop(gap.gap_id, None)
        self._agenda.closed(gap.gap_id)
        self.counts.closed += 1
        log.info(
            "repair.closed",
            gap=gap.gap_id,
            stream=str(gap.key),
            state=settled.state,
            rows=settled.rows,
            absent=len(settled.absent),
        )
