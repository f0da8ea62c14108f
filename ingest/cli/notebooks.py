"""`ingest notebooks`: JupyterLab on the notebooks, with a database behind them.

The database is the configured one, or that of the service that runs here. Where there is neither, a demo
session is recorded once, and its embedded PostgreSQL runs over it for as long as JupyterLab does. The
notebooks learn of it through INGEST_DATABASE_URL, and nothing else. Never writes to a database itself.
"""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from ingest.cli.database import database_url, embedded_url
from ingest.cli.demo_processes import data_dir
from ingest.cli.options import config_option
from ingest.config import Settings, load_settings
from ingest.errors import IngestError
from ingest.store.dsn import resolved
from ingest.store.embedded import EmbeddedPostgres
from ingest.supervisor.database import embedded_folder

_STOP_S: Final = 10.0
_DEMO_STOP_S: Final = 60.0
_STOPPED: Final = 130


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default="notebooks",
    show_default=True,
    help="Where the notebooks are.",
)
@click.option("--duration", default=120.0, show_default=True, help="Seconds of the demo session, if need be.")
@click.argument("jupyter", nargs=-1, type=click.UNPROCESSED)
@config_option
def notebooks(folder: Path, duration: float, jupyter: tuple[str, ...], config_file: Path | None) -> int:
    """Open the notebooks in JupyterLab, on the configured database or that of the running service.

    Without either, a demo session is recorded first, once. Arguments behind `--` go to JupyterLab. Ctrl-C
    ends everything. What is saved is saved without outputs.
    """
    settings = load_settings(config_file)
    if importlib.util.find_spec("jupyterlab") is None:
        raise IngestError("notebooks need JupyterLab: make setup, or pip install 'ingest[notebooks]'")
    try:
        session = None
        if not _is_somewhere(settings):
            kept = settings.service.data_dir.absolute() / "notebooks"
            session = recorded_session(kept, ("--duration", str(duration)))
        return asyncio.run(_run(settings, session, folder.absolute(), jupyter))
    except KeyboardInterrupt:
        return _STOPPED


def _is_somewhere(settings: Settings) -> bool:
    """Whether there is a database to look at; says which."""
    if settings.database.url.get_secret_value():
        click.echo("database: the configured one")
        return True
    if EmbeddedPostgres(embedded_folder(settings)).url_of_running() is not None:
        click.echo("database: that of the running service")
        return True
    return False


async def _run(settings: Settings, session: Path | None, folder: Path, jupyter: tuple[str, ...]) -> int:
    recorded = None if session is None else EmbeddedPostgres(data_dir(session) / "postgres")
    async with database_url(settings) if recorded is None else embedded_url(recorded) as url:
        click.echo(f"JupyterLab opens {folder}; Ctrl-C ends it")
        return await _jupyter(folder, url, jupyter)


def recorded_session(kept: Path, demo_options: Sequence[str]) -> Path:
    """The folder of a demo session that came to its end; recorded now if `kept` has none."""
    session, is_whole = kept / "session", kept / "recorded"
    if not is_whole.exists():
        click.echo(f"no database is configured and no service runs: recording a demo session in {session}")
        if session.exists():
            # Of a recording that was interrupted.
            shutil.rmtree(session)
        _record(session, demo_options)
        is_whole.touch()
    click.echo(f"database: the demo session in {session}; to record another, remove {kept}")
    return session


def _record(session: Path, options: Sequence[str]) -> None:
    command = (sys.executable, "-m", "ingest", "demo", "--keep", str(session), *options)
    with subprocess.Popen(command) as demo:
        try:
            code = demo.wait()
        except KeyboardInterrupt:
            # It was told, too, and stops in order.
            with contextlib.suppress(subprocess.TimeoutExpired):
                demo.wait(_DEMO_STOP_S)
            demo.kill()
            raise
    if code != 0:
        raise IngestError(f"the demo session could not be recorded; its logs are in {session}")


async def _jupyter(folder: Path, url: str, arguments: tuple[str, ...]) -> int:
    """JupyterLab until it ends or we are told to; its exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # In a session of its own: Ctrl-C comes to us alone, who do not ask whether it is meant.
    process = await asyncio.create_subprocess_exec(
        *_command(folder, arguments),
        env={**os.environ, "INGEST_DATABASE_URL": resolved(url)},
        start_new_session=True,
    )
    async with asyncio.TaskGroup() as group:
        ending = group.create_task(_end_when(stop, process))
        code = await process.wait()
        ending.cancel()
    return 0 if stop.is_set() else code


async def _end_when(stop: asyncio.Event, process: asyncio.subprocess.Process) -> None:
    """It ends its kernels before it ends."""
    await stop.wait()
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()


def _command(folder: Path, arguments: tuple[str, ...]) -> tuple[str, ...]:
    ours = [
        f"--ServerApp.root_dir={folder}",
        "--FileContentsManager.pre_save_hook=ingest.cli.notebook_files.strip_before_save",
    ]
    if os.geteuid() == 0:
        ours.append("--ServerApp.allow_root=True")
    return (sys.executable, "-m", "jupyterlab", *ours, *arguments)
