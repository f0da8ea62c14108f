"""Carries out faults: when each begins and ends, what it does to a frame, what it touched.

Pure: time is a number, chance a generator handed in. What needs a socket (reset, close, half-open) is
returned as a `ConnectionOrder` for the server to carry out. Every fault leaves a record that says
whether it happened and how much it touched; a fault that found nothing to touch says 0.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from ingest.sim import faults as spec
from ingest.sim.channels import Channel, Outbox
from ingest.sim.damage import damaged

if TYPE_CHECKING:
    from random import Random

State: TypeAlias = Literal["scheduled", "active", "done"]


class ConnectionOrder(NamedTuple):
    """A fault for the server to carry out on these connections."""

    fault: spec.Fault
    connections: tuple[int, ...]
    record: "FaultRecord"


@dataclasses.dataclass(slots=True)
class FaultRecord:
    """One fault and what became of it."""

    fault_id: int
    fault: spec.Fault
    begins_s: float
    state: State = "scheduled"
    touched: int = 0
    """Frames, requests or connections that it changed."""
    connections: tuple[int, ...] = ()
    """Those that were there, and chosen, when it began."""
    began_s: float | None = None
    ended_s: float | None = None
    _streams: set[tuple[int, str]] = dataclasses.field(default_factory=set)
    _spared: set[str] = dataclasses.field(default_factory=set)
    _held: dict[tuple[int, str], tuple[bytes, int]] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        return {
            "id": self.fault_id,
            "fault": spec.fault_as_dict(self.fault),
            "state": self.state,
            "touched": self.touched,
            "connections": list(self.connections),
            "began_s": self.began_s,
            "ended_s": self.ended_s,
        }


_ON_CONNECTIONS = (spec.HalfOpen, spec.Reset, spec.Close, spec.Shutdown)
_COUNTED = (spec.Drop, spec.Duplicate, spec.Reorder, spec.Malformed)
_ON_FRAMES = (spec.MuteStream, spec.MuteFeed, spec.Drop, spec.Duplicate, spec.Reorder, spec.Malformed)


class Injection:
    """All faults of one run."""

    def __init__(self, rng: "Random") -> None:
        self._rng = rng
        self.records: dict[int, FaultRecord] = {}
        self._on_frames: list[FaultRecord] = []

    def add(self, fault: spec.Fault, now_s: float) -> FaultRecord:
        """Schedule a fault `at_s` after `now_s`."""
        record = FaultRecord(len(self.records) + 1, fault, now_s + fault.at_s)
        self.records[record.fault_id] = record
        return record

    def lift(self, fault_id: int, now_s: float) -> FaultRecord:
        """End a fault now. KeyError when there is none of that id."""
        record = self.records[fault_id]
        if record.state != "done":
            self._end(record, now_s)
        return record

    @property
    def touches_frames(self) -> bool:
        """Whether deliveries have to go through `tamper`."""
        return bool(self._on_frames)

    def advance(self, now_s: float, outboxes: Mapping[int, Outbox]) -> list[ConnectionOrder]:
        """Begin and end what is due; returns what the server has to carry out."""
        orders: list[ConnectionOrder] = []
        for record in self.records.values():
            if record.state == "scheduled" and now_s >= record.begins_s:
                orders += self._begin(record, now_s, outboxes)
            if record.state == "active" and _is_over(record, now_s):
                self._end(record, now_s)
        return orders

    def tamper(self, channel: Channel, outbox: Outbox, text: bytes) -> Iterable[bytes]:
        """What to send instead of a frame: nothing, itself, or more."""
        texts = [text]
        for record in tuple(self._on_frames):
            if not texts:
                break
            if _selects(record.fault, channel, outbox.number):
                texts = self._altered(record, channel, outbox, texts)
        return texts

    def resubscribed(self, connection: int, names: Iterable[str]) -> None:
        """A client subscribed again: what is mute until then is heard again."""
        for record in self._on_frames:
            if isinstance(record.fault, spec.MuteStream) and record.fault.until == "resubscribe":
                record._streams.difference_update((connection, name) for name in names)

    def refusal(self, now_s: float) -> spec.Refuse | None:
        """The fault that refuses a new connection, if any."""
        for record in self.records.values():
            fault = record.fault
            if record.state == "active" and isinstance(fault, spec.Refuse) and self._strikes(fault):
                self._count(record, fault.n, now_s)
                return fault
        return None

    def rest(self, path: str, symbol: str, now_s: float) -> FaultRecord | None:
        """The fault that a REST call meets, if any."""
        for record in self.records.values():
            fault = record.fault
            if record.state != "active" or not isinstance(fault, spec.RestFault):
                continue
            meant = fault.path in (None, path) and fault.symbol in (None, symbol)
            if meant and self._strikes(fault):
                self._count(record, fault.n, now_s)
                return record
        return None

    def _begin(
        self, record: FaultRecord, now_s: float, outboxes: Mapping[int, Outbox]
    ) -> list[ConnectionOrder]:
        fault = record.fault
        record.state, record.began_s = "active", now_s
        if isinstance(fault, _ON_FRAMES):
            self._choose(record, outboxes)
            self._on_frames.append(record)
            return []
        if isinstance(fault, spec.RestFault) and fault.stale:
            return [ConnectionOrder(fault, (), record)]
        if not isinstance(fault, _ON_CONNECTIONS):
            return []
        record.connections = self._chosen(fault, outboxes)
        record.touched = len(record.connections)
        order = ConnectionOrder(fault, record.connections, record)
        if not isinstance(fault, spec.HalfOpen):
            self._end(record, now_s)
        return [order]

    def _choose(self, record: FaultRecord, outboxes: Mapping[int, Outbox]) -> None:
        """Fix the streams or connections that a mute is about."""
        fault = record.fault
        if isinstance(fault, spec.MuteFeed):
            record.connections = self._chosen(fault, outboxes)
        if isinstance(fault, spec.MuteStream):
            pairs = [
                (number, name)
                for number, outbox in sorted(outboxes.items())
                for name, channel in outbox.channels.items()
                if _selects(fault, channel, number)
            ]
            record._streams = {pair for pair in pairs if self._strikes(fault)}
            record._spared = {name for _, name in pairs} - {name for _, name in record._streams}
            record.connections = tuple(sorted({number for number, _ in record._streams}))

    def _chosen(self, fault: spec.Fault, outboxes: Mapping[int, Outbox]) -> tuple[int, ...]:
        """Connections with a matching stream (or any, without a selector), in the fault's fraction."""
        return tuple(
            number
            for number, outbox in sorted(outboxes.items())
            if fault.connection in (None, number) and _carries(fault, outbox) and self._strikes(fault)
        )

    def _altered(
        self, record: FaultRecord, channel: Channel, outbox: Outbox, texts: list[bytes]
    ) -> list[bytes]:
        fault = record.fault
        if isinstance(fault, spec.MuteStream | spec.MuteFeed):
            if not _is_mute(record, channel, outbox.number):
                return texts
            record.touched += len(texts)
            return []
        if isinstance(fault, spec.Reorder):
            return self._reordered(record, fault, (outbox.number, channel.name), texts)
        if isinstance(fault, spec.Drop | spec.Duplicate | spec.Malformed) and self._wants(record, fault.n):
            record.touched += 1
            return _with_accident(fault, texts)
        return texts

    def _wants(self, record: FaultRecord, n: int | None) -> bool:
        return (n is None or record.touched < n) and self._strikes(record.fault)

    def _reordered(
        self, record: FaultRecord, fault: spec.Reorder, place: tuple[int, str], texts: list[bytes]
    ) -> list[bytes]:
        """Hold a frame back until `by` later ones have gone."""
        held = record._held.get(place)
        if held is None:
            if record.state == "done" or not self._wants(record, fault.n):
                return texts
            record.touched += 1
            record._held[place] = (texts[-1], fault.by)
            return texts[:-1]
        late, left = held
        if left > 1:
            record._held[place] = (late, left - 1)
            return texts
        del record._held[place]
        self._release(record)
        return [*texts, late]

    def _strikes(self, fault: spec.Fault) -> bool:
        return fault.fraction >= 1.0 or self._rng.random() < fault.fraction

    def _count(self, record: FaultRecord, n: int | None, now_s: float) -> None:
        record.touched += 1
        if n is not None and record.touched >= n:
            self._end(record, now_s)

    def _end(self, record: FaultRecord, now_s: float) -> None:
        record.state, record.ended_s = "done", now_s
        self._release(record)

    def _release(self, record: FaultRecord) -> None:
        """Look at frames no longer, once nothing is held back."""
        if record.state == "done" and not record._held and record in self._on_frames:
            self._on_frames.remove(record)


