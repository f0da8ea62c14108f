"""`ingest.feed.backoff`."""

import random

from hypothesis import given
from hypothesis import strategies as st

from ingest.feed.backoff import Backoff, BackoffLimits

LIMITS = BackoffLimits(first_s=1.0, cap_s=30.0, good_s=60.0)


class _Highest(random.Random):
    """Chance that always gives the upper bound."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_first_retry_is_at_once() -> None:
    """The first failure is answered without waiting."""
    assert Backoff(LIMITS, random.Random(1)).next_delay_s() == 0.0


def test_ceilings_double_up_to_the_cap() -> None:
    """After the first, waits reach up to 1, 2, 4, 8, 16, 30, 30 seconds."""
    backoff = Backoff(LIMITS, _Highest())

    delays = [backoff.next_delay_s() for _ in range(8)]

    assert delays == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_short_success_does_not_clear_the_record() -> None:
    """A feed that flaps climbs the same ladder as one that cannot connect."""
    backoff = Backoff(LIMITS, _Highest())
    backoff.next_delay_s()
    backoff.next_delay_s()

    backoff.lasted(59.9)

    assert backoff.next_delay_s() == 2.0


def test_long_success_clears_the_record() -> None:
    """After a good spell the next failure is answered at once again."""
    backoff = Backoff(LIMITS, _Highest())
    backoff.next_delay_s()
    backoff.next_delay_s()

    backoff.lasted(60.0)

    assert backoff.next_delay_s() == 0.0


@given(st.integers(0, 5_000), st.integers())
def test_delay_is_never_above_the_cap(failures: int, seed: int) -> None:
    """However often it has failed, the wait lies between zero and the cap."""
    backoff = Backoff(
        LIMITS,
        random.Random(seed),
    )
    backoff.failures = failures

    assert 0.0 <= backoff.next_delay_s() <= LIMITS.cap_s
