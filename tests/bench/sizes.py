"""How much room each kind of row takes, by database."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tests.bench.filling import CANDLES, KINDS, bench_statements

if TYPE_CHECKING:
    from ingest.store.sessions import Connection


@dataclass(frozen=True)
class Size:
    """Of rows of one kind. `rows_bytes` is heap and TOAST, or what a columnstore keeps instead of them."""

    kind: str
    rows: int
    rows_bytes: int
    index_bytes: int

    @property
    def bytes_a_row(self) -> float:
        return (self.rows_bytes + self.index_bytes) / max(self.rows, 1)

    @property
    def index_bytes_a_row(self) -> float:
        return self.index_bytes / max(self.rows, 1)


async def naive_sizes(connection: "Connection") -> list[Size]:
    """Of every kind in the naive schema."""
    return [await _size(connection, kind, f"naive.{kind}", f"count_naive_{kind}") for kind in KINDS]


async def sizes(connection: "Connection", *, timescale: bool) -> list[Size]:
    """Of every kind in the project's schema, candles included."""
    found = []
    for kind in (*KINDS, *CANDLES):
        relation = f"spot_raw.{kind}"
        if timescale:
            relation = await connection.fetchval(bench_statements("stores")["hypertable_of"], relation)
        found.append(await _size(connection, kind, relation, f"count_{kind}", timescale=timescale))
    return found


async def _size(
    connection: "Connection", kind: str, relation: str, count: str, *, timescale: bool = False
) -> Size:
    stores = bench_statements("stores")
    is_hypertable = timescale and await connection.fetchval(stores["is_hypertable"], relation)
    how = "size_of_hypertable" if is_hypertable else "size_of_partitions"
    rows_bytes, index_bytes = await connection.fetchrow(stores[how], relation) or (0, 0)
    return Size(kind, await connection.fetchval(stores[count]), rows_bytes, index_bytes)


async def columnstore_sizes(connection: "Connection", *, before: datetime) -> list[Size]:
    """Of the kinds that have converted chunks, and of these alone; they are all chunks `before` a moment."""
    stores, found = bench_statements("stores"), []
    for kind in KINDS:
        relation = f"spot_raw.{kind}"
        if await connection.fetchval(stores["is_hypertable"], relation):
            stats = await connection.fetchrow(stores["size_of_columnstore"], relation)
            if stats and stats["chunks"]:
                rows = await connection.fetchval(stores[f"count_{kind}_before"], before)
                found.append(Size(kind, rows, stats["rows_bytes"], stats["index_bytes"]))
    return found
