"""Batches wait on the disk, in their order, while the database takes none.

Between the writer and the file: keeps, for each table, which batches are there, hands out the oldest as
one big batch, and forgets it when it is committed. What it never does: decide when a batch goes to the disk
(`store.writer` does), or write to the database.

Nothing here blocks the event loop: the file is worked on in threads. A call that is cancelled is finished
by its thread all the same; a batch that is kept twice for that reason is stored once, by its key.

Invariants: per table, batches come out in the order in which they went in; a batch is in the file until
`forget`; what damage has taken comes out as gaps, in the place of the rows.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from ingest.buffer.batcher import Batch, Mark
from ingest.buffer.origins import Span, spans
from ingest.buffer.spool_file import Entry, SpoolFile
from ingest.buffer.spool_format import DamagedBatch, Label, between, lost, pack, reach, read_label
from ingest.buffer.spool_limits import SpoolLimits, SpoolStats, has_room
from ingest.buffer.tables import TABLES, Table
from ingest.clock import Clock
from ingest.errors import SpoolError
from ingest.events import Gap, GapFilled, StreamKey

log = structlog.get_logger()

CHUNK_ROWS: Final = 20_000
CHUNK_BYTES: Final = 8_000_000
"""How much is handed out at once, unless a single batch is larger: catching up is cheap in big batches."""

_SHRINK_FROM_BYTES: Final = 64 * 2**20


class _Kept(NamedTuple):
    """What is known of a batch in the file without reading it."""

    seq: int
    rows: int
    size_bytes: int
    oldest_recv_ns: int | None
    label: bytes
    after_unreadable: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The oldest batches of a table as one; `forget` it when it is committed."""

    batch: Batch
    seqs: tuple[int, ...]
    reached: Mapping[StreamKey, Span] = field(default_factory=dict)
    damaged: int = 0


