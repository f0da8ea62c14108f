"""The rows without a shard: nothing but bytes, the floor, and receive + parse.

The floor is what the libraries cost by themselves: aiohttp receives each frame as the service can ask it to,
orjson decodes it, and that is all. `picows` is the same with the other library that the service can receive
by. `null` does not even look at the bytes: it shows what the generator can send. `parse` is the service's own
`Feed` with a sink that parses and forgets.
"""

import asyncio
import random
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal, NoReturn, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import orjson

from ingest.binance.parse import PARSERS, Ack, split_frame
from ingest.binance.streams import request_messages, wire_name
from ingest.clock import SystemClock
from ingest.events import StreamKey
from ingest.feed.budget_file import BudgetLimits, SharedBudget
from ingest.feed.connection import Feed
from ingest.feed.contract import FeedEnd, FeedLimits, FeedSession, Overlap, OverlapLimits
from ingest.feed.dialling import open_dial
from ingest.feed.socket import Dial
from ingest.shard.plan import FeedPlan
from tests.bench.measure import Measure, RowJob, Span, Stopwatch
from tests.bench.steering import Prepared, Steering
from tests.bench.wire import server_frame

DEADLINE_S = 120.0
_NULL_CHUNK_BYTES = 1024 * 1024
_HOST = "127.0.0.1"
_MOST_A_SECOND = 10_000_000.0
_LOOK_S = 0.05

Socket: TypeAlias = "aiohttp.ClientWebSocketResponse[Literal[False]]"


def subscriptions(plan: FeedPlan) -> dict[int, str]:
    """The SUBSCRIBE messages of a feed by request id."""
    return request_messages("SUBSCRIBE", map(_wire, plan.streams), 1)


def _wire(key: StreamKey) -> str:
    return wire_name(key.symbol, key.kind)


def _frames_of(plan: FeedPlan, prepared: Prepared) -> int:
    return sum(prepared.frames.get(_wire(key), 0) for key in plan.streams)


async def measure_floor(job: RowJob, steering: Steering) -> Measure:
    """Receive and decode, by the bare libraries."""
    plans = job.plan().feeds
    sockets = [await _subscribed(job, steering, plan) for plan in plans]
    await steering.warm()
    for opened, plan in zip(sockets, plans, strict=True):
        await _decode(opened, len(plan.streams))
    prepared = await steering.prepare()
    async with asyncio.timeout(DEADLINE_S):
        watch = Stopwatch()
        await steering.go()
        async with asyncio.TaskGroup() as group:
            for opened, plan in zip(sockets, plans, strict=True):
                group.create_task(_decode(opened, _frames_of(plan, prepared)))
        span = watch.stop()
    for opened in sockets:
        await opened.close()
    return await _measure(job, steering, prepared, span)


async def _subscribed(job: RowJob, steering: Steering, plan: FeedPlan) -> Socket:
    """Connect as `Feed` does, subscribe, and take the acknowledgements."""
    opened = await steering.http.ws_connect(
        f"{job.ws_url}/stream", autoping=False, autoclose=False, max_msg_size=16 * 2**20, decode_text=False
    )
    messages = subscriptions(plan)
    for message in messages.values():
        await opened.send_str(message)
    await _decode(opened, len(messages))
    return opened


class _Decoder:
    """Told what a socket of the service receives: decodes it, and forgets it."""

    def __init__(self) -> None:
        self._left = 0
        self._done = asyncio.Event()

    async def take(self, frames: int) -> None:
        """Wait for so many more."""
        self._left += frames
        if self._left > 0:
            self._done.clear()
            await self._done.wait()

    def on_frame(self, data: bytes, recv_ns: int) -> None:
        orjson.loads(data)
        self._left -= 1
        if not self._left:
            self._done.set()

    async def on_ping(self, payload: bytes, recv_ns: int) -> None:
        """The generator sends none."""

    def on_pong(self, payload: bytes, recv_ns: int) -> None:
        """None was sent."""


