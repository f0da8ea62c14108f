"""The newest row of a stream, or why it may not be told."""

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ingest.events import StreamKey
from ingest.reader.checks import MICROSECOND, against, stale, staleness
from ingest.reader.errors import IncompleteData
from ingest.reader.follow import MAKERS
from ingest.reader.kinds import Kind
from ingest.reader.rows import BookState, Row
from ingest.reader.spans import look, missing_of
from ingest.reader.terms import Settled
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

_AHEAD: Final = timedelta(days=31)
"""A row may be of a moment that lies ahead of the server's clock, and so may the opening of no candle."""

_RIGHT: Final = frozenset({"live", "quiet"})
"""States of a published book in which it is the exchange's."""


async def newest_row(connection: "Connection", key: StreamKey, kind: Kind, terms: Settled) -> Row:
    """StaleData; IncompleteData where there is none, or rows behind it were lost."""
    symbol_id, standing = await look(connection, key)
    if not terms.allow_stale and (refusal := staleness(standing, terms.allowed_age)) is not None:
        raise refusal
    arguments = (kind.interval,) if kind.interval else ()
    sql = statement(f"reader_newest_{kind.statements}")
    row = await connection.fetchrow(sql, symbol_id, standing.now + _AHEAD, *arguments)
    if row is None:
        raise IncompleteData(key, [])
    found = MAKERS[kind.statements](key.symbol, row)
    if terms.require_complete:
        after = found.ts + MICROSECOND
        until = max(standing.now, after)
        gaps = await connection.fetch(statement("reader_gaps"), *key, after, until)
        if lost := against([missing_of(each) for each in gaps], after, until):
            raise IncompleteData(key, lost)
    return found


async def published_book(connection: "Connection", key: StreamKey, terms: Settled) -> BookState:
    """The newest book as its shard holds and publishes it; StaleData while that is not to be relied on."""
    _, standing = await look(connection, key)
    row = await connection.fetchrow(statement("reader_latest_book"), key.symbol)
    if row is None:
        raise IncompleteData(key, [])
    if not terms.allow_stale:
        if row["state"] not in _RIGHT:
            # Its levels were right at `ts`, and nobody says that they still are.
            standing = standing._replace(known_until=row["ts"], state=row["state"])
            raise stale(standing, terms.allowed_age, row["ts"])
        if (refusal := staleness(standing, terms.allowed_age)) is not None:
            raise refusal
    bids = tuple(zip(row["bid_prices"], row["bid_qtys"], strict=True))[: terms.levels]
    asks = tuple(zip(row["ask_prices"], row["ask_qtys"], strict=True))[: terms.levels]
    return BookState(
        symbol=key.symbol,
        update_id=row["last_update_id"],
        ts=row["ts"],
        bids=bids,
        asks=asks,
        bids_known_from=bids[-1][0] if bids else Decimal("Infinity"),
        asks_known_to=asks[-1][0] if asks else Decimal(0),
    )
