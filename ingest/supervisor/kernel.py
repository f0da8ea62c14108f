"""What the kernel knows of our sockets: bytes that wait to be read, by the local port of the socket.

Read from outside the process that owns the socket, because that one may be the one that does not read.
Linux only; elsewhere, and where the tables cannot be read, nothing is known.
"""

from collections import deque
from collections.abc import Iterable
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED = "01"
_READINGS = 3


def waiting_bytes(tables: Iterable[Path] = _TABLES) -> dict[int, int] | None:
    """Bytes in the receive queue of every established TCP socket by local port; None when unknown."""
    found: dict[int, int] = {}
    read_any = False
    for table in tables:
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        read_any = True
        for line in lines:
            _, local, _, state, queues, *_ = line.split()
            if state == _ESTABLISHED:
                port = int(local.rpartition(":")[2], 16)
                found[port] = max(found.get(port, 0), int(queues.partition(":")[2], 16))
    return found if read_any else None


class ReceiveQueues:
    """The newest readings, a tick apart: bytes that are only on their way through do not stay."""

    def __init__(self, tables: Iterable[Path] = _TABLES) -> None:
        self._tables = tuple(tables)
        self._readings: deque[dict[int, int]] = deque(maxlen=_READINGS)

    def tick(self) -> None:
        """Take a reading."""
        found = waiting_bytes(self._tables)
        if found is not None:
            self._readings.append(found)

    def stuck_bytes(self, port: int) -> int | None:
        """The least that was waiting on a port in the newest readings; None when not known."""
        if len(self._readings) < _READINGS or not port:
            return None
        return min(reading.get(port, 0) for reading in self._readings)
