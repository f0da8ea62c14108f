"""Messages as rows of a first design's tables."""

from datetime import UTC, datetime

import orjson

from tests.bench.mix import Market
from tests.bench.peers.programs.rows import COLUMNS, insert, row


def test_each_kind_has_a_row_as_wide_as_its_table() -> None:
    """Trades, best prices and depth changes go to their own tables."""
    market = Market(["SYM0000USDT"], seed=3, start_ms=1_700_000_000_000)
    rows = [
        row(orjson.loads(f.payload)["data"]) for f in market.first_of_each(("trade", "book_ticker", "depth"))
    ]

    assert [table for table, _ in rows] == ["trades", "book_tickers", "depth"]
    assert all(len(values) == len(COLUMNS[table]) for table, values in rows)
    assert rows[0][1][-1] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def test_statement_has_the_driver_s_parameters() -> None:
    """asyncpg numbers them, psycopg does not."""
    assert insert("trades", "$1").endswith("VALUES ($1, $2, $3, $4, $5, $6)")
    assert insert("trades", "%s").endswith("VALUES (%s, %s, %s, %s, %s, %s)")
