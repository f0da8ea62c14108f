"""What the sentinel sees on the boards, and what it does: orders, incidents, recycled shards."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from ingest.board.layout import (
    BoardSnapshot,
    Diagnosis,
    FeedState,
    FeedValues,
    HeaderValues,
    Heartbeat,
    ShardState,
    StreamSlot,
    StreamState,
    StreamValues,
)
from ingest.events import StreamKey
from ingest.shard.orders import Order, Probe, ReplaceFeed, Resubscribe
from ingest.supervisor.freshness import ServiceFacts, ShardFacts
from ingest.supervisor.incidents import IncidentLog
from ingest.supervisor.kernel import ReceiveQueues
from ingest.supervisor.ladder import LadderLimits, Repair, Step
from ingest.supervisor.rhythm import RhythmLimits
from ingest.supervisor.sentinel import Sentinel, SentinelLimits
from ingest.supervisor.watch import Watch, WatchLimits
from ingest.supervisor.witness import Quiet, Stale
from ingest.supervisor.witnesses import Witnesses
from tests.unit.board.builders import NOW_WALL_NS, RUNNING, S, a_board

HOUR_S = 3_600.0
THRESHOLD_S = 5.0
LONG_S = 600.0
"""The other shard's threshold: what becomes of the shard is not its streams' doing."""
STALE = Stale("the exchange is at id 9, 2 beyond our 7")


def key(symbol: str = "BTCUSDT", kind: str = "trade") -> StreamKey:
    return StreamKey("spot", symbol, kind)


BTC, ETH, XRP = key(), key("ETHUSDT"), key("XRPUSDT")


@dataclass
class SteppedClock:
    """Two clocks; the wall's may be set."""

    now_s: float = 5_000.0
    wall_offset_ns: int = NOW_WALL_NS

    def wall_ns(self) -> int:
        return self.wall_offset_ns + round(self.now_s * S)

    def monotonic_s(self) -> float:
        return self.now_s


@dataclass
class SilentWitnesses:
    """Takes questions and keeps them."""

    deficits: dict[str, int] = field(default_factory=dict)
    exchange_answers: bool | None = True
    exchange_moves: bool = False
    asked: list[StreamKey] = field(default_factory=list)
    looks: int = 0
    banned_s: float = 0.0

    def banned_for_s(self) -> float:
        return self.banned_s

    def see(self, now_s: float, sights: object) -> None:
        self.looks += 1

    def ask(self, keys: Iterable[StreamKey]) -> None:
        self.asked += keys

    def ask_whether_healed(self, since_s: object) -> None:
        """Nobody can say."""


@dataclass
class Hands:
    """Takes orders down."""

    orders: list[tuple[int, Order]] = field(default_factory=list)
    recycled: list[tuple[int, str]] = field(default_factory=list)

    def order(self, shard: int, order: Order) -> bool:
        self.orders.append((shard, order))
        return True

    def recycle(self, shard: int, reason: str) -> None:
        self.recycled.append((shard, reason))


@dataclass
class Diary:
    """The incidents' log: (diagnosis, is it closed, shard, evidence)."""

    entries: list[tuple[Diagnosis, bool, int, str]] = field(default_factory=list)

    def put(self, repair: Repair, *, closed: bool) -> None:
        self.entries.append((repair.diagnosis, closed, repair.shard, repair.evidence))

    def names(self) -> list[tuple[str, bool]]:
        return [(diagnosis.name.lower(), closed) for diagnosis, closed, _, _ in self.entries]


