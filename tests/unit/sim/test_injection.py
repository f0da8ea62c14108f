"""Carrying out faults."""

from random import Random

import pytest

from ingest.sim.channels import RAW_MS, Channel, Hub, Outbox
from ingest.sim.faults import (
    Close,
    Drop,
    Duplicate,
    Fault,
    HalfOpen,
    Malformed,
    MuteFeed,
    MuteStream,
    Refuse,
    Reorder,
    RestFault,
)
from ingest.sim.injection import FaultRecord, Injection


class Scene:
    """Connections 1 and 2, each with the streams a@trade and b@depth."""

    def __init__(self) -> None:
        self.injection = Injection(Random(1))
        hub = Hub()
        self.trade = Channel(hub, "a@trade", "A", "trade")
        self.depth = Channel(hub, "b@depth@100ms", "B", "depth")
        self.outboxes = {number: self.connect(number) for number in (1, 2)}

    def connect(self, number: int) -> Outbox:
        outbox = Outbox(number, RAW_MS)
        self.trade.join(outbox)
        self.depth.join(outbox)
        return outbox

    def begin(self, fault: Fault) -> FaultRecord:
        record = self.injection.add(fault, 100.0)
        self.injection.advance(100.0 + fault.at_s, self.outboxes)
        return record

    def sent(self, channel: Channel, connection: int, *texts: bytes) -> list[bytes]:
        outbox = self.outboxes[connection]
        return [out for text in texts for out in self.injection.tamper(channel, outbox, text)]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_fault_waits_for_its_moment_and_ends(scene: Scene) -> None:
    """Before `at_s` and after `for_s` nothing is touched."""
    record = scene.injection.add(Drop(at_s=5, for_s=10), 100.0)
    states = []
    for now_s in (104.0, 105.0, 114.9, 115.0):
        scene.injection.advance(now_s, scene.outboxes)
        states.append((record.state, scene.injection.touches_frames))

    assert states == [("scheduled", False), ("active", True), ("active", True), ("done", False)]


def test_mute_stream_lasts_until_the_connection_is_replaced(scene: Scene) -> None:
    """The stream is silent where it was carried, other streams and new connections are not."""
    record = scene.begin(MuteStream(symbol="A", kind="trade", connection=1))
    scene.outboxes[3] = scene.connect(3)

    assert scene.sent(scene.trade, 1, b"x", b"y") == []
    assert scene.sent(scene.depth, 1, b"x") == [b"x"]
    assert scene.sent(scene.trade, 2, b"x") == [b"x"]
    assert scene.sent(scene.trade, 3, b"x") == [b"x"]
    assert (record.touched, record.connections) == (2, (1,))


def test_mute_stream_until_resubscribed(scene: Scene) -> None:
    """Subscribing again on the same connection makes it heard."""
    scene.begin(MuteStream(symbol="A", until="resubscribe"))
    scene.injection.resubscribed(1, ["a@trade"])

    assert scene.sent(scene.trade, 1, b"x") == [b"x"]
    assert scene.sent(scene.trade, 2, b"x") == []


def test_mute_stream_until_lifted_follows_to_new_connections(scene: Scene) -> None:
    """Only lifting it ends it."""
    record = scene.begin(MuteStream(symbol="A", until="lifted"))
    scene.outboxes[3] = scene.connect(3)
    assert scene.sent(scene.trade, 3, b"x") == []

    scene.injection.lift(record.fault_id, 200.0)
    assert scene.sent(scene.trade, 3, b"x") == [b"x"]
    assert (record.state, record.ended_s) == ("done", 200.0)


def test_mute_feed_silences_whole_connections(scene: Scene) -> None:
    """All streams of the chosen connection, and no other connection."""
    scene.begin(MuteFeed(connection=2))

    assert scene.sent(scene.trade, 2, b"x") == scene.sent(scene.depth, 2, b"x") == []
    assert scene.sent(scene.trade, 1, b"x") == [b"x"]


def test_drop_takes_n_frames(scene: Scene) -> None:
    """Exactly so many frames of the matching streams are lost."""
    record = scene.begin(Drop(n=2, kind="trade"))

    assert scene.sent(scene.trade, 1, b"1", b"2", b"3") == [b"3"]
    assert scene.sent(scene.depth, 1, b"1") == [b"1"]
    scene.injection.advance(101.0, scene.outboxes)
    assert (record.touched, record.state) == (2, "done")


def test_fraction_touches_about_its_share(scene: Scene) -> None:
    """A third of the frames, more or less, and the record says how many."""
    record = scene.begin(Drop(fraction=1 / 3))
    kept = scene.sent(scene.trade, 1, *[b"x"] * 3000)

    assert len(kept) + record.touched == 3000
    assert 800 < record.touched < 1200


