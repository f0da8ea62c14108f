"""What follows an id, for ever: first what was missed, then each row when it is committed.

The shell of `ingest.reader.sequel`: reads rows, ledger and freshness in one state of the database, waits for
the doorbell, outlives the database's connections.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import asyncpg

from ingest.errors import StoreUnavailable
from ingest.events import StreamKey
from ingest.reader.checks import Standing, staleness
from ingest.reader.database import Database
from ingest.reader.doorbell import Doorbell
from ingest.reader.errors import IncompleteData, Missing, StaleData
from ingest.reader.intervals import candle_number, open_us_of
from ingest.reader.kinds import Kind
from ingest.reader.rows import AggTrade, BookTicker, DepthDelta, Hole, Kline, Row, Trade
from ingest.reader.sequel import CandleSequel, ConsecutiveSequel, Passed, RisingSequel, Sequel, Stored
from ingest.reader.spans import in_opening_times, instant_of_ms, look, missing_of, numbered
from ingest.reader.terms import Settled
from ingest.store.instants import microseconds
from ingest.store.retrying import RetryPolicy, until_available
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

POLL_S: Final = 1.0
"""How long a committed row may go unseen when nobody rings."""
PAGE_ROWS: Final = 1_000
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RETRY: Final = RetryPolicy(first_s=0.05, cap_s=2.0)

R = TypeVar("R", bound=Row)


class Pursuit(NamedTuple, Generic[R]):
    """One `follow`: whom, since when, on which terms, and what a row of the driver's becomes."""

    key: StreamKey
    kind: Kind
    since: int | None
    terms: Settled
    make: Callable[[str, asyncpg.Record], R]


@dataclass(slots=True)
class _Look(Generic[R]):
    """One look at the database; `is_full`: there is more behind the rows."""

    standing: Standing
    rows: list[Stored[R]]
    gaps: list[Missing]
    is_full: bool


