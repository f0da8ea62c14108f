"""Capture files into a database: which belong together, in which order, and what was wrong with them.

The files of a run are played in their order, the runs one after another by their start. Reading goes only as
far ahead of the database as the buffer reaches. Nothing of today's goes into a row; symbols that the database
does not know are made known, those that it knows are left as they are.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from ingest.buffer.batcher import Batch
from ingest.buffer.tables import Table
from ingest.capture.files import Block, Damage, Header, header_of, is_capture_name, read_blocks, read_header
from ingest.capture.records import Kind, Record
from ingest.clock import Clock
from ingest.errors import CaptureUnreadable, RowsRefused
from ingest.events import Gap
from ingest.shard.replay import ReplayBatcher, ReplayCounts, RunReplay, symbols_in
from ingest.store.lookup import ensure_symbols
from ingest.store.partitions import ensure_partitions
from ingest.store.postgres import PostgresSink
from ingest.store.retrying import RetryPolicy, until_available
from ingest.store.sink import Written
from ingest.store.writer import Writer

_MARKET: Final = "spot"
_HELD_BYTES: Final = 24 * 2**20
"""So much may wait for the database; beyond it nothing more is read."""
_CHUNK_RECORDS: Final = 500
_POLL_S: Final = 0.01
_DRAIN_S: Final = 600.0
_DAY_NS: Final = 86_400 * 1_000_000_000

T = TypeVar("T")


class Part(NamedTuple):
    """One file."""

    path: Path
    header: Header
    size_bytes: int


@dataclass
class ReplayReport:
    """What was played, and what is wrong with it (a sentence each)."""

    counts: ReplayCounts = field(default_factory=ReplayCounts)
    rows: int = 0
    """Stored by this replay."""
    conflicts: int = 0
    """Were there already."""
    refused: int = 0
    troubles: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Nothing is damaged, missing or refused."""
        return not (self.troubles or self.refused or self.counts.missing or self.counts.unplaced)


def find_parts(paths: Iterable[Path], report: ReplayReport) -> list[Part]:
    """The captures among these files, and in these folders, in the order in which they are played.

    A file whose header cannot be read is told in the report. A file that is named twice is played once.
    """
    parts: dict[tuple[int, int, int], Part] = {}
    for path in _files(paths):
        try:
            header, size_bytes = header_of(path), path.stat().st_size
        except (CaptureUnreadable, OSError) as error:
            report.troubles.append(str(error))
            continue
        parts[header.run, header.shard, header.part] = Part(path, header, size_bytes)
    return [parts[place] for place in sorted(parts)]


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.iterdir() if is_capture_name(file.name))
        else:
            yield path


