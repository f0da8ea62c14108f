"""Streams that speak or are mute, a second at a time, in front of one watch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ingest.board.layout import Diagnosis, StreamState
from ingest.events import StreamKey
from ingest.supervisor.ladder import LadderLimits, Repair
from ingest.supervisor.rhythm import RhythmLimits, RhythmRecord
from ingest.supervisor.watch import (
    Action,
    AskWitness,
    Finding,
    IncidentClosed,
    IncidentOpened,
    OrderReplaceFeed,
    OrderRestartShard,
    OrderResubscribe,
    Watch,
    WatchLimits,
)
from ingest.supervisor.watched import Reading, WatchedStream
from ingest.supervisor.witness import Quiet, Stale, Unknown

THRESHOLD_S = 5.0
START_S = 100.0
LIMITS = WatchLimits(
    ladder=LadderLimits(
        resubscribe_s=3.0,
        replace_feed_s=6.0,
        restart_shard_s=10.0,
        retry_s=20.0,
        retry_cap_s=60.0,
        restart_share=0.8,
    ),
    start_s=30.0,
    witness_s=4.0,
    ask_again_s=2.0,
    standstill_s=10.0,
    standstill_least=3,
)
NOTHING_KNOWN = Finding(Diagnosis.NONE, "")
STALE = Stale("the exchange is at id 9, 3 beyond our 6")
UNKNOWN = Unknown("nobody could say")


def a_key(symbol: str, kind: str = "trade") -> StreamKey:
    return StreamKey("spot", symbol, kind)


def a_reading(
    news: int = 0,
    *,
    shard: int = 0,
    feed: int = 0,
    pid: int = 1,
    breaks: int = 0,
    is_up: bool = True,
    is_halted: bool = False,
) -> Reading:
    return Reading(shard, feed, news, (pid, breaks), is_up, is_halted)


@dataclass
class Stage:
    """`speaking` streams have news at every tick; `places` are (shard, feed)."""

    places: Mapping[StreamKey, tuple[int, int]]
    limits: WatchLimits = LIMITS
    thresholds_s: Mapping[StreamKey, float] = field(default_factory=dict)
    finding: Finding = NOTHING_KNOWN
    findings: dict[int, Finding] = field(default_factory=dict)
    """Of single shards, where they differ."""
    records: Mapping[StreamKey, RhythmRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.now_s = START_S
        self.asked_of: list[tuple[int, int, bool]] = []
        self.watch = Watch(
            self.limits, rhythm_limits=self._rhythm_limits, records=self.records, diagnose=self._diagnose
        )
        self.readings = {key: a_reading(shard=place[0], feed=place[1]) for key, place in self.places.items()}
        self.speaking = set(self.readings)
        self.pass_s(2)

    def _rhythm_limits(self, key: StreamKey) -> RhythmLimits:
        fixed_s = self.thresholds_s.get(key, THRESHOLD_S)
        return RhythmLimits(floor_s=1.0, ceiling_s=100.0, fixed_s=fixed_s)

    def _diagnose(self, shard: int, feed: int, is_silent: bool) -> Finding:
        self.asked_of.append((shard, feed, is_silent))
        return self.findings.get(shard, self.finding)

    def pass_s(self, seconds: int = 1) -> list[Action]:
        """Tick once a second; everything that the watch wants done."""
        actions: list[Action] = []
        for _ in range(seconds):
            self.now_s += 1.0
            for key in self.speaking & self.readings.keys():
                self.change(key, news=self.readings[key].news + 1)
            actions += self.watch.tick(self.now_s, self.readings)
        return actions

    def change(self, *keys: StreamKey, **fields: object) -> None:
        for key in keys:
            self.readings[key] = self.readings[key]._replace(**fields)  # type: ignore[arg-type]

    def mute(self, *keys: StreamKey) -> None:
        self.speaking -= set(keys)

    def take_away(self, *keys: StreamKey) -> None:
        """Their feed is lost."""
        self.mute(*keys)
        for key in keys:
            pid, breaks = self.readings[key].epoch
            self.change(key, is_up=False, epoch=(pid, breaks + 1))

    def bring_back(self, *keys: StreamKey) -> None:
        self.change(*keys, is_up=True)

    def find_stale(self, *keys: StreamKey) -> None:
        for key in keys:
            self.watch.verdict(key, STALE, self.now_s)

    def find_quiet(self, *keys: StreamKey) -> None:
        for key in keys:
            self.watch.verdict(key, Quiet(self.now_s, "no trade since id 6"), self.now_s)

    def make_stale(self, *keys: StreamKey) -> list[Action]:
        """Mute streams until they are suspect, and have the witness find them stale."""
        self.mute(*keys)
        self.pass_s(int(THRESHOLD_S) + 1)
        self.find_stale(*keys)
        return self.pass_s()

    def stream(self, key: StreamKey) -> WatchedStream:
        return self.watch.streams[key]

    def state(self, key: StreamKey) -> StreamState:
        return self.watch.streams[key].state

    def states(self, keys: Iterable[StreamKey]) -> set[StreamState]:
        return {self.state(key) for key in keys}


def orders(actions: Iterable[Action]) -> list[Action]:
    kinds = (OrderResubscribe, OrderReplaceFeed, OrderRestartShard)
    return [action for action in actions if isinstance(action, kinds)]


def opened(actions: Iterable[Action]) -> list[Repair]:
    return [action.repair for action in actions if isinstance(action, IncidentOpened)]


def closed(actions: Iterable[Action]) -> list[IncidentClosed]:
    return [action for action in actions if isinstance(action, IncidentClosed)]


def asked(actions: Iterable[Action]) -> list[tuple[StreamKey, ...]]:
    return [action.keys for action in actions if isinstance(action, AskWitness)]
