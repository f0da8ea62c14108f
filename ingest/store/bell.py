"""Rings for those who listen, in the transaction of the batch that they wait for.

The server keeps what listeners have not read in one queue of limited size, for all its databases together. A
session that listens and never reads fills it, and then it refuses the commits of all who notify. So nothing
is sent while the queue is half full: the rows are there all the same, and whoever only follows the bell looks
by itself from time to time.
"""

from typing import TYPE_CHECKING, Final

import structlog

from ingest.buffer.batcher import Batch
from ingest.store.notifications import Names, notifications
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

log = structlog.get_logger()

MOST_QUEUED: Final = 0.5
"""How full the queue may be, from 0 to 1."""


class Bell:
    """Tells of batches whose rows `names` belong to."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._is_full = False
        self.skipped = 0
        """Messages that were not sent because the server's queue was too full."""

    async def ring(self, connection: "Connection", batch: Batch) -> None:
        """Tell of a batch, in its transaction. Raises what the driver raises."""
        messages = notifications(batch, self._names)
        if not messages:
            return
        channels = [message.channel for message in messages]
        payloads = [message.payload for message in messages]
        status = await connection.execute(statement("notify"), channels, payloads, MOST_QUEUED)
        self._count(len(messages) - int(status.rpartition(" ")[2]))

    def refused(self) -> None:
        """A batch was refused with its notifications, and is written without."""
        self._count(1)

    def _count(self, skipped: int) -> None:
        self.skipped += skipped
        if skipped and not self._is_full:
            log.warning("notify.queue_full", hint="some session listens and does not read")
        self._is_full = skipped > 0
