"""Candles made of trades are given when they are final and whole."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from ingest.reader.spans import holes_between, incomplete_candles

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def candles(*flags: tuple[bool, bool]) -> pa.Table:
    """One a minute, each closed or not, complete or not."""
    opened = [START + n * MINUTE for n in range(len(flags))]
    return pa.table(
        {
            "open_time": opened,
            "close_time": [each + MINUTE - timedelta(milliseconds=1) for each in opened],
            "is_closed": [closed for closed, _ in flags],
            "is_complete": [complete for _, complete in flags],
        }
    )


def test_closed_candle_that_lacks_trades_is_incomplete() -> None:
    """By its own word."""
    missing = incomplete_candles(candles((True, True), (True, False), (True, True)), START)

    assert [each.start for each in missing] == [START + MINUTE]


def test_candle_that_is_due_and_not_final_is_incomplete() -> None:
    """A roll-up that lags does not make a shorter answer; the running one may run."""
    late = candles((True, True), (False, False), (False, False))

    assert [each.start for each in incomplete_candles(late, START + 2.5 * MINUTE)] == [START + MINUTE]
    assert incomplete_candles(late, START + 1.5 * MINUTE) == []


def test_trades_between_two_candles_are_not_overlooked() -> None:
    """Neither of the two can say that they are missing."""
    found = pa.table({"first_trade_id": [5, 10, 20], "last_trade_id": [9, 15, 30]})

    assert holes_between(found, 4) == [(16, 19)]
    assert holes_between(found, 2) == [(3, 4), (16, 19)]
    assert holes_between(found, None) == [(16, 19)]
    assert holes_between(found.slice(0, 0), 4) == []
