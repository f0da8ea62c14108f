"""One shard's process: spawned, waited for, started again as the policy says, and stopped in time.

The shard's standard input is a pipe that nobody writes to. When this process dies, however it dies,
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
from ingest.shard.plan import ShardPlan
from ingest.supervisor.freshness import ShardFacts
from ingest.supervisor.policy import LOCATION_EXIT, ChildHistory, GiveUp, Restart, RestartPolicy, decide

log = structlog.get_logger()


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
            code = await process.wait()
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

    async def stop(self, deadline_s: float) -> None:
        """Ask the shard to drain and stop, and kill it when the deadline has passed."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
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

    def facts(self) -> ShardFacts:
        """What can be seen of the shard from outside, its board included."""
        return ShardFacts(
            shard=self.plan.shard,
            running=self.pid is not None and not self._stopping.is_set(),
            started_wall_ns=self._started_wall_ns,
            planned=self.plan.streams,
            restarts=self._history.restarts,
            crash_looping=self._crash_looping,
            pid=self.pid,
            gave_up=self._gave_up,
            board=self._read_board(),
        )

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
