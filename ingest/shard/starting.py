"""What a shard does before it can receive: it waits for the database, and its board says so.

A shard needs the newest committed events before it subscribes anything, or it could not tell what was
missed. A database that is away at that moment is no reason to end: whoever starts again and again is
taken for broken. So it waits for as long as it takes, and the event loop beats meanwhile.

Invariants: until the first attempt has failed the database counts as up; the ages that a former
process's board told of stay true, because what was committed stays committed.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import structlog

from ingest.board.layout import BoardSnapshot, HeaderValues, ShardState, StreamValues
from ingest.board.mapped import BoardWriter, read_board
from ingest.clock import Clock
from ingest.errors import BoardError
from ingest.events import StreamKey
from ingest.shard.status import TICK_S
from ingest.store.retrying import RetryPolicy, until_available

log = structlog.get_logger()

Answer = TypeVar("Answer")


class Waiting:
    """`until_available` once, on a board that nobody else writes yet."""

    def __init__(self, board: BoardWriter, *, clock: Clock, rng: random.Random) -> None:
        self._board = board
        self._clock = clock
        self._rng = rng
        self._failures = 0

    async def until_available(
        self, stop: asyncio.Event, operation: Callable[[], Awaitable[Answer]]
    ) -> Answer | None:
        """The operation's result, however often it takes; None when `stop` comes first.

        Raises what it raises (in a group), unless that is StoreUnavailable.
        """
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(self._ask(operation), name="database")
            others = [group.create_task(self._beat(), name="beat"), group.create_task(stop.wait())]
            await asyncio.wait({asking, others[1]}, return_when=asyncio.FIRST_COMPLETED)
            is_here = asking.done()
            for task in (asking, *others):
                task.cancel()
        self._failures = 0
        self._write(ShardState.STARTING if is_here else ShardState.STOPPED)
        return asking.result() if is_here else None

    async def _ask(self, operation: Callable[[], Awaitable[Answer]]) -> Answer:
        return await until_available(
            operation, policy=RetryPolicy(), rng=self._rng, on_retry=self._not_available
        )

    def _not_available(self, error: BaseException) -> None:
        self._failures += 1
        if self._failures == 1:
            log.warning("shard.waits_for_database", error=str(error))

    async def _beat(self) -> None:
        while True:
            self._write(ShardState.STARTING)
            await asyncio.sleep(TICK_S)

    def _write(self, state: ShardState) -> None:
        self._board.write_header(
            HeaderValues(state=state, store_errors=self._failures, database_up=int(not self._failures))
        )
        # Last: a board that has beaten is believed in what its header says of the database.
        self._board.beat(int(self._clock.monotonic_s() * 1e9), self._clock.wall_ns(), 0)


def read_former(path: Path) -> BoardSnapshot | None:
    """What the process before this one has left; to be read before the board is made anew."""
    try:
        return read_board(path)
    except BoardError:
        return None


def carry_over(board: BoardWriter, former: BoardSnapshot | None, keys: Sequence[StreamKey]) -> None:
    """Keep the former process's newest committed events on the board, whose slots are those of `keys`."""
    known = {slot.key: slot.values for slot in former.streams} if former is not None else {}
    for slot, key in enumerate(keys):
        if (values := known.get(key)) is not None:
            committed = StreamValues(
                committed_event_us=values.committed_event_us, committed_wall_ns=values.committed_wall_ns
            )
            board.write_stream(slot, committed)
