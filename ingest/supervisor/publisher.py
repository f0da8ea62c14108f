"""Keep `ops.stream_freshness` up to date: all rows, as soon as they were judged.

Decides what happens when the database does not take a round: nothing is kept, the next round writes
the whole truth again. What a row says is decided in `freshness`; how it is written, in the store.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, cast

import structlog

from ingest.board.layout import BoardSnapshot
from ingest.errors import StoreUnavailable
from ingest.events import Market, StreamKey
from ingest.store.publish import ShardRow, StreamRow
from ingest.supervisor.freshness import ShardFacts, StreamFreshness

Rows: TypeAlias = Sequence[StreamFreshness]


def table_row(row: StreamFreshness) -> StreamRow:
    """The row as the store publishes it; age and time of publishing are the server's own."""
    return StreamRow(
        key=StreamKey(cast(Market, row.market), row.symbol, row.kind),
        shard=row.shard,
        feed="" if row.feed is None else str(row.feed),
        state=row.state,
        diagnosis=row.diagnosis,
        last_event_us=row.last_event_us,
        last_recv_us=row.last_recv_us,
        last_commit_us=row.last_commit_us,
        threshold_s=row.threshold_s,
        verified_quiet_us=row.verified_quiet_us,
        reconnects=row.reconnects,
        open_gaps=row.open_gaps,
        trades_behind=row.trades_behind,
    )


def shard_row(shard: ShardFacts, *, is_stopped: bool = False) -> ShardRow:
    """The row of `ops.shards`; what the board says is null or zero while there is none.

    `is_stopped`: the whole service was stopped in order, and this is the last that it says.
    """
    board = None if shard.has_former_board else shard.board
    return ShardRow(
        shard=shard.shard,
        pid=shard.pid,
        state=_state(shard, board, is_stopped=is_stopped),
        started_us=board.identity.started_wall_ns // 1_000 if board else None,
        restarts=shard.restarts,
        heartbeat_us=(board.heartbeat.wall_ns // 1_000 or None) if board else None,
        loop_lag_ms=board.header.loop_lag_max_us / 1_000 if board else None,
        rows_committed=board.header.rows_committed if board else 0,
        rows_waiting=board.header.buffered_rows if board else 0,
        rows_refused=board.header.refused_rows if board else 0,
    )


def _state(shard: ShardFacts, board: BoardSnapshot | None, *, is_stopped: bool) -> str:
    if shard.gave_up:
        return "given up"
    if is_stopped and not shard.running:
        return "stopped"
    if shard.crash_looping:
        return "quarantined"
    if not shard.running:
        return "down"
    return "starting" if board is None else board.header.state.name.lower()


class FreshnessPublisher:
    """Write the rows whenever `judged` is set, and `interval_s` seconds after the last time at the latest.

    `run` goes on until it is cancelled and clears `judged` itself. `write` inserts or updates a row for
    each key; it gets `deadline_s`. A database that is away is waited out: the next round writes the whole
    truth again, so nothing is kept meanwhile.
    """

    def __init__(
        self,
        *,
        rows: Callable[[], Rows],
        write: Callable[[Rows], Awaitable[None]],
        judged: asyncio.Event,
        interval_s: float = 2.0,
        deadline_s: float = 5.0,
    ) -> None:
        self._rows = rows
        self._write = write
        self._judged = judged
        self._interval_s = interval_s
        self._deadline_s = deadline_s
        self._log = structlog.get_logger(__name__)
        self.failures = 0
        """Rounds in a row that did not reach the table."""

    async def run(self) -> None:
        """Publish until cancelled. Lets out everything but an unreachable database."""
        while True:
            self._judged.clear()
            await self.publish_once()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._judged.wait()

    async def publish_once(self) -> bool:
        """Write one round; False when the database could not be reached in time."""
        rows = self._rows()
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._write(rows)
        except (StoreUnavailable, TimeoutError) as error:
            self._failed(error)
            return False
        self._succeeded(rows)
        return True

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if self.failures == 1:
            self._log.warning("freshness.not_published", error=str(error) or type(error).__name__)

    def _succeeded(self, rows: Rows) -> None:
        if self.failures:
            self._log.info("freshness.published_again", missed=self.failures, streams=len(rows))
        self.failures = 0
