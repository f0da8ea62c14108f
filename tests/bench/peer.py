"""One reader's connection, in the clear or over TLS: what the load generator sends to and hears from.

`send_all` waits for the reader. `offer` never does: what the kernel does not take waits in the peer, and
`backlog_bytes` says how much; whoever offers looks at it.
"""

import asyncio
import socket
import ssl
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Final

_READ_BYTES: Final = 65_536


class Peer(ABC):
    """`streams` are those it has subscribed to; `outgoing` is what will be poured into it."""

    def __init__(self) -> None:
        self.streams: set[str] = set()
        self.outgoing = bytearray()

    @abstractmethod
    async def receive(self) -> bytes:
        """What has come; empty when the reader has gone."""

    @abstractmethod
    async def send_all(self, data: bytes | memoryview) -> None:
        """Send, waiting for the reader. Raises ConnectionError."""

    @abstractmethod
    def offer(self, data: bytes | memoryview) -> None:
        """Send what the kernel takes and keep a copy of the rest; nothing once the reader has gone."""

    @property
    @abstractmethod
    def backlog_bytes(self) -> int:
        """What was offered and not taken yet."""

    @abstractmethod
    def close(self) -> None:
        """Hang up."""


class PlainPeer(Peer):
    """Over the bare socket."""

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__()
        self._socket = accepted
        self._loop = asyncio.get_running_loop()
        self._backlog = bytearray()
        self._is_gone = False

    async def receive(self) -> bytes:
        return await self._loop.sock_recv(self._socket, _READ_BYTES)

    async def send_all(self, data: bytes | memoryview) -> None:
        await self._loop.sock_sendall(self._socket, data)

    def offer(self, data: bytes | memoryview) -> None:
        if self._is_gone:
            return
        if self._backlog:
            self._backlog += data
            return
        taken = self._send(data)
        if taken < len(data) and not self._is_gone:
            self._backlog += data[taken:]
            self._loop.add_writer(self._socket, self._go_on)

    @property
    def backlog_bytes(self) -> int:
        return len(self._backlog)

    def close(self) -> None:
        self._give_up()
        self._socket.close()

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._give_up()
            return 0

    def _go_on(self) -> None:
        # A copy of the head alone: cutting the front off a long backlog would move all of it.
        del self._backlog[: self._send(self._backlog[: 4 * _READ_BYTES])]
        if not self._backlog:
            self._loop.remove_writer(self._socket)

    def _give_up(self) -> None:
        if self._backlog:
            self._loop.remove_writer(self._socket)
            self._backlog.clear()
        self._is_gone = True


class TlsPeer(Peer):
    """Over a transport that encrypts."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self._reader = reader
        self._writer = writer

    @classmethod
    async def shaken(cls, accepted: socket.socket, context: ssl.SSLContext) -> "TlsPeer":
        """After the handshake. Raises ssl.SSLError and ConnectionError."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted, ssl=context)
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def receive(self) -> bytes:
        return await self._reader.read(_READ_BYTES)

    async def send_all(self, data: bytes | memoryview) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def offer(self, data: bytes | memoryview) -> None:
        with suppress(ConnectionError):
            self._writer.write(bytes(data))  # a copy: what was handed in is written over with the next lap

    @property
    def backlog_bytes(self) -> int:
        return self._writer.transport.get_write_buffer_size()

    def close(self) -> None:
        self._writer.transport.abort()
