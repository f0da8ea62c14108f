"""The loop that keeps candles up, with a database that answers, fails, and answers again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ingest.clock import SystemClock
from ingest.errors import SchemaMismatch, StoreError, StoreUnavailable
from ingest.store.postgres import PostgresSink
from ingest.supervisor.candles import CandleKeeper
from tests.rows import a_batch, trade_rows

if TYPE_CHECKING:
    from ingest.store.sessions import Connection


class SetClock(SystemClock):
    """Stands still until it is set."""

    now_s = 1_000.0

    def monotonic_s(self) -> float:
        return self.now_s


class Sessions:
    """Those of a sink, or an error."""

    def __init__(self, sink: PostgresSink) -> None:
        self._sink = sink
        self.error: StoreError | None = None

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator["Connection"]:
        if self.error is not None:
            raise self.error
        async with self._sink.session() as connection:
            yield connection


@pytest.fixture
async def sink(migrated_url: str) -> AsyncIterator[PostgresSink]:
    """A sink on a database that knows one symbol."""
    async with PostgresSink.opened(migrated_url) as opened:
        async with opened.session() as connection:
            await connection.execute(
                "INSERT INTO ops.instruments (symbol_id, market, symbol, status, base_asset, quote_asset)"
                " OVERRIDING SYSTEM VALUE VALUES (7, 'spot', 'BTCUSDT', 'TRADING', 'BTC', 'USDT')"
            )
        yield opened


async def candles(sink: PostgresSink) -> int:
    async with sink.session() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM spot.candles_1d")
    return count


async def test_round_brings_candles_up_to_the_trades(sink: PostgresSink) -> None:
    """However many batches wait."""
    keeper = CandleKeeper(sink.session, clock=SystemClock())
    for first in range(0, 1_500, 10):
        await sink.write(a_batch(trade_rows(range(first, first + 10))))

    assert await keeper.round()
    assert await candles(sink) == 1
    assert (keeper.lag_s, keeper.backlog) == (0.0, 0)


@pytest.mark.parametrize("error", [StoreUnavailable("gone"), SchemaMismatch("a table is missing")])
async def test_failures_are_waited_out_and_the_lag_grows(sink: PostgresSink, error: StoreError) -> None:
    """Nothing of the service ends for it; whatever was written meanwhile is made up for."""
    sessions, clock = Sessions(sink), SetClock()
    keeper = CandleKeeper(sessions, clock=clock)
    await keeper.round()
    sessions.error = error
    for failures in (1, 2):
        clock.now_s += 30
        assert not await keeper.round()
        assert keeper.failures == failures
        assert keeper.lag_s == pytest.approx(30 * failures)
    await sink.write(a_batch(trade_rows(range(5))))
    sessions.error = None

    assert await keeper.round()
    assert (keeper.failures, keeper.lag_s, await candles(sink)) == (0, 0.0, 1)


async def test_it_runs_until_it_is_cancelled(sink: PostgresSink) -> None:
    """Round after round."""
    keeper = CandleKeeper(sink.session, clock=SystemClock(), every_s=0.01)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        running = group.create_task(keeper.run())
        await sink.write(a_batch(trade_rows(range(5))))
        while await candles(sink) == 0:
            await asyncio.sleep(0.01)
        running.cancel()
