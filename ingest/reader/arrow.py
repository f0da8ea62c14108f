"""What the server sends for COPY, as Arrow: parsed in blocks while more arrives.

Two ways, both on the connection that has made the checks: float64 as packed rows of one length, which numpy
reads without looking at each (a third of a second of the client a million trades, where a driver made for
Arrow takes six tenths), and exact decimals as text. Times are microseconds, UTC.
"""

import asyncio
import importlib
import io
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from ingest.errors import IngestError
from ingest.reader.kinds import ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

Prices: TypeAlias = Literal["float", "decimal"]
"""Prices and quantities as float64 (15 significant digits; what numpy works with), or exact: decimal128(38,
18).
"""

CopyFormat: TypeAlias = Literal["csv", "binary"]

_BLOCK_BYTES: Final = 8 * 1024 * 1024
_PACKED: Final[dict[ColumnType, str]] = {
    "id": ">i8",
    "count": ">i8",
    "time": ">i8",
    "number": ">f8",
    "flag": "u1",
}
_PACKED_HEADER_BYTES: Final = 19
_PACKED_END: Final = b"\xff\xff"
_PG_EPOCH_US: Final = 946_684_800_000_000
DECIMAL_SCALE: Final = 18


class MissingPackage(IngestError):
    """A package is not installed; the message says how to."""


def schema_of(columns: Mapping[str, ColumnType], prices: Prices) -> "pa.Schema":
    """The Arrow schema of a table with these columns."""
    arrow = pyarrow()
    numbers = {"float": arrow.float64(), "decimal": arrow.decimal128(38, DECIMAL_SCALE)}
    if prices not in numbers:
        raise ValueError(f"prices are 'float' or 'decimal', not {prices!r}")
    types = {
        "id": arrow.int64(),
        "count": arrow.int64(),
        "time": arrow.timestamp("us", "UTC"),
        "number": numbers[prices],
        "flag": arrow.bool_(),
        "text": arrow.string(),
    }
    return arrow.schema([(name, types[kind]) for name, kind in columns.items()])


class TableParser:
    """Takes what COPY sends, wherever it is cut, and gives one table; see `text_parser` and `packed_parser`.

    Blocks are parsed in a thread, so that neither memory nor the event loop has to hold it all at once.
    """

    def __init__(self, schema: "pa.Schema", rows: "_Rows") -> None:
        self._schema = schema
        self._rows = rows
        self._waiting = bytearray()
        self._tables: list[pa.Table] = []

    @property
    def format(self) -> CopyFormat:
        """What COPY has to be asked for."""
        return self._rows.format

    async def take(self, data: bytes) -> None:
        """The next bytes."""
        self._waiting += data
        if len(self._waiting) >= _BLOCK_BYTES:
            await self._parse(self._rows.whole(self._waiting))

    async def finished(self) -> "pa.Table":
        """The whole table, when all was taken."""
        await self._parse(self._rows.last(self._waiting))
        return pyarrow().concat_tables([self._schema.empty_table(), *self._tables])

    async def _parse(self, block: bytes) -> None:
        if block:
            self._tables.append(await asyncio.to_thread(self._rows.parsed, block, self._schema))


class _Rows(Protocol):
    """How rows stand in what COPY sends."""

    format: CopyFormat

    def whole(self, waiting: bytearray) -> bytes:
        """Take the whole rows off what waits."""
        ...

    def last(self, waiting: bytearray) -> bytes:
        """Take all of it, which is the end."""
        ...

    def parsed(self, block: bytes, schema: "pa.Schema") -> "pa.Table":
        """Whole rows as a table."""
        ...


class _TextRows:
    """FORMAT csv, of columns without text: exact, of any type, null where there is nothing."""

    format: CopyFormat = "csv"

    def whole(self, waiting: bytearray) -> bytes:
        end = waiting.rfind(b"\n") + 1
        block = bytes(waiting[:end])
        del waiting[:end]
        return block

    def last(self, waiting: bytearray) -> bytes:
        return bytes(waiting)

    def parsed(self, block: bytes, schema: "pa.Schema") -> "pa.Table":
        pyarrow()
        from pyarrow import csv

        return csv.read_csv(
            io.BytesIO(block),
            read_options=csv.ReadOptions(column_names=schema.names, block_size=1 << 20),
            convert_options=csv.ConvertOptions(
                column_types=schema, true_values=["t"], false_values=["f"], null_values=[""]
            ),
        )


