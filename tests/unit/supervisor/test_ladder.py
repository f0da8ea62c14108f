"""The ladder: which step follows which, and how long each may take."""

import pytest

from ingest.board.layout import Diagnosis
from ingest.supervisor.ladder import LadderLimits, Record, Repair, Step
from tests.unit.supervisor.stage import a_key

BTC, ETH = a_key("BTCUSDT"), a_key("ETHUSDT")
LIMITS = LadderLimits(
    resubscribe_s=3.0, replace_feed_s=15.0, restart_shard_s=45.0, retry_s=60.0, retry_cap_s=200.0
)


def a_repair(step: Step = Step.RESUBSCRIBE, *, alerts: int = 0, step_until_s: float = 100.0) -> Repair:
    return Repair(
        number=1,
        shard=0,
        feed=2,
        keys={BTC},
        diagnosis=Diagnosis.STREAM_SILENT,
        evidence="",
        opened_s=100.0,
        step=step,
        step_until_s=step_until_s,
        alerts=alerts,
    )


@pytest.mark.parametrize(
    ("step", "alerts", "is_mostly_stale", "follows"),
    [
        (Step.RESUBSCRIBE, 0, False, Step.REPLACE_FEED),
        (Step.RESUBSCRIBE, 0, True, Step.REPLACE_FEED),
        (Step.REPLACE_FEED, 0, False, Step.ALERT),
        (Step.REPLACE_FEED, 0, True, Step.RESTART_SHARD),
        (Step.REPLACE_FEED, 1, True, Step.ALERT),
        (Step.RESTART_SHARD, 0, False, Step.ALERT),
        (Step.RESTART_SHARD, 0, True, Step.ALERT),
        (Step.ALERT, 1, False, Step.REPLACE_FEED),
        (Step.ALERT, 1, True, Step.REPLACE_FEED),
    ],
)
def test_step_is_followed_as_the_table_says(
    step: Step, alerts: int, is_mostly_stale: bool, follows: Step
) -> None:
    """A shard is restarted at most once, and only when most of it is stale."""
    repair = a_repair(step, alerts=alerts)

    assert repair.next_step(shard_is_mostly_stale=is_mostly_stale) is follows


@pytest.mark.parametrize(
    ("step", "lasts_s"),
    [(Step.RESUBSCRIBE, 3.0), (Step.REPLACE_FEED, 15.0), (Step.RESTART_SHARD, 45.0), (Step.ALERT, 60.0)],
)
def test_step_has_its_own_time(step: Step, lasts_s: float) -> None:
    """A step that begins sets the deadline that its limit names, and is written down."""
    repair = a_repair()
    repair.enter(step, 107.0, LIMITS)

    assert (repair.step, repair.step_until_s) == (step, 107.0 + lasts_s)
    assert repair.story == [Record(107.0, f"step {step.name.lower()}")]


def test_alerts_come_at_growing_intervals() -> None:
    """Each wait after an alert is twice the one before, up to the cap."""
    repair, waits = a_repair(), []
    for _ in range(4):
        repair.enter(Step.ALERT, 0.0, LIMITS)
        waits.append(repair.step_until_s)
        repair.enter(Step.REPLACE_FEED, 0.0, LIMITS)

    assert waits == [60.0, 120.0, 200.0, 200.0]


def test_wait_after_an_alert_stays_finite() -> None:
    """An incident that nobody ever solves does not run out of numbers."""
    assert LIMITS.of(Step.ALERT, 1_000_000) == 200.0


def test_streams_that_join_leave_the_step_as_it_is() -> None:
    """They are part of the incident from now on, and its time does not begin anew."""
    repair = a_repair(step_until_s=103.0)
    repair.join({ETH}, 101.0)

    assert repair.keys == repair.affected == {BTC, ETH}
    assert (repair.step, repair.step_until_s) == (Step.RESUBSCRIBE, 103.0)
    assert repair.story == [Record(101.0, "streams joined: 1")]


def test_incident_remembers_the_streams_that_have_left_it() -> None:
    """What it was about is told when it is over."""
    repair = a_repair()
    repair.keys.discard(BTC)

    assert repair.affected == {BTC}


@pytest.mark.parametrize(("until_s", "then_s"), [(101.0, 165.0), (900.0, 900.0)])
def test_waiting_anew_puts_the_next_step_off_but_never_forward(until_s: float, then_s: float) -> None:
    """A step whose time ran while nobody could speak gets as much as a new feed would have."""
    repair = a_repair(step_until_s=until_s)
    repair.wait_anew(150.0, LIMITS)

    assert repair.step_until_s == then_s
