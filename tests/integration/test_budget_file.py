"""The shared budget between processes: one limit for all, and a stuck one stops nobody for ever."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingest.clock import SystemClock
from ingest.errors import BudgetExhausted
from ingest.feed import budget_file
from ingest.feed.budget_file import Budget, BudgetLimits, SharedBudget

DEADLINE_S = 30.0
LIMITS = BudgetLimits(connects_per_5_min=10, weight_per_min=100)

TAKES_WHAT_IT_CAN = """
import asyncio, random, sys
from pathlib import Path
from ingest.clock import SystemClock
from ingest.errors import BudgetExhausted
from ingest.feed.budget_file import Budget, BudgetLimits, SharedBudget

async def main():
    limits = BudgetLimits(connects_per_5_min=10, weight_per_min=100)
    budget = SharedBudget(Path(sys.argv[1]), limits, clock=SystemClock(), rng=random.Random())
    taken = 0
    try:
        while taken < int(sys.argv[2]):
            await budget.acquire(Budget.CONNECTS, deadline_s=0.0)
            taken += 1
    except BudgetExhausted:
        pass
    print(taken, flush=True)

asyncio.run(main())
"""

HOLDS_THE_LOCK = """
import fcntl, sys, time
file = open(sys.argv[1], "r+b")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def a_process(program: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


@contextmanager
def a_budget(path: Path, limits: BudgetLimits = LIMITS) -> Iterator[SharedBudget]:
    budget = SharedBudget(path, limits, clock=SystemClock(), rng=random.Random(1))
    try:
        yield budget
    finally:
        budget.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "address.budget"


def taken_by(process: "subprocess.Popen[str]") -> int:
    return int(process.communicate(timeout=DEADLINE_S)[0])


async def test_two_processes_share_one_limit(path: Path) -> None:
    """What another process has taken is not there any more."""
    with a_budget(path) as budget:
        with a_process(TAKES_WHAT_IT_CAN, str(path), "6") as other:
            assert taken_by(other) == 6

        await budget.acquire(Budget.CONNECTS, 4, deadline_s=0.0)
        with pytest.raises(BudgetExhausted, match="1 connects"):
            await budget.acquire(Budget.CONNECTS, deadline_s=0.0)
        assert budget.used(Budget.CONNECTS) == 10


def test_processes_that_race_take_no_more_than_the_limit(path: Path) -> None:
    """Four at once, each as much as it gets."""
    with (
        a_budget(path),
        a_process(TAKES_WHAT_IT_CAN, str(path), "100") as one,
        a_process(TAKES_WHAT_IT_CAN, str(path), "100") as two,
        a_process(TAKES_WHAT_IT_CAN, str(path), "100") as three,
    ):
        assert taken_by(one) + taken_by(two) + taken_by(three) == 10


async def test_process_that_is_stopped_with_the_lock_hangs_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for it gives up with a transient error, and takes its share once it is gone."""
    monkeypatch.setattr(budget_file, "_LOCK_DEADLINE_S", 0.3)
    with a_budget(path) as budget:
        with a_process(HOLDS_THE_LOCK, str(path)) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            os.kill(holder.pid, signal.SIGSTOP)
            with pytest.raises(BudgetExhausted, match="lock") as refused:
                await budget.acquire(Budget.CONNECTS)
            assert refused.value.transient

        await budget.acquire(Budget.CONNECTS)
        assert budget.used(Budget.CONNECTS) == 1


async def test_readings_do_not_wait_for_the_lock(path: Path) -> None:
    """Metrics are there even while somebody holds it."""
    with a_budget(path) as budget, a_process(HOLDS_THE_LOCK, str(path)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        assert (budget.used(Budget.WEIGHT), budget.banned_for_s()) == (0, 0.0)


async def test_ban_holds_for_all_and_for_rest_alone(path: Path) -> None:
    """One process is told to be quiet: nobody asks REST, while sockets may be dialled."""
    with a_budget(path) as one, a_budget(path) as two:
        await one.ban(60.0)
        await one.ban(5.0)

        assert 50 < two.banned_for_s() <= 60
        for name in (Budget.WEIGHT, Budget.REQUESTS):
            with pytest.raises(BudgetExhausted):
                await two.acquire(name, deadline_s=1.0)
        await two.acquire(Budget.CONNECTS, deadline_s=0.0)


async def test_end_of_a_ban_is_waited_for(path: Path) -> None:
    """A short one delays, and refuses nothing."""
    with a_budget(path) as budget:
        await budget.ban(0.3)
        await budget.acquire(Budget.WEIGHT, 5)

        assert budget.used(Budget.WEIGHT) == 5


async def test_exchanges_own_count_is_taken_over(path: Path) -> None:
    """What others of this address have used is missing from our budget, and counted once."""
    with a_budget(path) as budget:
        await budget.acquire(Budget.WEIGHT, 20)
        await budget.observe_weight(80)
        await budget.observe_weight(80)

        assert budget.used(Budget.WEIGHT) == 80
        with pytest.raises(BudgetExhausted):
            await budget.acquire(Budget.WEIGHT, 30, deadline_s=0.0)


async def test_filling_tells_what_is_used_and_what_may_be(path: Path) -> None:
    """Every budget by name, for whoever shows them."""
    with a_budget(path) as budget:
        await budget.acquire(Budget.WEIGHT, 20)

        filling = budget.filling()
        assert set(filling) == {"connects", "weight", "requests"}
        assert filling["weight"][0] == 20
        assert all(used <= limit for used, limit in filling.values())


async def test_room_leaves_the_rest_of_the_limit_to_others(path: Path) -> None:
    """Work that can wait goes up to its share only, and not at all during a ban."""
    with a_budget(path) as budget:
        await budget.acquire(Budget.WEIGHT, 30)
        assert (budget.room(Budget.WEIGHT, share=0.5), budget.room(Budget.WEIGHT, share=1.0)) == (20, 70)
        await budget.acquire(Budget.WEIGHT, 40)
        assert budget.room(Budget.WEIGHT, share=0.5) == 0
        await budget.ban(60)
        assert budget.room(Budget.WEIGHT, share=1.0) == 0


async def test_budget_outlives_its_processes(path: Path) -> None:
    """A service that crash-loops stays within the limits."""
    with a_budget(path) as budget:
        await budget.acquire(Budget.CONNECTS, 9)
    with a_budget(path) as budget:
        assert budget.used(Budget.CONNECTS) == 9


@pytest.mark.parametrize("rubbish", [b"", b"x" * 100, b"x" * 100_000])
async def test_file_of_another_layout_is_begun_anew(path: Path, rubbish: bytes) -> None:
    """An older version's file does not stop a newer one."""
    path.parent.mkdir(parents=True)
    path.write_bytes(rubbish)
    with a_budget(path) as budget:
        await budget.acquire(Budget.CONNECTS)

        assert budget.used(Budget.CONNECTS) == 1


async def test_more_than_the_whole_limit_is_a_mistake(path: Path) -> None:
    """No waiting could help."""
    with a_budget(path) as budget, pytest.raises(ValueError, match="more than the whole limit"):
        await budget.acquire(Budget.WEIGHT, 101)


async def test_cancelled_waiter_takes_nothing(path: Path) -> None:
    """And leaves the lock free."""
    with a_budget(path) as budget:
        await budget.acquire(Budget.CONNECTS, 10)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await budget.acquire(Budget.CONNECTS, deadline_s=1_000.0)
        await budget.acquire(Budget.WEIGHT, 1)

        assert budget.used(Budget.CONNECTS) == 10
