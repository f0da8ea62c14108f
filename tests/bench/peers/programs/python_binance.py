"""python-binance: its socket manager's multiplexed socket. It decodes with orjson when that is installed.

Its queue holds 100 messages by default, and the socket ends when they are exceeded: no reader of a burst
survives that, so the queue is given room.
"""

import asyncio

from binance import AsyncClient, BinanceSocketManager

from tests.bench.peers.programs.asyncpg_store import Store
from tests.bench.peers.programs.meter import start

MAX_QUEUE_SIZE = 10_000_000


async def main() -> None:
    """Receive and store."""
    job, meter = start()
    store = Store(job, meter)
    await store.connect()
    AsyncClient.API_URL = f"{job.rest_url}/api"
    BinanceSocketManager.STREAM_URL = f"{job.ws_url}/"
    client = await AsyncClient.create()
    manager = BinanceSocketManager(client, max_queue_size=MAX_QUEUE_SIZE)
    async with manager.multiplex_socket(job.streams()) as stream:
        while True:
            message = await stream.recv()
            await store.add(message["data"])


if __name__ == "__main__":
    asyncio.run(main())
