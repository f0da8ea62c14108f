"""The control messages of a websocket connection: bytes in, reply bytes and changes out.

Pure. Holds what one connection is subscribed to, known names and unknown ones alike. Sources: Binance
spot docs, web-socket-streams.md (methods, ids, error texts); the size limit and the nested error shape
are what clients saw.
"""

import dataclasses
import re
from typing import Literal, TypeAlias

import orjson

from ingest.sim.limits import Limits, Violations

ErrorShape: TypeAlias = Literal["top", "nested"]
Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

_METHODS = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
_TEXT_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
_INT64 = 2**63


@dataclasses.dataclass(slots=True)
class Outcome:
    """What a message led to. `reply` is None when the exchange does not answer."""

    reply: bytes | None = None
    added: list[str] = dataclasses.field(default_factory=list)
    removed: list[str] = dataclasses.field(default_factory=list)
    renewed: list[str] = dataclasses.field(default_factory=list)
    """Names that were subscribed already and asked for again."""


class _Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Subscriptions:
    """Stream names of one connection, and its `combined` property."""

    def __init__(
        self, limits: Limits, violations: Violations, *, combined: bool, error_shape: ErrorShape = "top"
    ) -> None:
        self.names: dict[str, None] = {}
        self.combined = combined
        self._limits = limits
        self._violations = violations
        self._error_shape = error_shape

    def from_url(self, names: list[str]) -> list[str] | None:
        """Take over the names of the URL; None when they are too many."""
        wanted = dict.fromkeys(name for name in names if name)
        if len(wanted) > self._limits.streams_per_connection:
            self._violations.too_many_streams += 1
            return None
        self.names = wanted
        return list(wanted)

    def receive(self, message: bytes) -> Outcome:
        """Carry out one control message."""
        if len(message) > self._limits.request_bytes:
            self._violations.long_requests += 1
            return Outcome()
        request_id: Json = None
        try:
            request = _parsed(message)
            request_id = _checked_id(request)
            return self._carry_out(request, request_id)
        except _Refused as refusal:
            return Outcome(self._error(refusal, request_id))

    def _carry_out(self, request: dict[str, Json], request_id: Json) -> Outcome:
        method = request.get("method")
        params = request.get("params", [])
        if not isinstance(params, list):
            raise _Refused(2, "Invalid request: params must be a list")
        match method:
            case "SUBSCRIBE":
                return self._subscribe(_names(params), request_id)
            case "UNSUBSCRIBE":
                return self._unsubscribe(_names(params), request_id)
            case "LIST_SUBSCRIPTIONS":
                return Outcome(_result(list(self.names), request_id))
            case "SET_PROPERTY":
                return self._set_property(params, request_id)
            case "GET_PROPERTY":
                return self._get_property(params, request_id)
        raise _Refused(2, f"Invalid request: unknown variant {method}, expected one of {_METHODS}")

    def _subscribe(self, names: list[str], request_id: Json) -> Outcome:
        fresh = [name for name in dict.fromkeys(names) if name not in self.names]
        if len(self.names) + len(fresh) > self._limits.streams_per_connection:
            self._violations.too_many_streams += 1
            raise _Refused(4, "Too many subscriptions")
        renewed = [name for name in names if name in self.names]
        self.names.update(dict.fromkeys(fresh))
        return Outcome(_result(None, request_id), added=fresh, renewed=renewed)

    def _unsubscribe(self, names: list[str], request_id: Json) -> Outcome:
        gone = [name for name in dict.fromkeys(names) if name in self.names]
        for name in gone:
            del self.names[name]
        return Outcome(_result(None, request_id), removed=gone)

    def _set_property(self, params: list[Json], request_id: Json) -> Outcome:
        _check_property(params, 2)
        if not isinstance(params[1], bool):
            raise _Refused(1, "Invalid value type: expected Boolean")
        self.combined = params[1]
        return Outcome(_result(None, request_id))

    def _get_property(self, params: list[Json], request_id: Json) -> Outcome:
        _check_property(params, 1)
        return Outcome(_result(self.combined, request_id))

    def _error(self, refusal: _Refused, request_id: Json) -> bytes:
        error: dict[str, Json] = {"code": refusal.code, "msg": refusal.message}
        if self._error_shape == "nested":
            return orjson.dumps({"error": error, "id": request_id})
        return orjson.dumps({**error, "id": request_id})


def _parsed(message: bytes) -> dict[str, Json]:
    try:
        request = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        place = f"at line {error.lineno} column {error.colno}"
        raise _Refused(3, f"Invalid JSON: expected value {place}") from error
    if not isinstance(request, dict):
        raise _Refused(2, "Invalid request: expected an object")
    if "method" not in request:
        raise _Refused(2, f"Invalid request: missing field `method` at line 1 column {len(message)}")
    return request


def _checked_id(request: dict[str, Json]) -> Json:
    request_id = request.get("id")
    if isinstance(request_id, int) and not isinstance(request_id, bool):
        if -_INT64 <= request_id < _INT64:
            return request_id
    elif request_id is None or (isinstance(request_id, str) and _TEXT_ID.fullmatch(request_id)):
        return request_id
    raise _Refused(2, "Invalid request: request ID must be a 64-bit integer, a short string, or null")


def _names(params: list[Json]) -> list[str]:
    names = [param for param in params if isinstance(param, str)]
    if len(names) != len(params):
        raise _Refused(2, "Invalid request: stream name must be a string")
    return names


def _check_property(params: list[Json], expected: int) -> None:
    if len(params) > expected:
        raise _Refused(2, "Invalid request: too many parameters")
    if not params or not isinstance(params[0], str):
        raise _Refused(2, "Invalid request: property name must be a string")
    if params[0] != "combined":
        raise _Refused(0, "Unknown property")
    if len(params) < expected:
        raise _Refused(1, "Invalid value type: expected Boolean")


def _result(result: Json, request_id: Json) -> bytes:
    return orjson.dumps({"result": result, "id": request_id})
