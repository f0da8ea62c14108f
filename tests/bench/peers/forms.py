"""The same frame for whatever a client has subscribed to: in its envelope or raw, a trade also as aggTrade.

Pure. A client that has no stream of single trades gets each trade as an aggregate of one: the same fields
and two ids more.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

Form: TypeAlias = Callable[[bytes], bytes]

_DATA: Final = b'"data":'
_TRADE_ID: Final = re.compile(rb'"t":(\d+),')


class Wanted(NamedTuple):
    """What a name stands for: a stream of ours, and the form its frames are sent in."""

    stream: str
    form: Form


def wanted(name: str, *, combined: bool) -> Wanted:
    """For a stream's name as a client has it."""
    symbol, _, channel = name.partition("@")
    if channel == "aggTrade":
        return Wanted(f"{symbol}@trade", as_agg_trade if combined else _raw_agg_trade)
    return Wanted(name, as_combined if combined else as_raw)


def as_combined(payload: bytes) -> bytes:
    """As they were made: `{"stream":...,"data":{...}}`."""
    return payload


def as_raw(payload: bytes) -> bytes:
    """The data without their envelope, as `/ws` has them."""
    return payload[payload.index(_DATA) + len(_DATA) : -1]


def as_agg_trade(payload: bytes) -> bytes:
    """A frame of a trade as one of an aggregate trade, which it is by itself."""
    found = _TRADE_ID.search(payload)
    if found is None:
        raise ValueError("no trade")
    trade_id = found.group(1)
    head = (
        payload[: found.start()].replace(b"@trade", b"@aggTrade").replace(b'"e":"trade"', b'"e":"aggTrade"')
    )
    body = payload[found.end() :].replace(b'"T":', b'"f":%b,"l":%b,"T":' % (trade_id, trade_id))
    return head + b'"a":%b,' % trade_id + body


def _raw_agg_trade(payload: bytes) -> bytes:
    return as_raw(as_agg_trade(payload))


def path_streams(target: str) -> tuple[bool, list[str]]:
    """Whether frames come in envelopes, and the streams, by the target of a handshake's request line.

    `/stream?streams=a/b`, `/ws/a/b`, and either without streams for a client that will SUBSCRIBE (ccxt adds a
    number of its own to `/ws`).
    """
    path, _, query = target.partition("?")
    if path.startswith("/stream"):
        return True, _names(query.partition("streams=")[2].partition("&")[0])
    return False, _names(path.removeprefix("/ws"))


def _names(text: str) -> list[str]:
    return [name for name in text.replace("%40", "@").replace("%2F", "/").split("/") if "@" in name]
