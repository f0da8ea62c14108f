"""`ingest.cli.shard`: what comes through the pipe from the supervisor."""

import asyncio
import os
from collections.abc import Iterator
from io import FileIO
from types import SimpleNamespace

import pytest

from ingest.cli import shard
from ingest.cli.shard import SupervisorPipe
from ingest.errors import BoardError, ConfigError, LocationRefused, SchemaMismatch, StoreUnavailable
from ingest.shard.orders import Order, Probe, encode


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SchemaMismatch("migrations are missing"), 2),
        (ConfigError("the database URL cannot be read"), 2),
        (StoreUnavailable("connection refused"), 3),
        (LocationRefused("HTTP 451"), 4),
        (BoardError("no space left"), 1),
        (ExceptionGroup("tasks", [ExceptionGroup("inner", [StoreUnavailable("connection refused")])]), 3),
    ],
)
def test_exit_code_says_whether_the_shard_is_to_blame(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    """And whether it is worth a restart; the supervisor knows the codes."""

    async def run(_: object) -> int:
        raise error

    monkeypatch.setattr(
        shard, "load_job", lambda *_: SimpleNamespace(settings=None, plan=SimpleNamespace(shard=0))
    )
    monkeypatch.setattr(shard, "database_url_from_environment", str)
    monkeypatch.setattr(shard, "configure_shard_logs", lambda *_: None)
    monkeypatch.setattr(shard, "_run", run)

    assert shard.main(["job"]) == code


@pytest.fixture
def ends() -> Iterator[tuple[int, FileIO]]:
    """The reading end of a pipe, and the writing one, which the test may close."""
    reading, writing = os.pipe()
    with FileIO(reading), FileIO(writing, "w") as out:
        yield reading, out


class Listener:
    """A supervisor's pipe at the shard's end, on the running loop."""

    def __init__(self, fd: int, room: int = 8) -> None:
        self.orders: asyncio.Queue[Order] = asyncio.Queue(room)
        self.stop = asyncio.Event()
        self.pipe = SupervisorPipe(fd, self.orders, self.stop)
        asyncio.get_running_loop().add_reader(fd, self.pipe.on_readable)

    async def next(self) -> Order:
        async with asyncio.timeout(10):
            return await self.orders.get()


async def test_orders_come_out_in_their_order(ends: tuple[int, FileIO]) -> None:
    """However they were cut on the way."""
    listener = Listener(ends[0])
    data = encode(Probe(1)) + encode(Probe(2))
    ends[1].write(data[:30])
    assert await listener.next() == Probe(1)
    ends[1].write(data[30:])

    assert await listener.next() == Probe(2)
    assert not listener.stop.is_set()
    asyncio.get_running_loop().remove_reader(ends[0])


async def test_rubbish_is_passed_over(ends: tuple[int, FileIO]) -> None:
    """What is no order, and a line without an end, cost nothing but a line in the log."""
    listener = Listener(ends[0])
    ends[1].write(b'explode\n{"order":"explode"}\n\xff\n')
    ends[1].write(b"x" * 40_000)
    await asyncio.sleep(0)
    await asyncio.to_thread(ends[1].write, b"x" * 40_000 + b"\n" + encode(Probe(7)))

    assert await listener.next() == Probe(7)
    asyncio.get_running_loop().remove_reader(ends[0])


async def test_orders_that_nobody_takes_are_dropped(ends: tuple[int, FileIO]) -> None:
    """What waits is bounded; those who were first are kept."""
    listener = Listener(ends[0], room=2)
    ends[1].write(b"".join(encode(Probe(feed)) for feed in range(5)))
    ends[1].close()
    async with asyncio.timeout(10):
        await listener.stop.wait()

    assert [listener.orders.get_nowait() for _ in range(2)] == [Probe(0), Probe(1)]


async def test_end_of_the_pipe_stops_the_shard(ends: tuple[int, FileIO]) -> None:
    """The supervisor is gone: what it ordered before is still there, and the shard shall drain."""
    listener = Listener(ends[0])
    ends[1].write(encode(Probe(3)))
    ends[1].close()
    async with asyncio.timeout(10):
        await listener.stop.wait()

    assert listener.orders.get_nowait() == Probe(3)
