"""The load generator's doors: websockets that readers subscribe on, and the HTTP that steers it all."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import orjson
from aiohttp import web

from tests.bench.laps import Strip
from tests.bench.pacer import Pacer
from tests.bench.peer import Peer, PlainPeer, TlsPeer
from tests.bench.rest import MarketRest, book_routes
from tests.bench.standing import Snapshot, Standing
from tests.bench.wire import CLOSE, PING, PONG, TEXT, client_frame, handshake_answer, server_frame

_CHUNK_BYTES: Final = 256 * 1024
_WARM_DEADLINE_S: Final = 120.0
_POLL_S: Final = 0.01

Frames = Sequence[tuple[str, bytes]]


class Tape(Protocol):
    """What is sent: see `load.Tape`."""

    symbols: list[str]
    first: list[tuple[str, bytes]]
    frames: list[tuple[str, bytes]]
    snapshots: Mapping[str, Snapshot]
    strip: Strip | None


class Exchange:
    """Serves websockets and the HTTP that steers them."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._peers: list[Peer] = []
        self._cpu_s = self._wall_s = 0.0
        self._go = asyncio.Event()
        self._pacer = Pacer(tape.strip, self._peers) if tape.strip is not None else None

    async def serve_sockets(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept readers until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                accepted, _ = await loop.sock_accept(listener)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                group.create_task(self._serve(accepted, tls))

    async def send_when_told(self) -> None:
        """Pour and pace until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pour_when_told())
            if self._pacer is not None:
                group.create_task(self._pacer.run())

    def http(self) -> web.Application:
        """The steering and REST."""
        app = web.Application()
        app.router.add_post("/load/warm", self._warm)
        app.router.add_post("/load/prepare", self._prepare)
        app.router.add_post("/load/go", self._start)
        app.router.add_get("/load/sent", self._sent)
        app.router.add_get("/load/subscribed", self._subscribed)
        tape, pacer = self._tape, self._pacer
        if pacer is None:
            app.router.add_routes(book_routes(tape.snapshots))
        else:
            app.router.add_post("/load/pace", self._pace)
            app.router.add_get("/load/state", self._state)
            app.router.add_get("/load/ledger", self._ledger)
            standing = Standing(pacer.strip, tape.snapshots)
            app.router.add_routes(MarketRest(tape.symbols, standing, lambda: pacer.number).routes())
        return app

    # ------------------------------------------------------------------ sockets

    async def _serve(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        # Whoever leaves in the middle of something has seen enough.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            peer = PlainPeer(accepted) if tls is None else await TlsPeer.shaken(accepted, tls)
            with contextlib.closing(peer):
                await _shake_hands(peer)
                self._peers.append(peer)
                try:
                    await self._listen(peer)
                finally:
                    self._peers.remove(peer)
                    self._lay_out_anew()

    async def _listen(self, peer: Peer) -> None:
        """Answer requests until the reader goes away."""
        received = bytearray()
        while more := await peer.receive():
            received += more
            while (frame := client_frame(received)) is not None:
                opcode, payload = frame
                if opcode == CLOSE:
                    peer.offer(server_frame(payload, CLOSE))
                    return
                if opcode == PING:
                    peer.offer(server_frame(payload, PONG))
                elif opcode == TEXT:
                    self._subscribe(peer, payload)

    def _subscribe(self, peer: Peer, payload: bytes) -> None:
        request = orjson.loads(payload)
        peer.offer(server_frame(orjson.dumps({"result": None, "id": request["id"]})))
        if request["method"] == "UNSUBSCRIBE":
            peer.streams.difference_update(request["params"])
        else:
            peer.streams.update(request["params"])
        self._lay_out_anew()

    def _lay_out_anew(self) -> None:
        if self._pacer is not None:
            self._pacer.lay_out_anew()

    def _lay_out(self, frames: Frames) -> dict[str, int]:
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

    async def _warm(self, request: web.Request) -> web.Response:
        async with asyncio.timeout(_WARM_DEADLINE_S):
            while self._count_subscribed() < len(self._tape.first):
                await asyncio.sleep(_POLL_S)
        self._lay_out(self._tape.first)
        self._go.set()
        return web.json_response({})

    def _count_subscribed(self) -> int:
        return sum(len(peer.streams) for peer in self._peers)

    async def _subscribed(self, request: web.Request) -> web.Response:
        return web.json_response({"there": self._count_subscribed(), "wanted": len(self._tape.first)})

    async def _prepare(self, request: web.Request) -> web.Response:
        counts = self._lay_out(self._tape.frames)
        return web.json_response({"frames": counts, "bytes": sum(len(p.outgoing) for p in self._peers)})

    async def _start(self, request: web.Request) -> web.Response:
        self._go.set()
        return web.json_response({})

    async def _sent(self, request: web.Request) -> web.Response:
        return web.json_response({"cpu_s": self._cpu_s, "wall_s": self._wall_s})

    async def _pace(self, request: web.Request) -> web.Response:
        assert self._pacer is not None
        self._pacer.pace(float((await request.json())["rate"]))
        return web.json_response(self._pacer.sent()._asdict())

    async def _state(self, request: web.Request) -> web.Response:
        assert self._pacer is not None
        return web.json_response(self._pacer.sent()._asdict())

    async def _ledger(self, request: web.Request) -> web.Response:
        assert self._pacer is not None
        strip, number = self._pacer.strip, self._pacer.number
        ledger = {
            name: (strip.happened(name, number), int(strip.first_id[at]), strip.last_id_at(name, number))
            for name, at in strip.streams.items()
        }
        return web.json_response(ledger)


async def _shake_hands(peer: Peer) -> None:
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        more = await peer.receive()
        if not more:
            raise ConnectionResetError
        request += more
    await peer.send_all(handshake_answer(request))


async def _pour(peer: Peer) -> None:
    outgoing, peer.outgoing = memoryview(peer.outgoing), bytearray()
    with contextlib.suppress(ConnectionError):
        for start in range(0, len(outgoing), _CHUNK_BYTES):
            await peer.send_all(outgoing[start : start + _CHUNK_BYTES])
