"""Asking an absent database again."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import RowsRefused, StoreUnavailable
from ingest.store.retrying import RetryPolicy, until_available

POLICY = RetryPolicy(first_s=0.1, cap_s=5.0)


@given(attempt=st.integers(1, 10**9), seed=st.integers())
def test_wait_grows_with_jitter_up_to_its_cap(attempt: int, seed: int) -> None:
    """Every wait lies between half and the whole of the doubled step, and below the cap."""
    longest = min(5.0, 0.1 * 2 ** min(attempt - 1, 30))

    assert longest / 2 <= POLICY.wait_s(attempt, random.Random(seed)) <= longest


@pytest.mark.virtual_time
async def test_operation_is_repeated_until_it_succeeds() -> None:
    """An operation that finds no database is tried again; each failure is told, the answer returned."""
    answers: list[Exception | str] = [StoreUnavailable("1"), StoreUnavailable("2"), "done"]
    told: list[str] = []

    async def operation() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    result = await until_available(
        operation, policy=POLICY, rng=random.Random(1), on_retry=lambda error: told.append(str(error))
    )

    assert (result, told) == ("done", ["1", "2"])
    assert asyncio.get_running_loop().time() > 0.1


@pytest.mark.virtual_time
async def test_other_failures_are_not_repeated() -> None:
    """What repeating cannot change is raised at once, as it is."""

    async def operation() -> None:
        raise RowsRefused("bad row")

    with pytest.raises(RowsRefused, match="bad row"):
        await until_available(
            operation, policy=POLICY, rng=random.Random(1), on_retry=lambda _: pytest.fail("told")
        )
