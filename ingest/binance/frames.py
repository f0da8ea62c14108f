"""A websocket frame taken apart: either one stream's message, or the exchange talking about the connection.

Decides what kind of thing a frame is; the message itself is for `ingest.binance.parse`. Both documented
and seen shapes of refusals and of the shutdown notice are recognised. Anything else raises
`MalformedFrame`.

Source: web-socket-streams.md of binance-spot-api-docs, 2026-07; the nested error is what servers were
seen to send instead of the documented one.
"""

from dataclasses import dataclass
from typing import TypeAlias

import orjson

JsonObject: TypeAlias = dict[str, object]

RequestId: TypeAlias = int | str | None


class MalformedFrame(ValueError):
    """What the exchange sent is not what its documentation says; `kind` and `field` when they are known."""

    def __init__(self, reason: str, *, kind: str | None = None, field: str | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.field = field


@dataclass(frozen=True, slots=True)
class Ack:
    """A request was understood. `names` answers LIST_SUBSCRIPTIONS and is None for all others.

    An acknowledged SUBSCRIBE proves nothing about its names: unknown streams are acknowledged too.
    """

    request_id: RequestId
    names: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request was refused; the exchange does not always say which (`request_id` None)."""

    request_id: RequestId
    code: int | None
    message: str


@dataclass(frozen=True, slots=True)
class ServerShutdown:
    """The server behind this connection will go away, at no stated time: reconnect now."""


Control: TypeAlias = Ack | Refusal | ServerShutdown

_SHUTDOWN_STREAM = "!serverShutdown"


def split_frame(frame: bytes | str) -> tuple[str, JsonObject] | Control:
    """Return (wire name, message) of a frame of a combined connection, or what the exchange says.

    Raises MalformedFrame for what is not JSON, is not combined, or carries no object.
    """
    try:
        message = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise MalformedFrame(f"not JSON: {error}") from None
    if type(message) is not dict:
        raise MalformedFrame(f"a frame must hold an object, not {type(message).__name__}")
    name = message.get("stream")
    data = message.get("data")
    if type(name) is str and type(data) is dict and name != _SHUTDOWN_STREAM:
        return name, data
    item = control(message)
    if item is None:
        raise MalformedFrame("neither a combined message nor a reply")
    return item


def control(message: JsonObject) -> Control | None:
    """Return what a reply or notice says, or None if it is neither."""
    if message.get("e") == "serverShutdown" or message.get("stream") == _SHUTDOWN_STREAM:
        return ServerShutdown()
    request_id = _request_id(message.get("id"))
    if "error" in message:
        return _refusal(request_id, message["error"])
    if "code" in message:
        return _refusal(request_id, message)
    if "result" in message:
        return Ack(request_id, _names(message["result"]))
    return None


def _request_id(value: object) -> RequestId:
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _refusal(request_id: RequestId, error: object) -> Refusal:
    if not isinstance(error, dict):
        return Refusal(request_id, None, str(error))
    code = error.get("code")
    return Refusal(request_id, code if isinstance(code, int) else None, str(error.get("msg", "")))


def _names(result: object) -> list[str] | None:
    if not isinstance(result, list):
        return None
    return [name for name in result if isinstance(name, str)]
