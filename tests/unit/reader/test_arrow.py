"""What COPY sends becomes a table, wherever it is cut."""

import struct
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.reader import arrow
from ingest.reader.arrow import TableParser, packed_parser, schema_of, table_of, text_parser
from ingest.reader.kinds import ColumnType

COLUMNS: dict[str, ColumnType] = {"n": "id", "ts": "time", "price": "number", "maker": "flag"}
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)

Row = tuple[int, int, float, bool]
rows = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-(10**14), 10**15),
        st.floats(allow_nan=False, width=64),
        st.booleans(),
    ),
    max_size=12,
)


def packed(found: list[Row]) -> bytes:
    """As PostgreSQL sends them."""
    body = b"".join(
        struct.pack(">hiqiqidi?", 4, 8, n, 8, ts, 8, price, 1, maker) for n, ts, price, maker in found
    )
    return HEADER + body + b"\xff\xff"


async def table(parser: TableParser, sent: bytes, cut: int) -> pa.Table:
    """Taken in pieces."""
    for start in range(0, len(sent), cut):
        await parser.take(sent[start : start + cut])
    return await parser.finished()


@given(rows, st.integers(1, 200), st.integers(20, 100))
async def test_packed_rows_are_read_whatever_the_pieces(found: list[Row], cut: int, block: int) -> None:
    """Every value as it was, in blocks of any size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow, "_BLOCK_BYTES", block)
        got = await table(packed_parser(COLUMNS), packed(found), cut)

    assert got.schema == schema_of(COLUMNS, "float")
    assert got.to_pylist() == [
        {"n": n, "ts": EPOCH + timedelta(microseconds=ts), "price": price, "maker": maker}
        for n, ts, price, maker in found
    ]


@pytest.mark.parametrize(
    "sent",
    [
        packed([(1, 2, 3.0, True)])[:-1],
        HEADER + struct.pack(">hiqiqiii?", 4, 8, 1, 8, 2, 4, 3, 1, True) + b"\xff\xff",
        HEADER + struct.pack(">hiqiqiqi?", 4, 8, 1, 8, 2, -1, 3, 1, True) + b"\xff\xff",
    ],
)
async def test_rows_of_another_width_are_refused(sent: bytes) -> None:
    """Rather than read askew."""
    with pytest.raises(ValueError, match="another width|buffer size"):
        await table(packed_parser(COLUMNS), sent, 1_000)


async def test_text_is_exact_and_may_have_nulls() -> None:
    """In blocks of any size."""
    sent = b"1,2026-11-22 08:30:00.000001+00,0.100000000000000001,t\n,2026-11-22 08:30:00+00,12,f\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow, "_BLOCK_BYTES", 10)
        got = await table(text_parser(COLUMNS, "decimal"), sent, 7)

    assert got.to_pylist() == [
        {
            "n": 1,
            "ts": datetime(2026, 11, 22, 8, 30, 0, 1, tzinfo=UTC),
            "price": Decimal("0.100000000000000001"),
            "maker": True,
        },
        {"n": None, "ts": datetime(2026, 11, 22, 8, 30, tzinfo=UTC), "price": Decimal(12), "maker": False},
    ]


async def test_nothing_is_an_empty_table() -> None:
    """With its columns."""
    for parser, sent in ((packed_parser(COLUMNS), packed([])), (text_parser(COLUMNS, "float"), b"")):
        got = await table(parser, sent, 100)
        assert (got.num_rows, got.schema) == (0, schema_of(COLUMNS, "float"))


def test_records_keep_their_types_without_a_value() -> None:
    """A column of nulls is still one of times."""
    got = table_of(
        [(None, Decimal("1.5"), ["a"])], {"at": "timestamptz", "tick": "numeric", "story": "text[]"}
    )

    assert got.schema.field("at").type == pa.timestamp("us", "UTC")
    assert got.to_pylist() == [{"at": None, "tick": 1.5, "story": ["a"]}]


def test_prices_are_one_of_two_things() -> None:
    """And nothing else by mistake."""
    with pytest.raises(ValueError, match="'float' or 'decimal'"):
        schema_of(COLUMNS, "exact")  # type: ignore[arg-type]
