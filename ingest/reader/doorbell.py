"""Woken by the database: NOTIFY of the writers, one connection for all who wait.

Only a bell: whoever is woken looks for himself, and looks once in a while without being woken. So nothing is
lost while the connection is away, and a bell that cannot be had costs time and nothing else.

Channels are `ingest_<market>_<kind>`; the payload is JSON, by symbol. One that cannot be read wakes everybody
on its channel.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg
import orjson

from ingest.events import StreamKey
from ingest.reader.database import reader_settings
from ingest.store.dsn import for_driver
from ingest.store.failures import DRIVER_ERRORS
from ingest.store.sessions import SessionLimits

log = logging.getLogger(__name__)

_TRY_AGAIN_S: Final = 2.0
_LISTEN_S: Final = 5.0


class Doorbell:
    """Belongs to one event loop. `close` at the end."""

    def __init__(self, url: str, limits: SessionLimits) -> None:
        self._url = url
        self._limits = limits
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._channels: set[str] = set()
        self._waiting: dict[str, set[tuple[str, asyncio.Event]]] = defaultdict(set)
        self._connecting = asyncio.Lock()
        self._not_before_s = 0.0

    @contextmanager
    def heard(self, key: StreamKey) -> Iterator[asyncio.Event]:
        """An event that is set when rows of the stream were committed; clear it before looking."""
        event, channel = asyncio.Event(), channel_of(key)
        entry = (key.symbol, event)
        self._waiting[channel].add(entry)
        try:
            yield event
        finally:
            self._waiting[channel].discard(entry)

    async def listen(self, key: StreamKey) -> None:
        """See to it that the stream is listened to, where that can be had; it is tried now and then only."""
        channel = channel_of(key)
        if self._is_open() and channel in self._channels:
            return
        async with self._connecting:
            loop = asyncio.get_running_loop()
            if loop.time() < self._not_before_s:
                return
            try:
                async with asyncio.timeout(self._limits.connect_s + _LISTEN_S):
                    await self._listen(channel)
            except DRIVER_ERRORS as error:
                self._not_before_s = loop.time() + _TRY_AGAIN_S
                log.warning("cannot listen, looking once a second instead: %s", type(error).__name__)

    async def _listen(self, channel: str) -> None:
        if not self._is_open():
            self._channels.clear()
            dsn = for_driver(self._url)
            self._connection = await asyncpg.connect(
                dsn.url,
                password=dsn.password,
                timeout=self._limits.connect_s,
                command_timeout=_LISTEN_S,
                server_settings=reader_settings(self._limits),
            )
            self._connection.add_termination_listener(self._ended)
        assert self._connection is not None
        if channel not in self._channels:
            await self._connection.add_listener(channel, self._rung)
            self._channels.add(channel)

    def _is_open(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    def _rung(self, _connection: object, _pid: object, channel: object, payload: object) -> None:
        symbols = _symbols(str(payload))
        for symbol, event in self._waiting[str(channel)]:
            if symbols is None or symbol in symbols:
                event.set()

    def _ended(self, _connection: object) -> None:
        """Whoever waits looks, and listens again."""
        for entries in self._waiting.values():
            for _, event in entries:
                event.set()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.remove_termination_listener(self._ended)
            self._connection.terminate()


def channel_of(key: StreamKey) -> str:
    """Where the writers say that rows of this kind were committed."""
    return f"ingest_{key.market}_{key.kind}"


def _symbols(payload: str) -> set[str] | None:
    """Whom a notification concerns; None: everybody."""
    try:
        told = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    return set(told) if isinstance(told, dict) else None