@dataclass
class Shard:
    """One shard as its board shows it; `speaking` streams get a message a second."""

    number: int
    keys: tuple[StreamKey, ...]
    feed: FeedValues
    pid: int | None = 42
    board_pid: int = 42
    header: HeaderValues = RUNNING
    has_board: bool = True
    is_beating: bool = True
    has_beaten: bool = True
    beat_s: float = 0.0
    crash_looping: bool = False
    spawned_wall_ns: int = 0
    messages: dict[StreamKey, int] = field(default_factory=dict)

    def facts(self, clock: SteppedClock) -> ShardFacts:
        return ShardFacts(
            shard=self.number,
            running=self.pid is not None,
            started_wall_ns=self.spawned_wall_ns,
            planned=self.keys,
            pid=self.pid,
            crash_looping=self.crash_looping,
            restarts=6,
            board=self.board(clock) if self.has_board else None,
        )

    def board(self, clock: SteppedClock) -> BoardSnapshot:
        if self.is_beating:
            self.beat_s = clock.monotonic_s()
        beat = Heartbeat(round(self.beat_s * S) if self.has_beaten else 0, clock.wall_ns(), 0)
        board = a_board({}, shard=self.number, header=self.header, started_wall_ns=self.spawned_wall_ns)
        feed = -1 if self.header.state is ShardState.STARTING else self.feed.feed
        values = [StreamValues(feed=feed, messages=self.messages.get(each, 0)) for each in self.keys]
        return replace(
            board,
            identity=board.identity._replace(pid=self.board_pid),
            heartbeat=beat,
            feeds=(self.feed,),
            streams=tuple(StreamSlot(each, value) for each, value in zip(self.keys, values, strict=True)),
        )


class Scene:
    """Two shards of one feed each, a sentinel, and a clock that goes a second at a time."""

    def __init__(self) -> None:
        self.clock = SteppedClock()
        self.witnesses, self.hands, self.diary = SilentWitnesses(), Hands(), Diary()
        connected = FeedValues(
            feed=0,
            state=FeedState.LIVE,
            connected_wall_ns=self.clock.wall_ns() - 600 * S,
            last_ping_ns=self.clock.wall_ns() - 5 * S,
        )
        spawned = self.clock.wall_ns() - 600 * S
        self.first = Shard(0, (BTC, ETH), connected, spawned_wall_ns=spawned)
        self.second = Shard(1, (XRP,), connected._replace(feed=1), spawned_wall_ns=spawned)
        self.speaking = {BTC, ETH, XRP}
        limits = WatchLimits(
            ladder=LadderLimits(resubscribe_s=3.0, replace_feed_s=5.0), witness_s=30.0, standstill_least=2
        )
        threshold_s = {BTC: THRESHOLD_S, ETH: THRESHOLD_S}
        self.sentinel = Sentinel(
            make_watch=lambda diagnose: Watch(
                limits,
                rhythm_limits=lambda each: RhythmLimits(
                    floor_s=1.0, ceiling_s=60.0, fixed_s=threshold_s.get(each, LONG_S)
                ),
                records={},
                diagnose=diagnose,
            ),
            witnesses=cast(Witnesses, self.witnesses),
            facts=self.facts,
            hands=self.hands,
            incidents=cast(IncidentLog, self.diary),
            clock=self.clock,
            limits=SentinelLimits(wedged_s=5.0, start_s=30.0),
        )
        self.sentinel._queues = ReceiveQueues(())  # this machine's sockets are not the scene's
        self.pass_s(3)

    def facts(self) -> ServiceFacts:
        return ServiceFacts(
            now_wall_ns=self.clock.wall_ns(),
            now_monotonic_ns=round(self.clock.monotonic_s() * S),
            shards=(self.first.facts(self.clock), self.second.facts(self.clock)),
        )

    def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.now_s += 1.0
            for shard in (self.first, self.second):
                for each in self.speaking & set(shard.keys):
                    shard.messages[each] = shard.messages.get(each, 0) + 1
                # The exchange pings each feed that is open.
                if round(self.clock.now_s) % 20 == 0 and shard.feed.last_ping_ns:
                    shard.feed = shard.feed._replace(last_ping_ns=self.clock.wall_ns())
            self.sentinel.tick()

    def mute(self, *keys: StreamKey) -> None:
        self.speaking -= set(keys)

    def find(self, verdict: Stale | Quiet, *keys: StreamKey) -> None:
        for each in keys:
            self.sentinel.watch.verdict(each, verdict, self.clock.monotonic_s())

    def states(self) -> set[StreamState]:
        return {judgement.state for judgement in self.sentinel.judgements().values()}

    def step_wall_clock(self, seconds: float) -> None:
        self.clock.wall_offset_ns += round(seconds * S)

    def did_nothing(self) -> bool:
        return not (self.hands.orders or self.hands.recycled or self.diary.entries)


