"""One file of an export: its rows and what the ledger says of them, of one snapshot, written whole or not.

The rows come by COPY, one slice of time after another, each sorted by the server; a slice grows and shrinks
with the rows in it. Memory is bounded by a block of text and a row group, however many rows there are.

Decides whether the file is made: not when something is missing and that was not allowed.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import ingest
from ingest.clock import Clock
from ingest.errors import ExportError
from ingest.export import arrow
from ingest.export.check import iso
from ingest.export.folder import HashedFile, whole_file
from ingest.export.kinds import Kind
from ingest.export.manifest import Entry, Wanted
from ingest.export.verdict import Beside, Found, IdTally, LedgerGap, after_reading, before_reading
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.instants import microseconds
from ingest.store.sessions import SessionLimits, connected
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

LIMITS: Final = SessionLimits(statement_s=1_800.0)
"""A slice is read in seconds. This is for a server that is very busy, or a disk that is very slow."""

BLOCK_BYTES: Final = 8 << 20
_FIRST_SLICE: Final = timedelta(hours=1)
_SLICE_ROWS: Final = (50_000, 500_000)
"""Fewer rows in a slice than the first: the next is twice as long; more than the second: half as long."""
_BESIDE: Final = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=31))
"""How far the rows beside a range are looked for, step by step: the first finds them nearly always."""


class Incomplete(ExportError):
    """A file was not made, because of what is missing; `reasons` are sentences."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A file to be made. `on_rows` is called with the number of rows as they come."""

    symbol: str
    kind: Kind
    wanted: Wanted
    from_ts: datetime
    to_ts: datetime
    allow_incomplete: bool = False
    on_rows: Callable[[int], None] = lambda _: None


async def export_file(url: str, folder: Path, order: Order, *, clock: Clock) -> Entry:
    """Make the file and return its entry. Incomplete, ExportError or a StoreError when it is not made."""
    as_text: set[str] = set()
    while True:
        shape = arrow.Shape(order.kind, as_float=order.wanted.numbers == "float", as_text=as_text)
        try:
            return await _export(url, folder, order, shape, clock)
        except arrow.Unfit as error:
            if error.column in as_text:
                raise ExportError(f"{error.column} holds what is no number") from error
            as_text.add(error.column)


async def _export(url: str, folder: Path, order: Order, shape: "arrow.Shape", clock: Clock) -> Entry:
    try:
        # Never rolled back: nothing is changed, and after a failure within COPY the driver may wait for ever
        # for the answer to its cancellation. The connection is dropped instead.
        async with connected(url, application="ingest export", limits=LIMITS) as connection:
            await connection.execute(statement("export_begin"))
            found = await _found(connection, order)
            _judge(before_reading(found), order)
            with whole_file(folder / order.wanted.path) as file:
                rows = _Rows(order, shape, file, found.ids)
                try:
                    await _copy(connection, order, rows)
                finally:
                    rows.close()
                found = replace(found, not_closed=rows.not_closed, not_complete=rows.not_complete)
                missing = [*before_reading(found), *after_reading(found)]
                _judge(missing, order)
                version = await connection.fetchval(statement("export_schema_version"))
                now_us = clock.wall_ns() // 1_000
                return _entry(order, rows, found, missing, version, now_us)
    except DRIVER_ERRORS as error:
        raise translated(error) from error


def _judge(reasons: Sequence[str], order: Order) -> None:
    if reasons and not order.allow_incomplete:
        raise Incomplete(reasons)


# ---------------------------------------------------------------------- what is known beside the rows


async def _found(connection: "Connection", order: Order) -> Found:
    await connection.execute(statement("export_settings"))
    span = (order.symbol, order.kind.stream, order.from_ts, order.to_ts)
    gaps = await connection.fetch(statement("export_gaps"), *span)
    return Found(
        kind=order.kind,
        from_ts=order.from_ts,
        to_ts=order.to_ts,
        gaps=[LedgerGap(**dict(gap)) for gap in gaps],
        known_until=await connection.fetchval(statement("export_known_until"), *span[:2]),
        beside=await _beside(connection, order),
        ids=IdTally(is_consecutive=order.kind.is_consecutive),
    )


