"""`ingest.feed.lifecycle`."""

import itertools

import pytest

from ingest.feed.lifecycle import FeedAction, FeedEvent, FeedLifecycle, FeedPhase, Subscriptions

TABLE = {
    (FeedPhase.CLOSED, FeedEvent.DIALLING): (FeedPhase.CONNECTING, FeedAction.CONNECT),
    (FeedPhase.CONNECTING, FeedEvent.OPENED): (FeedPhase.SUBSCRIBING, FeedAction.SUBSCRIBE),
    (FeedPhase.CONNECTING, FeedEvent.FAILED): (FeedPhase.CLOSED, FeedAction.RETRY),
    (FeedPhase.SUBSCRIBING, FeedEvent.CONFIRMED): (FeedPhase.LIVE, FeedAction.REPORT_LIVE),
    (FeedPhase.SUBSCRIBING, FeedEvent.FAILED): (FeedPhase.CLOSED, FeedAction.RETRY),
    (FeedPhase.LIVE, FeedEvent.FAILED): (FeedPhase.CLOSED, FeedAction.RETRY),
} | {
    (phase, FeedEvent.STOP): (FeedPhase.STOPPED, FeedAction.CLOSE)
    for phase in FeedPhase
    if phase is not FeedPhase.STOPPED
}


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(FeedPhase, FeedEvent)))
def test_table_is_the_documented_one(phase: FeedPhase, event: FeedEvent) -> None:
    """Each pair leads where the table says; a pair that is not in it raises and changes nothing."""
    lifecycle = FeedLifecycle(phase)
    if (phase, event) in TABLE:
        action = lifecycle.on(event)
        assert (lifecycle.phase, action) == TABLE[phase, event]
    else:
        with pytest.raises(ValueError, match=phase.name):
            lifecycle.on(event)
        assert lifecycle.phase is phase


def test_unanswered_subscription_becomes_overdue() -> None:
    """An acknowledgement has a deadline."""
    subscriptions = Subscriptions(deadline_s=10.0)
    subscriptions.sent(7, 100.0)

    assert subscriptions.overdue(110.0) == []
    assert subscriptions.overdue(110.1) == [7]


def test_answer_strikes_its_request() -> None:
    """An answered request is not pending, and an answer to nothing is told apart."""
    subscriptions = Subscriptions(10.0)
    subscriptions.sent(1, 0.0)

    assert subscriptions.pending == 1
    assert subscriptions.answered(1)
    assert not subscriptions.answered(1)
    assert subscriptions.pending == 0
