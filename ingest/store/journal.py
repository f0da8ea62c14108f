"""Small rows that are not market data: feed sessions, and what could not be parsed or stored.

They are worth keeping and not worth waiting for: `record` never blocks, a full journal drops its oldest
entry and counts it, and one task writes them one by one, trying again while the database is away.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from ingest.errors import RowsRefused
from ingest.store.instants import instant
from ingest.store.retrying import RetryPolicy, until_available
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

CAPACITY: Final = 1_000
KEPT_IN_QUARANTINE: Final = 10_000
_TRIM_EVERY: Final = 100
_MAX_PAYLOAD_BYTES: Final = 65_536


class SessionOpened(NamedTuple):
    """A feed's websocket has been opened; times in microseconds since the epoch."""

    market: str
    feed: str
    shard: int
    url: str
    connected_us: int
    streams: int


class SessionClosed(NamedTuple):
    """It has ended. Complete in itself, so that it does not matter whether the opening was written."""

    market: str
    feed: str
    shard: int
    url: str
    connected_us: int
    streams: int
    closed_us: int
    close_code: int | None
    reason: str
    messages: int


class Quarantined(NamedTuple):
    """A frame that could not be parsed (`source` is "frame"), or a row that a table refused (its name).

    The payload is cut to 64 KiB.
    """

    at_us: int
    market: str
    shard: int
    feed: str
    source: str
    error: str
    payload: bytes


Entry: TypeAlias = SessionOpened | SessionClosed | Quarantined
Session: TypeAlias = "Callable[[], AbstractAsyncContextManager[Connection]]"


class Journal:
    """A bounded queue of entries and the task that writes them. `session` is `PostgresSink.session`."""

    def __init__(
        self,
        session: Session,
        *,
        rng: random.Random,
        retry: RetryPolicy | None = None,
        capacity: int = CAPACITY,
        keep: int = KEPT_IN_QUARANTINE,
    ) -> None:
        self._session = session
        self._rng = rng
        self._retry = retry or RetryPolicy()
        self._capacity = capacity
        self._keep = keep
        self._entries: deque[Entry] = deque()
        self._arrived = asyncio.Event()
        self._quarantined = 0
        self._draining = False
        self._ended = asyncio.Event()
        self._ended.set()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        """Entries lost because the journal was full, or because the server refused them."""

    def record(self, entry: Entry) -> None:
        """Queue an entry; the oldest gives way when there are `capacity` of them."""
        if len(self._entries) >= self._capacity:
            self._entries.popleft()
            self.dropped += 1
        self._entries.append(entry)
        self._arrived.set()

    def __len__(self) -> int:
        return len(self._entries)

    async def run(self) -> None:
        """Write entries until drained; StoreError when the database does not know what we write."""
        self._ended.clear()
        try:
            async with asyncio.TaskGroup() as group:
                self._task = group.create_task(self._write_all(), name="journal")
        finally:
            self._ended.set()

    async def drain(self, *, deadline_s: float) -> int:
        """Write what is queued, then let `run` end; the number of entries left when time is up."""
        self._draining = True
        self._arrived.set()
        try:
            async with asyncio.timeout(deadline_s):
                await (self.run() if self._ended.is_set() else self._ended.wait())
        except TimeoutError:
            if self._task is not None:
                self._task.cancel()
            await self._ended.wait()
        return len(self._entries)

    async def _write_all(self) -> None:
        while True:
            if self._entries:
                await self._write_oldest()
            elif self._draining:
                return
            else:
                self._arrived.clear()
                await self._arrived.wait()

    async def _write_oldest(self) -> None:
        entry = self._entries.popleft()
        try:
            await until_available(
                lambda: self._write(entry), policy=self._retry, rng=self._rng, on_retry=_not_told
            )
        except RowsRefused:
            self.dropped += 1
        except BaseException:
            self._entries.appendleft(entry)
            raise

    async def _write(self, entry: Entry) -> None:
        async with self._session() as connection:
            await write_entry(connection, entry)
            if isinstance(entry, Quarantined):
                if self._quarantined % _TRIM_EVERY == 0:
                    await connection.execute(statement("trim_quarantine"), self._keep)
                self._quarantined += 1


async def write_entry(connection: "Connection", entry: Entry) -> None:
    """Insert one entry; writing it again changes nothing."""
    match entry:
        case SessionOpened():
            *plain, connected_us, streams = entry
            await connection.execute(statement("open_feed_session"), *plain, instant(connected_us), streams)
        case SessionClosed():
            market, feed, shard, url, connected_us, streams, closed_us, code, reason, messages = entry
            times = (instant(connected_us), streams, instant(closed_us))
            row = (market, feed, shard, url, *times, code, storable(reason), messages)
            await connection.execute(statement("close_feed_session"), *row)
        case Quarantined():
            at_us, market, shard, feed, source, error, payload = entry
            texts = (source, storable(error), payload[:_MAX_PAYLOAD_BYTES])
            await connection.execute(statement("quarantine"), instant(at_us), market, shard, feed, *texts)


def storable(text: str) -> str:
    """Text comes from outside; the server takes neither zero bytes nor half characters."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _not_told(_: BaseException) -> None:
    """The writer beside it tells that the database is away."""
