"""`ingest book`: the order book of a symbol at any moment, rebuilt from the database."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import click
import orjson
from rich.table import Table

from ingest.book.rebuild import RebuiltBook, rebuild
from ingest.cli.database import database_url
from ingest.cli.options import config_option, moment
from ingest.cli.tables import console
from ingest.clock import SystemClock
from ingest.config import Settings, load_settings
from ingest.events import Level
from ingest.store.lookup import StoredBook
from ingest.store.postgres import PostgresSink

_DEGRADED = 3


@click.command()
@click.argument("symbol")
@click.option(
    "--at", callback=moment, metavar="TIME", help="ISO 8601, UTC unless it says otherwise; default: now."
)
@click.option("--levels", default=10, show_default=True, type=click.IntRange(1, 5_000), help="Levels a side.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@config_option
def book(symbol: str, at: datetime | None, levels: int, as_json: bool, config_file: Path | None) -> int:
    """Print the book of SYMBOL as it stood at a moment, from stored snapshots and deltas.

    Exit code 3 when deltas are missing between the snapshot and that moment: what is printed is then the
    book before the hole.
    """
    symbol = symbol.upper()
    at_us = SystemClock().wall_ns() // 1_000 if at is None else int(at.timestamp() * 1_000_000)
    stored = asyncio.run(_stored(load_settings(config_file), symbol, at_us))
    if stored is None:
        click.echo(f"no book of {symbol} is stored at or before that time", err=True)
        return 1
    rebuilt = rebuild(stored.snapshot, stored.deltas)
    _print_json(symbol, rebuilt, levels) if as_json else _print_table(symbol, rebuilt, levels)
    if rebuilt.missing is not None:
        first, last = rebuilt.missing
        click.echo(f"updates {first} to {last} are missing: the book after them is not known", err=True)
        return _DEGRADED
    return 0


async def _stored(settings: Settings, symbol: str, at_us: int) -> StoredBook | None:
    async with database_url(settings) as url, PostgresSink.opened(url, connections=1) as sink:
        return await sink.stored_book("spot", symbol, at_us=at_us)


def _time(ts_us: int) -> str:
    return datetime.fromtimestamp(ts_us / 1e6, UTC).isoformat(timespec="milliseconds")


def _print_json(symbol: str, rebuilt: RebuiltBook, levels: int) -> None:
    bids, asks = rebuilt.book.top(levels)
    answer = {
        "symbol": symbol,
        "update_id": rebuilt.update_id,
        "ts": _time(rebuilt.ts_us),
        "deltas_applied": rebuilt.deltas_applied,
        "missing": rebuilt.missing,
        "bids": bids,
        "asks": asks,
    }
    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())


def _print_table(symbol: str, rebuilt: RebuiltBook, levels: int) -> None:
    bids, asks = rebuilt.book.top(levels)
    title = f"{symbol} after update {rebuilt.update_id}, {_time(rebuilt.ts_us)}"
    table = Table(title=title, caption=f"snapshot and {rebuilt.deltas_applied} deltas")
    for heading in ("bid qty", "bid", "ask", "ask qty"):
        table.add_column(heading, justify="right")
    blank = ("", "")
    for row in range(max(len(bids), len(asks))):
        bid, ask = (side[row] if row < len(side) else blank for side in (bids, asks))
        table.add_row(
            _plain(bid[1]), f"[green]{_plain(bid[0])}[/]", f"[red]{_plain(ask[0])}[/]", _plain(ask[1])
        )
    console().print(table)
    if bids and asks:
        click.echo(f"spread {_spread(bids[0], asks[0])}")


def _plain(text: str) -> str:
    """Without the zeros that the exchange pads to eight decimals."""
    return f"{Decimal(text).normalize():f}" if text else ""


def _spread(bid: Level, ask: Level) -> str:
    return f"{(Decimal(ask[0]) - Decimal(bid[0])).normalize():f}"