async def measure_picows(job: RowJob, steering: Steering) -> Measure:
    """The floor, received by the service's own sockets."""
    plans = job.plan().feeds
    decoders = [_Decoder() for _ in plans]
    async with AsyncExitStack() as stack:
        dial = await stack.enter_async_context(open_dial("picows", SystemClock().wall_ns))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        readers = [await _decoding(job, dial, group, *pair) for pair in zip(plans, decoders, strict=True)]
        await steering.warm()
        for decoder, plan in zip(decoders, plans, strict=True):
            await decoder.take(len(plan.streams))
        prepared = await steering.prepare()
        async with asyncio.timeout(DEADLINE_S):
            watch = Stopwatch()
            await steering.go()
            for decoder, plan in zip(decoders, plans, strict=True):
                await decoder.take(_frames_of(plan, prepared))
            span = watch.stop()
        for reader in readers:
            reader.cancel()
    return await _measure(job, steering, prepared, span)


async def _decoding(
    job: RowJob, dial: Dial, group: asyncio.TaskGroup, plan: FeedPlan, decoder: _Decoder
) -> asyncio.Task[NoReturn]:
    """Connect and subscribe; the acknowledgements are taken."""
    opened = await dial(f"{job.ws_url}/stream", FeedLimits())
    reader = group.create_task(opened.receive_into(decoder))
    messages = subscriptions(plan)
    for message in messages.values():
        await opened.send(message)
    await decoder.take(len(messages))
    return reader


async def _decode(opened: Socket, frames: int) -> None:
    receive, loads = opened.receive, orjson.loads
    for _ in range(frames):
        loads((await receive()).data)


class ParsingSink:
    """Parses every message and keeps nothing."""

    def __init__(self, plan: FeedPlan) -> None:
        self.left = len(plan.streams)
        self.done = asyncio.Event()
        self.feed: Feed | None = None
        self._parsers = {_wire(key): PARSERS[key.kind] for key in plan.streams}

    def expect(self, messages: int) -> None:
        """Set `done` after so many."""
        self.left = messages
        self.done.clear()
        if not messages:
            self.done.set()

    def on_frame(self, data: bytes, recv_ns: int) -> None:
        item = split_frame(data)
        if type(item) is tuple:
            name, message = item
            self._parsers[name](message, recv_ns)
            self.left -= 1
            if not self.left:
                self.done.set()
        elif isinstance(item, Ack) and isinstance(item.request_id, int) and self.feed is not None:
            self.feed.acknowledged(item.request_id)

    def overlap(self, limits: OverlapLimits) -> Overlap:
        """No measurement lasts so long that a connection is replaced."""
        raise NotImplementedError

    def on_connected(self, session: FeedSession) -> None:
        """Nothing depends on it."""

    def on_disconnected(self, session: FeedSession, end: FeedEnd) -> None:
        """A lost connection would spoil the measurement; its frames will be missed."""


async def measure_parse(job: RowJob, steering: Steering) -> Measure:
    """Receive by the service's feeds, and parse."""
    clock, rng = SystemClock(), random.Random(1)
    budget = SharedBudget(Path(job.data_dir) / "bench.budget", BudgetLimits(), clock=clock, rng=rng)
    plans = job.plan().feeds
    sinks = [ParsingSink(plan) for plan in plans]
    async with AsyncExitStack() as stack:
        stack.callback(budget.close)
        dial = await stack.enter_async_context(open_dial("aiohttp", clock.wall_ns))
        feeds = []
        for plan, sink in zip(plans, sinks, strict=True):
            sink.feed = Feed(
                plan.feed,
                f"{job.ws_url}/stream",
                [_wire(key) for key in plan.streams],
                write=request_messages,
                sink=sink,
                dial=dial,
                budget=budget,
                clock=clock,
                rng=rng,
                limits=FeedLimits(),
            )
            feeds.append(sink.feed)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(feed.run()) for feed in feeds]
            prepared, span = await _timed_parse(job, steering, sinks)
            for task in tasks:
                task.cancel()
    return await _measure(job, steering, prepared, span)


async def _timed_parse(job: RowJob, steering: Steering, sinks: list[ParsingSink]) -> tuple[Prepared, Span]:
    async with asyncio.timeout(DEADLINE_S):
        await steering.warm()
        for sink in sinks:
            await sink.done.wait()
        prepared = await steering.prepare()
        for sink, plan in zip(sinks, job.plan().feeds, strict=True):
            sink.expect(_frames_of(plan, prepared))
        watch = Stopwatch()
        await steering.go()
        for sink in sinks:
            await sink.done.wait()
        return prepared, watch.stop()


