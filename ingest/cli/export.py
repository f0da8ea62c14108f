"""`ingest export`: stored rows of a range to Parquet files, a day each, with a manifest."""

import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ingest.cli.database import database_url
from ingest.cli.options import config_option, moment
from ingest.clock import Clock, SystemClock
from ingest.config import Settings, load_settings
from ingest.errors import ConfigError, StoreError
from ingest.export.folder import claimed, read_manifest, write_manifest
from ingest.export.kinds import NAMES, kind_of
from ingest.export.manifest import Manifest, Wanted, standing
from ingest.store.instants import microseconds
from ingest.store.sessions import connected
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.export.extract import Order
    from ingest.export.manifest import Entry

_DEGRADED = 3
_MANIFEST_EVERY_S: Final = 5.0
_ATTEMPTS: Final = 4
_PAUSE_S: Final = 2.0
_MOST_REASONS: Final = 5


class _Range(NamedTuple):
    """What was asked for on the command line."""

    symbols: tuple[str, ...]
    kinds: tuple[str, ...]
    since: datetime
    until: datetime
    numbers: Literal["decimal", "float"]
    allow_incomplete: bool
    overwrite: bool


@click.command()
@click.argument("symbols", nargs=-1, metavar="SYMBOL...")
@click.option("--from", "since", callback=moment, metavar="TIME", help="ISO 8601, UTC.")
@click.option("--to", "until", callback=moment, metavar="TIME", help="Exclusive.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(NAMES),
    default=("trade",),
    show_default=True,
    metavar="KIND",
    help="May be given several times: a kind of stream, depth_snapshot, or candles_1s, _1m, _1h, _1d.",
)
@click.option("--out", "folder", type=click.Path(path_type=Path, file_okay=False), help="Where to.")
@click.option("--allow-incomplete", is_flag=True, help="Export also what is not complete or not fresh.")
@click.option("--overwrite", is_flag=True, help="Make files anew that are there.")
@click.option("--float", "as_float", is_flag=True, help="Numbers as float64: smaller, not exact.")
@click.option(
    "--verify",
    "verified",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="FOLDER",
    help="Compare the files of an export with its manifest instead.",
)
@config_option
def export(  # noqa: PLR0913, PLR0917 - one parameter for each option
    symbols: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    kinds: tuple[str, ...],
    folder: Path | None,
    allow_incomplete: bool,
    overwrite: bool,
    as_float: bool,
    verified: Path | None,
    config_file: Path | None,
) -> int:
    """Write the stored rows of each SYMBOL to OUT/KIND/SYMBOL/DAY.parquet, and manifest.json beside them.

    What is there already is left as it is; may be stopped and called again. A day of which something is
    missing, or which is not known to be all stored, is not exported: exit code 3 says so.
    """
    if verified is not None:
        return _verify(verified)
    if not symbols or since is None or until is None or folder is None:
        raise click.UsageError("wants SYMBOL..., --from, --to and --out; or --verify")
    if since >= until:
        raise click.BadParameter("must be before --to", param_hint="--from")
    clock = SystemClock()
    if microseconds(until) > clock.wall_ns() // 1_000:
        raise click.BadParameter("lies in the future", param_hint="--to")
    names = tuple(dict.fromkeys(symbol.upper() for symbol in symbols))
    wanted = _Range(
        names, kinds, since, until, "float" if as_float else "decimal", allow_incomplete, overwrite
    )
    with claimed(folder):
        return asyncio.run(_export(load_settings(config_file), folder, wanted, clock))


async def _export(settings: Settings, folder: Path, wanted: _Range, clock: Clock) -> int:
    import ingest.export.arrow  # noqa: F401  says at once when it is not installed

    manifest = read_manifest(folder) or Manifest()
    async with database_url(settings) as url:
        await _check_names(url, wanted)
        work = _Work(url, folder, manifest, wanted, clock)
        try:
            return await work.run()
        finally:
            work.save()


async def _check_names(url: str, wanted: _Range) -> None:
    """ConfigError for a symbol, or a relation, that this database does not have."""
    async with connected(url, application="ingest export") as connection:
        for symbol in wanted.symbols:
            if not await connection.fetchval(statement("is_known_symbol"), symbol):
                raise ConfigError(f"{symbol}: no such symbol was ever stored here")
        for kind in wanted.kinds:
            if not await connection.fetchval(statement("export_is_there"), kind_of(kind).relation):
                raise ConfigError(f"{kind}: this database has no {kind_of(kind).relation}")


