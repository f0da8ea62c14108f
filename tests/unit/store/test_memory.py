"""The twin of the database keeps the promises of a sink."""

import pytest

from ingest.buffer.tables import TRADES
from ingest.errors import RowsRefused, StoreUnavailable
from ingest.store.memory import MemorySink
from tests.rows import a_batch, a_gap


async def test_row_that_is_written_twice_is_kept_once() -> None:
    """A batch that is written again changes nothing and says so."""
    sink = MemorySink()

    first = await sink.write(a_batch([b"1", b"2"], a_gap()))
    again = await sink.write(a_batch([b"2", b"3"], a_gap()))

    assert (first.rows, first.conflicts) == (2, 0)
    assert (again.rows, again.conflicts) == (1, 1)
    assert sink.stored(TRADES) == [b"1", b"2", b"3"]
    assert sink.gaps == [a_gap()]


async def test_failure_comes_before_or_after_the_commit() -> None:
    """A planned failure stores nothing, or everything but the answer."""
    sink = MemorySink()
    sink.fail_next += [StoreUnavailable("before"), StoreUnavailable("after")]

    with pytest.raises(StoreUnavailable, match="before"):
        await sink.write(a_batch([b"1"]))
    assert sink.stored(TRADES) == []
    sink.after_commit = True
    with pytest.raises(StoreUnavailable, match="after"):
        await sink.write(a_batch([b"1"]))

    assert sink.stored(TRADES) == [b"1"]


async def test_batch_with_a_refused_row_is_not_stored() -> None:
    """One row that is refused keeps the whole batch out."""
    sink = MemorySink()
    sink.refuses = lambda _, row: RowsRefused("bad") if row == b"bad" else None

    with pytest.raises(RowsRefused):
        await sink.write(a_batch([b"1", b"bad"]))
    assert sink.stored(TRADES) == []
