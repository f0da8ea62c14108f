"""Diagnosis: facts in, one of seven names out."""

from dataclasses import replace
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.board.layout import Diagnosis
from ingest.supervisor.diagnosis import DiagnosisLimits, SilenceFacts, diagnose, examine

HEALTHY = SilenceFacts(
    shard_runs=True,
    heartbeat_age_s=0.2,
    loop_lag_s=0.01,
    stream_receives=False,
    rows_are_stuck=False,
    waiting_bytes=0,
    feed_receives=False,
    other_feeds_receive=True,
    ping_age_s=5.0,
    exchange_answers=True,
    exchange_moves=True,
)
"""A feed without data in a shard, a machine and an exchange that are otherwise well."""


@pytest.mark.parametrize(
    ("changes", "diagnosis"),
    [
        ({"shard_runs": False}, Diagnosis.SHARD_WEDGED),
        ({"heartbeat_age_s": 6.0}, Diagnosis.SHARD_WEDGED),
        ({"stream_receives": True, "rows_are_stuck": True}, Diagnosis.DATABASE_STALLED),
        ({"shard_waits_for_database": True}, Diagnosis.DATABASE_STALLED),
        ({"shard_waits_for_database": True, "exchange_answers": False}, Diagnosis.DATABASE_STALLED),
        ({"waiting_bytes": 1}, Diagnosis.CONSUMER_LAG),
        ({"loop_lag_s": 1.5}, Diagnosis.CONSUMER_LAG),
        ({"feed_receives": True}, Diagnosis.STREAM_SILENT),
        ({"other_feeds_receive": False, "exchange_moves": False}, Diagnosis.EXCHANGE_DOWN),
        ({"other_feeds_receive": None, "exchange_moves": False}, Diagnosis.EXCHANGE_DOWN),
        ({"other_feeds_receive": False, "exchange_answers": False}, Diagnosis.EXCHANGE_DOWN),
        ({}, Diagnosis.FEED_SILENT),
        ({"other_feeds_receive": False}, Diagnosis.FEED_SILENT),
        ({"ping_age_s": 100.0, "probe_answered": True}, Diagnosis.FEED_SILENT),
        ({"ping_age_s": 31.0}, Diagnosis.HALF_OPEN),
        ({"probe_answered": False}, Diagnosis.HALF_OPEN),
        ({"ping_age_s": None, "probe_answered": False}, Diagnosis.HALF_OPEN),
    ],
)
def test_each_name_is_reached_by_its_facts(
    changes: dict[str, bool | float | None], diagnosis: Diagnosis
) -> None:
    """One fact that differs from a plainly silent feed changes the name as the table says."""
    assert diagnose(replace(HEALTHY, **changes)) is diagnosis  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "diagnosis"),
    [
        (SilenceFacts(shard_runs=False), Diagnosis.SHARD_WEDGED),
        (SilenceFacts(heartbeat_age_s=60.0), Diagnosis.SHARD_WEDGED),
        (SilenceFacts(stream_receives=True, rows_are_stuck=True), Diagnosis.DATABASE_STALLED),
        (SilenceFacts(shard_waits_for_database=True), Diagnosis.DATABASE_STALLED),
        (SilenceFacts(waiting_bytes=9), Diagnosis.CONSUMER_LAG),
        (SilenceFacts(feed_receives=True), Diagnosis.STREAM_SILENT),
        (SilenceFacts(exchange_moves=False), Diagnosis.EXCHANGE_DOWN),
        (SilenceFacts(ping_age_s=1.0), Diagnosis.FEED_SILENT),
        (SilenceFacts(ping_age_s=60.0, waiting_bytes=0), Diagnosis.HALF_OPEN),
    ],
)
def test_each_name_is_reached_by_its_own_facts_alone(facts: SilenceFacts, diagnosis: Diagnosis) -> None:
    """What is not known does not keep a row from holding whose own facts are there."""
    assert diagnose(facts) is diagnosis


