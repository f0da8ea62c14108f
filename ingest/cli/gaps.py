"""`ingest gaps`: what is known to be missing, or was, and what became of it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import click
import orjson
from rich.markup import escape
from rich.table import Table

from ingest.binance.streams import KINDS
from ingest.cli.database import database_url
from ingest.cli.options import config_option, moment
from ingest.cli.tables import console
from ingest.config import Settings, load_settings
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.sessions import connected
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.cli.tables import Record

_DEGRADED = 3
_STATES = ("open", "repaired", "unrepairable", "absent_at_exchange")
_COLORS = {"open": "bold red", "unrepairable": "yellow"}


class _Found(NamedTuple):
    """The newest gaps that were asked for, and how many there are of each state, whatever was asked."""

    rows: "Sequence[Record]"
    by_state: Mapping[str, int]


@click.command()
@click.argument("symbol", required=False)
@click.option("--state", type=click.Choice(_STATES), help="Only gaps in this state.")
@click.option("--kind", type=click.Choice(KINDS), metavar="KIND", help="Only gaps of this kind of stream.")
@click.option(
    "--since", callback=moment, metavar="TIME", help="Only gaps that ended, or were noticed, since then."
)
@click.option("--summary", is_flag=True, help="Not one by one: sums by kind, cause and state.")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 100_000), help="The newest so many."
)
@click.option("--json", "as_json", is_flag=True, help="A JSON list instead of a table.")
@config_option
def gaps(
    symbol: str | None,
    state: str | None,
    kind: str | None,
    since: datetime | None,
    summary: bool,
    limit: int,
    as_json: bool,
    config_file: Path | None,
) -> int:
    """Print the gap ledger, newest first: of SYMBOL, or of all; with --summary what it comes to.

    Exit code 3 when a gap of this symbol, kind and time is still open, listed or not; 1 when nothing of
    SYMBOL was ever stored; else 0.
    """
    settings = load_settings(config_file)
    wanted = _Wanted(symbol.upper() if symbol else None, kind, state, since)
    found = asyncio.run(_find(settings, wanted, limit, summary=summary))
    if found is None:
        click.echo(f"nothing is known of {wanted.symbol}: no such symbol was ever stored here", err=True)
        return 1
    if as_json:
        _print_json(found)
    else:
        _print_table(found, _summary_table if summary else _table)
    return _DEGRADED if found.by_state.get("open") else 0


class _Wanted(NamedTuple):
    """Which gaps; None is any."""

    symbol: str | None
    kind: str | None
    state: str | None
    since: datetime | None


async def _find(settings: Settings, wanted: _Wanted, limit: int, *, summary: bool) -> _Found | None:
    symbol, kind, state, since = wanted
    async with database_url(settings) as url, connected(url, application="ingest gaps") as connection:
        try:
            if symbol is not None and not await connection.fetchval(statement("is_known_symbol"), symbol):
                return None
            if summary:
                rows = await connection.fetch(statement("summarize_gaps"), symbol, kind, state, since)
            else:
                rows = await connection.fetch(statement("list_gaps"), symbol, kind, state, limit, since)
            counts = await connection.fetch(statement("count_gaps"), symbol, kind, since)
        except DRIVER_ERRORS as error:
            raise translated(error) from error
    return _Found(rows, {row["state"]: row["gaps"] for row in counts})


def _print_json(found: _Found) -> None:
    click.echo(orjson.dumps([dict(row) for row in found.rows], option=orjson.OPT_INDENT_2).decode())


_MakeTable: TypeAlias = "Callable[[Sequence[Record], bool], Table]"
"""(rows, is_narrow) -> a table."""


def _print_table(found: _Found, make: _MakeTable) -> None:
    if not found.rows:
        click.echo("no such gap")
    else:
        shown = console()
        shown.print(make(found.rows, shown.is_terminal))
    total = ", ".join(f"{found.by_state[state]:,} {state}" for state in _STATES if found.by_state.get(state))
    click.echo(f"in all: {total or 'none'}")


def _summary_table(rows: "Sequence[Record]", is_narrow: bool) -> Table:
    """What was missed, why, and what became of it."""
    table = Table(title="gaps by kind, cause and state", title_justify="left")
    for name in ("kind", "cause", "state"):
        table.add_column(name, no_wrap=not is_narrow, overflow="fold")
    for name in ("gaps", "symbols", "ids", "rows repaired", "from (UTC)", "to"):
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        table.add_row(
            f"{row['market']}:{row['kind']}",
            row["cause"],
            _colored(row["state"]),
            f"{row['gaps']:,}",
            f"{row['symbols']:,}",
            "-" if row["ids"] is None else f"{_most(row['kind'])}{row['ids']:,}",
            f"{row['rows_repaired']:,}",
            _moment(row["first_at"]),
            _moment(row["last_at"]),
        )
    return table


def _colored(state: str) -> str:
    color = _COLORS.get(state)
    return f"[{color}]{state}[/]" if color else state


def _most(kind: str) -> str:
    return "≤ " if kind == "book_ticker" else ""


def _table(rows: "Sequence[Record]", is_narrow: bool) -> Table:
    """Nothing of it is cut: what does not fit goes on in the next line, on a terminal in any column."""
    table = Table(title="gaps, newest first", title_justify="left")
    for name in ("stream", "state", "cause", "ids"):
        table.add_column(name, no_wrap=not is_narrow, overflow="fold")
    for name in ("missing", "repaired"):
        table.add_column(name, justify="right", overflow="fold")
    for name in ("from (UTC)", "to", "noticed", "note"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(
            f"{row['market']}:{row['symbol']}:{row['kind']}",
            _colored(row["state"]),
            row["cause"],
            "-" if row["first_id"] is None else f"{row['first_id']}..{row['last_id']}",
            _missing(row),
            f"{row['rows_repaired']:,}",
            _moment(row["start_ts"]),
            _moment(row["end_ts"]),
            _moment(row["opened_at"]),
            escape(row["note"]),
        )
    return table


def _missing(row: "Record") -> str:
    """How many ids the range has; a candle's ids are times, and a book ticker's skip."""
    if row["first_id"] is None or row["kind"].startswith("kline_"):
        return "-"
    return f"{_most(row['kind'])}{row['last_id'] - row['first_id'] + 1:,}"


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else moment.astimezone(UTC).isoformat(" ", "milliseconds")[:-6]
