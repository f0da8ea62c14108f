"""Alive, ready, fresh: each question gets its own answer, with reasons."""

from dataclasses import replace
from typing import cast

import pytest

from ingest.board.layout import HeaderValues, ShardState, StreamState, StreamValues
from ingest.events import StreamKey
from ingest.ops.health import (
    DEFAULT_LIMIT_S,
    DOUBT_S,
    MAX_REASONS,
    TABLE_OLD_S,
    Answer,
    freshness_report,
    liveness,
    readiness,
)
from ingest.supervisor.freshness import ShardFacts, StreamFreshness, judge_all
from tests.unit.board.builders import (
    BTC_DEPTH,
    BTC_TRADE,
    ETH_TRADE,
    a_board,
    a_shard,
    a_stream,
    never_seen,
    some_facts,
)


def rows_of(streams: dict[StreamKey, StreamValues]) -> list[StreamFreshness]:
    return judge_all(some_facts(a_shard(a_board(streams))))


def report_on(stream: StreamValues) -> Answer:
    return freshness_report(rows_of({BTC_TRADE: stream}))


def in_body(answer: Answer, *path: str) -> object:
    at: object = answer.body
    for name in path:
        at = cast(dict[str, object], at)[name]
    return at


def test_supervisor_whose_loop_turns_is_alive() -> None:
    """A recent tick is life."""
    answer = liveness(tick_age_s=0.4)

    assert (answer.ok, answer.body) == (True, {"status": "alive", "tick_age_seconds": 0.4, "reasons": []})


def test_supervisor_whose_loop_stands_is_not_alive() -> None:
    """A loop that stood for longer than the limit is told with both numbers."""
    assert liveness(tick_age_s=12).reasons == ("the supervisor's loop has stood for 12.0 s, limit 10 s",)


def test_service_with_schema_and_working_shards_is_ready() -> None:
    """Schema checked, every shard up and able to commit."""
    answer = readiness(some_facts(a_shard(a_board(shard=0)), a_shard(a_board(shard=1))))

    assert (answer.ok, answer.status) == (True, "ready")
    assert (answer.body["shards"], answer.body["shards_ready"]) == (2, 2)


@pytest.mark.parametrize(
    ("shard", "reason"),
    [
        (a_shard(None), "shard 0 has no board yet"),
        (a_shard(a_board(), pid=43), "shard 0 has no board yet"),
        (a_shard(a_board(), running=False), "shard 0 is not running"),
        (a_shard(a_board(), running=False, crash_looping=True), "shard 0 is crashing again and again"),
        (
            a_shard(None, running=False, gave_up="exit code 2: wrong configuration or use"),
            "shard 0 will not be started again: exit code 2: wrong configuration or use",
        ),
        (a_shard(a_board(beat_age_s=7)), "shard 0 does not beat: its loop has stood for 7.0 s"),
        (a_shard(a_board(header=HeaderValues(ShardState.DRAINING, database_up=1))), "shard 0 is draining"),
        (
            a_shard(a_board(header=HeaderValues(ShardState.STARTING, database_up=1))),
            "shard 0 is starting",
        ),
        (a_shard(a_board(header=HeaderValues(ShardState.STARTING))), "shard 0 waits for the database"),
        (a_shard(a_board(header=HeaderValues(ShardState.RUNNING))), "shard 0 cannot reach the database"),
    ],
)
def test_service_with_a_shard_that_cannot_work_is_not_ready(shard: ShardFacts, reason: str) -> None:
    """The first thing that keeps a shard from its work is named."""
    answer = readiness(some_facts(shard))

    assert (answer.ok, answer.reasons, answer.body["shards_ready"]) == (False, (reason,), 0)


def test_service_that_cannot_tell_how_old_the_data_are_is_not_ready() -> None:
    """Readers are refused once nobody writes the freshness table, however fresh the data may be."""
    facts = some_facts()

    assert readiness(replace(facts, table_age_s=TABLE_OLD_S)).ok
    assert readiness(replace(facts, table_age_s=17.4)).reasons == (
        "the freshness table was last written 17 s ago",
    )


