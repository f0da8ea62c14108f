"""Calls that may hang (name lookups, dead network file systems), where nobody has to wait for them.

A thread of `asyncio.to_thread` would be waited for at the end of the loop, however long it hangs.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from types import TracebackType
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


async def in_daemon_thread(call: Callable[[], Answer]) -> Answer:
    """What the call returns or raises. Cancelled, it leaves the thread to itself."""
    handing = _HandingOver[Answer](asyncio.get_running_loop())

    def run() -> None:
        with handing:
            handing.answer = call()

    Thread(target=run, name="doctor", daemon=True).start()
    return await handing.future


class _HandingOver(Generic[Answer]):
    """Around a call in its thread: how it ends is handed to the future that the loop waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[Answer] = loop.create_future()
        self.answer: Answer | None = None
        self._loop = loop

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, error)
        return True

    def _settle(self, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(self.answer)  # type: ignore[arg-type]  # what the call has returned
