"""A kind that falls silent on a feed as a whole: found by a few of its streams, repaired for all."""

from ingest.board.layout import Diagnosis, StreamState
from ingest.supervisor.watch import Finding, OrderResubscribe
from tests.unit.supervisor.stage import NOTHING_KNOWN, Stage, a_key, opened, orders

TRADES = [a_key(f"S{number}USDT") for number in range(6)]
BOOKS = [a_key(f"S{number}USDT", "book_ticker") for number in range(6)]
BUSY, SLOW = BOOKS[:3], BOOKS[3:]
ELSEWHERE = a_key("XRPUSDT", "book_ticker")
PLACES = {**dict.fromkeys((*TRADES, *BOOKS), (0, 0)), ELSEWHERE: (0, 1)}
SLOW_S = 60.0
WHY = "3 streams of its kind on the connection are silent, and no other of them speaks"


def a_stage() -> Stage:
    """One feed of six symbols; three of the book tickers speak rarely by nature."""
    return Stage(PLACES, thresholds_s=dict.fromkeys(SLOW, SLOW_S))


def test_slow_streams_of_a_mute_kind_are_repaired_with_the_busy_ones() -> None:
    """None has to wait for its own threshold, and there is one incident."""
    stage = a_stage()
    stage.mute(*BOOKS)
    stage.pass_s(6)
    stage.find_stale(*BUSY)
    actions = stage.pass_s()

    assert orders(actions) == [OrderResubscribe(0, tuple(sorted(BOOKS)))]
    (repair,) = opened(actions)
    assert repair.affected == frozenset(BOOKS)
    assert {stage.stream(key).evidence for key in SLOW} == {WHY}


def test_streams_that_were_repaired_one_by_one_count() -> None:
    """The first to be found are well again when the third is."""
    stage = a_stage()
    stage.mute(*BOOKS)
    stage.pass_s(6)
    stage.find_stale(*BUSY[:2])
    stage.pass_s()
    for key in BUSY[:2]:
        stage.change(key, epoch=(1, 1))
    stage.speaking |= set(BUSY[:2])
    stage.pass_s()
    stage.find_stale(BUSY[2])
    actions = stage.pass_s()

    assert orders(actions) == [OrderResubscribe(0, tuple(sorted((BUSY[2], *SLOW))))]


def test_two_streams_are_not_a_kind() -> None:
    """Chance might have done that."""
    stage = a_stage()
    stage.mute(*BOOKS)
    stage.pass_s(6)
    stage.find_stale(*BUSY[:2])
    actions = stage.pass_s()

    assert orders(actions) == [OrderResubscribe(0, tuple(sorted(BUSY[:2])))]


def test_kind_of_which_one_speaks_is_not_mute() -> None:
    """Each stream is judged for itself then."""
    stage = a_stage()
    stage.mute(*BUSY, *SLOW[1:])
    stage.pass_s(6)
    stage.find_stale(*BUSY)
    actions = stage.pass_s()

    assert orders(actions) == [OrderResubscribe(0, tuple(sorted(BUSY)))]
    assert stage.states(SLOW) == {StreamState.LIVE}


def test_halted_stream_is_left_alone() -> None:
    """Its silence has a reason."""
    stage = a_stage()
    stage.mute(*BOOKS)
    stage.change(SLOW[0], is_halted=True)
    stage.pass_s(6)
    stage.find_stale(*BUSY)
    actions = stage.pass_s()

    assert orders(actions) == [OrderResubscribe(0, tuple(sorted((*BUSY, *SLOW[1:]))))]


def test_streams_of_a_feed_that_is_away_wait_for_their_own_time() -> None:
    """That they are silent says nothing of them."""
    stage = a_stage()
    stage.take_away(*TRADES, *BOOKS)
    stage.pass_s(12)

    assert stage.states(BUSY) == {StreamState.STALE}
    assert stage.states(SLOW) == {StreamState.RECOVERING}


def test_streams_of_another_process_wait_for_their_own_time() -> None:
    """What was stale before, by another subscription, says nothing of this one."""
    stage = a_stage()
    stage.finding = Finding(Diagnosis.SHARD_WEDGED, "its loop stands")
    stage.take_away(*TRADES, *BOOKS)
    stage.pass_s(12)
    assert stage.states(BUSY) == {StreamState.STALE}
    stage.change(*BOOKS, *TRADES, epoch=(2, 0), is_up=True)
    stage.speaking |= set(TRADES)
    stage.pass_s(3)
    assert StreamState.STALE not in stage.states(SLOW)

    stage.finding = NOTHING_KNOWN
    assert opened(stage.pass_s()) == []
    assert StreamState.STALE not in stage.states(BOOKS)


def test_feed_that_is_silent_as_a_whole_is_no_matter_of_kinds() -> None:
    """The connection is replaced for those that are stale; the others wait for their own time."""
    stage = a_stage()
    stage.mute(*TRADES, *BOOKS)
    stage.pass_s(6)
    stage.find_stale(*BUSY)
    stage.pass_s()

    assert StreamState.STALE not in stage.states(SLOW)


def test_kind_on_another_feed_is_not_touched() -> None:
    """What a connection lacks says nothing of another."""
    stage = a_stage()
    stage.mute(*BOOKS, ELSEWHERE)
    stage.pass_s(6)
    stage.find_stale(*BUSY)
    stage.pass_s()

    assert stage.state(ELSEWHERE) is StreamState.SUSPECT
