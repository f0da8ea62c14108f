"""Keep the candles up to the trades, every two seconds, and say how far behind they are.

Decides when, and what happens when it fails: nothing is kept here, what is to be done stands in the database,
and the next round does it. Where candles are continuous aggregates, jobs of the server keep them up, and are
only watched. The time for which the gap ledger speaks is kept up beside it.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeAlias

import structlog

from ingest.clock import Clock
from ingest.errors import StoreError
from ingest.store.candles import CandleLag, are_aggregates, candle_lag, refresh_candles
from ingest.store.coverage import keep_coverage

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

log = structlog.get_logger()

Session: TypeAlias = "Callable[[], AbstractAsyncContextManager[Connection]]"

_ROUND_S = 20.0
"""For so long a round goes on with history before it looks up."""


class CandleKeeper:
    """`run` goes on until it is cancelled."""

    def __init__(
        self,
        session: Session,
        *,
        clock: Clock,
        every_s: float = 2.0,
    ) -> None:
        self._session = session
        self._clock = clock
        self._every_s = every_s
        self._lag: CandleLag | None = None
        self._looked_s = 0.0
        self.failures = 0
        """Rounds in a row that failed."""

    @property
    def lag_s(self) -> float | None:
        """How long the oldest trades have waited that are in no candle yet; None before the first look.

        When nobody can look any more, it grows.
        """
        if self._lag is None:
            return None
        return self._lag.lag_s + (self._clock.monotonic_s() - self._looked_s if self.failures else 0.0)

    @property
    def backlog(self) -> int | None:
        """Pieces of history that are still to be rolled up; None before the first look."""
        return None if self._lag is None else self._lag.backlog

    async def run(self) -> None:
        """Keep up; what the database does not do now is tried again."""
        while True:
            await self.round()
            await asyncio.sleep(self._every_s)

    async def round(self) -> bool:
        """Do what is to be done, or a good part of it; whether it went well."""
        try:
            async with self._session() as connection:
                await keep_coverage(connection)
                if not await are_aggregates(connection):
                    await self._catch_up(connection)
                self._lag = await candle_lag(connection)
        except StoreError as error:
            self.failures += 1
            if self.failures == 1:
                log.warning("candles.not_refreshed", error=str(error))
            return False
        self._looked_s = self._clock.monotonic_s()
        if self.failures:
            log.info("candles.refreshed_again", missed=self.failures, backlog=self._lag.backlog)
        self.failures = 0
        return True

    async def _catch_up(self, connection: "Connection") -> None:
        until_s = self._clock.monotonic_s() + _ROUND_S
        while self._clock.monotonic_s() < until_s:
            done = await refresh_candles(connection)
            if done is None or not done.batches:
                return
