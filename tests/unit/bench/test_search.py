"""The search for the highest rate."""

import math

from tests.bench.search import RateSearch, Step


def step(rate: float, *, limit: float) -> Step:
    return Step(rate, latency_p99_s=0.3 if rate <= limit else 5.0, waiting_s=0.2, spooled_rows=0)


def searched(start: float, limit: float) -> RateSearch:
    """The search of a service that sustains `limit`."""
    search = RateSearch(start)
    while (rate := search.next_rate) is not None:
        search = search.told(step(rate, limit=limit))
    return search


def test_search_ends_close_below_the_limit() -> None:
    """Whether it begins far below or far above, the best rate is within 5 % of what can be had."""
    for start in (1_000.0, 10_000.0, 300_000.0):
        best = searched(start, limit=47_000.0).best
        assert 47_000 / 1.05 <= best <= 47_000


def test_search_gives_up_on_a_service_that_sustains_nothing() -> None:
    """There is an end below which nobody looks."""
    assert searched(10_000.0, limit=0.0).best == 0


def test_step_that_succeeds_above_one_that_failed_does_not_count() -> None:
    """A lucky step above a failure is luck."""
    search = RateSearch(100.0).told(step(200.0, limit=100.0)).told(step(300.0, limit=400.0))

    assert search.best == 0


def test_step_is_not_sustained_when_anything_waits() -> None:
    """Late rows, waiting rows, spooled rows and an unknown latency each are too much."""
    good = Step(1.0, 0.5, 0.5, 0)

    assert good.is_sustained
    assert not good._replace(latency_p99_s=1.1).is_sustained
    assert not good._replace(latency_p99_s=math.nan).is_sustained
    assert not good._replace(waiting_s=1.1).is_sustained
    assert not good._replace(spooled_rows=1).is_sustained
