"""What a stream is called on the wire, what its ids promise, and how streams are asked for.

Decides the wire name of a symbol's kind and back, which repairs a kind allows, how busy it is expected
to be, and how many names fit into one SUBSCRIBE. Sends nothing.

Invariants: `stream_of(wire_name(symbol, kind)) == (symbol, kind)` for every symbol that the exchange
lists; no batch of `subscribe_batches` is longer than its bound in bytes, whatever the request id.

Source: web-socket-streams.md of binance-spot-api-docs, 2026-07.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

import orjson

INTERVALS: Final = (
    *("1s", "1m", "3m", "5m", "15m", "30m"),
    *("1h", "2h", "4h", "6h", "8h", "12h"),
    *("1d", "3d", "1w", "1M"),
)
"""The candles that the exchange publishes; `1M` is a month, `1m` a minute."""

_SUFFIXES: Final[dict[str, str]] = {
    "trade": "trade",
    "agg_trade": "aggTrade",
    "book_ticker": "bookTicker",
    "depth": "depth@100ms",
    "mini_ticker": "miniTicker",
    "ticker": "ticker",
    "avg_price": "avgPrice",
    **{f"kline_{interval}": f"kline_{interval}" for interval in INTERVALS},
}
_KINDS_BY_SUFFIX: Final = {suffix: kind for kind, suffix in _SUFFIXES.items()}

KINDS: Final = tuple(_SUFFIXES)
"""Every kind of stream that this program can carry."""

EVENT_TYPE: Final[dict[str, str | None]] = {
    "trade": "trade",
    "agg_trade": "aggTrade",
    "book_ticker": None,
    "depth": "depthUpdate",
    "mini_ticker": "24hrMiniTicker",
    "ticker": "24hrTicker",
    "avg_price": "avgPrice",
    **{kind: "kline" for kind in _SUFFIXES if kind.startswith("kline_")},
}
"""What a kind's messages say they are (`e`); None for the kind whose messages do not say it."""

IdRule: TypeAlias = Literal["consecutive", "range", "rising", "candle", "none"]


def _id_rule(kind: str) -> IdRule:
    if kind in ("trade", "agg_trade"):
        return "consecutive"
    if kind == "depth":
        return "range"
    if kind == "book_ticker":
        return "rising"
    return "candle" if kind.startswith("kline_") else "none"


ID_RULE: Final[dict[str, IdRule]] = {kind: _id_rule(kind) for kind in KINDS}
"""What the ids of a kind promise.

* `consecutive`: each message's id is the one before plus one (trades, aggregate trades).
* `range`: each message covers ids `first..last`, and the next begins one after `last` (depth).
* `rising`: a later message has a higher id; nothing can be concluded from a jump (book ticker).
* `candle`: the open time of a closed candle is its id, and candles follow each other without a break.
* `none`: state, not events: what is lost is replaced by the next message (tickers, average price).
"""

REPAIRABLE: Final = frozenset(kind for kind in KINDS if ID_RULE[kind] in ("consecutive", "candle"))
"""Kinds whose lost messages can be had again by REST: historicalTrades, aggTrades, klines."""


def is_kind(kind: str) -> bool:
    """Tell whether this program knows `kind`."""
    return kind in _SUFFIXES


def interval_of(kind: str) -> str:
    """Return the interval of a kline kind, as in `1m` of `kline_1m`; ValueError for any other kind."""
    if ID_RULE.get(kind) != "candle":
        raise ValueError(f"not a kline kind: {kind!r}")
    return kind.removeprefix("kline_")


def wire_name(symbol: str, kind: str) -> str:
    """Return the exchange's name of a stream; ValueError for a kind that is not known."""
    suffix = _SUFFIXES.get(kind)
    if suffix is None:
        raise ValueError(f"unknown kind of stream: {kind!r}")
    return f"{symbol.lower()}@{suffix}"


def stream_of(wire_name: str) -> tuple[str, str]:
    """Return (symbol, kind) of the exchange's name of a stream; ValueError for a name we never ask for."""
    symbol, at, suffix = wire_name.partition("@")
    kind = _KINDS_BY_SUFFIX.get(suffix)
    if not symbol or not at or kind is None:
        raise ValueError(f"unknown stream: {wire_name!r}")
    return symbol.upper(), kind


# Ceilings of the exchange where it has one (a push each 100 ms, 1 s or 2 s). Book tickers have none:
# 3.7 for each trade on BTCUSDT, recorded 2024-08; quiet symbols, recorded 2021-04, show up to 7 a second
# nearly without trades, so both that follow quotes keep a base rate.
_DEPTH_CEILING_PER_S: Final = 10.0
_BOOK_TICKERS_PER_TRADE: Final = 4.0
_QUOTES_PER_S: Final = 1.0


def expected_rate(kind: str, trades_per_s: float) -> float:
    """Estimate the messages a second of a kind, for a symbol with so many trades a second.

    Good enough to share streams out evenly, and on the high side for all but book tickers of a symbol
    that is much quoted and little traded. ValueError for a kind that is not known.
    """
    if kind in ("trade", "agg_trade"):
        return trades_per_s
    if kind == "book_ticker":
        return _QUOTES_PER_S + _BOOK_TICKERS_PER_TRADE * trades_per_s
    if kind == "depth":
        return min(_DEPTH_CEILING_PER_S, _QUOTES_PER_S + _DEPTH_CEILING_PER_S * trades_per_s)
    if not is_kind(kind):
        raise ValueError(f"unknown kind of stream: {kind!r}")
    return 0.5 if kind.startswith("kline_") and kind != "kline_1s" else 1.0


# --- control messages ------------------------------------------------------------------------------

Method: TypeAlias = Literal["SUBSCRIBE", "UNSUBSCRIBE"]

_WIDEST_REQUEST_ID: Final = -(2**63)


def _request(method: Method, names: Sequence[str], request_id: int) -> bytes:
    return orjson.dumps({"method": method, "params": names, "id": request_id})


def request_messages(method: Method, names: Iterable[str], first_id: int) -> dict[int, str]:
    """Return the messages that ask for streams or give them up, by their request ids from `first_id` on."""
    batches = subscribe_batches(names)
    return {
        request_id: _request(method, batch, request_id).decode()
        for request_id, batch in enumerate(batches, start=first_id)
    }


def subscribe_batches(
    names: Iterable[str], *, max_streams: int = 100, max_bytes: int = 4000
) -> list[list[str]]:
    """Cut names, in their order, into lists that each fit into one SUBSCRIBE or UNSUBSCRIBE.

    `max_bytes` bounds the whole message in UTF-8, with the longest request id there can be. ValueError
    for a name that does not fit even alone.
    """
    # Room for `UNSUBSCRIBE`, the longer of the two; each name brings its comma, the first one does not.
    room = max_bytes - len(_request("UNSUBSCRIBE", [], _WIDEST_REQUEST_ID)) + 1
    batches: list[list[str]] = []
    used = 0
    for name in names:
        size = len(orjson.dumps(name)) + 1
        if size > room:
            raise ValueError(f"stream name of {size} bytes does not fit into {max_bytes}: {name!r}")
        if not batches or used + size > room or len(batches[-1]) >= max_streams:
            batches.append([])
            used = 0
        batches[-1].append(name)
        used += size
    return batches
