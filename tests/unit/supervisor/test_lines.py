"""`ingest.supervisor.lines`: each line is the witness of the other."""

from dataclasses import replace
from itertools import pairwise

import pytest

from ingest.board.layout import StreamValues
from ingest.events import StreamKey
from ingest.shard.orders import ReplaceFeed, Resubscribe
from ingest.supervisor.freshness import ServiceFacts
from ingest.supervisor.lines import (
    Coverage,
    Leads,
    LineOrder,
    LineView,
    LineWatch,
    MissedRange,
    Span,
    covers,
    line_views,
)
from ingest.supervisor.watched import Reading
from tests.unit.board.builders import BTC_TRADE, ETH_TRADE, S, a_board, a_shard, some_facts

KLINE = StreamKey("spot", "BTCUSDT", "kline_1m")


class Stage:
    """Two lines of some streams, on shards 0 and 1; the test says which of them get a new message."""

    def __init__(self, *keys: StreamKey) -> None:
        self.watch = LineWatch()
        self.now_s = 100.0
        self.ids = {(key, shard): 0 for key in keys for shard in (0, 1)}
        self.up = {0: True, 1: True}
        self.broken = 0
        self.halted: set[StreamKey] = set()
        self.orders: list[LineOrder] = []
        self.times_s: list[float] = []
        self.pass_s(10)

    def tick(self) -> None:
        lines: dict[StreamKey, list[LineView]] = {}
        for (key, shard), last_id in self.ids.items():
            epoch = (shard, self.broken if shard else 0)
            reading = Reading(shard, 10 + shard, 0, epoch, self.up[shard], key in self.halted)
            lines.setdefault(key, []).append(LineView(reading, last_id))
        orders = self.watch.tick(self.now_s, {key: found for key, found in lines.items() if len(found) > 1})
        self.orders += orders
        self.times_s += [self.now_s] * len(orders)
        self.broken += len(orders)  # whoever is told subscribes anew

    def pass_s(self, seconds: int, *speaking: tuple[StreamKey, int]) -> None:
        """A tick a second, at each of which something happens, and these lines bring it."""
        for _ in range(seconds):
            self.now_s += 1.0
            for line in speaking:
                self.ids[line] = int(self.now_s)
            self.tick()


def test_lines_that_speak_alike_are_left_alone() -> None:
    """Or that are silent alike: then there is nothing to compare."""
    stage = Stage(BTC_TRADE)
    stage.pass_s(60, (BTC_TRADE, 0), (BTC_TRADE, 1))
    stage.pass_s(600)

    assert stage.orders == []


def test_line_that_is_always_a_little_late_is_not_behind() -> None:
    """It has what the other one had a moment ago."""
    stage = Stage(BTC_TRADE)
    for _ in range(60):
        stage.pass_s(1, (BTC_TRADE, 0))
        stage.ids[BTC_TRADE, 1] = int(stage.now_s)

    assert stage.orders == []


def test_line_that_is_silent_while_the_other_speaks_is_asked_for_again() -> None:
    """First its streams alone, then its feed, ever more rarely."""
    stage = Stage(BTC_TRADE, ETH_TRADE)
    stage.pass_s(1_200, (BTC_TRADE, 0), (ETH_TRADE, 0), (ETH_TRADE, 1))
    first, *others = stage.orders
    waits_s = [later - earlier for earlier, later in pairwise(stage.times_s)]

    assert first == LineOrder(1, Resubscribe((BTC_TRADE,)), 1)
    assert set(others) == {LineOrder(1, ReplaceFeed(11, "line_behind", (BTC_TRADE,)), 1)}
    assert waits_s == sorted(waits_s)
    assert waits_s[-1] == 300.0


def test_one_message_is_enough_to_be_behind() -> None:
    """The other one owes it, however long nothing comes after it; when it has come, all is well."""
    stage = Stage(BTC_TRADE)
    stage.pass_s(1, (BTC_TRADE, 0))
    stage.pass_s(9)
    assert stage.orders == []
    stage.pass_s(1)
    assert len(stage.orders) == 1
    stage.ids[BTC_TRADE, 1] = stage.ids[BTC_TRADE, 0]
    stage.pass_s(600)

    assert len(stage.orders) == 1


