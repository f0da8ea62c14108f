"""Single rows."""

from datetime import UTC, datetime
from decimal import Decimal

from ingest.reader.rows import AggTrade, BookTicker, DepthDelta, Kline, Trade

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE = Decimal(1)


def test_id_is_what_follow_goes_on_from() -> None:
    """The exchange's id; of a candle its opening in milliseconds."""
    assert Trade("S", 5, NOW, ONE, ONE, True, NOW).id == 5
    assert AggTrade("S", 6, NOW, ONE, ONE, 1, 2, True, NOW).id == 6
    assert BookTicker("S", 7, NOW, ONE, ONE, ONE, ONE, NOW).id == 7
    assert DepthDelta("S", 7, 8, NOW, [], [], NOW).id == 8
    numbers = (ONE, ONE, ONE, ONE, ONE, ONE)
    kline = Kline("S", "1m", NOW, NOW, *numbers, 3, ONE, ONE, True, NOW, NOW)
    assert (kline.id, kline.ts) == (round(NOW.timestamp()) * 1_000, NOW)
