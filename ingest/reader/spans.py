"""A span of one stream, checked and read in one state of the database."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from ingest.events import StreamKey
from ingest.reader.answer import Answer
from ingest.reader.arrow import packed_parser, text_parser
from ingest.reader.checks import (
    MICROSECOND,
    NOTHING_BESIDE,
    Beside,
    Standing,
    against,
    begins_late,
    holes,
    not_absent,
    staleness,
)
from ingest.reader.database import Database
from ingest.reader.errors import IncompleteData, Missing, UnknownName
from ingest.reader.intervals import candle_number, next_open_us, open_us_of
from ingest.reader.kinds import Kind
from ingest.reader.terms import Settled
from ingest.reader.times import When, span
from ingest.store.instants import instant, microseconds
from ingest.store.statements import statement

if TYPE_CHECKING:
    import pyarrow as pa

    from ingest.store.sessions import Connection


class Asked(NamedTuple):
    """One question, before anything is known."""

    key: StreamKey
    kind: Kind
    start: When
    end: When | None
    terms: Settled


class Prepared(NamedTuple):
    """What is known before the rows are read: nothing speaks against them so far."""

    symbol_id: int
    standing: Standing
    start: datetime
    end: datetime
    beside: Beside
    gaps: list[Missing]

    @property
    def known_until(self) -> datetime | None:
        known = (self.standing.known_until, self.beside.after)
        return max((each for each in known if each is not None), default=None)


async def look(connection: "Connection", key: StreamKey) -> tuple[int, Standing]:
    """The number of a symbol, and what the service says of a stream of it; UnknownName."""
    row = await connection.fetchrow(statement("reader_standing"), *key)
    if row is None:
        known = await connection.fetch(statement("reader_symbols"), key.market)
        raise UnknownName("symbol", key.symbol, [each["symbol"] for each in known])
    threshold_s = row["threshold_s"]
    return row["symbol_id"], Standing(
        key=key,
        now=row["now"],
        known_until=row["known_until"],
        state=row["state"],
        diagnosis=row["diagnosis"],
        threshold=None if threshold_s is None else timedelta(seconds=threshold_s),
        updated_at=row["updated_at"],
    )


def missing_of(row: asyncpg.Record) -> Missing:
    """A row of the gap ledger."""
    return Missing(
        first_id=row["first_id"],
        last_id=row["last_id"],
        start=row["start_ts"],
        end=row["end_ts"],
        cause=row["cause"],
        state=row["state"],
        gap_id=row["gap_id"],
    )


async def prepare(connection: "Connection", asked: Asked) -> Prepared:
    """Check what can be checked without the rows; StaleData, IncompleteData, UnknownName."""
    symbol_id, standing = await look(connection, asked.key)
    start, end = span(asked.start, asked.end, standing.now)
    beside = await _beside(connection, asked, symbol_id, start, _reach(asked.kind, end))
    terms = asked.terms
    if not terms.allow_stale:
        refusal = staleness(standing, terms.allowed_age, end=end, seen=beside.after)
        if refusal is not None:
            raise refusal
    gaps: list[Missing] = []
    if terms.require_complete:
        if beside.before is None:
            first = (await _beside(connection, asked, symbol_id, start, start)).after
            late = begins_late(asked.key, start, first if first is not None and first < end else None, beside)
            if late is not None:
                raise late
        reach = _reach(asked.kind, end)
        rows = await connection.fetch(statement("reader_gaps"), *asked.key, start, reach)
        gaps = [missing_of(row) for row in rows]
        bounds = beside if asked.kind.id_rule == "consecutive" else NOTHING_BESIDE
        found = against(gaps, start, reach, bounds)
        if found:
            raise IncompleteData(asked.key, found)
    return Prepared(symbol_id, standing, start, end, beside, gaps)


def _reach(kind: Kind, end: datetime) -> datetime:
    """When the last candle that opens before `end` is over; `end` itself for anything else."""
    if not kind.interval:
        return end
    before_us = microseconds(end) - 1
    like_us = 0 if kind.interval != "1w" else 4 * 86_400_000_000
    number = candle_number(before_us - like_us % _week(kind), kind.interval)
    return instant(next_open_us(open_us_of(number, kind.interval, like_us=like_us), kind.interval))


def _week(kind: Kind) -> int:
    return 604_800_000_000 if kind.interval == "1w" else 1


async def _beside(
    connection: "Connection", asked: Asked, symbol_id: int, start: datetime, end: datetime
) -> Beside:
    """The rows next to a span; of candles made of trades those of the trades."""
    own = asked.kind.stream == "trade" and asked.kind.interval
    name = "trades" if own else asked.kind.statements
    arguments = (asked.kind.interval,) if name == "klines" else ()
    row = await connection.fetchrow(statement(f"reader_beside_{name}"), symbol_id, start, end, *arguments)
    assert row is not None
    return Beside(row["before_id"], row["before_ts"], row["after_id"], row["after_ts"])


async def check_span(database: Database, asked: Asked) -> tuple[datetime, datetime]:
    """Refuse a span as a whole, as far as that can be done without its rows; else its bounds in UTC."""
    async with database.snapshot() as connection:
        prepared = await prepare(connection, asked)
    return prepared.start, prepared.end


async def read_span(database: Database, asked: Asked) -> Answer:
    """The rows of a span, or why not; checks and rows are of one state of the database."""
    async with database.snapshot() as connection:
        prepared = await prepare(connection, asked)
        table = await _rows(connection, asked, prepared)
    if asked.kind.interval:
        table = _candles(table, asked, prepared)
    elif asked.terms.require_complete and asked.kind.id_rule == "consecutive":
        _refuse_holes(table, asked, prepared)
    return Answer(
        table,
        as_of=prepared.standing.now,
        stream=asked.key,
        start=prepared.start,
        end=prepared.end,
        known_until=prepared.known_until,
    )


async def _rows(connection: "Connection", asked: Asked, prepared: Prepared) -> "pa.Table":
    kind, prices = asked.kind, asked.terms.prices or "float"
    arguments: list[object] = [prepared.symbol_id, prepared.start, prepared.end]
    if kind.statements == "klines":
        arguments.append(kind.interval)
    is_packed = prices == "float" and kind.id_column != "open_time"
    parser = packed_parser(kind.columns) if is_packed else text_parser(kind.columns, prices)
    name = f"reader_{'floats' if is_packed else 'rows'}_{kind.statements}"
    sql = statement(name).partition(";")[0]
    await connection.copy_from_query(sql, *arguments, output=parser.take, format=parser.format)
    return await parser.finished()


def _refuse_holes(table: "pa.Table", asked: Asked, prepared: Prepared) -> None:
    """IncompleteData where the ids do not continue, from the row before the span to the one behind it."""
    import pyarrow.compute as pc

    beside, column = prepared.beside, table[asked.kind.id_column]
    if not table.num_rows:
        found = holes([], beside)
    else:
        bounds = pc.min_max(column).as_py()
        first = bounds["min"] if beside.before_id is None else beside.before_id + 1
        last = bounds["max"] if beside.after_id is None else beside.after_id - 1
        if last - first + 1 == table.num_rows:
            return
        found = holes(sorted(column.to_pylist()), beside)
    missing = not_absent(found, prepared.gaps)
    if missing:
        raise IncompleteData(asked.key, missing)


def _candles(table: "pa.Table", asked: Asked, prepared: Prepared) -> "pa.Table":
    """Candles that are final, and where wanted the running one; IncompleteData where one is missing."""
    final = table.filter(table["is_closed"])
    if asked.terms.require_complete:
        if asked.key.kind == "trade":
            missing = incomplete_candles(table, _due(asked, prepared))
            missing = missing or not_absent(holes_between(table, prepared.beside.before_id), prepared.gaps)
        else:
            missing = _missing(final, asked, prepared)
        if missing:
            raise IncompleteData(asked.key, missing)
    return table if asked.terms.with_open else final


def _due(asked: Asked, prepared: Prepared) -> datetime:
    """Up to when candles have to be final by now."""
    standing = prepared.standing
    due = standing.now - standing.allowed_age(asked.terms.allowed_age)
    known = prepared.known_until
    return min(due, known) if asked.terms.allow_stale and known is not None else due


def incomplete_candles(candles: "pa.Table", due: datetime) -> list[Missing]:
    """Of candles made of trades: those that lack trades by their own word, or were due and are not final."""
    import pyarrow.compute as pc

    lacks = pc.and_(candles["is_closed"], pc.invert(candles["is_complete"]))
    lags = pc.and_(pc.invert(candles["is_closed"]), pc.less(candles["close_time"], due))
    wrong = candles.filter(pc.or_(lacks, lags))
    times = zip(wrong["open_time"].to_pylist(), wrong["close_time"].to_pylist(), strict=True)
    return [Missing(None, None, opened, closed, "rows") for opened, closed in times]


def holes_between(candles: "pa.Table", before_id: int | None) -> list[tuple[int, int]]:
    """Ranges of trades that are in no candle, before each; `before_id` is the trade before the first one."""
    firsts, lasts = candles["first_trade_id"].to_pylist(), candles["last_trade_id"].to_pylist()
    pairs = zip([before_id, *lasts], firsts, strict=False)
    return [(last + 1, first - 1) for last, first in pairs if last is not None and first > last + 1]


def _missing(candles: "pa.Table", asked: Asked, prepared: Prepared) -> list[Missing]:
    """Of the exchange's candles: those between the first and the last that ought to be there."""
    interval, beside = asked.kind.interval, prepared.beside
    opened = [microseconds(moment) for moment in candles["open_time"].to_pylist()]
    numbers = [candle_number(open_us, interval) for open_us in opened]
    around = [None if each is None else microseconds(each) for each in (beside.before, beside.after)]
    like_us = next((us for us in [*opened, *around] if us is not None), 0)
    ends = [None if us is None else candle_number(us, interval) for us in around]
    found = [
        (low, high)
        for low, high in holes(numbers, Beside(ends[0], None, ends[1], None))
        # Of a hole that begins before the span, what lies in it.
        if open_us_of(high, interval, like_us=like_us) >= microseconds(prepared.start)
    ]
    return in_opening_times(not_absent(found, numbered(prepared.gaps, interval)), interval, like_us)


