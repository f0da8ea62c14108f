"""The ledger of what happened."""

from zlib import crc32

from ingest.sim.ledger import Entry, Ledger, depth_fields

BLOCK = 2048


def test_ledger_keeps_what_was_entered() -> None:
    """Entries come back in order, with the checksum of their fields."""
    ledger = Ledger()
    ledger.series("BTCUSDT", "trade").add(7, 1000, b"1.0|2.0|true")

    assert ledger.entries("BTCUSDT", "trade") == [Entry(7, 1000, crc32(b"1.0|2.0|true"))]
    assert ledger.entries("BTCUSDT", "agg_trade") == []


def test_ledger_drops_the_oldest_and_counts_it() -> None:
    """Beyond the limit the oldest block of any series goes."""
    ledger = Ledger(limit=2 * BLOCK)
    old, new = ledger.series("A", "trade"), ledger.series("B", "trade")
    for number in range(BLOCK):
        old.add(number, 0, b"")
    for number in range(BLOCK + 1):
        new.add(number, 0, b"")

    assert ledger.dropped == old.dropped == BLOCK
    assert (len(old), old.happened, len(new.entries())) == (0, BLOCK, BLOCK + 1)


def test_columns_hold_the_same_as_entries() -> None:
    """The column form has the same rows."""
    series = Ledger().series("A", "depth")
    for number in range(BLOCK + 5):
        series.add(number, number * 10, b"%d" % number)

    columns = series.columns()
    rows = zip(columns["ids"], columns["ts_ms"], columns["digests"], strict=True)
    assert [Entry(*row) for row in rows] == series.entries()


def test_depth_fields_join_levels() -> None:
    """A side is `price:qty` joined by commas; an empty side is empty."""
    bids = b'["1.0","2.0"],["3.0","4.0"]'

    assert depth_fields(9, bids, b"") == b"9|1.0:2.0,3.0:4.0|"
    assert depth_fields(9, b"", b'["5.0","6.0"]') == b"9||5.0:6.0"


def test_series_of_few_events_take_no_more_room_than_these() -> None:
    """A thousand rare streams do not push one another out: what is bounded is events."""
    ledger = Ledger(limit=4 * BLOCK)
    for number in range(1_000):
        ledger.series(f"S{number}", "trade").add(number, 0, b"")

    assert ledger.dropped == 0
    assert len(ledger.entries("S0", "trade")) == 1
