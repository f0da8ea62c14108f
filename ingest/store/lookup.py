"""What is read back: ids of symbols, where each stream had got to, the book at a moment."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg

from ingest.binance.answers import Instrument
from ingest.book.moment import KnownGap, Neighbour, StoredMoment
from ingest.events import ALL_ASKS, ALL_BIDS, DepthDelta, DepthSnapshot, Level
from ingest.store.instants import instant, microseconds
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

# A snapshot is dated by our clock, a delta by the exchange's: how far they may disagree.
_CLOCK_SLACK_US: Final = 60_000_000


class ResumePoint(NamedTuple):
    """The newest row of a stream that is safe; `last_id` is None for kinds without ids.

    `committed_us` is the time of the newest committed row where that is an older one (0: there is none);
    None when it is this row.
    """

    last_id: int | None
    ts_us: int
    committed_us: int | None = None


async def instrument_ids(
    connection: "Connection", market: str, instruments: Sequence[Instrument]
) -> dict[str, int]:
    """Store what is new about these instruments; the id of each symbol, the same for ever."""
    columns: list[list[str | None]] = [list(column) for column in zip(*instruments, strict=True)]
    if not columns:
        return {}
    async with connection.transaction():
        await connection.execute(statement("lock_instruments"))
        await connection.execute(statement("update_instruments"), market, *columns)
        await connection.execute(statement("insert_instruments"), market, *columns)
        rows = await connection.fetch(statement("instrument_ids"), market, columns[0])
    return {row["symbol"]: row["symbol_id"] for row in rows}


async def ensure_symbols(connection: "Connection", market: str, symbols: Sequence[str]) -> dict[str, int]:
    """The id of each symbol; one that is not known is entered, as nothing but a name."""
    names = list(symbols)
    nothing = [""] * len(names)
    async with connection.transaction():
        await connection.execute(statement("lock_instruments"))
        columns = (names, nothing, nothing, nothing, [None] * len(names), [None] * len(names))
        await connection.execute(statement("insert_instruments"), market, *columns)
        rows = await connection.fetch(statement("instrument_ids"), market, names)
    return {row["symbol"]: row["symbol_id"] for row in rows}


async def resume_points(
    connection: "Connection", market: str, symbols: Sequence[str], kinds: Iterable[str], *, since_us: int
) -> dict[tuple[str, str], ResumePoint]:
    """The newest committed row by symbol and kind; pairs without any row are absent.

    Looks first at rows since `since_us` (few partitions), then, for symbols with none, at all.
    """
    found: dict[tuple[str, str], ResumePoint] = {}
    for kind in kinds:
        name, *arguments = _resume_statement(kind)
        missing = list(symbols)
        for since in (since_us, 0):
            rows = await connection.fetch(statement(name), market, missing, instant(since), *arguments)
            points = {row["symbol"]: ResumePoint(row["last_id"], microseconds(row["ts"])) for row in rows}
            found |= {(symbol, kind): point for symbol, point in points.items()}
            missing = [symbol for symbol in missing if symbol not in points]
            if not missing:
                break
    return found


def _resume_statement(kind: str) -> tuple[str, ...]:
    """The statement for a kind of stream, and its arguments after the first three."""
    if kind.startswith("kline_"):
        return "resume_klines", kind.removeprefix("kline_")
    if kind in {"mini_ticker", "ticker"}:
        return "resume_tickers", kind
    return ("resume_depth_deltas",) if kind == "depth" else (f"resume_{kind}s",)


async def stored_book(
    connection: "Connection", market: str, symbol: str, *, at_us: int | None = None
) -> StoredMoment | None:
    """What is stored of the book of a symbol at a moment, all of one state of the database.

    Without a moment: the newest there is. None when nothing at all is stored of that book.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
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
    snapshot = None if row is None else _snapshot(stream[1], row)
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
    since = instant(snapshot.ts_us - _CLOCK_SLACK_US)
    bounds = (at, snapshot.last_update_id, since)
    rows = await connection.fetch(statement("deltas_after_snapshot"), *stream, *bounds)
    return [_delta(stream[1], row) for row in rows]


def _snapshot(symbol: str, row: asyncpg.Record) -> DepthSnapshot:
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


def _delta(symbol: str, row: asyncpg.Record) -> DepthDelta:
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
