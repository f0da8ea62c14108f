"""A shard's process is ended whatever it does, and another one started: by its keeper, with real signals."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingest.clock import SystemClock
from ingest.shard.plan import ShardPlan
from ingest.supervisor.child import ShardKeeper
from ingest.supervisor.policy import RestartPolicy
from tests.integration.wire import until

STARTS = "open(sys.argv[1], 'a').write('started\\n')"
"""Each process says once that it has got as far."""

LISTENS = f"import sys, time; {STARTS}; time.sleep(600)"
IGNORES = f"import signal, sys, time; signal.signal(15, signal.SIG_IGN); {STARTS}; time.sleep(600)"
CRASHES_THREE_TIMES = (
    f"import sys, time; {STARTS}; len(open(sys.argv[1]).readlines()) < 4 and sys.exit(1); time.sleep(600)"
)
POLICY = RestartPolicy(recycle_allowance_s=0.3, first_s=0.01, cap_s=0.02, good_s=1.0, intensity=1)


class ScriptKeeper(ShardKeeper):
    """Keeps a program of the test's in the place of a shard."""

    script: str
    diary: Path

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            self.script,
            str(self.diary),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._history = self._history.started(self._clock.monotonic_s())
        return self._process

    def starts(self) -> int:
        """How many processes have got as far as to say so."""
        return len(self.diary.read_text().splitlines()) if self.diary.exists() else 0


@asynccontextmanager
async def kept(folder: Path, script: str) -> AsyncIterator[ScriptKeeper]:
    keeper = ScriptKeeper(
        ShardPlan(0, ()),
        job=folder / "job",
        data_dir=folder,
        database_url="",
        policy=POLICY,
        clock=SystemClock(),
        rng=random.Random(1),
    )
    keeper.script, keeper.diary = script, folder / "diary"
    async with asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        try:
            await until(lambda: keeper.starts() == 1)
            yield keeper
        finally:
            await keeper.stop(0.5)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("script", [LISTENS, IGNORES], ids=["listens", "ignores SIGTERM"])
async def test_recycled_process_is_replaced(tmp_path: Path, script: str) -> None:
    """By asking first, then by force; the new one is another process and the end counts as a restart."""
    async with kept(tmp_path, script) as keeper:
        before = keeper.pid
        assert before is not None
        keeper.recycle()
        await until(lambda: keeper.starts() == 2)

        assert not is_alive(before)
        assert keeper.pid not in {None, before}
        assert keeper.facts().restarts == 1


async def test_stopped_process_is_replaced(tmp_path: Path) -> None:
    """One that is SIGSTOPped does not hear SIGTERM."""
    async with kept(tmp_path, LISTENS) as keeper:
        before = keeper.pid
        assert before is not None
        os.kill(before, signal.SIGSTOP)
        keeper.recycle()
        await until(lambda: keeper.starts() == 2)

        assert not is_alive(before)


async def test_recycling_once_ends_one_process(tmp_path: Path) -> None:
    """However often it was asked for meanwhile; the next process is not meant."""
    async with kept(tmp_path, IGNORES) as keeper:
        for _ in range(5):
            keeper.recycle()
            await asyncio.sleep(0)
        await until(lambda: keeper.starts() == 2)
        second = keeper.pid
        for _ in range(20):
            await asyncio.sleep(0)

        assert keeper.pid == second
        assert keeper.facts().restarts == 1


async def test_stopping_wins_over_recycling(tmp_path: Path) -> None:
    """No new process is started when the service stops."""
    async with kept(tmp_path, IGNORES) as keeper:
        keeper.recycle()
        await keeper.stop(5.0)

        assert keeper.pid is None
        assert keeper.starts() == 1


async def test_crash_loop_is_over_when_a_process_has_run_well(tmp_path: Path) -> None:
    """It is marked while it lasts, not for ever after."""
    async with kept(tmp_path, CRASHES_THREE_TIMES) as keeper:
        await until(lambda: keeper.starts() == 4)
        assert keeper.facts().crash_looping

        await until(lambda: not keeper.facts().crash_looping)
        assert keeper.facts().restarts == 3
