"""The websockets that feeds can be carried by, each against a peer that writes its own bytes."""

import asyncio
import base64
import hashlib
import itertools
import socket as sockets
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TypeAlias, get_args

import pytest

from ingest.clock import SystemClock
from ingest.errors import FeedClosed, LocationRefused
from ingest.feed.contract import FeedLimits
from ingest.feed.dialling import open_dial
from ingest.feed.picows_socket import MAX_WAITING_SIGNS
from ingest.feed.socket import Dial, SlowDown, Socket, WsClient

DEADLINE_S = 20.0
LIMITS = FeedLimits(connect_s=10.0, close_s=1.0, max_frame_bytes=10_000)
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
BAD_MASK = 0x80

Script: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """As a server sends it: unmasked."""
    first, size = (0x80 if fin else 0) | opcode, len(payload)
    head = struct.pack(">BB", first, size) if size < 126 else struct.pack(">BBH", first, 126, size)
    return head + payload


def goodbye(code: int, text: str = "") -> bytes:
    return frame(CLOSE, struct.pack(">H", code) + text.encode())


def upgraded(request: bytes) -> bytes:
    """The answer to a handshake."""
    key = next(
        line.split(b":")[1].strip()
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    )
    sign = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + sign + b"\r\n\r\n"
    )


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Opcode and payload of a short masked frame."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack(">H", await reader.readexactly(2))
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


class Ear:
    """Hears what a socket tells, and can be made to fail."""

    def __init__(self, fails_at: int = 0) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.stamps: list[int] = []
        self._fails_at = fails_at

    def on_frame(self, data: bytes, recv_ns: int) -> None:
        self._keep("frame", data, recv_ns)

    async def on_ping(self, payload: bytes, recv_ns: int) -> None:
        self._keep("ping", payload, recv_ns)

    def on_pong(self, payload: bytes, recv_ns: int) -> None:
        self._keep("pong", payload, recv_ns)

    def _keep(self, what: str, data: bytes, recv_ns: int) -> None:
        self.heard.append((what, bytes(data)))
        self.stamps.append(recv_ns)
        if len(self.heard) == self._fails_at:
            raise ZeroDivisionError("of the receiver")

    @property
    def frames(self) -> list[bytes]:
        return [data for what, data in self.heard if what == "frame"]


@asynccontextmanager
async def peer(script: Script, answer: Callable[[bytes], bytes] = upgraded) -> AsyncIterator[str]:
    """A server's URL: it answers the handshake, then does what `script` says, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
                await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/stream"


def says(*data: bytes) -> Script:
    """A peer that sends this in one go and waits to be left."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(data))
        await reader.read()

    return script


@pytest.fixture(params=get_args(WsClient))
async def dial(request: pytest.FixtureRequest) -> AsyncIterator[Dial]:
    """By each of the libraries."""
    async with open_dial(request.param, SystemClock().wall_ns) as made:
        yield made


async def ended(socket: Socket, ear: Ear) -> FeedClosed:
    """Listen until it is over, and why it is."""
    with pytest.raises(FeedClosed) as caught:
        async with asyncio.timeout(DEADLINE_S):
            await socket.receive_into(ear)
    await socket.close()
    return caught.value


async def heard_from(dial: Dial, script: Script, ear: Ear | None = None) -> tuple[Ear, FeedClosed]:
    ear = ear or Ear()
    async with peer(script) as url:
        closed = await ended(await dial(url, LIMITS), ear)
    return ear, closed


async def test_frames_come_in_their_order_and_are_stamped(dial: Dial) -> None:
    """Text and binary, short and long."""
    sent = [b"one", b"x" * 9_000, b"", b"three"]
    before_ns = SystemClock().wall_ns()

    ear, closed = await heard_from(
        dial, says(*(frame(TEXT, data) for data in sent), frame(BINARY, b"bin"), goodbye(1000, "so long"))
    )

    assert ear.frames == [*sent, b"bin"]
    assert ear.stamps == sorted(ear.stamps)
    assert before_ns <= ear.stamps[0] <= ear.stamps[-1] <= SystemClock().wall_ns()
    assert (closed.code, closed.reason) == (1000, "closed_by_exchange: so long")