class _PackedRows:
    """FORMAT binary, of columns that are never null and each of one width: every row is as long as the
    others.

    A row is the number of its columns, and each column its length and its value, most significant byte first.
    """

    format: CopyFormat = "binary"

    def __init__(self, columns: Mapping[str, ColumnType]) -> None:
        self._numpy = importlib.import_module("numpy")
        codes = [_PACKED[kind] for kind in columns.values()]
        pairs = [((f"length_{n}", ">i4"), (f"value_{n}", code)) for n, code in enumerate(codes)]
        self._row = self._numpy.dtype([("columns", ">i2"), *(field for pair in pairs for field in pair)])
        self._kinds = list(columns.values())
        self._begun = False

    def whole(self, waiting: bytearray) -> bytes:
        self._skip_header(waiting)
        end = len(waiting) - len(waiting) % int(self._row.itemsize)
        block = bytes(waiting[:end])
        del waiting[:end]
        return block

    def last(self, waiting: bytearray) -> bytes:
        self._skip_header(waiting)
        if not waiting.endswith(_PACKED_END):
            raise ValueError("rows have another width than their columns say")
        return bytes(waiting[: -len(_PACKED_END)])

    def _skip_header(self, waiting: bytearray) -> None:
        if not self._begun:
            del waiting[:_PACKED_HEADER_BYTES]
            self._begun = True

    def parsed(self, block: bytes, schema: "pa.Schema") -> "pa.Table":
        arrow, rows = pyarrow(), self._numpy.frombuffer(block, self._row)
        lengths_fit = all(
            (rows[f"length_{n}"] == self._row[f"value_{n}"].itemsize).all() for n in range(len(self._kinds))
        )
        if not (lengths_fit and (rows["columns"] == len(self._kinds)).all()):
            raise ValueError("rows have another width than their columns say")

        def column(n: int, kind: ColumnType) -> "pa.Array":
            values = rows[f"value_{n}"]
            if kind == "flag":
                return arrow.array(values != 0)
            native = values.astype(values.dtype.newbyteorder("="))
            if kind != "time":
                return arrow.array(native)
            return arrow.array(native + _PG_EPOCH_US).cast(arrow.timestamp("us", "UTC"))

        return arrow.table([column(n, kind) for n, kind in enumerate(self._kinds)], schema=schema)


def text_parser(columns: Mapping[str, ColumnType], prices: Prices) -> TableParser:
    """For any columns; ask COPY for them as they are."""
    return TableParser(schema_of(columns, prices), _TextRows())


def packed_parser(columns: Mapping[str, ColumnType]) -> TableParser:
    """For columns without nulls, numbers asked for as float8; takes half the time of the client that text
    does.
    """
    return TableParser(schema_of(columns, "float"), _PackedRows(columns))


def table_of(rows: Sequence[Sequence[object]], columns: Mapping[str, str]) -> "pa.Table":
    """A small table of the driver's records; `columns` has the server's types, numeric becomes float64."""
    arrow = pyarrow()
    times = arrow.timestamp("us", "UTC")
    types = {
        "timestamptz": times,
        "int4": arrow.int64(),
        "int8": arrow.int64(),
        "float8": arrow.float64(),
        "numeric": arrow.float64(),
        "bool": arrow.bool_(),
        "text": arrow.string(),
        "text[]": arrow.list_(arrow.string()),
    }
    arrays = [
        arrow.array([_plain(row[place]) for row in rows], types[name])
        for place, name in enumerate(columns.values())
    ]
    return arrow.table(arrays, names=list(columns))


def _plain(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else value


def pyarrow() -> ModuleType:
    """The package, or MissingPackage."""
    try:
        return importlib.import_module("pyarrow")
    except ImportError:
        raise MissingPackage(needs("pyarrow")) from None


def needs(package: str) -> str:
    """What to tell whoever lacks a package."""
    return (
        f"tables need {package}: pip install '{package}' (or install ingest with its extra: 'ingest[reader]')"
    )
