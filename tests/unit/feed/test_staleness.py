"""`ingest.feed.staleness`."""

from ingest.feed.staleness import MAX_PATIENCE, SilenceTimer


def test_stream_without_any_message_is_overdue_after_its_threshold() -> None:
    """A stream that never spoke is counted from its subscription."""
    timer = SilenceTimer(threshold_s=10.0, since_s=100.0)

    assert not timer.is_overdue(0, 110.0)
    assert timer.is_overdue(0, 110.1)


def test_message_restarts_the_timer() -> None:
    """Silence is counted from the newest message."""
    timer = SilenceTimer(10.0, 100.0)

    assert not timer.is_overdue(1, 115.0)
    assert not timer.is_overdue(1, 125.0)
    assert timer.is_overdue(1, 125.1)
    assert timer.silent_s(125.1) > 10.0


def test_replacing_in_vain_doubles_the_patience() -> None:
    """A quiet stream has its feed replaced ever less often."""
    timer = SilenceTimer(10.0, 0.0)
    timer.replaced(20.0)

    assert not timer.is_overdue(0, 40.0)
    assert timer.is_overdue(0, 40.1)


def test_patience_is_bounded() -> None:
    """However often it was in vain, the stream is asked about again."""
    timer = SilenceTimer(1.0, 0.0)
    for _ in range(50):
        timer.replaced(0.0)

    assert timer.is_overdue(0, MAX_PATIENCE + 0.1)


def test_data_restore_the_plain_threshold() -> None:
    """One message ends the patience."""
    timer = SilenceTimer(10.0, 0.0)
    timer.replaced(10.0)
    timer.is_overdue(1, 12.0)

    assert timer.is_overdue(1, 22.1)


def test_new_subscription_keeps_the_patience() -> None:
    """Reconnecting is no sign of life."""
    timer = SilenceTimer(10.0, 0.0)
    timer.replaced(10.0)
    timer.restart(15.0)

    assert not timer.is_overdue(0, 35.0)
    assert timer.is_overdue(0, 35.1)
