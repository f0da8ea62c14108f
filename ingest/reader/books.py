"""Books of the past: of a moment, and each after the other."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from ingest.book.moment import Refusal, book_at
from ingest.book.rebuild import RebuiltBook, rebuild
from ingest.events import DepthDelta, DepthSnapshot, StreamKey
from ingest.reader.checks import MICROSECOND, Standing, against, staleness
from ingest.reader.database import Database
from ingest.reader.errors import IncompleteData, Missing, StaleData
from ingest.reader.ladder import Ladder
from ingest.reader.rows import BookState
from ingest.reader.spans import look, missing_of
from ingest.reader.terms import Settled
from ingest.reader.times import When, moment, span
from ingest.store.instants import instant, microseconds
from ingest.store.past_book import CLOCK_SLACK_US, delta_of, snapshot_of, stored_moment
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

_PAGE_ROWS: Final = 1_000


class _Stretch(NamedTuple):
    """What is left of a replay; `doubtful` are ranges of updates that the ledger speaks against."""

    symbol_id: int
    start: datetime
    end: datetime
    doubtful: list[Missing]


async def read_book(database: Database, key: StreamKey, at: When | None, terms: Settled) -> Ladder:
    """The book of a moment (None: the newest). StaleData, or IncompleteData where it cannot be known."""
    async with database.snapshot() as connection:
        _, standing = await look(connection, key)
        when = None if at is None else moment(at, standing.now)
        if when is not None and when > standing.now:
            raise ValueError(f"{when.isoformat()} lies in the future")
        return await _book(connection, standing, when, terms)


async def _book(
    connection: "Connection", standing: Standing, when: datetime | None, terms: Settled
) -> Ladder:
    key = standing.key
    newest: datetime | None = await connection.fetchval(statement("newest_book_ts"), key.market, key.symbol)
    if not terms.allow_stale:
        seen = newest if when is not None and newest is not None and newest >= when else None
        refusal = staleness(standing, terms.allowed_age, end=when, seen=seen)
        if refusal is not None:
            raise refusal
    if newest is None:
        raise IncompleteData(key, [Missing(None, None, None, when, "begins")])
    # Nothing newer is stored, and that is known to be all: the newest book is that of the moment, too.
    at_us = microseconds(newest if when is None else min(when, newest))
    stored = await stored_moment(connection, key.market, key.symbol, at_us=at_us)
    assert stored is not None
    answer = book_at(stored)
    if isinstance(answer, Refusal):
        raise refused(standing, instant(at_us), answer, terms)
    return _ladder(key.symbol, answer)


def refused(standing: Standing, at: datetime, refusal: Refusal, terms: Settled) -> StaleData | IncompleteData:
    """The reason of `ingest.book.moment`, as an error."""
    key = standing.key
    again = None if refusal.known_again_us is None else instant(refusal.known_again_us)
    if refusal.why == "beyond_newest":
        newest = instant(refusal.newest_us)
        return StaleData(
            key,
            age=standing.now - newest,
            max_age=standing.allowed_age(terms.allowed_age),
            since=newest,
            state=standing.state,
            diagnosis=standing.diagnosis,
        )
    if refusal.why == "before_first":
        return IncompleteData(key, [Missing(None, None, at, again, "begins")], begins=again)
    first, last = refusal.missing or (None, None)
    gap = refusal.gap
    if gap is None:
        return IncompleteData(key, [Missing(first, last, None, again, "ids")])
    start = None if gap.start_us is None else instant(gap.start_us)
    end = None if gap.end_us is None else instant(gap.end_us)
    return IncompleteData(key, [Missing(first, last, start, end, gap.cause, gap.state, gap.gap_id)])


def _ladder(symbol: str, rebuilt: RebuiltBook) -> Ladder:
    return Ladder(symbol, rebuilt.book, rebuilt.update_id, instant(rebuilt.ts_us))


async def replay(
    database: Database, key: StreamKey, asked: tuple[When, When | None], terms: Settled
) -> AsyncIterator[BookState]:
    """The book at the start, then the book after each delta before the end, in order.

    With `require_complete=False` what cannot be known is left out: the next book is then the next stored one,
    and its `update_id` and `ts` tell of the jump.
    """
    ladder, stretch = await _begun(database, key, asked, terms)
    while ladder is not None:
        yield ladder.state(terms.levels)
        stored = await _next_stored(database, key, stretch, ladder)
        broken: DepthDelta | None = None
        while broken is None and (page := await _page(database, key, stretch, ladder)):
            for delta in page:
                if _is_broken(delta, ladder, stretch):
                    broken = delta
                    break
                ladder.apply(delta.bids, delta.asks, delta.final_update_id, instant(delta.ts_us))
                if stored is not None and stored.last_update_id <= ladder.update_id:
                    ladder.take(rebuild(stored, [delta]).book)
                    stored = await _next_stored(database, key, stretch, ladder)
                yield ladder.state(terms.levels)
        if broken is None:
            return
        if terms.require_complete:
            ids = (ladder.update_id + 1, broken.first_update_id - 1)
            raise IncompleteData(key, [Missing(*ids, ladder.ts, instant(broken.ts_us), "ids")])
        ladder = await _next_book(database, key, stretch, ladder)


def _is_broken(delta: DepthDelta, ladder: Ladder, stretch: _Stretch) -> bool:
    if delta.first_update_id > ladder.update_id + 1:
        return True
    return any(
        ids[0] <= delta.final_update_id and ids[1] > ladder.update_id
        for gap in stretch.doubtful
        if (ids := gap.ids) is not None
    )


async def _begun(
    database: Database, key: StreamKey, asked: tuple[When, When | None], terms: Settled
) -> tuple[Ladder | None, _Stretch]:
    async with database.snapshot() as connection:
        symbol_id, standing = await look(connection, key)
        start, end = span(*asked, standing.now)
        newest: datetime | None = await connection.fetchval(
            statement("newest_book_ts"), key.market, key.symbol
        )
        if not terms.allow_stale:
            refusal = staleness(standing, terms.allowed_age, end=end, seen=newest)
            if refusal is not None:
                raise refusal
        rows = await connection.fetch(statement("reader_gaps"), *key, start, end)
        gaps = against([missing_of(row) for row in rows], start, end)
        stretch = _Stretch(symbol_id, start, end, gaps)
        if terms.require_complete and gaps:
            raise IncompleteData(key, gaps)
        past = Settled(allow_stale=True)
        try:
            return await _book(connection, standing, start, past), stretch
        except IncompleteData:
            if terms.require_complete:
                raise
    return await _next_book(database, key, stretch, None), stretch


async def _page(database: Database, key: StreamKey, stretch: _Stretch, ladder: Ladder) -> list[DepthDelta]:
    since = max(stretch.start, ladder.ts) - CLOCK_SLACK_US * MICROSECOND
    async with database.snapshot() as connection:
        rows = await connection.fetch(
            statement("reader_replay_page"),
            *(stretch.symbol_id, since, stretch.end, ladder.update_id, _PAGE_ROWS),
        )
    return sorted((delta_of(key.symbol, row) for row in rows), key=_final)


def _final(delta: DepthDelta) -> int:
    return delta.final_update_id


async def _next_stored(
    database: Database, key: StreamKey, stretch: _Stretch, ladder: Ladder
) -> DepthSnapshot | None:
    """The next stored book behind the one in hand: from there on it tells more, as it does for `book_at`."""
    at = ladder.ts
    async with database.snapshot() as connection:
        while True:
            row = await connection.fetchrow(statement("next_snapshot"), key.market, key.symbol, at)
            if row is None or row["ts"] >= stretch.end:
                return None
            at = row["ts"]
            if row["update_id"] > ladder.update_id:
                whole = await connection.fetchrow(statement("newest_snapshot"), key.market, key.symbol, at)
                return None if whole is None else snapshot_of(key.symbol, whole)


async def _next_book(
    database: Database, key: StreamKey, stretch: _Stretch, ladder: Ladder | None
) -> Ladder | None:
    """The first stored book behind a hole that can be known; None when there is none before the end."""
    at = stretch.start if ladder is None else ladder.ts
    async with database.snapshot() as connection:
        _, standing = await look(connection, key)
        while True:
            row = await connection.fetchrow(statement("next_snapshot"), key.market, key.symbol, at)
            if row is None or row["ts"] >= stretch.end:
                return None
            at = row["ts"]
            if ladder is not None and row["update_id"] <= ladder.update_id:
                continue
            try:
                found = await _book(connection, standing, at, Settled(allow_stale=True))
            except IncompleteData:
                continue
            if ladder is None or found.update_id > ladder.update_id:
                return found
