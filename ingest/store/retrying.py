"""How a database that cannot be asked now is asked again: for ever, with jitter, ever more slowly.

Retries `StoreUnavailable` and nothing else. What waits meanwhile is bounded elsewhere (`buffer.batcher`,
`store.journal`); the end comes by cancellation.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from ingest.errors import StoreUnavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The n-th wait lies between half of and the whole of `first_s * 2**n`, but not above `cap_s`."""

    first_s: float = 0.05
    cap_s: float = 5.0

    def wait_s(self, attempt: int, rng: random.Random) -> float:
        """How long to wait after the given attempt, counted from 1."""
        longest = min(self.cap_s, self.first_s * 2.0 ** min(attempt - 1, 30))
        return longest * rng.uniform(0.5, 1.0)


async def until_available(
    operation: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    rng: random.Random,
    on_retry: Callable[[BaseException], None],
) -> T:
    """Await the operation's result, however often it takes; `on_retry` hears of each failure first."""

    def told(state: RetryCallState) -> None:
        if state.outcome is not None and (error := state.outcome.exception()) is not None:
            on_retry(error)

    attempts = AsyncRetrying(
        retry=retry_if_exception_type(StoreUnavailable),
        wait=lambda state: policy.wait_s(state.attempt_number, rng),
        before_sleep=told,
        sleep=asyncio.sleep,
        reraise=True,
    )
    async for attempt in attempts:
        with attempt:
            return await operation()
    raise AssertionError("tries for ever")  # pragma: no cover
