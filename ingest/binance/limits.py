"""What the exchange allows: the numbers of Binance spot, each with its source.

Decides nothing. All are defaults of the documentation; the exchange states its own current budget in
`exchangeInfo.rateLimits` and in the header `X-MBX-USED-WEIGHT-1M` of every REST answer.

Sources: *streams* is web-socket-streams.md and *rest* is rest-api.md of binance-spot-api-docs, as of
2026-07; *seen* is behaviour reported by other clients and not documented.
"""

from typing import Final

# --- websocket -------------------------------------------------------------------------------------

MAX_STREAMS_PER_FEED: Final = 1024
"""Streams on one connection (*streams*, WebSocket limits)."""

MAX_SUBSCRIBE_BYTES: Final = 4088
"""Payload of a SUBSCRIBE; a longer one is neither answered nor obeyed (*seen*: 2024-12)."""

MAX_CONNECTS: Final = 300
"""Connection attempts of one IP in five minutes (*streams*; since 2023-02-17)."""

# --- REST ------------------------------------------------------------------------------------------

REQUEST_WEIGHT_PER_MIN: Final = 6000
"""Weight of one IP in a minute, counted from the start of the clock's minute (*rest*; since 2023-08-25)."""

MAX_DEPTH_LIMIT: Final = 5000
"""Levels of a side in a depth snapshot at most (*rest*, `depth`)."""

MAX_ROWS: Final = 1000
"""Rows of one answer of `trades`, `historicalTrades`, `aggTrades` and `klines` at most (*rest*)."""

UNKNOWN_SYMBOL: Final = -1121
"""The code of a refusal because there is no such symbol, or no longer (*rest*, errors.md)."""

WEIGHTS: Final[dict[str, int]] = {
    "time": 1,
    "exchangeInfo": 20,
    "historicalTrades": 25,
    "aggTrades": 4,
    "klines": 2,
}
"""Weight of the calls that cost the same whatever is asked, by path below `/api/v3/` (*rest*)."""

ALL_SYMBOLS: Final = 0
"""In `day_ticker_weight` and `book_ticker_weight`: the call without a symbol, which answers for all."""

_DEPTH_WEIGHTS: Final = ((100, 5), (500, 25), (1000, 50), (MAX_DEPTH_LIMIT, 250))


def depth_weight(limit: int) -> int:
    """Return the weight of `depth` with `limit` levels a side, 1 to 5000; ValueError outside (*rest*)."""
    if limit >= 1:
        for levels, weight in _DEPTH_WEIGHTS:
            if limit <= levels:
                return weight
    raise ValueError(f"depth limit {limit} is not in 1..{MAX_DEPTH_LIMIT}")


def day_ticker_weight(symbols: int) -> int:
    """Return the weight of `ticker/24hr` for so many symbols, or for `ALL_SYMBOLS` (*rest*)."""
    if symbols == ALL_SYMBOLS or symbols > 100:
        return 80
    return 2 if symbols <= 20 else 40


def book_ticker_weight(symbols: int) -> int:
    """Return the weight of `ticker/bookTicker` and `ticker/price` for so many symbols (*rest*)."""
    return 2 if symbols == 1 else 4
