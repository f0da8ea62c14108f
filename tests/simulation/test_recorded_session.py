"""The recorded session of BTCUSDT, through sockets, shard and database, ends with the known answers."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

import pytest

from tests.simulation.comparison import assert_nothing_twice, stored, stored_book
from tests.simulation.service import Double, Service, a_double, a_service, wait_until

SYMBOL = "BTCUSDT"
KINDS = ["trade", "agg_trade", "book_ticker", "depth"]
SPEED = 30
LAST_UPDATE_ID = 50093696318


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Double]]:
    """The service after the whole session has been played, everything committed."""
    folder = tmp_path_factory.mktemp("recorded")
    options = ("--recording", "--symbols", "0", "--speed", str(SPEED), "--start", str(len(KINDS)))
    with a_double(folder, *options) as double:
        spot = {"symbols": [SYMBOL], "kinds": KINDS}
        with a_service(folder, double, spot=spot) as service:
            wait_until("the session is over", lambda: double.state()["recording"]["over"], deadline_s=180)
            wait_until("the last trade is stored", lambda: service.newest_trade(SYMBOL) == 3735703162)
            wait_until(
                "the last book ticker is stored",
                lambda: (
                    service.newest("book_tickers", "update_id", SYMBOL)
                    == max(double.ledger(SYMBOL, "book_ticker"))
                ),
            )
            wait_until(
                "the last depth delta is stored",
                lambda: service.newest("depth_deltas", "final_update_id", SYMBOL) == LAST_UPDATE_ID,
            )
            yield service, double


def test_trades_are_those_of_the_recording(played: tuple[Service, Double]) -> None:
    """Count, range of ids and exact sums are as measured in the recording itself."""
    service, _ = played
    (row,) = service.rows(
        "SELECT count(*), count(DISTINCT trade_id), min(trade_id), max(trade_id), sum(qty), sum(price * qty)"
        " FROM spot.trades"
    )

    assert tuple(row)[:4] == (19_904, 19_904, 3735683259, 3735703162)
    assert tuple(row)[4:] == (Decimal("437.91552"), Decimal("27006929.5910348"))


def test_book_tickers_are_those_of_the_recording(played: tuple[Service, Double]) -> None:
    """Every best price of the session is stored."""
    service, _ = played

    assert service.value("SELECT count(*) FROM spot.book_tickers") == 73_174


def test_depth_deltas_are_those_of_the_recording_and_chain(played: tuple[Service, Double]) -> None:
    """Each delta begins where the one before it ended."""
    service, _ = played
    rows = service.rows("SELECT first_update_id, final_update_id FROM spot.depth_deltas ORDER BY 2")

    assert len(rows) == 6_495
    assert all(later[0] == earlier[1] + 1 for earlier, later in pairwise(rows))


def test_final_book_is_the_known_one(played: tuple[Service, Double]) -> None:
    """The book made from the stored snapshot and deltas has the known best bid and ask."""
    service, _ = played
    rebuilt = stored_book(service, SYMBOL)

    assert rebuilt is not None
    assert (rebuilt.update_id, rebuilt.missing) == (LAST_UPDATE_ID, None)
    assert rebuilt.book.best_bid() == ("61602.01000000", "1.67177000")
    assert rebuilt.book.best_ask() == ("61602.02000000", "2.66795000")


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_an_event_of_the_ledger(played: tuple[Service, Double], kind: str) -> None:
    """Row by row, with all their digits, the tables hold what happened and nothing else."""
    service, double = played

    assert stored(service, SYMBOL, kind) == double.ledger(SYMBOL, kind)


def test_nothing_was_missed_and_nothing_is_twice(played: tuple[Service, Double]) -> None:
    """A session without faults leaves no gap, no double and no broken limit."""
    service, double = played

    assert service.rows("SELECT * FROM ops.gaps") == []
    assert_nothing_twice(service)
    assert double.violations() == {}
