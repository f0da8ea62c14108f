"""`ingest.shard.records`: what is written down of connections and of what could not be stored."""

from dataclasses import dataclass, field

from ingest.buffer.tables import TRADES
from ingest.errors import RowsRefused
from ingest.shard.records import SessionRecords
from ingest.store.journal import Entry, Quarantined, SessionClosed, SessionOpened
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
