"""What the supervisor knows, in the form that the alert rules look at.

Decides nothing. It remembers what the supervisor's state does not say by itself: when a feed's count of
breaks went up, when a shard was restarted, since when the database has been stalled.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from ingest.board.layout import Diagnosis, StreamState
from ingest.ops.alert_facts import AlertFacts, OpenIncident, RestBan, ShardRecord, StaleStream
from ingest.supervisor.freshness import ServiceFacts
from ingest.supervisor.ladder import Repair, Step
from ingest.supervisor.service import Supervisor
from ingest.supervisor.vigil import Vigil

_KEPT_S = 3_600.0
_STATUS_BANNED = 418


@dataclass
class AlertView:
    """Ask `facts` once a second."""

    _breaks: dict[int, int] = field(default_factory=dict)
    _reconnects: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _restarts: dict[int, int] = field(default_factory=dict)
    _restarts_s: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    _crashing_s: dict[int, float] = field(default_factory=dict)
    _ban_since_s: float | None = None

    def facts(self, supervisor: Supervisor, now_s: float) -> AlertFacts:
        """What the rules look at, now."""
        facts, vigil = supervisor.facts(), supervisor.vigil
        if vigil is None:
            return AlertFacts(now_s=now_s, table_written_s=supervisor.published_s)
        self._count_reconnects(facts, now_s)
        stalled = vigil.sentinel.conditions.get("database")
        return AlertFacts(
            now_s=now_s,
            streams=Counter(s.state.name.lower() for s in vigil.sentinel.watch.streams.values()),
            stale=_stale(vigil),
            reconnects={name: tuple(times) for name, times in self._reconnects.items()},
            shards=tuple(self._shards(facts, now_s)),
            incidents=_incidents(vigil),
            database_stalled_since_s=stalled.opened_s if stalled is not None else None,
            database_error=stalled.evidence if stalled is not None else "",
            rest_ban=self._ban(supervisor.banned_for_s, now_s),
            clock_offset_s=vigil.witnesses.clock_offset_s,
            table_written_s=supervisor.published_s,
        )

    def _count_reconnects(self, facts: ServiceFacts, now_s: float) -> None:
        # A board that another process has left, be it of a former service, tells nothing that is new.
        boards = [each.board for each in facts.shards if each.board and each.board.identity.pid == each.pid]
        for feed in (feed for board in boards for feed in board.feeds):
            before = self._breaks.get(feed.feed, 0)
            if feed.reconnects > before:
                self._reconnects[f"feed {feed.feed}"] += [now_s] * (feed.reconnects - before)
            self._breaks[feed.feed] = feed.reconnects
        for times in self._reconnects.values():
            while times and now_s - times[0] > _KEPT_S:
                times.pop(0)

    def _shards(self, facts: ServiceFacts, now_s: float) -> list[ShardRecord]:
        records = []
        for shard in facts.shards:
            times = self._restarts_s[shard.shard]
            times += [now_s] * (shard.restarts - self._restarts.get(shard.shard, 0))
            self._restarts[shard.shard] = shard.restarts
            if shard.crash_looping:
                self._crashing_s.setdefault(shard.shard, now_s)
            else:
                self._crashing_s.pop(shard.shard, None)
            records.append(
                ShardRecord(
                    shard=shard.shard,
                    restarts_s=tuple(at_s for at_s in times if now_s - at_s <= _KEPT_S),
                    quarantined_since_s=self._crashing_s.get(shard.shard),
                    gave_up=shard.gave_up,
                )
            )
        return records

    def _ban(self, banned_for_s: float, now_s: float) -> RestBan | None:
        if not banned_for_s:
            self._ban_since_s = None
            return None
        if self._ban_since_s is None:
            self._ban_since_s = now_s
        return RestBan(since_s=self._ban_since_s, until_s=now_s + banned_for_s, status=_STATUS_BANNED)


def _stale(vigil: Vigil) -> tuple[StaleStream, ...]:
    return tuple(
        StaleStream(
            stream=str(key),
            since_s=stream.since_s,
            diagnosis=stream.diagnosis.name.lower() if stream.diagnosis else "",
            ladder_exhausted=stream.repair is not None and stream.repair.step is Step.ALERT,
            tried=_tried(stream.repair) if stream.repair is not None else (),
        )
        for key, stream in vigil.sentinel.watch.streams.items()
        if stream.state is StreamState.STALE
    )


def open_repairs(vigil: Vigil) -> list[Repair]:
    """Every incident that is not over: of streams, of shards and database, of the whole exchange."""
    watch = vigil.sentinel.watch
    repairs = [*watch.repairs.values(), *vigil.sentinel.conditions.values()]
    if watch.standstill is not None:
        repairs.append(watch.standstill)
    return repairs


def _incidents(vigil: Vigil) -> tuple[OpenIncident, ...]:
    return tuple(
        OpenIncident(
            where=incident_place(repair),
            diagnosis=repair.diagnosis.name.lower() if repair.diagnosis else "unknown",
            since_s=repair.opened_s,
            evidence=repair.evidence,
            tried=_tried(repair),
        )
        for repair in open_repairs(vigil)
    )


def incident_place(repair: Repair) -> str:
    """What an incident is about, in words."""
    if repair.shard < 0:
        return "database" if repair.diagnosis is Diagnosis.DATABASE_STALLED else "exchange"
    if repair.feed < 0:
        return f"shard {repair.shard}"
    return str(next(iter(repair.affected))) if len(repair.affected) == 1 else f"feed {repair.feed}"


def _tried(repair: Repair) -> tuple[str, ...]:
    return tuple(record.what.removeprefix("step ") for record in repair.story)
