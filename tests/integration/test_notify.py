"""Whoever listens is woken by a commit and then sees its rows; nobody who listens badly costs a row."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from ingest.binance.answers import Instrument
from ingest.buffer.batcher import Batch
from ingest.events import StreamKey
from ingest.store import bell
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.migrate import migrate
from ingest.store.notifications import Names
from ingest.store.postgres import PostgresSink
from ingest.store.sessions import connected
from tests.plugin_database import run_apart
from tests.rows import NOW_US, a_batch, a_gap, trade_rows

DEADLINE_S = 30.0
CHANNEL = "ingest_spot_trade"
NAMES = Names({0: StreamKey("spot", "BTCUSDT", "trade")}.get, lambda _: "BTCUSDT")
BTC = Instrument("BTCUSDT", "TRADING", "BTC", "USDT", "0.01", "0.00001")


@asynccontextmanager
async def ringing_sink(url: str) -> AsyncIterator[PostgresSink]:
    async with PostgresSink.opened(url, connections=2) as sink:
        await sink.instrument_ids("spot", [BTC])
        sink.notify(NAMES)
        yield sink


@pytest.fixture
async def sink(migrated_url: str) -> AsyncIterator[PostgresSink]:
    """A sink that rings, on a database of the test's own."""
    async with ringing_sink(migrated_url) as opened:
        yield opened


class Listener:
    """A session that listens, and what it saw at once when it was woken."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    @asynccontextmanager
    async def listening(self) -> "AsyncIterator[Listener]":
        async with connected(self._url) as connection:
            await connection.add_listener(CHANNEL, self._on_message)
            yield self

    def _on_message(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self.heard.put_nowait(str(payload))

    async def next(self) -> dict[str, list[int]]:
        async with asyncio.timeout(DEADLINE_S):
            found: dict[str, list[int]] = json.loads(await self.heard.get())
            return found


async def trade_ids(sink: PostgresSink) -> list[int]:
    async with sink.session() as connection:
        return [row[0] for row in await connection.fetch("SELECT trade_id FROM spot_raw.trades ORDER BY 1")]


def direct(sink: PostgresSink) -> None:
    sink._staging = dict.fromkeys(sink._staging, 0)


@pytest.mark.parametrize("is_direct", [True, False], ids=["direct", "staged"])
async def test_listener_is_woken_and_then_sees_the_rows(
    sink: PostgresSink, migrated_url: str, is_direct: bool
) -> None:
    """The commit comes before the message, whichever way the rows went."""
    if is_direct:
        direct(sink)
    async with Listener(migrated_url).listening() as listener, connected(migrated_url) as reader:
        for number in range(1, 11):
            async with asyncio.TaskGroup() as group:
                group.create_task(woken_and_looked(listener, reader, number))
                await sink.write(a_batch(trade_rows([number])))


async def woken_and_looked(
    listener: Listener, reader: "asyncpg.Connection[asyncpg.Record]", number: int
) -> None:
    assert await listener.next() == {"BTCUSDT": [1, NOW_US]}  # the mark that test batches have
    assert await reader.fetchval("SELECT max(trade_id) FROM spot_raw.trades") == number


async def test_nothing_stored_tells_nothing(sink: PostgresSink, migrated_url: str) -> None:
    """Neither a batch that was there already, nor gaps alone, nor a batch that failed."""
    async with Listener(migrated_url).listening() as listener:
        await sink.write(a_batch(trade_rows([1])))
        await sink.write(a_batch(trade_rows([1])))
        await sink.write(a_batch([], a_gap()))
        await sink.write(a_batch(trade_rows([2])))
        await listener.next()
        await listener.next()

        assert listener.heard.empty()


async def test_repaired_rows_are_told_by_what_they_are(sink: PostgresSink, migrated_url: str) -> None:
    """They come without marks."""
    batch = a_batch(trade_rows([5, 6]))
    object.__setattr__(batch, "marks", {})
    async with Listener(migrated_url).listening() as listener:
        await sink.write_again(batch)

        assert await listener.next() == {"BTCUSDT": [6, NOW_US + 6_000]}


# ---------------------------------------------------------------------- a listener that does not read


@pytest.fixture(scope="module")
def small_queue_url() -> Iterator[str]:
    """A server whose queue of notifications holds half a megabyte."""
    with tempfile.TemporaryDirectory(prefix="ingest-test-") as folder, asyncio.Runner() as runner:
        server = EmbeddedPostgres(
            Path(folder) / "postgres", durable=False, settings={"max_notify_queue_pages": "64"}
        )
        url = runner.run(server.start())
        try:
            run_apart(_migrated(url))
            yield url
        finally:
            runner.run(server.stop())


async def _migrated(url: str) -> None:
    await migrate(url, deadline_s=60)


@asynccontextmanager
async def filled_queue(url: str, *, until: float) -> AsyncIterator[None]:
    """The queue as a session leaves it that listens and never reads: in a transaction without an end."""
    async with connected(url) as deaf, connected(url) as chatterer:
        await deaf.execute("LISTEN anything")
        await deaf.execute("BEGIN; SELECT 1")
        for number in range(2_000):
            if await chatterer.fetchval("SELECT pg_notification_queue_usage()") >= until:
                break
            try:
                await chatterer.execute("SELECT pg_notify('x', $1 || repeat('.', 7800))", str(number))
            except asyncpg.ProgramLimitExceededError:
                break
        yield


async def written(sink: PostgresSink, batch: Batch) -> list[int]:
    assert (await sink.write(batch)).rows == len(batch.rows)
    return await trade_ids(sink)


async def test_half_full_queue_silences_the_bell_and_stores_the_rows(small_queue_url: str) -> None:
    """And it rings again when the queue has been read."""
    async with ringing_sink(small_queue_url) as sink:
        async with filled_queue(small_queue_url, until=0.55):
            assert 1 in await written(sink, a_batch(trade_rows([1])))
            assert sink.notifications_skipped == 1
        async with Listener(small_queue_url).listening() as listener:
            assert 2 in await written(sink, a_batch(trade_rows([2])))
            await listener.next()
        assert sink.notifications_skipped == 1


@pytest.mark.parametrize("is_direct", [True, False], ids=["direct", "staged"])
async def test_full_queue_refuses_the_message_and_not_the_rows(
    small_queue_url: str, monkeypatch: pytest.MonkeyPatch, is_direct: bool
) -> None:
    """Should it fill between the look at it and the commit, the batch is written without a message."""
    monkeypatch.setattr(bell, "MOST_QUEUED", 2.0)
    first = 100 if is_direct else 200
    async with ringing_sink(small_queue_url) as sink, filled_queue(small_queue_url, until=2.0):
        if is_direct:
            direct(sink)
        assert first in await written(sink, a_batch(trade_rows([first])))
        assert sink.notifications_skipped >= 1
        batch = a_batch(trade_rows([first + 1]))
        assert (await sink.write_again(batch)).rows == 1
