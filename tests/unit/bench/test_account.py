"""The ledger beside the rows."""

from tests.bench.account import Account, Found, settle
from tests.bench.steering import Happened

TRADES, DEPTH = "btcusdt@trade", "btcusdt@depth@100ms"


def test_rows_that_are_the_frames_are_settled() -> None:
    """As many rows as frames, from the first id to the last; depth begins behind its first id."""
    ledger = {TRADES: Happened(5, 100, 104), DEPTH: Happened(2, 10, 40)}
    found = {TRADES: Found(5, 5, 100, 104), DEPTH: Found(2, 2, 25, 40)}

    account = settle(ledger, found)

    assert account == Account(happened=7, stored=7, lost=0, doubled=0, unlike=0)
    assert account.is_settled


def test_row_twice_does_not_hide_a_missing_one() -> None:
    """Lost and doubled are counted apart, within a stream and between streams."""
    ledger = {TRADES: Happened(5, 100, 104), DEPTH: Happened(2, 10, 40)}
    found = {TRADES: Found(5, 4, 100, 104), DEPTH: Found(3, 2, 25, 40)}

    account = settle(ledger, found)

    assert (account.lost, account.doubled, account.unlike) == (1, 2, 0)
    assert not account.is_settled


def test_stream_without_rows_is_lost() -> None:
    """A stream of which nothing is stored is missing with all it had; one that was silent is not."""
    account = settle({TRADES: Happened(5, 100, 104), DEPTH: Happened(0, 10, 9)}, {})

    assert (account.lost, account.unlike) == (5, 1)


def test_other_ids_are_told() -> None:
    """As many rows as frames, but others."""
    account = settle({TRADES: Happened(5, 100, 104)}, {TRADES: Found(5, 5, 101, 105)})

    assert account.unlike == 1
