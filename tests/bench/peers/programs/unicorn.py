"""unicorn-binance-websocket-api: one stream of all channels, read from its asyncio queue, as it recommends.

The queue has no bound. Rows go in by psycopg's `executemany`.
"""

import asyncio

import psycopg
from unicorn_binance_websocket_api import BinanceWebSocketApiManager

from tests.bench.peers.programs.meter import Job, Meter, start
from tests.bench.peers.programs.rows import COLUMNS, Message, insert, row

BATCH_ROWS = 1000
CHANNELS = {"trade": "trade", "book_ticker": "bookTicker", "depth": "depth@100ms"}


class Store:
    """Rows by table, written when a batch is together."""

    def __init__(self, job: Job, meter: Meter) -> None:
        self._job = job
        self._meter = meter
        self._connection: psycopg.AsyncConnection | None = None
        self._batches: dict[str, list[tuple[object, ...]]] = {table: [] for table in COLUMNS}

    async def connect(self) -> None:
        """When anything is to be stored."""
        if self._job.store != "nothing":
            database = self._job.database
            self._connection = await psycopg.AsyncConnection.connect(
                host=database["host"],
                port=database["port"],
                user=database["user"],
                dbname=database["database"],
                autocommit=True,
            )

    async def add(self, message: Message) -> None:
        """One message's data."""
        self._meter.received()
        if self._connection is None:
            return
        table, values = row(message)
        self._batches[table].append(values)
        if len(self._batches[table]) >= BATCH_ROWS:
            await self._flush(table)
        if self._meter.all_received:
            for left in COLUMNS:
                await self._flush(left)

    async def _flush(self, table: str) -> None:
        batch = self._batches[table]
        if batch and self._connection is not None:
            async with self._connection.cursor() as cursor:
                await cursor.executemany(insert(table, "%s"), batch)
            self._meter.stored(len(batch))
            batch.clear()


async def main() -> None:
    """Receive and store."""
    job, meter = start()

    async def process(stream_id: str) -> None:
        store = Store(job, meter)
        await store.connect()
        while not manager.is_stop_request(stream_id):
            message = await manager.get_stream_data_from_asyncio_queue(stream_id)
            if "data" in message:
                await store.add(message["data"])
            manager.asyncio_queue_task_done(stream_id)

    with BinanceWebSocketApiManager(
        exchange="binance.com",
        output_default="dict",
        warn_on_update=False,
        websocket_base_uri=f"{job.ws_url}/",
        restful_base_uri=f"{job.rest_url}/",
    ) as manager:
        manager.create_stream(
            channels=[CHANNELS[kind] for kind in job.kinds],
            markets=[symbol.lower() for symbol in job.symbols],
            process_asyncio_queue=process,
        )
        while not manager.is_manager_stopping():
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
