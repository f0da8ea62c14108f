"""`ingest.shard.books`: what the books' machines ask for is carried out, and which states are stored."""

from dataclasses import dataclass, field

import pytest

from ingest.book.sync import BookSync
from ingest.buffer.tables import DEPTH_DELTAS, DEPTH_SNAPSHOTS
from ingest.events import DepthSnapshot, Gap, Level
from ingest.shard.books import AuditCounts, Books
from ingest.shard.kinds import DepthStream
from tests.unit.shard import builders as a
from tests.unit.shard.builders import RECV_NS, Bench, SetClock

EVERY_S = 300.0
BIDS: list[Level] = [("100.00000000", "1.00000000"), ("99.00000000", "1.00000000")]


@dataclass
class FakeFetcher:
    """Remembers what was asked for."""

    requests: list[tuple[str, int]] = field(default_factory=list)

    def request(self, symbol: str, attempt: int) -> None:
        self.requests.append((symbol, attempt))


class Shelf:
    """Books with their streams, a fetcher that the test answers for, and what is stored."""

    def __init__(self, *symbols: str, levels: int = 100) -> None:
        self.bench = Bench()
        self.fetcher = FakeFetcher()
        self.books = Books(
            self.bench.batcher,
            clock=SetClock(),
            instant=self.bench.instant,
            store_every_s=EVERY_S,
            stored_levels=levels,
        )
        self.books.attach(self.fetcher)  # type: ignore[arg-type]
        self.streams: dict[str, DepthStream] = {}
        for symbol in symbols or (a.SYMBOL,):
            stream = self.bench.stream("depth", symbol=symbol, book=BookSync(symbol), act=self.books.act)
            assert isinstance(stream, DepthStream)
            self.books.add(stream)
            self.streams[symbol] = stream

    def delta(self, first: int, final: int, *, symbol: str = a.SYMBOL) -> None:
        self.streams[symbol].accept({**a.depth(first, final), "s": symbol}, RECV_NS)

    def snapshot(
        self, last: int, *, symbol: str = a.SYMBOL, bids: list[Level] | None = None, cut_at: str = "0"
    ) -> None:
        bids = bids or [("99.00000000", "1.00000000")]
        asks = [("101.00000000", "1.00000000")]
        snapshot = DepthSnapshot(symbol, last, 0, bids, asks, "resync", RECV_NS, bids_known_from=cut_at)
        self.books.on_snapshot(snapshot)

    def live(self, *, cut_at: str = "0") -> None:
        """A book of one snapshot and one delta, whose row has been taken."""
        self.delta(1, 10)
        self.snapshot(10, bids=BIDS, cut_at=cut_at)
        self.stored()

    def stored_rows(self) -> list[list[bytes]]:
        """The rows of stored books, field by field; they are taken."""
        batch = self.bench.taken(DEPTH_SNAPSHOTS)
        return [row.rstrip(b"\n").split(b"\t") for row in batch.rows] if batch else []

    def stored(self) -> int:
        return self.bench.rows(DEPTH_SNAPSHOTS)


def test_first_delta_asks_for_a_snapshot() -> None:
    """The machine's request reaches the fetcher, and only one for a symbol."""
    shelf = Shelf()
    shelf.delta(1, 10)
    shelf.delta(11, 12)

    assert [symbol for symbol, _ in shelf.fetcher.requests] == [a.SYMBOL]
    assert (shelf.books.live, shelf.books.wanted) == (0, 1)


def test_book_is_stored_when_it_becomes_live() -> None:
    """Its levels, at the last update that is in it."""
    shelf = Shelf()
    shelf.delta(1, 10)
    shelf.snapshot(5)

    assert shelf.books.live == 1
    batch = shelf.bench.taken(DEPTH_SNAPSHOTS)
    assert batch is not None
    (row,) = batch.rows
    assert b"\t10\t" in row
    assert b"\tsync" in row
    assert b"{100.00000000,99.00000000}" in row


def test_stored_book_says_nothing_about_the_freshness_of_deltas() -> None:
    """Its commit is not marked for the stream."""
    shelf = Shelf()
    shelf.delta(1, 10)
    shelf.snapshot(5)
    batch = shelf.bench.taken(DEPTH_SNAPSHOTS)

    assert batch is not None
    assert shelf.streams[a.SYMBOL].number not in batch.marks


def test_stored_book_is_cut_to_the_configured_levels() -> None:
    """The best ones stay."""
    shelf = Shelf(levels=1)
    shelf.delta(1, 10)
    shelf.snapshot(5)
    batch = shelf.bench.taken(DEPTH_SNAPSHOTS)

    assert batch is not None
    assert b"{100.00000000}" in batch.rows[0]


