"""The reader for programs that have an event loop: signal jobs."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, Unpack, overload

from ingest.errors import StoreUnavailable
from ingest.events import Market, StreamKey
from ingest.reader.address import database_address
from ingest.reader.answer import Answer
from ingest.reader.arrow import Prices, table_of
from ingest.reader.books import read_book, replay
from ingest.reader.checks import staleness
from ingest.reader.database import Database
from ingest.reader.doorbell import Doorbell
from ingest.reader.errors import StaleData, UnknownName
from ingest.reader.follow import MAKERS, POLL_S, Follower, Pursuit
from ingest.reader.kinds import Kind, candles_of, kind_of, klines_of
from ingest.reader.newest import newest_row, published_book
from ingest.reader.progress import shown
from ingest.reader.rows import AggTrade, BookState, BookTicker, DepthDelta, Row, Trade
from ingest.reader.spans import Asked, check_span, look, read_parts, read_span
from ingest.reader.terms import (
    BookTerms,
    CandleTerms,
    FollowTerms,
    PartTerms,
    ReplayTerms,
    Settled,
    TableTerms,
    Terms,
)
from ingest.reader.times import MaxAge, When, length, moment
from ingest.store.sessions import SessionLimits
from ingest.store.statements import statement

MARKET: Final[Market] = "spot"
_GAP_STATES: Final = ("open", "repaired", "unrepairable", "absent_at_exchange")


class AsyncReader:
    """Reads, and refuses rather than mislead. Made by `connect`; may be used by several tasks of its loop.

    What is stale or incomplete is refused (`StaleData`, `IncompleteData`: what, since when, why, and what to
    do) unless the caller says otherwise. Every method that gives market data takes these terms by name
    (`ingest.reader.terms`):

    `max_age`
        How far behind now (the database's clock) the stream's known end may lie: a timedelta or seconds. By
        default what the service itself lets the stream be silent, its learned threshold and five seconds for
        a proof, and ten seconds at least. A span that is over needs to be known to its own end only.
    `require_complete`
        True: nothing of the span may be missing by the gap ledger, by the ids themselves, or because what is
        stored begins later. False: give what there is.
    `allow_stale`
        True: give what there is, however old.

    All checks and all rows of one call are of one state of the database. Moments are datetimes with a zone,
    ISO text with a zone, or timedeltas back from now; spans are [start, end), up to now without an end.
    Symbols are taken in any case. Names that are not known raise `UnknownName` with those that are near, a
    database that cannot be asked `StoreUnavailable`.
    """

    def __init__(self, database: Database, bell: Doorbell, prices: Prices) -> None:
        """For `connect`."""
        self._database = database
        self._bell = bell
        self._prices = prices
        self._rng = random.SystemRandom()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        url: str | None = None,
        *,
        data_dir: str | Path | None = None,
        prices: Prices = "float",
        connections: int = 4,
        connect_timeout_s: float = 10.0,
        statement_timeout_s: float = 300.0,
    ) -> AsyncIterator["AsyncReader"]:
        """Connect, and disconnect at the end of the block.

        Without a URL: INGEST_DATABASE_URL, else the embedded server of the service that runs on this machine
        with the data folder `data_dir` (default: INGEST_SERVICE_DATA_DIR, or `var`). `prices` is how tables
        show prices and quantities where a call does not say: float64, or exact as decimal128. ConfigError,
        StoreError.
        """
        limits = SessionLimits(
            connect_s=connect_timeout_s, acquire_s=connect_timeout_s, statement_s=statement_timeout_s
        )
        address = database_address(url, data_dir)
        async with Database.opened(address, connections=connections, limits=limits) as database:
            bell = Doorbell(address, limits)
            try:
                yield cls(database, bell, prices)
            finally:
                bell.close()

    # ------------------------------------------------------------------ spans of time, as tables

    async def trades(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[TableTerms]
    ) -> Answer:
        """Single trades of a span, ordered by ts and trade_id; `buyer_is_maker`: the aggressor sold."""
        return await self._span(kind_of("trade"), symbol, (start, end), Settled(**terms))

    async def agg_trades(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[TableTerms]
    ) -> Answer:
        """Trades of one taker order at one price each, of a span, ordered by ts and agg_trade_id."""
        return await self._span(kind_of("agg_trade"), symbol, (start, end), Settled(**terms))

    async def book_tickers(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[TableTerms]
    ) -> Answer:
        """Best bid and ask at each change in a span, ordered by ts, which is our receive time."""
        return await self._span(kind_of("book_ticker"), symbol, (start, end), Settled(**terms))

    async def klines(
        self, symbol: str, interval: str, start: When, end: When | None = None, **terms: Unpack[CandleTerms]
    ) -> Answer:
        """The exchange's candles that open in a span and are closed; `with_open`: the running one, too."""
        return await self._span(klines_of(interval), symbol, (start, end), Settled(**terms))

    async def candles(
        self, symbol: str, interval: str, start: When, end: When | None = None, **terms: Unpack[CandleTerms]
    ) -> Answer:
        """Candles made of the stored trades (1s, 1m, 1h, 1d) that open in a span and are over.

        `with_open=True`: the running one, too. Complete are those of which no trade is missing.
        """
        return await self._span(candles_of(interval), symbol, (start, end), Settled(**terms))

    async def _span(
        self, kind: Kind, symbol: str, within: tuple[When, When | None], terms: Settled
    ) -> Answer:
        return await read_span(self._database, self._asked(kind, symbol, within, terms))

    def _asked(self, kind: Kind, symbol: str, within: tuple[When, When | None], terms: Settled) -> Asked:
        shown_as = terms if terms.prices else replace(terms, prices=self._prices)
        return Asked(_key(symbol, kind.stream), kind, *within, shown_as)

    # ------------------------------------------------------------------ long spans, in parts

    def iter_trades(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[PartTerms]
    ) -> AsyncIterator[Answer]:
        """As `trades`, in parts, each of a length of time or of about `chunk` rows; in the memory of one
        part.

        The whole span is checked before the first part, and each part again with its own rows, in a state of
        the database of its own: nothing is missing between parts and nothing is twice, but with
        `require_complete=False` a repair that comes meanwhile may be in later parts only.
        """
        return self._parts(kind_of("trade"), symbol, (start, end), Settled(**terms))

    def iter_agg_trades(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[PartTerms]
    ) -> AsyncIterator[Answer]:
        """As `agg_trades`, in parts: see `iter_trades`."""
        return self._parts(kind_of("agg_trade"), symbol, (start, end), Settled(**terms))

    def iter_book_tickers(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[PartTerms]
    ) -> AsyncIterator[Answer]:
        """As `book_tickers`, in parts: see `iter_trades`."""
        return self._parts(kind_of("book_ticker"), symbol, (start, end), Settled(**terms))

    async def _parts(
        self, kind: Kind, symbol: str, within: tuple[When, When | None], terms: Settled
    ) -> AsyncIterator[Answer]:
        asked = self._asked(kind, symbol, within, terms)
        start, end = await check_span(self._database, asked)
        with shown(str(asked.key), visible=terms.progress) as told:
            async for part in read_parts(self._database, asked._replace(start=start, end=end)):
                told(part, end)
                yield part

    # ------------------------------------------------------------------ books

    async def book_at(self, symbol: str, at: When | None = None, **terms: Unpack[BookTerms]) -> BookState:
        """The book at a moment (None: the newest), its best `levels` a side (20).

        A book that cannot be known is not given, on no terms: `IncompleteData` says why, as `ingest book`
        does.
        """
        settled = Settled(**terms)
        ladder = await read_book(self._database, _key(symbol, "depth"), at, settled)
        return ladder.state(settled.levels)

    def book_replay(
        self, symbol: str, start: When, end: When | None = None, **terms: Unpack[ReplayTerms]
    ) -> AsyncIterator[BookState]:
        """The book at the start, then after each change before the end; in the memory of one book.

        With `require_complete=False` books that cannot be known are left out; `update_id` tells of the jump.
        """
        return replay(self._database, _key(symbol, "depth"), (start, end), Settled(**terms))

    # ------------------------------------------------------------------ now

    @overload
    async def latest(
        self, symbol: str, kind: Literal["trade"] = "trade", **terms: Unpack[Terms]
    ) -> Trade: ...
    @overload
    async def latest(self, symbol: str, kind: Literal["agg_trade"], **terms: Unpack[Terms]) -> AggTrade: ...
    @overload
    async def latest(
        self, symbol: str, kind: Literal["book_ticker"], **terms: Unpack[Terms]
    ) -> BookTicker: ...
    @overload
    async def latest(self, symbol: str, kind: Literal["depth"], **terms: Unpack[Terms]) -> DepthDelta: ...
    @overload
    async def latest(self, symbol: str, kind: Literal["book"], **terms: Unpack[Terms]) -> BookState: ...
    @overload
    async def latest(self, symbol: str, kind: str, **terms: Unpack[Terms]) -> Row | BookState: ...
    async def latest(self, symbol: str, kind: str = "trade", **terms: Unpack[Terms]) -> Row | BookState:
        """The newest row of a stream, exact; incomplete is what has lost rows behind it.

        "book" is the top of the book as the service publishes it once a second (`spot.latest_books`): the
        fastest way. `book_at(symbol)` rebuilds the newest stored one, as deep as it is known.
        """
        settled = Settled(**terms)
        async with self._database.snapshot() as connection:
            if kind == "book":
                return await published_book(connection, _key(symbol, "depth"), settled)
            return await newest_row(connection, _key(symbol, kind), kind_of(kind), settled)

    # ------------------------------------------------------------------ from now on

    @overload
    def follow(
        self,
        symbol: str,
        kind: Literal["trade"] = "trade",
        *,
        since: int | None = None,
        **terms: Unpack[FollowTerms],
    ) -> AsyncIterator[Trade]: ...
    @overload
    def follow(
        self,
        symbol: str,
        kind: Literal["agg_trade"],
        *,
        since: int | None = None,
        **terms: Unpack[FollowTerms],
    ) -> AsyncIterator[AggTrade]: ...
    @overload
    def follow(
        self,
        symbol: str,
        kind: Literal["book_ticker"],
        *,
        since: int | None = None,
        **terms: Unpack[FollowTerms],
    ) -> AsyncIterator[BookTicker]: ...
    @overload
    def follow(
        self, symbol: str, kind: Literal["depth"], *, since: int | None = None, **terms: Unpack[FollowTerms]
    ) -> AsyncIterator[DepthDelta]: ...
    @overload
    def follow(
        self, symbol: str, kind: str, *, since: int | None = None, **terms: Unpack[FollowTerms]
    ) -> AsyncIterator[Row]: ...
    def follow(
        self, symbol: str, kind: str = "trade", *, since: int | None = None, **terms: Unpack[FollowTerms]
    ) -> AsyncIterator[Row]:
        """Every row behind the id `since` (None: from now on), what was missed first; never ends by itself.

        Each row once and none left out, also when connections to the database are lost. `id` of the last row
        is the `since` to go on from, in this process or another. Kinds: trade, agg_trade, depth, book_ticker
        (ids only rise: one that comes late may follow a higher one) and kline_<interval> (versions of the
        running candle as they are found, each closed one once).

        StaleData as soon as the stream is known no further than `max_age` ago, or the database is away for so
        long: `wait_fresh`, then follow from the last id. Where ids do not continue, a repair is waited for up
        to
        `patience_s` (60); then IncompleteData, whose `go_on_after` is the `since` behind the hole. With
        `require_complete=False` it goes on by itself, and tells `on_hole` right before the row behind the
        hole.
        """
        found = kind_of(kind)
        pursuit = Pursuit(_key(symbol, kind), found, since, Settled(**terms), MAKERS[found.statements])
        return Follower(self._database, self._bell, pursuit, self._rng).rows()

    async def wait_fresh(
        self,
        streams: Iterable[tuple[str, str]],
        *,
        max_age: MaxAge | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Return as soon as all of these (symbol, kind) are fresh at once.

        StaleData of one that is not after `timeout_s`. A database that is away is waited for as well.
        """
        keys = [_key(symbol, kind_of(kind).stream) for symbol, kind in streams]
        allowed = None if max_age is None else length(max_age)
        loop = asyncio.get_running_loop()
        until_s = None if timeout_s is None else loop.time() + timeout_s
        while True:
            try:
                refusal: StaleData | StoreUnavailable | None = await self._stale_one(keys, allowed)
            except StoreUnavailable as error:
                refusal = error
            if refusal is None:
                return
            if until_s is not None and loop.time() >= until_s:
                raise refusal
            await asyncio.sleep(POLL_S / 2 * self._rng.uniform(0.5, 1.0))

    async def _stale_one(self, keys: list[StreamKey], max_age: timedelta | None) -> StaleData | None:
        async with self._database.snapshot() as connection:
            for key in keys:
                _, standing = await look(connection, key)
                refusal = staleness(standing, max_age)
                if refusal is not None:
                    return refusal
        return None

    # ------------------------------------------------------------------ how the data are

    async def freshness(self, symbol: str | None = None, kind: str | None = None) -> Answer:
        """`ops.stream_freshness` now: state, diagnosis, ages in seconds; of one symbol or kind, or all."""
        arguments = (MARKET, _upper(symbol), kind)
        return await self._table("reader_freshness", *arguments, symbol=symbol)

    async def gaps(
        self,
        symbol: str | None = None,
        kind: str | None = None,
        start: When = timedelta(days=1),
        end: When | None = None,
        *,
        state: str | None = None,
    ) -> Answer:
        """The rows of the gap ledger that touch a span, of one `state` or all of them."""
        if state is not None and state not in _GAP_STATES:
            raise UnknownName("state of a gap", state, _GAP_STATES)
        arguments = (MARKET, _upper(symbol), kind, state)
        return await self._table("reader_ledger", *arguments, symbol=symbol, within=(start, end))

    async def completeness(self, symbol: str, start: When, end: When | None = None) -> Answer:
        """For each minute of a span: trades expected and stored, and whether it is complete."""
        arguments = (MARKET, symbol.upper())
        return await self._table("reader_completeness", *arguments, symbol=symbol, within=(start, end))

    async def incidents(self, start: When = timedelta(days=1), end: When | None = None) -> Answer:
        """What went wrong within a span, with diagnosis, evidence and each step."""
        return await self._table("reader_incidents", within=(start, end))

    async def instruments(self) -> Answer:
        """Every symbol that was ever ingested, as the exchange last described it."""
        return await self._table("reader_instruments", MARKET)

    async def _table(
        self,
        name: str,
        *arguments: object,
        symbol: str | None = None,
        within: tuple[When, When | None] | None = None,
    ) -> Answer:
        async with self._database.snapshot() as connection:
            now = await connection.fetchval(statement("reader_now"))
            if symbol is not None:
                # A symbol that is not known has no gaps and is never stale: no good news.
                await look(connection, _key(symbol, ""))
            start = end = None
            if within is not None:
                start = moment(within[0], now)
                end = now if within[1] is None else moment(within[1], now)
                arguments += (start, end)
            prepared = await connection.prepare(statement(name))
            rows = await prepared.fetch(*arguments)
            columns = {attribute.name: attribute.type.name for attribute in prepared.get_attributes()}
        table = table_of([tuple(row) for row in rows], columns)
        return Answer(table, as_of=now, start=start, end=end)


def _key(symbol: str, kind: str) -> StreamKey:
    return StreamKey(MARKET, symbol.upper(), kind)


def _upper(symbol: str | None) -> str | None:
    return None if symbol is None else symbol.upper()
