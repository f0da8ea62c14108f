"""Orders from the keeper into its shard: they arrive, and a shard that does not read blocks nobody."""

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
from ingest.events import StreamKey
from ingest.shard.orders import Drop, Order, Probe, ReplaceFeed, decode
from ingest.shard.plan import FeedPlan, ShardPlan
from ingest.supervisor.child import ShardKeeper
from ingest.supervisor.policy import RestartPolicy
from tests.integration.wire import until

WRITES_DOWN_ITS_ORDERS = """
import sys
with open(sys.argv[1], "ab", buffering=0) as kept:
    kept.write(b"")
    for line in sys.stdin.buffer:
        kept.write(line)
"""


class PlainKeeper(ShardKeeper):
    """Keeps a program that writes down what it is told."""

    kept: Path

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WRITES_DOWN_ITS_ORDERS,
            str(self.kept),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return self._process


@asynccontextmanager
async def a_keeper(folder: Path) -> AsyncIterator[PlainKeeper]:
    keeper = PlainKeeper(
        ShardPlan(0, (FeedPlan(0, (StreamKey("spot", "BTCUSDT", "trade"),)),)),
        job=folder / "job",
        data_dir=folder,
        database_url="",
        policy=RestartPolicy(),
        clock=SystemClock(),
        rng=random.Random(1),
    )
    keeper.kept = folder / "kept"
    async with asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        await until(keeper.kept.exists)
        yield keeper
        if keeper.pid is not None:
            os.kill(keeper.pid, signal.SIGCONT)
        await keeper.stop(10.0)


async def test_orders_arrive_as_they_were_given(tmp_path: Path) -> None:
    """Line by line, in their order."""
    orders: list[Order] = [Probe(1), ReplaceFeed(1, "a test"), Drop((StreamKey("spot", "BTCUSDT", "trade"),))]
    async with a_keeper(tmp_path) as keeper:
        assert all(keeper.order(order) for order in orders)
        await until(lambda: len(keeper.kept.read_bytes().splitlines()) == 3)

        assert [decode(line) for line in keeper.kept.read_bytes().splitlines()] == orders


async def test_shard_that_does_not_read_refuses_orders_in_the_end(tmp_path: Path) -> None:
    """Nothing blocks, what waits is bounded, and what was accepted arrives when it reads again."""
    order = ReplaceFeed(1, "x" * 10_000)
    async with a_keeper(tmp_path) as keeper:
        assert keeper.pid is not None
        os.kill(keeper.pid, signal.SIGSTOP)
        accepted = 0
        while keeper.order(order):
            accepted += 1
            assert accepted < 100
            await asyncio.sleep(0)
        os.kill(keeper.pid, signal.SIGCONT)
        await until(lambda: len(keeper.kept.read_bytes().splitlines()) == accepted)

        assert keeper.order(Probe(1))


async def test_nobody_takes_an_order_for_a_shard_that_does_not_run(tmp_path: Path) -> None:
    """Neither before its start nor after its end."""
    async with a_keeper(tmp_path) as keeper:
        await keeper.stop(10.0)
        assert not keeper.order(Probe(1))

    assert not keeper.order(Probe(1))


@pytest.mark.parametrize("streams", [2_500])
async def test_order_that_fits_no_line_is_refused_as_a_mistake(tmp_path: Path, streams: int) -> None:
    """It would never arrive, so whoever gives it hears of it."""
    order = Drop(tuple(StreamKey("spot", f"S{number}USDT", "trade") for number in range(streams)))
    async with a_keeper(tmp_path) as keeper:
        with pytest.raises(ValueError, match="a line may have"):
            keeper.order(order)
