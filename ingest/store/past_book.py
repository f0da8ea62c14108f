"""What is stored of a book around a moment, and around a range of its updates.

Decides nothing: `ingest.book.moment` says whether the book of the moment can be known. Imports nothing of the
side that writes, so that readers may use it.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

import asyncpg

from ingest.book.moment import KnownGap, Neighbour, StoredMoment
from ingest.events import ALL_ASKS, ALL_BIDS, DepthDelta, DepthSnapshot, Level
from ingest.store.instants import instant, microseconds
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

# A snapshot is dated by our clock, a delta by the exchange's: how far they may disagree.
CLOCK_SLACK_US: Final = 60_000_000


async def stored_book(
    connection: "Connection", market: str, symbol: str, *, at_us: int | None = None
) -> StoredMoment | None:
    """What is stored of the book of a symbol at a moment, all of one state of the database.

    Without a moment: the newest there is. None when nothing at all is stored of that book.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await stored_moment(connection, market, symbol, at_us=at_us)


async def stored_moment(
    connection: "Connection", market: str, symbol: str, *, at_us: int | None = None
) -> StoredMoment | None:
    """The same within a transaction of the caller's, which has to be one of repeatable reads."""
    newest = await connection.fetchval(statement("newest_book_ts"), market, symbol)
    if newest is None:
        return None
    at = newest if at_us is None else instant(at_us)
    return await _stored_moment(connection, (market, symbol), at, microseconds(newest))


async def _stored_moment(
    connection: "Connection", stream: tuple[str, str], at: datetime, newest_us: int
) -> StoredMoment:
    row = await connection.fetchrow(statement("newest_snapshot"), *stream, at)
    following = await connection.fetchrow(statement("next_snapshot"), *stream, at)
    delta = await connection.fetchrow(statement("next_depth_delta"), *stream, at)
    snapshot = None if row is None else snapshot_of(stream[1], row)
    deltas = [] if snapshot is None else await _deltas(connection, stream, snapshot, at)
    stored = StoredMoment(
        at_us=microseconds(at),
        newest_us=newest_us,
        snapshot=snapshot,
        deltas=deltas,
        next_delta=_neighbour(delta),
        next_snapshot=_neighbour(following),
        gaps=[],
    )
    first_id, last_id = stored.leans_on
    rows = await connection.fetch(statement("gaps_of_book"), *stream, first_id, last_id, at)
    return stored._replace(gaps=[_gap(row) for row in rows])


async def _deltas(
    connection: "Connection", stream: tuple[str, str], snapshot: DepthSnapshot, at: datetime
) -> list[DepthDelta]:
    since = instant(snapshot.ts_us - CLOCK_SLACK_US)
    bounds = (at, snapshot.last_update_id, since)
    rows = await connection.fetch(statement("deltas_after_snapshot"), *stream, *bounds)
    return [delta_of(stream[1], row) for row in rows]


def snapshot_of(symbol: str, row: asyncpg.Record) -> DepthSnapshot:
    """A row of `spot.depth_snapshots`, its numbers as text."""
    bids, asks = _levels(row, "bid"), _levels(row, "ask")
    bids_known_from, asks_known_to = row["bids_known_from"], row["asks_known_to"]
    return DepthSnapshot(
        symbol=symbol,
        last_update_id=row["last_update_id"],
        ts_us=microseconds(row["ts"]),
        bids=bids,
        asks=asks,
        reason=row["reason"],
        recv_ns=microseconds(row["recv_ts"]) * 1_000,
        # Rows from before the range was noted: known as far as they show; without a level, not at all.
        bids_known_from=bids_known_from or (bids[-1][0] if bids else ALL_ASKS),
        asks_known_to=asks_known_to or (asks[-1][0] if asks else ALL_BIDS),
    )


def _neighbour(row: asyncpg.Record | None) -> Neighbour | None:
    return None if row is None else Neighbour(row["update_id"], microseconds(row["ts"]))


def _gap(row: asyncpg.Record) -> KnownGap:
    start, end = row["start_ts"], row["end_ts"]
    return KnownGap(
        gap_id=row["gap_id"],
        first_id=row["first_id"],
        last_id=row["last_id"],
        start_us=None if start is None else microseconds(start),
        end_us=None if end is None else microseconds(end),
        cause=row["cause"],
        state=row["state"],
    )


def delta_of(symbol: str, row: asyncpg.Record) -> DepthDelta:
    """A row of `spot.depth_deltas`, its numbers as text."""
    return DepthDelta(
        symbol=symbol,
        first_update_id=row["first_update_id"],
        final_update_id=row["final_update_id"],
        ts_us=microseconds(row["ts"]),
        bids=_levels(row, "bid"),
        asks=_levels(row, "ask"),
        recv_ns=microseconds(row["recv_ts"]) * 1_000,
    )


def _levels(row: asyncpg.Record, side: str) -> list[Level]:
    return list(zip(row[f"{side}_prices"], row[f"{side}_qtys"], strict=True))
