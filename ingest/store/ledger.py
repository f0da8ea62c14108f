"""The gap ledger: written inside the transaction of the rows that follow a gap, counted for freshness."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ingest.events import Gap, GapFilled, StreamKey
from ingest.store.instants import instant
from ingest.store.statements import statement

if TYPE_CHECKING:
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
