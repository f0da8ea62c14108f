"""The thread that packs, compresses and writes what a shard has recorded.

It owns the file. The event loop hands over lists of records a few times a second (`capture.recorder`), and
waits for nothing here. A block closes after `flush_s` or `block_bytes`, whichever comes first, and is one
write: what was written survives the end of the process, however it comes, and a loss of power as far as the
system has written it back. A file ends by size or age; the next one begins with what a reader must know.

A disk that refuses costs records and nothing else: they are counted, the file is given up, a new one is
tried every `retry_s`, and it begins with how many are missing.
"""

import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from os import stat_result
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import structlog

from ingest.capture.files import Header, encode_block, encode_header, is_capture_name, new_compressor
from ingest.capture.records import Kind, Record, pack
from ingest.capture.retention import KeptFile, Retention, to_drop
from ingest.capture.standing import Standing, missing
from ingest.clock import Clock

log = structlog.get_logger()

_LOOK_EVERY_S: Final = 30.0

Waiting: TypeAlias = tuple[int, int, int, int, bytes]
"""A `Record` before it is one: what the event loop makes is a plain tuple."""


@dataclass(frozen=True, kw_only=True)
class WriterLimits:
    """When a block and a file close, what is kept, and how hard is compressed (zstd's levels)."""

    flush_s: float = 1.0
    block_bytes: int = 2 * 2**20
    level: int = 1
    retry_s: float = 10.0
    retention: Retention = field(default_factory=Retention)


class CaptureWriter:
    """`start`, then `put`, then `stop`. `folder` is made when it is not there."""

    def __init__(self, folder: Path, header: Header, *, clock: Clock, limits: WriterLimits) -> None:
        self.taken_bytes = 0
        """Payloads taken out of the queue so far; only the thread changes it."""
        self.written_bytes = self.written_records = self.lost_records = 0
        self._folder = folder
        self._header = header
        self._clock = clock
        self._limits = limits
        self._queue: queue.SimpleQueue[tuple[Sequence[Waiting], int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._compressor = new_compressor(limits.level)
        self._standing = Standing()
        self._file: BinaryIO | None = None
        self._name = ""
        self._part = 0
        self._blocks = 0
        self._size_bytes = 0
        self._opened_s = 0.0
        self._lost_since = 0
        self._retry_at_s = self._look_at_s = float("-inf")

    def start(self) -> None:
        """Begin to take what is put."""
        self._thread.start()

    def put(self, records: Sequence[Waiting], size_bytes: int) -> None:
        """Hand records over, and change them no more; the caller bounds what waits by `taken_bytes`."""
        self._queue.put((records, size_bytes))

    def stop(self, *, deadline_s: float) -> bool:
        """Write what was put and close the file; False when that takes longer than the deadline."""
        self._queue.put(None)
        self._thread.join(deadline_s)
        return not self._thread.is_alive()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        block: list[Waiting] = []
        size, due_s = 0, 0.0
        while True:
            taken = self._next(due_s if block else None)
            if taken is None:
                break
            records, size_bytes = taken
            if records and not block:
                due_s = self._clock.monotonic_s() + self._limits.flush_s
            block += records
            size += size_bytes
            self.taken_bytes += size_bytes
            if block and (size >= self._limits.block_bytes or self._clock.monotonic_s() >= due_s):
                self._write(block)
                block, size = [], 0
        self._write([*block, Record(Kind.CLOSED)])
        self._close()

    def _next(self, due_s: float | None) -> tuple[Sequence[Waiting], int] | None:
        """What was put next, nothing when that takes until `due_s`; None at the end."""
        try:
            return self._queue.get(
                timeout=None if due_s is None else max(0.0, due_s - self._clock.monotonic_s())
            )
        except queue.Empty:
            return (), 0

    def _write(self, block: list[Waiting]) -> None:
        """One block into the file that is open, or into a new one; what cannot be written is counted."""
        now_s = self._clock.monotonic_s()
        try:
            is_written = self._is_written(block, now_s)
        except OSError as error:
            log.error("capture.failed", folder=str(self._folder), error=str(error))
            self._close()
            self._retry_at_s = now_s + self._limits.retry_s
            is_written = False
        if is_written:
            self.written_records += len(block)
        else:
            self.lost_records += len(block)
            self._lost_since += len(block)
        # Not before: a file that was begun for this block says what stood in front of it.
        self._standing.pass_by(block)

    def _is_written(self, block: list[Waiting], now_s: float) -> bool:
        """False while a disk that has refused is left alone."""
        self._make_room(now_s)
        if self._file is not None and self._limits.retention.is_full(
            self._size_bytes, now_s - self._opened_s
        ):
            self._append([Record(Kind.CLOSED)])
            self._close()
        if self._file is None:
            if now_s < self._retry_at_s:
                return False
            self._open(now_s)
        self._append(block)
        return True

    def _append(self, block: list[Waiting]) -> None:
        assert self._file is not None
        data = encode_block(self._blocks, pack(block), len(block), self._compressor)
        self._put_down(data)
        self._blocks += 1
        self._size_bytes += len(data)
        self.written_bytes += len(data)

    def _put_down(self, data: bytes) -> None:
        assert self._file is not None
        if self._file.write(data) != len(data):
            raise OSError("the disk has taken a part only")

    def _open(self, now_s: float) -> None:
        """Begin the next part with what a reader must know."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._part += 1
        header = replace(self._header, part=self._part)
        self._name = header.file_name()
        self._file = (self._folder / self._name).open("xb", buffering=0)
        start = encode_header(header)
        self._put_down(start)
        self._size_bytes, self._blocks, self._opened_s = len(start), 0, now_s
        if self._part > 1 or self._lost_since:
            lost = [missing(self._lost_since)] if self._lost_since else []
            self._append([self._standing.record(), *lost])
            self._lost_since = 0

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what was written is; what was not has been told
                file.close()

    # ------------------------------------------------------------------ the folder

    def _make_room(self, now_s: float) -> None:
        """Drop the oldest files beyond the bounds, now and then."""
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + _LOOK_EVERY_S
        if not self._folder.is_dir():
            return
        files = [
            KeptFile(path.name, facts.st_size, facts.st_mtime_ns)
            for path in self._folder.iterdir()
            if is_capture_name(path.name) and (facts := _facts(path)) is not None
        ]
        bounds, now_ns = self._limits.retention, self._clock.wall_ns()
        writing = self._name if self._file is not None else f"shard-{self._header.shard}-"
        for name in to_drop(files, bounds, writing=writing, now_ns=now_ns):
            (self._folder / name).unlink(missing_ok=True)
            log.info("capture.dropped_file", file=name, policy="drop_oldest_file")


def _facts(path: Path) -> stat_result | None:
    """None when another shard has dropped it meanwhile."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
