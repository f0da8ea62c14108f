"""`ingest verify`: what is stored against what the exchange says happened, row by row."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from ingest.binance.archive import KINDS
from ingest.binance.limits import MAX_ROWS
from ingest.cli.archive import archive_place, chunks, day_file
from ingest.cli.database import database_url
from ingest.cli.options import config_option, moment
from ingest.cli.past import Bench, open_bench, persistently, span_of, span_or_wrong_use
from ingest.cli.tables import console
from ingest.clock import SystemClock
from ingest.config import Settings, load_settings
from ingest.events import StreamKey
from ingest.ops.logs import LogSettings, configure_logs
from ingest.sequence.backfill import OpenGap
from ingest.sequence.verify import Account, Fact, agg_trade_fact, trade_fact
from ingest.store.instants import instant, microseconds
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.cli.tables import Record

_DIFFERENT = 3
_SETTLED_AFTER_US: Final = 60_000_000
"""What is younger may be on its way still."""

_SLACK_US: Final = 60_000_000
"""How far our time of a row may be wrong and the row still be compared instead of missed."""

_ALL_IDS: Final = 2**63 - 1
_PAGE_ROWS: Final = 20_000
_COMPARED: Final = {
    "trade": "time, price, quantity, and 1 where the buyer is the maker",
    "agg_trade": "time, price, quantity, 1 where the buyer is the maker, first and last trade id",
}


class _Span(NamedTuple):
    """What is compared: one kind of one symbol, from a time up to, not including, another."""

    key: StreamKey
    from_us: int
    to_us: int

    def days(self) -> Iterator[date]:
        """The UTC days that it touches."""
        day = instant(self.from_us).date()
        while instant(self.to_us - 1).date() >= day:
            yield day
            day += timedelta(days=1)

    def within(self, facts: Iterable[Fact]) -> list[Fact]:
        return [fact for fact in facts if self.from_us <= fact.ts_ms * 1_000 < self.to_us]


@click.command()
@click.argument("symbol")
@click.option("--from", "since", required=True, callback=moment, metavar="TIME", help="ISO 8601, UTC.")
@click.option(
    "--to",
    "until",
    callback=moment,
    metavar="TIME",
    help="Exclusive; default: a minute ago, as what is younger may be on its way.",
)
@click.option("--kind", type=click.Choice(KINDS), default="trade", show_default=True)
@click.option(
    "--archive",
    callback=archive_place,
    metavar="FOLDER|URL",
    help="Compare with daily archives instead of REST: files in a folder, or below an address such as"
    " https://data.binance.vision.",
)
@config_option
def verify(
    symbol: str,
    since: datetime,
    until: datetime | None,
    kind: str,
    archive: str | None,
    config_file: Path | None,
) -> int:
    """Compare the stored trades of SYMBOL with REST, or with the exchange's archives, row by row.

    Prints how many are missing, extra or different, and the first of them. Exit code 0 when there are none,
    3 when there are, 1 when it could not be found out.
    """
    settings = load_settings(config_file)
    configure_logs(LogSettings(level="error"))
    now_us = SystemClock().wall_ns() // 1_000
    until_us, settled_us = None if until is None else microseconds(until), now_us - _SETTLED_AFTER_US
    bounds = span_or_wrong_use(microseconds(since), until_us, default_us=settled_us, now_us=now_us)
    span = _Span(StreamKey("spot", symbol.upper(), kind), *bounds)
    account = asyncio.run(_compare(settings, span, archive))
    _print(account, span)
    return 0 if account.is_equal else _DIFFERENT


async def _compare(settings: Settings, span: _Span, archive: str | None) -> Account:
    account = Account()
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    async with (
        database_url(settings) as url,
        open_bench(settings, url, "ingest verify") as bench,
    ):
        theirs = _by_rest(bench, span) if archive is None else _by_archive(archive, span)
        with Progress(*columns, console=console(), transient=True) as progress:
            task = progress.add_task(f"{span.key.symbol} {span.key.kind}", total=None)
            async with aclosing(theirs), aclosing(_stretches(bench, span, theirs)) as stretches:
                async for ours, others in stretches:
                    account.add(ours, others)
                    progress.update(task, description=f"{span.key.symbol}: {account.theirs:,} compared")
    return account


async def _stretches(
    bench: Bench, span: _Span, theirs: "AsyncGenerator[list[Fact], None]"
) -> "AsyncGenerator[tuple[list[Fact], list[Fact]], None]":
    """Both sides of one stretch of ids after another; together all that is stored in the span."""
    after_id, after_us, seen = -1, span.from_us, _Seen()
    async for facts in theirs:
        last_id = max(fact.row_id for fact in facts)
        last_us = max(fact.ts_ms for fact in facts) * 1_000
        if last_id > after_id:
            bounds = (after_us - _SLACK_US, last_us + _SLACK_US)
            yield await _ours(bench, span, (after_id, last_id), bounds, seen), facts
            after_id, after_us = last_id, last_us
    yield await _ours(bench, span, (after_id, _ALL_IDS), (after_us - _SLACK_US, span.to_us), seen), []
    async with aclosing(_strays(bench, span, seen)) as strays:
        async for rows in strays:
            yield rows, []


class _Seen:
    """Which stored rows were compared: those with ids of a stretch, as far as they lie around its time."""

    def __init__(self) -> None:
        self.rows = 0
        self._last_ids: list[int] = []
        self._times_us: list[tuple[int, int]] = []

    def add(self, last_id: int, times_us: tuple[int, int], rows: int) -> None:
        """The stretch of ids up to `last_id`, behind the one before."""
        self._last_ids.append(last_id)
        self._times_us.append(times_us)
        self.rows += rows

    def has(self, row_id: int, ts_us: int) -> bool:
        since, until = self._times_us[bisect_left(self._last_ids, row_id)]
        return since <= ts_us <= until


async def _ours(
    bench: Bench, span: _Span, ids: tuple[int, int], times_us: tuple[int, int], seen: _Seen
) -> list[Fact]:
    """Stored rows with ids above the first and up to the second, as far as they lie in the span."""
    since, until = max(times_us[0], span.from_us), min(times_us[1], span.to_us - 1)
    arguments = (span.key.market, span.key.symbol, *ids, instant(since), instant(until))
    async with bench.sink.session() as connection:
        rows = await connection.fetch(statement(f"verify_{span.key.kind}"), *arguments)
    seen.add(ids[1], (since, until), len(rows))
    return [_fact(row) for row in rows]


async def _strays(bench: Bench, span: _Span, seen: _Seen) -> "AsyncGenerator[list[Fact], None]":
    """Stored rows whose time is far from that of their id's neighbours; mostly there are none."""
    of_symbol = (span.key.market, span.key.symbol)
    after_us, after_id, until = span.from_us, -1, instant(span.to_us - 1)
    async with bench.sink.session() as connection:
        counting = statement(f"verify_count_{span.key.kind}")
        if await connection.fetchval(counting, *of_symbol, instant(after_us), until) <= seen.rows:
            return
    reading = statement(f"verify_by_time_{span.key.kind}")
    while True:
        place = (instant(after_us), after_id, until, _PAGE_ROWS)
        async with bench.sink.session() as connection:
            rows = await connection.fetch(reading, *of_symbol, *place)
        if not rows:
            return
        after_us, after_id = microseconds(rows[-1]["ts"]), rows[-1]["id"]
        yield [_fact(row) for row in rows if not seen.has(row["id"], microseconds(row["ts"]))]


