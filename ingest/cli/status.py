"""`ingest status`: how fresh every stream is, as any query sees it."""

import asyncio
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from ingest.cli.database import database_url
from ingest.cli.options import config_option
from ingest.cli.tables import Status, console, kinds_table, read_status, seconds, shards_table, streams_table
from ingest.config import Settings, load_settings
from ingest.store.sessions import connected
from ingest.store.statements import statement

_DEGRADED = 3
_TABLE_OLD_S = 10.0
_WATCH_EVERY_S = 1.0


@click.command()
@click.argument("symbol", required=False)
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@config_option
def status(symbol: str | None, watch: bool, config_file: Path | None) -> int:
    """Print streams by kind, shards, and the streams that are not live; with SYMBOL, its streams.

    Exit code 0 when every stream is live and the table itself is fresh, else 3.
    """
    settings = load_settings(config_file)
    try:
        return asyncio.run(_show(settings, symbol.upper() if symbol else None, watch=watch))
    except KeyboardInterrupt:
        return 130


async def _show(settings: Settings, symbol: str | None, *, watch: bool) -> int:
    shown = console()
    async with database_url(settings) as url, connected(url, application="ingest status") as connection:
        if symbol is not None:
            rows = await connection.fetch(statement("status_symbol"), symbol)
            shown.print(streams_table(rows, f"streams of {symbol}"))
            return 0 if rows and all(row["state"] == "live" for row in rows) else _DEGRADED
        found = await read_status(connection)
        if not watch:
            _print(shown, found)
            return 0 if _is_well(found) else _DEGRADED
        with Live(kinds_table(found), console=shown, auto_refresh=False) as live:
            while True:
                live.update(kinds_table(await read_status(connection)), refresh=True)
                await asyncio.sleep(_WATCH_EVERY_S)


def _is_well(found: Status) -> bool:
    return (
        found.age_s is not None
        and found.age_s < _TABLE_OLD_S
        and found.streams > 0
        and found.live == found.streams
    )


def _print(shown: Console, found: Status) -> None:
    if found.age_s is None:
        shown.print("the freshness table is empty: has the service run on this database?")
        return
    shown.print(kinds_table(found))
    shown.print(shards_table(found))
    if found.not_live:
        shown.print(streams_table(found.not_live, "not live"))
    if found.age_s > _TABLE_OLD_S:
        age = seconds(found.age_s)
        shown.print(f"[bold red]the table was last written {age} ago: the supervisor is not running[/]")
