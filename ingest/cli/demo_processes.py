"""The two processes of the demo, started as a person would: the exchange double and the service."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from ingest.clock import Clock
from ingest.errors import IngestError
from ingest.store.embedded import EmbeddedPostgres

KINDS = ("trade", "agg_trade", "book_ticker", "depth", "kline_1s", "mini_ticker", "ticker", "avg_price")
_STALE_AFTER_S = {
    "trade": 6.0,
    "agg_trade": 6.0,
    "book_ticker": 6.0,
    "depth": 6.0,
    "kline_1s": 12.0,
    "mini_ticker": 12.0,
    "ticker": 12.0,
    "avg_price": 12.0,
}
"""Short enough for a minute's demo: every symbol of the seeded market trades more often than this."""
_START_DEADLINE_S = 90.0
_STOP_DEADLINE_S = 15.0


@asynccontextmanager
async def exchange_double(folder: Path, *, symbols: int, rate: float, clock: Clock) -> AsyncIterator[str]:
    """The double, whose market opens when all streams are subscribed; yields its REST address."""
    ready = folder / "exchange.json"
    ready.unlink(missing_ok=True)
    streams = (symbols + 1) * len(KINDS)
    arguments = (
        *("simulate", "--port", "0", "--symbols", str(symbols), "--rate", str(rate), "--loop"),
        *("--start", str(streams), "--ready-file", str(ready), "--die-with-parent"),
    )
    log = folder / "exchange.log"
    async with _running(arguments, log, {}) as process:
        await _until(ready.exists, process, log, clock)
        answer = orjson.loads(ready.read_bytes())
        yield str(answer["rest_url"])


@asynccontextmanager
async def service(folder: Path, exchange_url: str, *, clock: Clock) -> AsyncIterator[str]:
    """`ingest run` against the double; yields the URL of its database."""
    settings = {
        "INGEST_SERVICE_DATA_DIR": str(data_dir(folder)),
        "INGEST_SERVICE_HTTP_PORT": "0",
        "INGEST_SERVICE_LOG_FORMAT": "json",
        "INGEST_SERVICE_SHARDS": "2",
        "INGEST_SPOT_REST_URL": exchange_url,
        "INGEST_SPOT_WS_URL": exchange_url.replace("http", "ws", 1),
        "INGEST_SPOT_SYMBOLS": "*",
        "INGEST_SPOT_KINDS": ",".join(KINDS),
        "INGEST_SPOT_STREAMS_PER_FEED": "64",
        "INGEST_SILENCE_FIXED_S": _as_toml(_STALE_AFTER_S),
    }
    log = folder / "service.log"
    async with _running(("run",), log, settings) as process:
        planned = data_dir(folder) / "run" / "shard-0.json"
        await _until(planned.exists, process, log, clock)
        url = EmbeddedPostgres(data_dir(folder) / "postgres").url_of_running()
        if url is None:
            raise _not_started(log)
        yield url


def data_dir(folder: Path) -> Path:
    """The service's data folder inside the demo's."""
    return folder / "var"


def _as_toml(values: Mapping[str, float]) -> str:
    return "{" + ", ".join(f"{name} = {value}" for name, value in values.items()) + "}"


@asynccontextmanager
async def _running(
    arguments: tuple[str, ...], log: Path, settings: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`ingest ARGUMENTS` with its output in `log`, stopped at the end, within a deadline.

    In a folder of its own and with no settings but these: what the person has configured for a real
    service is none of the demo's business.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ingest", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**inherited, **settings},
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_DEADLINE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _until(
    is_ready: Callable[[], bool], process: asyncio.subprocess.Process, log: Path, clock: Clock
) -> None:
    give_up_s = clock.monotonic_s() + _START_DEADLINE_S
    while not is_ready():
        if process.returncode is not None or clock.monotonic_s() > give_up_s:
            raise _not_started(log)
        await asyncio.sleep(0.1)


def _not_started(log: Path) -> IngestError:
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
    return IngestError("\n".join((f"{log.stem} did not start; the end of {log}:", *tail)))
