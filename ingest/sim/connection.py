"""One websocket connection of a client, as the exchange treats it.

Decides nothing about streams. It writes what its outbox holds in one go, answers control messages,
counts the client's messages, and is told once in a while (`keep_house`) to ping, to miss pongs and to
end its life. Frames are written to the transport by ourselves, because they are framed once for all
connections; aiohttp does the handshake and the reading.

Invariants: a client that reads too slowly is disconnected instead of filling memory; a connection that
is half-open neither reads nor writes, and stays.
"""

import contextlib
import math
import socket
import struct
from asyncio import Transport
from collections.abc import Callable

from aiohttp import WSMsgType, web

from ingest.sim import wire
from ingest.sim.channels import Outbox
from ingest.sim.exchange import Exchange
from ingest.sim.faults import NoticeForm
from ingest.sim.injection import Injection
from ingest.sim.limits import Limits, SlidingWindow, Violations
from ingest.sim.subscriptions import Subscriptions

_POLICY = 1008
_CLOSE_DEADLINE_S = 5.0
_MOST_FRAMES_PER_WRITE = 512


class Connection:
    """A connected client. All times are seconds of one monotonic clock."""

    def __init__(
        self,
        outbox: Outbox,
        subscriptions: Subscriptions,
        exchange: Exchange,
        *,
        injection: Injection,
        limits: Limits,
        violations: Violations,
    ) -> None:
        self.outbox = outbox
        self.number = outbox.number
        self.subscriptions = subscriptions
        self.half_open = False
        self._exchange = exchange
        self._injection = injection
        self._limits = limits
        self._violations = violations
        self._messages = SlidingWindow(limits.messages_per_s, 1.0)
        self._transport: Transport | None = None
        self._opened_s = self._pinged_s = 0.0
        self._unanswered: dict[bytes, float] = {}
        self._closing_at_s: float | None = None
        self.shutdown_at_s = math.inf
        self.received = 0

    @property
    def is_closing(self) -> bool:
        return self._closing_at_s is not None

    def opened(self, transport: Transport, now_s: float) -> None:
        """The handshake is over."""
        self._transport = transport
        self._opened_s = self._pinged_s = now_s

    def waiting_bytes(self) -> int:
        """Bytes that the client has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport else 0

    def flush(self, now_s: float) -> None:
        """Write out what the outbox holds."""
        frames = self.outbox.frames
        if not frames:
            return
        self.outbox.frames = []
        if self.half_open or self.is_closing:
            return
        for start in range(0, len(frames), _MOST_FRAMES_PER_WRITE):
            self._write(b"".join(frames[start : start + _MOST_FRAMES_PER_WRITE]))
        if self.waiting_bytes() > self._limits.send_queue_bytes:
            self._violations.slow_consumers += 1
            self._closing_at_s = now_s
            self.abort()

    async def serve(self, ws: web.WebSocketResponse, clock_s: Callable[[], float]) -> None:
        """Read what the client sends until it is gone."""
        async for message in ws:
            now_s = clock_s()
            self.received += 1
            if self.is_closing or self.half_open:
                continue
            if not self._messages.allows(now_s):
                self._violations.message_rate += 1
                self.close(_POLICY, "Too many requests", now_s)
            elif message.type is WSMsgType.PING:
                self._write(wire.pong_frame(bytes(message.data)))
            elif message.type is WSMsgType.PONG:
                self._answered(bytes(message.data))
            elif message.type is WSMsgType.TEXT:
                self._control(message.data.encode())

    def keep_house(self, now_s: float) -> None:
        """Ping, judge the pongs, end the connection's life; to be called several times a second."""
        if self._closing_at_s is not None:
            if now_s > self._closing_at_s + _CLOSE_DEADLINE_S:
                self.abort()
            return
        if self.half_open or self._transport is None:
            return
        if now_s >= min(self._opened_s + self._limits.connection_life_s, self.shutdown_at_s):
            self.close(1001, "", now_s)
        elif any(now_s > at_s + self._limits.pong_deadline_s for at_s in self._unanswered.values()):
            self._violations.missed_pongs += 1
            self.close(_POLICY, "Pong timeout", now_s)
        elif now_s >= self._pinged_s + self._limits.ping_interval_s:
            self._ping(now_s)

    def close(self, code: int, reason: str, now_s: float) -> None:
        """Send a close frame; the client has a while to answer it."""
        if self._closing_at_s is None and not self.half_open:
            self.flush(now_s)
            self._write(wire.close_frame(code, reason))
            self._closing_at_s = now_s

    def abort(self) -> None:
        """Drop the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """Drop the connection with a TCP reset."""
        handle = self._transport.get_extra_info("socket") if self._transport else None
        if handle is not None:
            with contextlib.suppress(OSError):
                handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    def freeze(self) -> None:
        """Become half-open: neither read nor write any more."""
        self.half_open = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def announce_shutdown(self, now_ms: int, closes_at_s: float, form: NoticeForm) -> None:
        """Send `serverShutdown`."""
        event = b'{"e":"serverShutdown","E":%d}' % now_ms
        if form == "combined" or (form == "own" and self.subscriptions.combined):
            event = b'{"stream":"!serverShutdown","data":%b}' % event
        self.outbox.put(wire.text_frame(event))
        self.shutdown_at_s = closes_at_s

    def subscribe(self, names: list[str]) -> None:
        for name in names:
            self._exchange.subscribe(self.outbox, name)

    def _control(self, message: bytes) -> None:
        was_combined = self.subscriptions.combined
        outcome = self.subscriptions.receive(message)
        self.subscribe(outcome.added)
        for name in outcome.removed:
            self._exchange.unsubscribe(self.outbox, name)
        self._injection.resubscribed(self.number, [*outcome.added, *outcome.renewed])
        if self.subscriptions.combined != was_combined:
            self._exchange.reform(self.outbox, self.outbox.form ^ 1)
        if outcome.reply is not None:
            self.outbox.put(wire.text_frame(outcome.reply))

    def _ping(self, now_s: float) -> None:
        payload = b"%d" % int(now_s * 1000)
        self._pinged_s = now_s
        self._unanswered[payload] = now_s
        self._write(wire.ping_frame(payload))

    def _answered(self, payload: bytes) -> None:
        """A pong answers its ping and all earlier ones; an unsolicited one answers nothing."""
        at_s = self._unanswered.get(payload)
        if at_s is not None:
            self._unanswered = {key: sent_s for key, sent_s in self._unanswered.items() if sent_s > at_s}

    def _write(self, frames: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames)
