"""The load for any client: frames made beforehand, on the exchange's paths, and the REST that clients ask.

    python -m tests.bench.peers.front '{"messages": 1000, ...}'

It prints one JSON line with its ports when the frames are ready, and ends when its standard input does. One
client at a time: it subscribes, by its URL or by SUBSCRIBE; `warm` waits for all streams and lays out one
frame on each; `prepare` lays out the next frames; `go` sends them; `sent` says whether they have left.
Frames are those of the generator (`tests.bench.load`) for the same seed; REST `depth` has the books before
them. A client's pings are answered between two chunks of frames, as soon as it reads that far.
"""

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

import orjson
import uvloop
from aiohttp import web

from tests.bench.mix import MIX, Frame, Market, symbol_names
from tests.bench.peers.forms import Form, path_streams, wanted
from tests.bench.wire import CLOSE, TEXT, client_frame, handshake_answer, server_frame

_PING: Final = 9
_PONG: Final = 10
_CHUNK_BYTES: Final = 64 * 1024
_WARM_DEADLINE_S: Final = 60.0
_POLL_S: Final = 0.01


@dataclass(frozen=True)
class FrontJob:
    """What is to be sent, at the most."""

    messages: int
    symbols: int = 50
    seed: int = 1
    mix: Mapping[str, int] = field(default_factory=lambda: dict(MIX))

    def text(self) -> str:
        """The argument that starts a front for this job."""
        return orjson.dumps(asdict(self)).decode()


class Tape:
    """All frames, and the books under them."""

    def __init__(self, job: FrontJob, *, start_ms: int) -> None:
        self.symbols = symbol_names(job.symbols)
        market = Market(self.symbols, seed=job.seed, start_ms=start_ms)
        self.first = list(market.first_of_each(tuple(job.mix)))
        self.snapshots = {name: orjson.dumps(book) for name, book in market.snapshots().items()}
        self.frames = list(market.frames(job.messages, job.mix))


class Client:
    """One socket: what it has subscribed to, and the chunks it is to get, each of whole frames."""

    def __init__(self, accepted: socket.socket, *, combined: bool) -> None:
        self.socket = accepted
        self.forms: dict[str, Form] = {}
        self.chunks: list[bytearray] = []
        self._combined = combined
        self._sending = asyncio.Lock()

    def subscribe(self, names: Iterable[str]) -> None:
        """By the names that the client uses."""
        for name in names:
            stream, form = wanted(name, combined=self._combined)
            self.forms[stream] = form

    def lay_out(self, frame: Frame) -> None:
        """Append the frame in this client's form."""
        if not self.chunks or len(self.chunks[-1]) >= _CHUNK_BYTES:
            self.chunks.append(bytearray())
        self.chunks[-1] += server_frame(self.forms[frame.stream](frame.payload))

    async def send(self, data: bytes | bytearray) -> None:
        """Whole frames only: others may send between two calls."""
        async with self._sending:
            await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def pour(self) -> None:
        """Send what is laid out; nothing when the client has gone."""
        with contextlib.suppress(ConnectionError):
            for chunk in self.chunks:
                await self.send(chunk)
        self.chunks = []