def test_line_does_not_owe_what_came_before_it_listened() -> None:
    """It was away then, which is a gap; a stream that is rare from then on is not repaired for it."""
    stage = Stage(BTC_TRADE)
    stage.up[1] = False
    stage.pass_s(60, (BTC_TRADE, 0))
    stage.up[1] = True
    stage.pass_s(600)

    assert stage.orders == []


@pytest.mark.parametrize("why", ["away", "halted"])
def test_line_that_cannot_speak_owes_nothing(why: str) -> None:
    """A feed that is away dials by itself."""
    stage = Stage(BTC_TRADE)
    if why == "away":
        stage.up[1] = False
    else:
        stage.halted.add(BTC_TRADE)
    stage.pass_s(60, (BTC_TRADE, 0))

    assert stage.orders == []


def test_stream_with_one_line_is_nobodys_witness() -> None:
    """Nor is one that is planned no more."""
    stage = Stage(BTC_TRADE)
    stage.pass_s(5, (BTC_TRADE, 0))
    del stage.ids[BTC_TRADE, 1]
    stage.pass_s(60, (BTC_TRADE, 0))

    assert stage.orders == []


def test_lines_are_seen_on_the_boards() -> None:
    """Only those of streams that have two, each as far as its own board says."""
    one, other = StreamValues(last_id=7), StreamValues(last_id=9)
    facts = some_facts(
        a_shard(a_board({BTC_TRADE: one, ETH_TRADE: one})), a_shard(a_board({BTC_TRADE: other}, shard=1))
    )
    views = line_views(facts, {BTC_TRADE})

    assert list(views) == [BTC_TRADE]
    assert [(view.reading.shard, view.last_id) for view in views[BTC_TRADE]] == [(0, 7), (1, 9)]
    assert all(view.reading.is_halted for view in views[BTC_TRADE])


# --- gaps ---


def a_range(first: int | None, last: int | None, key: StreamKey = BTC_TRADE) -> MissedRange:
    return MissedRange(1, key, first, last, 50_000_000, 60_000_000)


@pytest.mark.parametrize(
    ("span", "covered"),
    [(Span(10, 20), True), (Span(5, 30), True), (Span(11, 30), False), (Span(5, 19), False)],
)
def test_gap_is_covered_by_a_line_that_missed_none_of_it(span: Span, covered: bool) -> None:
    """And has committed all of it."""
    assert covers({BTC_TRADE: [span]}, a_range(10, 20)) is covered


def test_gap_is_not_covered_by_two_halves() -> None:
    """Nor by the line of another stream."""
    assert not covers({BTC_TRADE: [Span(5, 15), Span(15, 30)]}, a_range(10, 20))
    assert not covers({ETH_TRADE: [Span(1, 99)]}, a_range(10, 20))


def test_candle_is_covered_when_the_next_one_is_stored() -> None:
    """Before that it may be stored open."""
    assert not covers({KLINE: [Span(0, 20)]}, a_range(10, 20, KLINE))
    assert covers({KLINE: [Span(0, 21)]}, a_range(10, 20, KLINE))


def test_gap_without_ids_is_bounded_by_the_times_around_it() -> None:
    """In milliseconds, like the ids of such kinds; without both times nothing is known."""
    assert covers({BTC_TRADE: [Span(50_000, 60_000)]}, a_range(None, None))
    assert not covers({BTC_TRADE: [Span(50_001, 60_000)]}, a_range(None, None))
    assert not covers({BTC_TRADE: [Span(0, 99_999)]}, a_range(None, None)._replace(start_us=None))


def shown(since_id: int, committed_id: int, *, pid: int = 42, **more: int) -> ServiceFacts:
    """A service of one shard with such a board."""
    values = StreamValues(unbroken_since_id=since_id, committed_id=committed_id)._replace(**more)  # type: ignore[arg-type]
    board = a_board({BTC_TRADE: values})
    board = replace(board, identity=board.identity._replace(pid=pid))
    return some_facts(a_shard(board, pid=pid))


