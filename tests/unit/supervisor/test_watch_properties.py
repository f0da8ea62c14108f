"""Streams, feeds, shards, verdicts and time in any order: what the watch promises holds at every tick."""

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ingest.board.layout import StreamState
from ingest.events import StreamKey
from ingest.supervisor.watch import (
    Action,
    AskWhetherHealed,
    AskWitness,
    IncidentClosed,
    IncidentOpened,
    IncidentStep,
    OrderReplaceFeed,
    OrderResubscribe,
)
from ingest.supervisor.watched import WatchedStream
from ingest.supervisor.witness import Quiet
from tests.unit.supervisor.stage import Stage, a_key, a_reading, orders

PLACES = [(0, 0), (0, 0), (0, 0), (0, 1), (0, 1), (1, 2), (1, 2), (1, 2)]
ALL = {a_key(f"S{number}USDT"): place for number, place in enumerate(PLACES)}
KEYS = list(ALL)
SOME = st.sets(st.sampled_from(KEYS), min_size=1)


class WatchInAnyWeather(RuleBasedStateMachine):
    """One rule for each thing that can happen, and an account of every incident."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(ALL)
        self.open: dict[int, str] = {}
        self.ever: set[int] = set()

    @rule(keys=SOME)
    def mute(self, keys: set[StreamKey]) -> None:
        self.stage.mute(*keys)

    @rule(keys=SOME)
    def speak(self, keys: set[StreamKey]) -> None:
        self.stage.speaking |= keys & self.stage.readings.keys()

    @rule()
    def hush(self) -> None:
        self.stage.mute(*KEYS)

    @rule(place=st.sampled_from([(0, 0), (0, 1), (1, 2)]))
    def lose_feed(self, place: tuple[int, int]) -> None:
        self.stage.take_away(*self._present(key for key in KEYS if ALL[key] == place))

    @rule(keys=SOME)
    def bring_back(self, keys: set[StreamKey]) -> None:
        for key in self._present(keys):
            self.stage.change(key, is_up=True, shard=ALL[key][0], feed=ALL[key][1])

    @rule(shard=st.sampled_from([0, 1]), news=st.integers(0, 200), has_board=st.booleans())
    def restart_shard(self, shard: int, news: int, has_board: bool) -> None:
        for key in self._present(key for key in KEYS if ALL[key][0] == shard):
            pid = self.stage.readings[key].epoch[0] + 1
            feed = ALL[key][1] if has_board else -1
            self.stage.change(key, news=news, epoch=(pid, 0), feed=feed, is_up=has_board)

    @rule(keys=SOME, is_halted=st.booleans())
    def halt(self, keys: set[StreamKey], is_halted: bool) -> None:
        self.stage.change(*self._present(keys), is_halted=is_halted)

    @rule(keys=SOME)
    def unlist(self, keys: set[StreamKey]) -> None:
        for key in keys:
            self.stage.readings.pop(key, None)

    @rule(keys=SOME, news=st.integers(0, 3), is_up=st.booleans())
    def enlist(self, keys: set[StreamKey], news: int, is_up: bool) -> None:
        for key in keys - self.stage.readings.keys():
            shard, feed = ALL[key]
            self.stage.readings[key] = a_reading(news, shard=shard, feed=feed, is_up=is_up)

    @rule(keys=SOME)
    def find_stale(self, keys: set[StreamKey]) -> None:
        self.stage.find_stale(*keys)

    @rule(keys=SOME, ago_s=st.floats(0.0, 20.0))
    def find_quiet(self, keys: set[StreamKey], ago_s: float) -> None:
        for key in keys:
            self.stage.watch.verdict(key, Quiet(self.stage.now_s - ago_s, "no trade"), self.stage.now_s)

    @rule(seconds=st.sampled_from([1, 1, 2, 5, 7, 11, 30]))
    def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            stood_still = self.stage.watch.standstill is not None
            actions = self.stage.pass_s()
            self._account(actions)
            if stood_still and self.stage.watch.standstill is not None:
                assert not orders(actions), "nothing is ordered in a standstill"

    def _present(self, keys: Iterable[StreamKey]) -> list[StreamKey]:
        return [key for key in keys if key in self.stage.readings]

    def _account(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, IncidentOpened):
                assert action.repair.number not in self.ever, "an incident is opened once"
                self.ever.add(action.repair.number)
                self.open[action.repair.number] = action.repair.evidence
            elif isinstance(action, IncidentClosed):
                assert self.open.pop(action.repair.number), "what is closed was open, and had its evidence"
                assert action.lasted_s >= 0.0
            elif isinstance(action, IncidentStep):
                assert action.repair.number in self.open
            elif isinstance(action, OrderResubscribe | AskWitness):
                self._check_keys(action)
            elif isinstance(action, OrderReplaceFeed):
                assert (action.shard, action.feed) in {(s.shard, s.feed) for s in self._stale()}
            elif isinstance(action, AskWhetherHealed):
                assert self.stage.states(action.since_s) == {StreamState.STALE}
            else:
                assert action.shard in {stream.shard for stream in self._stale()}
        replaced = [action for action in orders(actions) if isinstance(action, OrderReplaceFeed)]
        assert all(a[:2] != b[:2] for a, b in pairwise(sorted(replaced))), "a feed is replaced once at a time"

    def _check_keys(self, action: OrderResubscribe | AskWitness) -> None:
        wanted = StreamState.SUSPECT if isinstance(action, AskWitness) else StreamState.STALE
        assert action.keys
        assert self.stage.states(action.keys) == {wanted}

    def _stale(self) -> list[WatchedStream]:
        return [s for s in self.stage.watch.streams.values() if s.state is StreamState.STALE]

    @invariant()
    def incidents_and_streams_agree(self) -> None:
        watch = self.stage.watch
        repairs = {repair.number for repair in watch.repairs.values()}
        standing = set() if watch.standstill is None else {watch.standstill.number}
        assert repairs | standing == set(self.open)
        for repair in watch.repairs.values():
            assert repair.keys
            assert repair.keys <= repair.affected
            assert repair.keys == {key for key, stream in watch.streams.items() if stream.repair is repair}
        for stream in watch.streams.values():
            assert stream.repair is None or stream.state is StreamState.STALE

    def teardown(self) -> None:
        """When all is well again for a while, nothing stays open."""
        self.stage.mute(*KEYS)
        for key in KEYS:
            shard, feed = ALL[key]
            self.stage.readings[key] = a_reading(1, shard=shard, feed=feed, pid=9)
        self._account(self.stage.pass_s())
        self.stage.speaking.update(KEYS)
        for _ in range(3):
            self._account(self.stage.pass_s())
        assert self.open == {}
        assert self.stage.states(KEYS) == {StreamState.LIVE}


TestWatchInAnyWeather = WatchInAnyWeather.TestCase
TestWatchInAnyWeather.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
