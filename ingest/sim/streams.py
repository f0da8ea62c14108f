"""Stream names: what a client asks for, taken apart.

Pure. The symbol part is lower case and the rest is case-sensitive, as on the exchange; a name that is
not understood is no error (the exchange acknowledges it and stays silent). Names retired by the
exchange (`!ticker@arr`, `!bookTicker`) are among those.
"""

from ingest.sim.intervals import INTERVAL_MS

ALL_MINI = "!miniTicker@arr"

_KINDS: dict[str, str] = {
    "trade": "trade",
    "aggTrade": "agg_trade",
    "bookTicker": "book_ticker",
    "depth": "depth_1s",
    "depth@1000ms": "depth_1s",
    "depth@100ms": "depth",
    "miniTicker": "mini_ticker",
    "ticker": "ticker",
    "avgPrice": "avg_price",
}
_PARTIAL = {
    f"depth{levels}{speed}": f"depth{levels}{kind}"
    for levels in (5, 10, 20)
    for speed, kind in (("", "_1s"), ("@1000ms", "_1s"), ("@100ms", ""))
}
_KLINES = {f"kline_{interval}": f"kline_{interval}" for interval in INTERVAL_MS}

KIND_OF_SUFFIX: dict[str, str] = _KINDS | _PARTIAL | _KLINES
"""What follows the first `@` to the double's word for it."""

PARTIAL_LEVELS: dict[str, int] = {
    f"depth{levels}{suffix}": levels for levels in (5, 10, 20) for suffix in ("", "_1s")
}
"""Kinds of partial depth and their number of levels a side."""


def stream_parts(name: str) -> tuple[str, str] | None:
    """(SYMBOL, kind) of a stream name; None when there is no such stream."""
    symbol, at, suffix = name.partition("@")
    kind = KIND_OF_SUFFIX.get(suffix)
    if not at or kind is None or symbol != symbol.lower():
        return None
    return symbol.upper(), kind
