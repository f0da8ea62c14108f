"""`ingest.feed.session`: what needs no socket. All else is in tests/integration/test_feed.py."""

import asyncio
import itertools
import random
from typing import Any, cast

import pytest
from aiohttp import WSMessage, WSMsgType

from ingest.clock import SystemClock
from ingest.errors import FeedClosed
from ingest.feed.contract import FeedLimits, FrameSink
from ingest.feed.session import Floor, Link, Session


class Flood:
    """A socket that always has another frame, so that whoever reads it never has to wait."""

    def __init__(self, frames: int) -> None:
        self._left = frames

    async def receive(self) -> Any:
        self._left -= 1
        if self._left < 0:
            return WSMessage(WSMsgType.CLOSE, 1000, "")
        return WSMessage(WSMsgType.TEXT, b"{}", None)


class Counting:
    """A sink that counts, and what others have done by then."""

    def __init__(self) -> None:
        self.frames = 0

    def on_frame(self, data: bytes, recv_ns: int) -> None:
        self.frames += 1


async def test_flood_of_frames_lets_others_have_their_turns() -> None:
    """A heartbeat, a writer or another feed gets one every few hundred frames."""
    sink, turns = Counting(), list[int]()
    link = Link(1, cast(FrameSink, sink), cast(Any, None), SystemClock(), random.Random(1), FeedLimits())
    session = Session("ws://nowhere", link, Floor())

    async def beat() -> None:
        while True:
            turns.append(sink.frames)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        beating = group.create_task(beat())
        with pytest.raises(FeedClosed):
            await session._read(cast(Any, Flood(2_000)))
        beating.cancel()

    assert sink.frames == session.messages == 2_000
    assert max(later - former for former, later in itertools.pairwise(turns)) <= 256
