"""The load generator: a process that has made all its frames before anybody's time is taken.

    python -m tests.bench.load '{"messages": 1000, ...}'

It prints one JSON line with its ports when the frames are ready, and ends when its standard input does.
What a frame costs it while it is measured against is its share of a `send` of 256 KiB, which is far less
than any reader spends; the row `null` shows how fast it is.

One measurement goes through it like this: the reader connects as many sockets as it likes and sends
SUBSCRIBE on each; `warm` waits for all streams and sends one frame on each; `prepare` lays the frames out
by socket and says how many there are per stream; `go` sends them all; `sent` says what that cost. REST
`depth` answers with the book that the first frames belong to.

A job that is `paced` has its frames sent without an end instead, lap after lap with new ids and times
(`laps`, `pacer`): `pace` says how many a second (0: none), `state` how that goes, `ledger` what has happened
on each stream: how many frames, the first id and the last one. Then REST answers for the market as it is.
"""

import asyncio
import socket
import ssl
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

import orjson
import uvloop
from aiohttp import web

from tests.bench.laps import IDS_FROM, Strip
from tests.bench.mix import MIX, Frame, Market, symbol_names
from tests.bench.sockets import Exchange
from tests.bench.standing import Snapshot
from tests.bench.wire import server_frame

_HOST: Final = "127.0.0.1"


@dataclass(frozen=True)
class LoadJob:
    """What is to be sent. `certificate` and `key` are files; with them there is a second door, by TLS."""

    messages: int
    symbols: int = 200
    seed: int = 1
    mix: Mapping[str, int] = field(default_factory=lambda: dict(MIX))
    paced: bool = False
    certificate: str = ""
    key: str = ""


class Tape:
    """All frames, ready for the wire, and the books that they change.

    One that is paced has a frame of every stream in each lap, however rare the stream is.
    """

    def __init__(self, job: LoadJob, *, start_ms: int) -> None:
        self.symbols = symbol_names(job.symbols)
        ids_from = IDS_FROM if job.paced else 0
        market = Market(self.symbols, seed=job.seed, start_ms=start_ms, ids_from=ids_from)
        kinds = tuple(job.mix)
        self.first = [_on_wire(frame) for frame in market.first_of_each(kinds)]
        self.snapshots: Mapping[str, Snapshot] = market.snapshots()
        more = [_on_wire(frame) for frame in market.first_of_each(kinds)] if job.paced else []
        self.frames = more + [_on_wire(frame) for frame in market.frames(job.messages, job.mix)]
        self.strip = Strip(self.frames) if job.paced else None


def _on_wire(frame: Frame) -> tuple[str, bytes]:
    return frame.stream, server_frame(frame.payload)


def _listener() -> socket.socket:
    listener = socket.create_server((_HOST, 0), backlog=256)
    listener.setblocking(False)
    return listener


def _tls(job: LoadJob) -> ssl.SSLContext | None:
    if not job.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(job.certificate, job.key)
    return context


async def _serve_until_stdin_ends(exchange: Exchange, tls: ssl.SSLContext | None) -> None:
    doors = {"ws": None} if tls is None else {"ws": None, "wss": tls}
    listeners = {name: _listener() for name in (*doors, "rest")}
    runner = web.AppRunner(exchange.http())
    await runner.setup()
    await web.SockSite(runner, listeners["rest"]).start()
    ports = {name: listener.getsockname()[1] for name, listener in listeners.items()}
    sys.stdout.write(orjson.dumps(ports).decode() + "\n")
    sys.stdout.flush()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(exchange.serve_sockets(listeners[name], doors[name])) for name in doors]
        tasks.append(group.create_task(exchange.send_when_told()))
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
    for name in doors:
        listeners[name].close()
    await runner.cleanup()


def main() -> None:
    """Make the frames of the job in the first argument, and serve them."""
    job = LoadJob(**orjson.loads(sys.argv[1]))
    tape = Tape(job, start_ms=time.time_ns() // 1_000_000)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_stdin_ends(Exchange(tape), _tls(job)))


def job_text(job: LoadJob) -> str:
    """The argument that starts a generator for this job."""
    return orjson.dumps(asdict(job)).decode()


if __name__ == "__main__":
    main()
