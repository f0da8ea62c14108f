"""`ingest.book.rebuild`."""

from ingest.book.rebuild import rebuild
from ingest.events import DepthDelta, DepthSnapshot

SNAPSHOT = DepthSnapshot(
    "BTCUSDT", 10, 1_000, [("9.00000000", "1.00000000")], [("11.00000000", "1.00000000")], "sync", 0
)


def _delta(first: int, final: int, price: str = "9.50000000", qty: str = "2.00000000") -> DepthDelta:
    return DepthDelta("BTCUSDT", first, final, 1_000 + final, [(price, qty)], [], 0)


def test_deltas_after_the_snapshot_are_applied() -> None:
    """The book is that of the newest delta, and says so."""
    rebuilt = rebuild(SNAPSHOT, [_delta(11, 12), _delta(13, 15, qty="0.00000000")])

    assert rebuilt.book.best_bid() == ("9.00000000", "1.00000000")
    assert (rebuilt.update_id, rebuilt.ts_us, rebuilt.deltas_applied) == (15, 1_015, 2)
    assert rebuilt.missing is None


def test_deltas_that_the_snapshot_holds_are_skipped() -> None:
    """What ends at or before the snapshot changes nothing; one that reaches beyond it is applied."""
    rebuilt = rebuild(SNAPSHOT, [_delta(5, 10, price="1.00000000"), _delta(9, 12)])

    assert rebuilt.deltas_applied == 1
    assert rebuilt.book.best_bid() == ("9.50000000", "2.00000000")


def test_hole_ends_the_book() -> None:
    """Nothing behind a missing delta is shown, and the missing range is told."""
    rebuilt = rebuild(SNAPSHOT, [_delta(11, 12), _delta(15, 16, price="10.00000000")])

    assert rebuilt.missing == (13, 14)
    assert rebuilt.update_id == 12
    assert rebuilt.book.best_bid() == ("9.50000000", "2.00000000")


def test_snapshot_alone_is_a_book() -> None:
    """Without deltas the book is the snapshot."""
    rebuilt = rebuild(SNAPSHOT, [])

    assert (rebuilt.update_id, rebuilt.ts_us, rebuilt.deltas_applied) == (10, 1_000, 0)
