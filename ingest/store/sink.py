"""What the writer asks of a store: one method, so that a twin in memory can stand in for the database."""

from typing import NamedTuple, Protocol

from ingest.buffer.batcher import Batch


class Written(NamedTuple):
    """What became of a committed batch.

    `rows` were stored by it (for a last-write-wins table: inserted or changed); `conflicts` were there
    already, or older than what was there. `staged` says that it went through a staging table.
    """

    rows: int
    conflicts: int
    staged: bool

    def __add__(self, other: object) -> "Written":
        if not isinstance(other, Written):
            return NotImplemented
        return Written(self.rows + other.rows, self.conflicts + other.conflicts, self.staged or other.staged)


class Sink(Protocol):
    """Where batches go."""

    async def write(self, batch: Batch) -> Written:
        """Store the gaps and the rows in one transaction, each row once; return after its commit.

        Writing a batch again is harmless. StoreUnavailable: the outcome is unknown, write it again;
        RowsRefused: nothing of it was stored and something in it never will be; any other StoreError:
        somebody has to look.
        """
        ...
