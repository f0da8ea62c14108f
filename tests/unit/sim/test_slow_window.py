"""One-second depth windows from those of 100 ms."""

from ingest.sim.happenings import BookChanged
from ingest.sim.slow_window import SlowWindow


def test_window_merges_and_continues() -> None:
    """The last quantity of each price wins, best prices come first, ids span the merged windows."""
    window = SlowWindow()
    window.add(BookChanged("A", 5, 6, 1, b'["9.0","1.0"],["8.0","1.0"]', b""))
    window.add(BookChanged("A", 7, 9, 2, b'["9.0","0.0"],["10.0","2.0"]', b'["11.0","1.0"]'))

    merged = window.close("A", 3)

    bids = b'["10.0","2.0"],["9.0","0.0"],["8.0","1.0"]'
    assert merged == BookChanged("A", 5, 9, 3, bids, b'["11.0","1.0"]')
    assert window.close("A", 4) is None