@pytest.fixture
def scene() -> Scene:
    return Scene()


# --- streams ---


def test_service_that_is_well_is_let_alone(scene: Scene) -> None:
    """Ten minutes of messages: no question, no order, no incident."""
    scene.pass_s(600)

    assert scene.did_nothing()
    assert scene.witnesses.asked == []
    assert scene.witnesses.looks == 603
    assert scene.states() == {StreamState.LIVE}


def test_mute_stream_is_asked_about_and_subscribed_anew(scene: Scene) -> None:
    """The witness's word becomes an order to the stream's shard, for this stream alone."""
    scene.mute(BTC)
    scene.pass_s(7)
    assert scene.witnesses.asked[0] == BTC
    scene.find(STALE, BTC)
    scene.pass_s(1)

    assert scene.hands.orders == [(0, Resubscribe((BTC,)))]
    assert scene.diary.entries[0][:3] == (Diagnosis.STREAM_SILENT, False, 0)
    assert STALE.evidence in scene.diary.entries[0][3]


def test_repaired_stream_closes_its_incident(scene: Scene) -> None:
    """The first message says so."""
    scene.mute(BTC)
    scene.pass_s(7)
    scene.find(STALE, BTC)
    scene.pass_s(1)
    scene.speaking.add(BTC)
    scene.pass_s(1)

    assert scene.diary.names()[-1] == ("stream_silent", True)
    assert scene.states() == {StreamState.LIVE}


def test_silent_feed_is_probed_and_then_replaced_with_all_that_it_missed(scene: Scene) -> None:
    """A ping of our own goes out with the question; a new feed marks every stream of the old one."""
    scene.mute(BTC, ETH)
    scene.pass_s(7)
    assert (0, Probe(0)) in scene.hands.orders
    scene.find(STALE, BTC)
    scene.pass_s(1)

    (replaced,) = [order for _, order in scene.hands.orders if isinstance(order, ReplaceFeed)]
    assert (replaced.feed, set(replaced.stale)) == (0, {BTC, ETH})


def test_feed_that_has_gone_silent_is_probed_before_anything_is_suspect(scene: Scene) -> None:
    """The answer to our ping takes its time, and the diagnosis wants it when the first stream is suspect."""
    scene.mute(BTC, ETH)
    scene.pass_s(4)
    assert scene.hands.orders == [(0, Probe(0))]
    assert scene.witnesses.asked == []

    scene.pass_s(3)
    assert scene.witnesses.asked
    assert scene.hands.orders == [(0, Probe(0))]


def test_feed_on_which_anything_speaks_is_not_probed(scene: Scene) -> None:
    """One stream that speaks is proof enough of the connection."""
    scene.mute(BTC)
    scene.pass_s(7)

    assert scene.witnesses.asked == [BTC]
    assert scene.hands.orders == []


def test_suspect_is_not_repaired_unheard_while_rest_is_banned(scene: Scene) -> None:
    """Nor before the witness has had its time after the ban."""
    scene.mute(BTC)
    for left_s in range(200, 0, -1):
        scene.witnesses.banned_s = left_s
        scene.pass_s(1)
    scene.witnesses.banned_s = 0.0
    scene.pass_s(30)
    assert (scene.sentinel.watch.streams[BTC].state, scene.diary.entries) == (StreamState.SUSPECT, [])

    scene.pass_s(3)
    assert scene.diary.names() == [("stream_silent", False)] * 2


def test_ladder_goes_on_to_the_shard_and_to_alert(scene: Scene) -> None:
    """What a new feed does not heal, a new process might; after that people are told."""
    scene.pass_s(60)
    scene.mute(BTC, ETH)
    scene.pass_s(7)
    scene.find(STALE, BTC, ETH)
    scene.pass_s(120)

    assert [shard for shard, _ in scene.hands.recycled] == [0]
    assert any(repair.step is Step.ALERT for repair in scene.sentinel.watch.repairs.values())


def test_halted_stream_is_not_suspect(scene: Scene) -> None:
    """Its silence is the exchange's word."""
    scene.sentinel.halted = {BTC}
    scene.mute(BTC)
    scene.pass_s(60)

    assert scene.did_nothing()
    assert scene.sentinel.judgements()[BTC].state is StreamState.HALTED


