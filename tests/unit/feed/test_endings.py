"""`ingest.feed.endings`."""

import pytest

from ingest.board.layout import FeedState, FeedValues
from ingest.feed.endings import EndClass, EndCounts, end_class


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("closed_by_exchange: going away", EndClass.CLOSED_BY_EXCHANGE),
        ("connection_lost", EndClass.CONNECTION_LOST),
        ("send_failed: ConnectionResetError: gone", EndClass.CONNECTION_LOST),
        ("link_silent: no frame of any kind for 51 s", EndClass.LINK_SILENT),
        ("subscription_unanswered: request 3", EndClass.SUBSCRIPTION),
        ("handshake_refused: HTTP 503", EndClass.HANDSHAKE),
        ("stream_silent: spot:BTCUSDT:trade and 3 more", EndClass.STREAM_SILENT),
        ("half_open: spot:BTCUSDT:trade", EndClass.HALF_OPEN),
        ("rotation", EndClass.ROTATION),
        ("server_shutdown", EndClass.SERVER_SHUTDOWN),
        ("none: spot:BTCUSDT:trade", EndClass.OTHER),
        ("stopped", EndClass.OTHER),
        ("", EndClass.OTHER),
    ],
)
def test_reason_falls_into_the_class_of_its_first_word(reason: str, expected: EndClass) -> None:
    """Free text behind the colon makes no class of its own."""
    assert end_class(reason) is expected


def test_counts_name_every_class() -> None:
    """What never happened is a zero, not a hole."""
    counts = EndCounts()
    for reason in ("rotation", "rotation", "nobody thought of this"):
        counts.add(reason)

    found = counts.by_field("n_")
    assert list(found) == [f"n_{kind}" for kind in EndClass]
    assert (found["n_rotation"], found["n_other"], sum(found.values())) == (2, 1, 3)


def test_board_has_a_place_for_every_class() -> None:
    """Counts written to a feed's slot come back by class."""
    counts = EndCounts()
    counts.add("half_open")

    ends = FeedValues(state=FeedState.CLOSED, **counts.by_field("ends_")).ends
    assert set(ends) == set(EndClass)
    assert ends[EndClass.HALF_OPEN] == 1
