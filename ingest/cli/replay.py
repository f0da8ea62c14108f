"""`ingest replay`: captured frames into a database, by the code that stores live ones."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from ingest.cli.database import embedded_url
from ingest.clock import SystemClock
from ingest.errors import IngestError, leaves
from ingest.ops.logs import LogSettings, configure_logs
from ingest.shard.replay_files import Part, Replayer, ReplayReport, find_parts
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.migrate import migrate
from ingest.store.postgres import PostgresSink

_DEGRADED = 3
_MIGRATE_S = 600.0
_TOLD_TROUBLES = 20
_DATABASE_SCHEMES = ("postgresql://", "postgres://")


def _into(_: click.Context, __: click.Parameter, text: str) -> str:
    """A database or a folder; a misspelt scheme would become a folder of that name."""
    if text.startswith(_DATABASE_SCHEMES) or (text and "://" not in text):
        return text
    # Not quoted: it may hold a password.
    raise click.BadParameter("expected postgresql://… or a folder")


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--into",
    required=True,
    callback=_into,
    metavar="URL|FOLDER",
    help="The database: postgresql://…, or a data folder whose embedded one is meant (made if needed).",
)
def replay(files: tuple[Path, ...], into: str) -> int:
    """Play captured FILES (or folders of them) into a database.

    Gives the rows that the live run gave, with their receive times; rows that are there already stay. All
    files of a run belong together: books rest on what came in earlier ones.

    Exit code 3 when something is damaged, missing or was not closed; what is whole is stored all the same.
    """
    configure_logs(LogSettings(level="error"))
    report = ReplayReport()
    parts = find_parts(files, report)
    if not parts and not report.troubles:
        click.echo("no captures there", err=True)
        return 1
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_replay(parts, into, report))
    except* IngestError as errors:
        raise leaves(errors)[0] from None
    _tell(report)
    return 0 if report.is_whole else _DEGRADED


async def _replay(parts: Sequence[Part], into: str, report: ReplayReport) -> None:
    clock = SystemClock()
    with _bar(sum(part.size_bytes for part in parts)) as on_progress:
        async with _target(into) as url, PostgresSink.opened(url, application="ingest replay") as sink:
            await sink.check_schema()
            player = Replayer(sink, report, clock=clock, rng=random.SystemRandom(), on_progress=on_progress)
            await player.play(parts)


@asynccontextmanager
async def _target(into: str) -> AsyncIterator[str]:
    """Where to connect: what was named, or the embedded database of a folder, which runs meanwhile."""
    if into.startswith(_DATABASE_SCHEMES):
        yield into
        return
    async with embedded_url(EmbeddedPostgres(Path(into) / "postgres")) as url:
        await migrate(url, deadline_s=_MIGRATE_S)
        yield url


@contextmanager
def _bar(total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Takes the bytes done so far; shown on a terminal only."""
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("replay", total=total_bytes)
        yield lambda done_bytes: progress.update(task, completed=done_bytes)


def _tell(report: ReplayReport) -> None:
    counts = report.counts
    click.echo(
        f"{counts.frames:,} frames and {counts.snapshots:,} snapshots played: {report.rows:,} rows stored, "
        f"{report.conflicts:,} were there already, {counts.gaps:,} gaps, {counts.malformed:,} malformed"
    )
    for trouble in report.troubles[:_TOLD_TROUBLES]:
        click.echo(trouble, err=True)
    if len(report.troubles) > _TOLD_TROUBLES:
        click.echo(f"and {len(report.troubles) - _TOLD_TROUBLES} more like these", err=True)
    if counts.missing:
        click.echo(
            f"{counts.missing:,} records were not captured: the disk was slower than they came", err=True
        )
    if counts.unplaced:
        click.echo(f"{counts.unplaced:,} records belong to what is missing", err=True)
