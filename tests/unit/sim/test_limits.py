"""The limits of the exchange."""

from ingest.sim.limits import Limits, SlidingWindow, Violations, WeightBudget

MINUTE_START_S = 60_000.0


def _budget(weight: int = 100, **more: float) -> tuple[WeightBudget, Violations]:
    violations = Violations()
    limits = Limits(weight_per_minute=weight, refusals_before_ban=3, ban_s=more.get("ban_s", 120.0))
    return WeightBudget(limits, violations), violations


def test_defaults_are_the_exchange_s() -> None:
    """Without configuration the documented limits hold."""
    limits = Limits()

    assert (limits.messages_per_s, limits.streams_per_connection, limits.request_bytes) == (5, 1024, 4088)
    assert (limits.ping_interval_s, limits.pong_deadline_s) == (20.0, 60.0)
    assert (limits.attempts, limits.attempts_window_s, limits.weight_per_minute) == (300, 300.0, 6000)


def test_window_allows_its_number_in_any_span() -> None:
    """The sixth event within a second is refused, and allowed when the first is a second old."""
    window = SlidingWindow(5, 1.0)

    assert all(window.allows(0.1 * number) for number in range(5))
    assert not window.allows(0.99)
    assert window.wait_s(0.99) > 0
    assert window.allows(1.0)


def test_weight_is_counted_in_clock_minutes() -> None:
    """The counter starts again with the minute of the clock."""
    budget, _ = _budget()

    assert budget.take(60, MINUTE_START_S + 59.0).used_weight == 60
    assert budget.take(60, MINUTE_START_S + 60.0).used_weight == 60


def test_weight_beyond_the_limit_is_refused_until_the_minute_ends() -> None:
    """429 says how long the minute still lasts, and afterwards requests are taken again."""
    budget, violations = _budget()
    budget.take(100, MINUTE_START_S + 10)

    verdict = budget.take(1, MINUTE_START_S + 10)
    assert (verdict.status, verdict.retry_after_s, violations.weight) == (429, 51, 1)
    assert budget.take(1, MINUTE_START_S + 61).status == 200


def test_going_on_after_429_is_banned_and_bans_grow() -> None:
    """Ignoring refusals gives 418, the second time twice as long."""
    budget, violations = _budget()
    budget.take(101, MINUTE_START_S)
    statuses = [budget.take(1, MINUTE_START_S + 1).status for _ in range(4)]
    assert statuses == [429, 429, 418, 418]
    assert violations.banned_requests == 1

    later_s = MINUTE_START_S + 180
    budget.take(101, later_s)
    verdicts = [budget.take(1, later_s + 1) for _ in range(3)]
    assert (verdicts[-1].status, verdicts[-1].retry_after_s) == (418, 241)


def test_raw_requests_are_limited_too() -> None:
    """Light requests are refused when there are too many of them."""
    violations = Violations()
    budget = WeightBudget(Limits(raw_requests=2), violations)

    assert [budget.take(1, MINUTE_START_S).status for _ in range(3)] == [200, 200, 429]
    assert (violations.raw_requests, violations.total) == (1, 1)
