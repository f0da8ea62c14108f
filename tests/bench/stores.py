"""The databases of the query benchmark: made, filled, converted, dropped.

Two schemas stand in each database, the project's and the naive one, so that both meet the same server. The
plain server is the embedded one without durability but with the memory that it has in production; the other
is whatever a URL names, on which a database of our own is made and dropped.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ingest.config import Settings, storage_plan
from ingest.store.arrange import arrange
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.embedded_settings import memory_bytes, server_settings
from ingest.store.migrate import migrate
from ingest.store.sessions import connected
from tests.bench.filling import KINDS, Tell, bench_statements, fill, fill_naive
from tests.bench.replay import Extent
from tests.bench.timing import LIMITS
from tests.plugin_database import create_database, drop_database

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

_DEADLINE_S: Final = 600.0
_SHOWN: Final = (
    "server_version",
    "shared_buffers",
    "work_mem",
    "max_parallel_workers_per_gather",
    "fsync",
)


@asynccontextmanager
async def plain_database(folder: Path) -> AsyncIterator[str]:
    """URL of an empty database on a PostgreSQL of our own."""
    in_production = server_settings(durable=True, memory_bytes=memory_bytes(), free_bytes=1 << 40)
    sized = {name: in_production[name] for name in ("shared_buffers", "max_wal_size")}
    server = EmbeddedPostgres(folder / "postgres", durable=False, settings=sized)
    try:
        yield await server.start()
    finally:
        await server.stop()


@asynccontextmanager
async def timescale_database(admin_url: str) -> AsyncIterator[str]:
    """URL of a database of our own on a server that has TimescaleDB."""
    url = await create_database(admin_url)
    try:
        async with connected(url, application="bench", limits=LIMITS) as connection:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        yield url
    finally:
        await drop_database(admin_url, url)


async def make(url: str, extent: Extent, tell: Tell, *, timescale: bool) -> None:
    """Both schemas, filled with the same rows, analysed."""
    await migrate(url, deadline_s=_DEADLINE_S)
    await arrange(url, storage_plan(Settings()), deadline_s=_DEADLINE_S)
    async with connected(url, application="bench", limits=LIMITS) as connection:
        if timescale:
            await connection.execute(bench_statements("stores")["pause_jobs"])
        await fill(connection, extent, tell)
        await fill_naive(connection, tell)
        await connection.execute("VACUUM ANALYZE")


async def convert(connection: "Connection", extent: Extent) -> int:
    """The columnstore for all days but the newest, as the policy would have it; returns the chunks."""
    stores, converted = bench_statements("stores"), 0
    for kind in KINDS:
        relation = f"spot_raw.{kind}"
        if kind == "klines" or not await connection.fetchval(stores["has_columnstore"], relation):
            continue  # candles stay rows as long as one of a month may be open
        for chunk, *_ in await connection.fetch(stores["chunks_before"], relation, extent.newest_day):
            await connection.execute(stores["convert_chunk"], chunk)
            converted += 1
    await connection.execute("VACUUM ANALYZE")
    return converted


async def conditions(url: str) -> dict[str, str]:
    """What the times depend on, as the server has it."""
    async with connected(url, application="bench", limits=LIMITS) as connection:
        found = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in _SHOWN}
        version = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
        found["timescaledb"] = await connection.fetchval(version) or "none"
    return {name: str(value) for name, value in found.items()}
