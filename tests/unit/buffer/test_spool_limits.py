"""The bounds of the spool."""

import pytest

from ingest.buffer.spool_limits import SpoolLimits, has_room

LIMITS = SpoolLimits(max_bytes=100, max_age_s=60.0)
SECOND_NS = 1_000_000_000


@pytest.mark.parametrize(("held", "more", "fits"), [(0, 100, True), (60, 40, True), (60, 41, False)])
def test_bytes_are_bounded(held: int, more: int, fits: bool) -> None:
    """The bound itself still fits."""
    assert has_room(LIMITS, held_bytes=held, more_bytes=more, oldest_recv_ns=None, now_ns=0) is fits


@pytest.mark.parametrize(("age_s", "fits"), [(0, True), (60, True), (61, False), (-5, True)])
def test_age_is_bounded(age_s: int, fits: bool) -> None:
    """When the oldest row is too old nothing more is taken; a clock that was stepped back takes."""
    oldest_ns = (1_000 - age_s) * SECOND_NS
    now_ns = 1_000 * SECOND_NS

    assert has_room(LIMITS, held_bytes=0, more_bytes=1, oldest_recv_ns=oldest_ns, now_ns=now_ns) is fits
