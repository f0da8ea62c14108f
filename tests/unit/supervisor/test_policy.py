"""Restart decisions: one end of a process in, one decision out."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.supervisor.policy import (
    ChildHistory,
    Decision,
    Done,
    GiveUp,
    Restart,
    RestartPolicy,
    decide,
    describe_exit,
)

POLICY = RestartPolicy(intensity=3, period_s=60, first_s=1, cap_s=30, good_s=60)


def after(
    exit_code: int, *, asked_to_stop: bool = False, now_s: float = 100.0, history: ChildHistory | None = None
) -> Decision:
    return decide(
        POLICY,
        exit_code=exit_code,
        asked_to_stop=asked_to_stop,
        now_s=now_s,
        history=history or ChildHistory().started(90.0),
        rng=Random(1),
    )


def crashes(
    times: int, *, every_s: float, policy: RestartPolicy = POLICY, seed: int = 1, exit_code: int = 1
) -> list[Restart]:
    """What is decided when a shard crashes again and again, `every_s` after each start."""
    rng, now_s, history, restarts = Random(seed), 0.0, ChildHistory(), []
    for _ in range(times):
        history, now_s = history.started(now_s), now_s + every_s
        decision = decide(
            policy, exit_code=exit_code, asked_to_stop=False, now_s=now_s, history=history, rng=rng
        )
        assert isinstance(decision, Restart)
        restarts.append(decision)
        history, now_s = decision.history, now_s + decision.after_s
    return restarts


@pytest.mark.parametrize("exit_code", [0, 1, 2, -15, -9])
def test_shard_that_was_asked_to_stop_is_done(exit_code: int) -> None:
    """However it ends once it was asked to, it is not started again."""
    assert isinstance(after(exit_code, asked_to_stop=True), Done)


def test_refused_location_is_given_up_at_once() -> None:
    """The exchange will not serve this place however often it is asked."""
    assert after(4) == GiveUp("exit code 4: the exchange does not serve this location")


def test_configuration_error_is_given_up_at_once() -> None:
    """A wrong configuration would come back every time, so the reason is told instead."""
    assert after(2) == GiveUp("exit code 2: wrong configuration, use or schema")


def test_further_fatal_codes_are_data() -> None:
    """The policy names the codes that repeating cannot cure, with their meaning."""
    policy = RestartPolicy(fatal_codes={70: "schema mismatch"})
    decision = decide(
        policy, exit_code=70, asked_to_stop=False, now_s=1, history=ChildHistory(), rng=Random(1)
    )

    assert decision == GiveUp("exit code 70: schema mismatch")


@pytest.mark.parametrize("exit_code", [0, 1, -9, -11])
def test_first_end_is_answered_at_once(exit_code: int) -> None:
    """A shard that leaves unasked, even politely, is started again without delay."""
    decision = after(exit_code)

    assert isinstance(decision, Restart)
    assert (decision.after_s, decision.crash_looping) == (0.0, False)
    assert decision.reason == describe_exit(exit_code)


def test_delays_grow_with_full_jitter_up_to_their_ceilings() -> None:
    """The nth restart waits between nothing and first_s doubled n-2 times."""
    patient = RestartPolicy(intensity=1_000, first_s=1, cap_s=30)
    runs = [crashes(9, every_s=0, policy=patient, seed=seed) for seed in range(300)]

    for n, ceiling_s in enumerate([0, 1, 2, 4, 8, 16, 30, 30, 30]):
        delays = [run[n].after_s for run in runs]
        assert min(delays) <= ceiling_s * 0.05
        assert ceiling_s * 0.95 <= max(delays) <= ceiling_s


def test_run_that_was_good_for_a_while_clears_the_record() -> None:
    """A shard that ran well for `good_s` is restarted at once again."""
    assert [restart.after_s for restart in crashes(5, every_s=60)] == [0.0] * 5


def test_run_that_was_almost_good_does_not_clear_the_record() -> None:
    """One second short of `good_s` the ladder is climbed further."""
    assert [restart.history.failures for restart in crashes(4, every_s=59)] == [1, 2, 3, 4]


def test_crash_loop_is_flagged_and_slowed_but_tried_on() -> None:
    """Beyond N restarts in T the delay is near the cap, and the shard is started all the same."""
    restarts = crashes(4, every_s=1)

    assert [restart.crash_looping for restart in restarts] == [False, False, False, True]
    assert 15 <= restarts[-1].after_s <= 30


def test_crash_loop_ends_with_a_good_run() -> None:
    """Restarts older than the period do not count any more."""
    looping = crashes(4, every_s=1)[-1].history
    decision = after(1, now_s=10_000, history=looping.started(9_940))

    assert isinstance(decision, Restart)
    assert (decision.crash_looping, len(decision.history.recent_s)) == (False, 1)


def test_crash_loop_does_not_end_because_it_was_slowed() -> None:
    """Near the cap there are never too many restarts in a period; the shard is no better for that."""
    restarts = crashes(30, every_s=1)

    assert all(restart.crash_looping for restart in restarts[3:])
    assert len(restarts[-1].history.recent_s) <= POLICY.intensity + 1
    assert min(restart.after_s for restart in restarts[3:]) >= POLICY.cap_s / 2


def test_end_for_want_of_the_database_is_no_crash() -> None:
    """However often: any other process would end in the same way. It is tried ever more rarely."""
    restarts = crashes(30, every_s=0, exit_code=3)

    assert not any(restart.crash_looping for restart in restarts)
    assert restarts[-1].reason == "exit code 3: the database is away"
    assert restarts[-1].history.restarts == restarts[-1].history.failures == 30
    assert max(restart.after_s for restart in restarts) > POLICY.cap_s / 2


def test_crash_loop_goes_on_over_an_end_for_want_of_the_database() -> None:
    """It neither adds to the count nor clears it."""
    looping = crashes(4, every_s=1)[-1].history
    decision = after(3, now_s=10_000, history=looping.started(9_999))

    assert isinstance(decision, Restart)
    assert decision.crash_looping


def test_all_restarts_are_counted() -> None:
    """The total survives what clears the record."""
    assert crashes(5, every_s=600)[-1].history.restarts == 5


@given(crashed_after_s=st.lists(st.floats(0, 200), max_size=60), seed=st.integers(0, 999))
def test_no_delay_is_above_the_cap_and_memory_is_bounded(crashed_after_s: list[float], seed: int) -> None:
    """Whatever happens, a shard is tried again within the cap, and old restarts are forgotten."""
    rng, now_s, history = Random(seed), 0.0, ChildHistory()
    for lasted_s in crashed_after_s:
        now_s += lasted_s
        decision = decide(POLICY, exit_code=1, asked_to_stop=False, now_s=now_s, history=history, rng=rng)
        assert isinstance(decision, Restart)
        assert 0 <= decision.after_s <= POLICY.cap_s
        assert all(now_s - at_s < POLICY.period_s for at_s in decision.history.recent_s)
        now_s += decision.after_s
        history = decision.history.started(now_s)


def test_a_thousand_crashes_do_not_overflow() -> None:
    """The exponential is bounded before it is computed."""
    calm = RestartPolicy(intensity=10_000, period_s=1, good_s=1e9)

    assert crashes(1_100, every_s=0, policy=calm)[-1].after_s <= 30


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [(0, "exit code 0"), (-9, "killed by SIGKILL"), (-11, "killed by SIGSEGV"), (-99, "killed by signal 99")],
)
def test_exit_codes_are_told_in_words(exit_code: int, words: str) -> None:
    """A signal is told by its name where it has one."""
    assert describe_exit(exit_code) == words
