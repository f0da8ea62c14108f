"""The doors of the exchange: websocket handshake and REST over HTTP, with their limits.

Decides nothing about the market: it counts connection attempts and request weight for each IP, meets
the faults that are about requests, and hands the rest to `Connection` and `rest`.
"""

import asyncio
from typing import Protocol
from urllib.parse import unquote

from aiohttp import web

from ingest.clock import Clock
from ingest.sim import faults as spec
from ingest.sim import rest, wire
from ingest.sim.book import Book
from ingest.sim.connection import Connection
from ingest.sim.exchange import Exchange
from ingest.sim.injection import FaultRecord, Injection
from ingest.sim.limits import Limits, SlidingWindow, Verdict, Violations, WeightBudget
from ingest.sim.rest_params import ApiError, Params

_BAD_UNIT = "Invalid value for time unit; expected either MICROSECOND or MILLISECOND."
_HTML = "<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"


class Venue(Protocol):
    """What the doors need of the server."""

    clock: Clock
    limits: Limits
    violations: Violations
    exchange: Exchange
    injection: Injection
    stale_books: dict[int, dict[str, Book]]
    weight_by_minute: dict[int, int]

    def connect(self, names: list[str], *, combined: bool, microseconds: bool) -> Connection | None:
        """A connection subscribed to the names of its URL; None when they are too many."""
        ...

    def disconnect(self, connection: Connection) -> None: ...