async def _beside(connection: "Connection", order: Order) -> Beside | None:
    name = order.kind.beside
    if name is None:
        return None
    extra = () if order.kind.argument is None else (order.kind.argument,)
    before = behind = None
    for reach in _BESIDE:
        lowest = order.from_ts - reach if before is None else order.from_ts
        highest = order.to_ts + reach if behind is None else order.to_ts
        span = (order.symbol, order.from_ts, order.to_ts, lowest, highest)
        row = await connection.fetchrow(statement(name), *span, *extra)
        assert row is not None
        before = row["before"] if before is None else before
        behind = row["behind"] if behind is None else behind
        if before is not None and behind is not None:
            break
    return Beside(before, behind)


# ---------------------------------------------------------------------- the rows


class _Rows:
    """Text in, a Parquet file out; what the rows say is noted as they pass."""

    def __init__(self, order: Order, shape: "arrow.Shape", file: HashedFile, ids: IdTally) -> None:
        self._order = order
        self._shape = shape
        self._waiting = bytearray()
        self._ids = ids
        self.file = file
        self.types = shape.types()
        self.first_us: int | None = None
        self.last_us: int | None = None
        self.not_closed = 0
        self.not_complete = 0
        words = {"symbol": order.symbol, "kind": order.kind.name}
        self._groups = arrow.RowGroups(file, shape, words)

    @property
    def rows(self) -> int:
        return self._groups.rows

    async def take(self, text: bytes) -> None:
        """Called by the driver, which reads on when it returns."""
        self._waiting += text
        if len(self._waiting) >= BLOCK_BYTES:
            await self._work()

    async def end_of_slice(self) -> None:
        """Take what waits, so that the rows of a slice can be counted."""
        if self._waiting:
            await self._work()

    async def _work(self) -> None:
        end = self._waiting.rfind(b"\n") + 1
        lines = bytes(self._waiting[:end])
        del self._waiting[:end]
        if lines:
            before = self.rows
            await asyncio.to_thread(self._add, lines)
            self._order.on_rows(self.rows - before)

    def _add(self, lines: bytes) -> None:
        kind, table = self._order.kind, self._shape.table(lines)
        first_us, last_us = arrow.times_us(table, kind)
        self.first_us = first_us if self.first_us is None else min(self.first_us, first_us)
        self.last_us = last_us if self.last_us is None else max(self.last_us, last_us)
        if kind.ids is not None:
            self._ids.add(arrow.id_runs(table, kind))
        self.not_closed += arrow.count_false(table, "is_closed")
        self.not_complete += arrow.count_false(table, "is_complete")
        self._groups.add(table)

    def close(self) -> None:
        """Write the rest; after a failure the file is thrown away."""
        self._groups.close()


async def _copy(connection: "Connection", order: Order, rows: _Rows) -> None:
    query = statement(order.kind.statement).rstrip(";")
    extra = () if order.kind.argument is None else (order.kind.argument,)
    from_ts, length = order.from_ts, _FIRST_SLICE
    while from_ts < order.to_ts:
        to_ts = min(from_ts + length, order.to_ts)
        status = await connection.copy_from_query(
            query, order.symbol, from_ts, to_ts, *extra, output=rows.take, format="csv"
        )
        await rows.end_of_slice()
        from_ts = to_ts
        found = int(status.rpartition(" ")[2])
        if found < _SLICE_ROWS[0]:
            length *= 2
        elif found > _SLICE_ROWS[1]:
            length /= 2


def _entry(
    order: Order, rows: _Rows, found: Found, missing: Sequence[str], version: int, now_us: int
) -> Entry:
    return Entry(
        path=order.wanted.path,
        market="spot",
        symbol=order.symbol,
        kind=order.kind.name,
        from_ts=order.wanted.from_ts,
        to_ts=order.wanted.to_ts,
        rows=rows.rows,
        first_id=found.ids.first,
        last_id=found.ids.last,
        min_ts=None if rows.first_us is None else iso(rows.first_us),
        max_ts=None if rows.last_us is None else iso(rows.last_us),
        bytes=rows.file.size_bytes,
        sha256=rows.file.sha256,
        columns=rows.types,
        numbers=order.wanted.numbers,
        is_complete=not missing,
        missing=list(missing),
        allow_incomplete=order.allow_incomplete,
        gaps=[_told(gap) for gap in found.gaps],
        schema_version=version,
        program_version=ingest.__version__,
        exported_at=iso(now_us),
    )


def _told(gap: LedgerGap) -> dict[str, str | int | None]:
    return {
        name: iso(microseconds(value)) if isinstance(value, datetime) else value
        for name, value in gap._asdict().items()
    }
