"""`ingest status`: how fresh every stream is, as any query sees it, what is wrong, and why we think so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import click
import orjson
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from ingest.cli.database import database_url
from ingest.cli.options import config_option
from ingest.cli.sizes import Storage, read_storage, storage_table
from ingest.cli.tables import (
    TABLE_OLD_S,
    Status,
    console,
    incidents_table,
    kinds_table,
    read_status,
    shards_table,
    streams_table,
    symbol_table,
    why_table,
)
from ingest.config import Settings, load_settings
from ingest.errors import StoreUnavailable
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.sessions import connected
from ingest.store.statements import statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.cli.tables import Connection, Record

Json: TypeAlias = Mapping[str, object]
Found = TypeVar("Found")

_DEGRADED = 3
_WATCH_EVERY_S = 1.0
_INCIDENTS_OF_SYMBOL = 5
_WELL = frozenset({"live", "quiet", "halted", "suspect"})
_NOBODY_WRITES = frozenset({"empty", "away", "stopped"})


@click.command()
@click.argument("symbol", required=False)
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="JSON; with --watch one line for each look.")
@config_option
def status(symbol: str | None, watch: bool, as_json: bool, config_file: Path | None) -> int:
    """Print streams by kind, shards, disk, open incidents, and the streams that are not live.

    With SYMBOL: its streams, why their thresholds are what they are, and its newest incidents.
    Exit code 0 when no stream is stale, recovering or starting, every shard works and the table itself is
    fresh, else 3.
    """
    settings = load_settings(config_file)
    try:
        return asyncio.run(_show(settings, symbol.upper() if symbol else None, watch=watch, as_json=as_json))
    except KeyboardInterrupt:
        return 130


async def _show(settings: Settings, symbol: str | None, *, watch: bool, as_json: bool) -> int:
    async with database_url(settings) as url:
        look = _symbol_look(symbol) if symbol is not None else _whole_look(settings)
        if watch:
            await _watch(url, look, as_json=as_json)
        async with _asking(url) as connection:
            seen = await look(connection)
    _print(seen, as_json=as_json)
    return 0 if seen.is_well else _DEGRADED


class _Seen(NamedTuple):
    """One look, in both forms."""

    is_well: bool
    shown: RenderableType
    told: Json


_Look: TypeAlias = "Callable[[Connection], Awaitable[_Seen]]"


@asynccontextmanager
async def _asking(url: str) -> AsyncIterator["Connection"]:
    async with connected(url, application="ingest status") as connection:
        try:
            yield connection
        except DRIVER_ERRORS as error:
            raise translated(error) from error


def _print(seen: _Seen, *, as_json: bool) -> None:
    if as_json:
        click.echo(_json(seen.told, orjson.OPT_INDENT_2))
    else:
        console().print(seen.shown)


def _json(told: Json, option: int = 0) -> str:
    # Sums come as decimals.
    return orjson.dumps(told, default=float, option=option).decode()


async def _watch(url: str, look: _Look, *, as_json: bool) -> None:
    """Until Ctrl-C. A database that goes away for a while is part of what is to be seen."""
    shown, has_seen = console(), False
    with Live(console=shown, auto_refresh=False) as live:
        while True:
            try:
                async with _asking(url) as connection:
                    while True:
                        seen = await look(connection)
                        _show_look(seen, live, as_json=as_json)
                        has_seen = True
                        await asyncio.sleep(_WATCH_EVERY_S)
            except StoreUnavailable as error:
                if not has_seen:
                    raise
                why = f"the database cannot be asked: {error}"
                away = _Seen(is_well=False, shown=Text(why), told={"verdict": "unknown", "sentence": why})
                _show_look(away, live, as_json=as_json)
            await asyncio.sleep(_WATCH_EVERY_S)


def _show_look(seen: _Seen, live: Live, *, as_json: bool) -> None:
    if as_json:
        click.echo(_json(seen.told))
    elif live.console.is_terminal:
        live.update(seen.shown, refresh=True)
    else:
        live.console.print(seen.shown)


# ---------------------------------------------------------------------- everything


def _whole_look(settings: Settings) -> _Look:
    async def look(connection: "Connection") -> _Seen:
        found = await read_status(connection)
        storage = await _storage(connection, settings) if found.age_s is not None else None
        is_well = found.verdict[0] == "well"
        return _Seen(is_well, Group(*_paragraphs(found, storage)), _told(found, storage))

    return look


async def _storage(connection: "Connection", settings: Settings) -> Storage | None:
    try:
        return await read_storage(connection, settings)
    except StoreUnavailable:
        # A table is locked, by a migration perhaps: no reason to say nothing of the streams.
        return None


def _paragraphs(found: Status, storage: Storage | None) -> list[RenderableType]:
    word, sentence = found.verdict
    parts: list[RenderableType] = [Text(f"server: {found.server}")] if found.server else []
    if word == "empty":
        return [*parts, Text(sentence)]
    parts += [kinds_table(found), shards_table(found)]
    if storage is not None:
        parts.append(storage_table(storage))
    if found.incidents:
        parts.append(incidents_table(found.incidents, "open incidents"))
    if found.not_live and word != "stopped":
        parts.append(streams_table(found.not_live, "not live"))
    return [*parts, Text(sentence, style="bold green" if word == "well" else "bold red")]


def _told(found: Status, storage: Storage | None) -> Json:
    """The schema of `--json`; keys are only ever added."""
    word, sentence = found.verdict
    return {
        "verdict": word,
        "sentence": sentence,
        "stopped_at": found.stopped_at,
        "table_age_s": found.age_s,
        "streams": {
            "all": found.streams,
            "well": found.well,
            "live": found.live,
            "stale": found.stale,
        },
        "kinds": _rows(found.kinds),
        "not_live": _rows(found.not_live),
        "shards": _rows(found.shards),
        "incidents": _rows(found.incidents),
        "gaps": {
            "open": found.open_gaps,
            "not_repaired": {f"{market}:{kind}": gaps for (market, kind), gaps in found.gaps.items()},
        },
        "storage": _told_storage(storage),
        "server": found.server,
    }


def _told_storage(storage: Storage | None) -> Json | None:
    if storage is None:
        return None
    return {
        "bytes": sum(size.total_bytes for size in storage.sizes),
        "free_bytes": storage.free_bytes,
        "growth_bytes_per_s": storage.growth_bytes_per_s,
    }


def _rows(rows: "Sequence[Record]") -> list[Json]:
    return [dict(row) for row in rows]


# ---------------------------------------------------------------------- one symbol


def _symbol_look(symbol: str) -> _Look:
    async def look(connection: "Connection") -> _Seen:
        rows = await connection.fetch(statement("status_symbol"), symbol)
        if not rows:
            why = f"no stream of {symbol} is in the freshness table: is it configured, and does it trade?"
            return _Seen(is_well=False, shown=Text(why), told={"verdict": "unknown", "sentence": why})
        rhythms = await connection.fetch(statement("rhythm_explanations"), symbol)
        incidents = await connection.fetch(statement("status_incidents_of"), symbol, _INCIDENTS_OF_SYMBOL)
        overall = await read_status(connection)
        return _seen_symbol(symbol, rows, rhythms, incidents, overall)

    return look


def _seen_symbol(
    symbol: str,
    rows: "Sequence[Record]",
    rhythms: "Sequence[Record]",
    incidents: "Sequence[Record]",
    overall: Status,
) -> _Seen:
    kinds = [row["kind"] for row in rows]
    parts: list[RenderableType] = [symbol_table(rows, symbol), why_table(kinds, rhythms)]
    if incidents:
        parts.append(incidents_table(incidents, "newest incidents"))
    is_written = overall.age_s is not None and overall.age_s < TABLE_OLD_S
    if overall.verdict[0] in _NOBODY_WRITES:
        parts.append(Text(overall.verdict[1], style="bold red"))
    is_well = is_written and all(row["state"] in _WELL for row in rows)
    word = overall.verdict[0] if overall.verdict[0] in _NOBODY_WRITES else "degraded"
    told = {
        "verdict": "well" if is_well else word,
        "symbol": symbol,
        "stopped_at": overall.stopped_at,
        "table_age_s": overall.age_s,
        "streams": _rows(rows),
        "thresholds": _rows(rhythms),
        "incidents": _rows(incidents),
    }
    return _Seen(is_well, Group(*parts), told)
