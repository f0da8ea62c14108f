"""`ingest backfill`: fills a span of time by hand, whatever the gap ledger says."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ingest.binance.limits import MAX_ROWS
from ingest.binance.streams import ID_RULE, REPAIRABLE, interval_of
from ingest.cli.database import database_url
from ingest.cli.options import config_option, moment
from ingest.cli.past import Bench, open_bench, persistently, span_of, span_or_wrong_use
from ingest.cli.tables import console
from ingest.clock import SystemClock
from ingest.config import Settings, load_settings
from ingest.events import StreamKey
from ingest.ops.logs import LogSettings, configure_logs
from ingest.sequence.backfill import Hole, IdRange, OpenGap, settle
from ingest.sequence.tracker import next_open_us
from ingest.shard.history import OldRow, batch_of, fetch_page
from ingest.store.coverage import cover_trades
from ingest.store.instants import microseconds
from ingest.store.repairs import hole_of, open_gaps, partitions_for, settle_gap

_DEGRADED = 3
_SETTLED_US = 2_000_000
"""What happened so short ago the exchange's history may not tell yet."""
_KINDS = sorted(REPAIRABLE)
_MOST_GAPS = 10_000


@click.command()
@click.argument("symbol")
@click.option("--from", "since", required=True, callback=moment, metavar="TIME", help="ISO 8601, UTC.")
@click.option("--to", "until", callback=moment, metavar="TIME", help="Exclusive; default: now.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(_KINDS),
    metavar="KIND",
    help="trade, agg_trade, kline_1m ...; may be repeated; default: those configured.",
)
@config_option
def backfill(
    symbol: str, since: datetime, until: datetime | None, kinds: tuple[str, ...], config_file: Path | None
) -> int:
    """Fetch what is missing of SYMBOL in a span of time by REST; rows that are there stay as they are.

    May be stopped and called again. Gaps of the ledger that are whole afterwards are closed. Exit code 3 when
    the exchange did not give all that it has.
    """
    settings = load_settings(config_file)
    configure_logs(LogSettings(level="error"))
    now_us = SystemClock().wall_ns() // 1_000
    until_us = None if until is None else microseconds(until)
    span = span_or_wrong_use(microseconds(since), until_us, default_us=now_us, now_us=now_us)
    wanted = kinds or tuple(kind for kind in settings.spot.kinds if kind in REPAIRABLE)
    if not wanted:
        raise click.UsageError("no configured kind can be had again: name one with --kind")
    return asyncio.run(_fill(settings, symbol.upper(), wanted, span))


async def _fill(settings: Settings, symbol: str, kinds: Sequence[str], span: tuple[int, int]) -> int:
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(),
    )
    async with (
        database_url(settings) as url,
        open_bench(settings, url, "ingest backfill") as bench,
    ):
        listed = await persistently(lambda: bench.rest.exchange_info([symbol]))
        symbol_id = (await bench.sink.instrument_ids("spot", listed))[symbol]
        with progress:
            done = [
                await _fill_kind(bench, StreamKey("spot", symbol, kind), symbol_id, span, progress)
                for kind in kinds
            ]
    return 0 if all(done) else _DEGRADED


async def _fill_kind(
    bench: Bench, key: StreamKey, symbol_id: int, span: tuple[int, int], progress: Progress
) -> bool:
    """Fill one kind; whether all of it is there now, as far as the exchange has it."""
    now_us = SystemClock().wall_ns() // 1_000
    gap = await persistently(lambda: span_of(bench.rest, key, *span, now_us=now_us))
    if gap is None:
        progress.console.print(f"{key.kind}: nothing happened in this time")
        await _cover(bench, key, span, now_us)
        return True
    async with bench.sink.session() as connection:
        hole = await hole_of(connection, gap, symbol_id)
    before = hole.rows
    total = sum(_rows_in(key.kind, run) for run in hole.missing)
    bar = progress.add_task(f"{key.symbol} {key.kind}", total=total)
    await fill(bench, hole, key, symbol_id, lambda rows: progress.advance(bar, rows))
    closed = await _close_whole_gaps(bench, gap, symbol_id)
    progress.console.print(_report(key.kind, hole, before, closed))
    if not hole.is_behind:
        await _cover(bench, key, span, now_us)
    return not hole.is_behind


async def _cover(bench: Bench, key: StreamKey, span: tuple[int, int], now_us: int) -> None:
    """From here on candles of trades in this span may be called complete."""
    if key.kind == "trade":
        since_us, until_us = span[0], min(span[1], now_us - _SETTLED_US)
        async with bench.sink.session() as connection:
            await cover_trades(connection, key.market, key.symbol, since_us, until_us)


async def fill(
    bench: Bench, hole: Hole, key: StreamKey, symbol_id: int, on_rows: Callable[[int], None]
) -> None:
    """Page by page, each committed before the next."""
    while (page := hole.next_page(MAX_ROWS)) is not None:
        rows = await persistently(partial(fetch_page, bench.rest, key, symbol_id, page))
        wanted = [rows[place] for place in hole.take(page, [row.ids for row in rows])]
        if wanted:
            await persistently(partial(_store, bench, key.kind, wanted))
            on_rows(len(wanted))


async def _store(bench: Bench, kind: str, rows: Sequence[OldRow]) -> None:
    times_us = [row.ts_us for row in rows]
    async with bench.sink.session() as connection:
        await partitions_for(connection, kind, min(times_us), max(times_us))
    await bench.sink.write_again(batch_of(kind, rows))


async def _close_whole_gaps(bench: Bench, filled: OpenGap, symbol_id: int) -> int:
    """Close gaps of the ledger of which nothing is missing any more; what is skipped the service judges."""
    closed = 0
    async with bench.sink.session() as connection:
        for gap in await open_gaps(connection, [filled.key], most=_MOST_GAPS):
            if gap.last_id < filled.first_id or gap.first_id > filled.last_id:
                continue
            settled = settle(await hole_of(connection, gap, symbol_id), ())
            if settled is not None:
                await settle_gap(connection, gap, settled, closed_us=SystemClock().wall_ns() // 1_000)
                closed += 1
    return closed


def _rows_in(kind: str, run: IdRange) -> int:
    """How many rows a missing range should have; of months about."""
    ids = run.last - run.first + 1
    if ID_RULE[kind] != "candle":
        return ids
    step_us = next_open_us(run.first * 1_000, interval_of(kind)) - run.first * 1_000
    return round(ids * 1_000 / step_us)


def _report(kind: str, hole: Hole, before: int, closed: int) -> str:
    parts = [f"{kind}: {hole.rows - before:,} rows fetched, {before:,} were there"]
    if hole.skipped:
        absent = sum(_rows_in(kind, run) for run in hole.skipped)
        parts.append(f"{absent:,} ids the exchange has not either")
    if hole.is_behind:
        parts.append(
            f"the exchange's history does not reach id {hole.missing[0].first} yet: call again later"
        )
    if closed:
        parts.append(f"{closed:,} gaps closed")
    return "; ".join(parts)
