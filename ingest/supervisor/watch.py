"""All streams together and the ladder of repair: who is silent with whom, and what is done about it.

Pure. The boards' readings, the witness's verdicts and the time come in; actions go out. Nothing here
asks anybody or repairs anything. One `Watch` holds all streams of the service and is ticked once a
second. A single stream's states are in `supervisor.watched`, the steps in `supervisor.ladder`.

    when                                            what
    ---------------------------------------------   ---------------------------------------------------
    a stream becomes SUSPECT, and every few         AskWitness, for all suspects together
      seconds while it is one
    three streams of a kind are STALE on a feed,    all of them are STALE
      and no other of that kind speaks on it
    streams become STALE                            one incident for those of one feed, and its first
                                                    step; they join an incident of their feed that was
                                                    never at ALERT yet and whose step is under way
    nothing on the feed speaks, or it is away       the incident begins at REPLACE_FEED
    ... only these streams are silent               ... at RESUBSCRIBE
    a step's time is up                             the next step
    the last stream of an incident speaks, is       IncidentClosed
      halted, or is watched no more
    nothing speaks anywhere, nobody has found       one incident (EXCHANGE_DOWN); no step of any other
      since that anything is missed, and it is      is taken, and nobody is found STALE for want of
      not our own doing                             evidence
    anything speaks, or the witness finds           IncidentClosed; the others' steps and waits get
      something missed                              their time anew

The steps' orders: RESUBSCRIBE the streams, REPLACE_FEED (the new connection before the old one ends),
RESTART_SHARD (only when most of the shard's streams are stale: it disturbs the others), ALERT. What
another incident's step has just ordered for the same feed or shard is not ordered again, nor is the
restart of a shard whose process is new (`start_s`), whoever has started it, or which is known to be wedged
or to wait for the database: the step then waits for whoever looks after that.

Whether a step was in vain is judged for each stream from when it took effect, which is when the stream is
seen to be subscribed anew. It was when the witness finds something missed since then, or the stream is
silent past its threshold since then. Of a healed stream the witness is asked what it missed since its
repair, until it speaks: what was missed before stays missed, and would have it repaired for ever.

Invariants: an incident that was opened is closed at most once, and is when it has no stream left; an
order is for streams that are STALE, and no incident has others; no stream belongs to two.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple, TypeAlias

from ingest.board.layout import Diagnosis, StreamState
from ingest.events import StreamKey
from ingest.supervisor.ladder import LadderLimits, Repair, Step
from ingest.supervisor.rhythm import Rhythm, RhythmLimits, RhythmRecord
from ingest.supervisor.watched import INCIDENTS_OF_THEIR_OWN, Reading, WatchedStream
from ingest.supervisor.witness import Quiet, Stale, Verdict


class AskWitness(NamedTuple):
    """Find out whether these streams miss anything; the answers come in through `Watch.verdict`."""

    keys: tuple[StreamKey, ...]


class AskWhetherHealed(NamedTuple):
    """Find out whether these streams have missed anything since their repair, by key.

    They are too rare for their silence to say so, or healed and silent again since; the answers come in
    through `Watch.healed`.
    """

    since_s: Mapping[StreamKey, float]


class OrderResubscribe(NamedTuple):
    shard: int
    keys: tuple[StreamKey, ...]


class OrderReplaceFeed(NamedTuple):
    shard: int
    feed: int
    reason: str


class OrderRestartShard(NamedTuple):
    shard: int
    reason: str


class IncidentOpened(NamedTuple):
    repair: Repair


class IncidentStep(NamedTuple):
    """Its story has gone on: a step was begun, or streams have joined it."""

    repair: Repair


class IncidentClosed(NamedTuple):
    repair: Repair
    lasted_s: float


Action: TypeAlias = (
    AskWitness
    | AskWhetherHealed
    | OrderResubscribe
    | OrderReplaceFeed
    | OrderRestartShard
    | IncidentOpened
    | IncidentStep
    | IncidentClosed
)


class Finding(NamedTuple):
    """What is wrong, and what speaks for it."""

    diagnosis: Diagnosis
    evidence: str


Diagnose: TypeAlias = Callable[[int, int, bool], Finding]
"""(shard, feed, nothing on the feed speaks) -> what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchLimits:
    """Seconds, and shares of streams."""

    ladder: LadderLimits = field(default_factory=LadderLimits)
    start_s: float = 60.0
    """How long a stream may take until it is subscribed for the first time, at least."""
    witness_s: float = 60.0
    """How long a suspect waits for a verdict before it is repaired without one; a ban of REST is not
    counted, see `watched`."""
    ask_again_s: float = 5.0
    standstill_s: float = 10.0
    """The exchange stands still when no stream of the service has spoken for so long ..."""
    standstill_least: int = 5
    """... and at least so many of them are silent past their own thresholds."""