def test_proof_of_quiet_is_told_by_the_wall_clock_of_now(scene: Scene) -> None:
    """Ten seconds ago is ten seconds ago, whatever the clock was set to meanwhile."""
    scene.mute(BTC)
    scene.pass_s(7)
    scene.find(Quiet(scene.clock.monotonic_s(), "no trade since id 7"), BTC)
    scene.step_wall_clock(-HOUR_S)
    scene.pass_s(3)

    assert scene.sentinel.judgements()[BTC].verified_quiet_us == scene.clock.wall_ns() // 1_000 - 3_000_000


def test_deficit_is_a_matter_of_the_trade_stream(scene: Scene) -> None:
    """The sweep compares trades with nothing else."""
    scene.first.keys = (BTC, key(kind="depth"))
    scene.witnesses.deficits = {"BTCUSDT": 4}
    scene.pass_s(1)

    behind = {each: judgement.trades_behind for each, judgement in scene.sentinel.judgements().items()}
    assert behind == {BTC: 4, key(kind="depth"): None, XRP: None}


def test_exchange_that_stands_still_is_one_incident(scene: Scene) -> None:
    """No order to anybody; the table says why nothing comes."""
    scene.mute(BTC, ETH, XRP)
    scene.pass_s(20)

    assert scene.diary.names() == [("exchange_down", False)]
    judgements = scene.sentinel.judgements()
    assert {judgements[each].diagnosis for each in (BTC, ETH)} == {Diagnosis.EXCHANGE_DOWN}
    assert not [order for _, order in scene.hands.orders if not isinstance(order, Probe)]


# --- diagnosis ---


def silent_feed_finding(scene: Scene, **feed: int) -> Diagnosis:
    scene.first.feed = scene.first.feed._replace(**feed)  # type: ignore[arg-type]
    scene.pass_s(1)
    return scene.sentinel._diagnose(0, 0, feed_is_silent=True).diagnosis


def test_feed_that_was_pinged_is_silent(scene: Scene) -> None:
    """The exchange's ping is life of the connection, not of the data."""
    assert silent_feed_finding(scene) is Diagnosis.FEED_SILENT


@pytest.mark.parametrize(
    ("probed_s_ago", "ponged_s_ago", "found"),
    [
        (5, 4.9, Diagnosis.FEED_SILENT),
        (1, 30, Diagnosis.FEED_SILENT),
        (5, 30, Diagnosis.HALF_OPEN),
    ],
    ids=["answered", "not answered yet", "not answered"],
)
def test_own_ping_tells_a_dead_link_from_a_silent_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, probed_s_ago: float, ponged_s_ago: float, found: Diagnosis
) -> None:
    """An answer of before does not count, and a moment must be given."""
    monkeypatch.setattr(scene.sentinel._queues, "stuck_bytes", lambda port: 0)
    now_ns = scene.clock.wall_ns() + S

    assert (
        silent_feed_finding(
            scene,
            probe_wall_ns=now_ns - round(probed_s_ago * S),
            pong_wall_ns=now_ns - round(ponged_s_ago * S),
        )
        is found
    )