def test_gap_resyncs_that_symbol_alone() -> None:
    """The others stay live, and the book that comes back is stored again, as resynced."""
    shelf = Shelf("BTCUSDT", "ETHUSDT")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        shelf.delta(1, 10, symbol=symbol)
        shelf.snapshot(10, symbol=symbol)
    assert shelf.stored() == 2
    shelf.delta(12, 15)

    assert shelf.books.live == 1
    assert [symbol for symbol, _ in shelf.fetcher.requests] == ["BTCUSDT", "ETHUSDT", "BTCUSDT"]
    shelf.snapshot(15)
    batch = shelf.bench.taken(DEPTH_SNAPSHOTS)
    assert batch is not None
    assert [b"\tresync" in row for row in batch.rows] == [True]


def test_failed_fetch_is_asked_for_again_with_a_higher_attempt() -> None:
    """The number decides how long the fetcher waits."""
    shelf = Shelf()
    shelf.delta(1, 10)
    shelf.books.on_failed(a.SYMBOL)
    shelf.books.on_failed(a.SYMBOL)
    attempts = [attempt for _, attempt in shelf.fetcher.requests]

    assert attempts == sorted(set(attempts))
    assert len(attempts) == 3


def test_live_book_is_stored_every_so_often() -> None:
    """Once in the period, and only while it is live."""
    shelf = Shelf()
    shelf.delta(1, 10)
    shelf.snapshot(10)
    shelf.stored()
    shelf.delta(11, 12)
    shelf.bench.instant.now_s += EVERY_S
    shelf.books.tick()
    shelf.books.tick()
    assert shelf.stored() == 1

    shelf.delta(20, 30)
    shelf.bench.instant.now_s += EVERY_S
    shelf.books.tick()
    assert shelf.stored() == 0


def test_book_that_was_given_up_wants_nothing_more() -> None:
    """It is not looked at, not stored, and what was asked for it comes to nothing."""
    shelf = Shelf("BTCUSDT", "ETHUSDT")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        shelf.delta(1, 10, symbol=symbol)
    shelf.books.remove("BTCUSDT")
    shelf.snapshot(10, symbol="BTCUSDT")
    shelf.snapshot(10, symbol="ETHUSDT")

    assert (shelf.books.wanted, shelf.books.live) == (1, 1)
    assert shelf.stored() == 1
    assert [symbol for symbol, _ in shelf.fetcher.requests] == ["BTCUSDT", "ETHUSDT"]


@pytest.mark.parametrize("came_first", [False, True])
def test_book_that_comes_back_takes_the_answer_it_is_owed(came_first: bool) -> None:
    """A snapshot asked for in its earlier life is answered once, whether its first delta came or not."""
    shelf = Shelf()
    shelf.delta(1, 10)
    shelf.books.remove(a.SYMBOL)
    book = shelf.books.new_book(a.SYMBOL)
    stream = shelf.bench.stream("depth", book=book, act=shelf.books.act)
    assert isinstance(stream, DepthStream)
    shelf.books.add(stream)
    if came_first:
        stream.accept(a.depth(11, 12), RECV_NS)
    shelf.snapshot(12)
    if not came_first:
        stream.accept(a.depth(11, 12), RECV_NS)
        shelf.snapshot(12)

    assert shelf.books.live == 1


def test_periodic_books_are_spread_over_the_period() -> None:
    """A shard does not store all of its books in one second."""
    symbols = [f"S{number}USDT" for number in range(50)]
    shelf = Shelf(*symbols)
    due = {kept.store_at_s for kept in shelf.books._order}

    assert len(due) == len(symbols)
    assert max(due) - min(due) > EVERY_S / 2


def test_crossed_book_is_given_up_and_fetched_again() -> None:
    """The watch finds it, as no delta can."""
    shelf = Shelf()
    shelf.delta(1, 10)
    shelf.snapshot(10)
    shelf.streams[a.SYMBOL].accept({**a.depth(11, 12), "b": [["102.00000000", "1.00000000"]]}, RECV_NS)
    assert shelf.books.live == 1
    shelf.books.tick()

    assert shelf.books.live == 0
    assert len(shelf.fetcher.requests) == 2


def test_every_book_is_looked_at_in_turn() -> None:
    """A few at each tick, until all were."""
    symbols = [f"S{number}USDT" for number in range(20)]
    shelf = Shelf(*symbols)
    seen = {kept.stream.symbol for _ in range(3) for kept in shelf.books._few()}

    assert seen == set(symbols)


def test_stored_book_says_how_far_it_is_known() -> None:
    """The range of the book, or as far as the stored levels go where there are more."""
    shelf = Shelf()
    shelf.delta(1, 10)
    shelf.snapshot(10, bids=BIDS, cut_at="99.00000000")
    assert [row[-2:] for row in shelf.stored_rows()] == [[b"99.00000000", b"Infinity"]]

    short = Shelf(levels=1)
    short.live()
    short.delta(11, 12)
    short.bench.instant.now_s += EVERY_S
    short.books.tick()
    assert [row[-2:] for row in short.stored_rows()] == [[b"100.00000000", b"Infinity"]]


