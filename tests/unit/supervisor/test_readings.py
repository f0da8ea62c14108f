"""What the judges are given of the boards: believed while the shard beats, and each stream once."""

from dataclasses import replace

import pytest

from ingest.board.layout import BoardSnapshot, FeedState, FeedValues, Heartbeat, StreamSlot, StreamValues
from ingest.events import StreamKey
from ingest.supervisor.freshness import ServiceFacts, ShardFacts
from ingest.supervisor.readings import Sightings, feeds_by_number, line_readings, readings
from ingest.supervisor.watched import Reading
from ingest.supervisor.witness import Sight
from tests.unit.board.builders import (
    BTC_DEPTH,
    BTC_TRADE,
    ETH_TRADE,
    NOW_MONOTONIC_NS,
    S,
    a_board,
    some_facts,
)

PID = 42
"""Of the boards that the builders make."""


def a_slot(
    key: StreamKey = BTC_TRADE, *, messages: int = 9, duplicates: int = 2, feed: int = 0, last_id: int = 77
) -> StreamSlot:
    values = StreamValues(feed=feed, messages=messages, duplicates=duplicates, last_id=last_id, reconnects=3)
    return StreamSlot(key, values)


def board_of(*slots: StreamSlot, shard: int = 0, feed: FeedState = FeedState.LIVE) -> BoardSnapshot:
    return replace(a_board(shard=shard), streams=slots, feeds=(FeedValues(feed=0, state=feed),))


def shard_of(board: BoardSnapshot | None, *planned: StreamKey, **more: object) -> ShardFacts:
    facts = ShardFacts(shard=board.shard if board else 0, running=True, pid=PID, board=board, planned=planned)
    return replace(facts, **more)  # type: ignore[arg-type]


def facts_of(*shards: ShardFacts) -> ServiceFacts:
    return some_facts(*shards)


# --- readings ---


def test_reading_tells_what_the_board_does() -> None:
    """Messages without duplicates, and whose count it is: of which process and which connection."""
    found = readings(facts_of(shard_of(board_of(a_slot()), BTC_TRADE)), set())

    assert found == {BTC_TRADE: Reading(shard=0, feed=0, news=7, epoch=(PID, 3), is_up=True)}


def test_halted_stream_is_marked() -> None:
    """Of all streams those that the exchange does not trade."""
    shard = shard_of(board_of(a_slot(), a_slot(BTC_DEPTH)), BTC_TRADE, BTC_DEPTH)
    found = readings(facts_of(shard), {BTC_TRADE})

    assert {key: reading.is_halted for key, reading in found.items()} == {BTC_TRADE: True, BTC_DEPTH: False}


@pytest.mark.parametrize("state", set(FeedState) - {FeedState.LIVE})
def test_stream_on_a_feed_that_is_not_live_is_not_up(state: FeedState) -> None:
    """Neither is one whose feed is on no board."""
    shard = shard_of(board_of(a_slot(), a_slot(BTC_DEPTH, feed=7), feed=state), BTC_TRADE, BTC_DEPTH)

    assert [reading.is_up for reading in readings(facts_of(shard), set()).values()] == [False, False]


@pytest.mark.parametrize("beat_age_s", [5.5, -100.0])
def test_board_that_does_not_beat_is_not_believed(beat_age_s: float) -> None:
    """Its streams are not up, though their counts stay what they were."""
    board = replace(
        board_of(a_slot()), heartbeat=Heartbeat(NOW_MONOTONIC_NS - round(beat_age_s * S), wall_ns=1)
    )
    (reading,) = readings(facts_of(shard_of(board, BTC_TRADE)), set()).values()

    assert (reading.is_up, reading.news) == (False, 7)


def test_streams_of_a_process_that_is_gone_are_not_up() -> None:
    """The supervisor knows before the heartbeat is old."""
    shard = shard_of(board_of(a_slot()), BTC_TRADE, running=False, pid=None)

    assert not readings(facts_of(shard), set())[BTC_TRADE].is_up


@pytest.mark.parametrize(
    "shard",
    [shard_of(None, BTC_TRADE), shard_of(board_of(a_slot()), BTC_TRADE, pid=PID + 1)],
    ids=["no board", "a former process's board"],
)
def test_stream_without_a_board_of_its_process_has_an_empty_reading(shard: ShardFacts) -> None:
    """Nobody counts for it yet, and it is on no feed."""
    assert readings(facts_of(shard), set()) == {BTC_TRADE: Reading(0, -1, 0, (0, 0), is_up=False)}


def test_planned_stream_that_is_not_on_the_board_yet_has_an_empty_reading() -> None:
    """As after an order to adopt it."""
    found = readings(facts_of(shard_of(board_of(a_slot()), BTC_TRADE, ETH_TRADE)), {ETH_TRADE})

    assert found[ETH_TRADE] == Reading(0, -1, 0, (0, 0), is_up=False, is_halted=True)


def test_stream_that_was_given_away_is_read_from_its_new_shard_alone() -> None:
    """The former shard's slot outlives the order."""
    former = shard_of(board_of(a_slot(messages=50)))
    present = shard_of(board_of(a_slot(messages=4), shard=1), BTC_TRADE)

    for shards in ((former, present), (present, former)):
        assert readings(facts_of(*shards), set())[BTC_TRADE].news == 2


