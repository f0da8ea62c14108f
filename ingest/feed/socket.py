"""What a feed asks of a websocket, whichever library carries it.

`feed.aiohttp_socket` and `feed.picows_socket` implement it; `feed.dialling` chooses. Both are held to one
set of tests, so that a session behaves the same on either.
"""

from collections.abc import Awaitable, Callable
from typing import Literal, NoReturn, Protocol, TypeAlias

from ingest.errors import FeedClosed, LocationRefused
from ingest.feed.contract import FeedLimits

WsClient: TypeAlias = Literal["aiohttp", "picows"]
"""The libraries that can carry a feed's websockets; picows need not be installed."""


class Receiver(Protocol):
    """Whom a socket tells what came, in its order; `recv_ns` is the wall clock at the arrival."""

    def on_frame(self, data: bytes, recv_ns: int) -> None:
        """A whole text or binary message."""
        ...

    async def on_ping(self, payload: bytes, recv_ns: int) -> None: ...

    def on_pong(self, payload: bytes, recv_ns: int) -> None: ...


class Socket(Protocol):
    """An open websocket. Pings are not answered by it, and nothing is sent that nobody has asked for.

    What is sent raises OSError when it cannot be. It waits while the peer takes nothing; deadlines are the
    caller's.
    """

    @property
    def local_port(self) -> int:
        """At our end; 0 when the transport does not tell."""
        ...

    async def receive_into(self, receiver: Receiver) -> NoReturn:
        """Hand over what comes, from the first frame behind the handshake on, until it is over.

        Called once. After it has ended `receiver` is told nothing more. Raises FeedClosed with the reason;
        what `receiver` raises comes out as it is.
        """
        ...

    async def send(self, message: str) -> None: ...

    async def ping(self, payload: bytes) -> None: ...

    async def pong(self, payload: bytes) -> None: ...

    async def close(self) -> None:
        """Say goodbye, wait `FeedLimits.close_s` for the answer at most, and be gone."""
        ...


Dial: TypeAlias = Callable[[str, FeedLimits], Awaitable[Socket]]
"""Open a websocket to a URL within `connect_s`. Raises FeedClosed, SlowDown, LocationRefused."""


class SlowDown(FeedClosed):
    """The exchange has refused a handshake because this address asks too often."""


def handshake_refused(url: str, status: int) -> FeedClosed | LocationRefused:
    """The error of an HTTP status other than 101."""
    if status == 451:
        return LocationRefused(f"{url} refuses this location (HTTP 451)")
    kind = SlowDown if status in {429, 418} else FeedClosed
    return kind(f"handshake_refused: HTTP {status}")


def connect_failed(error: Exception) -> FeedClosed:
    """The error of a connection that did not come about."""
    return FeedClosed(f"connect_failed: {type(error).__name__}: {error}")


def closed_by_exchange(code: int | None, text: str | None) -> FeedClosed:
    """The error of a close frame."""
    return FeedClosed(f"closed_by_exchange: {text}" if text else "closed_by_exchange", code=code)
