"""Second looks at live books: each is deepened when there is weight to spare, and some are audited.

Carries out what `ingest.book.depths` decides, one look after another, so that at most one book of a shard
waits for a snapshot that nobody needs in a hurry. Books that are missing go first: their snapshots are taken
off the room. A look that fails costs nothing but its weight; the book goes on as it was.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from ingest.binance.limits import depth_weight
from ingest.book.depths import DepthGoals, Look, next_audit, next_deepening
from ingest.clock import Clock
from ingest.errors import BudgetExhausted, ExchangeError
from ingest.events import DepthSnapshot
from ingest.shard.books import Books

log = structlog.get_logger()

_EVERY_S = 1.0


@dataclass(frozen=True)
class LookLimits:
    """How deep books shall be, and how often one is audited."""

    goals: DepthGoals
    audit_every_s: float


@dataclass(frozen=True)
class Told:
    """Called when a look begins (False: not now), and with what came of it."""

    look_again: Callable[[str], bool]
    on_snapshot: Callable[[DepthSnapshot], None]
    on_failed: Callable[[str], None]


class Looks:
    """`fetch(symbol, levels)` asks the exchange; `room()` is the weight that is to spare now.

    `told` is how the books learn of it.
    """

    def __init__(
        self,
        books: Books,
        fetch: Callable[[str, int], Awaitable[DepthSnapshot]],
        room: Callable[[], int],
        told: Told,
        *,
        clock: Clock,
        rng: random.Random,
        limits: LookLimits,
    ) -> None:
        self._books = books
        self._fetch = fetch
        self._room = room
        self._told = told
        self._clock = clock
        self._rng = rng
        self._limits = limits
        # Shards start together: they shall not audit together.
        self._audit_at_s = clock.monotonic_s() + rng.uniform(0.5, 1.0) * limits.audit_every_s

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            while (look := self._next()) is not None and await self._carry_out(look):
                pass

    def _next(self) -> Look | None:
        room = self._room()
        if room < depth_weight(1):
            return None
        books, goals, now_s = self._books.known(), self._limits.goals, self._clock.monotonic_s()
        if now_s >= self._audit_at_s:
            look = next_audit(books, goals, depth_weight, room=room, rng=self._rng)
            if look is not None:
                self._audit_at_s = now_s + self._limits.audit_every_s
                return look
        return next_deepening(books, goals, depth_weight, room=room, now_s=now_s)

    async def _carry_out(self, look: Look) -> bool:
        """Fetch and compare; False when the book is none any more."""
        if not self._told.look_again(look.symbol):
            return False
        try:
            snapshot = await self._fetch(look.symbol, look.levels)
        except (ExchangeError, BudgetExhausted) as error:
            log.info("look.failed", symbol=look.symbol, why=look.why, error=str(error))
            self._told.on_failed(look.symbol)
        else:
            self._told.on_snapshot(snapshot)
        return True