class Follower(Generic[R]):
    """Yields rows through `rows`; `last_id` is that of the last one given."""

    def __init__(self, database: Database, bell: Doorbell, pursuit: Pursuit[R], rng: random.Random) -> None:
        self._database = database
        self._bell = bell
        self._pursuit = pursuit
        self._rng = rng
        self._sequel: Sequel[R] | None = None
        self._seen: tuple[Standing, float] | None = None

    async def rows(self) -> AsyncIterator[R]:
        """Never ends by itself. StaleData, IncompleteData, UnknownName, StoreError."""
        pursuit, loop = self._pursuit, asyncio.get_running_loop()
        with self._bell.heard(pursuit.key) as rung:
            while True:
                # In this order: what is committed after the look rings, and is not missed.
                await self._bell.listen(pursuit.key)
                rung.clear()
                seen = await self._look()
                self._refuse_stale(seen.standing)
                assert self._sequel is not None
                taken = self._sequel.take(seen.rows, seen.gaps, loop.time())
                for item in taken.items:
                    if isinstance(item, Passed):
                        self._tell(item.missing)
                    else:
                        yield item
                if taken.refused:
                    raise self._refusal(taken.refused, taken.go_on_after)
                if not (seen.is_full and taken.items):
                    await _woken(rung)

    def _refuse_stale(self, standing: Standing) -> None:
        if not self._pursuit.terms.allow_stale:
            refusal = staleness(standing, self._pursuit.terms.allowed_age)
            if refusal is not None:
                raise refusal

    def _tell(self, missing: tuple[Missing, ...]) -> None:
        if self._pursuit.terms.on_hole is not None:
            key = self._pursuit.key
            self._pursuit.terms.on_hole(Hole(key.symbol, key.kind, self._named(missing)))

    def _refusal(self, missing: tuple[Missing, ...], go_on_after: int | None) -> IncompleteData:
        interval = self._pursuit.kind.interval
        if interval and go_on_after is not None:
            go_on_after = open_us_of(go_on_after, interval, like_us=self._like_us) // 1_000
        return IncompleteData(self._pursuit.key, self._named(missing), go_on_after=go_on_after)

    def _named(self, missing: tuple[Missing, ...]) -> tuple[Missing, ...]:
        interval = self._pursuit.kind.interval
        return tuple(in_opening_times(missing, interval, self._like_us)) if interval else missing

    @property
    def _like_us(self) -> int:
        assert self._sequel is not None
        return microseconds(self._sequel.anchor)

    # ------------------------------------------------------------------ looking

    async def _look(self) -> _Look[R]:
        """Look, again and again while the database is away; StaleData as soon as that has lasted too long."""
        limit_s = self._patience_with_database_s()
        try:
            async with asyncio.timeout(limit_s):
                seen = await until_available(
                    self._look_once, policy=_RETRY, rng=self._rng, on_retry=lambda _: None
                )
        except TimeoutError:
            raise self._database_away() from None
        self._seen = (seen.standing, asyncio.get_running_loop().time())
        return seen

    def _patience_with_database_s(self) -> float | None:
        """For how long what was last seen stays fresh; None: for ever."""
        if self._pursuit.terms.allow_stale:
            return None
        if self._seen is None:
            return self._database.limits.connect_s
        standing, at_s = self._seen
        allowed = standing.allowed_age(self._pursuit.terms.allowed_age)
        known = standing.known_until or standing.now
        left = allowed - (standing.now - known)
        return max(0.5, left.total_seconds() - (asyncio.get_running_loop().time() - at_s))

    def _database_away(self) -> Exception:
        if self._seen is None:
            return StoreUnavailable("the database does not answer")
        standing, at_s = self._seen
        gone = timedelta(seconds=asyncio.get_running_loop().time() - at_s)
        known = standing.known_until
        return StaleData(
            self._pursuit.key,
            age=None if known is None else standing.now - known + gone,
            max_age=standing.allowed_age(self._pursuit.terms.allowed_age),
            since=known,
            state=standing.state,
            diagnosis="database_away",
        )

    async def _look_once(self) -> _Look[R]:
        async with self._database.snapshot() as connection:
            symbol_id, standing = await look(connection, self._pursuit.key)
            if self._sequel is None:
                self._sequel = await self._begun(connection, symbol_id, standing)
            page = await self._page(connection, symbol_id, self._sequel)
            doubts = self._sequel.doubts(page)
            gaps = [] if doubts is None else await self._gaps(connection, doubts)
        return _Look(standing, page, gaps, len(page) >= PAGE_ROWS)

    async def _page(self, connection: "Connection", symbol_id: int, sequel: Sequel[R]) -> list[Stored[R]]:
        kind = self._pursuit.kind
        position = kind.interval or sequel.floor
        sql = statement(f"reader_page_{kind.statements}")
        rows = await connection.fetch(sql, symbol_id, sequel.anchor, position, PAGE_ROWS)
        return [self._stored(self._pursuit.make(self._pursuit.key.symbol, row)) for row in rows]

    def _stored(self, row: R) -> Stored[R]:
        if isinstance(row, DepthDelta):
            return Stored(row.first_update_id, row.final_update_id, row.ts, row)
        if isinstance(row, Kline):
            number = candle_number(microseconds(row.open_time), row.interval)
            return Stored(number, number, row.open_time, row)
        return Stored(row.id, row.id, row.ts, row)

    async def _gaps(self, connection: "Connection", ids: tuple[int, int]) -> list[Missing]:
        interval = self._pursuit.kind.interval
        if interval:
            ids = (
                open_us_of(ids[0], interval, like_us=self._like_us) // 1_000,
                open_us_of(ids[1], interval, like_us=self._like_us) // 1_000,
            )
        rows = await connection.fetch(statement("reader_gaps_of_ids"), *self._pursuit.key, *ids)
        gaps = [missing_of(row) for row in rows]
        return numbered(gaps, interval) if interval else gaps

    # ------------------------------------------------------------------ beginning

    async def _begun(self, connection: "Connection", symbol_id: int, standing: Standing) -> Sequel[R]:
        """Where to begin: behind `since`, or behind the newest row there is."""
        if self._pursuit.kind.interval:
            return await self._begun_candles(connection, symbol_id, standing)
        newest = await self._newest(connection, symbol_id, standing.now + timedelta(days=1))
        terms, since = self._pursuit.terms, self._pursuit.since
        if since is None and newest is not None:
            since = newest.last_id
        anchor = await self._anchor(connection, symbol_id, newest, since)
        skips, patience_s = not terms.require_complete, terms.patience_s
        if self._pursuit.kind.id_rule == "rising":
            return RisingSequel(since, anchor, patience_s=patience_s, skips=skips)
        return ConsecutiveSequel(since, anchor, patience_s=patience_s, skips=skips)

    async def _anchor(
        self, connection: "Connection", symbol_id: int, newest: Stored[R] | None, since: int | None
    ) -> datetime:
        """A time at or before that of the row `since`: back from the newest row, in steps that double."""
        step, at = timedelta(minutes=1), newest
        while at is not None and since is not None and at.last_id > since:
            at = await self._newest(connection, symbol_id, at.ts - step)
            step *= 2
        return _LONG_AGO if at is None else at.ts

    async def _newest(self, connection: "Connection", symbol_id: int, until: datetime) -> Stored[R] | None:
        sql = statement(f"reader_newest_{self._pursuit.kind.statements}")
        row = await connection.fetchrow(sql, symbol_id, until)
        return None if row is None else self._stored(self._pursuit.make(self._pursuit.key.symbol, row))

    async def _begun_candles(self, connection: "Connection", symbol_id: int, standing: Standing) -> Sequel[R]:
        interval, since = self._pursuit.kind.interval, self._pursuit.since
        last_id: int | None = None
        anchor = instant_of_ms(since)
        if since is not None:
            last_id = candle_number(since * 1_000, interval)
        else:
            sql = statement("reader_newest_klines")
            row = await connection.fetchrow(sql, symbol_id, standing.now + timedelta(days=31), interval)
            if row is not None:
                anchor = row["open_time"]
                last_id = candle_number(microseconds(row["open_time"]), interval) - (not row["is_closed"])
        return CandleSequel(
            last_id,
            _LONG_AGO if anchor is None else anchor,
            patience_s=self._pursuit.terms.patience_s,
            skips=not self._pursuit.terms.require_complete,
            is_closed=_is_closed,
            version=_version,
        )


