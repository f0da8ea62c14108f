"""Everything about silence, put together for a running service: judges, witnesses, orders, memory.

What decides is in `watch`, `witness`, `rhythm` and `listing`; what asks and orders is in `witnesses`,
`sentinel` and `fleet`. Here they are wired, what was learned is loaded and saved, the exchange's list
of symbols is followed, and a shard that ends again and again is emptied.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence

import structlog

from ingest.binance.rest import RestClient
from ingest.clock import Clock
from ingest.config import Settings
from ingest.errors import BudgetExhausted, ExchangeError, StoreUnavailable
from ingest.events import StreamKey
from ingest.store.postgres import PostgresSink
from ingest.store.rhythms import (
    StoredRhythm,
    forget_streams,
    forget_unplanned,
    load_rhythms,
    save_rhythms,
)
from ingest.store.statements import statement
from ingest.supervisor.fleet import Fleet
from ingest.supervisor.freshness import NOT_JUDGED, Judgement, ServiceFacts
from ingest.supervisor.incidents import IncidentLog
from ingest.supervisor.line_keeper import LineKeeper
from ingest.supervisor.listing import halted_streams, listing_change
from ingest.supervisor.rhythm import RhythmLimits, RhythmRecord, check_record
from ingest.supervisor.sentinel import Sentinel
from ingest.supervisor.watch import Watch, WatchLimits
from ingest.supervisor.witnesses import Witnesses

log = structlog.get_logger()

_SAVE_EVERY_S = 300.0
_QUARANTINE_EVERY_S = 1.0
_NAMED_AT_MOST = 5
_UNWRITTEN_S = 60.0
"""A row of the freshness table is written each second; one that is not has no owner any more."""
_MARKET = "spot"


class Vigil:
    """`loops()` run for as long as the service does; `save()` once more when it ends."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        *,
        rest: RestClient,
        sink: PostgresSink,
        incidents: IncidentLog,
        facts: Callable[[], ServiceFacts],
        records: Mapping[StreamKey, RhythmRecord],
        clock: Clock,
    ) -> None:
        self.fleet = fleet
        self._settings = settings
        self._rest = rest
        self._sink = sink
        self._facts = facts
        self._clock = clock
        self.incidents = incidents
        self._known: set[str] | None = None
        """Every symbol that was ever listed; None before the first answer, which is the plan's own list."""
        self.witnesses = Witnesses(
            rest,
            clock=clock,
            on_verdict=lambda key, verdict: self.sentinel.watch.verdict(key, verdict, clock.monotonic_s()),
            on_healed=lambda key, verdict: self.sentinel.watch.healed(key, verdict, clock.monotonic_s()),
            sweep_every_s=settings.silence.sweep_every_s,
        )
        self.sentinel = Sentinel(
            make_watch=lambda diagnose: Watch(
                WatchLimits(), rhythm_limits=self._rhythm_limits, records=records, diagnose=diagnose
            ),
            witnesses=self.witnesses,
            facts=facts,
            hands=fleet,
            incidents=incidents,
            clock=clock,
        )
        self.lines = self._make_lines()
        """What looks after the two lines of each stream; None while there is one."""

    def loops(self) -> dict[str, Coroutine[None, None, None]]:
        """What has to run, by name."""
        lines = {"lines": self.lines.run()} if self.lines is not None else {}
        return {
            **lines,
            "sentinel": self.sentinel.run(),
            "witnesses": self.witnesses.run(),
            "incidents": self.incidents.run(),
            "rhythms": self._keep_saving(),
            "listing": self._follow_listing(),
            "quarantine": self._quarantine(),
        }

    def _make_lines(self) -> LineKeeper | None:
        if self._settings.spot.redundancy == 1:
            return None
        return LineKeeper(
            facts=self._facts,
            halted=lambda: self.sentinel.halted,
            hands=self.fleet,
            sink=self._sink,
            clock=self._clock,
        )

    @property
    def judged(self) -> asyncio.Event:
        """Set after each round of judging; whoever waits for it clears it."""
        return self.sentinel.judged

    def judgements(self) -> dict[StreamKey, Judgement]:
        """What the freshness table says of each stream beside its age.

        A stream that was not looked at yet has the threshold that it will begin with: learned, or the
        ceiling. None at all would have it past its threshold, or held up, from the first moment on.
        """
        judged = self.sentinel.judgements()
        for key in self.fleet.streams:
            if key not in judged:
                judged[key] = NOT_JUDGED._replace(threshold_s=self.sentinel.watch.threshold_s(key))
        return judged

    async def save(self) -> None:
        """Keep what was learned. Raises StoreUnavailable."""
        rows = [
            StoredRhythm(
                key, *stream.rhythm.record(), stream.rhythm.threshold_s, stream.rhythm.explain().sentence()
            )
            for key, stream in self.sentinel.watch.streams.items()
        ]
        async with self._sink.session() as connection:
            await save_rhythms(connection, rows)

    def _rhythm_limits(self, key: StreamKey) -> RhythmLimits:
        silence = self._settings.silence
        floor_s = silence.floor_s.of(key.kind)
        return RhythmLimits(
            factor=silence.factor,
            floor_s=floor_s,
            ceiling_s=max(floor_s, silence.ceiling_s.of(key.kind)),
            fixed_s=silence.fixed_for(key.symbol, key.kind),
        )

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_EVERY_S)
            try:
                await self.save()
            except StoreUnavailable as error:
                log.warning("rhythms.not_saved", error=str(error))

    async def _quarantine(self) -> None:
        while True:
            for shard in self._facts().shards:
                if shard.crash_looping:
                    self.fleet.evacuate(shard.shard)
                else:
                    self.fleet.readmit(shard.shard)
            await asyncio.sleep(_QUARANTINE_EVERY_S)

    async def _follow_listing(self) -> None:
        while True:
            await asyncio.sleep(self._settings.silence.listing_every_s)
            try:
                await self._look_at_listing()
            except (ExchangeError, BudgetExhausted, StoreUnavailable) as error:
                log.warning("listing.not_seen", error=str(error))

    async def _look_at_listing(self) -> None:
        instruments = await self._rest.exchange_info(only_trading=False)
        if not instruments:  # a fault of the answer: nobody lists nothing
            return
        spot, fleet = self._settings.spot, self.fleet
        status = {instrument.symbol: instrument.status for instrument in instruments}
        self.sentinel.halted = halted_streams(fleet.streams, status)
        known = self._known if self._known is not None else status.keys()
        change = listing_change(spot, fleet.symbols, known, instruments)
        if change.listed:
            ids = await self._sink.instrument_ids(_MARKET, change.listed)
            for instrument in change.listed:
                log.info("symbol.listed", symbol=instrument.symbol)
                streams = [StreamKey("spot", instrument.symbol, kind) for kind in spot.kinds]
                for line in range(1, spot.redundancy + 1):
                    fleet.adopt(streams, {instrument.symbol: ids[instrument.symbol]}, line=line)
        if change.delisted:
            log.warning("symbol.delisted", symbols=list(change.delisted))
        gone = fleet.drop(change.delisted)
        # Last but one, so that a listing which the database has refused joins with the next answer.
        self._known = {*known, *status}
        async with self._sink.session() as connection:
            await forget_streams(connection, gone)
            # What was not forgotten at its time: the database was away, or a row was just being written.
            await forget_unplanned(connection, _MARKET, fleet.streams, unwritten_s=_UNWRITTEN_S)


async def forget_former_streams(sink: PostgresSink, planned: Sequence[StreamKey]) -> None:
    """Leave only planned streams in the freshness table: nobody would write the others' rows again."""
    async with sink.session() as connection:
        await forget_unplanned(connection, _MARKET, planned)


async def load_records(sink: PostgresSink) -> dict[StreamKey, RhythmRecord]:
    """What earlier runs have learned, as far as it makes sense; what they left open is closed."""
    async with sink.session() as connection:
        await connection.execute(statement("close_orphaned_incidents"))
        rows = await load_rhythms(connection)
    records: dict[StreamKey, RhythmRecord] = {}
    damaged: dict[str, str] = {}
    for row in rows:
        record = RhythmRecord(row.quantiles_s, row.gaps, row.messages)
        try:
            check_record(record)
        except (ValueError, TypeError) as error:  # an array in the table may hold nulls
            damaged[str(row.key)] = str(error)
        else:
            records[row.key] = record
    if damaged:
        # These streams begin cold, and the next time that rhythms are saved overwrites the rows.
        log.error("rhythms.damaged", rows=len(damaged), first=dict(sorted(damaged.items())[:_NAMED_AT_MOST]))
    return records