_Place: TypeAlias = tuple[int, int]
"""(shard, feed)."""

_PAST_THRESHOLD = frozenset({StreamState.SUSPECT, StreamState.QUIET, StreamState.STALE})
_SILENT = _PAST_THRESHOLD | {StreamState.RECOVERING}
_DECIDED = frozenset({StreamState.STALE, StreamState.HALTED})
_MUTE_KIND_LEAST = 3
"""So many streams of a kind have to be stale on a feed before the kind is taken to be mute there."""
_OWN_DOING = INCIDENTS_OF_THEIR_OWN | {Diagnosis.CONSUMER_LAG}


@dataclass(frozen=True, slots=True)
class Tally:
    """Counted since the start."""

    incidents: Counter[Diagnosis] = field(default_factory=Counter)
    steps: Counter[Step] = field(default_factory=Counter)
    verdicts: Counter[type[Verdict]] = field(default_factory=Counter)
    """Of suspects: what the witness said of them."""


class Watch:
    """All streams of the service."""

    def __init__(
        self,
        limits: WatchLimits,
        *,
        rhythm_limits: Callable[[StreamKey], RhythmLimits],
        records: Mapping[StreamKey, RhythmRecord],
        diagnose: Diagnose,
    ) -> None:
        self.streams: dict[StreamKey, WatchedStream] = {}
        self.repairs: dict[int, Repair] = {}
        self.standstill: Repair | None = None
        self.tally = Tally()
        self._feeds: dict[_Place, list[WatchedStream]] | None = None
        """As the newest tick saw them; made when first asked for."""
        self._limits = limits
        self._rhythm_limits = rhythm_limits
        self._records = records
        self._diagnose = diagnose
        self._numbers = 0
        self._spoke_s = 0.0
        """When any stream last spoke, or there was none."""
        self.witness_back_s = -inf
        """When the newest ban of REST ends, or has ended; whoever knows of one says it before the tick."""
        self._missed_s = -inf
        """When the witness last found something missed."""

    def tick(self, now_s: float, readings: Mapping[StreamKey, Reading]) -> list[Action]:
        """Judge every stream of the readings; streams that are in them no more are forgotten.

        Nearly all streams are well at nearly all ticks, so nothing but `_hear` looks at those that are.
        """
        actions, unwell = self._hear(now_s, readings)
        self._feeds = None
        actions += self._judge_standstill(now_s)
        for stream in unwell:
            self._judge(stream, now_s)
        if self.standstill is None:
            actions += self._repair_stale(unwell, now_s)
            actions += self._climb(now_s)
        return actions + self._ask(unwell, now_s)

    def verdict(self, key: StreamKey, verdict: Verdict, now_s: float) -> None:
        """What the witness says of a suspect; what follows from it comes with the next tick."""
        stream = self.streams.get(key)
        if stream is None or stream.state is not StreamState.SUSPECT:
            return
        self.tally.verdicts[type(verdict)] += 1
        if isinstance(verdict, Quiet):
            stream.prove_quiet(verdict.at_s, now_s)
        elif isinstance(verdict, Stale):
            self._missed_s = now_s
            stream.find_stale(verdict.evidence, now_s)

    def healed(self, key: StreamKey, verdict: Verdict, now_s: float) -> None:
        """What the witness says of the time since a stream's repair."""
        stream = self.streams.get(key)
        if stream is None:
            return
        if stream.repair is None:
            if stream.mended_s is not None:
                self.verdict(key, verdict, now_s)
        elif isinstance(verdict, Quiet):
            stream.mended_s = self._tried_s(stream.repair, stream)
            stream.prove_quiet(verdict.at_s, now_s)
        elif isinstance(verdict, Stale) and now_s >= self._latest_s(stream.repair, stream):
            # Before its time is up nobody asks about a step: the question was about the former one.
            stream.repair.is_in_vain = True

    def threshold_s(self, key: StreamKey) -> float:
        """A stream's threshold; of one that was not looked at yet, the one that it will begin with."""
        stream = self.streams.get(key)
        return (stream.rhythm if stream else self._rhythm(key)).threshold_s

    def feed_is_silent(self, shard: int, feed: int, now_s: float) -> bool:
        """Whether no stream of a feed has spoken for half of the shortest threshold of its silent ones.

        A feed whose streams are all well is not, nor is one that has no stream.
        """
        streams = self._by_feed().get((shard, feed), [])
        silent = [each.rhythm.threshold_s for each in streams if each.state in _SILENT]
        spoke_s = max((each.spoke_s for each in streams if each.spoke_s is not None), default=-inf)
        return bool(silent) and now_s - spoke_s > min(silent) / 2

    def hushed_feeds(self, now_s: float) -> list[tuple[int, int]]:
        """(shard, feed) of those on which nothing has spoken for half of the shortest of all thresholds."""
        feeds = self._by_feed().items()
        return [place for place, streams in feeds if place[1] >= 0 and _is_hushed(streams, now_s)]

    def _by_feed(self) -> dict[_Place, list[WatchedStream]]:
        if self._feeds is None:
            self._feeds = _by_place(self.streams.values())
        return self._feeds

    def new_incident(self, shard: int, diagnosis: Diagnosis, evidence: str, now_s: float) -> Repair:
        """An incident about no single stream; whoever asks for it closes it."""
        return self._number(Step.ALERT, (shard, -1), Finding(diagnosis, evidence), now_s)

    # ------------------------------------------------------------------ streams

    def _hear(
        self, now_s: float, readings: Mapping[StreamKey, Reading]
    ) -> tuple[list[Action], list[WatchedStream]]:
        """Who has spoken, is halted or is here no more leaves its incident; the others that are not well."""
        actions = self._forget(readings, now_s)
        unwell: list[WatchedStream] = []
        for key, reading in readings.items():
            stream = self.streams.get(key) or self._add(key)
            if stream.read(reading, now_s):
                self._spoke_s = now_s
            elif not stream.is_well(now_s):
                unwell.append(stream)
            if stream.repair is not None and stream.state is not StreamState.STALE:
                actions += self._leave_repair(stream, now_s)
        return actions, unwell

    def _forget(self, readings: Mapping[StreamKey, Reading], now_s: float) -> list[Action]:
        actions: list[Action] = []
        if not self.streams.keys() <= readings.keys():
            for key in self.streams.keys() - readings.keys():
                actions += self._leave_repair(self.streams.pop(key), now_s)
        if not self.streams:
            self._spoke_s = now_s
        return actions

    def _add(self, key: StreamKey) -> WatchedStream:
        stream = self.streams[key] = WatchedStream(key, self._rhythm(key))
        return stream

    def _rhythm(self, key: StreamKey) -> Rhythm:
        return Rhythm(self._rhythm_limits(key), record=self._records.get(key))

    def _judge(self, stream: WatchedStream, now_s: float) -> None:
        limits, hush_s = self._limits, now_s - self._spoke_s
        # Others have spoken since it fell silent; or it would be known by now if nobody could.
        is_its_own = hush_s <= (now_s - stream.well_s) / 2 or hush_s > limits.standstill_s
        stream.judge(
            now_s,
            witness_s=limits.witness_s,
            start_s=limits.start_s,
            is_its_own=is_its_own and self.standstill is None,
            witness_back_s=self.witness_back_s,
        )

    def _ask(self, unwell: Iterable[WatchedStream], now_s: float) -> list[Action]:
        suspects = [each for each in unwell if each.state is StreamState.SUSPECT]
        again_s = self._limits.ask_again_s
        due = [each for each in suspects if each.asked_s is None or now_s - each.asked_s >= again_s]
        for stream in due:
            stream.asked_s = now_s
        mended = {stream.key: stream.mended_s for stream in due if stream.mended_s is not None}
        others = tuple(stream.key for stream in due if stream.mended_s is None)
        actions: list[Action] = [AskWitness(others)] if others else []
        return [*actions, AskWhetherHealed(mended)] if mended else actions

    # ------------------------------------------------------------------ incidents

    def _repair_stale(self, unwell: Iterable[WatchedStream], now_s: float) -> list[Action]:
        """Every stream that is stale and not under repair gets into an incident of its feed."""
        new = [each for each in unwell if each.state is StreamState.STALE and each.repair is None]
        new += self._silent_with(new, now_s)
        actions: list[Action] = []
        for place, stale in _by_place(new).items():
            begun = [each for each in self.repairs.values() if (each.shard, each.feed) == place]
            young = next((each for each in begun if self._can_be_joined(each, now_s)), None)
            actions += self._join(young, stale, now_s) if young else self._open(place, stale, now_s)
        return actions

    def _silent_with(self, stale: Iterable[WatchedStream], now_s: float) -> list[WatchedStream]:
        """Streams that are silent with stale ones of their kind and feed: the whole kind is mute there.

        Of a feed that is silent as a whole it is the feed that is replaced, whichever streams are stale.
        """
        found: list[WatchedStream] = []
        for place, kind in sorted({((each.shard, each.feed), each.key.kind) for each in stale if each.is_up}):
            if not self.feed_is_silent(*place, now_s):
                alike = [each for each in self._by_feed()[place] if each.key.kind == kind and each.is_up]
                found += _mute_with_others(alike, now_s)
        return found

    def _can_be_joined(self, repair: Repair, now_s: float) -> bool:
        """Whether what it does now, or is about to, does for more streams of its feed, too."""
        if repair.alerts:
            return False
        time_is_up_s = repair.step_s + self._limits.ladder.of(repair.step, repair.alerts)
        return repair.step is Step.RESUBSCRIBE or now_s < time_is_up_s

    def _open(self, place: _Place, stale: list[WatchedStream], now_s: float) -> list[Action]:
        is_silent = self.feed_is_silent(*place, now_s) or not any(stream.is_up for stream in stale)
        finding = self._diagnose(*place, is_silent)
        if finding.diagnosis in INCIDENTS_OF_THEIR_OWN:
            # The shard's or the database's incident speaks for all its streams, and no order would help.
            for stream in stale:
                stream.diagnosis = finding.diagnosis
            return []
        stale = [stream for stream in stale if not stream.is_given_back(now_s)]
        if not stale:
            return []
        evidence = stale[0].evidence
        if finding.evidence:
            evidence = f"{finding.evidence}; {evidence}"
        repair = self._number(
            Step.REPLACE_FEED if is_silent else Step.RESUBSCRIBE,
            place,
            Finding(finding.diagnosis, evidence),
            now_s,
            keys={stream.key for stream in stale},
        )
        self.repairs[repair.number] = repair
        _take_in(repair, stale, now_s)
        return [IncidentOpened(repair), *self._enter(repair, repair.step, now_s)]

    def _join(self, repair: Repair, stale: list[WatchedStream], now_s: float) -> list[Action]:
        repair.join({stream.key for stream in stale}, now_s)
        _take_in(repair, stale, now_s)
        order = [_resubscribe(repair, stale)] if repair.step is Step.RESUBSCRIBE else []
        return [*order, IncidentStep(repair)]

    def _climb(self, now_s: float) -> list[Action]:
        actions: list[Action] = []
        asked: dict[StreamKey, float] = {}
        for repair in self.repairs.values():
            if now_s < repair.step_until_s:
                continue
            if self._is_still_silent(repair, now_s):
                step = repair.next_step(shard_is_mostly_stale=self._is_mostly_stale(repair))
                actions += self._enter(repair, step, now_s)
            else:
                asked |= self._tried(repair, now_s)
                repair.step_until_s = min(now_s + self._limits.ask_again_s, self._silence_tells_s(repair))
        return [*actions, AskWhetherHealed(asked)] if asked else actions

    def _is_still_silent(self, repair: Repair, now_s: float) -> bool:
        """Whether the present step was in vain, as far as silence or the witness can tell.

        A stream that speaks once an hour does not say after three seconds that it is well again, nor
        that it is not.
        """
        streams = [self.streams[key] for key in repair.keys]
        spoken_for = any(not each.is_up for each in streams) or repair.is_in_vain
        return spoken_for or self._silence_tells_s(repair) <= now_s

    def _silence_tells_s(self, repair: Repair) -> float:
        """When the first of its streams will have been silent past its threshold since the present step.

        Less would not do: a hundredth of its gaps are longer than a quarter of it.
        """
        streams = (self.streams[key] for key in repair.keys)
        return min(
            max(self._latest_s(repair, each), self._tried_s(repair, each) + each.rhythm.threshold_s)
            for each in streams
        )

    def _tried_s(self, repair: Repair, stream: WatchedStream) -> float:
        """When the present step took effect on a stream: with its new subscription, if that came in time."""
        effect_s = max(repair.ordered_s(stream.key), stream.renewed_s)
        return min(effect_s, self._latest_s(repair, stream))

    def _latest_s(self, repair: Repair, stream: WatchedStream) -> float:
        """When the present step's time is up for a stream."""
        return repair.ordered_s(stream.key) + self._limits.ladder.of(repair.step, repair.alerts)

    def _tried(self, repair: Repair, now_s: float) -> dict[StreamKey, float]:
        """When the present step took effect on those streams for which its time is up."""
        streams = (self.streams[key] for key in repair.keys)
        return {
            each.key: self._tried_s(repair, each) for each in streams if now_s >= self._latest_s(repair, each)
        }

    def _enter(self, repair: Repair, step: Step, now_s: float) -> list[Action]:
        repair.enter(step, now_s, self._limits.ladder)
        self.tally.steps[step] += 1
        return [*self._orders(repair, now_s), IncidentStep(repair)]

    def _orders(self, repair: Repair, now_s: float) -> list[Action]:
        places = self._places(repair)
        others = [
            self._places(other)
            for other in self.repairs.values()
            if other is not repair and other.step is repair.step and now_s < other.step_until_s
        ]
        under_way = {place for other in others for place in other}
        if repair.step is Step.RESUBSCRIBE:
            return [_resubscribe(repair, (self.streams[key] for key in repair.keys))]
        if repair.step is Step.REPLACE_FEED:
            reason = f"{repair.diagnosis.name.lower()}: {_named(repair.keys)}"
            feeds = sorted(place for place in places - under_way if place[1] >= 0)
            return [OrderReplaceFeed(shard, feed, reason) for shard, feed in feeds]
        if repair.step is Step.RESTART_SHARD:
            shards = {shard for shard, _ in places} - {shard for shard, _ in under_way}
            shards = {shard for shard in shards if not self._is_looked_after(shard, now_s)}
            return [OrderRestartShard(shard, repair.diagnosis.name.lower()) for shard in sorted(shards)]
        return []

    def _places(self, repair: Repair) -> set[_Place]:
        """Where its streams are now: they may have been given to another shard since."""
        streams = (self.streams[key] for key in repair.keys)
        return {(stream.shard, stream.feed) for stream in streams}

    def _is_looked_after(self, shard: int, now_s: float) -> bool:
        """Whether a restart would not help: it is under way, or what is wrong is seen to already.

        The restart of a process that is new is under way: another one would only have it begin again.
        """
        begun_s = (stream.begun_s for stream in self.streams.values() if stream.shard == shard)
        is_new = now_s - min(begun_s, default=now_s) < self._limits.start_s
        return is_new or self._diagnose(shard, -1, True).diagnosis in INCIDENTS_OF_THEIR_OWN

    def _is_mostly_stale(self, repair: Repair) -> bool:
        shards = {shard for shard, _ in self._places(repair)}
        return all(self._stale_share(shard) >= self._limits.ladder.restart_share for shard in shards)

    def _stale_share(self, shard: int) -> float:
        """Of the streams of a shard that ought to speak."""
        states = [stream.state for stream in self.streams.values() if stream.shard == shard]
        judged = len(states) - states.count(StreamState.HALTED)
        return states.count(StreamState.STALE) / judged

    def _leave_repair(self, stream: WatchedStream, now_s: float) -> list[Action]:
        repair, stream.repair = stream.repair, None
        if repair is None:
            return []
        repair.keys.discard(stream.key)
        if repair.keys:
            return []
        del self.repairs[repair.number]
        return [IncidentClosed(repair, now_s - repair.opened_s)]

    def _number(
        self, step: Step, place: _Place, finding: Finding, now_s: float, *, keys: Iterable[StreamKey] = ()
    ) -> Repair:
        self._numbers += 1
        self.tally.incidents[finding.diagnosis] += 1
        return Repair(
            number=self._numbers,
            shard=place[0],
            feed=place[1],
            keys=set(keys),
            diagnosis=finding.diagnosis,
            evidence=finding.evidence,
            opened_s=now_s,
            step=step,
            step_until_s=now_s,
        )

    # ------------------------------------------------------------------ the exchange as a whole

    def _judge_standstill(self, now_s: float) -> list[Action]:
        # Evidence of before the hush says nothing of it.
        is_missed = self._missed_s > self._spoke_s
        stands = now_s - self._spoke_s > self._limits.standstill_s and not is_missed
        if self.standstill is None:
            return self._open_standstill(now_s) if stands and self._is_everybodys(now_s) else []
        return [] if stands else self._close_standstill(self.standstill, now_s)

    def _is_everybodys(self, now_s: float) -> bool:
        """Whether enough streams are silent past their thresholds, and not by our own doing."""
        start_s = self._limits.start_s
        silent = [
            stream
            for stream in self.streams.values()
            if stream.state in _PAST_THRESHOLD or stream.is_overdue(now_s, start_s)
        ]
        least = self._limits.standstill_least
        if len(silent) < least:
            return False
        # A shard of our own that stands still says nothing of the exchange, and the rest must be enough.
        places = _by_place(silent).items()
        return least <= sum(
            len(streams)
            for place, streams in places
            if self._diagnose(*place, True).diagnosis not in _OWN_DOING
        )

    def _open_standstill(self, now_s: float) -> list[Action]:
        evidence = "no stream of any feed speaks, and there is no sign that anything is missed"
        self.standstill = self.new_incident(-1, Diagnosis.EXCHANGE_DOWN, evidence, now_s)
        return [IncidentOpened(self.standstill)]

    def _close_standstill(self, repair: Repair, now_s: float) -> list[Action]:
        self.standstill = None
        for stream in self.streams.values():
            stream.wait_anew(now_s)
        for other in self.repairs.values():
            other.wait_anew(now_s, self._limits.ladder)
        return [IncidentClosed(repair, now_s - repair.opened_s)]


