"""From boards to freshness rows: what is believed, and what is overruled."""

from dataclasses import replace

import pytest

from ingest.board.layout import BoardSnapshot, Diagnosis, HeaderValues, Heartbeat, ShardState, StreamState
from ingest.supervisor.freshness import (
    Judgement,
    StreamFreshness,
    heartbeat_age_s,
    judge,
    judge_all,
)
from tests.unit.board.builders import (
    BTC_DEPTH,
    BTC_TRADE,
    ETH_TRADE,
    NOW_MONOTONIC_NS,
    NOW_WALL_NS,
    RUNNING,
    STARTED_WALL_NS,
    S,
    a_board,
    a_shard,
    a_stream,
    ago_ns,
    ago_us,
    judgements_of,
    never_seen,
    some_facts,
)

DATABASE_AWAY = HeaderValues(ShardState.RUNNING, database_up=0)


def judged(board: BoardSnapshot, **more: object) -> list[StreamFreshness]:
    return judge(
        board,
        now_wall_ns=NOW_WALL_NS,
        now_monotonic_ns=NOW_MONOTONIC_NS,
        judgements=judgements_of(board),
        **more,  # type: ignore[arg-type]
    )


def only(board: BoardSnapshot, **more: object) -> StreamFreshness:
    (row,) = judged(board, **more)
    return row


def verdict(row: StreamFreshness) -> tuple[str, str]:
    return row.state, row.diagnosis


def test_row_of_a_live_stream_tells_its_committed_age() -> None:
    """Age is that of the newest committed event, although a newer one was received."""
    row = only(a_board({BTC_TRADE: a_stream(age_s=3.25, received_s=0.5, reconnects=2)}, shard=7))

    assert verdict(row) == ("live", "")
    assert (row.shard, row.feed, row.age_s, row.threshold_s, row.reconnects) == (7, 0, 3.25, 60.0, 2)
    assert row.last_event_us == row.last_commit_us == ago_us(3.25)
    assert (row.last_recv_us, row.updated_us) == (ago_us(0.5), ago_us(0))


def test_stream_that_was_never_seen_has_no_age() -> None:
    """Nothing is known but how long it has been waited for."""
    row = only(a_board({BTC_TRADE: never_seen(feed=-1)}))

    assert (row.state, row.age_s, row.last_event_us, row.last_recv_us, row.last_commit_us, row.feed) == (
        ("starting",) + (None,) * 5
    )
    assert row.waiting_s == 600


def test_state_and_diagnosis_of_a_living_shard_are_believed() -> None:
    """A shard that turns and commits is the best judge of its streams."""
    stream = a_stream(state=StreamState.RECOVERING, diagnosis=Diagnosis.HALF_OPEN)

    assert verdict(only(a_board({BTC_TRADE: stream}))) == ("recovering", "half_open")


@pytest.mark.parametrize("state", StreamState)
def test_every_stream_of_a_wedged_shard_is_stale(state: StreamState) -> None:
    """When the heartbeat stands, nothing that the shard says of any stream is believed."""
    streams = {BTC_TRADE: a_stream(state=state), BTC_DEPTH: a_stream(state=state)}
    rows = judged(a_board(streams, beat_age_s=5.5))

    assert [verdict(row) for row in rows] == [("stale", "shard_wedged")] * 2


def test_heartbeat_within_the_limit_is_believed() -> None:
    """A limit that was set higher is kept."""
    assert only(a_board(beat_age_s=5.5), heartbeat_limit_s=6).state == "live"


def test_streams_of_a_gone_process_are_stale_at_once() -> None:
    """The supervisor knows that the process is gone before the heartbeat is old."""
    assert verdict(only(a_board(), process_gone=True)) == ("stale", "shard_wedged")


def test_streams_of_a_shard_that_said_goodbye_are_stale() -> None:
    """A stopped shard's last beat is not life."""
    assert only(a_board(header=HeaderValues(ShardState.STOPPED, database_up=1))).state == "stale"


def test_received_rows_kept_from_an_absent_database_are_database_stalled() -> None:
    """Rows come in, the database is away, and the newest committed one is past the threshold."""
    stream = a_stream(age_s=70, received_s=1)

    assert verdict(only(a_board({BTC_TRADE: stream}, header=DATABASE_AWAY))) == ("stale", "database_stalled")


