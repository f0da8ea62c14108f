"""What was learned of each stream's rhythm, kept in the database so that a restart does not forget."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ingest.events import StreamKey
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection


class StoredRhythm(NamedTuple):
    """One row of `ops.stream_rhythms`; quantiles in seconds, oldest period first."""

    key: StreamKey
    quantiles_s: tuple[float, ...]
    gaps: tuple[int, ...]
    messages: int
    threshold_s: float
    explanation: str


async def load_rhythms(connection: "Connection") -> list[StoredRhythm]:
    """All rows; threshold and explanation are made anew from what was learned and are left out."""
    rows = await connection.fetch(statement("load_rhythms"))
    return [
        StoredRhythm(
            key=StreamKey(row["market"], row["symbol"], row["kind"]),
            quantiles_s=tuple(row["quantiles_s"]),
            gaps=tuple(row["gaps"]),
            messages=row["messages"],
            threshold_s=0.0,
            explanation="",
        )
        for row in rows
    ]


async def save_rhythms(connection: "Connection", rows: Sequence[StoredRhythm]) -> None:
    """Insert or replace the rows of these streams."""
    values = [(*row.key, list(row.quantiles_s), list(row.gaps), *row[3:]) for row in rows]
    await connection.executemany(statement("save_rhythms"), values)


async def forget_streams(connection: "Connection", keys: Sequence[StreamKey]) -> None:
    """Take streams out of the freshness table: they are not ingested any more."""
    columns = [list(column) for column in zip(*keys, strict=True)] if keys else [[], [], []]
    await connection.execute(statement("forget_streams"), *columns)


async def forget_unplanned(
    connection: "Connection", market: str, planned: Sequence[StreamKey], *, unwritten_s: float = 0.0
) -> None:
    """Take all other streams of a market out of the freshness table, if unwritten for so long."""
    symbols, kinds = [key.symbol for key in planned], [key.kind for key in planned]
    await connection.execute(statement("forget_unplanned"), market, symbols, kinds, unwritten_s)
