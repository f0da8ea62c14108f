"""Microseconds and timestamps."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.store.instants import instant, microseconds


@given(st.integers(-(10**15), 10**16))
def test_microseconds_survive_the_way_there_and_back(us: int) -> None:
    """No microsecond is lost to floating point."""
    assert microseconds(instant(us)) == us


def test_no_time_stays_none() -> None:
    """What has not happened yet has no timestamp."""
    assert instant(None) is None
