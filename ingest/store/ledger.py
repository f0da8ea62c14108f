"""The gap ledger: written inside the transaction of the rows that follow a gap, counted for freshness."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ingest.events import Gap, GapFilled, StreamKey
from ingest.store.instants import instant, microseconds
from ingest.store.statements import statement

if TYPE_CHECKING:
    import asyncpg

    from ingest.store.sessions import Connection


async def write_gaps(connection: "Connection", gaps: Iterable[Gap | GapFilled]) -> None:
    """Open and close gaps, in this order; a gap that is there already stays as it is."""
    found = list(gaps)
    await _open_gaps(connection, [gap for gap in found if isinstance(gap, Gap)])
    await _close_filled_gaps(connection, [gap for gap in found if isinstance(gap, GapFilled)])


async def _open_gaps(connection: "Connection", gaps: list[Gap]) -> None:
    if gaps:
        await connection.execute(
            statement("open_gaps"),
            [gap.key.market for gap in gaps],
            [gap.key.symbol for gap in gaps],
            [gap.key.kind for gap in gaps],
            [gap.first_id for gap in gaps],
            [gap.last_id for gap in gaps],
            [instant(gap.start_us) for gap in gaps],
            [instant(gap.end_us) for gap in gaps],
            [gap.cause for gap in gaps],
            [gap.repairable for gap in gaps],
            [instant(gap.opened_us) for gap in gaps],
            [gap.note for gap in gaps],
        )


async def _close_filled_gaps(connection: "Connection", filled: list[GapFilled]) -> None:
    if filled:
        await connection.execute(
            statement("close_filled_gaps"),
            [gap.key.market for gap in filled],
            [gap.key.symbol for gap in filled],
            [gap.key.kind for gap in filled],
            [gap.first_id for gap in filled],
            [gap.last_id for gap in filled],
            [gap.rows for gap in filled],
            [instant(gap.closed_us) for gap in filled],
        )


async def count_open_gaps(connection: "Connection") -> dict[StreamKey, int]:
    """Open gaps by stream; a stream without any is absent."""
    rows = await connection.fetch(statement("count_open_gaps"))
    return {StreamKey(row["market"], row["symbol"], row["kind"]): row["gaps"] for row in rows}


class OpenGap(NamedTuple):
    """What is missing and may still come; `opened_us` in microseconds since the epoch, UTC."""

    key: StreamKey
    first_id: int | None
    last_id: int | None
    cause: str
    opened_us: int


async def oldest_open_gaps(connection: "Connection", limit: int) -> list[OpenGap]:
    """At most `limit` open gaps, those that have waited longest first."""
    rows = await connection.fetch(statement("oldest_open_gaps"), limit)
    return [
        OpenGap(
            StreamKey(row["market"], row["symbol"], row["kind"]),
            row["first_id"],
            row["last_id"],
            row["cause"],
            microseconds(row["opened_at"]),
        )
        for row in rows
    ]


class LedgerGap(NamedTuple):
    """A gap of the ledger as it stands there; times in microseconds since the epoch, UTC."""

    gap_id: int
    key: StreamKey
    first_id: int | None
    last_id: int | None
    start_us: int | None
    end_us: int | None


async def newest_gap_id(connection: "Connection") -> int:
    """The highest number that a gap has; 0 without any."""
    newest: int = await connection.fetchval(statement("newest_gap"))
    return newest


async def gaps_after(connection: "Connection", gap_id: int) -> list[LedgerGap]:
    """Recent gaps with a higher number that are open, or cannot be repaired."""
    rows = await connection.fetch(statement("gaps_after"), gap_id)
    return [
        LedgerGap(
            row["gap_id"],
            StreamKey(row["market"], row["symbol"], row["kind"]),
            row["first_id"],
            row["last_id"],
            None if row["start_ts"] is None else microseconds(row["start_ts"]),
            None if row["end_ts"] is None else microseconds(row["end_ts"]),
        )
        for row in rows
    ]


async def close_covered_gaps(connection: "Connection", gap_ids: Sequence[int]) -> int:
    """Close gaps that another line of their streams has filled; returns how many were still open."""
    status = await connection.execute(statement("close_covered_gaps"), gap_ids)
    return int(status.rpartition(" ")[2])


class GapPart(NamedTuple):
    """A range of a stream in the ledger's terms; times in microseconds since the epoch, UTC."""

    first_id: int | None
    last_id: int | None
    start_us: int | None
    end_us: int | None


async def gaps_beside(connection: "Connection", gap_id: int) -> list[tuple[GapPart, bool]]:
    """Rows of the same stream that overlap a gap or touch it, and whether they are still missing."""
    rows = await connection.fetch(statement("gaps_beside"), gap_id)
    return [(_part(row), row["is_missing"]) for row in rows]


def _part(row: "asyncpg.Record") -> GapPart:
    times = (row[name] for name in ("start_ts", "end_ts"))
    return GapPart(
        row["first_id"], row["last_id"], *(None if time is None else microseconds(time) for time in times)
    )


async def trim_gap(connection: "Connection", gap_id: int, left: Sequence[GapPart]) -> None:
    """Close a gap that cannot be repaired, unless somebody has; what is left of it gets rows of its own."""
    await connection.execute(
        statement("trim_gap"),
        gap_id,
        [part.first_id for part in left],
        [part.last_id for part in left],
        [instant(part.start_us) for part in left],
        [instant(part.end_us) for part in left],
    )