async def test_what_comes_with_the_handshake_is_not_lost(dial: Dial) -> None:
    """Nobody listens yet when the first frames are there, and for a while after."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(2_000):
            writer.write(frame(TEXT, b"%d" % number))
        writer.write(goodbye(1001))
        await reader.read()

    def answer(request: bytes) -> bytes:
        return upgraded(request) + frame(TEXT, b"first") + frame(PING, b"already")

    ear = Ear()
    async with peer(script, answer) as url:
        socket = await dial(url, LIMITS)
        for _ in range(100):
            await asyncio.sleep(0)
        closed = await ended(socket, ear)

    assert ear.frames == [b"first", *(b"%d" % number for number in range(2_000))]
    assert ("ping", b"already") in ear.heard
    assert closed.code == 1001


async def test_message_in_parts_is_put_together(dial: Dial) -> None:
    """A ping may come between the parts."""
    ear, _ = await heard_from(
        dial,
        says(
            frame(TEXT, b"a", fin=False),
            frame(CONTINUATION, b"b", fin=False),
            frame(PING, b"between"),
            frame(CONTINUATION, b"c"),
            frame(TEXT, b"whole"),
            goodbye(1000),
        ),
    )

    assert ear.frames == [b"abc", b"whole"]
    assert ("ping", b"between") in ear.heard


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"y" * 10_001),
        frame(TEXT, b"y" * 9_000, fin=False) + frame(CONTINUATION, b"y" * 9_000),
        frame(CONTINUATION, b"of nothing"),
        frame(TEXT, b"a", fin=False) + frame(TEXT, b"inside"),
        frame(PING, b"part of a ping", fin=False),
        frame(3, b"no such opcode"),
        b"HTTP/1.1 500 what is this\r\n\r\n",
    ],
    ids=["long", "long-in-parts", "part-of-nothing", "inside", "ping-in-parts", "opcode", "no-websocket"],
)
async def test_breach_of_the_protocol_is_a_named_end(dial: Dial, data: bytes) -> None:
    """Nothing of it is handed over, nor what follows."""
    ear, closed = await heard_from(dial, says(data, frame(TEXT, b"later")))

    assert end_word(closed) == "protocol_error", closed
    assert ear.heard == []


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (goodbye(1008, "too many"), 1008, "closed_by_exchange: too many"),
        (goodbye(4001, "own code"), 4001, "closed_by_exchange: own code"),
        (frame(CLOSE, b""), 0, "closed_by_exchange"),
    ],
)
async def test_close_frame_says_why(dial: Dial, data: bytes, code: int, reason: str) -> None:
    """And is the end, whatever comes behind it."""
    ear, closed = await heard_from(dial, says(frame(TEXT, b"last"), data, frame(TEXT, b"more")))

    assert (closed.code, closed.reason) == (code, reason)
    assert ear.frames == [b"last"]


async def test_connection_that_is_cut_is_lost(dial: Dial) -> None:
    """By an orderly end of the stream of bytes, or by a reset, in the middle of a frame."""
    for linger in (None, struct.pack("ii", 1, 0)):

        async def script(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, linger: bytes | None = linger
        ) -> None:
            writer.write(frame(TEXT, b"whole") + frame(TEXT, b"half of it")[:-3])
            await writer.drain()
            if linger is not None:
                await read_frame(reader)
                writer.get_extra_info("socket").setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, linger)
                writer.transport.abort()

        ear = Ear()
        async with peer(script) as url:
            socket = await dial(url, LIMITS)
            await socket.send("now")
            closed = await ended(socket, ear)

        assert end_word(closed) in {"connection_lost", "protocol_error"}
        assert ear.frames == [b"whole"]


def end_word(closed: FeedClosed) -> str:
    return closed.reason.partition(":")[0]


async def test_failing_receiver_ends_it_with_its_own_error(dial: Dial) -> None:
    """It is a fault of ours and must not look like one of the exchange; nothing more is handed over."""
    ear = Ear(fails_at=2)
    async with peer(says(*(frame(TEXT, b"%d" % number) for number in range(5)))) as url:
        socket = await dial(url, LIMITS)
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(DEADLINE_S):
                await socket.receive_into(ear)
        await socket.close()

    assert ear.frames == [b"0", b"1"]


async def test_sent_messages_pings_and_pongs_arrive(dial: Dial) -> None:
    """Masked, in their order, and none beside them: pings are left to the receiver."""
    got: list[tuple[int, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(PING, b"not answered"))
        got.extend([await read_frame(reader) for _ in range(3)])
        writer.write(frame(PONG, b"mine") + goodbye(1000))
        await reader.read()

    ear = Ear()
    async with peer(script) as url:
        socket = await dial(url, LIMITS)
        await socket.send('{"id":1}' + "z" * 4_000)
        await socket.ping(b"mine")
        await socket.pong(b"yours")
        await ended(socket, ear)

    assert got == [(TEXT, b'{"id":1}' + b"z" * 4_000), (PING, b"mine"), (PONG, b"yours")]
    assert ear.heard == [("ping", b"not answered"), ("pong", b"mine")]


async def test_sending_on_what_is_over_is_refused(dial: Dial) -> None:
    """Instead of going nowhere."""
    async with peer(says(goodbye(1000))) as url:
        socket = await dial(url, LIMITS)
        await ended(socket, Ear())
        with pytest.raises(ConnectionError):
            await socket.send("x")
        with pytest.raises(ConnectionError):
            await socket.ping(b"x")
        with pytest.raises(ConnectionError):
            await socket.pong(b"x")


async def test_peer_that_takes_nothing_holds_up_the_sender(dial: Dial) -> None:
    """So that its deadline can end the connection, instead of memory filling up."""
    released = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await released.wait()

    async with peer(script) as url:
        socket = await dial(url, replace(LIMITS, close_s=0.1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                for _ in itertools.repeat(None):
                    await socket.send("x" * 60_000)
        async with asyncio.timeout(DEADLINE_S):
            await socket.close()
        released.set()


async def test_closing_says_goodbye(dial: Dial) -> None:
    """A peer gets a close frame of code 1000, and nothing is heard of what it may still send."""
    got: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.put_nowait(await read_frame(reader))
        writer.write(frame(TEXT, b"too late") + goodbye(1000))
        await reader.read()

    ear = Ear()
    async with peer(script) as url:
        socket = await dial(url, LIMITS)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(socket.receive_into(ear))
            await asyncio.sleep(0)
            reading.cancel()
        async with asyncio.timeout(DEADLINE_S):
            await socket.close()
            assert await got.get() == (CLOSE, struct.pack(">H", 1000))

    assert ear.heard == []


async def test_closing_does_not_wait_for_ever(dial: Dial) -> None:
    """A half-open connection has nobody who answers."""
    released = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()

    async with peer(script) as url:
        socket = await dial(url, replace(LIMITS, close_s=0.1))
        async with asyncio.timeout(DEADLINE_S):
            await socket.close()
        released.set()


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, SlowDown), (418, SlowDown), (451, LocationRefused), (503, FeedClosed), (302, FeedClosed)],
)
async def test_refused_handshake_says_its_status(
    dial: Dial, status: int, error: type[FeedClosed | LocationRefused]
) -> None:
    """What to do about it differs."""

    def answer(_: bytes) -> bytes:
        return b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status

    async with peer(says(), answer) as url:
        with pytest.raises(error, match=str(status)) as caught:
            await dial(url, LIMITS)
    assert type(caught.value) is error


@pytest.mark.parametrize("answer", [b"", b"rubbish\r\n\r\n", b"HTTP/1.1 101 Yes\r\n\r\n"])
async def test_handshake_that_comes_to_nothing_is_a_failed_connection(dial: Dial, answer: bytes) -> None:
    """The peer hangs up, or says what is no answer."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hang up at once."""

    async with peer(script, lambda _: answer) as url:
        with pytest.raises(FeedClosed, match="connect_failed|handshake_refused"):
            await dial(url, LIMITS)


