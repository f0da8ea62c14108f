"""Open pages and what they are sent: pictures, made once for all of them, only while somebody listens.

Decides who may listen and when the next picture is due; what is on it is made in `picture`. There is no task
here: whoever listens first after a picture has grown old makes the next one, and a failure in it is that
listener's, never the service's.

    listeners   at most `seats`; one more is refused (`LiveDesk.seat` raises NoSeat), which is told to it
    queue       one picture for all: the newest replaces what waits. A listener that was away for longer than
                one picture gets the newest one as a whole
    deadline    `write_s` for each write; whoever takes longer is cut off
    buffers     of a listener's socket are kept small, so that what it gets is of now
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web

from ingest.clock import Clock
from ingest.ops.page_history import SAMPLE_EVERY_S, History
from ingest.ops.picture import Known, make_picture
from ingest.ops.picture_events import Frame, end_event
from ingest.supervisor.freshness import ServiceFacts

log = structlog.get_logger()

_SEND_BUFFER_BYTES = 131_072


class NoSeat(Exception):
    """As many pages are open as may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLimits:
    """Times in seconds."""

    seats: int = 16
    every_s: float = 1.0
    write_s: float = 10.0


class LiveDesk:
    """`known` gives what a picture is made of, `version` names the page's files."""

    def __init__(
        self,
        known: Callable[[], Known],
        history: History,
        *,
        version: str,
        clock: Clock,
        limits: LiveLimits | None = None,
    ) -> None:
        self.limits = limits or LiveLimits()
        self.listeners = 0
        self.closing = asyncio.Event()
        self._known = known
        self._history = history
        self._version = version
        self._clock = clock
        self._frame: Frame | None = None
        self._taken = 0
        self._due_s = 0.0

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Listen for as long as the block lasts. NoSeat when all seats are taken."""
        if self.listeners >= self.limits.seats:
            raise NoSeat
        self.listeners += 1
        try:
            yield
        finally:
            self.listeners -= 1

    async def newer_than(self, number: int) -> Frame | None:
        """The newest picture as soon as it is another than `number`; None when the service stops."""
        while not self.closing.is_set():
            now_s = self._clock.monotonic_s()
            if self._frame is None or now_s >= self._due_s:
                return self._make()
            if self._frame.number != number:
                return self._frame
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._due_s - now_s):
                    await self.closing.wait()
        return None

    def _make(self) -> Frame:
        before = self._frame.picture if self._frame is not None else None
        picture = make_picture(self._known(), number=before.number + 1 if before is not None else 1)
        self._frame = Frame(
            picture=picture,
            before=before,
            samples=tuple(self._history.samples),
            new_samples=len(self._history.since(self._taken)),
            version=self._version,
        )
        self._taken = self._history.taken
        # From when it is made: pictures that take long must not follow one another without a pause.
        self._due_s = self._clock.monotonic_s() + self.limits.every_s
        return self._frame


async def serve_listener(desk: LiveDesk, request: web.Request) -> web.StreamResponse:
    """Send pictures to one page until it goes away, is too slow, or the service stops. Raises NoSeat."""
    with desk.seat():
        # Before anything is promised, so that a failure in it is told as one.
        frame = await desk.newer_than(0)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        _keep_buffers_small(request)
        try:
            await _send_pictures(desk, response, frame)
        except TimeoutError:
            log.warning("page.listener_cut_off", remote=request.remote, after_s=desk.limits.write_s)
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            log.debug("page.listener_gone", remote=request.remote)
    return response


async def _send_pictures(desk: LiveDesk, response: web.StreamResponse, frame: Frame | None) -> None:
    number = 0
    while frame is not None:
        await _write(desk, response, frame.for_whoever_has(number))
        number = frame.number
        frame = await desk.newer_than(number)
    await _write(desk, response, end_event())


async def _write(desk: LiveDesk, response: web.StreamResponse, event: bytes) -> None:
    async with asyncio.timeout(desk.limits.write_s):
        await response.write(event)


def _keep_buffers_small(request: web.Request) -> None:
    """Let writes wait for the kernel early, and the kernel have little: what waits there grows old."""
    transport = request.transport
    if transport is None:
        return
    transport.set_write_buffer_limits(high=0)
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)


async def keep_history(history: History, facts: Callable[[], ServiceFacts]) -> None:
    """Take a sample every few seconds, until cancelled."""
    while True:
        history.add(facts())
        await asyncio.sleep(SAMPLE_EVERY_S)
