"""The windows of the continuous aggregates fit each other."""

from datetime import timedelta

import pytest

from ingest.store.candle_aggregates import CandleRefresh


@pytest.mark.parametrize("days", [1, 3, 365])
def test_levels_fit_each_other(days: int) -> None:
    """Each is made of the one before, looks back as far at least, and over two buckets as it must."""
    levels = CandleRefresh(window=timedelta(days=days)).levels()

    assert [level.source for level in levels] == ["trades", *(level.name for level in levels[:-1])]
    assert [level.start_offset for level in levels] == sorted(level.start_offset for level in levels)
    assert all(level.start_offset - level.end_offset >= 2 * level.width for level in levels)
    assert all(not level.piece % level.width for level in levels)


def test_late_reaches_into_what_is_not_materialised() -> None:
    """With time between for a batch to be committed."""
    refresh = CandleRefresh()

    assert refresh.late + timedelta(seconds=5) < refresh.tail
