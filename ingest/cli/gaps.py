"""`ingest gaps`: what is known to be missing, or was, and what became of it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import orjson
from rich.markup import escape
from rich.table import Table

from ingest.binance.streams import KINDS
from ingest.cli.database import database_url
from ingest.cli.options import config_option
from ingest.cli.tables import console
from ingest.config import Settings, load_settings
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
    "--limit", default=50, show_default=True, type=click.IntRange(1, 100_000), help="The newest so many."
)
@click.option("--json", "as_json", is_flag=True, help="A JSON list instead of a table.")
@config_option
def gaps(
    symbol: str | None,
    state: str | None,
    kind: str | None,
    limit: int,
    as_json: bool,
    config_file: Path | None,
) -> int:
    """Print the gap ledger, newest first: of SYMBOL, or of all.

    Exit code 3 when a gap of this symbol and kind is still open, listed or not; 1 when nothing of SYMBOL was
    ever stored; else 0.
    """
    settings = load_settings(config_file)
    wanted = (symbol.upper() if symbol else None, kind)
    found = asyncio.run(_find(settings, wanted, state, limit))
    if found is None:
        click.echo(f"nothing is known of {wanted[0]}: no such symbol was ever stored here", err=True)
        return 1
    _print_json(found) if as_json else _print_table(found)
    return _DEGRADED if found.by_state.get("open") else 0


async def _find(
    settings: Settings, wanted: tuple[str | None, str | None], state: str | None, limit: int
) -> _Found | None:
    async with database_url(settings) as url, connected(url, application="ingest gaps") as connection:
        if wanted[0] is not None and not await connection.fetchval(statement("is_known_symbol"), wanted[0]):
            return None
        rows = await connection.fetch(statement("list_gaps"), *wanted, state, limit)
        counts = await connection.fetch(statement("count_gaps"), *wanted)
    return _Found(rows, {row["state"]: row["gaps"] for row in counts})


def _print_json(found: _Found) -> None:
    click.echo(orjson.dumps([dict(row) for row in found.rows], option=orjson.OPT_INDENT_2).decode())


def _print_table(found: _Found) -> None:
    if not found.rows:
        click.echo("no such gap")
    else:
        shown = console()
        shown.print(_table(found.rows, is_narrow=shown.is_terminal))
    total = ", ".join(f"{found.by_state[state]:,} {state}" for state in _STATES if found.by_state.get(state))
    click.echo(f"in all: {total or 'none'}")


def _table(rows: "Sequence[Record]", *, is_narrow: bool) -> Table:
    """Nothing of it is cut: what does not fit goes on in the next line, on a terminal in any column."""
    table = Table(title="gaps, newest first", title_justify="left")
    for name in ("stream", "state", "cause", "ids"):
        table.add_column(name, no_wrap=not is_narrow, overflow="fold")
    for name in ("missing", "repaired"):
        table.add_column(name, justify="right", overflow="fold")
    for name in ("from (UTC)", "to", "noticed", "note"):
        table.add_column(name, overflow="fold")
    for row in rows:
        state = row["state"]
        color = _COLORS.get(state)
        table.add_row(
            f"{row['market']}:{row['symbol']}:{row['kind']}",
            f"[{color}]{state}[/]" if color else state,
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
    most = "≤ " if row["kind"] == "book_ticker" else ""
    return f"{most}{row['last_id'] - row['first_id'] + 1:,}"


def _moment(moment: datetime | None) -> str:
    return "-" if moment is None else moment.astimezone(UTC).isoformat(" ", "milliseconds")[:-6]
