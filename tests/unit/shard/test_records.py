"""`ingest.shard.records`: what is written down of connections and of what could not be stored."""

from dataclasses import dataclass, field

import pytest

from ingest.buffer import encode
from ingest.buffer.tables import TICKERS, TRADES, Table
from ingest.errors import RowsRefused
from ingest.events import MiniTicker, StreamKey
from ingest.shard.records import Refusals, SessionRecords
from ingest.store.journal import Entry, Quarantined, SessionClosed, SessionOpened
from tests.rows import trade_rows
from tests.unit.shard.builders import A_SESSION, AN_END, RECV_NS, SetClock


@dataclass
class FakeJournal:
    entries: list[Entry] = field(default_factory=list)

    def record(self, entry: Entry) -> None:
        self.entries.append(entry)


def records(journal: FakeJournal, clock: SetClock, *, kept: int = 3) -> SessionRecords:
    return SessionRecords(2, journal, clock=clock, kept_frames_per_minute=kept)  # type: ignore[arg-type]


def test_opened_connection_is_recorded() -> None:
    """With feed, shard, address and the number of its streams."""
    journal = FakeJournal()
    records(journal, SetClock()).session(A_SESSION, 40, None)

    assert journal.entries == [SessionOpened("spot", "3", 2, "ws://exchange/stream", RECV_NS // 1_000, 40)]


def test_ended_connection_is_recorded_whole() -> None:
    """It repeats the opening, so that it does not matter whether that was written."""
    journal, clock = FakeJournal(), SetClock()
    clock.now_ns += 5_000_000_000
    records(journal, clock).session(A_SESSION, 40, AN_END)
    (closed,) = journal.entries

    assert isinstance(closed, SessionClosed)
    assert closed.connected_us == RECV_NS // 1_000
    assert closed.closed_us == RECV_NS // 1_000 + 5_000_000
    assert (closed.close_code, closed.reason, closed.messages) == (1006, "connection_lost", 12)


def test_malformed_frame_is_kept() -> None:
    """With its text, as it came."""
    journal = FakeJournal()
    records(journal, SetClock()).frame_malformed(3, "not JSON", b"\xff{")

    assert journal.entries == [Quarantined(RECV_NS // 1_000, "spot", 2, "3", "frame", "not JSON", b"\xff{")]


def test_no_more_than_so_many_frames_are_kept_in_a_minute() -> None:
    """A server that sends nothing else must not fill the database; the next minute keeps again."""
    journal, clock = FakeJournal(), SetClock()
    author = records(journal, clock, kept=3)
    for _ in range(10):
        author.frame_malformed(3, "not JSON", b"{")
    assert len(journal.entries) == 3

    clock.now_ns += 60_000_000_000
    author.frame_malformed(3, "not JSON", b"{")
    assert len(journal.entries) == 4


def test_row_that_the_database_refused_is_kept() -> None:
    """Under the name of its table, whatever the frames have used up."""
    journal = FakeJournal()
    author = records(journal, SetClock(), kept=0)
    author.row_refused(TRADES, b"row", RowsRefused("out of range"))
    (entry,) = journal.entries

    assert isinstance(entry, Quarantined)
    assert (entry.source, entry.error, entry.payload) == ("trades", "out of range", b"row")


def refusals(journal: FakeJournal) -> Refusals:
    clock = SetClock()
    return Refusals(records(journal, clock), symbol_of={7: "BTCUSDT"}.__getitem__, clock=clock)


def test_refused_row_is_kept_and_its_id_is_a_gap() -> None:
    """The ledger names stream and id, and says that fetching it again would not help."""
    journal = FakeJournal()
    gap = refusals(journal)(TRADES, trade_rows([42])[0], RowsRefused("23514"))

    assert gap is not None
    assert (gap.key, gap.first_id, gap.last_id) == (StreamKey("spot", "BTCUSDT", "trade"), 42, 42)
    assert (gap.cause, gap.repairable, gap.opened_us) == ("row_refused", False, RECV_NS // 1_000)
    assert "23514" in gap.note
    assert len(journal.entries) == 1


TICKER = MiniTicker("BTCUSDT", RECV_NS // 1_000, "1", "2", "3", "0.5", "10", "20", RECV_NS)


@pytest.mark.parametrize(("table", "row"), [(TICKERS, encode.mini_ticker(7, TICKER)), (TRADES, b"junk")])
def test_refused_row_without_an_id_is_kept_and_no_gap(table: Table, row: bytes) -> None:
    """A quote has no id to be missed by, and of junk nothing is known."""
    journal = FakeJournal()

    assert refusals(journal)(table, row, RowsRefused("22003")) is None
    assert len(journal.entries) == 1