class MarketDoors:
    """Handlers for `/ws`, `/stream` and `/api/v3`."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._attempts: dict[str, SlidingWindow] = {}
        self._budgets: dict[str, WeightBudget] = {}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/ws", self.websocket),
            web.get("/ws/{streams:.*}", self.websocket),
            web.get("/stream", self.websocket),
            web.get("/api/v3/{call:.*}", self.call),
        ]

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        """One connection, from handshake to end."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        unit = _query(request, "timeUnit").upper()
        if unit not in ("", "MICROSECOND", "MILLISECOND"):
            return _json(ApiError(-1194, _BAD_UNIT).body(), 400)
        combined = request.path.startswith("/stream")
        names = (_query(request, "streams") if combined else _raw_names(request)).split("/")
        socket = web.WebSocketResponse(autoping=False, compress=False, timeout=1.0)
        await socket.prepare(request)
        venue = self._venue
        connection = venue.connect(names, combined=combined, microseconds=unit == "MICROSECOND")
        transport = request.transport
        if connection is None or transport is None:
            await socket.close(code=1008, message=b"Too many subscriptions")
            return socket
        try:
            connection.opened(transport, venue.clock.monotonic_s())
            await connection.serve(socket, venue.clock.monotonic_s)
        finally:
            venue.disconnect(connection)
        return socket

    async def call(self, request: web.Request) -> web.StreamResponse:
        """One REST request."""
        path = request.match_info["call"]
        record = self._venue.injection.rest(path, request.query.get("symbol", ""), self._monotonic_s())
        fault = record.fault if record is not None else None
        if isinstance(fault, spec.RestFault) and record is not None:
            await asyncio.sleep(fault.delay_s)
            if fault.silent:
                return _hung_up(request)
            if fault.status != 200:
                return _broken(fault)
        endpoint = rest.ENDPOINTS.get(path)
        if endpoint is None:
            return web.Response(status=404, text=_HTML.format(status=404), content_type="text/html")
        return self._answered(request, endpoint, record)

    def _answered(
        self, request: web.Request, endpoint: rest.Endpoint, record: FaultRecord | None
    ) -> web.Response:
        params = Params(request.query)
        verdict = self._budget(request).take(_weight(endpoint, params), self._wall_us() / 1e6)
        minute, weights = self._wall_us() // 60_000_000, self._venue.weight_by_minute
        weights[minute] = max(weights.get(minute, 0), verdict.used_weight)
        if verdict.status != 200:
            return _limited(verdict, self._wall_us() // 1000)
        try:
            answer = rest.body(endpoint, self._call(request, params, record))
            response = _json(answer, 200)
        except ApiError as error:
            response = _json(error.body(), error.status)
        response.headers["X-MBX-USED-WEIGHT"] = str(verdict.used_weight)
        response.headers["X-MBX-USED-WEIGHT-1M"] = str(verdict.used_weight)
        return response

    def _call(self, request: web.Request, params: Params, record: FaultRecord | None) -> rest.Call:
        unit = request.headers.get("X-MBX-TIME-UNIT", "MILLISECOND").upper()
        if unit not in ("MICROSECOND", "MILLISECOND"):
            raise ApiError(-1194, _BAD_UNIT)
        return rest.Call(
            exchange=self._venue.exchange,
            params=params,
            now_us=self._wall_us(),
            unit_us=wire.MICROSECOND_US if unit == "MICROSECOND" else wire.MILLISECOND_US,
            limits=self._venue.limits,
            stale_books=self._venue.stale_books.get(record.fault_id, {}) if record else {},
            without_levels=record is not None
            and isinstance(record.fault, spec.RestFault)
            and record.fault.empty,
        )

    def _refused(self, request: web.Request) -> web.Response | None:
        """The attempts of this IP, then the faults that refuse connections."""
        now_s = self._monotonic_s()
        limits = self._venue.limits
        window = self._attempts.setdefault(
            _ip(request), SlidingWindow(limits.attempts, limits.attempts_window_s)
        )
        if not window.allows(now_s):
            self._venue.violations.connection_attempts += 1
            retry_after = str(int(window.wait_s(now_s)) + 1)
            return web.Response(status=429, headers={"Retry-After": retry_after})
        fault = self._venue.injection.refusal(now_s)
        if fault is None:
            return None
        return _hung_up(request) if fault.status == 0 else web.Response(status=fault.status)

    def _budget(self, request: web.Request) -> WeightBudget:
        ip = _ip(request)
        if ip not in self._budgets:
            self._budgets[ip] = WeightBudget(self._venue.limits, self._venue.violations)
        return self._budgets[ip]

    def _wall_us(self) -> int:
        return self._venue.clock.wall_ns() // 1000

    def _monotonic_s(self) -> float:
        return self._venue.clock.monotonic_s()


def _ip(request: web.Request) -> str:
    return request.remote or "unknown"


def _query(request: web.Request, name: str) -> str:
    """A query parameter in which `+` is a plus sign (stream names may have one)."""
    for pair in request.rel_url.raw_query_string.split("&"):
        key, _, value = pair.partition("=")
        if unquote(key) == name:
            return unquote(value)
    return ""


def _raw_names(request: web.Request) -> str:
    return unquote(request.rel_url.raw_path).removeprefix("/ws").strip("/")


def _weight(endpoint: rest.Endpoint, params: Params) -> int:
    """The weight of a call; one whose parameters are wrong weighs 1."""
    try:
        return endpoint.weight(params)
    except ApiError:
        return 1


def _json(body: bytes, status: int) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")


def _limited(verdict: Verdict, now_ms: int) -> web.Response:
    until_ms = now_ms + verdict.retry_after_s * 1000
    banned = f"Way too much request weight used; IP banned until {until_ms}. Please use WebSocket Streams."
    used = "Too much request weight used; current limit is 6000 request weight per 1 MINUTE."
    response = _json(ApiError(-1003, banned if verdict.status == 418 else used).body(), verdict.status)
    response.headers["Retry-After"] = str(verdict.retry_after_s)
    response.headers["X-MBX-USED-WEIGHT-1M"] = str(verdict.used_weight)
    return response


def _broken(fault: spec.RestFault) -> web.Response:
    if fault.html:
        text = _HTML.format(status=fault.status)
        response = web.Response(status=fault.status, text=text, content_type="text/html")
    else:
        response = _json(ApiError(fault.code, fault.message).body(), fault.status)
    if fault.retry_after_s is not None:
        response.headers["Retry-After"] = str(fault.retry_after_s)
    return response


def _hung_up(request: web.Request) -> web.Response:
    """Close the TCP connection instead of answering."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)