def _fact(row: "Record") -> Fact:
    return Fact(row["id"], microseconds(row["ts"]) // 1_000, tuple(row["fields"]))


# --- the exchange's side ----------------------------------------------------------------------------


async def _by_rest(bench: Bench, span: _Span) -> "AsyncGenerator[list[Fact], None]":
    now_us = SystemClock().wall_ns() // 1_000
    found = await persistently(lambda: span_of(bench.rest, span.key, *span[1:], now_us=now_us))
    from_id = found.first_id if found is not None else 0
    while found is not None and from_id <= found.last_id:
        facts = await persistently(partial(_page, bench, found, from_id))
        if not facts:
            return
        from_id = facts[-1].row_id + 1
        if within := [fact for fact in facts if fact.row_id <= found.last_id]:
            yield within


async def _page(bench: Bench, found: OpenGap, from_id: int) -> list[Fact]:
    limit = min(MAX_ROWS, found.last_id - from_id + 1)
    symbol = found.key.symbol
    if found.key.kind == "trade":
        return [trade_fact(each) for each in await bench.rest.trades(symbol, from_id=from_id, limit=limit)]
    aggs = await bench.rest.agg_trades(symbol, from_id=from_id, limit=limit)
    return [agg_trade_fact(each) for each in aggs]


async def _by_archive(place: str, span: _Span) -> "AsyncGenerator[list[Fact], None]":
    for day in span.days():
        async with day_file(place, span.key.symbol, span.key.kind, day) as path:
            for chunk in chunks(path, span.key.symbol, span.key.kind):
                if facts := span.within(chunk):
                    yield facts


# --- the report -------------------------------------------------------------------------------------


def _print(account: Account, span: _Span) -> None:
    if account.examples:
        console().print(_table(account, span.key.kind))
    counts = ", ".join(f"{count:,} {kind}" for kind, count in account.counts.items())
    click.echo(f"{span.key.symbol} {span.key.kind} from {_time(span.from_us)} to {_time(span.to_us)}")
    click.echo(f"stored {account.ours:,}, at the exchange {account.theirs:,}: {counts}")


def _table(account: Account, kind: str) -> Table:
    table = Table(
        title="differences, the first of them",
        title_justify="left",
        caption=f"each with {_COMPARED[kind]}",
        caption_justify="left",
    )
    for name in ("id", "", "stored", "at the exchange"):
        table.add_column(name, overflow="fold")
    for difference in account.examples:
        table.add_row(
            str(difference.row_id), difference.kind, _shown(difference.ours), _shown(difference.theirs)
        )
    return table


def _shown(fact: Fact | None) -> str:
    return "-" if fact is None else escape(f"{_time(fact.ts_ms * 1_000)} {' '.join(fact.fields)}")


def _time(time_us: int) -> str:
    return instant(time_us).astimezone(UTC).isoformat(" ", "milliseconds")[:-6]
