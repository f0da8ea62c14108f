"""Candles of our own trades, kept up in tables: what was written is noted, what was noted is rolled up.

Whoever writes trades says in the same transaction which time and symbols they touch (`note_touched`): one
row a batch. A refresh takes such rows and makes the candles of that time anew from what is stored: seconds
from trades, each coarser kind from the finer one. So late, repaired and repeated rows need no care of their
own.

Invariants: a batch's note and its trades are visible together, and a note goes in the transaction that makes
its candles, so that a candle without a note is up to date; a refresh that fails leaves everything as it was;
two at once are harmless, one does it. A candle is never replaced by one of fewer trades: what it was made of
was dropped meanwhile.

Where the server aggregates continuously, `candle_aggregates` takes the place of the refresh.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ingest.buffer.origins import touched_trades
from ingest.store.instants import instant
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

GRAINS: Final = ("1s", "1m", "1h", "1d")

_APART_FROM_US: Final = 10_000_000
"""A batch that spans so much is noted symbol by symbol: a late row in it concerns its own symbol alone."""

_MOST_BATCHES: Final = 100
_MOST_TRADES: Final = 20_000
"""Of one long span at once: about 0.2 s."""


class Refreshed(NamedTuple):
    """What one refresh has done: batches taken, candles of a second made or changed."""

    batches: int
    seconds: int


class CandleLag(NamedTuple):
    """What is stored and in no candle yet: batches, pieces of history, how long the oldest batch waits."""

    batches: int
    backlog: int
    lag_s: float


async def note_touched(connection: "Connection", rows: Sequence[bytes]) -> None:
    """Say which candles these encoded trades change; in the transaction that writes them."""
    for touched in touched_trades(rows, apart_from_us=_APART_FROM_US):
        span = (instant(touched.oldest_us), instant(touched.newest_us))
        await connection.execute(statement("note_touched"), touched.symbol_ids, *span)


async def refresh_candles(
    connection: "Connection", *, most_batches: int = _MOST_BATCHES, most_trades: int = _MOST_TRADES
) -> Refreshed | None:
    """Roll up what was noted first, in one transaction; None while another session does it.

    Not more than so many batches, nor more than so many trades of a span above a minute: call again until no
    batch was taken.
    """
    row = await connection.fetchrow(statement("refresh_candles"), most_batches, most_trades)
    assert row is not None
    return None if row["batches"] is None else Refreshed(row["batches"], row["seconds"])


async def candle_lag(connection: "Connection") -> CandleLag:
    """How far the candles are behind the trades."""
    row = await connection.fetchrow(statement("candle_lag"))
    assert row is not None
    return CandleLag(row["batches"], row["backlog"], row["lag_s"])


async def are_aggregates(connection: "Connection") -> bool:
    """Whether continuous aggregates have taken the place of the tables."""
    return await connection.fetchval(statement("candle_upkeep")) is not None