def test_bytes_that_wait_here_are_our_own_lag(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the port of the feed's socket."""
    waiting = {4_711: 90_000}
    monkeypatch.setattr(scene.sentinel._queues, "stuck_bytes", waiting.get)

    assert silent_feed_finding(scene, local_port=4_711) is Diagnosis.CONSUMER_LAG


def test_unknown_place_has_no_diagnosis(scene: Scene) -> None:
    """A stream that no board has yet."""
    assert scene.sentinel._diagnose(7, -1, feed_is_silent=True).diagnosis is Diagnosis.NONE


# --- the wall clock is stepped ---


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
def test_stepped_wall_clock_disturbs_nobody(scene: Scene, step_s: float) -> None:
    """Streams are judged by the monotonic clock alone."""
    scene.step_wall_clock(step_s)
    scene.pass_s(300)

    assert scene.did_nothing()
    assert scene.states() == {StreamState.LIVE}


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
def test_shard_that_is_starting_while_the_wall_clock_is_stepped_is_let_start(
    scene: Scene, step_s: float
) -> None:
    """It has its time from when it was first seen, by a clock that is not stepped."""
    scene.second.pid = 43
    scene.second.spawned_wall_ns = scene.clock.wall_ns()
    scene.pass_s(2)
    scene.step_wall_clock(step_s)
    scene.pass_s(20)
    assert scene.hands.recycled == []

    scene.pass_s(20)
    assert [shard for shard, _ in scene.hands.recycled] == [1]


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
def test_shard_that_has_not_beaten_while_the_wall_clock_is_stepped_is_let_start(
    scene: Scene, step_s: float
) -> None:
    """The same with a board of its own."""
    scene.second.pid = scene.second.board_pid = 43
    scene.second.spawned_wall_ns = scene.clock.wall_ns()
    scene.second.has_beaten = False
    scene.pass_s(2)
    scene.step_wall_clock(step_s)
    scene.pass_s(20)
    assert scene.hands.recycled == []

    scene.pass_s(20)
    assert [shard for shard, _ in scene.hands.recycled] == [1]


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
@pytest.mark.parametrize("probed", [True, False])
def test_stepped_wall_clock_makes_no_link_look_dead(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, step_s: float, probed: bool
) -> None:
    """Stamps of before the step cannot be compared with the time after it."""
    monkeypatch.setattr(scene.sentinel._queues, "stuck_bytes", lambda port: 0)
    if probed:
        scene.first.feed = scene.first.feed._replace(probe_wall_ns=scene.clock.wall_ns())
    scene.step_wall_clock(step_s)

    assert silent_feed_finding(scene) is not Diagnosis.HALF_OPEN


def test_pings_after_a_step_count_again(scene: Scene) -> None:
    """They carry stamps of the new time."""
    scene.step_wall_clock(HOUR_S)
    scene.pass_s(25)

    assert silent_feed_finding(scene) is Diagnosis.FEED_SILENT


# --- shards ---


def test_shard_whose_loop_stands_is_recycled_once(scene: Scene) -> None:
    """Its incident lasts until another process beats."""
    scene.second.is_beating = False
    scene.pass_s(12)

    assert [shard for shard, _ in scene.hands.recycled] == [1]
    assert ("shard_wedged", False) in scene.diary.names()
    assert "wedged 1" in scene.sentinel.conditions

    scene.second.pid = scene.second.board_pid = 43
    scene.second.is_beating = True
    scene.pass_s(1)
    assert "wedged 1" not in scene.sentinel.conditions
    assert scene.diary.names().count(("shard_wedged", True)) == 1


def test_wedged_again_is_recycled_again(scene: Scene) -> None:
    """Once for each process."""
    for pid in (43, 44):
        scene.second.is_beating = False
        scene.pass_s(12)
        scene.second.pid = scene.second.board_pid = pid
        scene.second.is_beating = True
        scene.pass_s(2)

    assert [shard for shard, _ in scene.hands.recycled] == [1, 1]


def test_shard_that_is_not_running_is_nobodys_to_recycle(scene: Scene) -> None:
    """Its keeper starts it again anyway."""
    scene.second.pid = None
    scene.second.is_beating = False
    scene.pass_s(60)

    assert scene.hands.recycled == []


def test_shard_that_never_makes_its_board_is_recycled(scene: Scene) -> None:
    """After the time that a start may take."""
    scene.second.pid, scene.second.has_board = 43, False
    scene.pass_s(29)
    assert scene.hands.recycled == []
    scene.pass_s(3)

    assert [shard for shard, _ in scene.hands.recycled] == [1]


def test_shard_that_crashes_again_and_again_is_an_incident(scene: Scene) -> None:
    """Until it does not."""
    scene.second.crash_looping = True
    scene.pass_s(3)
    scene.second.crash_looping = False
    scene.pass_s(1)

    assert scene.diary.names() == [("shard_wedged", False), ("shard_wedged", True)]
    assert "was restarted 6 times" in scene.diary.entries[0][3]


def test_shard_that_does_not_keep_up_is_an_incident(scene: Scene) -> None:
    """Its loop turns, and is late again and again; nobody restarts it for that."""
    scene.pass_s(30)
    scene.first.header = RUNNING._replace(loop_lag_max_us=2_100_000)
    scene.pass_s(4)
    assert scene.diary.names() == []
    scene.pass_s(1)
    assert scene.diary.names() == [("consumer_lag", False)]
    assert "its loop is 2.1 s late" in scene.diary.entries[0][3]

    scene.first.header = RUNNING
    scene.pass_s(10)
    assert scene.diary.names() == [("consumer_lag", False), ("consumer_lag", True)]
    assert scene.hands.recycled == []


def test_bytes_that_wait_for_a_shard_are_its_lag(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel knows of what the loop's own clock does not."""
    scene.first.feed = scene.first.feed._replace(local_port=4_711)
    scene.pass_s(30)
    monkeypatch.setattr(scene.sentinel._queues, "stuck_bytes", {4_711: 90_000}.get)
    scene.pass_s(5)

    assert scene.diary.names() == [("consumer_lag", False)]
    assert "90000 bytes wait" in scene.diary.entries[0][3]


@pytest.mark.parametrize(("waiting", "lags"), [(90_000, False), (400_000, True)])
def test_busy_shard_lags_when_more_waits_than_it_reads_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, waiting: int, lags: bool
) -> None:
    """At two megabytes a second there is always something that waits, and it is read in no time."""
    scene.first.feed = scene.first.feed._replace(local_port=4_711)
    monkeypatch.setattr(scene.sentinel._queues, "stuck_bytes", {4_711: waiting}.get)
    for second in range(60):
        scene.first.header = RUNNING._replace(bytes_received=2_000_000 * second)
        scene.pass_s(1)

    assert scene.diary.names() == ([("consumer_lag", False)] if lags else [])


def test_bytes_that_wait_for_a_loop_that_stands_are_no_lag(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has one incident, and that is the watchdog's."""
    scene.first.feed = scene.first.feed._replace(local_port=4_711)
    scene.pass_s(30)
    monkeypatch.setattr(scene.sentinel._queues, "stuck_bytes", {4_711: 90_000}.get)
    scene.first.is_beating = False
    scene.pass_s(12)

    assert {name for name, _ in scene.diary.names()} == {"shard_wedged"}


def test_shard_that_starts_may_be_late(scene: Scene) -> None:
    """Hundreds of books at once are no everyday load."""
    scene.first.pid = scene.first.board_pid = 43
    scene.first.header = RUNNING._replace(loop_lag_max_us=2_100_000)
    scene.pass_s(30)
    assert scene.diary.names() == []

    scene.pass_s(6)
    assert scene.diary.names() == [("consumer_lag", False)]


# --- the database ---


def test_database_that_is_away_is_one_incident(scene: Scene) -> None:
    """However many shards notice."""
    scene.first.header = scene.second.header = HeaderValues(ShardState.RUNNING, database_up=0)
    scene.pass_s(5)
    assert scene.diary.names() == [("database_stalled", False)]
    assert "0, 1" in scene.diary.entries[0][3]

    scene.first.header = scene.second.header = RUNNING
    scene.pass_s(1)
    assert scene.diary.names()[-1] == ("database_stalled", True)


@pytest.mark.parametrize("place", ["oldest_buffered_recv_ns", "oldest_spooled_recv_ns"])
def test_database_that_takes_nothing_is_an_incident_before_it_refuses(scene: Scene, place: str) -> None:
    """Rows that wait say so sooner than the deadline of the write that they wait for, on the disk, too."""
    received_ns = scene.clock.wall_ns()
    waiting = RUNNING._replace(**{place: received_ns})  # type: ignore[arg-type]
    scene.first.header = waiting
    scene.pass_s(5)
    assert scene.diary.names() == []
    scene.pass_s(1)
    assert scene.diary.names() == [("database_stalled", False)]
    scene.first.header = RUNNING._replace(oldest_buffered_recv_ns=scene.clock.wall_ns())
    scene.pass_s(1)

    assert scene.diary.names()[-1] == ("database_stalled", True)


def test_rows_in_a_loop_that_stands_do_not_wait_for_the_database(scene: Scene) -> None:
    """The shard is wedged, and the database has nothing to do with it."""
    received_ns = scene.clock.wall_ns()
    scene.first.header = RUNNING._replace(oldest_buffered_recv_ns=received_ns)
    scene.pass_s(1)
    scene.first.is_beating = False
    scene.mute(BTC, ETH)
    scene.pass_s(30)

    assert scene.diary.names() == [("shard_wedged", False)]


@pytest.mark.parametrize("state", [ShardState.STARTING, ShardState.STOPPED])
def test_shard_that_does_not_work_yet_says_nothing_of_the_database(scene: Scene, state: ShardState) -> None:
    """A new board is all zeros, until it beats."""
    scene.second.header = HeaderValues(state, database_up=0)
    scene.second.has_beaten = state is ShardState.STOPPED
    scene.pass_s(2)

    assert scene.sentinel.conditions == {}


def wait_for_database(shard: Shard) -> None:
    """The shard has ended, and its next process finds no database."""
    shard.pid = shard.board_pid = shard.board_pid + 1
    shard.header = HeaderValues(ShardState.STARTING, database_up=0)
    shard.feed = shard.feed._replace(state=FeedState.CONNECTING)
    shard.messages = {}


def test_shard_that_waits_for_the_database_is_not_repaired(scene: Scene) -> None:
    """One incident says why it is silent, no order is given, and nobody kills it however long it waits."""
    scene.mute(BTC, ETH)
    wait_for_database(scene.first)
    scene.pass_s(600)

    assert (scene.hands.orders, scene.hands.recycled) == ([], [])
    assert scene.diary.names() == [("database_stalled", False)]
    judged = scene.sentinel.judgements()[BTC]
    assert (judged.state, judged.diagnosis) == (StreamState.STALE, Diagnosis.DATABASE_STALLED)


def test_service_that_waits_for_the_database_does_not_blame_the_exchange(scene: Scene) -> None:
    """Nothing speaks anywhere, and it is not the exchange's doing."""
    scene.mute(BTC, ETH, XRP)
    wait_for_database(scene.first)
    wait_for_database(scene.second)
    scene.pass_s(600)

    assert scene.diary.names() == [("database_stalled", False)]
    assert (scene.hands.orders, scene.hands.recycled) == ([], [])


def test_shard_gets_its_time_when_the_database_is_back(scene: Scene) -> None:
    """Its streams have to be subscribed first; they are no incident of their own meanwhile."""
    scene.mute(BTC, ETH)
    wait_for_database(scene.first)
    scene.pass_s(600)
    scene.first.header = RUNNING
    scene.pass_s(20)
    scene.first.feed = scene.first.feed._replace(state=FeedState.LIVE)
    scene.speaking |= {BTC, ETH}
    scene.pass_s(20)

    assert scene.diary.names() == [("database_stalled", False), ("database_stalled", True)]
    assert scene.sentinel.judgements()[BTC].state is StreamState.LIVE


def test_shard_under_repair_that_comes_to_wait_for_the_database_is_left_alone(scene: Scene) -> None:
    """The ladder of an earlier incident climbs on, and does not restart what waits."""
    scene.pass_s(60)
    scene.mute(BTC, ETH)
    scene.pass_s(7)
    scene.find(STALE, BTC, ETH)
    scene.pass_s(2)
    wait_for_database(scene.first)
    scene.hands.orders.clear()
    scene.pass_s(600)

    assert (scene.hands.orders, scene.hands.recycled) == ([], [])


def test_ladder_does_not_restart_a_shard_whose_rows_wait_for_the_database(scene: Scene) -> None:
    """They would be lost with its memory; all other steps are taken."""
    scene.pass_s(60)
    scene.first.header = HeaderValues(ShardState.RUNNING, database_up=0)
    scene.mute(BTC, ETH)
    scene.pass_s(7)
    scene.find(STALE, BTC, ETH)
    scene.pass_s(120)

    assert scene.hands.recycled == []
    assert any(isinstance(order, ReplaceFeed) for _, order in scene.hands.orders)


def test_former_board_says_nothing_of_the_database(scene: Scene) -> None:
    """It was away when the process ended; that is all."""
    scene.second.header = HeaderValues(ShardState.RUNNING, database_up=0)
    scene.second.pid = 43
    scene.pass_s(2)

    assert scene.sentinel.conditions == {}