async def test_peer_that_never_answers_is_left_at_the_deadline(dial: Dial) -> None:
    """It has taken the connection, and that is all."""
    async with peer(says(), lambda _: b"") as url:
        with pytest.raises(FeedClosed, match="connect_failed: TimeoutError"):
            await dial(url, replace(LIMITS, connect_s=0.2))


async def test_nobody_there_is_a_failed_connection(dial: Dial) -> None:
    """Refused by the system, or a name that nobody has."""
    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        for host in (f"127.0.0.1:{taken.getsockname()[1]}", "nowhere.invalid"):
            with pytest.raises(FeedClosed, match="connect_failed"):
                await dial(f"ws://{host}/stream", LIMITS)


async def test_flood_of_frames_lets_others_have_their_turns(dial: Dial) -> None:
    """A heartbeat, a writer or another feed gets one long before a flood is over."""
    flood, turns, ear = 50_000, list[int](), Ear()

    async def beat() -> None:
        while True:
            turns.append(len(ear.heard))
            await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(peer(says(*[frame(TEXT, b"{}" * 100)] * flood, goodbye(1000))))
        socket = await dial(url, LIMITS)
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(beat())
            await ended(socket, ear)
            beating.cancel()

    assert len(ear.frames) == flood
    assert max(later - former for former, later in itertools.pairwise(turns)) <= 2_048


async def test_more_pings_at_once_than_can_wait_end_it() -> None:
    """By picows, where they wait for a turn; a well-behaved peer sends one every 20 s."""
    async with open_dial("picows", SystemClock().wall_ns) as dial:
        _, closed = await heard_from(dial, says(*[frame(PING, b"")] * (MAX_WAITING_SIGNS + 2)))

    assert (closed.code, end_word(closed)) == (1008, "protocol_error")