def test_service_with_an_unchecked_schema_is_not_ready() -> None:
    """Shards may run already; without the check their rows may go nowhere."""
    assert readiness(some_facts(schema_checked=False)).reasons == (
        "the database's schema has not been checked",
    )


def test_service_without_shards_is_not_ready() -> None:
    """Nothing planned is not all well."""
    facts = some_facts()

    assert readiness(
        type(facts)(now_wall_ns=1, now_monotonic_ns=1, shards=(), schema_checked=True)
    ).reasons == ("no shard is planned",)


def test_young_rows_are_fresh() -> None:
    """Every stream within its threshold: fresh, with the greatest age overall and by market and kind."""
    answer = freshness_report(
        rows_of({BTC_TRADE: a_stream(age_s=1), ETH_TRADE: a_stream(age_s=4), BTC_DEPTH: a_stream(age_s=2)})
    )

    assert (answer.ok, answer.status, answer.reasons) == (True, "fresh", ())
    assert answer.body["last_event_age_seconds"] == 4
    assert in_body(answer, "markets", "spot", "last_event_age_seconds") == 4
    assert in_body(answer, "markets", "spot", "kinds", "depth", "last_event_age_seconds") == 2
    assert in_body(answer, "markets", "spot", "kinds", "trade", "streams") == 2
    assert answer.body["states"] == {"live": 3}


def test_stream_past_its_own_threshold_is_not_fresh() -> None:
    """The reason names the stream, its age, its limit and its state."""
    answer = freshness_report(
        rows_of({BTC_TRADE: a_stream(age_s=11, threshold_s=10), BTC_DEPTH: a_stream(age_s=11)})
    )

    assert (answer.ok, answer.status) == (False, "stale")
    assert answer.reasons == ("spot:BTCUSDT:trade: newest row is 11.0 s old, limit 10 s (live)",)
    assert in_body(answer, "markets", "spot", "kinds", "trade", "streams_not_fresh") == 1
    assert in_body(answer, "markets", "spot", "kinds", "depth", "streams_not_fresh") == 0


def test_limit_of_a_kind_replaces_the_streams_own() -> None:
    """A configured limit is used for its kind only, in both directions."""
    rows = rows_of({BTC_TRADE: a_stream(age_s=20), BTC_DEPTH: a_stream(age_s=20)})

    assert freshness_report(rows, kind_limits_s={"trade": 10}).reasons == (
        "spot:BTCUSDT:trade: newest row is 20.0 s old, limit 10 s (live)",
    )
    assert freshness_report(rows, kind_limits_s={"trade": 30}).ok


@pytest.mark.parametrize("state", [StreamState.STALE, StreamState.RECOVERING])
def test_stale_or_recovering_stream_is_not_fresh_however_young(state: StreamState) -> None:
    """What was found stale is so until data prove otherwise."""
    assert not report_on(a_stream(age_s=1, state=state)).ok


@pytest.mark.parametrize(("max_age_s", "ok"), [(5, True), (3, False)])
def test_asked_about_an_age_the_rows_age_alone_decides(max_age_s: float, ok: bool) -> None:
    """Who names an age gets an answer about that age, over all thresholds and states."""
    rows = rows_of({BTC_TRADE: a_stream(age_s=4, threshold_s=1, state=StreamState.STALE)})

    assert freshness_report(rows, max_age_s=max_age_s, kind_limits_s={"trade": 100}).ok is ok


def test_suspect_has_time_until_its_witness_was_heard() -> None:
    """Every silence that is quiet in the end begins as a doubt, which alone is no reason to wake anybody."""
    assert report_on(a_stream(age_s=60 + DOUBT_S - 1, state=StreamState.SUSPECT)).ok
    assert not report_on(a_stream(age_s=60 + DOUBT_S + 1, state=StreamState.SUSPECT)).ok


@pytest.mark.parametrize(("proven_s", "ok"), [(60 + DOUBT_S - 1, True), (60 + DOUBT_S + 1, False)])
def test_quiet_stream_whose_proof_is_sought_anew_does_not_count(proven_s: float, ok: bool) -> None:
    """The proof may be as old as the threshold and the doubt together, whatever age was asked about."""
    (row,) = rows_of({BTC_TRADE: a_stream(age_s=9_000, state=StreamState.SUSPECT)})
    row = row._replace(verified_quiet_us=row.updated_us - int(proven_s * 1e6))

    assert freshness_report([row]).ok is ok
    assert freshness_report([row], max_age_s=30).ok is ok


