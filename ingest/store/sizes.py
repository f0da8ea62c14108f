"""How much disk each table takes, by the server's account; plain tables, partitions and hypertables alike.

Decides nothing about the future: that is `ingest.supervisor.forecast`. Asks for the size of every file of
every part (measured: 60 ms for 370 parts), so ask once a minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Final

from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.instants import microseconds
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

SCHEMAS: Final = ("spot_raw", "usdm_raw", "ops")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationSize:
    """One table with all its parts; `columnstore_bytes` is part of `table_bytes`."""

    relation: str
    parts: int
    rows_estimate: int
    table_bytes: int
    index_bytes: int
    oldest_at: datetime | None = None
    rowstore_bytes: int | None = None
    columnstore_bytes: int | None = None
    keep_s: float | None = None
    """Age at which its rows are dropped; None: never."""

    def grows_for_s(self, now_s: float) -> float:
        """Seconds until its oldest rows are old enough to go; infinity where none go."""
        if self.keep_s is None:
            return inf
        age_s = 0.0 if self.oldest_at is None else now_s - self.oldest_at.timestamp()
        return max(0.0, self.keep_s - age_s)

    @property
    def total_bytes(self) -> int:
        return self.table_bytes + self.index_bytes

    @property
    def compression(self) -> float | None:
        """How many times smaller the columnstore is than the rows in it were; None where there is none."""
        if not self.columnstore_bytes or self.rowstore_bytes is None:
            return None
        return self.rowstore_bytes / self.columnstore_bytes


async def relation_sizes(connection: "Connection") -> list[RelationSize]:
    """Every table of ours; StoreUnavailable when one of them is locked for long."""
    try:
        rows = await connection.fetch(statement("relation_sizes"), SCHEMAS)
        found = {row["relation"]: RelationSize(**dict(row)) for row in rows}
        if await connection.fetchval(statement("has_hypertables")):
            for row in await connection.fetch(statement("hypertable_sizes"), SCHEMAS):
                size, plain = RelationSize(**dict(row)), found.get(row["relation"])
                # It knows the rows of analysed chunks only; the statistics of the others say how many came.
                most = size.rows_estimate if plain is None else max(size.rows_estimate, plain.rows_estimate)
                found[size.relation] = replace(size, rows_estimate=most)
        if await connection.fetchval(statement("has_columnstore")):
            for row in await connection.fetch(statement("columnstore_sizes"), SCHEMAS):
                found[row["relation"]] = replace(found[row["relation"]], **dict(row))
        for row in await connection.fetch(statement("kept_spans")):
            if row["relation"] in found:
                found[row["relation"]] = replace(found[row["relation"]], keep_s=row["keep_s"])
    except DRIVER_ERRORS as error:
        raise translated(error) from error
    return list(found.values())


async def note_sizes(connection: "Connection", sizes: Sequence[RelationSize]) -> None:
    """Put a sample into `ops.relation_sizes`, and forget those of eight days ago."""
    columns = (
        [each.relation for each in sizes],
        [each.parts for each in sizes],
        [each.rows_estimate for each in sizes],
        [each.table_bytes for each in sizes],
        [each.index_bytes for each in sizes],
        [each.oldest_at for each in sizes],
        [each.rowstore_bytes for each in sizes],
        [each.columnstore_bytes for each in sizes],
    )
    try:
        await connection.execute(statement("note_relation_sizes"), *columns)
    except DRIVER_ERRORS as error:
        raise translated(error) from error


async def size_history(connection: "Connection", *, back: timedelta) -> dict[str, list[tuple[float, int]]]:
    """By table: seconds since the epoch and bytes in all, oldest first."""
    try:
        rows = await connection.fetch(statement("size_history"), back)
    except DRIVER_ERRORS as error:
        raise translated(error) from error
    history: dict[str, list[tuple[float, int]]] = {}
    for row in rows:
        sample = (microseconds(row["sampled_at"]) / 1e6, row["total_bytes"])
        history.setdefault(row["relation"], []).append(sample)
    return history
