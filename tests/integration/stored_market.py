"""A database as the service would leave it, made row by row: what the tests of readers read."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg

from ingest.clock import SystemClock
from ingest.store.candles import refresh_candles
from ingest.store.sessions import connected
from ingest.store.statements import statement

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
SYMBOL = "BTCUSDT"


def now() -> datetime:
    """The present moment, whole milliseconds, UTC."""
    return datetime.fromtimestamp(SystemClock().wall_ns() // 1_000_000 / 1_000, UTC)


class StoredMarket:
    """Writes what shards and supervisor would write, of one symbol, at moments that the test chooses."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", symbol_id: int) -> None:
        self.connection = connection
        self.symbol_id = symbol_id

    async def trades(
        self,
        ids: Iterable[int],
        start: datetime,
        *,
        every: timedelta = SECOND,
        base: int = 0,
        notify: bool = False,
    ) -> None:
        """Trade number n is of `start + (n - base) * every`; all in one transaction."""
        rows = [
            (
                start + (n - base) * every,
                n,
                now(),
                self.symbol_id,
                n % 2 == 0,
                Decimal("60000.01") + n,
                Decimal("0.5"),
            )
            for n in ids
        ]
        sql = "INSERT INTO spot_raw.trades VALUES ($1, $2, $3, $4, $5, $6, $7)"
        async with self.connection.transaction():
            await self.connection.executemany(sql, rows)
            span = (rows[0][0], rows[-1][0])
            await self.connection.execute(statement("note_touched"), [self.symbol_id], *span)
            if notify:
                await self.notify("trade")

    async def notify(self, kind: str) -> None:
        """Ring as a writer does when it commits."""
        await self.connection.execute(
            "SELECT pg_notify($1, $2)", f"ingest_spot_{kind}", f'{{"{SYMBOL}": [null, 0]}}'
        )

    async def agg_trades(self, ids: Iterable[int], start: datetime) -> None:
        """One a second, of two trades each."""
        rows = [
            (start + n * SECOND, n, 2 * n, 2 * n + 1, now(), self.symbol_id, False, Decimal(100), Decimal(1))
            for n in ids
        ]
        sql = "INSERT INTO spot_raw.agg_trades VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        await self.connection.executemany(sql, rows)

    async def book_tickers(self, ids: Iterable[int], start: datetime, *, every: timedelta = SECOND) -> None:
        """In the order given, one after the other."""
        rows = [
            (
                start + place * every,
                n,
                start,
                self.symbol_id,
                Decimal(n),
                Decimal(1),
                Decimal(n + 1),
                Decimal(2),
            )
            for place, n in enumerate(ids)
        ]
        sql = "INSERT INTO spot_raw.book_tickers VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        await self.connection.executemany(sql, rows)

    async def deltas(self, ids: Iterable[int], start: datetime) -> None:
        """Delta n is of one update, n seconds after the start: the bid at 100 gets the quantity n."""
        rows: list[tuple[object, ...]] = [
            (start + n * SECOND, n, n, now(), self.symbol_id, [Decimal(100)], [Decimal(n)], [], [])
            for n in ids
        ]
        sql = "INSERT INTO spot_raw.depth_deltas VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        await self.connection.executemany(sql, rows)

    async def book(self, update_id: int, at: datetime, *, known_from: int = 0) -> None:
        """A stored book: bids at 100 and 99, asks at 101 and 102; nothing is known of bids below."""
        bids, asks = [Decimal(100), Decimal(99)], [Decimal(101), Decimal(102)]
        qtys = [Decimal(update_id), Decimal(5)]
        await self.connection.execute(
            "INSERT INTO spot_raw.depth_snapshots"
            " VALUES ($1, $2, $1, $3, $4, $6, $5, $6, 'sync', $7, 'Infinity')",
            *(at, update_id, self.symbol_id, bids, asks, qtys, Decimal(known_from)),
        )

    async def publish_book(self, update_id: int, at: datetime, *, is_live: bool) -> None:
        """As a shard does once a second: the same levels."""
        bids, asks = [Decimal(100), Decimal(99)], [Decimal(101), Decimal(102)]
        qtys = [Decimal(update_id), Decimal(5)]
        async with self.connection.transaction():
            await self.connection.execute("TRUNCATE spot_raw.latest_books, spot_raw.book_publishers")
            await self.connection.execute(
                "INSERT INTO spot_raw.latest_books VALUES ($1, $2, now(), $3, 0, $4, $5, $6, $7, $6)",
                *(at, update_id, self.symbol_id, is_live, bids, qtys, asks),
            )
            await self.connection.execute("INSERT INTO spot_raw.book_publishers VALUES (0, now(), 1)")

    async def klines(
        self, opened: Sequence[datetime], *, is_closed: bool = True, event: datetime | None = None
    ) -> None:
        """One-minute candles, the newest version of each."""
        sql = """
            INSERT INTO spot_raw.klines
            VALUES ($1, $2, $3, $3, 9, $4, $5, '1m', 1, 4, 1, 3, 10, 30, 5, 15)
            ON CONFLICT (symbol_id, interval, open_time) DO UPDATE
            SET event_ts = excluded.event_ts, is_closed = excluded.is_closed
        """
        closes = timedelta(minutes=1) - timedelta(milliseconds=1)
        rows = [(each, each + closes, event or each + closes, self.symbol_id, is_closed) for each in opened]
        await self.connection.executemany(sql, rows)

    async def candles(self) -> None:
        """Make the candles of the trades that are there, and let the ledger speak for all of the time."""
        await self.connection.execute(
            "INSERT INTO ops.trade_coverage VALUES ('spot', $1, '[2020-01-01,)', now())"
            " ON CONFLICT DO NOTHING",
            SYMBOL,
        )
        while (done := await refresh_candles(self.connection)) and done.batches:
            pass

    async def gap(
        self,
        kind: str,
        ids: tuple[int | None, int | None],
        times: tuple[datetime | None, datetime | None],
        *,
        state: str = "open",
        cause: str = "disconnect",
    ) -> int:
        """A row of the ledger; its number."""
        closed = None if state == "open" else now()
        gap_id: int = await self.connection.fetchval(
            "INSERT INTO ops.gaps (market, symbol, kind, first_id, last_id, start_ts, end_ts, cause, state,"
            " opened_at, closed_at)"
            " VALUES ('spot', $1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp(), $9) RETURNING gap_id",
            *(SYMBOL, kind, *ids, *times, cause, state, closed),
        )
        return gap_id

    async def settle(self, gap_id: int, state: str = "repaired") -> None:
        """The gap is over."""
        await self.connection.execute(
            "UPDATE ops.gaps SET state = $2, closed_at = clock_timestamp() WHERE gap_id = $1", gap_id, state
        )

    async def fresh(
        self,
        kind: str,
        until: datetime | None,
        *,
        quiet: datetime | None = None,
        state: str = "live",
        diagnosis: str = "",
        threshold_s: float = 5.0,
        updated: datetime | None = None,
    ) -> None:
        """What the supervisor publishes of a stream."""
        await self.connection.execute(
            "INSERT INTO ops.stream_state"
            " (market, symbol, kind, shard, feed, state, diagnosis, last_event_ts,"
            " threshold_s, verified_quiet_at, reconnects, open_gaps, updated_at)"
            " VALUES ('spot', $1, $2, 0, '0', $3, $4, $5, $6, $7, 0, 0,"
            " coalesce($8, clock_timestamp()))"
            " ON CONFLICT (market, symbol, kind) DO UPDATE"
            " SET state = excluded.state,"
            " diagnosis = excluded.diagnosis, last_event_ts = excluded.last_event_ts,"
            " verified_quiet_at = excluded.verified_quiet_at, threshold_s = excluded.threshold_s,"
            " updated_at = excluded.updated_at",
            *(SYMBOL, kind, state, diagnosis, until, threshold_s, quiet, updated),
        )


@asynccontextmanager
async def stored_market(url: str) -> AsyncIterator[StoredMarket]:
    """A market of which only the symbols are known so far."""
    async with connected(url) as connection:
        ids = await connection.fetch(
            "INSERT INTO ops.instruments (market, symbol, status, base_asset, quote_asset)"
            " VALUES ('spot', 'BTCUSDT', 'TRADING', 'BTC', 'USDT'),"
            " ('spot', 'ETHUSDT', 'TRADING', 'ETH', 'USDT')"
            " RETURNING symbol_id"
        )
        yield StoredMarket(connection, ids[0]["symbol_id"])