def test_rows_that_wait_longer_than_the_threshold_are_database_stalled() -> None:
    """A database that answers and does not commit is no better than one that is away."""
    header = RUNNING._replace(oldest_buffered_recv_ns=ago_ns(65))

    assert verdict(only(a_board({BTC_TRADE: a_stream(age_s=70, received_s=1)}, header=header))) == (
        "stale",
        "database_stalled",
    )


def test_rare_stream_that_just_spoke_is_not_database_stalled() -> None:
    """Between receiving and committing, a stream that spoke after a long silence is still live."""
    header = RUNNING._replace(oldest_buffered_recv_ns=ago_ns(0.3))

    assert only(a_board({BTC_TRADE: a_stream(age_s=900, received_s=0.3)}, header=header)).state == "live"


def test_short_absence_of_the_database_is_not_a_stall() -> None:
    """Up to its threshold a stream keeps its state while the database is away."""
    assert only(a_board({BTC_TRADE: a_stream(age_s=30)}, header=DATABASE_AWAY)).state == "live"


def test_stream_that_never_committed_is_measured_from_the_shards_start() -> None:
    """A shard that starts while the database is away does not cry at its first message."""
    stream = never_seen(last_event_us=ago_us(1))
    young = a_board({BTC_TRADE: stream}, header=DATABASE_AWAY, started_wall_ns=ago_ns(50))
    old = a_board({BTC_TRADE: stream}, header=DATABASE_AWAY, started_wall_ns=ago_ns(70))

    assert only(young).state == "starting"
    assert verdict(only(old)) == ("stale", "database_stalled")


def test_event_from_the_future_ages_from_its_commit() -> None:
    """A wrong time of the exchange cannot keep a stream young for ever."""
    stream = a_stream(age_s=40, committed_event_us=ago_us(-86_400))

    row = only(a_board({BTC_TRADE: stream}))
    assert (row.age_s, row.last_event_us) == (40, ago_us(40))


def test_age_is_told_without_a_commit_of_this_process() -> None:
    """What the database said of the newest row when the shard started counts until there is a newer one."""
    stream = never_seen()._replace(committed_event_us=ago_us(900))

    assert only(a_board({BTC_TRADE: stream})).age_s == 900


def test_age_is_never_negative() -> None:
    """Clocks that differ by a little give zero, not less."""
    assert only(a_board({BTC_TRADE: a_stream(age_s=-0.2)})).age_s == 0


def test_open_gaps_come_from_the_ledger() -> None:
    """Each stream is given its own number of open gaps, none if the ledger has none."""
    rows = judged(a_board({BTC_TRADE: a_stream(), ETH_TRADE: a_stream()}), open_gaps={ETH_TRADE: 3})

    assert [row.open_gaps for row in rows] == [0, 3]