def test_known_depth_is_that_of_the_snapshot_and_of_what_happened_since() -> None:
    """Levels of the cut side, how many were asked for, and how fast the book moves."""
    shelf = Shelf()
    shelf.live(cut_at="99.00000000")
    shelf.bench.instant.now_s += 10.0
    shelf.delta(11, 110)

    (known,) = shelf.books.known()
    assert (known.symbol, known.asked, known.levels, known.updates_per_s) == (a.SYMBOL, 2, 2, 10.0)
    shelf.books.tick()
    assert shelf.books.shallow == 1


def test_whole_book_is_not_shallow() -> None:
    """Nothing was cut off, so there is nothing to deepen."""
    shelf = Shelf()
    shelf.live()
    shelf.books.tick()

    assert [known.levels for known in shelf.books.known()] == [None]
    assert shelf.books.shallow == 0


def test_book_that_is_deepened_is_stored_again() -> None:
    """With what it knows now."""
    shelf = Shelf()
    shelf.live(cut_at="99.00000000")
    assert shelf.books.look_again(a.SYMBOL)
    assert shelf.books.known() == []
    deeper = [*BIDS, ("98.00000000", "1.00000000"), ("97.00000000", "1.00000000")]
    shelf.delta(11, 12)
    shelf.snapshot(12, bids=deeper, cut_at="97.00000000")

    ((*_, reason, known_from, _),) = shelf.stored_rows()
    assert (reason, known_from) == (b"deepened", b"97.00000000")
    assert [(known.asked, known.levels) for known in shelf.books.known()] == [(4, 4)]
    assert shelf.books.audits == AuditCounts(audits=1, levels=3)


def test_no_update_is_stored_twice() -> None:
    """Two rows of one update have one key: what is known more of it is stored with the next update."""
    shelf = Shelf()
    shelf.live(cut_at="99.00000000")
    shelf.books.look_again(a.SYMBOL)
    shelf.snapshot(10, bids=[*BIDS, ("98.00000000", "1.00000000")], cut_at="98.00000000")
    shelf.bench.instant.now_s += EVERY_S
    shelf.books.tick()
    assert shelf.stored() == 0

    shelf.delta(11, 12)
    shelf.books.tick()
    ((*_, reason, known_from, _),) = shelf.stored_rows()
    assert (reason, known_from) == (b"deepened", b"98.00000000")


def test_only_live_books_are_looked_at_again() -> None:
    """Not one that is unknown, nor one that is kept no longer, nor one that is being looked at."""
    shelf = Shelf()
    assert not shelf.books.look_again("ETHUSDT")
    assert not shelf.books.look_again(a.SYMBOL)
    shelf.live()
    assert shelf.books.look_again(a.SYMBOL)
    assert not shelf.books.look_again(a.SYMBOL)
    shelf.books.remove(a.SYMBOL)
    assert not shelf.books.look_again(a.SYMBOL)
    shelf.snapshot(10)


def test_book_that_differs_is_replaced_and_its_updates_become_a_gap() -> None:
    """The rows since it last agreed are stored and not to be trusted; the right book is stored as `audit`."""
    shelf = Shelf()
    shelf.live()
    shelf.delta(11, 20)
    assert shelf.books.look_again(a.SYMBOL)
    shelf.snapshot(20, bids=[("100.00000000", "7.00000000"), BIDS[1]])

    assert [row[-3] for row in shelf.stored_rows()] == [b"audit"]
    assert shelf.books.audits == AuditCounts(audits=1, differing=1, levels=3, mismatches=1)
    (gap,) = (gap for gap in shelf.bench.gaps(DEPTH_DELTAS) if isinstance(gap, Gap))
    assert (gap.first_id, gap.last_id, gap.cause) == (11, 20, "audit")
    assert (gap.start_us, gap.end_us) == (a.T0_US + 10_000, a.T0_US + 20_000)
    assert gap.note == "1 of 3 levels differ from the exchange's: stored, and not to be trusted"
    assert not gap.repairable
    assert shelf.books.live == 1


def test_look_that_failed_is_inconclusive() -> None:
    """Counted, and the book goes on."""
    shelf = Shelf()
    shelf.live()
    shelf.books.look_again(a.SYMBOL)
    shelf.books.on_failed(a.SYMBOL)

    assert shelf.books.audits == AuditCounts(inconclusive=1)
    assert shelf.books.live == 1


def test_periodic_books_keep_up_with_their_number() -> None:
    """As many are stored at each tick as the period asks for."""
    symbols = [f"S{number}USDT" for number in range(900)]
    shelf = Shelf(*symbols)
    for symbol in symbols:
        shelf.delta(1, 10, symbol=symbol)
        shelf.snapshot(10, symbol=symbol)
        shelf.delta(11, 12, symbol=symbol)
    shelf.stored()
    shelf.bench.instant.now_s += EVERY_S
    shelf.books.tick()

    assert shelf.stored() == 6
