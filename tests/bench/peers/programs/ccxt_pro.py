"""ccxt pro: one task for each symbol and kind. It decodes with orjson when that is installed.

Between two calls it keeps the newest thousand trades of a symbol, its newest book and best prices, so that of
a burst fewer objects reach the user than messages came. `watch_trades_for_symbols` and its like, with one
task for all symbols, hand over far fewer still: only what is new of the symbol that came first.
"""

import asyncio

import ccxt.pro

from tests.bench.peers.programs.meter import Meter, start


async def trades(exchange: ccxt.pro.binance, symbol: str, meter: Meter) -> None:
    """Count trades."""
    while True:
        meter.received(len(await exchange.watch_trades(symbol)))


async def book(exchange: ccxt.pro.binance, symbol: str, meter: Meter) -> None:
    """Count changes of the book."""
    while True:
        await exchange.watch_order_book(symbol)
        meter.received()


async def best_prices(exchange: ccxt.pro.binance, symbol: str, meter: Meter) -> None:
    """Count changes of the best prices."""
    while True:
        await exchange.watch_bids_asks([symbol])
        meter.received()


WATCH = {"trade": trades, "depth": book, "book_ticker": best_prices}


async def main() -> None:
    """Watch all symbols."""
    job, meter = start()
    exchange = ccxt.pro.binance(
        {
            "newUpdates": True,
            "options": {
                "defaultType": "spot",
                "fetchMarkets": {"types": ["spot"]},
                "fetchCurrencies": False,
            },
        }
    )
    exchange.urls["api"]["public"] = f"{job.rest_url}/api/v3"
    exchange.urls["api"]["ws"]["spot"] = f"{job.ws_url}/ws"
    await exchange.load_markets()
    symbols = [symbol.removesuffix("USDT") + "/USDT" for symbol in job.symbols]
    async with asyncio.TaskGroup() as group:
        for kind in job.kinds:
            for symbol in symbols:
                group.create_task(WATCH[kind](exchange, symbol, meter))


if __name__ == "__main__":
    asyncio.run(main())
