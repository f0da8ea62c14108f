"""`websockets` and `json`, the loop that tutorials teach."""

import asyncio
import json

import websockets

from tests.bench.peers.programs.asyncpg_store import Store
from tests.bench.peers.programs.meter import start


async def main() -> None:
    """Receive, decode, store."""
    job, meter = start()
    store = Store(job, meter)
    await store.connect()
    async with websockets.connect(f"{job.ws_url}/stream?streams={'/'.join(job.streams())}") as socket:
        while True:
            message = json.loads(await socket.recv())
            await store.add(message["data"])


if __name__ == "__main__":
    asyncio.run(main())
