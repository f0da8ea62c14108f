"""The database's twin in memory, for tests of what stands before it."""

from collections.abc import Callable

from ingest.buffer.batcher import Batch
from ingest.buffer.tables import Table
from ingest.errors import StoreError
from ingest.events import Gap, GapFilled
from ingest.store.sink import Written


class MemorySink:
    """Keeps each row once, in the order of its first arrival; fails when told to.

    A row's identity is its bytes: what is written twice because an outcome was unknown is the same row.
    `fail_next` is raised by the next writes, one each; with `after_commit` the batch is stored all the
    same, as when a connection is lost before the answer. `refuses` says which rows are refused.
    """

    def __init__(self) -> None:
        self.rows: dict[Table, dict[bytes, None]] = {}
        self.gaps: list[Gap | GapFilled] = []
        self.batches: list[Batch] = []
        self.fail_next: list[StoreError] = []
        self.after_commit = False
        self.refuses: Callable[[Table, bytes], StoreError | None] = lambda _table, _row: None

    async def write(self, batch: Batch) -> Written:
        """Store a batch; see `Sink.write`."""
        for row in batch.rows:
            if (refusal := self.refuses(batch.table, row)) is not None:
                raise refusal
        if self.fail_next and not self.after_commit:
            raise self.fail_next.pop(0)
        written = self._store(batch)
        if self.fail_next:
            raise self.fail_next.pop(0)
        return written

    def _store(self, batch: Batch) -> Written:
        stored = self.rows.setdefault(batch.table, {})
        before = len(stored)
        stored.update(dict.fromkeys(batch.rows))
        self.gaps += [gap for gap in batch.gaps if gap not in self.gaps]
        self.batches.append(batch)
        new = len(stored) - before
        return Written(new, len(batch.rows) - new, staged=new < len(batch.rows))

    def stored(self, table: Table) -> list[bytes]:
        """The rows of a table in the order of their first arrival."""
        return list(self.rows.get(table, {}))