async def measure_null(job: RowJob, steering: Steering) -> Measure:
    """Read the bytes into a buffer and look at none of them."""
    plans = job.plan().feeds
    sockets = [await _null_socket(job, plan) for plan in plans]
    await steering.warm()
    async with asyncio.timeout(DEADLINE_S):
        await _swallow_quiet(sockets)
        prepared = await steering.prepare()
        watch = Stopwatch()
        await steering.go()
        await _swallow(sockets, prepared.wire_bytes)
        span = watch.stop()
    for opened in sockets:
        opened.close()
    return await _measure(job, steering, prepared, span)


def _port(job: RowJob) -> int:
    return urlsplit(job.ws_url).port or 0


async def measure_paced(job: RowJob, steering: Steering) -> Measure:
    """What a paced generator can send at most, to a reader that looks at nothing."""
    sockets = [await _null_socket(job, plan) for plan in job.plan().feeds]
    await _swallow_quiet(sockets)
    async with asyncio.timeout(DEADLINE_S):
        async with asyncio.TaskGroup() as group:
            swallowing = group.create_task(_swallow(sockets, sys.maxsize))
            await steering.pace(_MOST_A_SECOND)
            while not (before := await steering.state()).laid_out:
                await asyncio.sleep(_LOOK_S)
            watch, after = Stopwatch(), before
            while after.number - before.number < job.messages:
                await asyncio.sleep(_LOOK_S)
                after = await steering.state()
            span = watch.stop()
            await steering.pace(0)
            swallowing.cancel()
    for opened in sockets:
        opened.close()
    return Measure(
        row=job.row,
        course=job.course,
        round=job.round,
        streams=job.streams,
        messages=after.number - before.number,
        received_bytes=0,
        cpu_s=span.cpu_s,
        wall_s=span.wall_s,
        sender_cpu_s=after.cpu_s - before.cpu_s,
    )


async def _null_socket(job: RowJob, plan: FeedPlan) -> socket.socket:
    loop = asyncio.get_running_loop()
    opened = socket.socket()
    opened.setblocking(False)
    await loop.sock_connect(opened, (_HOST, _port(job)))
    request = b"GET /stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\n\r\n"
    await loop.sock_sendall(opened, request)
    await loop.sock_recv(opened, 4096)
    for message in subscriptions(plan).values():
        await loop.sock_sendall(opened, _masked(message.encode()))
    return opened


def _masked(payload: bytes) -> bytes:
    """A client's frame: masked, by zero."""
    frame = server_frame(payload)
    head = len(frame) - len(payload)
    return frame[:1] + bytes((frame[1] | 0x80,)) + frame[2:head] + bytes(4) + payload


async def _swallow_quiet(sockets: list[socket.socket]) -> None:
    """Read until nothing has come for a while: handshakes, acknowledgements and first frames."""
    quiet = False
    while not quiet:
        await asyncio.sleep(0.2)
        quiet = not sum([_read_now(opened) for opened in sockets])


def _read_now(opened: socket.socket) -> int:
    taken = 0
    try:
        while more := opened.recv(_NULL_CHUNK_BYTES):
            taken += len(more)
    except BlockingIOError:
        pass
    return taken


async def _swallow(sockets: list[socket.socket], wire_bytes: int) -> None:
    loop = asyncio.get_running_loop()
    left, done = wire_bytes, asyncio.Event()
    buffer = bytearray(_NULL_CHUNK_BYTES)

    def on_readable(opened: socket.socket) -> None:
        nonlocal left
        left -= opened.recv_into(buffer)
        if left <= 0:
            done.set()

    for opened in sockets:
        loop.add_reader(opened, on_readable, opened)
    try:
        await done.wait()
    finally:
        for opened in sockets:
            loop.remove_reader(opened)


async def _measure(job: RowJob, steering: Steering, prepared: Prepared, span: Span) -> Measure:
    return Measure(
        row=job.row,
        course=job.course,
        round=job.round,
        streams=job.streams,
        messages=prepared.messages,
        received_bytes=prepared.wire_bytes,
        cpu_s=span.cpu_s,
        wall_s=span.wall_s,
        sender_cpu_s=await steering.sender_cpu_s(),
    )
