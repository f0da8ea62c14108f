"""Candles as continuous aggregates of TimescaleDB: seconds of trades, minutes of seconds, and so on.

They need its full edition, and take the place of the tables, with the same names, columns and numbers.
Policies materialise what is old enough; a query adds what is younger by itself. A trade that is written into
the materialised part is late: it is noted as in `candles`, and a job of the server brings what was noted into
all four kinds, however old it is (`spot_raw.refresh_late_candles`).

Invariants: no policy runs before all history is materialised, for it would hide what is not; the tables and
the views over them are exchanged in one transaction.
"""

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from ingest.store.candles import are_aggregates
from ingest.store.statements import statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ingest.store.sessions import Connection


class Level(NamedTuple):
    """One kind of candle: what it is made of, and what of it its policy refreshes, how often."""

    name: str
    source: str
    width: timedelta
    start_offset: timedelta
    end_offset: timedelta
    every: timedelta
    piece: timedelta
    """How much time one transaction refreshes at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleRefresh:
    """How the aggregates are refreshed; `window` reaches beyond gap repair and ends within retention."""

    window: timedelta = timedelta(days=3)
    """How far the policies of seconds and minutes look back; those of hours and days somewhat further."""
    tail: timedelta = timedelta(seconds=10)
    """What is younger is not materialised: a query aggregates these trades of all symbols each time."""
    late: timedelta = timedelta(seconds=3)
    """A trade of this age may belong to what is materialised, and is noted. Less than `tail`."""
    late_every: timedelta = timedelta(seconds=5)
    """How often what was noted is refreshed."""

    def levels(self) -> tuple[Level, ...]:
        """From the finest to the coarsest."""
        second, minute, hour, day = (timedelta(seconds=each) for each in (1, 60, 3_600, 86_400))
        far, farther = self.window + 2 * hour, max(self.window + day, 3 * day)
        return (
            Level("candles_1s", "trades", second, self.window, self.tail, self.tail, 15 * minute),
            Level("candles_1m", "candles_1s", minute, self.window, minute, minute, day),
            Level("candles_1h", "candles_1m", hour, far, hour, 10 * minute, 30 * day),
            Level("candles_1d", "candles_1h", day, farther, day, hour, 400 * day),
        )


DEFAULT_REFRESH: Final = CandleRefresh()
_MOST_NOTES: Final = 500
_CALL_S: Final = 86_400.0


async def arrange_candles(
    connection: "Connection", *, continuous: bool, refresh: CandleRefresh = DEFAULT_REFRESH
) -> list[str]:
    """Make the aggregates where they are wanted and trades are a hypertable; a sentence for what was done.

    `connection` is the owner's, outside a transaction; its limit for statements does not hold here. May be
    stopped and called again. Aggregates that are there stay, wanted or not: what they are made of may be
    gone.
    """
    done = []
    if not await are_aggregates(connection):
        if not continuous or not await connection.fetchval(statement("are_trades_hypertable")):
            return []
        async with _extension_in_sight(connection):
            await _exchange_tables(connection, refresh)
        done.append("candles are continuous aggregates")
    elif not continuous:
        return []
    async with _extension_in_sight(connection), _unlimited(connection):
        if await _arrange_jobs(connection, refresh):
            done.append(f"candles are made anew {refresh.window.total_seconds() / 86_400:g} days back")
    return done


async def _exchange_tables(connection: "Connection", refresh: CandleRefresh) -> None:
    """Nobody sees the views without what they read. What was rolled up is made again."""
    async with connection.transaction():
        await connection.execute(statement("lock_candles"))
        await connection.execute(statement("put_candle_tables_aside"))
        for level in refresh.levels():
            await connection.execute(statement(f"create_{level.name}"))
        await connection.execute(statement("bind_candle_views"))
        await connection.execute(statement("grant_candle_rights"))
        await connection.execute(statement("drop_candle_tables"))
        await connection.execute(statement("forget_touched"))
        await connection.execute(statement("record_candle_aggregates"))
        await connection.execute(statement("set_candle_reach"), refresh.late)


async def _arrange_jobs(connection: "Connection", refresh: CandleRefresh) -> bool:
    """Whether there was anything to do."""
    await connection.execute(statement("set_candle_reach"), refresh.late)
    if not await connection.fetchval(statement("are_trades_indexed_by_time")):
        await connection.execute(statement("index_trades_by_time"), timeout=_CALL_S)
    late = (_late_config(refresh), refresh.late_every)
    is_right = [
        await connection.fetchval(statement("is_candle_policy"), *_policy(level))
        for level in refresh.levels()
    ]
    if None in is_right:
        await _materialise_history(connection, refresh)
    for level, right in zip(refresh.levels(), is_right, strict=True):
        if not right:
            name, *policy = _policy(level)
            await connection.execute(statement("remove_candle_policy"), f"spot_raw.{name}")
            await connection.execute(statement("add_candle_policy"), f"spot_raw.{name}", *policy)
    if await connection.fetchval(statement("is_late_job"), *late):
        return not all(is_right)
    await connection.execute(statement("remove_late_job"))
    await connection.execute(statement("add_late_job"), *late)
    return True


async def _materialise_history(connection: "Connection", refresh: CandleRefresh) -> None:
    await connection.execute(statement("analyze_trades"), timeout=_CALL_S)
    await connection.execute(statement("note_history"))
    while await connection.fetchval(statement("count_touched")):
        await refresh_late_candles(connection, refresh=refresh)
    await connection.execute(statement("analyze_candle_aggregates"), timeout=_CALL_S)


async def refresh_late_candles(connection: "Connection", *, refresh: CandleRefresh = DEFAULT_REFRESH) -> None:
    """Bring what was noted first into all aggregates, as the job does; the owner's, outside a transaction."""
    async with _extension_in_sight(connection):
        await connection.execute(statement("refresh_late_candles"), _late_config(refresh), timeout=_CALL_S)


def _policy(level: Level) -> tuple[str, timedelta, timedelta, timedelta]:
    return level.name, level.start_offset, level.end_offset, level.every


def _late_config(refresh: CandleRefresh) -> str:
    levels = [
        {
            "name": level.name,
            "source": level.source,
            **{
                name: f"{getattr(level, name).total_seconds():f} seconds"
                for name in ("width", "end_offset", "piece")
            },
        }
        for level in refresh.levels()
    ]
    return json.dumps({"most": _MOST_NOTES, "levels": levels})


@asynccontextmanager
async def _extension_in_sight(connection: "Connection") -> "AsyncIterator[None]":
    row = await connection.fetchrow(statement("see_extension"))
    assert row is not None
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute(statement("restore_search_path"), row["before"])


@asynccontextmanager
async def _unlimited(connection: "Connection") -> "AsyncIterator[None]":
    await connection.execute("SET statement_timeout = 0")
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("RESET statement_timeout")
