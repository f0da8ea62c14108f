"""The batcher: when a batch is due, what it holds, and that nothing is lost on the way."""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ingest.buffer.batcher import ROW_OVERHEAD_BYTES, Batch, Batcher, BatchLimits, Mark
from ingest.buffer.tables import BOOK_TICKERS, TRADES, Table
from tests.rows import a_gap, the_gap_filled

LIMITS = BatchLimits(max_rows=3, max_bytes=30, max_age_s=0.2, coalesce=2, buffer_bytes=10_000)


def add(
    batcher: Batcher, row: bytes, *, table: Table = TRADES, now_s: float = 0.0, slot: int = 0, ts: int = 1
) -> bool:
    return batcher.add(table, row, slot, ts, ts * 10, ts * 1_000, now_s)


def taken(batcher: Batcher, *, table: Table = TRADES, now_s: float = 0.0, force: bool = False) -> Batch:
    batch = batcher.take(table, now_s, force=force)
    assert batch is not None
    return batch


def test_row_waits_until_its_age_is_reached() -> None:
    """A lone row is given out when it has waited for the maximal age, not before."""
    batcher = Batcher(LIMITS)
    add(batcher, b"row", now_s=10.0)

    assert batcher.take(TRADES, 10.1) is None
    assert batcher.next_due_s(TRADES) == pytest.approx(10.2)
    assert taken(batcher, now_s=10.2).rows == [b"row"]


def test_batch_is_due_at_once_when_it_is_full() -> None:
    """The row that reaches the limit of rows makes the batch due."""
    batcher = Batcher(LIMITS)
    for row in (b"1", b"2", b"3"):
        assert batcher.take(TRADES, 0.0) is None
        add(batcher, row)

    assert taken(batcher).rows == [b"1", b"2", b"3"]


def test_batch_is_due_at_once_when_it_is_large() -> None:
    """The row that reaches the limit of bytes makes the batch due."""
    batcher = Batcher(LIMITS)
    add(batcher, b"x" * 30)

    assert taken(batcher).size_bytes == 30


def test_force_takes_what_is_not_due() -> None:
    """Forced, everything that waits is given out."""
    batcher = Batcher(LIMITS)
    add(batcher, b"row")

    assert taken(batcher, force=True).rows == [b"row"]
    assert batcher.take(TRADES, 99.0, force=True) is None


def test_waiting_batches_go_together_up_to_the_cap() -> None:
    """What has piled up leaves in batches of several limits' worth, in order."""
    batcher = Batcher(LIMITS)
    for number in range(8):
        add(batcher, b"%d" % number)

    first = taken(batcher)
    batcher.acknowledge(first)
    rest = taken(batcher, force=True)

    assert b"".join(first.rows + rest.rows) == b"01234567"
    assert len(first.rows) == LIMITS.max_rows * LIMITS.coalesce


def test_only_one_batch_of_a_table_is_out() -> None:
    """Until a batch is acknowledged there is no other one, however much waits."""
    batcher = Batcher(LIMITS)
    for number in range(9):
        add(batcher, b"%d" % number)
    batch = taken(batcher)

    assert batcher.take(TRADES, 9.0, force=True) is None
    assert batcher.next_due_s(TRADES) is None
    batcher.acknowledge(batch)
    assert batcher.take(TRADES, 9.0) is not None


def test_tables_do_not_wait_for_one_another() -> None:
    """A batch that is out does not hold up another table."""
    batcher = Batcher(LIMITS)
    add(batcher, b"trade")
    add(batcher, b"ticker", table=BOOK_TICKERS)
    taken(batcher, force=True)

    assert taken(batcher, table=BOOK_TICKERS, force=True).rows == [b"ticker"]


def test_batch_that_was_put_back_is_the_next_one() -> None:
    """A batch that could not be written comes first again, as it was, and at once."""
    batcher = Batcher(LIMITS)
    add(batcher, b"1")
    batch = taken(batcher, force=True)
    add(batcher, b"2", now_s=5.0)
    batcher.put_back(batch)

    assert batcher.next_due_s(TRADES) == 0.0
    assert taken(batcher, now_s=0.0) is batch


