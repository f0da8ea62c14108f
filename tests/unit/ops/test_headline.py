"""`ingest.ops.headline`: one line of plain words, with the cause where there is one."""

from dataclasses import replace

import pytest

from ingest.board.layout import HeaderValues, ShardState, StreamState
from ingest.ops.headline import Headline, headline, told_incidents
from ingest.ops.health import Answer, freshness_report, readiness
from ingest.supervisor.freshness import ServiceFacts, ShardFacts, judge_all
from tests.unit.board.builders import (
    BTC_TRADE,
    RUNNING,
    a_board,
    a_shard,
    a_stream,
    never_seen,
    some_facts,
)


def said_of(facts: ServiceFacts) -> Headline:
    return headline(readiness(facts), freshness_report(judge_all(facts)), facts)


def test_healthy_service_is_said_to_be_well() -> None:
    """With the number of its streams."""
    assert said_of(some_facts()) == ("good", "All is well: 1 streams, and all that should speak are fresh.")


def test_stale_stream_is_counted() -> None:
    """Some data are not fresh; the others are."""
    facts = some_facts(a_shard(a_board({BTC_TRADE: a_stream(state=StreamState.STALE)})))

    assert said_of(facts) == ("warn", "Some data are not fresh: 1 of 1 streams.")


WITHOUT_DATABASE = RUNNING._replace(database_up=0)


@pytest.mark.parametrize(
    ("shards", "cause"),
    [
        ([a_shard(a_board(header=WITHOUT_DATABASE))], "the database cannot be reached"),
        ([a_shard(a_board(), running=False)], "shard 0 is not running"),
        (
            [a_shard(a_board(), running=False, crash_looping=True, restarts=6), a_shard(a_board(shard=1))],
            "shard 0 is crashing again and again",
        ),
        (
            [a_shard(a_board(), running=False), a_shard(a_board(shard=1, header=WITHOUT_DATABASE))],
            "2 of 2 shards do not work",
        ),
        ([a_shard(None, restarts=1), a_shard(a_board(shard=1))], "shard 0 is starting"),
    ],
)
def test_service_that_is_not_ready_names_the_cause(shards: list[ShardFacts], cause: str) -> None:
    """The one cause, or how many shards do not work; whether the data suffer is another question."""
    facts = some_facts(*shards)
    ready, (stale, fresh) = readiness(facts), (Answer(ok, "", (), {"streams": 1}) for ok in (False, True))
    lasting = f"The service is not ready, {cause}: do not rely on the data."
    so_far = f"The service is not ready, {cause}; so far the data are fresh."

    assert headline(ready, stale, facts) == ("bad", lasting)
    assert headline(ready, fresh, facts) == ("warn", so_far)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (ServiceFacts(now_wall_ns=0, now_monotonic_ns=0, shards=()), "the database has not been checked yet"),
        (
            ServiceFacts(now_wall_ns=0, now_monotonic_ns=0, shards=(), schema_checked=True),
            "the plan is being made",
        ),
        (some_facts(a_shard(None)), "shard 0 is starting"),
        (some_facts(a_shard(None), ShardFacts(shard=1, running=True)), "2 of 2 shards are starting"),
        (
            some_facts(a_shard(a_board(header=HeaderValues(ShardState.STARTING, database_up=1)))),
            "shard 0 is starting",
        ),
    ],
)
def test_start_is_not_called_a_failure(facts: ServiceFacts, why: str) -> None:
    """Until a shard was started for a second time, what is not there yet is on its way."""
    assert said_of(facts) == ("wait", f"The service is starting: {why}.")


def test_service_without_rows_yet_is_starting() -> None:
    """Its shards work; nothing has come."""
    facts = some_facts(a_shard(a_board({BTC_TRADE: never_seen(threshold_s=9_999.0)})))

    assert said_of(facts) == ("wait", "The service is starting: 1 streams, no rows yet.")


def test_service_without_streams_has_nothing_to_rely_on() -> None:
    """Ready, and nobody watches anything."""
    assert said_of(some_facts(a_shard(a_board({})))).level == "bad"


def test_table_that_nobody_writes_is_the_cause() -> None:
    """Readers are refused, though shards and data are well; that is no start."""
    facts = replace(some_facts(), table_age_s=17.0)
    why = "the freshness table was last written 17 s ago"

    assert said_of(facts) == ("warn", f"The service is not ready, {why}; so far the data are fresh.")


def test_open_incidents_are_told_though_the_data_are_fresh() -> None:
    """All is not well then; those of one kind are counted."""
    facts = some_facts()
    ready, fresh = readiness(facts), freshness_report(judge_all(facts))
    told = "3 incidents are open (2 x consumer_lag, exchange_down)"

    assert headline(ready, fresh, facts, ["consumer_lag", "exchange_down", "consumer_lag"]) == (
        "warn",
        f"The data are fresh: 1 streams; {told}.",
    )
    assert told_incidents(["half_open"]) == "1 incident is open (half_open)"
