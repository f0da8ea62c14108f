"""`ingest status`: how fresh every stream is, as any query sees it, what is wrong, and why we think so."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.live import Live

from ingest.cli.database import database_url
from ingest.cli.options import config_option
from ingest.cli.sizes import Storage, read_storage, storage_table
from ingest.cli.tables import (
    Status,
    console,
    incidents_table,
    kinds_table,
    read_status,
    seconds,
    shards_table,
    streams_table,
    symbol_table,
    why_table,
)
from ingest.config import Settings, load_settings
from ingest.errors import StoreUnavailable
from ingest.store.sessions import connected
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.cli.tables import Connection

_DEGRADED = 3
_TABLE_OLD_S = 10.0
_WATCH_EVERY_S = 1.0
_INCIDENTS_OF_SYMBOL = 5
_WELL = frozenset({"live", "quiet", "halted", "suspect"})


@click.command()
@click.argument("symbol", required=False)
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@config_option
def status(symbol: str | None, watch: bool, config_file: Path | None) -> int:
    """Print streams by kind, shards, disk, open incidents, and the streams that are not live.

    With SYMBOL: its streams, why their thresholds are what they are, and its newest incidents.
    Exit code 0 when no stream is stale, recovering or starting and the table itself is fresh, else 3.
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
            return await _show_symbol(shown, connection, symbol)
        found = await read_status(connection)
        if not watch:
            _print(shown, found, await _storage(connection, settings))
            return 0 if _is_well(found) else _DEGRADED
        with Live(kinds_table(found), console=shown, auto_refresh=False) as live:
            while True:
                live.update(kinds_table(await read_status(connection)), refresh=True)
                await asyncio.sleep(_WATCH_EVERY_S)


async def _show_symbol(shown: Console, connection: "Connection", symbol: str) -> int:
    rows = await connection.fetch(statement("status_symbol"), symbol)
    if not rows:
        shown.print(f"no stream of {symbol} is in the freshness table: is it configured, and does it trade?")
        return _DEGRADED
    shown.print(symbol_table(rows, symbol))
    rhythms = await connection.fetch(statement("rhythm_explanations"), symbol)
    shown.print(why_table([row["kind"] for row in rows], rhythms))
    incidents = await connection.fetch(statement("status_incidents_of"), symbol, _INCIDENTS_OF_SYMBOL)
    if incidents:
        shown.print(incidents_table(incidents, "newest incidents"))
    age_s = await connection.fetchval(statement("status_age"))
    _tell_old_table(shown, age_s)
    is_well = all(row["state"] in _WELL for row in rows)
    return 0 if is_well and age_s is not None and age_s < _TABLE_OLD_S else _DEGRADED


def _tell_old_table(shown: Console, age_s: float | None) -> None:
    if age_s is not None and age_s > _TABLE_OLD_S:
        age = seconds(age_s)
        shown.print(f"[bold red]the table was last written {age} ago: the supervisor is not running[/]")


def _is_well(found: Status) -> bool:
    return (
        found.age_s is not None
        and found.age_s < _TABLE_OLD_S
        and found.streams > 0
        and found.well == found.streams
    )


async def _storage(connection: "Connection", settings: Settings) -> Storage | None:
    try:
        return await read_storage(connection, settings)
    except StoreUnavailable:
        # A table is locked, by a migration perhaps: no reason to say nothing of the streams.
        return None


def _print(shown: Console, found: Status, storage: Storage | None) -> None:
    if found.server:
        shown.print(f"server: {found.server}", highlight=False, markup=False)
    if found.age_s is None:
        shown.print("the freshness table is empty: has the service run on this database?")
        return
    shown.print(kinds_table(found))
    shown.print(shards_table(found))
    if storage is not None:
        shown.print(storage_table(storage))
    if found.incidents:
        shown.print(incidents_table(found.incidents, "open incidents"))
    if found.not_live:
        shown.print(streams_table(found.not_live, "not live"))
    _tell_old_table(shown, found.age_s)
