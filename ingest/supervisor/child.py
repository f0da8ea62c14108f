"""One shard's process: spawned, waited for, started again as the policy says, and stopped in time.

The shard's standard input is a pipe that carries orders. When this process dies, however it dies,
the kernel closes the pipe, and the shard reads the end of it as "drain and stop": no orphan is left,
and no pid needs to be remembered. The shard gets a session of its own, so that a Ctrl-C in the
terminal reaches the supervisor alone, which then stops everything in order.
"""

import asyncio
import contextlib
import os
import random
import sys
from pathlib import Path

import structlog

from ingest.board.layout import BoardSnapshot
from ingest.board.mapped import board_path, read_board
from ingest.clock import Clock
from ingest.errors import BoardError, IngestError, LocationRefused
from ingest.shard.job import DATABASE_URL_VARIABLE
from ingest.shard.orders import MAX_LINE_BYTES, Order, encode
from ingest.shard.plan import ShardPlan
from ingest.supervisor.freshness import ShardFacts
from ingest.supervisor.policy import LOCATION_EXIT, ChildHistory, GiveUp, Restart, RestartPolicy, decide

log = structlog.get_logger()


_UNSENT_ORDERS_BYTES = MAX_LINE_BYTES
"""Orders that the pipe has not taken: a shard that reads leaves none, so more than these are refused."""


class ShardGaveUp(IngestError):
    """A shard ended in a way that starting it again cannot heal."""


class ShardKeeper:
    """Keeps one shard running: call `run()` once, `stop()` to end it."""

    def __init__(
        self,
        plan: ShardPlan,
        *,
        job: Path,
        data_dir: Path,
        database_url: str,
        policy: RestartPolicy,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.plan = plan
        self.database_url = database_url
        self._job = job
        self._board_path = board_path(data_dir, plan.shard)
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._history = ChildHistory()
        self._process: asyncio.subprocess.Process | None = None
        self._started_wall_ns = 0
        self._crash_looping = False
        self._gave_up = ""
        self._stopping = asyncio.Event()
        self._recycling = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def run(self) -> None:
        """Start the shard and keep it running until `stop()`. Raises ShardGaveUp or LocationRefused."""
        while not self._stopping.is_set():
            process = await self._spawn()
            if self._stopping.is_set():  # asked while it was being spawned
                process.terminate()
            code = await self._until_ended(process)
            decision = decide(
                self._policy,
                exit_code=code,
                asked_to_stop=self._stopping.is_set(),
                now_s=self._clock.monotonic_s(),
                history=self._history,
                rng=self._rng,
            )
            if isinstance(decision, GiveUp):
                self._gave_up = decision.reason
                raise self._given_up(code, decision)
            if isinstance(decision, Restart):
                await self._wait_to_restart(decision)

    def recycle(self) -> None:
        """Have the present process ended, by force if it does not listen, and a new one started."""
        self._recycling.set()

    async def _until_ended(self, process: asyncio.subprocess.Process) -> int:
        """The exit code, once the process has ended by itself or been recycled."""
        self._recycling.clear()
        async with asyncio.TaskGroup() as group:
            ending = group.create_task(process.wait())
            recycling = group.create_task(self._recycling.wait())
            await asyncio.wait({ending, recycling}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                await self._end(process, self._policy.recycle_allowance_s)
            recycling.cancel()
        return await process.wait()

    async def stop(self, deadline_s: float) -> None:
        """Ask the shard to drain and stop, and kill it when the deadline has passed."""
        self._stopping.set()
        process = self._process
        if process is not None and process.returncode is None:
            await self._end(process, deadline_s)

    async def _end(self, process: asyncio.subprocess.Process, deadline_s: float) -> None:
        """Ask a process to end, and kill it when the deadline has passed."""
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(deadline_s):
                await process.wait()
        except TimeoutError:
            log.error("shard.killed", shard=self.plan.shard, pid=process.pid, deadline_s=deadline_s)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def order(self, order: Order) -> bool:
        """Write an order into the shard's standard input, never waiting for anything.

        False when there is nobody to take it: the shard does not run, its pipe is closed, or so much
        waits in it already that the shard cannot be reading. True says that it was sent, not that it was
        carried out. ValueError when it is too long for one line.
        """
        line = encode(order)
        process = self._process
        if process is None or process.returncode is not None or process.stdin is None:
            return False
        pipe = process.stdin
        if pipe.is_closing() or pipe.transport.get_write_buffer_size() > _UNSENT_ORDERS_BYTES - len(line):
            return False
        pipe.write(line)
        return True

    def facts(self) -> ShardFacts:
        """What can be seen of the shard from outside, its board included."""
        return ShardFacts(
            shard=self.plan.shard,
            running=self.pid is not None and not self._stopping.is_set(),
            started_wall_ns=self._started_wall_ns,
            planned=self.plan.streams,
            restarts=self._history.restarts,
            crash_looping=self._crash_looping and not self._has_run_well(),
            pid=self.pid,
            gave_up=self._gave_up,
            board=self._read_board(),
        )

    def _has_run_well(self) -> bool:
        started_s = self._history.started_s
        if self.pid is None or started_s is None:
            return False
        return self._clock.monotonic_s() - started_s >= self._policy.good_s

    def _given_up(self, code: int, decision: GiveUp) -> IngestError:
        message = f"shard {self.plan.shard}: {decision.reason}"
        return LocationRefused(message) if code == LOCATION_EXIT else ShardGaveUp(message)

    def _read_board(self) -> BoardSnapshot | None:
        try:
            return read_board(self._board_path)
        except BoardError:
            return None

    async def _spawn(self) -> asyncio.subprocess.Process:
        environment = {**os.environ, DATABASE_URL_VARIABLE: self.database_url}
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ingest.cli.shard",
            str(self._job),
            stdin=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._started_wall_ns = self._started_wall_ns or self._clock.wall_ns()
        self._history = self._history.started(self._clock.monotonic_s())
        log.info("shard.started", shard=self.plan.shard, pid=process.pid, restarts=self._history.restarts)
        return process

    async def _wait_to_restart(self, decision: Restart) -> None:
        self._history = decision.history
        self._crash_looping = decision.crash_looping
        log.error(
            "shard.ended",
            shard=self.plan.shard,
            reason=decision.reason,
            restart_in_s=round(decision.after_s, 2),
            crash_looping=decision.crash_looping,
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(decision.after_s):
                await self._stopping.wait()