def numbered(gaps: Sequence[Missing], interval: str) -> list[Missing]:
    """Gaps of candles, which have opening times in milliseconds for ids, by the numbers of candles."""
    return [
        Missing(
            None if gap.first_id is None else candle_number(gap.first_id * 1_000, interval),
            None if gap.last_id is None else candle_number(gap.last_id * 1_000, interval),
            *(gap.start, gap.end, gap.cause, gap.state, gap.gap_id),
        )
        for gap in gaps
    ]


def in_opening_times(missing: Sequence[Missing], interval: str, like_us: int) -> list[Missing]:
    """The way back."""

    def opening(number: int | None) -> int | None:
        return None if number is None else open_us_of(number, interval, like_us=like_us) // 1_000

    return [
        Missing(
            opening(each.first_id),
            opening(each.last_id),
            each.start or instant_of_ms(opening(each.first_id)),
            each.end or instant_of_ms(opening(each.last_id)),
            *(each.cause, each.state, each.gap_id),
        )
        for each in missing
    ]


def instant_of_ms(ms: int | None) -> datetime | None:
    """The moment so many milliseconds after the epoch, UTC."""
    return None if ms is None else instant(ms * 1_000)


async def read_parts(database: Database, asked: Asked) -> AsyncIterator[Answer]:
    """A span between two datetimes in parts: `chunk` long, or of about so many rows.

    Rows of one moment stay together. Each part is checked, and of a state of the database of its own.
    """
    start, end = asked.start, asked.end
    assert isinstance(start, datetime)
    assert isinstance(end, datetime)
    while start < end:
        cut = min(end, await _cut(database, asked, start, end))
        yield await read_span(database, asked._replace(start=start, end=cut))
        start = cut


async def _cut(database: Database, asked: Asked, start: datetime, end: datetime) -> datetime:
    chunk = asked.terms.chunk
    if isinstance(chunk, timedelta):
        return start + chunk
    async with database.snapshot() as connection:
        symbol_id, _ = await look(connection, asked.key)
        sql = statement(f"reader_cut_{asked.kind.statements}")
        found: datetime | None = await connection.fetchval(sql, symbol_id, start, end, chunk)
    if found is None:
        return end
    return found if found > start else start + MICROSECOND
