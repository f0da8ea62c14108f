"""Rows wait here, in the order they came, until a batch of them is due; the bound on a shard's memory.

Decides when a batch closes (rows, bytes or age), what goes together (the rows of one table and the gaps
found before them, so that both commit in one transaction), and what is refused (the newest row, when
all that is not yet acknowledged has reached `buffer_bytes`).

Pure: knows no clock and no database. Invariants:

* per table, rows leave in the order they were added;
* a table has at most one batch out; the next is given only after `acknowledge`, or the same again after
  `put_back`, so the newest committed id never runs ahead of a lost batch;
* every row added is in exactly one place: waiting, or out;
* rows held, waiting and out together, never take more than `buffer_bytes`.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ingest.buffer.tables import Table
from ingest.events import Gap, GapFilled

# A bytes object and its place in a list, beside its contents (CPython, 64 bit).
ROW_OVERHEAD_BYTES: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """When a batch closes, and how much may wait.

    `coalesce`: a batch may hold up to this many times `max_rows` and `max_bytes` when so much is
    waiting, which makes catching up cheap. `buffer_bytes` bounds all tables together, and counts what a
    row takes in memory (`ROW_OVERHEAD_BYTES` beside its own bytes).
    """

    max_rows: int = 5_000
    max_bytes: int = 1_000_000
    max_age_s: float = 0.2
    coalesce: int = 4
    buffer_bytes: int = 64 * 2**20


class Mark(NamedTuple):
    """The newest row of one stream in a batch."""

    ts_us: int
    last_id: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Batch:
    """Rows of one table with the gaps that belong before them; either may be empty, not both.

    `marks` holds the newest row of each stream by its slot. `size_bytes` is the rows' own bytes. The
    receive times are of the first and the last row added, None without rows.
    """

    table: Table
    rows: list[bytes]
    size_bytes: int
    marks: Mapping[int, Mark]
    gaps: tuple[Gap | GapFilled, ...]
    oldest_recv_ns: int | None
    newest_recv_ns: int | None

    def with_rows(self, rows: list[bytes], *, gaps: tuple[Gap | GapFilled, ...]) -> "Batch":
        """A part of this batch, for finding the row that the server refuses."""
        return Batch(
            table=self.table,
            rows=rows,
            size_bytes=sum(map(len, rows)),
            marks=self.marks,
            gaps=gaps,
            oldest_recv_ns=self.oldest_recv_ns,
            newest_recv_ns=self.newest_recv_ns,
        )


@dataclass(frozen=True, slots=True)
class TableStats:
    """What is held for one table, waiting and out; `oldest_recv_ns` is None when nothing is."""

    rows: int
    size_bytes: int
    gaps: int
    oldest_recv_ns: int | None


@dataclass(frozen=True, slots=True)
class BatcherStats:
    """All tables together. `held_bytes` counts as `BatchLimits.buffer_bytes` does; `refused` only grows."""

    rows: int
    held_bytes: int
    refused: int
    tables: Mapping[Table, TableStats]


@dataclass(slots=True)
class _Part:
    """Rows that are still being collected, or have been; at most one limit's worth."""

    opened_s: float | None = None
    rows: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    marks: dict[int, tuple[int, int]] = field(default_factory=dict)
    gaps: list[Gap | GapFilled] = field(default_factory=list)
    oldest_recv_ns: int | None = None
    newest_recv_ns: int | None = None


@dataclass(slots=True)
class _Lane:
    """One table's parts, oldest first (the last one is open), and its batch that is out."""

    parts: deque[_Part]
    out: Batch | None = None
    returned: Batch | None = None


