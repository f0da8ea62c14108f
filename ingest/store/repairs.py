"""The gap ledger as repairs use it: which gaps are open, what of each is stored, how one is closed."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, cast

from ingest.binance.streams import ID_RULE, REPAIRABLE, interval_of
from ingest.buffer.tables import Table, table_of_kind
from ingest.events import Market, StreamKey
from ingest.sequence.backfill import Hole, IdRange, OpenGap, Settled, Stored
from ingest.sequence.tracker import last_open_us, next_open_us
from ingest.store.instants import instant, microseconds
from ingest.store.statements import statement

if TYPE_CHECKING:
    import asyncpg

    from ingest.store.sessions import Connection

_SLACK_US: Final = 60_000_000
"""How far a row's time may lie outside its gap's: reordered neighbours, a refused row among late ones."""

_MOST_PARTITIONS: Final = 400


async def open_gaps(connection: "Connection", keys: Collection[StreamKey], *, most: int) -> list[OpenGap]:
    """Open gaps of these streams that have ids, those with the newest data first."""
    columns = [list(column) for column in zip(*keys, strict=True)] or [[], [], []]
    rows = await connection.fetch(statement("open_gaps_of"), *columns, most)
    return [_open_gap(row) for row in rows]


async def orphaned_gaps(connection: "Connection", market: str, *, most: int) -> list[tuple[OpenGap, int]]:
    """Open gaps of streams that no shard carries any more, the newest first, with their symbols' ids.

    What is carried is what the supervisor publishes; while it has published nothing yet there are none.
    """
    rows = await connection.fetch(statement("orphaned_gaps"), market, sorted(REPAIRABLE), most)
    return [(_open_gap(row), row["symbol_id"]) for row in rows]


def _open_gap(row: "asyncpg.Record") -> OpenGap:
    times = (row[name] for name in ("start_ts", "end_ts"))
    return OpenGap(
        row["gap_id"],
        StreamKey(cast("Market", row["market"]), row["symbol"], row["kind"]),
        row["first_id"],
        row["last_id"],
        *(None if time is None else microseconds(time) for time in times),
    )


async def hole_of(connection: "Connection", gap: OpenGap, symbol_id: int) -> Hole:
    """The gap with what of it is stored by now."""
    first, last = _bounds(gap)
    return Hole(first, last, await stored_runs(connection, gap, symbol_id))


def _bounds(gap: OpenGap) -> IdRange:
    """A gap of candles is bounded by opening times; the last candle covers its whole span."""
    if ID_RULE[gap.key.kind] != "candle":
        return IdRange(gap.first_id, gap.last_id)
    after_us = next_open_us(gap.last_id * 1_000, interval_of(gap.key.kind))
    return IdRange(gap.first_id, after_us // 1_000 - 1)


async def stored_runs(connection: "Connection", gap: OpenGap, symbol_id: int) -> list[Stored]:
    """What of the gap's range is in the table; of candles the closed ones, by the milliseconds they cover."""
    kind = gap.key.kind
    if ID_RULE[kind] == "candle":
        times = (instant(gap.first_id * 1_000), instant(gap.last_id * 1_000))
        rows = await connection.fetch(statement("stored_candles"), symbol_id, interval_of(kind), *times)
        return [
            Stored(microseconds(row["open_time"]) // 1_000, microseconds(row["close_time"]) // 1_000, 1)
            for row in rows
        ]
    since = instant(None if gap.start_us is None else gap.start_us - _SLACK_US)
    until = instant(None if gap.end_us is None else gap.end_us + _SLACK_US)
    bounds = (gap.first_id, gap.last_id, since, until)
    rows = await connection.fetch(statement(f"stored_{kind}_runs"), symbol_id, *bounds)
    return [Stored(row["first_id"], row["last_id"], row["row_count"]) for row in rows]


async def settle_gap(connection: "Connection", gap: OpenGap, settled: Settled, *, closed_us: int) -> None:
    """Close the gap's row, unless somebody has; parts that are absent get rows of their own."""
    closed_at = instant(closed_us)
    async with connection.transaction():
        status = await connection.execute(
            statement("settle_gap"), gap.gap_id, settled.state, settled.rows, closed_at, settled.note
        )
        if settled.absent and status == "UPDATE 1":
            parts = [_in_ledger(gap.key.kind, part) for part in settled.absent]
            firsts, lasts = [part.first for part in parts], [part.last for part in parts]
            await connection.execute(statement("note_absent"), gap.gap_id, firsts, lasts, closed_at)


def _in_ledger(kind: str, part: IdRange) -> IdRange:
    if ID_RULE[kind] != "candle":
        return part
    last_us = last_open_us(part.first * 1_000, (part.last + 1) * 1_000, interval_of(kind))
    return IdRange(part.first, last_us // 1_000)


async def partitions_for(connection: "Connection", kind: str, first_us: int, last_us: int) -> None:
    """Make the partitions that old rows of a kind need, from the time of the first to that of the last."""
    table: Table = table_of_kind(kind)
    span = (instant(first_us), instant(last_us + 1))
    name = f"{table.schema}.{table.name}"
    rows = await connection.fetch(statement("missing_partitions_of"), *span, name, _MOST_PARTITIONS)
    for row in rows:
        await connection.fetchval(statement("ensure_partition"), name, row["range_start"])