def _is_over(record: FaultRecord, now_s: float) -> bool:
    fault = record.fault
    if isinstance(fault, _COUNTED) and fault.n is not None and record.touched >= fault.n:
        return True
    return fault.for_s is not None and record.began_s is not None and now_s >= record.began_s + fault.for_s


def _selects(fault: spec.Fault, channel: Channel, connection: int) -> bool:
    return (
        fault.symbol in (None, channel.symbol)
        and fault.kind in (None, channel.kind)
        and fault.connection in (None, connection)
    )


def _carries(fault: spec.Fault, outbox: Outbox) -> bool:
    if fault.symbol is None and fault.kind is None:
        return True
    return any(_selects(fault, channel, outbox.number) for channel in outbox.channels.values())


def _is_mute(record: FaultRecord, channel: Channel, connection: int) -> bool:
    fault = record.fault
    if isinstance(fault, spec.MuteFeed):
        return fault.until == "lifted" or connection in record.connections
    if isinstance(fault, spec.MuteStream) and fault.until == "lifted":
        return channel.name not in record._spared
    return (connection, channel.name) in record._streams


def _with_accident(fault: spec.Drop | spec.Duplicate | spec.Malformed, texts: list[bytes]) -> list[bytes]:
    if isinstance(fault, spec.Drop):
        return texts[:-1]
    if isinstance(fault, spec.Duplicate):
        return [*texts, texts[-1]]
    spoilt = damaged(texts[-1], fault.damage)
    return [*texts[:-1], spoilt] if fault.replace else [*texts[:-1], spoilt, texts[-1]]
