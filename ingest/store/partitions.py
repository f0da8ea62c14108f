"""Partitions made ahead of the rows, and a look at the net below them.

Which tables have partitions, and of which span, stands in `ops.partition_plan`. Each partition is made
in a transaction of its own, short and safe beside writers and other makers; rows that had fallen into
the default partition meanwhile are moved to where they belong.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection


class MadePartition(NamedTuple):
    """A partition that did not exist; `moved` rows were waiting for it in the default partition."""

    relation: str
    range_start: datetime
    moved: int


async def ensure_partitions(
    connection: "Connection", *, now: datetime, days_ahead: int = 3, days_back: int = 1
) -> list[MadePartition]:
    """Make all partitions from `days_back` before to `days_ahead` after `now`; return the new ones.

    Tables parted by months get the month before too, where candles of a week may open. `now` has a time
    zone. StoreUnavailable when a lock could not be had in two seconds (a long query over everything
    holds it): rows go to the default partition meanwhile, so call again later.
    """
    span = (now - timedelta(days=days_back), now + timedelta(days=days_ahead))
    made: list[MadePartition] = []
    try:
        for relation, range_start in await connection.fetch(statement("missing_partitions"), *span):
            moved = await connection.fetchval(statement("ensure_partition"), relation, range_start)
            if moved is not None:
                made.append(MadePartition(relation, range_start, moved))
    except DRIVER_ERRORS as error:
        raise translated(error) from error
    return made


async def rows_in_default(connection: "Connection") -> dict[str, int]:
    """Rows that nobody had made a partition for, by table; all zero when all is well."""
    try:
        rows = await connection.fetch(statement("rows_in_default"))
    except DRIVER_ERRORS as error:
        raise translated(error) from error
    return {row["relation"]: row["row_count"] for row in rows}
