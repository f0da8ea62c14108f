"""The exchange double: a server on this machine that behaves like Binance spot.

    async with ExchangeDouble(DoubleConfig(market=MarketPlan(symbols=3))) as double:
        ...connect to double.ws_url and double.rest_url...
        double.finish()
        double.ledger.entries("BTCUSDT", "trade")

It binds the pure exchange to a clock, sockets and faults. Two tasks of its own: one lets happen what is
due and writes the frames out, one keeps house (pings, deadlines, faults). What happens does not depend
on anybody listening. Invariant: `finish` leaves ledger and wire in agreement, apart from what faults
took away.
"""

import asyncio
import dataclasses
import math
from collections.abc import Mapping
from random import Random
from types import TracebackType
from typing import Literal, Self, TypeAlias

from aiohttp import web

from ingest.clock import Clock, SystemClock
from ingest.sim import faults as spec
from ingest.sim.book import Book
from ingest.sim.channels import COMBINED_MS, RAW_MS, RAW_US, Outbox
from ingest.sim.connection import Connection
from ingest.sim.exchange import Exchange
from ingest.sim.faults import Fault
from ingest.sim.happenings import Source
from ingest.sim.http_control import ControlDoor
from ingest.sim.http_market import MarketDoors
from ingest.sim.injection import ConnectionOrder, FaultRecord, Injection
from ingest.sim.ledger import Ledger
from ingest.sim.limits import Limits, Violations
from ingest.sim.market import Market, MarketPlan
from ingest.sim.playback import Playback
from ingest.sim.recording import Recording
from ingest.sim.report import state_report
from ingest.sim.subscriptions import ErrorShape, Subscriptions

Start: TypeAlias = Literal["now", "manual"] | int

_HOUSEKEEPING_S = 0.05
_STOP_DEADLINE_S = 2.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DoubleConfig:
    """What the double plays and how strict it is."""

    recording: Recording | None = None
    speed: float = 1.0
    """How much faster than recorded; the seeded market always runs in real time."""
    loop: bool = False
    market: MarketPlan | None = None
    start: Start = "now"
    """At once, when told, or when so many different streams are subscribed."""
    limits: Limits = dataclasses.field(default_factory=Limits)
    error_shape: ErrorShape = "top"
    faults: tuple[Fault, ...] = ()
    seed: int = 1
    host: str = "127.0.0.1"
    port: int = 0
    ledger_events: int = 4_000_000
    tick_s: float = 0.005
    wait_for_consumers: bool = False
    """Stand still while a client has much to read: a session can then be played as fast as it is taken.
    No exchange does this."""
    waiting_bytes: int = 1024 * 1024
    """How much is much."""