def two_lines(second: StreamSlot | None = None) -> ServiceFacts:
    """The same stream on shards 0 and 1."""
    return facts_of(
        shard_of(board_of(a_slot()), BTC_TRADE),
        shard_of(board_of(second or a_slot(), shard=1), BTC_TRADE),
    )


def test_two_lines_of_a_stream_are_read_as_one() -> None:
    """Its news are those of both, and it is another process's when one of them is; each is read by itself."""
    facts = two_lines(a_slot(messages=5, duplicates=1))
    pids = PID << 32 | PID

    assert readings(facts, set()) == {BTC_TRADE: Reading(0, 0, 11, (pids, 6), is_up=True)}
    assert [line.news for line in line_readings(facts, set())[BTC_TRADE]] == [7, 4]


def test_stream_is_up_on_whichever_line_is() -> None:
    """And is said to be where that is."""
    first, second = two_lines().shards
    facts = facts_of(replace(first, running=False), second)

    assert readings(facts, set())[BTC_TRADE][:2] == (1, 0)
    assert readings(facts, set())[BTC_TRADE].is_up


# --- sightings ---


def test_first_sight_counts_as_a_move() -> None:
    """What happened before is not known, so nothing is claimed of it."""
    shard = shard_of(board_of(a_slot()), BTC_TRADE)

    assert Sightings().take(facts_of(shard), 10.0) == {BTC_TRADE: Sight(10.0, 9, 10.0, 77)}


@pytest.mark.parametrize(("messages", "moved_s"), [(9, 10.0), (10, 15.0), (3, 15.0)])
def test_sight_remembers_when_the_count_moved(messages: int, moved_s: float) -> None:
    """Up, or down when a new process counts."""
    sightings = Sightings()
    sightings.take(facts_of(shard_of(board_of(a_slot()), BTC_TRADE)), 10.0)
    later = facts_of(shard_of(board_of(a_slot(messages=messages)), BTC_TRADE))

    assert sightings.take(later, 15.0)[BTC_TRADE][1:] == (messages, moved_s, 77)


def test_sight_has_the_newest_id_though_the_count_is_the_same() -> None:
    """As after a restart, when another process has counted as far: that is no move of a silent stream."""
    sightings = Sightings()
    sightings.take(facts_of(shard_of(board_of(a_slot()), BTC_TRADE)), 10.0)
    later = facts_of(shard_of(board_of(a_slot(last_id=99)), BTC_TRADE))

    assert sightings.take(later, 15.0)[BTC_TRADE] == Sight(15.0, 9, 10.0, 99)


def test_shard_without_a_board_shows_nothing() -> None:
    """Neither do streams that it has not taken yet."""
    assert Sightings().take(facts_of(shard_of(None, BTC_TRADE)), 1.0) == {}


def test_silent_stream_that_was_given_away_does_not_seem_to_move() -> None:
    """Two boards have it, with two counts: the one of the shard that shall carry it is looked at."""
    facts = facts_of(
        shard_of(board_of(a_slot(messages=4)), BTC_TRADE), shard_of(board_of(a_slot(messages=50), shard=1))
    )
    sightings = Sightings()
    sightings.take(facts, 10.0)

    assert sightings.take(facts, 20.0) == {BTC_TRADE: Sight(10.0, 4, 10.0, 77)}


def test_two_lines_are_seen_as_one() -> None:
    """It moves when one of them does, and has the newer id."""
    sightings = Sightings()
    sightings.take(two_lines(a_slot(messages=50, last_id=80)), 10.0)
    assert sightings.take(two_lines(a_slot(messages=50, last_id=80)), 11.0)[BTC_TRADE] == Sight(
        10.0, 59, 10.0, 80
    )

    assert sightings.take(two_lines(a_slot(messages=51, last_id=81)), 12.0)[BTC_TRADE] == Sight(
        12.0, 60, 12.0, 81
    )


def test_stream_that_is_planned_no_more_is_forgotten() -> None:
    """When it comes back it is new; a board that cannot be read for a moment changes nothing."""
    sightings = Sightings()
    planned, dropped = shard_of(board_of(a_slot()), BTC_TRADE), shard_of(board_of(a_slot()))
    sightings.take(facts_of(planned), 10.0)
    sightings.take(facts_of(shard_of(None, BTC_TRADE)), 11.0)
    assert sightings.take(facts_of(planned), 12.0)[BTC_TRADE].moved_s == 10.0

    sightings.take(facts_of(dropped), 13.0)
    assert sightings.take(facts_of(planned), 14.0)[BTC_TRADE].moved_s == 14.0


# --- feeds ---


def test_feeds_of_all_shards_are_found_by_number() -> None:
    """Slots without a number and shards without a board have none."""
    board = board_of(a_slot())
    first = replace(board, feeds=(FeedValues(feed=3), FeedValues(feed=-1)))
    second = replace(board, feeds=(FeedValues(feed=5, messages=1),))
    facts = facts_of(shard_of(first), shard_of(None), shard_of(second))

    assert feeds_by_number(facts) == {3: FeedValues(feed=3), 5: FeedValues(feed=5, messages=1)}
