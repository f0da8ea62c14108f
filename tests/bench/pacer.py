"""Sends a strip lap after lap at a rate, to whoever has subscribed, until told to rest.

The schedule does not wait for readers: what they do not take waits in their peers, up to a bound at which the
whole schedule is late, and stays so (`late_s`). A change of the rate or of the subscriptions lays the strip
out anew between two ticks, and a new schedule begins.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from tests.bench.laps import Reel, Strip
from tests.bench.pacing import Pace
from tests.bench.peer import Peer

_BACKLOG_BYTES: Final = 64 * 2**20
"""Of one peer, at which nothing more is sent to anybody."""
_BURST: Final = 8
"""Ticks of a schedule that is late, before anybody else has their turn."""
_BLOCKED_S: Final = 0.02


class Sent(NamedTuple):
    """How sending goes. Frames and CPU count from the process' start; `frame_bytes` is a mean."""

    number: int
    rate: float
    late_s: float
    backlog_bytes: int
    cpu_s: float
    laid_out: int
    frame_bytes: float


class Pacer:
    """`run` sends; `pace` and `lay_out_anew` may be called at any time."""

    def __init__(self, strip: Strip, peers: Sequence[Peer]) -> None:
        self.strip = strip
        self._peers = peers
        self._rate = 0.0
        self._number = 0
        self._late_s = 0.0
        self._laid_out = 0
        self._changed = asyncio.Event()

    @property
    def number(self) -> int:
        """Of the next frame."""
        return self._number

    def pace(self, rate: float) -> None:
        """Send so many frames a second from now on; 0: none."""
        self._rate = rate
        self._changed.set()

    def lay_out_anew(self) -> None:
        """Others read now than before."""
        self._changed.set()

    def sent(self) -> Sent:
        return Sent(
            self._number,
            self._rate,
            self._late_s,
            sum(peer.backlog_bytes for peer in self._peers),
            time.process_time(),
            self._laid_out,
            float(self.strip.sizes.mean()),
        )

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._late_s = 0.0
            if self._rate > 0:
                await self._roll(Pace(len(self.strip), self._rate), list(self._peers))

    async def _roll(self, pace: Pace, peers: list[Peer]) -> None:
        """Until something has changed."""
        lanes = {stream: lane for lane, peer in enumerate(peers) for stream in peer.streams}
        reel = Reel(self.strip, lanes, pace, number=self._number)
        self._laid_out += 1
        began_s, turn = time.perf_counter(), 0
        while not self._changed.is_set():
            due = pace.due(time.perf_counter() - began_s)
            for each in range(turn, min(due, turn + _BURST)):
                self._send(reel, each, peers)
                turn = each + 1
            wait_s = pace.due_s(turn) - (time.perf_counter() - began_s)
            self._late_s = max(0.0, -wait_s)
            await asyncio.sleep(max(0.0, wait_s))
            while any(peer.backlog_bytes > _BACKLOG_BYTES for peer in peers):
                await asyncio.sleep(_BLOCKED_S)

    def _send(self, reel: Reel, turn: int, peers: list[Peer]) -> None:
        reel.patch(turn, time.time_ns() // 1_000_000)
        view = reel.view
        for lane, start, end in reel.pieces(turn):
            peers[lane].offer(view[start:end])
        self._number = reel.number_at(turn + 1)
