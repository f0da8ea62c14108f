"""`ingest.cli.rates`: counters as rates."""

import pytest

from ingest.cli.rates import Rates


def test_rate_is_known_from_the_second_look_on() -> None:
    """One look has no span."""
    rates = Rates()
    rates.look({"a": 100}, 10.0)

    assert rates.per_s == {}
    rates.look({"a": 150, "new": 70}, 15.0)
    assert rates.per_s == {"a": 10.0, "new": 0.0}


def test_rate_is_smoothed_and_what_is_gone_is_left_out() -> None:
    """The newest span counts for three tenths."""
    rates = Rates()
    for now_s, counts in ((0.0, {"a": 0, "b": 0}), (1.0, {"a": 100, "b": 5}), (2.0, {"a": 100})):
        rates.look(counts, now_s)

    assert rates.per_s == {"a": pytest.approx(70.0)}


def test_counter_that_began_anew_is_no_negative_rate() -> None:
    """A process that was started again counts from zero."""
    rates = Rates()
    rates.look({"a": 1_000}, 0.0)
    rates.look({"a": 3}, 1.0)

    assert rates.per_s == {"a": 0.0}
