"""The load generator: a process that has made all its frames before anybody's time is taken.

    python -m tests.bench.load '{"messages": 1000, ...}'

It prints one JSON line with its ports when the frames are ready, and ends when its standard input does.
What a frame costs it while it is measured against is its share of a `send` of 256 KiB, which is far less
than any reader spends; the row `null` shows how fast it is.

One measurement goes through it like this: the reader connects as many sockets as it likes and sends
SUBSCRIBE on each; `warm` waits for all streams and sends one frame on each; `prepare` lays the frames out
by socket and says how many there are per stream; `go` sends them all; `sent` says what that cost. REST
`depth` answers with the book that the first frames belong to.
"""

import asyncio
import contextlib
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

import orjson
import uvloop
from aiohttp import web

from tests.bench.mix import MIX, Market, symbol_names
from tests.bench.wire import CLOSE, TEXT, client_frame, handshake_answer, server_frame

_CHUNK_BYTES: Final = 256 * 1024
_WARM_DEADLINE_S: Final = 60.0
_POLL_S: Final = 0.01


@dataclass(frozen=True)
class LoadJob:
    """What is to be sent."""

    messages: int
    symbols: int = 200
    seed: int = 1
    mix: Mapping[str, int] = field(default_factory=lambda: dict(MIX))


class Tape:
    """All frames, ready for the wire, and the books that they change."""

    def __init__(self, job: LoadJob, *, start_ms: int) -> None:
        market = Market(symbol_names(job.symbols), seed=job.seed, start_ms=start_ms)
        self.first = [(f.stream, server_frame(f.payload)) for f in market.first_of_each(tuple(job.mix))]
        self.snapshots = {name: orjson.dumps(book) for name, book in market.snapshots().items()}
        self.frames = [(f.stream, server_frame(f.payload)) for f in market.frames(job.messages, job.mix)]


@dataclass
class _Peer:
    """One reader's socket."""

    socket: socket.socket
    streams: set[str] = field(default_factory=set)
    outgoing: bytearray = field(default_factory=bytearray)


class Exchange:
    """Serves websockets and the HTTP that steers them."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._peers: list[_Peer] = []
        self._cpu_s = self._wall_s = 0.0
        self._go = asyncio.Event()

    async def serve_sockets(self, listener: socket.socket) -> None:
        """Accept readers until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pour_when_told())
            while True:
                accepted, _ = await loop.sock_accept(listener)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                group.create_task(self._serve(accepted))

    def http(self) -> web.Application:
        """The steering and REST."""
        app = web.Application()
        app.router.add_get("/api/v3/depth", self._depth)
        app.router.add_post("/load/warm", self._warm)
        app.router.add_post("/load/prepare", self._prepare)
        app.router.add_post("/load/go", self._start)
        app.router.add_get("/load/sent", self._sent)
        return app

    # ------------------------------------------------------------------ sockets

    async def _serve(self, accepted: socket.socket) -> None:
        peer = _Peer(accepted)
        with accepted, contextlib.suppress(ConnectionError):
            await self._shake_hands(accepted)
            self._peers.append(peer)
            try:
                await self._listen(peer)
            finally:
                self._peers.remove(peer)

    async def _shake_hands(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            more = await loop.sock_recv(accepted, 4096)
            if not more:
                raise ConnectionResetError
            request += more
        await loop.sock_sendall(accepted, handshake_answer(request))

    async def _listen(self, peer: _Peer) -> None:
        """Answer SUBSCRIBE until the reader goes away."""
        loop = asyncio.get_running_loop()
        received = bytearray()
        while more := await loop.sock_recv(peer.socket, 65_536):
            received += more
            while (frame := client_frame(received)) is not None:
                opcode, payload = frame
                if opcode == CLOSE:
                    await loop.sock_sendall(peer.socket, server_frame(payload, CLOSE))
                    return
                if opcode == TEXT:
                    await self._subscribe(peer, payload)

    async def _subscribe(self, peer: _Peer, payload: bytes) -> None:
        request = orjson.loads(payload)
        answer = server_frame(orjson.dumps({"result": None, "id": request["id"]}))
        await asyncio.get_running_loop().sock_sendall(peer.socket, answer)
        peer.streams.update(request["params"])

    def _lay_out(self, frames: list[tuple[str, bytes]]) -> dict[str, int]:
        """Append each frame to what its reader gets; the number of frames by stream."""
        outgoing = {stream: peer.outgoing for peer in self._peers for stream in peer.streams}
        for stream, frame in frames:
            outgoing[stream] += frame
        return Counter(stream for stream, _ in frames)

    async def _pour_when_told(self) -> None:
        while True:
            await self._go.wait()
            self._go.clear()
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for peer in self._peers:
                    group.create_task(_pour(peer))
            self._cpu_s, self._wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s

    # ------------------------------------------------------------------ HTTP

    async def _depth(self, request: web.Request) -> web.Response:
        body = self._tape.snapshots[request.query["symbol"]]
        return web.Response(body=body, content_type="application/json")

    async def _warm(self, request: web.Request) -> web.Response:
        async with asyncio.timeout(_WARM_DEADLINE_S):
            while sum(len(peer.streams) for peer in self._peers) < len(self._tape.first):
                await asyncio.sleep(_POLL_S)
        self._lay_out(self._tape.first)
        self._go.set()
        return web.json_response({})

    async def _prepare(self, request: web.Request) -> web.Response:
        counts = self._lay_out(self._tape.frames)
        return web.json_response({"frames": counts, "bytes": sum(len(p.outgoing) for p in self._peers)})

    async def _start(self, request: web.Request) -> web.Response:
        self._go.set()
        return web.json_response({})

    async def _sent(self, request: web.Request) -> web.Response:
        return web.json_response({"cpu_s": self._cpu_s, "wall_s": self._wall_s})


async def _pour(peer: _Peer) -> None:
    loop = asyncio.get_running_loop()
    outgoing, peer.outgoing = memoryview(peer.outgoing), bytearray()
    with contextlib.suppress(ConnectionError):
        for start in range(0, len(outgoing), _CHUNK_BYTES):
            await loop.sock_sendall(peer.socket, outgoing[start : start + _CHUNK_BYTES])


def _listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener.setblocking(False)
    return listener


async def _serve_until_stdin_ends(exchange: Exchange) -> None:
    listener, http_listener = _listener(), _listener()
    runner = web.AppRunner(exchange.http())
    await runner.setup()
    await web.SockSite(runner, http_listener).start()
    ports = {"ws": listener.getsockname()[1], "rest": http_listener.getsockname()[1]}
    sys.stdout.write(orjson.dumps(ports).decode() + "\n")
    sys.stdout.flush()
    with listener:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(exchange.serve_sockets(listener))
            await asyncio.to_thread(sys.stdin.read)
            serving.cancel()
    await runner.cleanup()


def main() -> None:
    """Make the frames of the job in the first argument, and serve them."""
    job = LoadJob(**orjson.loads(sys.argv[1]))
    tape = Tape(job, start_ms=time.time_ns() // 1_000_000)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_stdin_ends(Exchange(tape)))


def job_text(job: LoadJob) -> str:
    """The argument that starts a generator for this job."""
    return orjson.dumps(asdict(job)).decode()


if __name__ == "__main__":
    main()
