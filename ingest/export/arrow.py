"""Text of the database to Arrow, exactly: the one place that knows pyarrow.

Numbers become `decimal128(38, 18)`: twenty digits before the point and eighteen behind it, more than the
exchange prints, and the same type in every file, so that files can be read as one table. `Unfit` names a
column with a number that does not fit: the file is then made anew with that column as text. Never a float,
unless asked for.
"""

import io
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from ingest.errors import ConfigError
from ingest.export.kinds import Form, Kind

if TYPE_CHECKING:
    from ingest.export.verdict import Span

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.parquet as pq
except ImportError as error:  # pragma: no cover
    raise ConfigError(
        "`ingest export` needs pyarrow, which is not installed: pip install 'ingest[reader]'"
    ) from error

PRECISION: Final = 38
SCALE: Final = 18
ROW_GROUP_ROWS: Final = 131_072
ROW_GROUP_BYTES: Final = 32 << 20
_LISTED: Final = " "


class Unfit(Exception):
    """A column holds a number that its type cannot take."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


class Shape:
    """The columns of one file: how their text is read, and what they become."""

    def __init__(self, kind: Kind, *, as_float: bool = False, as_text: Collection[str] = ()) -> None:
        self._kind = kind
        number = pa.float64() if as_float else pa.decimal128(PRECISION, SCALE)
        self._types = {
            name: _type(form, pa.string() if name in as_text else number) for name, form in kind.columns
        }
        self.schema = pa.schema([pa.field(name, each) for name, each in self._types.items()])
        read = {Form.WHOLE: pa.int64(), Form.TIME: pa.int64(), Form.FLAG: pa.bool_()}
        self._reading = pyarrow.csv.ConvertOptions(
            column_types={name: read.get(form, pa.string()) for name, form in kind.columns},
            true_values=["t"],
            false_values=["f"],
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        self._names = [name for name, _ in kind.columns]

    def types(self) -> dict[str, str]:
        """For the manifest."""
        return {name: str(each) for name, each in self._types.items()}

    def table(self, lines: bytes) -> "pa.Table":
        """Whole lines of CSV as a table; Unfit when a number does not fit."""
        read = pyarrow.csv.read_csv(
            io.BytesIO(lines),
            read_options=pyarrow.csv.ReadOptions(column_names=self._names, use_threads=False),
            convert_options=self._reading,
        )
        columns = [self._column(name, form, read.column(name)) for name, form in self._kind.columns]
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _column(self, name: str, form: Form, text: "pa.ChunkedArray") -> "pa.ChunkedArray | pa.Array":
        wanted = self._types[name]
        try:
            return _lists(text, wanted.value_type) if form is Form.NUMBERS else text.cast(wanted)
        except pa.ArrowInvalid as error:
            raise Unfit(name) from error


def _type(form: Form, number: "pa.DataType") -> "pa.DataType":
    types = {
        Form.TEXT: pa.string(),
        Form.WHOLE: pa.int64(),
        Form.FLAG: pa.bool_(),
        Form.TIME: pa.timestamp("us", tz="UTC"),
        Form.NUMBER: number,
        Form.NUMBERS: pa.list_(number),
        Form.LIMIT: pa.string(),
    }
    return types[form]


def _lists(text: "pa.ChunkedArray", number: "pa.DataType") -> "pa.Array":
    """Words between spaces as lists of numbers; of no words, split makes one that is empty."""
    words = pc.split_pattern(text.combine_chunks(), _LISTED)
    flat = words.flatten()
    numbers = flat.filter(pc.not_equal(flat, "")).cast(number)
    counts = pc.if_else(pc.equal(text.combine_chunks(), ""), 0, pc.list_value_length(words))
    ends = pc.cumulative_sum(counts.cast(pa.int32()))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    return pa.ListArray.from_arrays(offsets, numbers)


def id_runs(table: "pa.Table", kind: Kind) -> "Iterator[Span]":
    """The ids of a table that is not empty as spans without a hole, in the order of its rows."""
    assert kind.ids is not None
    firsts, lasts = (table.column(name).combine_chunks() for name in kind.ids)
    if not kind.is_consecutive:
        lowest, highest = pc.min(firsts).as_py(), pc.max(lasts).as_py()
        return iter([(lowest, highest)])
    broken = pc.not_equal(pc.subtract(firsts.slice(1), lasts.slice(0, len(lasts) - 1)), 1)
    starts = [0, *(place + 1 for place in pc.indices_nonzero(broken).to_pylist())]
    ends = [*(start - 1 for start in starts[1:]), len(lasts) - 1]
    return ((firsts[start].as_py(), lasts[end].as_py()) for start, end in zip(starts, ends, strict=True))


def times_us(table: "pa.Table", kind: Kind) -> tuple[int, int]:
    """The first and the last time of a table that is not empty, in microseconds since the epoch."""
    bounds = pc.min_max(table.column(kind.time).cast(pa.int64()))
    return bounds["min"].as_py(), bounds["max"].as_py()


def count_false(table: "pa.Table", column: str) -> int:
    """Rows in which a flag is false; none where there is no such column."""
    if column not in table.column_names:
        return 0
    wrong: int = pc.sum(pc.invert(table.column(column)).cast(pa.int64())).as_py() or 0
    return wrong


class RowGroups:
    """A Parquet file that is written row group by row group, in the order in which rows come."""

    def __init__(self, sink: io.RawIOBase, shape: Shape, words: dict[str, str]) -> None:
        schema = shape.schema.with_metadata(words)
        self._schema = schema
        self._writer = pq.ParquetWriter(sink, schema, compression="zstd", compression_level=3, version="2.6")
        self._waiting: list[pa.Table] = []
        self._rows = self._bytes = 0
        self.rows = 0

    def add(self, table: "pa.Table") -> None:
        """Take rows; they are written when there are enough for a row group."""
        self._waiting.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        self.rows += table.num_rows
        if self._rows >= ROW_GROUP_ROWS or self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.concat_tables(self._waiting).replace_schema_metadata(self._schema.metadata)
            self._writer.write_table(table, row_group_size=self._rows)
        self._waiting, self._rows, self._bytes = [], 0, 0

    def close(self) -> None:
        """Write the rest and the footer."""
        self._flush()
        self._writer.close()


def row_groups(file: io.RawIOBase | str, columns: Sequence[str]) -> "Iterator[pa.Table]":
    """Some columns of a Parquet file, row group by row group; OSError or ValueError when it is damaged."""
    with pq.ParquetFile(file) as parquet:
        for number in range(parquet.num_row_groups):
            yield parquet.read_row_group(number, columns=list(columns), use_threads=False)


def is_in_order(table: "pa.Table", kind: Kind) -> bool:
    """Whether the rows are sorted by time, and by id where times are equal."""
    keys = [kind.time, *([kind.ids[1]] if kind.ids else [])]
    order = pc.sort_indices(table.select(keys), sort_keys=[(key, "ascending") for key in keys])
    return bool(order.equals(pa.array(range(len(order)), pa.uint64())))
