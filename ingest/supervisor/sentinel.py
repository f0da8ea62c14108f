"""The loop that looks after silence: read the boards, judge, ask, order, write down. Once a second.

The decisions are made elsewhere (`watch`, `witness`, `diagnosis`); this module gathers what they need
and carries out what they say. It runs in the supervisor, outside every shard's event loop.

Beside the streams it looks after the shards themselves: one whose loop has stood for `wedged_s` is
recycled (terminated, then killed, then started anew). Nothing answers in the loop's place: the
heartbeat on the board is written by the loop itself.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, Protocol

import structlog

from ingest.board.layout import BoardSnapshot, Diagnosis, FeedValues, ShardState, StreamState
from ingest.clock import Clock
from ingest.events import StreamKey
from ingest.shard.orders import Order, Probe, ReplaceFeed, Resubscribe
from ingest.supervisor.diagnosis import SilenceFacts, examine
from ingest.supervisor.freshness import Judgement, ServiceFacts, ShardFacts, heartbeat_age_s
from ingest.supervisor.incidents import IncidentLog
from ingest.supervisor.kernel import ReceiveQueues
from ingest.supervisor.ladder import Repair, Step
from ingest.supervisor.lag import Lag, Pace
from ingest.supervisor.readings import Sightings, feeds_by_number, readings
from ingest.supervisor.stamps import WallStamps
from ingest.supervisor.watch import (
    Action,
    AskWhetherHealed,
    AskWitness,
    Finding,
    IncidentClosed,
    IncidentOpened,
    IncidentStep,
    OrderReplaceFeed,
    OrderRestartShard,
    OrderResubscribe,
    Watch,
)
from ingest.supervisor.witnesses import Witnesses

log = structlog.get_logger()

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelLimits:
    """All in seconds."""

    tick_s: float = 1.0
    wedged_s: float = 5.0
    lagging_beat_s: float = 3.0
    """A loop that has not turned for so long does not lag; it stands, or will be found to."""
    lag_s: float = 1.0
    """How late a loop may be; what is received is stamped and judged as late as that."""
    unread_s: float = 0.1
    """For how long, at its pace, a shard may still have to read. For a busy one something always waits."""
    stalled_s: float = 5.0
    """How long a row may wait to be committed; the deadline of a write is longer."""
    start_s: float = 30.0
    """How long a shard may take from its start to its first heartbeat."""
    probe_s: float = 1.5
    """How long our own ping may stay unanswered before that says something."""
    probe_valid_s: float = 30.0
    probe_every_s: float = 10.0
    """A feed is not asked again before: the newest probe is the one that is judged, and needs its time."""


class Hands(Protocol):
    """What the sentinel may do to shards."""

    def order(self, shard: int, order: Order) -> bool: ...

    def recycle(self, shard: int, reason: str) -> None: ...


class Condition(NamedTuple):
    """Something that is wrong with no single stream; `key` tells one from another."""

    key: str
    diagnosis: Diagnosis
    evidence: str
    shard: int


class Sentinel:
    """`run` until cancelled. `halted` names streams that the exchange does not trade."""

    def __init__(
        self,
        *,
        make_watch: "Callable[[Callable[[int, int, bool], Finding]], Watch]",
        witnesses: Witnesses,
        facts: Callable[[], ServiceFacts],
        hands: Hands,
        incidents: IncidentLog,
        clock: Clock,
        limits: SentinelLimits | None = None,
    ) -> None:
        self.watch = make_watch(self._diagnose)
        self.halted: set[StreamKey] = set()
        self.conditions: dict[str, Repair] = {}
        self.judged = asyncio.Event()
        """Set after each round; whoever waits for it clears it."""
        self._witnesses = witnesses
        self._facts = facts
        self._hands = hands
        self._incidents = incidents
        self._clock = clock
        self._limits = limits or SentinelLimits()
        self._sightings = Sightings()
        self._queues = ReceiveQueues()
        self._feeds: Mapping[int, FeedValues] = {}
        self._newest: ServiceFacts | None = None
        self._recycled: dict[int, int] = {}
        self._lags: dict[int, tuple[int | None, Lag, Pace]] = {}
        """Of each shard: its process, whether that keeps up, and how fast it reads."""
        self._appeared: dict[int, tuple[int | None, float]] = {}
        """Of each shard: its process, and when that was first seen."""
        self._stamps = WallStamps()
        self._probed: dict[tuple[int, int], float] = {}

    async def run(self) -> None:
        """Look, judge and act, once a tick."""
        while True:
            self.tick()
            self.judged.set()
            await asyncio.sleep(self._limits.tick_s)

    def tick(self) -> None:
        """One round."""
        now_s = self._clock.monotonic_s()
        facts = self._newest = self._facts()
        self._look_at_clocks(facts)
        self._look_at_processes(facts, now_s)
        self._queues.tick()
        self._feeds = feeds_by_number(facts)
        self._witnesses.see(now_s, self._sightings.take(facts, now_s))
        if banned_s := self._witnesses.banned_for_s():
            self.watch.witness_back_s = now_s + banned_s
        for action in self.watch.tick(now_s, readings(facts, self.halted)):
            self._carry_out(action)
        self._probe_hushed(now_s)
        self._judge_conditions(facts, now_s)

    def judgements(self) -> dict[StreamKey, Judgement]:
        """What the freshness table says of each stream beside its age."""
        now_s, now_us = self._clock.monotonic_s(), self._clock.wall_ns() // 1_000
        exchange_down = self.watch.standstill is not None
        return {
            key: Judgement(
                state=stream.state,
                diagnosis=Diagnosis.EXCHANGE_DOWN
                if exchange_down and stream.state in {StreamState.SUSPECT, StreamState.QUIET}
                else stream.diagnosis,
                threshold_s=stream.rhythm.threshold_s,
                verified_quiet_us=None
                if stream.proven_quiet_s is None
                else now_us - int((now_s - stream.proven_quiet_s) * 1e6),
                trades_behind=self._witnesses.deficits.get(key.symbol) if key.kind == "trade" else None,
            )
            for key, stream in self.watch.streams.items()
        }

    def _look_at_clocks(self, facts: ServiceFacts) -> None:
        if step_s := self._stamps.look(facts.now_wall_ns, facts.now_monotonic_ns):
            log.warning("clock.stepped", by_s=step_s)

    def _look_at_processes(self, facts: ServiceFacts, now_s: float) -> None:
        for shard in facts.shards:
            if shard.shard not in self._appeared or self._appeared[shard.shard][0] != shard.pid:
                self._appeared[shard.shard] = (shard.pid, now_s)

    # ------------------------------------------------------------------ acting

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, AskWitness):
            self._witnesses.ask(action.keys)
        elif isinstance(action, AskWhetherHealed):
            self._witnesses.ask_whether_healed(action.since_s)
        elif isinstance(action, OrderResubscribe):
            self._hands.order(action.shard, Resubscribe(action.keys))
        elif isinstance(action, OrderReplaceFeed):
            stale = self._missed_on(action.shard, action.feed)
            self._hands.order(action.shard, ReplaceFeed(action.feed, action.reason, stale))
        elif isinstance(action, OrderRestartShard):
            self._restart(action)
        else:
            self._write_down(action)

    def _restart(self, action: OrderRestartShard) -> None:
        """Not while the database is away: what waits in the shard's memory would be lost with it."""
        shards = self._newest.shards if self._newest is not None else ()
        if any(each.shard == action.shard and self._cannot_commit(each) for each in shards):
            log.warning("shard.not_restarted", shard=action.shard, why="its rows wait for the database")
        else:
            self._hands.recycle(action.shard, action.reason)

    def _missed_on(self, shard: int, feed: int) -> tuple[StreamKey, ...]:
        """Streams of a feed that have, or may have, missed something: of a silent feed it is all of them."""
        is_silent = self.watch.feed_is_silent(shard, feed, self._clock.monotonic_s())
        return tuple(
            key
            for key, each in self.watch.streams.items()
            if (each.shard, each.feed) == (shard, feed) and (is_silent or each.state is StreamState.STALE)
        )

    def _probe_hushed(self, now_s: float) -> None:
        """A ping of our own tells a link that is dead from a server that has nothing to say.

        Sent before the first stream is suspect: the answer takes its time, and the diagnosis wants it.
        """
        for shard, feed in self.watch.hushed_feeds(now_s):
            if now_s - self._probed.get((shard, feed), -inf) >= self._limits.probe_every_s:
                self._probed[shard, feed] = now_s
                self._hands.order(shard, Probe(feed))

    def _write_down(self, action: IncidentOpened | IncidentStep | IncidentClosed) -> None:
        repair = action.repair
        closed = isinstance(action, IncidentClosed)
        self._incidents.put(repair, closed=closed)
        told = log.info if closed else log.error if repair.step is Step.ALERT else log.warning
        told(
            f"incident.{type(action).__name__.removeprefix('Incident').lower()}",
            incident=repair.number,
            diagnosis=repair.diagnosis.name.lower(),
            step=repair.step.name.lower(),
            shard=repair.shard,
            feed=repair.feed,
            streams=len(repair.affected),
            evidence=repair.evidence,
            lasted_s=round(action.lasted_s, 1) if isinstance(action, IncidentClosed) else None,
        )

    # ------------------------------------------------------------------ diagnosis

    def _diagnose(self, shard: int, feed: int, feed_is_silent: bool) -> Finding:
        facts = self._newest
        if facts is None:
            return Finding(Diagnosis.NONE, "")
        owner = next((each for each in facts.shards if each.shard == shard), None)
        found = examine(self._silence_facts(facts, owner, feed, feed_is_silent=feed_is_silent))
        return Finding(found.diagnosis, found.evidence)

    def _silence_facts(
        self, facts: ServiceFacts, shard: ShardFacts | None, feed: int, *, feed_is_silent: bool
    ) -> SilenceFacts:
        values = self._feeds.get(feed)
        board = shard.board if shard is not None else None
        return SilenceFacts(
            shard_runs=shard.running if shard is not None else None,
            shard_waits_for_database=shard.waits_for_database if shard is not None else None,
            heartbeat_age_s=None
            if board is None
            else heartbeat_age_s(
                board, now_wall_ns=facts.now_wall_ns, now_monotonic_ns=facts.now_monotonic_ns
            ),
            loop_lag_s=board.header.loop_lag_max_us / 1e6 if board is not None else None,
            stream_receives=False,
            waiting_bytes=self._queues.stuck_bytes(values.local_port) if values is not None else None,
            feed_receives=not feed_is_silent,
            other_feeds_receive=self._others_receive(feed),
            ping_age_s=self._ping_age_s(values),
            probe_answered=self._probe_answered(values),
            exchange_answers=self._witnesses.exchange_answers,
            exchange_moves=self._witnesses.exchange_moves or None,
        )

    def _others_receive(self, feed: int) -> bool | None:
        others = {
            (each.shard, each.feed) for each in self.watch.streams.values() if each.feed not in {feed, -1}
        }
        now_s = self._clock.monotonic_s()
        return any(not self.watch.feed_is_silent(*other, now_s) for other in others) if others else None

    def _ping_age_s(self, values: FeedValues | None) -> float | None:
        if values is None or not values.connected_wall_ns:
            return None
        return self._stamps.age_s(max(values.last_ping_ns, values.connected_wall_ns))

    def _probe_answered(self, values: FeedValues | None) -> bool | None:
        age_s = self._stamps.age_s(values.probe_wall_ns) if values is not None else None
        if values is None or age_s is None:
            return None
        if values.pong_wall_ns >= values.probe_wall_ns:
            return True if age_s <= self._limits.probe_valid_s else None
        return False if age_s >= self._limits.probe_s else None

    # ------------------------------------------------------------------ shards and database

    def _judge_conditions(self, facts: ServiceFacts, now_s: float) -> None:
        """Open an incident for what is wrong with shards and database, close those that are over."""
        found = {condition.key: condition for condition in self._conditions(facts)}
        for key, condition in found.items():
            if key not in self.conditions:
                repair = self.watch.new_incident(
                    condition.shard, condition.diagnosis, condition.evidence, now_s
                )
                self.conditions[key] = repair
                self._write_down(IncidentOpened(repair))
        for key in self.conditions.keys() - found.keys():
            repair = self.conditions.pop(key)
            self._write_down(IncidentClosed(repair, now_s - repair.opened_s))

    def _conditions(self, facts: ServiceFacts) -> list[Condition]:
        found: list[Condition] = []
        for shard in facts.shards:
            found += self._shard_conditions(shard, facts)
        down = [each for each in facts.shards if self._cannot_commit(each)]
        if down:
            names = ", ".join(str(each.shard) for each in down)
            evidence = f"shards that cannot commit, or wait for it to begin: {names}"
            found.append(Condition("database", Diagnosis.DATABASE_STALLED, evidence, -1))
        return found

    def _shard_conditions(self, shard: ShardFacts, facts: ServiceFacts) -> list[Condition]:
        found = []
        if shard.running and (age_s := self._wedged_for_s(shard, facts)) is not None:
            evidence = f"shard {shard.shard}'s loop has stood for {age_s:.1f} s"
            found.append(Condition(f"wedged {shard.shard}", Diagnosis.SHARD_WEDGED, evidence, shard.shard))
            if shard.pid is not None and self._recycled.get(shard.shard) != shard.pid:
                self._recycled[shard.shard] = shard.pid
                self._hands.recycle(shard.shard, evidence)
        if shard.crash_looping:
            evidence = f"shard {shard.shard} was restarted {shard.restarts} times and ends again and again"
            found.append(Condition(f"crashing {shard.shard}", Diagnosis.SHARD_WEDGED, evidence, shard.shard))
        if lagging := self._lagging(shard):
            found.append(Condition(f"lagging {shard.shard}", Diagnosis.CONSUMER_LAG, lagging, shard.shard))
        return found

    def _lagging(self, shard: ShardFacts) -> str:
        """What shows that a shard does not keep up; nothing when it does, or is not to be judged now."""
        board = shard.board
        if board is None or not shard.running or shard.has_former_board:
            return ""
        if shard.shard not in self._lags or self._lags[shard.shard][0] != shard.pid:
            self._lags[shard.shard] = (shard.pid, Lag(), Pace())
        _, lag, pace = self._lags[shard.shard]
        pace.take(board.header.bytes_received, self._clock.monotonic_s())
        lag_s = board.header.loop_lag_max_us / 1e6
        stuck = sum(self._queues.stuck_bytes(feed.local_port) or 0 for feed in board.feeds)
        is_new = self._clock.monotonic_s() - self._appeared[shard.shard][1] <= self._limits.start_s
        # A loop that stands is no slow one: whoever looks after that has more to say.
        stands = self._beat_age_s(board) > self._limits.lagging_beat_s
        is_unread = stuck > pace.bytes_per_s * self._limits.unread_s
        is_late = not (is_new or stands) and (lag_s > self._limits.lag_s or is_unread)
        if not lag.take(is_late=is_late):
            return ""
        return (
            f"shard {shard.shard} does not keep up: its loop is {lag_s:.1f} s late, {stuck} bytes wait for it"
        )

    def _wedged_for_s(self, shard: ShardFacts, facts: ServiceFacts) -> float | None:
        board = shard.board
        if board is None or shard.has_former_board or not board.heartbeat.monotonic_ns:
            age_s = facts.now_monotonic_ns / _NS_PER_S - self._appeared[shard.shard][1]
            limit_s = self._limits.start_s
        else:
            age_s = heartbeat_age_s(
                board, now_wall_ns=facts.now_wall_ns, now_monotonic_ns=facts.now_monotonic_ns
            )
            limit_s = self._limits.wedged_s
        return age_s if age_s > limit_s else None

    def _cannot_commit(self, shard: ShardFacts) -> bool:
        """A board is all zeros until its shard has begun to work, and a former one says nothing of now."""
        if shard.waits_for_database:
            return True
        if shard.board is None or not shard.running or shard.has_former_board:
            return False
        header = shard.board.header
        if header.state not in {ShardState.RUNNING, ShardState.DRAINING}:
            return False
        waiting_s = self._stamps.age_s(header.oldest_waiting_recv_ns) or 0.0
        # As of the board's own time: what waits in a loop that stands does not wait for the database.
        return not header.database_up or waiting_s - self._beat_age_s(shard.board) > self._limits.stalled_s

    def _beat_age_s(self, board: BoardSnapshot) -> float:
        now_ns = self._clock.wall_ns(), int(self._clock.monotonic_s() * _NS_PER_S)
        return heartbeat_age_s(board, now_wall_ns=now_ns[0], now_monotonic_ns=now_ns[1])
