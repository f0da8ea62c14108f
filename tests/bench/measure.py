"""One measurement: what a row is told, what it answers, and the stopwatch in between.

CPU is the measured process' own, user and system, from before the first frame to after the last; the
database server's is read from `/proc` (None where there is none) in the same span.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ingest.events import StreamKey
from ingest.shard.plan import ShardPlan, make_plan
from tests.bench.mix import symbol_names

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S = 100
"""Linux' USER_HZ, in which `/proc/<pid>/stat` counts."""
_STREAMS_PER_FEED = 200
"""The default of `[spot] streams_per_feed`."""


@dataclass(frozen=True)
class RowJob:
    """What a row measures against. `server_pid` is the database's first process.

    `messages` and `live_rate` are for rows whose frames are paced: the others are sent what there is.
    """

    row: str
    course: str
    ws_url: str
    rest_port: int
    symbols: int
    kinds: tuple[str, ...]
    data_dir: str
    streams_per_feed: int = _STREAMS_PER_FEED
    messages: int = 0
    live_rate: float = 0.0
    round: int = 0
    database_url: str = ""
    server_pid: int = 0

    @property
    def streams(self) -> int:
        return self.symbols * len(self.kinds)

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"

    def plan(self) -> ShardPlan:
        """One shard with all streams, as many feeds as production would make."""
        keys = [
            StreamKey("spot", symbol, kind) for symbol in symbol_names(self.symbols) for kind in self.kinds
        ]
        return make_plan(dict.fromkeys(keys, 1.0), shards=1, streams_per_feed=self.streams_per_feed)[0]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What one row took in one round. Sizes and counts are of the measured frames alone."""

    row: str
    course: str
    round: int
    streams: int
    messages: int
    received_bytes: int
    cpu_s: float
    wall_s: float
    sender_cpu_s: float = 0.0
    rows: int = 0
    row_bytes: int = 0
    batches: int = 0
    captured_bytes: int = 0
    """Of the files, compressed; all records that a message has brought."""
    conflicts: int = 0
    stored_rows: int = 0
    distinct_rows: int = 0
    server_cpu_s: float | None = None
    rss_bytes: int = 0
    """Of a shard whose books are live, before the measured frames."""
    spooled_rows: int = 0
    """That waited on the disk when the database was back."""
    live_messages: int = 0
    """That came while the spool was caught up with."""

    @property
    def cpu_us(self) -> float:
        """CPU of the measured process per message."""
        return self.cpu_s / self.messages * 1e6

    @property
    def rate(self) -> float:
        """Messages a second of wall time."""
        return self.messages / self.wall_s

    @property
    def server_us_per_row(self) -> float | None:
        """The database server's CPU per stored row."""
        if self.server_cpu_s is None or not self.rows:
            return None
        return self.server_cpu_s / self.rows * 1e6


class Span(NamedTuple):
    """What a stopwatch has measured."""

    cpu_s: float
    wall_s: float
    server_cpu_s: float | None


class Stopwatch:
    """Runs from its making to `stop`."""

    def __init__(self, server_pid: int = 0) -> None:
        self._server_pid = server_pid
        self._server_cpu_s = tree_cpu_s(server_pid)
        self._wall_s = time.perf_counter()
        self._cpu_s = time.process_time()

    def stop(self) -> Span:
        """Read it."""
        cpu_s, wall_s = time.process_time() - self._cpu_s, time.perf_counter() - self._wall_s
        return Span(cpu_s, wall_s, self._server_span_s())

    def _server_span_s(self) -> float | None:
        after_s = tree_cpu_s(self._server_pid)
        if after_s is None or self._server_cpu_s is None:
            return None
        return after_s - self._server_cpu_s


def rss_bytes(pid: int | str = "self", proc: Path = Path("/proc")) -> int:
    """Memory of a process that is in RAM; 0 where nobody tells."""
    try:
        pages = int((proc / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * PAGE_BYTES


def tree_cpu_s(pid: int, proc: Path = Path("/proc")) -> float | None:
    """CPU of a process and all its descendants, those included that have ended and were waited for."""
    if not pid or not (proc / str(pid)).is_dir():
        return None
    stats = _stats(proc)
    ticks = sum(stats[number][1] for number in _family(pid, stats) if number in stats)
    return ticks / TICKS_PER_S


def descendants(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """A process and all its descendants."""
    return _family(pid, _stats(proc))


def _family(pid: int, stats: Mapping[int, tuple[int, int]]) -> list[int]:
    children: dict[int, list[int]] = {}
    for number, (parent, _) in stats.items():
        children.setdefault(parent, []).append(number)
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def _stats(proc: Path) -> Mapping[int, tuple[int, int]]:
    """Parent and ticks (own and of waited-for children) of every process."""
    found = {}
    for folder in proc.iterdir():
        if folder.name.isdecimal():
            try:
                stat = (folder / "stat").read_text()
            except OSError:
                continue  # it has just ended
            # The name in parentheses may hold anything, spaces and parentheses included.
            fields = stat.rpartition(")")[2].split()
            found[int(folder.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
    return found