class Front:
    """Serves websockets, REST, and the steering."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._clients: list[Client] = []
        self._position = 0
        self._go = asyncio.Event()
        self._is_sent = True

    async def serve_sockets(self, listener: socket.socket) -> None:
        """Accept clients until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pour_when_told())
            while True:
                accepted, _ = await loop.sock_accept(listener)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                group.create_task(self._serve(accepted))

    def http(self) -> web.Application:
        """REST and the steering."""
        app = web.Application()
        app.router.add_get("/api/v3/ping", self._ping)
        app.router.add_get("/api/v3/time", self._time)
        app.router.add_get("/api/v3/exchangeInfo", self._exchange_info)
        app.router.add_get("/api/v3/depth", self._depth)
        app.router.add_post("/load/warm", self._warm)
        app.router.add_post("/load/prepare", self._prepare)
        app.router.add_post("/load/go", self._start)
        app.router.add_get("/load/sent", self._sent)
        return app

    # ------------------------------------------------------------------ sockets

    async def _serve(self, accepted: socket.socket) -> None:
        with accepted, contextlib.suppress(ConnectionError):
            client = await _shaken(accepted)
            self._clients.append(client)
            try:
                await self._listen(client)
            finally:
                self._clients.remove(client)

    async def _listen(self, client: Client) -> None:
        """Answer SUBSCRIBE and pings until the client goes away."""
        loop = asyncio.get_running_loop()
        received = bytearray()
        while more := await loop.sock_recv(client.socket, 65_536):
            received += more
            while (frame := client_frame(received)) is not None:
                opcode, payload = frame
                if opcode == CLOSE:
                    await client.send(server_frame(payload, CLOSE))
                    return
                if opcode == _PING:
                    await client.send(server_frame(payload, _PONG))
                if opcode == TEXT:
                    await _answer(client, payload)

    async def _pour_when_told(self) -> None:
        while True:
            await self._go.wait()
            self._go.clear()
            async with asyncio.TaskGroup() as group:
                for client in self._clients:
                    group.create_task(client.pour())
            self._is_sent = True

    def _lay_out(self, frames: Iterable[Frame]) -> int:
        """For every client that has the stream; how many frames go out."""
        count = 0
        for frame in frames:
            for client in self._clients:
                if frame.stream in client.forms:
                    client.lay_out(frame)
                    count += 1
        return count

    def _subscribed(self) -> set[str]:
        return {stream for client in self._clients for stream in client.forms}

    # ------------------------------------------------------------------ REST

    async def _ping(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _time(self, request: web.Request) -> web.Response:
        return web.json_response({"serverTime": time.time_ns() // 1_000_000})

    async def _exchange_info(self, request: web.Request) -> web.Response:
        rows = [listing(name) for name in self._tape.symbols]
        return web.json_response(
            {"timezone": "UTC", "rateLimits": [], "exchangeFilters": [], "symbols": rows}
        )

    async def _depth(self, request: web.Request) -> web.Response:
        body = self._tape.snapshots[request.query["symbol"]]
        return web.Response(body=body, content_type="application/json")

    # ------------------------------------------------------------------ steering

    async def _warm(self, request: web.Request) -> web.Response:
        """Anew from the first frame; 409 with what is missing when not all streams are subscribed to."""
        self._position = 0
        streams = {frame.stream for frame in self._tape.first}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(request.query.get("deadline_s", _WARM_DEADLINE_S))):
                while streams - self._subscribed():
                    await asyncio.sleep(_POLL_S)
        missing = len(streams - self._subscribed())
        if missing:
            return web.json_response({"missing": missing, "of": len(streams)}, status=409)
        return self._laid_out(self._tape.first)

    async def _prepare(self, request: web.Request) -> web.Response:
        start = self._position
        self._position += int(request.query["messages"])
        return self._laid_out(self._tape.frames[start : self._position])

    def _laid_out(self, frames: list[Frame]) -> web.Response:
        return web.json_response({"messages": self._lay_out(frames)})

    async def _start(self, request: web.Request) -> web.Response:
        self._is_sent = False
        self._go.set()
        return web.json_response({})

    async def _sent(self, request: web.Request) -> web.Response:
        return web.json_response({"sent": self._is_sent})


async def _shaken(accepted: socket.socket) -> Client:
    """After the handshake, whatever path it names."""
    loop = asyncio.get_running_loop()
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        more = await loop.sock_recv(accepted, 16_384)
        if not more:
            raise ConnectionResetError
        request += more
    await loop.sock_sendall(accepted, handshake_answer(request))
    combined, names = path_streams(request.split(b" ", 2)[1].decode())
    client = Client(accepted, combined=combined)
    client.subscribe(names)
    return client


async def _answer(client: Client, payload: bytes) -> None:
    """Whatever a client asks over its socket is granted; only SUBSCRIBE means anything."""
    request = orjson.loads(payload)
    await client.send(server_frame(orjson.dumps({"result": None, "id": request["id"]})))
    if request["method"] == "SUBSCRIBE":
        client.subscribe(request["params"])


def listing(symbol: str) -> dict[str, object]:
    """As much of a symbol's row in exchangeInfo as clients look at."""
    return {
        "symbol": symbol,
        "status": "TRADING",
        "baseAsset": symbol.removesuffix("USDT"),
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": "0.00000001",
                "maxPrice": "1000000",
                "tickSize": "0.00000001",
            },
            {"filterType": "LOT_SIZE", "minQty": "0.00000001", "maxQty": "9000", "stepSize": "0.00000001"},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


def _listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener.setblocking(False)
    return listener


async def _serve_until_stdin_ends(front: Front) -> None:
    listener, http_listener = _listener(), _listener()
    runner = web.AppRunner(front.http())
    await runner.setup()
    await web.SockSite(runner, http_listener).start()
    ports = {"ws": listener.getsockname()[1], "rest": http_listener.getsockname()[1]}
    sys.stdout.write(orjson.dumps(ports).decode() + "\n")
    sys.stdout.flush()
    with listener:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(front.serve_sockets(listener))
            await asyncio.to_thread(sys.stdin.read)
            serving.cancel()
    await runner.cleanup()


def main() -> None:
    """Make the frames of the job in the first argument, and serve them."""
    job = FrontJob(**orjson.loads(sys.argv[1]))
    tape = Tape(job, start_ms=time.time_ns() // 1_000_000)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_stdin_ends(Front(tape)))


if __name__ == "__main__":
    main()