def _is_closed(row: Row) -> bool:
    return isinstance(row, Kline) and row.is_closed


def _version(row: Row) -> datetime:
    return row.ts


async def _woken(rung: asyncio.Event) -> None:
    """Until somebody rings, at most POLL_S."""
    try:
        async with asyncio.timeout(POLL_S):
            await rung.wait()
    except TimeoutError:
        return


def trade(symbol: str, row: asyncpg.Record) -> Trade:
    """Of `reader_page_trades`, as all of these are of theirs."""
    return Trade(symbol, *row)


def agg_trade(symbol: str, row: asyncpg.Record) -> AggTrade:
    return AggTrade(symbol, *row)


def book_ticker(symbol: str, row: asyncpg.Record) -> BookTicker:
    return BookTicker(symbol, *row)


def depth_delta(symbol: str, row: asyncpg.Record) -> DepthDelta:
    bids = list(zip(row["bid_prices"], row["bid_qtys"], strict=True))
    asks = list(zip(row["ask_prices"], row["ask_qtys"], strict=True))
    return DepthDelta(
        symbol, row["first_update_id"], row["final_update_id"], row["ts"], bids, asks, row["recv_ts"]
    )


def kline(symbol: str, row: asyncpg.Record) -> Kline:
    return Kline(symbol, *row)


MAKERS: Final[dict[str, Callable[[str, asyncpg.Record], Row]]] = {
    "trades": trade,
    "agg_trades": agg_trade,
    "book_tickers": book_ticker,
    "depth_deltas": depth_delta,
    "klines": kline,
}
