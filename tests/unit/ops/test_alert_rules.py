"""`ingest.ops.alert_rules`: from facts to active alerts."""

from dataclasses import replace

import pytest

from ingest.ops.alert_facts import AlertFacts, OpenIncident, RestBan, ShardRecord
from ingest.ops.alert_rules import (
    DEFAULT_RULES,
    Alert,
    AlertThresholds,
    RuleName,
    Severity,
    at_once,
    evaluate,
    make_rules,
)
from tests.unit.ops.alert_builders import stale, the_rule

NOW = AlertFacts(now_s=10_000.0)


def found(facts: AlertFacts, *standing: str) -> list[Alert]:
    return list(evaluate(DEFAULT_RULES, facts, frozenset(standing)))


def keys(facts: AlertFacts, *standing: str) -> list[str]:
    return [alert.key for alert in found(facts, *standing)]


def test_nothing_is_active_when_nothing_is_known() -> None:
    """Absent facts are no trouble."""
    assert found(NOW) == []


def test_every_rule_is_reachable() -> None:
    """Facts with every trouble activate every rule: none is forgotten in the table."""
    facts = replace(
        NOW,
        streams={"live": 7, "stale": 3},
        stale=(stale(since_s=9_000),),
        reconnects={"feed 1": (9_990.0,) * 5},
        shards=(ShardRecord(shard=0, restarts_s=(9_999.0,) * 3, quarantined_since_s=9_999.0),),
        incidents=(OpenIncident(where="exchange", diagnosis="exchange_down", since_s=9_900.0),),
        database_stalled_since_s=9_960.0,
        rest_ban=RestBan(since_s=9_999.0, until_s=10_120.0, status=418),
        clock_offset_s=-2.0,
        table_written_s=9_980.0,
    )

    assert {alert.rule for alert in found(facts)} == set(RuleName)


def test_stream_is_stale_beyond_its_repair_deadline() -> None:
    """A stream that has been stale for less than the deadline is still being repaired."""
    facts = replace(NOW, stale=(stale("spot:A:trade", since_s=9_941), stale("spot:B:trade", since_s=9_940)))

    (alert,) = found(facts)

    assert (alert.where, alert.value, alert.since_s, alert.note) == ("spot:B:trade", 60, 9_940, "half_open")
    assert alert.tried == ("resubscribe",)


def test_exhausted_ladder_does_not_wait_for_the_deadline() -> None:
    """When every step was taken, waiting has no point."""
    assert keys(replace(NOW, stale=(stale(since_s=9_999, exhausted=True),))) == [
        "stream_stale/spot:BTCUSDT:trade"
    ]


@pytest.mark.parametrize(
    ("streams", "severity"),
    [
        ({"live": 96, "stale": 4}, None),
        ({"live": 95, "stale": 3, "recovering": 2}, Severity.WARNING),
        ({"live": 75, "stale": 25}, Severity.CRITICAL),
        ({"live": 8, "stale": 2}, None),
        ({"live": 0, "stale": 3, "halted": 97}, Severity.CRITICAL),
        ({}, None),
    ],
)
def test_share_of_stale_streams(streams: dict[str, int], severity: Severity | None) -> None:
    """Halted streams are not watched, one or two stale streams are no share, a quarter is critical."""
    alerts = found(replace(NOW, streams=streams))

    assert [alert.severity for alert in alerts] == ([severity] if severity else [])


def test_only_reconnects_within_the_window_count() -> None:
    """Five in ten minutes, for each feed by itself."""
    often = (9_000.0, 9_400.0, 9_500.0, 9_600.0, 9_700.0, 9_800.0)
    facts = replace(NOW, reconnects={"feed 1": often, "feed 2": often[:4], "feed 3": ()})

    (alert,) = found(facts)

    assert (alert.where, alert.value, alert.since_s) == ("feed 1", 5, 9_400.0)


def test_standing_alert_is_measured_against_the_lower_limit() -> None:
    """A value that wavers round its limit does not end and begin an alert each time."""
    offset = replace(NOW, clock_offset_s=0.3)

    assert keys(offset) == []
    assert keys(offset, "clock_offset") == ["clock_offset"]
    assert keys(replace(NOW, clock_offset_s=0.2), "clock_offset") == []


def test_clock_offset_counts_in_both_directions() -> None:
    """Ahead or behind, and critical from five seconds on."""
    (ahead,) = found(replace(NOW, clock_offset_s=0.6))
    (behind,) = found(replace(NOW, clock_offset_s=-5.0))

    assert (ahead.value, ahead.note, ahead.severity) == (0.6, "ahead of", Severity.WARNING)
    assert (behind.value, behind.note, behind.severity) == (5.0, "behind", Severity.CRITICAL)


def test_ban_that_has_ended_is_none() -> None:
    """Only the time that is left counts."""
    over = RestBan(since_s=9_000.0, until_s=10_000.0, status=429)

    assert keys(replace(NOW, rest_ban=over)) == []
    assert keys(replace(NOW, rest_ban=replace(over, until_s=10_002.0))) == ["rest_banned"]


def test_shard_that_was_given_up_is_in_quarantine_for_good() -> None:
    """The reason is the note; what was tried comes from the shard's incident."""
    facts = replace(
        NOW,
        shards=(ShardRecord(shard=3, gave_up="exit code 2: wrong configuration"), ShardRecord(shard=4)),
        incidents=(
            OpenIncident(where="shard 3", diagnosis="shard_wedged", since_s=9_000, tried=("restart_shard",)),
        ),
    )

    (alert,) = found(facts)

    assert (alert.where, alert.note, alert.tried) == (
        "shard 3",
        "exit code 2: wrong configuration",
        ("restart_shard",),
    )


def test_reconnects_tell_the_incident_of_their_feed() -> None:
    """Diagnosis and steps of the feed's open incident are in the alert."""
    incident = OpenIncident(where="feed 1", diagnosis="half_open", since_s=9_000, tried=("replace_feed",))
    facts = replace(NOW, reconnects={"feed 1": (9_999.0,) * 5}, incidents=(incident,))

    (alert,) = found(facts)

    assert (alert.note, alert.tried) == ("half_open", ("replace_feed",))


def test_disabled_rules_are_left_out_and_thresholds_arrive() -> None:
    """Configuration decides which rules there are, and their limits."""
    rules = make_rules(
        AlertThresholds(clock_offset_s=3.0, recovered_after_s=7.0, disabled=(RuleName.REST_BANNED,))
    )

    by_name = {rule.name: rule for rule in rules}
    assert RuleName.REST_BANNED not in by_name
    assert by_name[RuleName.CLOCK_OFFSET].limit == 3.0
    assert {rule.recovered_after_s for rule in rules} == {7.0}


def test_no_rule_clears_above_its_limit() -> None:
    """Otherwise a standing alert would end while a new one would begin."""
    assert all(rule.clear <= rule.limit for rule in DEFAULT_RULES)
    assert all(rule.clear <= rule.limit for rule in make_rules(AlertThresholds(table_age_s=2.0)))


def test_one_look_waits_for_nothing() -> None:
    """Without history no rule can be held."""
    assert the_rule(RuleName.CLOCK_OFFSET).hold_s > 0
    assert all(rule.hold_s == 0 for rule in at_once(DEFAULT_RULES))
