"""The last hour in numbers, for the charts of the status page: a sample every few seconds, the oldest go.

Pure, and bounded: `SAMPLES` of them, whatever happens. A sample is made of two moments: rates are what the
shards' counters rose by since the one before. A number that is not known is None, which is not zero: a
service that commits nothing has no commit latency.

A shard's counters begin at zero with each process of it; a board that a process before this one has left
tells nothing that is new.
"""

from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from ingest.board.layout import BoardSnapshot
from ingest.supervisor.freshness import ServiceFacts

SAMPLE_EVERY_S = 5.0
SAMPLES = 720

_NS_PER_S = 1_000_000_000


class Sample(NamedTuple):
    """`at_ms` is wall clock; rates are means since the sample before, the others the worst of all shards."""

    at_ms: int
    messages_per_s: float | None
    rows_per_s: float | None
    commit_p50_ms: float | None
    commit_p99_ms: float | None
    loop_lag_ms: float | None
    waiting_s: float | None
    """Age of the oldest row that has come and that no query can see; 0 when none waits."""


class _Counts(NamedTuple):
    pid: int
    frames: int
    rows: int


class History:
    """`add` every `SAMPLE_EVERY_S` seconds; whoever shows it asks for `samples` and what came `since`."""

    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=SAMPLES)
        self.taken = 0
        """How many were ever added; the newest has this number."""
        self._counts: Mapping[int, _Counts] = {}
        self._added_ns: int | None = None

    def add(self, facts: ServiceFacts) -> None:
        """Take one sample."""
        boards = [shard.board for shard in facts.shards if shard.board and not shard.has_former_board]
        counts = {board.shard: _counts(board) for board in boards}
        frames, rows = self._risen(counts)
        span_s = None if self._added_ns is None else (facts.now_monotonic_ns - self._added_ns) / _NS_PER_S
        self.samples.append(
            Sample(
                at_ms=facts.now_wall_ns // 1_000_000,
                messages_per_s=_rate(frames, span_s),
                rows_per_s=_rate(rows, span_s),
                # The percentiles stand when nothing is committed; then they are of the past.
                commit_p50_ms=_worst_ms([b.header.commit_latency_p50_us for b in boards]) if rows else None,
                commit_p99_ms=_worst_ms([b.header.commit_latency_p99_us for b in boards]) if rows else None,
                loop_lag_ms=_worst_ms([b.header.loop_lag_max_us for b in boards]),
                waiting_s=max((_waiting_s(board, facts.now_wall_ns) for board in boards), default=None),
            )
        )
        self.taken += 1
        # A shard that has no board for a moment comes back with the counters that it had.
        self._counts = {**self._counts, **counts}
        self._added_ns = facts.now_monotonic_ns

    def since(self, taken: int) -> list[Sample]:
        """The samples after number `taken`, as far as they are kept, oldest first."""
        fresh = min(max(0, self.taken - taken), len(self.samples))
        return list(islice(self.samples, len(self.samples) - fresh, None))

    def _risen(self, counts: Mapping[int, _Counts]) -> tuple[int, int]:
        frames = rows = 0
        for shard, now in counts.items():
            before = self._counts.get(shard)
            is_same = before is not None and before.pid == now.pid
            frames += now.frames - (before.frames if before and is_same else 0)
            rows += now.rows - (before.rows if before and is_same else 0)
        return max(0, frames), max(0, rows)


def _counts(board: BoardSnapshot) -> _Counts:
    return _Counts(board.identity.pid, board.header.frames, board.header.rows_committed)


def _rate(risen: int, span_s: float | None) -> float | None:
    return round(risen / span_s, 1) if span_s is not None and span_s > 0 else None


def _worst_ms(values_us: list[int]) -> float | None:
    return max(values_us) / 1_000 if values_us else None


def _waiting_s(board: BoardSnapshot, now_wall_ns: int) -> float:
    oldest_ns = board.header.oldest_waiting_recv_ns
    return round(max(0.0, (now_wall_ns - oldest_ns) / _NS_PER_S), 2) if oldest_ns else 0.0
