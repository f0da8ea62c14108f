"""The example of a signal job against the whole service: it never acts on old data, and misses no trade."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.reader import AsyncReader, Trade
from ingest.reader.signal_job import Cross, run
from tests.simulation.service import DEADLINE_S, Double, Service, a_double, a_service

SYMBOL = "BTCUSDT"
KINDS = ("trade", "book_ticker")


class Watched(Cross):
    """The strategy, and what it was given."""

    def __init__(self) -> None:
        super().__init__(fast=5, slow=20)
        self.ids: list[int] = []

    def update(self, trade: Trade) -> str | None:
        self.ids.append(trade.id)
        return super().update(trade)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Double]]:
    """A service on a small market."""
    folder: Path = tmp_path_factory.mktemp("signal")
    options = ("--no-recording", "--symbols", "3", "--rate", "150")
    spot = {"symbols": "*", "kinds": list(KINDS)}
    silence = {"fixed_s": dict.fromkeys(KINDS, 5.0)}
    with (
        a_double(folder, *options) as double,
        a_service(folder, double, spot=spot, silence=silence) as service,
    ):
        yield service, double


async def until(what: str, condition: Callable[[], bool], deadline_s: float = 2 * DEADLINE_S) -> None:
    """Wait for what a task of this loop brings about."""
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.05)
    assert what


@pytest.mark.deadline(300)
async def test_signal_job_stands_still_while_its_stream_is_mute_and_misses_nothing(
    running: tuple[Service, Double],
) -> None:
    """It says why, is given nothing while it stands still, and goes on with every trade exactly once."""
    service, double = running
    strategy, told = Watched(), list[str]()
    standing: list[int] = []

    def tell(words: str) -> None:
        told.append(words)
        if words.startswith(("standing still", "going on")):
            standing.append(len(strategy.ids))

    async with AsyncReader.connect(data_dir=service.data_dir) as reader:
        job = asyncio.get_running_loop().create_task(run(reader, SYMBOL, strategy, tell=tell))
        await until("it works", lambda: len(strategy.ids) > 100 and any("long" in line for line in told))
        mute = await asyncio.to_thread(
            lambda: double.fault("mute_stream", symbol=SYMBOL, kind="trade", until="lifted")
        )
        await until("it stands still", lambda: len(standing) % 2 == 1)
        await asyncio.to_thread(double.lift, mute)
        await until("it goes on", lambda: len(standing) % 2 == 0)
        resumed = len(strategy.ids)
        await until("it acts again", lambda: len(strategy.ids) > resumed + 100)
        job.cancel()
        await asyncio.wait([job])

    assert job.cancelled(), job
    reasons = [line for line in told if line.startswith("standing still: stale data: spot:BTCUSDT:trade")]
    assert reasons and "are allowed" in reasons[0]
    # In pairs: where it began to stand still and where it went on, it had been given the same trades.
    assert standing[::2] == standing[1::2]
    assert strategy.ids == list(range(strategy.ids[0], strategy.ids[-1] + 1))
    ledger = await asyncio.to_thread(double.ledger, SYMBOL, "trade")
    assert set(strategy.ids) <= set(ledger)
    assert not any(line.startswith("beginning anew") for line in told)
