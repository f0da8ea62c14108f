"""Whether a shard keeps up."""

from ingest.supervisor.lag import Lag, Pace


def looks(lag: Lag, late: str) -> str:
    """`x` is a late look; returns the verdicts in the same way."""
    return "".join("x" if lag.take(is_late=each == "x") else "." for each in late)


def test_shard_that_is_late_now_and_then_keeps_up() -> None:
    """One block of four seconds, or a late moment every third."""
    assert looks(Lag(), "xxxx............") == "." * 16
    assert looks(Lag(), "x..x..x..x..x..x") == "." * 16


def test_shard_that_is_late_most_of_the_time_lags() -> None:
    """From the fifth late look."""
    assert looks(Lag(), "xxxxxx") == "....xx"
    assert looks(Lag(), "x.x.x.x.x.") == "........xx"


def test_lag_is_over_when_no_look_of_the_newest_ten_was_late() -> None:
    """Not in every moment between two late ones."""
    lag = Lag()
    looks(lag, "xxxxx")

    assert looks(lag, "....x....") == "x" * 9
    assert looks(lag, "." * 10) == "xxxxx....."


def test_pace_is_what_came_since_the_look_before() -> None:
    """Nothing is known at first; a count that begins anew is no pace backwards."""
    pace, found = Pace(), []
    for received, now_s in ((500, 10.0), (2_500, 12.0), (2_500, 12.0), (100, 13.0)):
        pace.take(received, now_s)
        found.append(pace.bytes_per_s)

    assert found == [0.0, 1_000.0, 1_000.0, 0.0]