@pytest.mark.parametrize("answer", [Batcher.acknowledge, Batcher.put_back])
def test_batch_that_is_not_out_is_refused(answer: Callable[[Batcher, Batch], None]) -> None:
    """Acknowledging twice, or a stranger's batch, is an error and changes nothing."""
    batcher = Batcher(LIMITS)
    add(batcher, b"1")
    batch = taken(batcher, force=True)
    batcher.acknowledge(batch)

    with pytest.raises(ValueError, match="not out"):
        answer(batcher, batch)
    with pytest.raises(ValueError, match="not out"):
        answer(Batcher(LIMITS), batch)


def test_marks_are_the_newest_of_each_stream() -> None:
    """A batch says for each stream how far it reaches; a late row does not take that back."""
    batcher = Batcher(LIMITS)
    for slot, ts in ((1, 5), (2, 3), (1, 4), (1, 9), (2, 2)):
        add(batcher, b"row", slot=slot, ts=ts)

    assert taken(batcher, force=True).marks == {1: Mark(9, 90), 2: Mark(3, 30)}


def test_receive_times_are_of_the_first_and_last_row() -> None:
    """A batch knows when its first and its last row were received."""
    batcher = Batcher(LIMITS)
    for ts in (1, 2, 3, 4):
        add(batcher, b"row", ts=ts)

    batch = taken(batcher, force=True)
    assert (batch.oldest_recv_ns, batch.newest_recv_ns) == (1_000, 4_000)


def test_gap_goes_with_the_next_rows() -> None:
    """A gap is in the batch of the row that came after it, not of the next table's."""
    batcher = Batcher(LIMITS)
    batcher.add_gap(TRADES, a_gap(), 0.0)
    add(batcher, b"after")
    batcher.add_gap(TRADES, the_gap_filled(), 0.0)
    add(batcher, b"ticker", table=BOOK_TICKERS)

    assert taken(batcher, force=True).gaps == (a_gap(), the_gap_filled())
    assert taken(batcher, table=BOOK_TICKERS, force=True).gaps == ()


def test_gap_without_rows_is_due_by_its_age() -> None:
    """A gap that no row follows reaches the ledger all the same."""
    batcher = Batcher(LIMITS)
    batcher.add_gap(TRADES, a_gap(), 1.0)

    assert batcher.take(TRADES, 1.1) is None
    batch = taken(batcher, now_s=1.2)
    assert (batch.rows, batch.gaps, batch.marks, batch.oldest_recv_ns) == ([], (a_gap(),), {}, None)


def test_full_buffer_refuses_rows_and_counts_them_but_takes_gaps() -> None:
    """When the bound is reached rows are refused and counted; the gap that follows is not."""
    batcher = Batcher(BatchLimits(buffer_bytes=2 * (ROW_OVERHEAD_BYTES + 1)))
    assert add(batcher, b"1")
    assert add(batcher, b"2", table=BOOK_TICKERS)

    assert not add(batcher, b"3")
    batcher.add_gap(TRADES, a_gap(), 0.0)
    assert batcher.stats().refused == 1


def test_room_can_be_asked_for_before_a_row_is_made() -> None:
    """`has_room` says of a size what `add` would do with a row of it."""
    batcher = Batcher(BatchLimits(buffer_bytes=ROW_OVERHEAD_BYTES + 2))

    assert batcher.has_room(2)
    assert not batcher.has_room(3)
    assert not add(batcher, b"row")


def test_room_is_made_by_acknowledging_only() -> None:
    """A batch that is out still counts against the bound; a committed one does not."""
    batcher = Batcher(BatchLimits(buffer_bytes=ROW_OVERHEAD_BYTES + 1))
    add(batcher, b"1")
    batch = taken(batcher, force=True)

    assert not add(batcher, b"2")
    batcher.acknowledge(batch)
    assert add(batcher, b"2")


def test_stats_tell_what_is_held_by_table() -> None:
    """The snapshot counts rows that wait and rows that are out, and the oldest of both."""
    batcher = Batcher(LIMITS)
    add(batcher, b"one", ts=4)
    taken(batcher, force=True)
    add(batcher, b"three", ts=5)
    batcher.add_gap(TRADES, a_gap(), 0.0)

    stats = batcher.stats()
    assert (stats.rows, stats.held_bytes) == (2, 8 + 2 * ROW_OVERHEAD_BYTES)
    trades = stats.tables[TRADES]
    assert (trades.rows, trades.size_bytes, trades.gaps, trades.oldest_recv_ns) == (2, 8, 1, 4_000)


