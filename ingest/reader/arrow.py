"""What the server sends for COPY, as Arrow: parsed in blocks while more arrives.

COPY in text is parsed as fast as rows in binary are, and keeps what the database holds: a price becomes a
float64, the nearest there is, or an exact decimal, of the same bytes. Times are microseconds, UTC.
"""

import asyncio
import importlib
import io
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from ingest.errors import IngestError
from ingest.reader.kinds import ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

Prices: TypeAlias = Literal["float", "decimal"]
"""Prices and quantities as float64 (15 significant digits; what numpy works with), or exact: decimal128(38,
18).
"""

_BLOCK_BYTES: Final = 8 * 1024 * 1024
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


class CopyParser:
    """Takes what COPY ... FORMAT csv sends, of columns without text, and gives one table.

    Blocks are parsed in a thread, so that neither memory nor the event loop has to hold it all at once.
    """

    def __init__(self, schema: "pa.Schema") -> None:
        self._schema = schema
        self._waiting = bytearray()
        self._tables: list[pa.Table] = []

    async def take(self, data: bytes) -> None:
        """The next bytes, wherever they are cut."""
        self._waiting += data
        if len(self._waiting) >= _BLOCK_BYTES:
            end = self._waiting.rfind(b"\n") + 1
            await self._parse(bytes(self._waiting[:end]))
            del self._waiting[:end]

    async def finished(self) -> "pa.Table":
        """The whole table."""
        await self._parse(bytes(self._waiting))
        self._waiting.clear()
        return pyarrow().concat_tables([self._schema.empty_table(), *self._tables])

    async def _parse(self, block: bytes) -> None:
        if block:
            self._tables.append(await asyncio.to_thread(parsed, block, self._schema))


def parsed(block: bytes, schema: "pa.Schema") -> "pa.Table":
    """Whole lines of CSV as a table."""
    pyarrow()
    from pyarrow import csv

    return csv.read_csv(
        io.BytesIO(block),
        read_options=csv.ReadOptions(column_names=schema.names, block_size=1 << 20),
        convert_options=csv.ConvertOptions(
            column_types=schema, true_values=["t"], false_values=["f"], null_values=[""]
        ),
    )


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