def _by_place(streams: Iterable[WatchedStream]) -> dict[_Place, list[WatchedStream]]:
    places: dict[_Place, list[WatchedStream]] = defaultdict(list)
    for stream in streams:
        places[stream.shard, stream.feed].append(stream)
    return places


def _is_hushed(streams: Sequence[WatchedStream], now_s: float) -> bool:
    if any(each.spoke_s == now_s for each in streams):
        return False
    spoke_s = max(each.well_s if each.spoke_s is None else each.spoke_s for each in streams)
    return now_s - spoke_s > min(each.rhythm.threshold_s for each in streams) / 2


def _mute_with_others(alike: Sequence[WatchedStream], now_s: float) -> list[WatchedStream]:
    """Of the streams of one kind on one feed those that become stale because none of them speaks.

    Those that were subscribed anew since the others fell silent speak for the fault, not against it.
    """
    stale = [each for each in alike if each.state is StreamState.STALE and each.has_spoken_here]
    if not stale:
        return []
    hushed_s = max(each.well_s for each in stale)
    renewed = [each for each in alike if each.state is not StreamState.STALE and each.renewed_s > hushed_s]
    if len(stale) + len(renewed) < _MUTE_KIND_LEAST:
        return []
    rest = [each for each in alike if each.state not in _DECIDED and each not in renewed]
    if any(each.spoke_s is not None and each.spoke_s > hushed_s for each in rest):
        return []
    silent = len(stale) + len(renewed)
    for stream in rest:
        stream.find_stale(
            f"{silent} streams of its kind on the connection are silent, and no other of them speaks", now_s
        )
    return rest


def _take_in(repair: Repair, stale: Iterable[WatchedStream], now_s: float) -> None:
    for stream in stale:
        stream.repair, stream.diagnosis = repair, repair.diagnosis
        # What a repair ends is no gap that the stream's own rhythm would have made.
        stream.rhythm.interrupted(now_s)


def _resubscribe(repair: Repair, streams: Iterable[WatchedStream]) -> OrderResubscribe:
    return OrderResubscribe(repair.shard, tuple(sorted(stream.key for stream in streams)))


def _named(keys: Iterable[StreamKey], most: int = 3) -> str:
    names = sorted(str(key) for key in keys)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
