"""`ingest top`: the service as it runs, once a second, in a terminal or a pipe.

Reads what any query can read, so it works from anywhere the database can be asked; messages a second
come from the boards, and are there on the service's own machine only. It changes nothing.
"""

import asyncio
import contextlib
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from ingest.board.mapped import board_path, read_board
from ingest.cli.database import database_url
from ingest.cli.options import config_option
from ingest.cli.rates import Rates
from ingest.cli.tables import console, read_status
from ingest.cli.top_view import Look, screen
from ingest.clock import Clock, SystemClock
from ingest.config import Settings, load_settings
from ingest.errors import BoardError, IngestError, StoreUnavailable, leaves
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.sessions import connected
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.cli.tables import Connection

_STREAMS: Final = 100
_HEIGHT_OF_A_FILE: Final = 60


@click.command()
@click.option(
    "--every",
    "every_s",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.2, 3_600),
    help="Seconds between looks.",
)
@click.option("--looks", default=0, show_default=True, type=click.IntRange(min=0), help="0: until Ctrl-C.")
@config_option
def top(every_s: float, looks: int, config_file: Path | None) -> int:
    """Show streams by age against threshold, rates, shards, feeds and gaps, live.

    On a terminal it takes the whole screen; into a pipe or a file each look is written below the one before.
    Ctrl-C and SIGTERM end it with exit code 0.
    """
    settings = load_settings(config_file)
    try:
        asyncio.run(_run(settings, every_s, looks))
    except* IngestError as errors:
        raise leaves(errors)[0] from None
    return 0


async def _run(settings: Settings, every_s: float, looks: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    shown = console()
    async with database_url(settings) as url:
        with Live(
            console=shown, auto_refresh=False, screen=shown.is_terminal, vertical_overflow="crop"
        ) as live:
            watching = _Watching(settings, live, clock=SystemClock())
            async with asyncio.TaskGroup() as group:
                task = group.create_task(watching.run(url, every_s, looks, stop))
                task.add_done_callback(lambda _: stop.set())
                await stop.wait()
                # A look under way may wait for the database; nobody waits for the look.
                task.cancel()
    if shown.is_terminal and watching.last is not None:
        shown.print(watching.last)


class _Watching:
    """Looks, one after the other; `last` is what the newest has shown."""

    def __init__(self, settings: Settings, live: Live, *, clock: Clock) -> None:
        self.last: RenderableType | None = None
        self._data_dir = settings.service.data_dir
        self._live = live
        self._clock = clock
        self._rows, self._messages = Rates(), Rates()
        self._looks = 0

    async def run(self, url: str, every_s: float, looks: int, stop: asyncio.Event) -> None:
        """Until `stop`, or so many looks. A database that goes away meanwhile is said, and asked again."""
        while not stop.is_set():
            try:
                async with connected(url, application="ingest top") as connection:
                    while not await self._shown(connection, every_s, looks, stop):
                        pass
                    return
            except (StoreUnavailable, *DRIVER_ERRORS) as error:
                failure = error if isinstance(error, StoreUnavailable) else translated(error)
                if not self._looks or not failure.transient:
                    raise failure from error
                self._show(Text(f"the database cannot be asked: {failure}", style="bold red"))
            await _pause(every_s, stop)

    async def _shown(self, connection: "Connection", every_s: float, looks: int, stop: asyncio.Event) -> bool:
        """One look and the pause behind it; True when it was the last."""
        look = await self._look(connection)
        self._show(screen(look, height=_height(self._live.console)))
        self._looks += 1
        if self._looks == looks:
            return True
        await _pause(every_s, stop)
        return stop.is_set()

    def _show(self, picture: RenderableType) -> None:
        self.last = picture
        if self._live.console.is_terminal:
            self._live.update(picture, refresh=True)
        else:
            self._live.console.print(picture, Text())

    async def _look(self, connection: "Connection") -> Look:
        status = await read_status(connection)
        now_s = self._clock.monotonic_s()
        self._rows.look({str(row["shard"]): row["rows_committed"] for row in status.shards}, now_s)
        messages = self._read_boards([row["shard"] for row in status.shards])
        if messages is not None:
            self._messages.look(messages, now_s)
        return Look(
            status=status,
            streams=await connection.fetch(statement("top_streams"), _STREAMS),
            ages=await connection.fetch(statement("top_ages")),
            feeds=await connection.fetch(statement("top_feeds")),
            rows_per_s=self._rows.per_s,
            messages_per_s=None if messages is None else self._messages.per_s,
        )

    def _read_boards(self, numbers: list[int]) -> Counter[str] | None:
        """Messages by kind since the shards' start; None where there is no board."""
        messages: Counter[str] = Counter()
        boards = 0
        for number in numbers:
            with contextlib.suppress(BoardError):
                board = read_board(board_path(self._data_dir, number))
                boards += 1
                for slot in board.streams:
                    messages[slot.key.kind] += slot.values.messages
        return messages if boards else None


def _height(shown: Console) -> int:
    return shown.height if shown.is_terminal else _HEIGHT_OF_A_FILE


async def _pause(for_s: float, stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            await stop.wait()
