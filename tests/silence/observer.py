"""Looks at the freshness table several times a second, and remembers every change of every stream's state.

It asks the database as anybody would, on a connection of its own, in a thread of its own. While the
database is away there is nothing to see, and `seen_s` stays where it was.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

import asyncpg

from ingest.store.embedded import EmbeddedPostgres
from ingest.store.failures import DRIVER_ERRORS

_EVERY_S = 0.25
_DEADLINE_S = 3.0
_OUTDATED_S = 5.0
"""The supervisor writes the table every second: then it is away, as `ingest deadman` would find too."""
_SQL = """
SELECT symbol, kind, shard, coalesce(feed::integer, -1) AS feed, state, diagnosis, reconnects, threshold_s,
       coalesce(extract(epoch FROM last_recv_ts), 0)::float8 AS recv_s,
       coalesce(extract(epoch FROM last_commit_ts), 0)::float8 AS commit_s,
       extract(epoch FROM clock_timestamp() - updated_at)::float8 AS table_age_s
FROM ops.stream_freshness
"""

ABSENT = "absent"


class Key(NamedTuple):
    symbol: str
    kind: str

    def __str__(self) -> str:
        return f"{self.symbol}:{self.kind}"


class Seen(NamedTuple):
    """One stream as the table has it; times in seconds since the epoch, 0 for never."""

    shard: int
    feed: int
    state: str
    diagnosis: str
    reconnects: int
    threshold_s: float
    recv_s: float
    commit_s: float
    table_age_s: float


class Change(NamedTuple):
    """A stream's state is another one than at the look before; `at_s` is monotonic."""

    at_s: float
    key: Key
    state: str


class Observer:
    """`streams` is the newest look, `changes` everything since the beginning.

    `outdated_s` are the moments (monotonic) from which on the table was older than a reader puts up with.
    """

    def __init__(self, data_dir: Path) -> None:
        self.streams: Mapping[Key, Seen] = {}
        self.changes: list[Change] = []
        self.outdated_s: list[float] = []
        self.seen_s = 0.0
        self._embedded = EmbeddedPostgres(data_dir / "postgres")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._look()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(timeout=3 * _DEADLINE_S)

    async def _look(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(*DRIVER_ERRORS):
                await self._look_while_connected()
            await asyncio.sleep(_EVERY_S)

    async def _look_while_connected(self) -> None:
        url = self._embedded.url_of_running()
        if url is None:
            return
        connection = await asyncpg.connect(url, timeout=_DEADLINE_S, command_timeout=_DEADLINE_S)
        try:
            while not self._stopping.is_set():
                self._take(await connection.fetch(_SQL))
                await asyncio.sleep(_EVERY_S)
        finally:
            connection.terminate()

    def _take(self, rows: list[asyncpg.Record]) -> None:
        now_s = time.monotonic()
        former = self.streams
        streams = {Key(row["symbol"], row["kind"]): Seen(*tuple(row)[2:]) for row in rows}
        for key, seen in streams.items():
            if key not in former or former[key].state != seen.state:
                self.changes.append(Change(now_s, key, seen.state))
        self.changes += [Change(now_s, key, ABSENT) for key in former.keys() - streams.keys()]
        if _is_outdated(streams) and not _is_outdated(former):
            self.outdated_s.append(now_s)
        self.streams, self.seen_s = streams, now_s


def _is_outdated(streams: Mapping[Key, Seen]) -> bool:
    return any(seen.table_age_s > _OUTDATED_S for seen in streams.values())
