"""Text of the database as Arrow and Parquet."""

import io
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow.parquet as pq
import pytest

from ingest.export.arrow import RowGroups, Shape, Unfit, id_runs, is_in_order, times_us
from ingest.export.kinds import kind_of

TRADE = kind_of("trade")
DEPTH = kind_of("depth")
TS_US = 1_767_261_600_123_456


def a_line(trade_id: int, *, ts_us: int = TS_US, price: str = "61602.01000000") -> str:
    return f"BTCUSDT,{trade_id},{ts_us},{price},0.5,t,{ts_us + 1}\n"


def lines(*ids: int) -> bytes:
    return "".join(a_line(each) for each in ids).encode()


def test_numbers_and_times_are_exact() -> None:
    """A price comes back as it was printed, a time to the microsecond and in UTC."""
    (row,) = Shape(TRADE).table(lines(1)).to_pylist()

    assert row["price"] == Decimal("61602.01") and isinstance(row["price"], Decimal)
    assert row["ts"] == datetime.fromtimestamp(TS_US // 1_000_000, UTC).replace(microsecond=123_456)
    assert (row["symbol"], row["trade_id"], row["buyer_is_maker"]) == ("BTCUSDT", 1, True)


def test_floats_must_be_asked_for() -> None:
    """Only then are numbers floats, and the manifest says so."""
    exact, rough = Shape(TRADE), Shape(TRADE, as_float=True)

    assert "double" not in exact.types().values()
    assert rough.types()["price"] == "double"
    assert rough.table(lines(1)).column("price").to_pylist() == [61602.01]


@pytest.mark.parametrize("price", ["0.1234567890123456789", "123456789012345678901", "NaN", "Infinity"])
def test_number_that_does_not_fit_names_its_column(price: str) -> None:
    """It is never rounded: the column is asked for as text."""
    text = a_line(1, price=price).encode()

    with pytest.raises(Unfit) as raised:
        Shape(TRADE).table(text)
    assert raised.value.column == "price"
    assert Shape(TRADE, as_text={"price"}).table(text).column("price").to_pylist() == [price]


def test_lists_are_lists_of_numbers() -> None:
    """Also empty ones, and of different lengths."""
    text = b'A,1,2,5,1.10 2,0 3,"","",6\nA,3,4,5,"","",7,8.5,6\n'
    table = Shape(DEPTH).table(text)

    assert table.column("bid_prices").to_pylist() == [[Decimal("1.1"), Decimal(2)], []]
    assert table.column("ask_qtys").to_pylist() == [[], [Decimal("8.5")]]


def test_no_value_is_none_and_no_text_is_text() -> None:
    """Null and the empty text are told apart, as the database does."""
    text = b'A,1,5,"","","","","",6,,Infinity\n'
    (row,) = Shape(kind_of("depth_snapshot")).table(text).to_pylist()

    assert (row["reason"], row["bids_known_from"], row["asks_known_to"]) == ("", None, "Infinity")


def test_ids_come_as_runs() -> None:
    """Consecutive ids are one span; of spans of ids, too."""
    assert list(id_runs(Shape(TRADE).table(lines(1, 2, 3, 7, 5, 6)), TRADE)) == [(1, 3), (7, 7), (5, 6)]
    deltas = Shape(DEPTH).table(b'A,1,4,5,"","","","",6\nA,5,9,5,"","","","",6\nA,11,12,5,"","","","",6\n')
    assert list(id_runs(deltas, DEPTH)) == [(1, 9), (11, 12)]
    ticker = kind_of("book_ticker")
    assert list(id_runs(Shape(ticker).table(b"A,9,5,1,1,1,1,6\nA,5,6,1,1,1,1,6\n"), ticker)) == [(5, 9)]


def test_order_is_by_time_then_id() -> None:
    """Rows of one moment are in the order of their ids."""
    shape = Shape(TRADE)

    assert is_in_order(shape.table(lines(1, 2)), TRADE)
    assert not is_in_order(shape.table(lines(2, 1)), TRADE)
    later = (a_line(2, ts_us=TS_US + 1) + a_line(3)).encode()
    assert not is_in_order(shape.table(later), TRADE)
    assert times_us(shape.table(later), TRADE) == (TS_US, TS_US + 1)


def test_file_without_rows_has_its_columns() -> None:
    """A day on which nothing happened is a file like any other."""
    sink = io.BytesIO()
    groups = RowGroups(sink, Shape(TRADE), {"symbol": "A"})  # type: ignore[arg-type]
    groups.close()

    read = pq.read_table(io.BytesIO(sink.getvalue()))
    assert read.num_rows == 0
    assert read.schema.metadata[b"symbol"] == b"A"
    assert "trade_id" in read.column_names