def test_duplicate_sends_twice(scene: Scene) -> None:
    """The copy follows its original."""
    scene.begin(Duplicate(n=1))

    assert scene.sent(scene.trade, 1, b"1", b"2") == [b"1", b"1", b"2"]


def test_reorder_holds_a_frame_back(scene: Scene) -> None:
    """The frame comes after the next `by` of its own stream and connection."""
    scene.begin(Reorder(n=1, by=2))

    assert scene.sent(scene.trade, 1, b"1", b"2", b"3", b"4") == [b"2", b"3", b"1", b"4"]


def test_reorder_gives_back_what_it_holds_after_its_end(scene: Scene) -> None:
    """A frame that is held when the fault ends is not lost."""
    record = scene.begin(Reorder())
    assert scene.sent(scene.trade, 1, b"1") == []
    scene.injection.lift(record.fault_id, 101.0)

    assert scene.sent(scene.trade, 1, b"2", b"3") == [b"2", b"1", b"3"]
    assert not scene.injection.touches_frames


def test_malformed_comes_before_or_instead(scene: Scene) -> None:
    """With `replace` the frame itself is lost."""
    text = b'{"e":"trade","p":"1.0"}'
    before = scene.begin(Malformed(damage="unknown_event", n=1))
    assert scene.sent(scene.trade, 1, text) == [b'{"e":"neverHeardOf","p":"1.0"}', text]
    scene.injection.lift(before.fault_id, 101.0)

    scene.begin(Malformed(damage="truncated", replace=True))
    assert scene.sent(scene.trade, 1, text) == [text[: len(text) // 2]]


def test_connection_faults_are_ordered_with_their_connections(scene: Scene) -> None:
    """A close is over at once, a half-open one lasts; both say whom they hit."""
    scene.injection.add(Close(connection=2), 100.0)
    scene.injection.add(HalfOpen(symbol="A"), 100.0)
    scene.injection.add(Close(symbol="NOSUCH"), 100.0)
    orders = scene.injection.advance(100.0, scene.outboxes)

    assert [order.connections for order in orders] == [(2,), (1, 2), ()]
    assert [(r.state, r.touched) for r in scene.injection.records.values()] == [
        ("done", 1),
        ("active", 2),
        ("done", 0),
    ]


def test_refuse_counts_down(scene: Scene) -> None:
    """So many connections are refused and then no more."""
    scene.begin(Refuse(status=503, n=2))

    assert [scene.injection.refusal(101.0) is not None for _ in range(3)] == [True, True, False]


def test_rest_fault_meets_its_path_and_symbol(scene: Scene) -> None:
    """Other calls and other symbols are answered as usual."""
    scene.begin(RestFault(path="depth", symbol="A"))

    assert scene.injection.rest("depth", "A", 101.0) is not None
    assert scene.injection.rest("depth", "B", 101.0) is None
    assert scene.injection.rest("trades", "A", 101.0) is None


def test_lifting_an_unknown_fault_is_an_error(scene: Scene) -> None:
    """There is nothing to lift."""
    with pytest.raises(KeyError):
        scene.injection.lift(99, 0.0)


def test_faults_combine(scene: Scene) -> None:
    """What one fault took away no other one sees."""
    scene.begin(Drop(n=1))
    second = scene.begin(Duplicate(n=1))

    assert scene.sent(scene.trade, 1, b"1", b"2") == [b"2", b"2"]
    assert second.touched == 1


def test_stale_snapshots_are_ordered_from_the_server(scene: Scene) -> None:
    """The server keeps the books of that moment."""
    record = scene.injection.add(RestFault(path="depth", status=200, stale=True), 100.0)

    orders = scene.injection.advance(100.0, scene.outboxes)
    assert [(order.record, order.connections) for order in orders] == [(record, ())]


def test_record_reports_itself(scene: Scene) -> None:
    """Id, fault, state and counts as JSON values; lifting twice keeps the first end."""
    record = scene.begin(MuteFeed(connection=1))
    scene.injection.lift(record.fault_id, 150.0)
    scene.injection.lift(record.fault_id, 160.0)

    assert record.as_dict() == {
        "id": 1,
        "fault": {"action": "mute_feed", "connection": 1},
        "state": "done",
        "touched": 0,
        "connections": [1],
        "began_s": 100.0,
        "ended_s": 150.0,
    }


def test_rest_fault_counts_down_and_leaves_other_faults_alone(scene: Scene) -> None:
    """After `n` requests it is over; faults of other kinds are passed by."""
    scene.begin(Drop())
    record = scene.begin(RestFault(n=1))

    assert scene.injection.rest("ping", "", 101.0) is record
    assert scene.injection.rest("ping", "", 102.0) is None