def test_stream_that_has_just_spoken_after_an_hour_is_not_late() -> None:
    """Its row is on its way; but who asks about an age asks about what is in the table."""
    rows = rows_of({BTC_TRADE: a_stream(age_s=3_600, received_s=0.1)})
    rows = [row._replace(state="live", diagnosis="") for row in rows]

    assert freshness_report(rows).ok
    assert not freshness_report(rows, max_age_s=60).ok


def test_limit_of_every_other_kind_leaves_the_named_ones() -> None:
    """A star stands for the kinds that have no limit of their own."""
    rows = rows_of({BTC_TRADE: a_stream(age_s=20), BTC_DEPTH: a_stream(age_s=20)})

    assert freshness_report(rows, kind_limits_s={"*": 10, "depth": 30}).reasons == (
        "spot:BTCUSDT:trade: newest row is 20.0 s old, limit 10 s (live)",
    )


@pytest.mark.parametrize("state", [StreamState.HALTED, StreamState.QUIET])
def test_halted_and_quiet_streams_do_not_count(state: StreamState) -> None:
    """A symbol that does not trade makes nothing stale, and its age is not the service's."""
    answer = freshness_report(
        rows_of({BTC_TRADE: a_stream(age_s=9_000, state=state), ETH_TRADE: a_stream(age_s=1)}), max_age_s=60
    )

    assert answer.ok
    assert (answer.body["streams"], answer.body["streams_counted"]) == (2, 1)
    assert answer.body["last_event_age_seconds"] == 1


def test_service_whose_streams_are_all_quiet_is_fresh() -> None:
    """Nothing that should speak is late; there is no age to tell."""
    answer = report_on(a_stream(age_s=9_000, state=StreamState.QUIET))

    assert (answer.ok, answer.body["last_event_age_seconds"]) == (True, None)


def test_stream_that_was_never_seen_counts_after_its_threshold() -> None:
    """Waited for longer than its threshold, an unseen stream is a stale one."""
    rows = rows_of({BTC_TRADE: never_seen(threshold_s=500), ETH_TRADE: a_stream()})

    assert freshness_report(rows).reasons == ("spot:BTCUSDT:trade: no row yet after 600.0 s (starting)",)


def test_stream_that_was_never_seen_does_not_count_before_its_threshold() -> None:
    """While others speak, an unseen stream has until its threshold."""
    assert freshness_report(rows_of({BTC_TRADE: never_seen(threshold_s=700), ETH_TRADE: a_stream()})).ok


def test_service_without_any_row_yet_is_starting_and_not_fresh() -> None:
    """Before the first row nobody should act on the data, though nothing is wrong."""
    answer = report_on(never_seen(threshold_s=700))

    assert (answer.ok, answer.status, answer.reasons) == (False, "starting", ("no stream has a row yet",))


def test_service_that_watches_nothing_is_not_fresh() -> None:
    """No streams at all is no reason for confidence."""
    assert (freshness_report([]).ok, freshness_report([]).status) == (False, "unknown")


def test_stream_whose_shard_has_not_said_a_threshold_gets_the_default() -> None:
    """A threshold of zero means not known, neither never nor always."""
    assert report_on(a_stream(age_s=DEFAULT_LIMIT_S - 1, threshold_s=0)).ok
    assert not report_on(a_stream(age_s=DEFAULT_LIMIT_S + 1, threshold_s=0)).ok


def test_reasons_are_bounded_and_begin_with_the_worst() -> None:
    """Of many late streams the oldest are named and the others counted."""
    streams = {
        StreamKey("spot", f"S{n}USDT", "trade"): a_stream(age_s=100 + n) for n in range(MAX_REASONS + 7)
    }
    answer = freshness_report(rows_of(streams))

    assert len(answer.reasons) == MAX_REASONS
    assert answer.reasons[0].startswith(f"spot:S{MAX_REASONS + 6}USDT:trade")
    assert (answer.body["reasons_left_out"], answer.body["streams_not_fresh"]) == (7, MAX_REASONS + 7)