def test_empty_batcher_has_nothing_due() -> None:
    """A table that was never written to gives nothing, holds nothing and is due never."""
    batcher = Batcher()

    assert batcher.take(TRADES, 1.0, force=True) is None
    assert batcher.next_due_s(TRADES) is None
    assert batcher.is_empty(TRADES)
    assert batcher.tables() == ()


def test_nothing_is_due_once_all_is_taken_and_acknowledged() -> None:
    """A table whose rows are all committed is empty again."""
    batcher = Batcher(LIMITS)
    add(batcher, b"row")
    batch = taken(batcher, force=True)
    assert not batcher.is_empty(TRADES)
    batcher.acknowledge(batch)

    assert batcher.is_empty(TRADES)
    assert batcher.next_due_s(TRADES) is None
    assert batcher.tables() == (TRADES,)


class BatcherAgainstTwin(RuleBasedStateMachine):
    """Any interleaving of calls, beside a naive list of what was added and what was committed."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = BatchLimits(max_rows=3, max_bytes=12, max_age_s=1.0, coalesce=2, buffer_bytes=700)
        self.batcher = Batcher(self.limits)
        self.now_s = 0.0
        self.accepted: dict[Table, list[bytes]] = {TRADES: [], BOOK_TICKERS: []}
        self.committed: dict[Table, list[bytes]] = {TRADES: [], BOOK_TICKERS: []}
        self.gaps = 0
        self.committed_gaps = 0
        self.out: dict[Table, Batch] = {}

    tables = st.sampled_from([TRADES, BOOK_TICKERS])

    @rule(table=tables, row=st.binary(min_size=1, max_size=8), ts=st.integers(0, 5))
    def add(self, table: Table, row: bytes, ts: int) -> None:
        if self.batcher.add(table, row, ts % 2, ts, ts, ts, self.now_s):
            self.accepted[table].append(row)

    @rule(table=tables)
    def add_gap(self, table: Table) -> None:
        self.batcher.add_gap(table, a_gap(), self.now_s)
        self.gaps += 1

    @rule(passed_s=st.floats(0.0, 2.0))
    def wait(self, passed_s: float) -> None:
        self.now_s += passed_s

    @rule(table=tables, force=st.booleans())
    def take(self, table: Table, force: bool) -> None:
        due_s = self.batcher.next_due_s(table)
        batch = self.batcher.take(table, self.now_s, force=force)

        assert batch is None or table not in self.out
        assert (batch is not None) == (due_s is not None and (force or due_s <= self.now_s))
        if batch is not None:
            assert batch.rows or batch.gaps
            assert len(batch.rows) <= self.limits.max_rows * self.limits.coalesce
            self.out[table] = batch

    @rule(table=tables)
    def acknowledge(self, table: Table) -> None:
        if batch := self.out.pop(table, None):
            self.batcher.acknowledge(batch)
            self.committed[table] += batch.rows
            self.committed_gaps += len(batch.gaps)

    @rule(table=tables)
    def put_back(self, table: Table) -> None:
        if batch := self.out.pop(table, None):
            self.batcher.put_back(batch)

    @invariant()
    def order_is_kept(self) -> None:
        for table, rows in self.committed.items():
            assert rows == self.accepted[table][: len(rows)]

    @invariant()
    def everything_is_in_one_place(self) -> None:
        stats = self.batcher.stats()
        added = sum(map(len, self.accepted.values()))
        assert stats.rows == added - sum(map(len, self.committed.values()))
        assert sum(table.gaps for table in stats.tables.values()) == self.gaps - self.committed_gaps

    @invariant()
    def memory_is_bounded_and_counted(self) -> None:
        stats = self.batcher.stats()
        held = sum(table.size_bytes for table in stats.tables.values())
        assert stats.held_bytes == held + ROW_OVERHEAD_BYTES * stats.rows <= self.limits.buffer_bytes

    def teardown(self) -> None:
        """Whatever was done, draining brings the rest out in order."""
        for table in (TRADES, BOOK_TICKERS):
            self.put_back(table)
            while batch := self.batcher.take(table, self.now_s, force=True):
                self.committed[table] += batch.rows
                self.batcher.acknowledge(batch)
            assert self.committed[table] == self.accepted[table]
        assert self.batcher.stats().held_bytes == 0


# The batcher loses nothing, doubles nothing and keeps order and bound under any interleaving.
TestBatcherAgainstTwin = BatcherAgainstTwin.TestCase
