"""cryptofeed: its Binance feed with callbacks, or with its own PostgreSQL backend.

Its backend drops the oldest rows when it cannot keep up; here it blocks instead, which its `overflow` offers.
Trades come from `aggTrade`; it keeps a book of every symbol and stores what changed in it as JSON.
"""

from typing import ClassVar

from cryptofeed import FeedHandler
from cryptofeed.backends.postgres import BookPostgres, TickerPostgres, TradePostgres
from cryptofeed.connection import AsyncConnection, RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import Binance

from tests.bench.peers.programs.meter import Job, Meter, start

CHANNELS = {"trade": TRADES, "book_ticker": TICKER, "depth": L2_BOOK}
BACKENDS = {"trade": TradePostgres, "book_ticker": TickerPostgres, "depth": BookPostgres}


def counting(backend: type, meter: Meter) -> type:
    """The backend, counting what it has written."""

    class Counting(backend):  # type: ignore[misc]
        async def write_batch(self, batch: list[dict[str, object]]) -> int:
            written = int(await super().write_batch(batch))
            meter.received(len(batch))
            meter.stored(written)
            return written

    return Counting


def callbacks(job: Job, meter: Meter) -> dict[str, object]:
    """By channel."""

    async def count(_: object, __: float) -> None:
        meter.received()

    if job.store == "nothing":
        return {CHANNELS[kind]: count for kind in job.kinds}
    database = job.database
    return {
        CHANNELS[kind]: counting(BACKENDS[kind], meter)(
            host=database["host"],
            port=database["port"],
            user=database["user"],
            db=database["database"],
            overflow="block",
        )
        for kind in job.kinds
    }


def main() -> None:
    """Receive and store."""
    job, meter = start()

    class Local(Binance):  # type: ignore[misc]
        websocket_endpoints: ClassVar = [WebsocketEndpoint(job.ws_url.replace("ws://", "wss://"))]
        rest_endpoints: ClassVar = [
            RestEndpoint(
                job.rest_url,
                routes=Routes("/api/v3/exchangeInfo", l2book="/api/v3/depth?symbol={}&limit={}"),
            )
        ]

        def connect(self) -> list[tuple[AsyncConnection, object, object]]:
            """It wants TLS addresses; the others are measured without TLS, and so is it."""
            found: list[tuple[AsyncConnection, object, object]] = super().connect()
            for connection, *_ in found:
                connection.address = connection.address.replace("wss://", "ws://")
            return found

    handler = FeedHandler(config={"log": {"filename": "", "level": "WARNING"}, "uvloop": True})
    handler.add_feed(
        Local(
            symbols=[symbol.removesuffix("USDT") + "-USDT" for symbol in job.symbols],
            channels=[CHANNELS[kind] for kind in job.kinds],
            callbacks=callbacks(job, meter),
        )
    )
    handler.run()


if __name__ == "__main__":
    main()
