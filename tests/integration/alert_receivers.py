"""A real webhook and a real SMTP server on the loopback, and one that takes connections and says nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Self

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

DEADLINE_S = 30.0


@dataclass
class Webhook:
    """What apprise's `json://` has posted; `status` is what it is answered."""

    port: int = 0
    status: int = 200
    posts: list[dict[str, str]] = field(default_factory=list)
    refused: int = 0
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"json://reporter:hook-passw0rd@127.0.0.1:{self.port}/hook/t0ken-in-path"

    async def take(self, request: web.Request) -> web.Response:
        if self.status == 200:
            self.posts.append(await request.json())
        else:
            self.refused += 1
        self._arrived.set()
        return web.Response(status=self.status)

    async def wait_posts(self, n: int) -> list[dict[str, str]]:
        """Until `n` messages were accepted."""
        await self._wait(lambda: len(self.posts) >= n)
        return self.posts

    async def wait_refused(self, n: int) -> None:
        """Until `n` messages were refused."""
        await self._wait(lambda: self.refused >= n)

    async def _wait(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not is_so():
                self._arrived.clear()
                await self._arrived.wait()


@asynccontextmanager
async def webhook(port: int = 0) -> AsyncIterator[Webhook]:
    """A webhook on a free port, or on a given one."""
    hook = Webhook()
    app = web.Application()
    app.router.add_post("/hook/{token}", hook.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        hook.port = runner.addresses[0][1]
        yield hook
    finally:
        await runner.cleanup()


@dataclass
class Mailbox:
    """What an SMTP server has accepted."""

    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return (
            f"mailto://127.0.0.1:{self.port}?smtp=127.0.0.1&mode=insecure"
            "&from=ingest@example.org&to=ops@example.net"
        )

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        self.recipients += envelope.rcpt_tos
        self._arrived.set()
        return "250 accepted"

    async def wait_messages(self, n: int) -> list[EmailMessage]:
        """Until `n` mails were accepted."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.messages) < n:
                self._arrived.clear()
                await self._arrived.wait()
        return self.messages


@asynccontextmanager
async def smtp_server() -> AsyncIterator[Mailbox]:
    """An SMTP server on a free port."""
    box = Mailbox()
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    server = await loop.create_server(lambda: SMTP(box, hostname="localhost", loop=loop), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        # Its conversations are tasks of its own, which go on for a moment after the client has hung up.
        talking = {task for task in asyncio.all_tasks() - before if "_handle_client" in repr(task.get_coro())}
        if talking:
            await asyncio.wait(talking, timeout=DEADLINE_S)


class Swallower:
    """Accepts connections, reads nothing, says nothing; closes them all at the end."""

    def __init__(self) -> None:
        self._writers: list[asyncio.StreamWriter] = []
        self.connected = asyncio.Event()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._keep, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _keep(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.connected.set()