class Batcher:
    """All waiting rows of one shard. Not for use by several threads."""

    def __init__(self, limits: BatchLimits | None = None) -> None:
        self._limits = limits or BatchLimits()
        self._max_rows = self._limits.max_rows
        self._max_bytes = self._limits.max_bytes
        self._buffer_bytes = self._limits.buffer_bytes
        self._lanes: dict[Table, _Lane] = {}
        self._open: dict[Table, _Part] = {}
        self._held_bytes = 0
        self._refused = 0

    def add(
        self,
        table: Table,
        row: bytes,
        slot: int,
        ts_us: int,
        last_id: int,
        recv_ns: int,
        now_s: float,
    ) -> bool:
        """Keep a row; False when the buffer is full, and then the caller owes a gap.

        `slot` is the stream's number in its shard, `ts_us` and `last_id` what the row is marked by. Takes
        positional arguments because it runs once a message.
        """
        size = len(row)
        held = self._held_bytes + size + ROW_OVERHEAD_BYTES
        if held > self._buffer_bytes:
            self._refused += 1
            return False
        self._held_bytes = held
        part = self._open.get(table)
        if part is None:
            part = self._opened(table)
        if part.oldest_recv_ns is None:
            part.oldest_recv_ns = recv_ns
            if part.opened_s is None:
                part.opened_s = now_s
        rows = part.rows
        rows.append(row)
        part.newest_recv_ns = recv_ns
        part.size_bytes += size
        mark = (ts_us, last_id)
        # A late row (reordered, filled in) must not take the mark back.
        if part.marks.setdefault(slot, mark) < mark:
            part.marks[slot] = mark
        if len(rows) >= self._max_rows or part.size_bytes >= self._max_bytes:
            del self._open[table]
        return True

    @property
    def filling(self) -> float:
        """How much of `buffer_bytes` is taken, from 0 to 1."""
        return self._held_bytes / self._buffer_bytes

    def has_room(self, size_bytes: int) -> bool:
        """Whether `add` would keep a row of this size."""
        return self._held_bytes + size_bytes + ROW_OVERHEAD_BYTES <= self._buffer_bytes

    def add_gap(self, table: Table, gap: Gap | GapFilled, now_s: float) -> None:
        """Keep a gap to be committed no later than the table's next row; never refused.

        The caller bounds them: at most one open gap per stream.
        """
        part = self._open.get(table) or self._opened(table)
        part.gaps.append(gap)
        if part.opened_s is None:
            part.opened_s = now_s

    def _opened(self, table: Table) -> _Part:
        """Begin a part. A table that is seen for the first time gets its lane."""
        part = self._open[table] = _Part()
        lane = self._lanes.get(table)
        if lane is None:
            lane = self._lanes[table] = _Lane(deque())
        lane.parts.append(part)
        return part

    def take(self, table: Table, now_s: float, *, force: bool = False) -> Batch | None:
        """Everything due for a table, as one batch up to the cap; None when nothing is, or one is out.

        Due are a batch that was put back, full parts, an open part of age, and with `force` anything.
        """
        lane = self._lanes.get(table)
        if lane is None or lane.out is not None:
            return None
        if lane.returned is not None:
            lane.out, lane.returned = lane.returned, None
        elif force or self._is_due(lane, table, now_s):
            lane.out = self._gathered(lane, table)
        return lane.out

    def _is_due(self, lane: _Lane, table: Table, now_s: float) -> bool:
        due_s = self._due_s(lane, table)
        return due_s is not None and now_s >= due_s

    def _due_s(self, lane: _Lane, table: Table) -> float | None:
        """When the oldest part is due: at once when it is full."""
        if not lane.parts:
            return None
        oldest = lane.parts[0]
        opened_s = oldest.opened_s or 0.0
        return opened_s if oldest is not self._open.get(table) else opened_s + self._limits.max_age_s

    def next_due_s(self, table: Table) -> float | None:
        """From when on `take` would give a batch; None when nothing waits, or a batch is out."""
        lane = self._lanes.get(table)
        if lane is None or lane.out is not None:
            return None
        if lane.returned is not None:
            return 0.0
        return self._due_s(lane, table)

    def _gathered(self, lane: _Lane, table: Table) -> Batch | None:
        rows_cap = self._max_rows * self._limits.coalesce
        bytes_cap = self._max_bytes * self._limits.coalesce
        taken: list[_Part] = []
        rows = size = 0
        while lane.parts:
            part = lane.parts[0]
            rows, size = rows + len(part.rows), size + part.size_bytes
            if taken and (rows > rows_cap or size > bytes_cap):
                break
            taken.append(lane.parts.popleft())
            if part is self._open.get(table):
                del self._open[table]
        return _joined(table, taken) if taken else None

    def acknowledge(self, batch: Batch) -> None:
        """The batch is committed: forget it, and make room. ValueError when it is not the one out."""
        lane = self._lane_of(batch)
        lane.out = None
        self._held_bytes -= batch.size_bytes + ROW_OVERHEAD_BYTES * len(batch.rows)

    def put_back(self, batch: Batch) -> None:
        """The batch was not written: it is the next one to be taken. ValueError as `acknowledge`."""
        lane = self._lane_of(batch)
        lane.out, lane.returned = None, batch

    def _lane_of(self, batch: Batch) -> _Lane:
        lane = self._lanes.get(batch.table)
        if lane is None or lane.out is not batch:
            raise ValueError(f"this batch of {batch.table.name} is not out")
        return lane

    def tables(self) -> tuple[Table, ...]:
        """Every table that rows or gaps were added for so far."""
        return tuple(self._lanes)

    def is_empty(self, table: Table) -> bool:
        """Nothing of this table waits or is out."""
        lane = self._lanes.get(table)
        return lane is None or not (lane.parts or lane.out or lane.returned)

    def stats(self) -> BatcherStats:
        """A snapshot of what is held."""
        tables = {table: _lane_stats(lane) for table, lane in self._lanes.items()}
        rows = sum(stats.rows for stats in tables.values())
        return BatcherStats(rows, self._held_bytes, self._refused, tables)


def _joined(table: Table, parts: Iterable[_Part]) -> Batch:
    joined = _Part()
    for part in parts:
        joined.rows += part.rows
        joined.size_bytes += part.size_bytes
        joined.gaps += part.gaps
        if joined.oldest_recv_ns is None:
            joined.oldest_recv_ns = part.oldest_recv_ns
        if part.newest_recv_ns is not None:
            joined.newest_recv_ns = part.newest_recv_ns
        for slot, mark in part.marks.items():
            joined.marks[slot] = max(mark, joined.marks.get(slot, mark))
    return Batch(
        table=table,
        rows=joined.rows,
        size_bytes=joined.size_bytes,
        marks={slot: Mark(*mark) for slot, mark in joined.marks.items()},
        gaps=tuple(joined.gaps),
        oldest_recv_ns=joined.oldest_recv_ns,
        newest_recv_ns=joined.newest_recv_ns,
    )


def _lane_stats(lane: _Lane) -> TableStats:
    held: list[_Part | Batch] = [batch for batch in (lane.out, lane.returned) if batch is not None]
    held += lane.parts
    return TableStats(
        rows=sum(len(part.rows) for part in held),
        size_bytes=sum(part.size_bytes for part in held),
        gaps=sum(len(part.gaps) for part in held),
        oldest_recv_ns=next((p.oldest_recv_ns for p in held if p.oldest_recv_ns is not None), None),
    )
