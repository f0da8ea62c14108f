"""Events to COPY rows, read back field by field. Against the server: tests/integration."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.buffer import encode, tables
from ingest.buffer.numeric import encode_numeric
from ingest.buffer.tables import TABLES, Table
from ingest.events import AvgPrice, MiniTicker, Ticker, Trade
from tests.rows import (
    NOW_US,
    SYMBOL_ID,
    a_book_ticker,
    a_delta,
    a_kline,
    a_snapshot,
    a_trade,
    an_agg_trade,
)

PG_EPOCH_US = 946_684_800_000_000
NOW_NS = NOW_US * 1_000


def fields(table: Table, row: bytes) -> dict[str, bytes | None]:
    """The raw fields of a binary row by column; None for null."""
    (count,) = struct.unpack_from(">h", row)
    place, values = 2, list[bytes | None]()
    for _ in range(count):
        (length,) = struct.unpack_from(">i", row, place)
        place += 4
        values.append(None if length < 0 else row[place : place + length])
        place += max(length, 0)
    assert place == len(row)
    return dict(zip(table.columns, values, strict=True))


def number(text: str) -> bytes:
    return encode_numeric(text)[4:]


def integer(value: int) -> bytes:
    return struct.pack(">q", value)


def time(us: int) -> bytes:
    return integer(us - PG_EPOCH_US)


MINI_TICKER = MiniTicker("BTCUSDT", NOW_US, "1", "2", "3", "0.5", "10", "20", NOW_NS)
TICKER_PRICES = ("1", "2", "3", "0.5", "10", "20", "-1", "-0.5", "1.5", "2", "0.1", "1", "5", "1.1", "6")
TICKER = Ticker("BTCUSDT", NOW_US, *TICKER_PRICES, NOW_US - 86_400_000_000, NOW_US, 11, 12, 2, NOW_NS)
AVG_PRICE = AvgPrice("BTCUSDT", NOW_US, "5m", "1.25", NOW_US - 500, NOW_NS)

BINARY_ROWS = {
    tables.TRADES: encode.trade(SYMBOL_ID, a_trade(5)),
    tables.AGG_TRADES: encode.agg_trade(SYMBOL_ID, an_agg_trade(5)),
    tables.BOOK_TICKERS: encode.book_ticker(SYMBOL_ID, a_book_ticker(5)),
    tables.KLINES: encode.kline(SYMBOL_ID, a_kline()),
    tables.TICKERS: encode.ticker(SYMBOL_ID, TICKER),
    tables.AVG_PRICES: encode.avg_price(SYMBOL_ID, AVG_PRICE),
}


@pytest.mark.parametrize("table", BINARY_ROWS, ids=lambda table: table.name)
def test_binary_row_has_the_columns_of_its_table(table: Table) -> None:
    """Each row has a field for each column, of the size of its type."""
    sizes = {"timestamp with time zone": 8, "bigint": 8, "integer": 4, "boolean": 1}

    row = fields(table, BINARY_ROWS[table])

    for (column, value), kind in zip(row.items(), table.column_types, strict=True):
        assert value is not None, column
        assert len(value) == sizes.get(kind, len(value)), column
    assert row["symbol_id"] == struct.pack(">i", SYMBOL_ID)


def test_trade_keeps_every_field() -> None:
    """A trade's times, id, side and exact decimals are in its row."""
    trade = a_trade(5)

    assert fields(tables.TRADES, encode.trade(SYMBOL_ID, trade)) == {
        "ts": time(trade.ts_us),
        "trade_id": integer(5),
        "recv_ts": time(trade.recv_ns // 1_000),
        "symbol_id": struct.pack(">i", SYMBOL_ID),
        "buyer_is_maker": b"\1",
        "price": number("61602.01000000"),
        "qty": number("0.5"),
    }


def test_agg_trade_keeps_the_range_of_its_trades() -> None:
    """An aggregate's first and last trade ids do not change places."""
    row = fields(tables.AGG_TRADES, BINARY_ROWS[tables.AGG_TRADES])

    assert (row["first_trade_id"], row["last_trade_id"]) == (integer(10), integer(11))
    assert row["buyer_is_maker"] == b"\0"


def test_book_ticker_keeps_bid_and_ask_apart() -> None:
    """Bid and ask, price and quantity stand in their own columns."""
    row = fields(tables.BOOK_TICKERS, BINARY_ROWS[tables.BOOK_TICKERS])

    quotes = [row[name] for name in ("bid_price", "bid_qty", "ask_price", "ask_qty")]
    assert quotes == [number("1.10000000"), number("3.00000000"), number("1.20000000"), number("4")]


def test_kline_keeps_every_field() -> None:
    """A candle's row names interval, state and nine numbers in the order of the columns."""
    row = fields(tables.KLINES, encode.kline(SYMBOL_ID, a_kline("105.5", is_closed=True, after_s=60)))

    assert row["interval"] == b"1m"
    assert row["is_closed"] == b"\1"
    assert (row["open_time"], row["event_ts"]) == (time(NOW_US), time(NOW_US + 60_000_000))
    assert [row[name] for name in ("open", "high", "low", "close")] == [
        number(text) for text in ("100.0", "110.0", "90.0", "105.5")
    ]
    assert (row["trades"], row["taker_buy_quote_volume"]) == (integer(9), number("300"))


def test_mini_ticker_leaves_the_24h_fields_null() -> None:
    """A mini ticker shares the table with the 24 h ticker, and what it lacks is null."""
    row = fields(tables.TICKERS, encode.mini_ticker(SYMBOL_ID, MINI_TICKER))

    columns = tables.TICKERS.columns
    extra = columns[columns.index("price_change") :]
    assert row["kind"] == b"mini_ticker"
    assert [row[name] for name in extra] == [None] * 14
    assert row["quote_volume"] == number("20")


def test_ticker_keeps_its_own_fields() -> None:
    """A 24 h ticker's row has signed changes, both quotes and the ids of its window."""
    row = fields(tables.TICKERS, BINARY_ROWS[tables.TICKERS])

    assert (row["kind"], row["price_change"], row["ask_qty"]) == (b"ticker", number("-1"), number("6"))
    assert (row["first_trade_id"], row["trades"]) == (integer(11), integer(2))


def test_avg_price_keeps_the_time_of_its_last_trade() -> None:
    """An average price's row has event time, last trade's time and receive time apart."""
    row = fields(tables.AVG_PRICES, BINARY_ROWS[tables.AVG_PRICES])

    assert (row["ts"], row["last_trade_ts"], row["recv_ts"]) == (
        time(NOW_US),
        time(NOW_US - 500),
        time(NOW_US),
    )


def test_depth_delta_is_a_line_of_the_exchange_own_strings() -> None:
    """A delta becomes one line of COPY text, its arrays in the order of the levels."""
    ts_us = 1_723_161_253_937_123  # 2024-08-08T23:54:13.937123Z
    delta = a_delta(9, ts_us=ts_us, bids=[("2.0", "1.10"), ("1.0", "0")])

    assert encode.depth_delta(SYMBOL_ID, delta) == (
        b"2024-08-08 23:54:13.937123+00\t9\t9\t2024-08-08 23:54:13.937123+00\t7\t"
        b"{2.0,1.0}\t{1.10,0}\t{61602.02000000}\t{0.00000000}\n"
    )


def test_depth_snapshot_escapes_its_reason() -> None:
    """A reason with a tab or a backslash stays one field."""
    line = encode.depth_snapshot(SYMBOL_ID, a_snapshot()._replace(reason="a\tb\\c\nd\0"))

    assert line.split(b"\t")[-3] == b"a\\tb\\\\c\\nd"
    assert len(line.split(b"\t")) == len(tables.DEPTH_SNAPSHOTS.columns)


def test_depth_snapshot_ends_with_the_range_in_which_it_is_known() -> None:
    """A whole book is known from 0 to infinity, which the database takes for a number."""
    whole, cut = a_snapshot(), a_snapshot()._replace(bids_known_from="1.50", asks_known_to="2.50")

    assert encode.depth_snapshot(SYMBOL_ID, whole).endswith(b"\t0\tInfinity\n")
    assert encode.depth_snapshot(SYMBOL_ID, cut).endswith(b"\t1.50\t2.50\n")


@pytest.mark.parametrize("bound", ["1\t2", "NaN", "-1", "1e5"])
def test_depth_snapshot_refuses_a_bound_that_is_no_plain_decimal(bound: str) -> None:
    """Junk cannot become structure."""
    with pytest.raises(ValueError, match="bound of a book"):
        encode.depth_snapshot(SYMBOL_ID, a_snapshot()._replace(bids_known_from=bound))


def test_depth_without_levels_has_empty_arrays() -> None:
    """An event that changes nothing is four empty arrays."""
    line = encode.depth_delta(SYMBOL_ID, a_delta()._replace(asks=[]))

    assert line.endswith(b"\t{}\t{}\t{}\t{}\n")


@pytest.mark.parametrize(
    "junk", ["1\t2", "1}", "{1", "1,2", "1e5", "NaN", "-1", "1 ", "1\n", "\\N", '"1"', "١"]
)
@pytest.mark.parametrize("place", [0, 1])
def test_depth_level_with_junk_is_refused(junk: str, place: int) -> None:
    """A level that is not a plain decimal cannot become structure of the line."""
    level = [(junk, "1"), ("1", junk)][place]

    with pytest.raises(ValueError, match="ascii|plain decimal"):
        encode.depth_delta(SYMBOL_ID, a_delta(bids=[("1", "1"), level]))


@given(st.text(max_size=6), st.text(max_size=6))
def test_no_level_can_change_the_shape_of_a_line(price: str, qty: str) -> None:
    """Whatever stands in a level, the line is refused or keeps its nine fields."""
    try:
        line = encode.depth_delta(SYMBOL_ID, a_delta(bids=[(price, qty)]))
    except ValueError:
        return
    assert line.count(b"\t") == 8
    assert line.count(b"\n") == 1


@pytest.mark.parametrize("trade", [a_trade(price="cheap"), a_trade(qty="")], ids=["price", "qty"])
def test_trade_with_junk_for_a_number_is_refused(trade: Trade) -> None:
    """A trade whose price or quantity is no decimal raises ValueError."""
    with pytest.raises(ValueError, match="decimal"):
        encode.trade(SYMBOL_ID, trade)


def test_numbers_beyond_64_bits_are_refused_in_every_binary_row() -> None:
    """An id or time that fits no bigint raises ValueError, not struct's own error."""
    huge = 2**64
    rows: list[Callable[[], bytes]] = [
        lambda: encode.trade(SYMBOL_ID, a_trade(huge, ts_us=NOW_US)),
        lambda: encode.agg_trade(SYMBOL_ID, an_agg_trade()._replace(last_trade_id=huge)),
        lambda: encode.book_ticker(SYMBOL_ID, a_book_ticker(huge)),
        lambda: encode.kline(SYMBOL_ID, a_kline()._replace(trades=huge)),
        lambda: encode.mini_ticker(SYMBOL_ID, MINI_TICKER._replace(ts_us=huge)),
        lambda: encode.ticker(SYMBOL_ID, TICKER._replace(trades=huge)),
        lambda: encode.avg_price(SYMBOL_ID, AVG_PRICE._replace(ts_us=huge)),
    ]

    for row in rows:
        with pytest.raises(ValueError, match="out of range"):
            row()


@pytest.mark.parametrize("ts_us", [10**20, 10**30, -(10**30)])
def test_depth_time_beyond_the_calendar_is_refused(ts_us: int) -> None:
    """A delta dated outside the calendar raises ValueError."""
    with pytest.raises(ValueError, match="out of range"):
        encode.depth_delta(SYMBOL_ID, a_delta(ts_us=ts_us))


def test_seconds_are_remembered_without_growing_for_ever() -> None:
    """Many different seconds pass, and each is still written rightly."""
    for second in range(3_000):
        line = encode.depth_delta(SYMBOL_ID, a_delta(ts_us=second * 1_000_000))
        assert line.startswith(b"1970-01-01 00:%02d:%02d.000000+00" % (second // 60 % 60, second % 60))


def test_copy_payload_frames_binary_rows_only() -> None:
    """Binary COPY has a header and a trailer, text has neither."""
    binary = encode.copy_payload(tables.TRADES, [b"one", b"two"])
    text = encode.copy_payload(tables.DEPTH_DELTAS, [b"one\n", b"two\n"])

    assert binary == b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"onetwo" + b"\xff\xff"
    assert text == b"one\ntwo\n"


def test_keys_name_columns_of_their_table() -> None:
    """Every table's key is made of its own columns."""
    for table in TABLES:
        assert set(table.key) <= set(table.columns)


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        ("trade", tables.TRADES),
        ("depth", tables.DEPTH_DELTAS),
        ("kline_1m", tables.KLINES),
        ("kline_1M", tables.KLINES),
        ("mini_ticker", tables.TICKERS),
        ("ticker", tables.TICKERS),
    ],
)
def test_kind_of_stream_names_its_table(kind: str, table: Table) -> None:
    """A stream's kind says where its rows go."""
    assert tables.table_of_kind(kind) is table


def test_unknown_kind_of_stream_is_refused() -> None:
    """A kind without a table raises ValueError."""
    with pytest.raises(ValueError, match="'tea_leaves'"):
        tables.table_of_kind("tea_leaves")
