"""From one event to all connections that subscribed to its stream.

Pure: an outbox is a list of frames that the connection's shell writes out. A payload is printed once
per time unit and framed once per form (raw, combined); all connections share the bytes. While a fault
that touches frames is active, every delivery goes through the hub's `tamper`.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from ingest.sim import wire

RAW_MS, COMBINED_MS, RAW_US, COMBINED_US = range(4)
"""The four forms in which a connection can want its events."""


class Tamper(Protocol):
    """What the active faults make of one delivery: the texts to send instead, in order."""

    def __call__(self, channel: "Channel", outbox: "Outbox", text: bytes) -> Iterable[bytes]: ...


class Outbox:
    """Frames that wait to be written to one connection, and what it is subscribed to."""

    __slots__ = ("channels", "form", "frames", "number", "sent")

    def __init__(self, number: int, form: int) -> None:
        self.number = number
        self.form = form
        self.frames: list[bytes] = []
        self.channels: dict[str, Channel] = {}
        self.sent = 0

    def put(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.sent += 1


class Hub:
    """What all channels share: the active faults, if any touch frames."""

    __slots__ = ("tamper",)

    def __init__(self) -> None:
        self.tamper: Tamper | None = None


class Channel:
    """One stream: who listens, how often something happened and was delivered."""

    __slots__ = (
        "_forms",
        "_head",
        "_hub",
        "alias",
        "delivered",
        "happened",
        "kind",
        "listeners",
        "name",
        "symbol",
    )

    def __init__(self, hub: Hub, name: str, symbol: str, kind: str) -> None:
        self.name = name
        self.symbol = symbol
        self.kind = kind
        self.happened = 0
        self.delivered = 0
        self.listeners = 0
        self.alias: Channel | None = None
        """The same stream under a longer name (`@depth@1000ms`), with connections of its own."""
        self._hub = hub
        self._head = b'{"stream":"%b","data":' % name.encode()
        self._forms: tuple[list[Outbox], ...] = ([], [], [], [])

    def join(self, outbox: Outbox) -> None:
        self._forms[outbox.form].append(outbox)
        outbox.channels[self.name] = self
        self.listeners += 1

    def leave(self, outbox: Outbox) -> None:
        self._forms[outbox.form].remove(outbox)
        del outbox.channels[self.name]
        self.listeners -= 1

    def is_wanted(self) -> bool:
        return self.listeners > 0 or (self.alias is not None and self.alias.listeners > 0)

    def publish(self, render: Callable[[int], bytes]) -> None:
        """Count an event and send it; `render` prints the payload for a number of us per time unit."""
        self.happened += 1
        if self.alias is not None:
            self.alias.publish(render)
        if not self.listeners:
            return
        raw_ms, combined_ms, raw_us, combined_us = self._forms
        reached = 0
        if raw_ms or combined_ms:
            reached += self._send(render(wire.MILLISECOND_US), raw_ms, combined_ms)
        if raw_us or combined_us:
            reached += self._send(render(wire.MICROSECOND_US), raw_us, combined_us)
        self.delivered += reached > 0

    def _send(self, payload: bytes, raw: list[Outbox], combined: list[Outbox]) -> int:
        reached = self._deliver(payload, raw) if raw else 0
        if combined:
            reached += self._deliver(b"%b%b}" % (self._head, payload), combined)
        return reached

    def _deliver(self, text: bytes, outboxes: list[Outbox]) -> int:
        if self._hub.tamper is not None:
            return self._deliver_tampered(text, outboxes)
        frame = wire.text_frame(text)
        for outbox in outboxes:
            outbox.frames.append(frame)
            outbox.sent += 1
        return len(outboxes)

    def _deliver_tampered(self, text: bytes, outboxes: list[Outbox]) -> int:
        tamper = self._hub.tamper
        assert tamper is not None
        reached = 0
        for outbox in outboxes:
            for altered in tamper(self, outbox, text):
                outbox.put(wire.text_frame(altered))
                reached += altered == text
        return reached
