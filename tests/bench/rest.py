"""As much of the exchange's REST as a service asks for: books, and with a strip also the market as it stands.

Repairs (`historicalTrades` and the like) are not answered: what a run has lost stays lost, for its account.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

import orjson
from aiohttp import web

from tests.bench.standing import Snapshot, Standing

_RATE: Final = 60_000.0
"""Messages a second that the last 24 hours seem to have had; a service only looks at the proportions."""
_LEVELS: Final = 100


def book_routes(snapshots: Mapping[str, Snapshot]) -> list[web.RouteDef]:
    """`depth` alone, always with the book that a tape begins with."""
    bodies = {symbol: orjson.dumps(snapshot) for symbol, snapshot in snapshots.items()}

    async def depth(request: web.Request) -> web.Response:
        return web.Response(body=bodies[request.query["symbol"]], content_type="application/json")

    return [web.get("/api/v3/depth", depth)]


class MarketRest:
    """The market of a strip; `number` tells how many of its frames were sent."""

    def __init__(self, symbols: list[str], standing: Standing, number: Callable[[], int]) -> None:
        self._symbols = symbols
        self._standing = standing
        self._number = number

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v3/depth", self._depth),
            web.get("/api/v3/exchangeInfo", self._exchange_info),
            web.get("/api/v3/ticker/24hr", self._day_stats),
            web.get("/api/v3/ticker/bookTicker", self._best_prices),
            web.get("/api/v3/time", self._time),
        ]

    def _asked(self, request: web.Request) -> list[str]:
        if "symbol" in request.query:
            return [request.query["symbol"]]
        named: list[str] = orjson.loads(request.query.get("symbols", "null")) or self._symbols
        return named

    async def _depth(self, request: web.Request) -> web.Response:
        limit = int(request.query.get("limit", _LEVELS))
        return _json(self._standing.depth(request.query["symbol"], self._number(), limit=limit))

    async def _exchange_info(self, request: web.Request) -> web.Response:
        return _json({"symbols": [_instrument(symbol) for symbol in self._asked(request)]})

    async def _day_stats(self, request: web.Request) -> web.Response:
        number = self._number()
        symbols = self._asked(request)
        return _json([self._standing.day_stats(symbol, number, rate=_RATE) for symbol in symbols])

    async def _best_prices(self, request: web.Request) -> web.Response:
        number = self._number()
        return _json([self._standing.best_prices(symbol, number) for symbol in self._asked(request)])

    async def _time(self, _: web.Request) -> web.Response:
        return _json({"serverTime": time.time_ns() // 1_000_000})


def _instrument(symbol: str) -> dict[str, object]:
    quote = "USDT"
    base = symbol.removesuffix(quote)
    return {"symbol": symbol, "status": "TRADING", "baseAsset": base, "quoteAsset": quote, "filters": []}


def _json(body: object) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")