class Replayer:
    """Call `play` once."""

    def __init__(
        self,
        sink: PostgresSink,
        report: ReplayReport,
        *,
        clock: Clock,
        rng: random.Random,
        on_progress: Callable[[int], None],
    ) -> None:
        """`on_progress` is told the bytes of the files that are done, each time a few more are."""
        self._sink = sink
        self._report = report
        self._rng = rng
        self._on_progress = on_progress
        self._batcher = ReplayBatcher(report.counts)
        self._writer = Writer(
            sink, self._batcher, clock=clock, on_commit=self._on_commit, on_refused=self._on_refused, rng=rng
        )
        self._ids: dict[str, int] = {}
        self._days: set[int] = set()
        self._done_bytes = 0

    async def play(self, parts: Sequence[Part]) -> None:
        """Play these files, as `find_parts` has ordered them, and have all rows committed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._writer.run(), name="writer")
            for _, run in groupby(parts, key=lambda part: (part.header.run, part.header.shard)):
                await self._play_run(list(run))
            left = await self._writer.drain(deadline_s=_DRAIN_S)
        if left:
            self._report.troubles.append(f"{left} rows were not taken by the database within {_DRAIN_S:g} s")

    async def _play_run(self, parts: Sequence[Part]) -> None:
        run = RunReplay(parts[0].header, self._batcher, self._ids, self._report.counts)
        expected = parts[0].header.part
        if expected > 1:
            self._report.troubles.append(
                f"{parts[0].path}: its run begins earlier: books that rest on that are not stored"
            )
        for part in parts:
            if part.header.part != expected:
                lacking = f"part {expected}" + (
                    f" to {part.header.part - 1}" if part.header.part - 1 > expected else ""
                )
                self._report.troubles.append(f"{part.path}: {lacking} of its run is missing before it")
                run.hole()
            expected = part.header.part + 1
            await self._play_part(part, run)

    async def _play_part(self, part: Part, run: RunReplay) -> None:
        """One file; a running service may have dropped it meanwhile, or the disk not give it."""
        try:
            await self._play_file(part, run)
        except OSError as error:
            self._report.troubles.append(f"{part.path}: cannot be read: {error.strerror or error}")
            run.hole()
        self._done_bytes += part.size_bytes
        self._on_progress(self._done_bytes)

    async def _play_file(self, part: Part, run: RunReplay) -> None:
        is_closed, number = False, 0
        with part.path.open("rb") as file:
            read_header(file)
            for found in read_blocks(file):
                if isinstance(found, Damage):
                    self._told_damage(part, found)
                    run.hole()
                    continue
                if found.number != number:
                    run.hole()
                number = found.number + 1
                is_closed = found.records[-1].kind == Kind.CLOSED
                await self._play_block(found, run)
                self._on_progress(self._done_bytes + found.end)
        if not is_closed:
            self._report.troubles.append(
                f"{part.path}: was not closed: cut, still being written, or its shard was killed"
            )

    def _told_damage(self, part: Part, damage: Damage) -> None:
        place = f"{part.path}: bytes {damage.start:,} to {damage.end - 1:,}"
        self._report.troubles.append(f"{place} are damaged: {damage.reason}")

    async def _play_block(self, block: Block, run: RunReplay) -> None:
        await self._prepare(block.records)
        for start in range(0, len(block.records), _CHUNK_RECORDS):
            run.play(block.records, start, start + _CHUNK_RECORDS)
            await asyncio.sleep(0)
            while self._batcher.stats().held_bytes > _HELD_BYTES:
                await asyncio.sleep(_POLL_S)

    # ------------------------------------------------------------------ the database

    async def _prepare(self, records: Sequence[Record]) -> None:
        """What the rows of these records need: ids of their symbols, and a partition of their days."""
        unknown = sorted(symbols_in(records) - self._ids.keys())
        if unknown:
            self._ids |= await self._persistently(partial(self._ensure_symbols, unknown))
        days = {record.stamp_ns // _DAY_NS for record in records if record.kind == Kind.FRAME}
        for day in sorted(days - self._days):
            await self._persistently(partial(self._ensure_day, day))
        self._days |= days

    async def _ensure_symbols(self, symbols: Sequence[str]) -> dict[str, int]:
        async with self._sink.session() as connection:
            return await ensure_symbols(connection, _MARKET, symbols)

    async def _ensure_day(self, day: int) -> None:
        async with self._sink.session() as connection:
            now = datetime.fromtimestamp(day * 86_400, UTC)
            await ensure_partitions(connection, now=now, days_ahead=1, days_back=1)

    async def _persistently(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await until_available(ask, policy=RetryPolicy(), rng=self._rng, on_retry=_not_told)

    def _on_commit(self, batch: Batch, written: Written, committed_wall_ns: int) -> None:
        self._report.rows += written.rows
        self._report.conflicts += written.conflicts

    def _on_refused(self, table: Table, row: bytes, error: RowsRefused) -> Gap | None:
        self._report.refused += 1
        if self._report.refused == 1:
            self._report.troubles.append(f"{table.name}: the database refuses a row: {error}")
        return None


def _not_told(_: BaseException) -> None:
    """It is tried again; the bar stands meanwhile."""
