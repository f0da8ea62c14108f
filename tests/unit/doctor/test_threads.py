"""`ingest.doctor.threads`: what hangs is left to itself."""

import asyncio
from threading import Event

import pytest

from ingest.doctor.threads import in_daemon_thread


async def test_answer_and_error_come_back() -> None:
    """As if it had been called here."""
    assert await in_daemon_thread(lambda: 7) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await in_daemon_thread(lambda: int("seven"))


async def test_call_that_hangs_is_not_waited_for() -> None:
    """The deadline ends the wait; what it answers later nobody hears."""
    gate = Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await in_daemon_thread(gate.wait)
    gate.set()