def test_what_was_committed_is_taken_from_the_look_before() -> None:
    """And what is unbroken from this one, so that no gap can lie between the two words."""
    coverage = Coverage()
    assert coverage.look(shown(5, 10)) == {}
    assert coverage.look(shown(5, 20)) == {BTC_TRADE: [Span(5, 10)]}
    assert coverage.look(shown(25, 30)) == {BTC_TRADE: [Span(25, 20)]}
    assert coverage.look(shown(-1, 30)) == {}


def stretches(coverage: Coverage, facts: ServiceFacts) -> list[Span]:
    """What is known to be stored, after another look."""
    return coverage.stretches(BTC_TRADE, coverage.look(facts))


def test_what_was_unbroken_before_a_gap_is_remembered() -> None:
    """To its end when that is committed; a stretch between two gaps is kept beside the newest one."""
    coverage = Coverage()
    coverage.look(shown(1, 4))
    coverage.look(shown(1, 5))
    gone_on = {"former_since_id": 1, "former_until_id": 7}
    assert stretches(coverage, shown(13, 15, **gone_on)) == [Span(13, 5), Span(1, 4)]
    assert stretches(coverage, shown(13, 20, **gone_on)) == [Span(13, 15), Span(1, 7)]
    broken_again = {"former_since_id": 13, "former_until_id": 21}
    coverage.look(shown(30, 40, **broken_again))
    assert stretches(coverage, shown(30, 40, **broken_again)) == [Span(30, 40), Span(1, 7), Span(13, 21)]


def test_words_of_a_former_stretch_are_believed_when_they_are_seen_again() -> None:
    """Its beginning and its end may be of different moments."""
    coverage = Coverage()
    coverage.look(shown(30, 40, former_since_id=1, former_until_id=7))
    torn = shown(50, 60, former_since_id=1, former_until_id=45)
    whole = shown(50, 60, former_since_id=30, former_until_id=45)

    assert stretches(coverage, torn) == [Span(50, 40)]
    assert stretches(coverage, whole) == [Span(50, 60)]
    assert stretches(coverage, whole) == [Span(50, 60), Span(30, 45)]


def test_what_a_process_had_committed_outlives_it() -> None:
    """Its successor begins anew."""
    coverage = Coverage()
    coverage.look(shown(5, 10))
    coverage.look(shown(5, 20))

    assert stretches(coverage, shown(30, 40, pid=43)) == [Span(5, 10)]
    assert stretches(coverage, some_facts()) == [Span(5, 10)]


def test_only_so_many_stretches_are_remembered() -> None:
    """The newest."""
    coverage = Coverage()
    for since in range(0, 1_000, 10):
        for _ in range(2):
            coverage.look(shown(since, since + 8, former_since_id=since - 10, former_until_id=since - 2))

    found = coverage.stretches(BTC_TRADE, {})
    assert len(found) == 32
    assert found[-1] == Span(980, 988)


def test_new_process_begins_anew() -> None:
    """What its predecessor had committed says nothing of it."""
    coverage = Coverage()
    coverage.look(shown(5, 10))

    assert coverage.look(shown(5, 20, pid=43)) == {}


def test_board_of_a_former_process_covers_nothing() -> None:
    """Nobody goes on from there."""
    coverage = Coverage()
    (shard,) = shown(5, 10).shards
    former = some_facts(replace(shard, pid=43))
    coverage.look(former)

    assert coverage.look(former) == {}


# --- leads ---


def both(first: StreamValues, second: StreamValues) -> ServiceFacts:
    boards = [a_board({BTC_TRADE: values}, shard=shard) for shard, values in enumerate((first, second))]
    return some_facts(*(a_shard(board) for board in boards))


def test_line_that_had_the_same_message_earlier_was_first() -> None:
    """Each message counts once, and only when both have it."""
    leads = Leads()
    one, other = StreamValues(last_id=7, last_recv_ns=3 * S), StreamValues(last_id=7, last_recv_ns=5 * S)
    for _ in range(2):
        leads.look(both(one, other))
    leads.look(both(one._replace(last_id=8), other))
    leads.look(both(one._replace(last_id=9), other._replace(last_id=9, last_recv_ns=2 * S)))

    found = {pair: (lead.times, lead.seconds) for pair, lead in leads.by_pair.items()}
    assert found == {(0, 1): (1, 2.0), (1, 0): (1, 1.0)}