class Spool:
    """One shard's spool. Its methods belong to one event loop. Made by `opened`."""

    def __init__(self, file: SpoolFile, limits: SpoolLimits, *, clock: Clock) -> None:
        self.limits = limits
        self._file = file
        self._clock = clock
        self._symbol_of: Callable[[int], str] = str
        self._number_of: Callable[[StreamKey], int | None] = lambda _: None
        self._queues: dict[Table, deque[_Kept]] = {table: deque() for table in TABLES}
        self._lock = threading.Lock()
        self._work = threading.Lock()
        self._reached: dict[StreamKey, Span] = {}
        self._is_damaged = False
        self._is_full = False
        self._damaged_batches = 0
        self._spooled_rows = 0
        self._size_bytes = 0
        self._coming_bytes = 0
        self._flushed_s = clock.monotonic_s()
        self._newest: dict[StreamKey, Span] = {}
        self._take_stock(file.entries())

    @classmethod
    @contextmanager
    def opened(
        cls,
        path: Path,
        limits: SpoolLimits,
        *,
        clock: Clock,
        take_over: Callable[[SpoolFile], None] | None = None,
    ) -> Iterator["Spool"]:
        """Open the file, with what an earlier process left in it. Raises SpoolError. Blocks.

        `take_over` may put more into the file before anything is read from it.
        """
        with SpoolFile.opened(path, synchronous=limits.synchronous, wall_ns=clock.wall_ns()) as file:
            if file.set_aside is not None:
                log.error("spool.set_aside", file=str(file.set_aside), why="it cannot be used; see its name")
            if take_over is not None:
                take_over(file)
            spool = cls(file, limits, clock=clock)
            stats = spool.stats()
            if stats.batches:
                log.warning("spool.found", batches=stats.batches, rows=stats.rows, bytes=stats.size_bytes)
            yield spool

    def attach(self, symbol_of: Callable[[int], str], number_of: Callable[[StreamKey], int | None]) -> None:
        """How symbols are called by their numbers, and what number a stream has in this shard, if any."""
        self._symbol_of = symbol_of
        self._number_of = number_of

    def _take_stock(self, entries: Iterable[Entry]) -> None:
        after: set[Table] = set()
        for seq, raw, size_bytes in entries:
            label = None if raw is None else read_label(raw)
            if raw is None or label is None:
                log.error("spool.unreadable", batch=seq)
                after = set(TABLES)
                self._damaged_batches += 1
                self._is_damaged = True
                continue
            reach(self._newest, label.spans)
            kept = _Kept(seq, label.rows, size_bytes, label.oldest_recv_ns, raw, label.table in after)
            after.discard(label.table)
            self._queues[label.table].append(kept)
            self._size_bytes += size_bytes

    # ------------------------------------------------------------------ what is there

    def newest(self) -> Mapping[StreamKey, Span]:
        """For each stream, how far the rows reach that are here, or have been since the start."""
        with self._lock:
            return dict(self._newest)

    def committed(self, points: Mapping[StreamKey, Span]) -> None:
        """How far the database reaches, for judging what an unreadable part may have held."""
        self._reached = {**points, **self._reached}

    def holds(self, table: Table) -> bool:
        """Whether rows of a table wait here: then what comes later must wait behind them."""
        return bool(self._queues[table])

    def is_empty(self) -> bool:
        """Whether nothing waits here at all."""
        return not any(self._queues.values())

    def stats(self) -> SpoolStats:
        """A snapshot of what is kept."""
        with self._lock:
            kept = [batch for queue in self._queues.values() for batch in queue]
        oldest = [batch.oldest_recv_ns for batch in kept if batch.oldest_recv_ns is not None]
        return SpoolStats(
            batches=len(kept),
            rows=sum(batch.rows for batch in kept),
            size_bytes=self._size_bytes,
            oldest_recv_ns=min(oldest, default=None),
            is_full=self._is_full,
            damaged_batches=self._damaged_batches,
            spooled_rows=self._spooled_rows,
        )

    # ------------------------------------------------------------------ in

    async def put(self, batch: Batch) -> bool:
        """Keep a batch behind all others of its table; False when there is no room, or the disk refuses."""
        if not self._has_room(batch):
            return self._refused("the spool is full")
        now = (self._clock.wall_ns() // 1_000, self._clock.monotonic_s())
        self._coming_bytes += batch.size_bytes
        try:
            await asyncio.to_thread(self._keep, batch, *now)
        except (sqlite3.Error, OSError) as error:
            self._is_damaged |= not isinstance(error, sqlite3.OperationalError | OSError)
            return self._refused(str(error))
        finally:
            self._coming_bytes -= batch.size_bytes
        self._is_full = False
        return True

    def _has_room(self, batch: Batch) -> bool:
        heads = [queue[0].oldest_recv_ns for queue in self._queues.values() if queue]
        return has_room(
            self.limits,
            held_bytes=self._size_bytes + self._coming_bytes,
            more_bytes=batch.size_bytes,
            oldest_recv_ns=min((ns for ns in heads if ns is not None), default=None),
            now_ns=self._clock.wall_ns(),
        )

    def _refused(self, why: str) -> bool:
        if not self._is_full:
            log.error("spool.refuses", why=why, policy=self.limits.when_full.value)
        self._is_full = True
        return False

    def _keep(self, batch: Batch, wall_us: int, now_s: float) -> None:
        found = spans(batch.table, batch.rows, self._symbol_of)
        packed = pack(batch, found, created_us=wall_us)
        size_bytes = len(packed.payload) + len(packed.label)
        with self._work:  # the file may be renewed only when nothing is in it nor on its way
            seq = self._file.add(packed)
            kept = _Kept(seq, len(batch.rows), size_bytes, batch.oldest_recv_ns, packed.label)
            with self._lock:
                self._queues[batch.table].append(kept)
                self._size_bytes += size_bytes
                self._spooled_rows += len(batch.rows)
                reach(self._newest, found)
            self._flush(now_s)

    def _flush(self, now_s: float) -> None:
        if self.limits.synchronous == "normal" and now_s - self._flushed_s >= self.limits.flush_every_s:
            self._flushed_s = now_s
            self._file.flush()

    # ------------------------------------------------------------------ out

    async def head(self, table: Table) -> Chunk | None:
        """The oldest batches of a table as one; None when there are none. The same again until `forget`."""
        with self._lock:  # a thread may be putting the next batch behind these
            kept = list(_first(self._queues[table]))
        return await asyncio.to_thread(self._read, table, kept) if kept else None

    def _read(self, table: Table, kept: Iterable[_Kept]) -> Chunk:
        rows: list[bytes] = []
        gaps: list[Gap | GapFilled] = []
        labels: list[Label] = []
        damaged, reached = 0, dict(self._reached)
        for batch in kept:
            label = read_label(batch.label)
            gaps += between(reached, label) if batch.after_unreadable else ()
            gaps += label.gaps
            reach(reached, label.spans)
            try:
                rows += self._file.rows(batch.seq)
                labels.append(label)
            except DamagedBatch as error:
                log.error("spool.damaged", table=table.name, batch=batch.seq, why=str(error))
                damaged += 1
                gaps += lost(label)
        seqs = tuple(batch.seq for batch in kept)
        return Chunk(self._batch(table, rows, gaps, labels), seqs, reached, damaged)

    def _batch(
        self, table: Table, rows: list[bytes], gaps: list[Gap | GapFilled], labels: list[Label]
    ) -> Batch:
        oldest = [label.oldest_recv_ns for label in labels if label.oldest_recv_ns is not None]
        latest = [label.newest_recv_ns for label in labels if label.newest_recv_ns is not None]
        return Batch(
            table=table,
            rows=rows,
            size_bytes=sum(map(len, rows)),
            marks=self._marks(labels),
            gaps=tuple(gaps),
            oldest_recv_ns=min(oldest, default=None),
            newest_recv_ns=max(latest, default=None),
        )

    def _marks(self, labels: list[Label]) -> dict[int, Mark]:
        reached: dict[StreamKey, Span] = {}
        for label in labels:
            reach(reached, label.spans)
        found = {}
        for key, span in reached.items():
            number = self._number_of(key)
            if number is not None:
                last_id = span.end_us // 1_000 if span.last_id is None else span.last_id
                found[number] = Mark(span.end_us, last_id)
        return found

    async def forget(self, chunk: Chunk) -> None:
        """The chunk is committed: remove it from the file."""
        queue = self._queues[chunk.batch.table]
        with self._lock:
            for seq in chunk.seqs:
                assert queue[0].seq == seq
                self._size_bytes -= queue.popleft().size_bytes
        self._reached.update(chunk.reached)
        self._damaged_batches += chunk.damaged
        self._is_damaged |= chunk.damaged > 0
        self._is_full = False
        await asyncio.to_thread(self._remove, chunk.seqs, self._clock.wall_ns())

    def _remove(self, seqs: tuple[int, ...], wall_ns: int) -> None:
        try:
            with self._work:
                self._file.remove(seqs)
                if self.is_empty():
                    self._tidy(wall_ns)
        except (sqlite3.Error, OSError) as error:
            # What could not be removed is read again by the next process, and stored once all the same.
            self._is_damaged = True
            log.warning("spool.not_removed", batches=len(seqs), error=str(error))

    def _tidy(self, wall_ns: int) -> None:
        if self._is_damaged:
            try:
                self._file.start_over(wall_ns)
            except SpoolError as error:
                log.error("spool.not_renewed", error=str(error))
                return
            self._is_damaged = False
            log.warning("spool.renewed", damaged=str(self._file.set_aside))
        elif self._file.size_bytes() > _SHRINK_FROM_BYTES:
            self._file.shrink()


def _first(queue: deque[_Kept]) -> Iterator[_Kept]:
    """The oldest batches that make a chunk: at least one."""
    rows = size_bytes = 0
    for count, kept in enumerate(islice(queue, None)):
        rows, size_bytes = rows + kept.rows, size_bytes + kept.size_bytes
        if count and (rows > CHUNK_ROWS or size_bytes > CHUNK_BYTES):
            return
        yield kept