class _Work:
    """The files of a range, one after another."""

    def __init__(self, url: str, folder: Path, manifest: Manifest, wanted: _Range, clock: Clock) -> None:
        self._url = url
        self._folder = folder
        self._manifest = manifest
        self._wanted = wanted
        self._clock = clock
        self._saved_s = clock.monotonic_s()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rows]:,} rows"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self._done = self._skipped = self._rows = self._left_out = 0

    def save(self) -> None:
        """Write the manifest."""
        write_manifest(self._folder, self._manifest)
        self._saved_s = self._clock.monotonic_s()

    async def run(self) -> int:
        """Make what is not there yet; the exit code."""
        orders = list(self._orders())
        with self._progress:
            bar = self._progress.add_task("export", total=len(orders), rows=0)
            for order in orders:
                self._progress.update(bar, description=order.wanted.path.removesuffix(".parquet"))
                await self._one(order)
                self._progress.update(bar, advance=1, rows=self._rows)
                if self._clock.monotonic_s() - self._saved_s >= _MANIFEST_EVERY_S:
                    self.save()
        click.echo(
            f"{self._done:,} files, {self._rows:,} rows; {self._skipped:,} were there,"
            f" {self._left_out:,} left out"
        )
        return _DEGRADED if self._left_out else 0

    def _orders(self) -> "Iterator[Order]":
        from ingest.export.check import iso
        from ingest.export.extract import Order

        wanted = self._wanted
        for name in wanted.kinds:
            for symbol in wanted.symbols:
                for since, until in _days(wanted.since, wanted.until):
                    path = f"{name}/{symbol}/{since:%Y-%m-%d}.parquet"
                    bounds = (iso(microseconds(since)), iso(microseconds(until)))
                    yield Order(
                        symbol=symbol,
                        kind=kind_of(name),
                        wanted=Wanted(path, *bounds, wanted.numbers),
                        from_ts=since,
                        to_ts=until,
                        allow_incomplete=wanted.allow_incomplete,
                        on_rows=self._count,
                    )

    def _count(self, rows: int) -> None:
        self._rows += rows
        for task in self._progress.tasks:
            self._progress.update(task.id, rows=self._rows)

    async def _one(self, order: "Order") -> None:
        from ingest.export.extract import Incomplete

        path = order.wanted.path
        if not self._is_wanted(order):
            return
        try:
            self._manifest.files[path] = await self._persistently(order)
            self._done += 1
        except Incomplete as error:
            self._left_out += 1
            shown = error.reasons[:_MOST_REASONS]
            more = len(error.reasons) - len(shown)
            self._say(f"{path} left out: {'; '.join(shown)}{f'; and {more} more' if more else ''}")

    def _is_wanted(self, order: "Order") -> bool:
        path = order.wanted.path
        entry = self._manifest.files.get(path)
        what = "absent" if self._wanted.overwrite else standing(entry, order.wanted)
        if what == "other":
            self._left_out += 1
            self._say(f"{path} left out: there is one of another time or with other numbers; see --overwrite")
            return False
        file = self._folder / path
        if what == "done" and entry is not None and file.exists() and file.stat().st_size == entry.bytes:
            self._skipped += 1
            return False
        return True

    async def _persistently(self, order: "Order") -> "Entry":
        """Try again what time may heal; a file is small enough to be begun anew."""
        from ingest.export.extract import export_file

        for attempt in range(1, _ATTEMPTS):
            rows = self._rows
            try:
                return await export_file(self._url, self._folder, order, clock=self._clock)
            except StoreError as error:
                if not error.transient:
                    raise
                self._say(f"trying again: {error}")
            self._rows = rows
            await asyncio.sleep(_PAUSE_S * attempt)
        return await export_file(self._url, self._folder, order, clock=self._clock)

    def _say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _days(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The parts of a range that lie in one UTC day each."""
    while since < until:
        midnight = since.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)
        end = min(midnight + timedelta(days=1), until)
        yield since, end
        since = end


def _verify(folder: Path) -> int:
    from ingest.export.check import differences

    manifest = read_manifest(folder)
    if manifest is None:
        raise ConfigError(f"{folder} has no manifest.json")
    found = 0
    for difference in differences(folder, manifest):
        found += 1
        click.echo(difference)
    rows = sum(entry.rows for entry in manifest.files.values())
    incomplete = sum(not entry.is_complete for entry in manifest.files.values())
    click.echo(
        f"{len(manifest.files):,} files, {rows:,} rows, {incomplete:,} incomplete: {found:,} differences"
    )
    return _DEGRADED if found else 0