class ExchangeDouble:
    """A running double; use as an async context manager inside the loop that shall carry it."""

    def __init__(self, config: DoubleConfig | None = None, *, clock: Clock | None = None) -> None:
        self.config = config or DoubleConfig(market=MarketPlan())
        self.clock: Clock = clock or SystemClock()
        self.limits = self.config.limits
        self.violations = Violations()
        self.ledger = Ledger(self.config.ledger_events)
        self.playback, sources = _sources(self.config)
        self.exchange = Exchange(sources, self.ledger)
        self.injection = Injection(Random(self.config.seed))
        self.connections: dict[int, Connection] = {}
        self.stale_books: dict[int, dict[str, Book]] = {}
        self.weight_by_minute: dict[int, int] = {}
        """Request weight used in each minute since the epoch, by the address that used most."""
        self.opened = 0
        self._runner: web.AppRunner | None = None
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []
        self._port = self.config.port

    @property
    def ws_url(self) -> str:
        """Base of the stream addresses, such as `ws://127.0.0.1:40123`."""
        return f"ws://{self.config.host}:{self._port}"

    @property
    def rest_url(self) -> str:
        return f"http://{self.config.host}:{self._port}"

    @property
    def faults(self) -> Mapping[int, FaultRecord]:
        """Every fault that was ordered, and what became of it."""
        return self.injection.records

    async def __aenter__(self) -> Self:
        await self._listen()
        try:
            await self._group.__aenter__()
        except BaseException:
            await self._close()
            raise
        self._tasks = [
            self._group.create_task(self._produce()),
            self._group.create_task(self._keep_house()),
        ]
        if self.config.start == "now":
            self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything; connections that are left are dropped.

        The group is shown a cancellation only (it may be its own doing, when a task failed); any other
        error of the body goes on as it is, not wrapped.
        """
        for task in self._tasks:
            task.cancel()
        try:
            if kind is not None and issubclass(kind, asyncio.CancelledError):
                await self._group.__aexit__(kind, error, trace)
            else:
                await self._group.__aexit__(None, None, None)
        finally:
            await self._close()

    async def _listen(self) -> None:
        app = web.Application()
        app.add_routes(MarketDoors(self).routes())
        app.add_routes(ControlDoor(self).routes())
        self._runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            shutdown_timeout=0.1,
            max_line_size=self.limits.request_line_bytes,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.config.host, self.config.port, backlog=1024)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        for connection in list(self.connections.values()):
            connection.abort()
        if self._runner is not None:
            async with asyncio.timeout(_STOP_DEADLINE_S):
                await self._runner.cleanup()

    def start(self) -> None:
        """Let the market begin, and with it the script of faults."""
        if self.exchange.phase == "waiting":
            self.exchange.start(self._now_us())
            for fault in self.config.faults:
                self.add_fault(fault)

    def pause(self) -> None:
        self.exchange.pause(self._now_us())

    def resume(self) -> None:
        self.exchange.resume(self._now_us())

    def finish(self) -> None:
        """Stop producing for good, with the depth windows closed and everything written out."""
        self.exchange.finish(self._now_us())
        self._flush()

    def add_fault(self, fault: Fault) -> FaultRecord:
        """Order a fault; it begins `at_s` from now."""
        record = self.injection.add(fault, self.clock.monotonic_s())
        self._advance_faults()
        return record

    def lift_fault(self, fault_id: int) -> FaultRecord:
        """End a fault. KeyError when there is none of that id."""
        record = self.injection.lift(fault_id, self.clock.monotonic_s())
        self._advance_faults()
        return record

    def set_status(self, symbol: str, status: str) -> None:
        """TRADING, HALT (market data go on) or BREAK (silence). KeyError without the symbol."""
        self.exchange.set_status(symbol, status)

    def skip_ids(self, symbol: str, kind: str, ids: int) -> None:
        """Leave out the next ids of `trade` or `agg_trade`, for good. KeyError without the symbol."""
        self.exchange.skip_ids(symbol, kind, ids)

    def list_symbol(self, symbol: str) -> None:
        """A new symbol of the seeded market. KeyError when it was there before, or there is no market."""
        self.exchange.list_symbol(symbol, self._now_us())

    def delist(self, symbol: str) -> None:
        """The symbol is gone for good. KeyError without it."""
        self.exchange.delist(symbol)

    def book(self, symbol: str) -> Book:
        """A copy of a symbol's book as it stands."""
        return self.exchange.instruments[symbol].book.copy()

    def state(self) -> dict[str, object]:
        """Everything that can be counted, for reports."""
        return state_report(self)

    def connect(self, names: list[str], *, combined: bool, microseconds: bool) -> Connection | None:
        """A connection subscribed to the names of its URL; None when they are too many."""
        subscriptions = Subscriptions(
            self.limits, self.violations, combined=combined, error_shape=self.config.error_shape
        )
        wanted = subscriptions.from_url(names)
        if wanted is None:
            return None
        self.opened += 1
        form = (COMBINED_MS if combined else RAW_MS) + (RAW_US if microseconds else 0)
        connection = Connection(
            Outbox(self.opened, form),
            subscriptions,
            self.exchange,
            injection=self.injection,
            limits=self.limits,
            violations=self.violations,
        )
        self.connections[connection.number] = connection
        connection.subscribe(wanted)
        return connection

    def disconnect(self, connection: Connection) -> None:
        """The connection has ended."""
        self.exchange.drop(connection.outbox)
        self.connections.pop(connection.number, None)

    async def _produce(self) -> None:
        """Let happen what is due, write it out, sleep a tick."""
        stalled = False
        while True:
            if self.config.wait_for_consumers and self._is_behind():
                stalled = True
                caught_up = True
            else:
                caught_up = self._advance(after_stall=stalled)
                stalled = False
            self._flush()
            await asyncio.sleep(self.config.tick_s if caught_up else 0)

    def _advance(self, *, after_stall: bool) -> bool:
        self._start_when_subscribed()
        now_us = self._now_us()
        if after_stall:
            self.exchange.stalled_until(now_us)
        return self.exchange.advance(now_us)

    async def _keep_house(self) -> None:
        while True:
            self._advance_faults()
            now_s = self.clock.monotonic_s()
            for connection in list(self.connections.values()):
                connection.keep_house(now_s)
            await asyncio.sleep(_HOUSEKEEPING_S)

    def _flush(self) -> None:
        now_s = self.clock.monotonic_s()
        for connection in list(self.connections.values()):
            connection.flush(now_s)

    def _is_behind(self) -> bool:
        return any(
            connection.waiting_bytes() > self.config.waiting_bytes
            for connection in self.connections.values()
            if not connection.half_open and not connection.is_closing
        )

    def _start_when_subscribed(self) -> None:
        wanted = self.config.start
        if self.exchange.phase != "waiting" or not isinstance(wanted, int):
            return
        streams = {name for each in self.connections.values() for name in each.outbox.channels}
        if len(streams) >= wanted:
            self.start()

    def _advance_faults(self) -> None:
        now_s = self.clock.monotonic_s()
        outboxes = {number: connection.outbox for number, connection in self.connections.items()}
        for order in self.injection.advance(now_s, outboxes):
            self._carry_out(order, now_s)
        self.exchange.hub.tamper = self.injection.tamper if self.injection.touches_frames else None

    def _carry_out(self, order: ConnectionOrder, now_s: float) -> None:
        fault = order.fault
        if isinstance(fault, spec.RestFault):
            self.stale_books[order.record.fault_id] = self._books(fault.symbol)
        for number in order.connections:
            connection = self.connections[number]
            match fault:
                case spec.HalfOpen():
                    connection.freeze()
                case spec.Reset():
                    connection.reset()
                case spec.Close():
                    connection.close(fault.code, fault.reason, now_s)
                case spec.Shutdown():
                    after_s = fault.close_after_s
                    closes_at_s = now_s + after_s if after_s is not None else math.inf
                    connection.announce_shutdown(self._now_us() // 1000, closes_at_s, fault.form)

    def _books(self, symbol: str | None) -> dict[str, Book]:
        instruments = self.exchange.instruments
        return {name: each.book.copy() for name, each in instruments.items() if symbol in (None, name)}

    def _now_us(self) -> int:
        return self.clock.wall_ns() // 1000


def _sources(config: DoubleConfig) -> tuple[Playback | None, list[Source]]:
    sources: list[Source] = []
    playback = None
    avoid = config.market.avoid if config.market else frozenset()
    if config.recording is not None:
        playback = Playback(config.recording, speed=config.speed, loop=config.loop)
        sources = [playback]
        avoid |= {listing.symbol for listing in playback.listings}
    if config.market is not None:
        plan = dataclasses.replace(config.market, avoid=avoid)
        sources.append(Market(plan, Random(plan.seed)))
    return playback, sources