@pytest.mark.parametrize(
    ("facts", "missing"),
    [
        (SilenceFacts(), "the shard's heartbeat, the kernel's receive queue"),
        (replace(HEALTHY, ping_age_s=None), "nobody can say anything of the exchange's pings"),
        (replace(HEALTHY, ping_age_s=60.0, waiting_bytes=None), "of the kernel's receive queue"),
        (replace(HEALTHY, probe_answered=False, waiting_bytes=None), "of the kernel's receive queue"),
    ],
)
def test_missing_facts_lead_to_unknown(facts: SilenceFacts, missing: str) -> None:
    """Without what tells two causes apart neither is named, and the evidence says what is missing."""
    finding = examine(facts)

    assert (finding.diagnosis, finding.name) == (Diagnosis.NONE, "unknown")
    assert missing in finding.evidence


@pytest.mark.parametrize("heartbeat_age_s", [0.0, 5.0])
def test_beating_shard_is_not_wedged(heartbeat_age_s: float) -> None:
    """Up to its limit an old heartbeat is only an old heartbeat."""
    assert diagnose(replace(HEALTHY, heartbeat_age_s=heartbeat_age_s)) is Diagnosis.FEED_SILENT


def test_nearer_cause_hides_the_farther_one() -> None:
    """With everything wrong at once the shard is named: nothing it says can be believed."""
    everything = replace(
        HEALTHY,
        heartbeat_age_s=60.0,
        stream_receives=True,
        rows_are_stuck=True,
        waiting_bytes=4_096,
        exchange_moves=False,
        other_feeds_receive=False,
    )

    assert diagnose(everything) is Diagnosis.SHARD_WEDGED
    assert diagnose(replace(everything, heartbeat_age_s=0.0)) is Diagnosis.DATABASE_STALLED
    assert diagnose(replace(everything, heartbeat_age_s=0.0, rows_are_stuck=False)) is Diagnosis.CONSUMER_LAG


def test_unanswered_probe_overrules_an_older_ping() -> None:
    """A connection that pinged ten seconds ago and does not answer now is dead now."""
    assert diagnose(replace(HEALTHY, ping_age_s=10.0, probe_answered=False)) is Diagnosis.HALF_OPEN


def test_limits_are_data() -> None:
    """What counts as late is configured."""
    limits = DiagnosisLimits(heartbeat_s=1.0, loop_lag_s=0.1, ping_s=3.0)

    assert diagnose(replace(HEALTHY, heartbeat_age_s=2.0), limits) is Diagnosis.SHARD_WEDGED
    assert diagnose(replace(HEALTHY, loop_lag_s=0.2), limits) is Diagnosis.CONSUMER_LAG
    assert diagnose(HEALTHY, limits) is Diagnosis.HALF_OPEN


def test_finding_has_the_name_that_tables_have() -> None:
    """The name is the design's word, in lower case."""
    assert examine(HEALTHY).name == "feed_silent"


FACTS = st.fixed_dictionaries(
    {
        name: st.none() | (st.booleans() if "bool" in str(hint) else st.integers(0, 100))
        for name, hint in get_type_hints(SilenceFacts).items()
    }
).map(lambda facts: SilenceFacts(**facts))  # type: ignore[arg-type]


@given(facts=FACTS)
def test_every_combination_of_facts_has_evidence(facts: SilenceFacts) -> None:
    """Whatever is known or not, an answer is given with its reason, and unknown says what is missing."""
    finding = examine(facts)

    assert finding.evidence
    assert not finding.evidence.endswith("anything of ")


@given(facts=FACTS)
def test_shard_is_blamed_exactly_when_it_does_not_turn(facts: SilenceFacts) -> None:
    """The name that makes a shard be killed rests on its process and heartbeat alone."""
    stands = facts.shard_runs is False or (facts.heartbeat_age_s or 0.0) > 5.0

    assert (diagnose(facts) is Diagnosis.SHARD_WEDGED) is stands
