"""Trades kept for REST."""

from ingest.sim.tape import AggRow, Tape, TradeRow


def _tape(limit: int, trades: int) -> Tape:
    tape = Tape(limit)
    for number in range(100, 100 + trades):
        tape.add_trade(TradeRow(number, number * 1000, 5, 7, number % 2 == 0))
    return tape


def test_tape_finds_rows_by_id() -> None:
    """An id is the first row of a page, an older one the oldest row."""
    tape = _tape(1000, 10)

    start = tape.trades.index_from_id(104)
    assert [row.trade_id for row in tape.trade_rows(start, start + 2)] == [104, 105]
    assert tape.trades.index_from_id(1) == 0
    assert tape.trades.index_from_id(9999) == 10


def test_tape_finds_rows_beside_ids_that_nobody_has() -> None:
    """An id that was never given leads to the next that was."""
    tape = _tape(1000, 3)
    tape.add_trade(TradeRow(200, 200_000, 5, 7, True))

    start = tape.trades.index_from_id(103)
    assert [row.trade_id for row in tape.trade_rows(start, start + 2)] == [200]
    assert tape.trades.index_from_id(200) == start


def test_tape_finds_rows_by_time() -> None:
    """Bounds in time are inclusive on both sides."""
    tape = _tape(1000, 10)

    first, stop = tape.trades.index_from_time(103_000), tape.trades.index_after_time(105_000)
    assert [row.trade_id for row in tape.trade_rows(first, stop)] == [103, 104, 105]


def test_tape_drops_the_oldest_beyond_its_limit() -> None:
    """Ids stay right after the oldest quarter went."""
    tape = _tape(8, 9)

    rows = tape.trade_rows(0, 100)
    assert [row.trade_id for row in rows] == [102, 103, 104, 105, 106, 107, 108]
    assert rows[0] == TradeRow(102, 102_000, 5, 7, True)


def test_tape_keeps_aggregates() -> None:
    """An aggregate comes back as it was."""
    tape = Tape()
    row = AggRow(1, 2, 3, 4, 5, 6, False)
    tape.add_agg(row)

    assert tape.agg_rows(0, 10) == [row]
