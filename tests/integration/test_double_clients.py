"""Clients that other people wrote connect to the double, unmodified, and rebuild the right book.

If the double misunderstood the protocol, python-binance and ccxt would not get along with it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import ccxt.pro
import pytest
from binance import AsyncClient, BinanceSocketManager
from binance.ws.depthcache import DepthCacheManager

from ingest.sim.book import Book
from ingest.sim.decimals import UNIT
from ingest.sim.faults import Shutdown
from ingest.sim.server import ExchangeDouble
from tests.integration.double_client import DEADLINE_S, market_config

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
Levels = list[tuple[float, float]]


def _floats(levels: list[tuple[int, int]]) -> Levels:
    return [(price / UNIT, qty / UNIT) for price, qty in levels]


@asynccontextmanager
async def _python_binance(double: ExchangeDouble) -> AsyncIterator[tuple[Any, Any]]:
    """The client and its socket manager, with their addresses overridden as class attributes."""

    class Client(AsyncClient):  # type: ignore[misc]
        API_URL = double.rest_url + "/api"

    class Sockets(BinanceSocketManager):  # type: ignore[misc]
        STREAM_URL = double.ws_url + "/"

    client = await Client.create()
    try:
        yield client, Sockets(client)
    finally:
        await client.close_connection()


async def test_python_binance_reads_rest_and_streams() -> None:
    """Its REST calls are answered and its sockets receive."""
    async with ExchangeDouble(market_config()) as double, _python_binance(double) as (client, sockets):
        info = await client.get_exchange_info()
        async with sockets.multiplex_socket(["btcusdt@trade", "btcusdt@kline_1m"]) as stream:
            async with asyncio.timeout(DEADLINE_S):
                events = [await stream.recv() for _ in range(50)]
        trades = await client.get_historical_trades(symbol="BTCUSDT", fromId=0, limit=5)

    assert [each["symbol"] for each in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert [trade["id"] for trade in trades] == list(range(trades[0]["id"], trades[0]["id"] + len(trades)))
    assert {event["stream"] for event in events} >= {"btcusdt@trade"}


async def test_python_binance_rebuilds_the_book() -> None:
    """Its depth cache, once the market stands still, equals the double's own book."""
    async with ExchangeDouble(market_config()) as double, _python_binance(double) as (client, sockets):

        class Cache(DepthCacheManager):  # type: ignore[misc]
            def _get_bm(self) -> Any:
                return sockets

        manager = Cache(client, "BTCUSDT", limit=1000, bm=sockets, ws_interval=100)
        async with manager, asyncio.timeout(DEADLINE_S):
            cache = await manager.recv()
            for _ in range(20):
                cache = await manager.recv()
            double.finish()
            book = double.book("BTCUSDT")
            while manager._last_update_id != book.update_id:
                cache = await manager.recv()
            # Its reader leaves only when a message comes, or after ten seconds.
            loop = asyncio.get_running_loop()
            loop.call_later(0.3, double.add_fault, Shutdown(close_after_s=None))

    assert [tuple(level) for level in cache.get_bids()] == _floats(book.top_bids(10_000))
    assert [tuple(level) for level in cache.get_asks()] == _floats(book.top_asks(10_000))


@asynccontextmanager
async def _ccxt(double: ExchangeDouble) -> AsyncIterator[Any]:
    """ccxt's Binance, spot only, with its addresses overridden in the instance's table of them."""
    exchange: Any = ccxt.pro.binance(
        {"options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False}}
    )
    exchange.urls["api"]["public"] = double.rest_url + "/api/v3"
    exchange.urls["api"]["ws"]["spot"] = double.ws_url + "/ws"
    exchange.aiohttp_trust_env = False
    exchange.session = aiohttp.ClientSession()
    try:
        yield exchange
    finally:
        await exchange.close()
        await exchange.session.close() if exchange.session else None


async def test_ccxt_receives_trades() -> None:
    """Its trades carry the ids of the double's ledger."""
    async with ExchangeDouble(market_config()) as double, _ccxt(double) as exchange:
        async with asyncio.timeout(DEADLINE_S):
            trades = [trade for _ in range(5) for trade in await exchange.watch_trades("BTC/USDT")]
        ids = {str(entry.event_id) for entry in double.ledger.entries("BTCUSDT", "agg_trade")}
        ids |= {str(entry.event_id) for entry in double.ledger.entries("BTCUSDT", "trade")}

    assert trades
    assert {trade["id"] for trade in trades} <= ids


async def test_ccxt_rebuilds_the_book() -> None:
    """Its order book, once the market stands still, equals the double's own."""
    async with ExchangeDouble(market_config()) as double, _ccxt(double) as exchange:
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(20):
                await exchange.watch_order_book("BTC/USDT", 5000)
            double.finish()
            book = double.book("BTCUSDT")
            await _until_at(exchange, book)
            final = exchange.orderbooks["BTC/USDT"].limit()

    assert [tuple(level[:2]) for level in final["bids"]] == _floats(book.top_bids(10_000))
    assert [tuple(level[:2]) for level in final["asks"]] == _floats(book.top_asks(10_000))


async def _until_at(exchange: Any, book: Book) -> None:
    """The finished market sends nothing more, so the client is asked, not awaited."""
    while exchange.orderbooks["BTC/USDT"]["nonce"] != book.update_id:
        await asyncio.sleep(0.01)
