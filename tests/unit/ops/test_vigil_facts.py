"""`ingest.ops.vigil_facts`: what a scrape gets of vigil, budgets and alerts."""

from types import SimpleNamespace
from typing import cast

from ingest.board.layout import Diagnosis
from ingest.ops.alerts import Alerts
from ingest.ops.vigil_facts import DIAGNOSES, AlertCounts, Filling, VigilFacts, vigil_facts
from ingest.supervisor.ladder import Step
from ingest.supervisor.lines import Lead, Leads
from ingest.supervisor.service import Supervisor
from ingest.supervisor.storage import StorageFacts
from ingest.supervisor.watch import Finding
from tests.unit.supervisor.stage import Stage, a_key

BTC, ETH, BNB, SOL = (a_key(f"{name}USDT") for name in ("BTC", "ETH", "BNB", "SOL"))
STATS = SimpleNamespace(delivered=1, failed_attempts=2, given_up=3, dropped=4, waiting=5)


def a_stage() -> Stage:
    """Four streams of one feed."""
    finding = Finding(Diagnosis.STREAM_SILENT, "others of its feed speak")
    return Stage(places=dict.fromkeys((BTC, ETH, BNB, SOL), (0, 0)), finding=finding)


def seen_at(
    stage: Stage | None, *, swept_s: float | None = None, now_s: float = 500.0, lines: object = None
) -> VigilFacts | None:
    """The facts of a supervisor around the stage's watch."""
    witnesses = SimpleNamespace(
        swept_s=swept_s, deficits={"BTCUSDT": 3}, exchange_answers=True, clock_offset_s=None
    )
    vigil = stage and SimpleNamespace(
        witnesses=witnesses,
        lines=lines,
        incidents=SimpleNamespace(dropped=0),
        sentinel=SimpleNamespace(watch=stage.watch, conditions={}),
    )
    supervisor = SimpleNamespace(
        vigil=vigil,
        published_s=490.0,
        banned_for_s=0.0,
        budget_used=lambda: {"weight": (80, 5_100)},
        storage=StorageFacts(full_in_s=7.0),
    )
    alerts = SimpleNamespace(
        delivery=SimpleNamespace(stats=lambda: STATS), standing=frozenset({"a", "b"}), held_back=7
    )
    return vigil_facts(cast(Supervisor, supervisor), cast(Alerts, alerts), now_s)


def test_service_that_is_not_planned_yet_knows_nothing() -> None:
    """Before there are shards there is no vigil to ask."""
    assert seen_at(None) is None


def test_incident_is_counted_with_its_steps_and_the_verdict_that_led_to_it() -> None:
    """A mute stream found stale: one verdict, one incident, one step, all by name."""
    stage = a_stage()
    stage.make_stale(BTC)
    facts = seen_at(stage)

    assert facts is not None
    assert (facts.incidents_open["stream_silent"], facts.incidents_total["stream_silent"]) == (1, 1)
    assert facts.steps_total["resubscribe"] == 1
    assert facts.verdicts_total == {"quiet": 0, "stale": 1, "unknown": 0}


def test_incident_that_is_over_stays_in_the_total() -> None:
    """Open ones go away, counters do not."""
    stage = a_stage()
    stage.make_stale(BTC)
    stage.speaking.add(BTC)
    stage.pass_s(2)
    facts = seen_at(stage)

    assert facts is not None
    assert (facts.incidents_open["stream_silent"], facts.incidents_total["stream_silent"]) == (0, 1)


def test_every_name_is_there_with_its_zero() -> None:
    """A series that appears with its first incident hides that incident from `increase`."""
    facts = seen_at(a_stage())

    assert facts is not None
    assert set(facts.incidents_open) == set(facts.incidents_total) == set(DIAGNOSES)
    assert set(facts.steps_total) == {step.name.lower() for step in Step}
    assert not any(facts.incidents_total.values())


def test_deficit_is_not_known_before_the_first_sweep() -> None:
    """Ages are measured from when it happened; what never happened has none."""
    before, after = seen_at(a_stage()), seen_at(a_stage(), swept_s=480.0)

    assert before is not None
    assert after is not None
    assert (before.sweep_age_s, before.deficits) == (None, None)
    assert (after.sweep_age_s, after.deficits, after.table_age_s) == (20.0, {"BTCUSDT": 3}, 10.0)


def test_budgets_and_alerts_are_told_as_they_are() -> None:
    """Nothing is summed or renamed on the way."""
    facts = seen_at(a_stage())

    assert facts is not None
    assert facts.budgets == {"weight": Filling(80, 5_100)}
    assert facts.alerts == AlertCounts(
        delivered=1, failed_attempts=2, given_up=3, dropped=4, waiting=5, standing=2, held_back=7
    )


def test_two_lines_are_told_of_where_there_are_two() -> None:
    """Who was first, and what was done for the other one."""
    leads = Leads({(0, 1): Lead(3, 0.5)})
    alone = seen_at(a_stage())
    both = seen_at(a_stage(), lines=SimpleNamespace(leads=leads, orders=2, gaps_closed=9, gaps_trimmed=4))

    assert alone is not None
    assert (alone.leads, alone.line_repairs, alone.line_gaps_closed) == ({}, None, None)
    assert both is not None
    assert (both.leads, both.line_repairs, both.line_gaps_closed) == ({(0, 1): Lead(3, 0.5)}, 2, 9)
    assert (alone.line_gaps_trimmed, both.line_gaps_trimmed) == (None, 4)
