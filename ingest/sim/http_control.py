"""The control door of the double, `/_double/`, for tests and for people; loopback only.

POST   start | pause | resume | finish
GET    state                      connections, streams, counters, violations
GET    faults                     what was ordered and what became of it
POST   faults                     one fault (JSON object), or {"fault": [...]}
DELETE faults/<id>                lift it
GET    ledger                     the series and how many events each holds
GET    ledger?symbol=S&kind=K     one series as columns; with format=ndjson one event a line
POST   symbols/<S>/status         {"status": "TRADING" | "HALT" | "BREAK"}
POST   symbols/<S>/skip           {"kind": "trade" | "agg_trade", "ids": 5}: ids that nobody will ever have
POST   symbols/<S>                list a new symbol of the seeded market
DELETE symbols/<S>                delist it, for good
"""

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import orjson
from aiohttp import web

from ingest.sim.faults import Fault, FaultError, fault_from, faults_from_script
from ingest.sim.injection import FaultRecord
from ingest.sim.ledger import Ledger

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STATUSES = ("TRADING", "HALT", "BREAK")
_SKIPPING = ("trade", "agg_trade")
_MOST_SKIPPED = 1_000_000


class Controls(Protocol):
    """What the control door needs of the server."""

    ledger: Ledger

    def start(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def finish(self) -> None: ...
    def add_fault(self, fault: Fault) -> FaultRecord: ...
    def lift_fault(self, fault_id: int) -> FaultRecord: ...
    def set_status(self, symbol: str, status: str) -> None: ...
    def skip_ids(self, symbol: str, kind: str, ids: int) -> None: ...
    def list_symbol(self, symbol: str) -> None: ...
    def delist(self, symbol: str) -> None: ...
    def state(self) -> dict[str, object]: ...

    @property
    def faults(self) -> Mapping[int, FaultRecord]: ...


class ControlDoor:
    """Handlers below `/_double/`."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/_double/{verb:start|pause|resume|finish}", _local(self.verb)),
            web.get("/_double/state", _local(self.state)),
            web.get("/_double/faults", _local(self.list_faults)),
            web.post("/_double/faults", _local(self.add_faults)),
            web.delete(r"/_double/faults/{id:\d+}", _local(self.lift_fault)),
            web.get("/_double/ledger", _local(self.ledger)),
            web.post("/_double/symbols/{symbol}/status", _local(self.set_status)),
            web.post("/_double/symbols/{symbol}/skip", _local(self.skip_ids)),
            web.post("/_double/symbols/{symbol}", _local(self.list_symbol)),
            web.delete("/_double/symbols/{symbol}", _local(self.delist)),
        ]

    async def verb(self, request: web.Request) -> web.Response:
        verbs = {
            "start": self._controls.start,
            "pause": self._controls.pause,
            "resume": self._controls.resume,
            "finish": self._controls.finish,
        }
        verbs[request.match_info["verb"]]()
        return _json(self._controls.state())

    async def state(self, request: web.Request) -> web.Response:
        return _json(self._controls.state())

    async def list_faults(self, request: web.Request) -> web.Response:
        return _json([record.as_dict() for record in self._controls.faults.values()])

    async def add_faults(self, request: web.Request) -> web.Response:
        try:
            faults = _faults(await request.read())
        except FaultError as error:
            return _json({"mistakes": error.mistakes}, 400)
        return _json([self._controls.add_fault(fault).as_dict() for fault in faults])

    async def lift_fault(self, request: web.Request) -> web.Response:
        try:
            record = self._controls.lift_fault(int(request.match_info["id"]))
        except KeyError:
            return _json({"mistakes": ["no such fault"]}, 404)
        return _json(record.as_dict())

    async def ledger(self, request: web.Request) -> web.Response:
        ledger = self._controls.ledger
        symbol, kind = request.query.get("symbol"), request.query.get("kind")
        if symbol is None or kind is None:
            return _json(_summary(ledger))
        if request.query.get("format") == "ndjson":
            lines = (orjson.dumps(entry._asdict()) for entry in ledger.entries(symbol, kind))
            return web.Response(body=b"\n".join(lines), content_type="application/x-ndjson")
        series = ledger.series(symbol, kind)
        return _json({"symbol": symbol, "kind": kind, "dropped": series.dropped, **series.columns()})

    async def set_status(self, request: web.Request) -> web.Response:
        try:
            wanted = orjson.loads(await request.read())
            status = wanted["status"] if isinstance(wanted, dict) else None
        except (orjson.JSONDecodeError, KeyError):
            status = None
        if status not in _STATUSES:
            return _json({"mistakes": [f"status must be one of {', '.join(_STATUSES)}"]}, 400)
        try:
            self._controls.set_status(request.match_info["symbol"], status)
        except KeyError:
            return _json({"mistakes": ["no such symbol"]}, 404)
        return _json({"symbol": request.match_info["symbol"], "status": status})

    async def skip_ids(self, request: web.Request) -> web.Response:
        try:
            wanted = orjson.loads(await request.read())
            kind, ids = wanted["kind"], wanted["ids"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            kind, ids = None, 0
        if kind not in _SKIPPING or not isinstance(ids, int) or not 0 < ids <= _MOST_SKIPPED:
            return _json({"mistakes": [f"kind must be trade or agg_trade, ids 1 to {_MOST_SKIPPED}"]}, 400)
        try:
            self._controls.skip_ids(request.match_info["symbol"], kind, ids)
        except KeyError:
            return _json({"mistakes": ["no such symbol"]}, 404)
        return _json({"symbol": request.match_info["symbol"], "kind": kind, "ids": ids})

    async def list_symbol(self, request: web.Request) -> web.Response:
        try:
            self._controls.list_symbol(request.match_info["symbol"])
        except KeyError:
            return _json({"mistakes": ["it was listed before, or there is no seeded market"]}, 409)
        return _json({"symbol": request.match_info["symbol"], "status": "TRADING"})

    async def delist(self, request: web.Request) -> web.Response:
        try:
            self._controls.delist(request.match_info["symbol"])
        except KeyError:
            return _json({"mistakes": ["no such symbol"]}, 404)
        return _json({"symbol": request.match_info["symbol"], "status": "delisted"})


def _faults(body: bytes) -> tuple[Fault, ...]:
    try:
        wanted = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise FaultError([f"not JSON: {error}"]) from error
    if isinstance(wanted, dict) and "fault" in wanted:
        return faults_from_script(wanted)
    return (fault_from(wanted),)


def _summary(ledger: Ledger) -> dict[str, object]:
    series = [
        {
            "symbol": each.symbol,
            "kind": each.kind,
            "happened": each.happened,
            "dropped": each.dropped,
            "last_id": each.last_id,
        }
        for each in ledger.all_series()
    ]
    return {"dropped": ledger.dropped, "series": series}


def _local(handler: Handler) -> Handler:
    """Answer to this machine only."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            is_local = ipaddress.ip_address(request.remote or "").is_loopback
        except ValueError:
            is_local = False
        if not is_local:
            return web.Response(status=403)
        return await handler(request)

    return guarded


def _json(answer: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(answer), status=status, content_type="application/json")