@pytest.mark.parametrize(
    ("beat", "age_s"),
    [
        (Heartbeat(NOW_MONOTONIC_NS - 3 * S), 3.0),
        (Heartbeat(NOW_MONOTONIC_NS + S // 100), 0.0),
        (Heartbeat(NOW_MONOTONIC_NS + 900 * S), float("inf")),
        (Heartbeat(0), 600.0),
    ],
)
def test_heartbeat_age(beat: Heartbeat, age_s: float) -> None:
    """Its age is that of the newest beat; of an earlier boot, infinite; before the first, since the start."""
    board = replace(a_board(), heartbeat=beat)

    assert heartbeat_age_s(board, now_wall_ns=NOW_WALL_NS, now_monotonic_ns=NOW_MONOTONIC_NS) == age_s


def test_rows_of_all_shards_are_judged_each_by_its_own_process() -> None:
    """One dead shard does not make its neighbour's streams stale."""
    dead = a_shard(a_board({ETH_TRADE: a_stream()}, shard=1), running=False)
    rows = judge_all(some_facts(a_shard(a_board()), dead, open_gaps={ETH_TRADE: 1}))

    assert [(row.shard, row.state, row.open_gaps) for row in rows] == [(0, "live", 0), (1, "stale", 1)]


@pytest.mark.parametrize(
    ("running", "expected"), [(True, ("starting", "")), (False, ("stale", "shard_wedged"))]
)
def test_planned_streams_of_a_shard_without_a_board_are_not_forgotten(
    running: bool, expected: tuple[str, str]
) -> None:
    """A shard that never got as far as its board is spoken for by its plan."""
    shard = a_shard(None, running=running, planned=(BTC_TRADE,), started_wall_ns=STARTED_WALL_NS)
    (row,) = judge_all(some_facts(shard))

    assert verdict(row) == expected
    assert (row.key, row.age_s, row.waiting_s) == ("spot:BTCUSDT:trade", None, 600)


def test_board_of_a_former_process_lends_its_ages_but_not_its_states() -> None:
    """Until a restarted shard has its own board, the former one says how old the planned rows are."""
    shard = a_shard(a_board(), pid=43, planned=(BTC_TRADE, ETH_TRADE))
    former, unknown = judge_all(some_facts(shard))

    assert (former.key, former.age_s, *verdict(former)) == ("spot:BTCUSDT:trade", 1, "stale", "shard_wedged")
    assert (unknown.key, unknown.age_s, *verdict(unknown)) == ("spot:ETHUSDT:trade", None, "starting", "")


def test_board_of_the_running_process_is_believed() -> None:
    """The pid on the board is that of the process."""
    assert [row.state for row in judge_all(some_facts(a_shard(a_board(), pid=42)))] == ["live"]


@pytest.mark.parametrize("running", [True, False])
def test_stream_that_was_given_away_has_one_row_by_its_new_shard(running: bool) -> None:
    """Its slot on the former board outlives the order, and so does the board of a process that is gone."""
    former = a_shard(a_board(), running=running, planned=())
    present = a_shard(a_board(shard=1), planned=(BTC_TRADE,))

    assert [(row.key, row.shard) for row in judge_all(some_facts(former, present))] == [
        ("spot:BTCUSDT:trade", 1)
    ]


def test_stream_that_is_to_be_adopted_is_spoken_for_by_the_plan() -> None:
    """From the order on it is somebody's, before the shard has taken it."""
    shard = a_shard(a_board(), planned=(BTC_TRADE, ETH_TRADE))
    rows = judge_all(some_facts(shard))

    assert [(row.key, row.feed) for row in rows] == [("spot:BTCUSDT:trade", 0), ("spot:ETHUSDT:trade", None)]


def test_stream_that_is_on_no_board_is_what_the_watch_says() -> None:
    """One that was to be adopted and never was is not starting for ever."""
    judgement = Judgement(StreamState.STALE, Diagnosis.STREAM_SILENT, 30.0, None, 2)
    facts = replace(some_facts(a_shard(None, planned=(BTC_TRADE,))), judgements={BTC_TRADE: judgement})
    (row,) = judge_all(facts)

    assert (*verdict(row), row.threshold_s, row.trades_behind) == ("stale", "stream_silent", 30.0, 2)


def test_stream_with_two_lines_is_as_fresh_as_the_better_one() -> None:
    """One row, of the line that works; of two that do, the one that is ahead, and the first when alike."""
    old, new, alike = a_stream(age_s=20.0), a_stream(age_s=1.0), a_stream(age_s=0.5)
    wedged = a_board({BTC_TRADE: new}, beat_age_s=60.0)

    def shown(*boards: BoardSnapshot) -> list[tuple[int, str]]:
        rows = judge_all(some_facts(*(a_shard(board) for board in boards)))
        return [(row.shard, row.diagnosis) for row in rows]

    assert shown(wedged, a_board({BTC_TRADE: old}, shard=1)) == [(1, "")]
    assert shown(a_board({BTC_TRADE: old}), replace(wedged, identity=a_board(shard=1).identity)) == [(0, "")]
    assert shown(a_board({BTC_TRADE: old}), a_board({BTC_TRADE: new}, shard=1)) == [(1, "")]
    assert shown(a_board({BTC_TRADE: new}), a_board({BTC_TRADE: alike}, shard=1)) == [(0, "")]


def test_service_that_was_stopped_says_so_of_every_stream() -> None:
    """Whatever its shards' boards say, and however they ended; ages stay what they are."""
    wedged = a_shard(a_board({ETH_TRADE: a_stream()}, shard=1, beat_age_s=60), running=False)
    facts = replace(some_facts(a_shard(a_board({BTC_TRADE: a_stream(age_s=3.0)})), wedged), is_stopped=True)

    rows = judge_all(facts)

    assert [verdict(row) for row in rows] == [("stale", "service_stopped")] * 2
    assert rows[0].age_s == 3.0
