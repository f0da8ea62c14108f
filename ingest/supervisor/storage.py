"""Looks once a minute at what the tables take and what their disk has left; notes it each ten minutes.

A disk is known when it is this machine's: that of the embedded server, and that of the spool. How much room a
server elsewhere has, nobody here knows, and so it is not said.
"""

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from ingest.clock import Clock
from ingest.errors import StoreError
from ingest.store.sizes import RelationSize, note_sizes, relation_sizes, size_history
from ingest.supervisor.forecast import Growth, Sample, full_in_s, growth_bytes_per_s

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

    Session: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]

log = structlog.get_logger()

EVERY_S: Final = 60.0
NOTED_EVERY_S: Final = 600.0
HISTORY: Final = timedelta(hours=31)
DATABASE: Final = "database"
SPOOL: Final = "spool"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFacts:
    """What the newest look has shown. `full_in_s` is None when not known, infinity for never."""

    sizes: Sequence[RelationSize] = ()
    growth_bytes_per_s: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """By table, those of which it is known."""
    free_bytes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """By disk: `database` where it is this machine's, and `spool`."""
    full_in_s: float | None = None


class StorageWatch:
    """Run `run`, ask `facts`."""

    def __init__(
        self,
        session: "Session",
        *,
        database_folder: Path | None,
        spool_folder: Path,
        clock: Clock,
    ) -> None:
        """`database_folder` is None for a server elsewhere."""
        self._session = session
        self._folders = {SPOOL: spool_folder}
        if database_folder is not None:
            self._folders[DATABASE] = database_folder
        self._clock = clock
        self._samples: dict[str, list[Sample]] = {}
        self._noted_s: float | None = None
        self.facts = StorageFacts()

    async def run(self) -> None:
        """Look, until cancelled. A database that does not answer is asked again a minute later."""
        is_remembered = False
        while True:
            try:
                if not is_remembered:
                    await self._remember()
                    is_remembered = True
                await self.look()
            except StoreError as error:
                # Whatever is wrong with the looking, rows are stored: the service goes on.
                log.warning("storage.not_measured", error=str(error))
            await asyncio.sleep(EVERY_S)

    async def _remember(self) -> None:
        """An earlier supervisor's samples: a restart does not forget how fast tables grow."""
        async with self._session() as connection:
            self._samples = await size_history(connection, back=HISTORY)

    async def look(self) -> None:
        """Measure once, and put `facts` in place; StoreError when the database cannot be asked."""
        now_s = self._clock.wall_ns() / 1e9
        async with self._session() as connection:
            sizes = await relation_sizes(connection)
            if self._noted_s is None or now_s - self._noted_s >= NOTED_EVERY_S:
                await note_sizes(connection, sizes)
                self._noted_s = now_s
        free_bytes = await asyncio.to_thread(self._free_bytes)
        self._add(sizes, now_s)
        growth = {
            relation: rate
            for relation, samples in self._samples.items()
            if (rate := growth_bytes_per_s(samples)) is not None
        }
        self.facts = StorageFacts(
            sizes=sizes,
            growth_bytes_per_s=growth,
            free_bytes=free_bytes,
            full_in_s=lasts_s(sizes, growth, free_bytes.get(DATABASE), now_s),
        )

    def _add(self, sizes: Sequence[RelationSize], now_s: float) -> None:
        oldest_s = now_s - HISTORY.total_seconds()
        former, self._samples = self._samples, {}
        for size in sizes:
            kept = [each for each in former.get(size.relation, ()) if oldest_s <= each[0] < now_s]
            self._samples[size.relation] = [*kept, (now_s, size.total_bytes)]

    def _free_bytes(self) -> dict[str, int]:
        found = {}
        for name, folder in self._folders.items():
            try:
                found[name] = shutil.disk_usage(folder if folder.exists() else folder.parent).free
            except OSError as error:
                log.warning("storage.disk_not_asked", folder=str(folder), error=str(error))
        return found


def lasts_s(
    sizes: Sequence[RelationSize], growth: Mapping[str, float], free_bytes: int | None, now_s: float
) -> float | None:
    """Seconds until so many bytes are used up, infinity for never; None when it cannot be told."""
    if free_bytes is None or not growth:
        return None
    growths = (
        Growth(growth[size.relation], size.grows_for_s(now_s)) for size in sizes if size.relation in growth
    )
    return full_in_s(growths, free_bytes)
