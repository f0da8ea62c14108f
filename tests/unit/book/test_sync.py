"""The snapshot procedure, cell by cell of its table, and under anything that a stream may do."""

from collections.abc import Callable

import pytest

from ingest.book.sync import (
    WITH_BOOK,
    BookCompared,
    BookDeepened,
    BookLive,
    BookLost,
    BookSync,
    BufferOverflowed,
    ImpossibleInput,
    RequestSnapshot,
    State,
)
from ingest.events import DepthDelta, DepthSnapshot, Level

BID, ASK = "100.00000000", "101.00000000"


def delta(
    first: int, final: int, *, bids: list[Level] | None = None, asks: list[Level] | None = None
) -> DepthDelta:
    """Build a delta that sets the best bid's quantity to its final id."""
    return DepthDelta("BTCUSDT", first, final, 0, bids or [(BID, str(final))], asks or [], 0)


def snapshot(last: int, *, bids: list[Level] | None = None, asks: list[Level] | None = None) -> DepthSnapshot:
    """Build a snapshot with one level a side; the bid's quantity is the snapshot's id."""
    return DepthSnapshot("BTCUSDT", last, 0, bids or [(BID, str(last))], asks or [(ASK, "1")], "resync", 0)


def idle() -> BookSync:
    """Build a machine that has heard nothing."""
    return BookSync("BTCUSDT")


def buffering() -> BookSync:
    """Build a machine with the deltas 11-15 and 16-20, waiting for its first snapshot."""
    sync = idle()
    assert sync.on_delta(delta(11, 15)) == [RequestSnapshot("BTCUSDT", 0)]
    assert sync.on_delta(delta(16, 20)) == []
    return sync


def orphaned() -> BookSync:
    """Build a machine whose stream went away while a snapshot was asked for."""
    sync = buffering()
    assert sync.on_disconnected() == []
    return sync


def bridging() -> BookSync:
    """Build a machine with a snapshot of 25 that waits for its stream."""
    sync = buffering()
    assert sync.on_snapshot(snapshot(25)) == []
    return sync


def live() -> BookSync:
    """Build a machine whose book is right after 20."""
    sync = buffering()
    assert sync.on_snapshot(snapshot(15)) == [BookLive("BTCUSDT", 20)]
    return sync


def verifying() -> BookSync:
    """Build a machine whose book is right after 20 and is about to be compared."""
    sync = live()
    assert sync.look_again()
    return sync


def reaching() -> BookSync:
    """Build a machine whose book is right after 20, with a snapshot of 25 to compare it with."""
    sync = verifying()
    assert sync.on_snapshot(snapshot(25)) == []
    return sync


BUILDERS: dict[State, Callable[[], BookSync]] = {
    State.IDLE: idle,
    State.ORPHANED: orphaned,
    State.BUFFERING: buffering,
    State.BRIDGING: bridging,
    State.LIVE: live,
    State.VERIFYING: verifying,
    State.REACHING: reaching,
}


def best_qty(sync: BookSync) -> str | None:
    """Return the quantity of the best bid, by which tests tell which update the book is at."""
    best = sync.book.best_bid() if sync.book else None
    return best[1] if best else None


@pytest.mark.parametrize("state", State)
def test_only_a_live_machine_shows_a_book(state: State) -> None:
    """A book that is not known to be right is not shown, nor is its id."""
    sync = BUILDERS[state]()

    assert sync.state is state
    assert (sync.book is not None) == (state in WITH_BOOK)
    assert sync.update_id == (20 if state in WITH_BOOK else None)


@pytest.mark.parametrize("state", [State.IDLE, State.BRIDGING, State.LIVE, State.REACHING])
def test_an_answer_that_nobody_asked_for_raises_and_changes_nothing(state: State) -> None:
    """Empty cells of the table are the caller's mistake, and harmless to the machine."""
    sync = BUILDERS[state]()
    update_id, qty = sync.update_id, best_qty(sync)

    with pytest.raises(ImpossibleInput, match=f"BTCUSDT: snapshot while {state.name}"):
        sync.on_snapshot(snapshot(30))
    with pytest.raises(ImpossibleInput, match=f"BTCUSDT: failure while {state.name}"):
        sync.on_snapshot_failed()

    assert (sync.state, sync.update_id, best_qty(sync)) == (state, update_id, qty)


# --- waiting for the snapshot ---------------------------------------------------------------------


def test_the_first_delta_asks_for_a_snapshot_and_later_ones_do_not() -> None:
    """Buffering comes first, so that the snapshot can never be older than the buffer by design."""
    sync = idle()

    assert sync.on_delta(delta(11, 15)) == [RequestSnapshot("BTCUSDT", 0)]
    assert sync.on_delta(delta(16, 20)) == []


@pytest.mark.parametrize("last", [10, 11, 13, 15, 16, 19])
def test_a_snapshot_within_the_buffer_makes_the_book_live_at_its_end(last: int) -> None:
    """Deltas that the snapshot holds are skipped, the others applied; adjacent is as good as inside."""
    sync = buffering()

    assert sync.on_snapshot(snapshot(last)) == [BookLive("BTCUSDT", 20)]
    assert (sync.update_id, best_qty(sync)) == (20, "20")


def test_a_snapshot_that_ends_with_the_buffer_is_live_at_once() -> None:
    """Snapshot and stream meet at the same update, so nothing is left to wait for."""
    sync = buffering()

    assert sync.on_snapshot(snapshot(20)) == [BookLive("BTCUSDT", 20)]
    assert best_qty(sync) == "20"


def test_a_snapshot_that_is_too_old_is_asked_for_again_with_the_buffer_kept() -> None:
    """REST may lag the stream: the same buffer meets the next, newer snapshot."""
    sync = buffering()

    assert sync.on_snapshot(snapshot(9)) == [RequestSnapshot("BTCUSDT", 1)]
    assert sync.on_snapshot(snapshot(8)) == [RequestSnapshot("BTCUSDT", 2)]
    assert sync.on_snapshot(snapshot(10)) == [BookLive("BTCUSDT", 20)]


def test_a_snapshot_that_failed_is_asked_for_again() -> None:
    """Each attempt has its number, so that the caller can wait longer each time."""
    sync = buffering()

    assert sync.on_snapshot_failed() == [RequestSnapshot("BTCUSDT", 1)]
    assert sync.on_snapshot_failed() == [RequestSnapshot("BTCUSDT", 2)]
    assert sync.on_snapshot(snapshot(15)) == [BookLive("BTCUSDT", 20)]


def test_a_snapshot_with_rubbish_in_it_is_asked_for_again() -> None:
    """A price that is no number spoils the snapshot, not the buffer."""
    sync = buffering()

    assert sync.on_snapshot(snapshot(15, bids=[("1.2.3", "1")])) == [RequestSnapshot("BTCUSDT", 1)]
    assert sync.on_snapshot(snapshot(15)) == [BookLive("BTCUSDT", 20)]


def test_old_and_repeated_deltas_do_not_enter_the_buffer() -> None:
    """What the buffer holds already is ignored."""
    sync = buffering()

    assert sync.on_delta(delta(11, 15, bids=[(BID, "777")])) == []
    assert sync.on_snapshot(snapshot(10)) == [BookLive("BTCUSDT", 20)]
    assert best_qty(sync) == "20"


def test_a_gap_while_buffering_starts_the_buffer_again() -> None:
    """The snapshot must then reach to the delta behind the gap."""
    sync = buffering()

    assert sync.on_delta(delta(31, 35)) == []
    assert sync.on_snapshot(snapshot(20)) == [RequestSnapshot("BTCUSDT", 1)]
    assert sync.on_snapshot(snapshot(30)) == [BookLive("BTCUSDT", 35)]


def test_a_full_buffer_drops_its_oldest_and_says_so_once() -> None:
    """The snapshot must then hold what was dropped."""
    sync = BookSync("BTCUSDT", max_buffered=2)
    sync.on_delta(delta(1, 5))
    sync.on_delta(delta(6, 10))

    assert sync.on_delta(delta(11, 15)) == [BufferOverflowed("BTCUSDT", 2)]
    assert sync.on_delta(delta(16, 20)) == []
    assert sync.on_snapshot(snapshot(9)) == [RequestSnapshot("BTCUSDT", 1)]
    assert sync.on_snapshot(snapshot(10)) == [BookLive("BTCUSDT", 20)]


# --- a snapshot ahead of the stream ---------------------------------------------------------------


@pytest.mark.parametrize("deltas", [[(21, 25)], [(21, 26)], [(21, 24), (25, 30)], [(26, 30)]])
def test_a_snapshot_ahead_waits_for_the_delta_that_reaches_it(deltas: list[tuple[int, int]]) -> None:
    """Deltas that the snapshot holds pass by; the first that reaches or continues it makes it live."""
    sync = bridging()
    actions = [action for first, final in deltas for action in sync.on_delta(delta(first, final))]

    final = deltas[-1][1]
    assert actions == [BookLive("BTCUSDT", final)]
    assert (sync.update_id, best_qty(sync)) == (final, str(final))


def test_a_gap_behind_a_snapshot_ahead_asks_for_another() -> None:
    """A delta that begins beyond the snapshot leaves a hole that only a newer one closes."""
    sync = bridging()

    assert sync.on_delta(delta(27, 30)) == [RequestSnapshot("BTCUSDT", 1)]
    assert sync.state is State.BUFFERING
    assert sync.on_snapshot(snapshot(26)) == [BookLive("BTCUSDT", 30)]


# --- live -----------------------------------------------------------------------------------------


def test_a_live_book_follows_every_delta() -> None:
    """Each delta that continues the book is in it at once."""
    sync = live()

    assert sync.on_delta(delta(21, 22)) == []
    assert sync.on_delta(delta(23, 23)) == []
    assert (sync.update_id, best_qty(sync)) == (23, "23")


def test_a_live_book_ignores_what_it_holds() -> None:
    """Duplicates and old deltas change nothing."""
    sync = live()

    assert sync.on_delta(delta(16, 20, bids=[(BID, "777")])) == []
    assert sync.on_delta(delta(11, 15, bids=[(BID, "777")])) == []
    assert (sync.update_id, best_qty(sync)) == (20, "20")


def test_a_delta_that_overlaps_a_live_book_is_applied() -> None:
    """Quantities are absolute, so the part that is known does no harm."""
    sync = live()

    assert sync.on_delta(delta(18, 25)) == []
    assert (sync.update_id, best_qty(sync)) == (25, "25")


def test_a_gap_loses_the_book_and_begins_again_with_the_delta_behind_it() -> None:
    """The loss names the updates that are missing, and one new snapshot is asked for."""
    sync = live()

    assert sync.on_delta(delta(25, 30)) == [
        BookLost("BTCUSDT", "gap", 21, 24),
        RequestSnapshot("BTCUSDT", 0),
    ]
    assert sync.book is None
    assert sync.on_snapshot(snapshot(24)) == [BookLive("BTCUSDT", 30)]


def test_a_delta_with_rubbish_in_it_loses_the_book() -> None:
    """A book that was changed by half is given up; the next snapshot must hold the bad delta."""
    sync = live()

    assert sync.on_delta(delta(21, 25, bids=[("1.2.3", "1")])) == [
        BookLost("BTCUSDT", "malformed", None, None),
        RequestSnapshot("BTCUSDT", 0),
    ]
    assert sync.on_snapshot(snapshot(24)) == [RequestSnapshot("BTCUSDT", 1)]
    assert sync.on_snapshot(snapshot(25)) == [BookLive("BTCUSDT", 25)]


def test_a_buffered_delta_with_rubbish_in_it_asks_for_a_snapshot_beyond_the_buffer() -> None:
    """A book that never was live is not lost; it is begun again behind all that came."""
    sync = buffering()
    sync.on_delta(delta(21, 22, bids=[("1.2.3", "1")]))
    sync.on_delta(delta(23, 25))

    assert sync.on_snapshot(snapshot(15)) == [RequestSnapshot("BTCUSDT", 1)]
    assert sync.on_snapshot(snapshot(24)) == [RequestSnapshot("BTCUSDT", 2)]
    assert sync.on_snapshot(snapshot(25)) == [BookLive("BTCUSDT", 25)]


# --- crossed --------------------------------------------------------------------------------------


def test_check_finds_nothing_wrong_with_a_good_book() -> None:
    """A book whose bid is below its ask stays live."""
    sync = live()

    assert sync.check() == []
    assert sync.state is State.LIVE


def test_check_gives_a_crossed_book_up() -> None:
    """A bid at or above an ask means that the book is wrong, whatever the ids say."""
    sync = live()
    sync.on_delta(delta(21, 21, bids=[(ASK, "1")]))

    assert sync.check() == [BookLost("BTCUSDT", "crossed", None, None), RequestSnapshot("BTCUSDT", 0)]
    assert sync.book is None
    assert sync.check() == []


def test_a_book_lost_by_crossing_wants_a_snapshot_as_new_as_itself() -> None:
    """No delta is buffered, so a snapshot that is older could not be continued."""
    sync = live()
    sync.on_delta(delta(21, 21, bids=[(ASK, "1")]))
    sync.check()

    assert sync.on_snapshot(snapshot(20)) == [RequestSnapshot("BTCUSDT", 1)]
    assert sync.on_snapshot(snapshot(21)) == [BookLive("BTCUSDT", 21)]


def test_a_book_lost_by_crossing_takes_a_snapshot_with_the_deltas_since() -> None:
    """The stream went on meanwhile, and continues the new snapshot."""
    sync = live()
    sync.on_delta(delta(21, 21, bids=[(ASK, "1")]))
    sync.check()
    sync.on_delta(delta(22, 25))

    assert sync.on_snapshot(snapshot(22)) == [BookLive("BTCUSDT", 25)]


def test_a_crossed_snapshot_never_becomes_a_live_book() -> None:
    """A book is looked at before it is shown."""
    sync = buffering()

    assert sync.on_snapshot(snapshot(20, bids=[(ASK, "1")])) == [RequestSnapshot("BTCUSDT", 1)]
    assert sync.book is None


def test_attempts_count_from_the_last_live_book() -> None:
    """A resync begins with an attempt without delay again."""
    sync = buffering()
    sync.on_snapshot_failed()
    sync.on_snapshot(snapshot(20))

    assert sync.on_delta(delta(30, 30))[-1] == RequestSnapshot("BTCUSDT", 0)


# --- disconnects ----------------------------------------------------------------------------------


def test_a_live_book_is_lost_with_its_stream() -> None:
    """Without a stream the book grows old unseen, so it is unknown; nothing is asked for until it is back."""
    sync = live()

    assert sync.on_disconnected() == [BookLost("BTCUSDT", "disconnected", None, None)]
    assert (sync.state, sync.book) == (State.IDLE, None)
    assert sync.on_delta(delta(50, 55)) == [RequestSnapshot("BTCUSDT", 0)]


@pytest.mark.parametrize(
    ("state", "then"),
    [
        (State.IDLE, State.IDLE),
        (State.BRIDGING, State.IDLE),
        (State.BUFFERING, State.ORPHANED),
        (State.ORPHANED, State.ORPHANED),
    ],
)
def test_a_book_that_is_not_live_cannot_be_lost(state: State, then: State) -> None:
    """Nothing is said when the stream of an unknown book goes away."""
    sync = BUILDERS[state]()

    assert sync.on_disconnected() == []
    assert sync.state is then


def test_an_answer_for_a_stream_that_is_away_is_dropped() -> None:
    """The next stream asks for its own snapshot then."""
    answered, failed = orphaned(), orphaned()

    assert answered.on_snapshot(snapshot(20)) == []
    assert failed.on_snapshot_failed() == []
    assert (answered.state, failed.state) == (State.IDLE, State.IDLE)
    assert answered.on_delta(delta(50, 55)) == [RequestSnapshot("BTCUSDT", 0)]


def test_a_stream_that_is_back_uses_the_snapshot_that_is_still_to_come() -> None:
    """Two snapshots are never asked for at once; if the one to come is too old, another is."""
    sync = orphaned()

    assert sync.on_delta(delta(50, 55)) == []
    assert sync.on_snapshot(snapshot(20)) == [RequestSnapshot("BTCUSDT", 1)]
    assert sync.on_snapshot(snapshot(52)) == [BookLive("BTCUSDT", 55)]


# --- looked at again --------------------------------------------------------------------------------

TOP: list[Level] = [("101.00000000", "1"), ("102.00000000", "2")]


def cut_snapshot(last: int, *, levels: int = 1) -> DepthSnapshot:
    """Build a snapshot of a book that goes on behind its asks."""
    return snapshot(last, asks=TOP[:levels])._replace(asks_known_to=TOP[levels - 1][0])


@pytest.mark.parametrize("state", [state for state in State if state is not State.LIVE])
def test_only_a_live_book_is_looked_at_again(state: State) -> None:
    """Where nothing can be compared, or a snapshot is on its way already, none is to be fetched."""
    sync = BUILDERS[state]()

    assert not sync.look_again()
    assert sync.state is state


def test_a_book_is_followed_while_it_is_looked_at() -> None:
    """A look takes nothing away from those who read the book."""
    sync = verifying()

    assert sync.on_delta(delta(21, 22)) == []
    assert (sync.update_id, best_qty(sync)) == (22, "22")


@pytest.mark.parametrize("last", [20, 21, 22])
def test_a_look_compares_at_the_newest_update(last: int) -> None:
    """The deltas since the look began are laid upon the snapshot; what both know is the same then."""
    sync = verifying()
    sync.on_delta(delta(21, 22))

    assert sync.on_snapshot(snapshot(last)) == [BookCompared("BTCUSDT", 2, 0)]
    assert (sync.state, sync.update_id) == (State.LIVE, 22)


def test_a_look_that_is_ahead_waits_for_the_stream() -> None:
    """The comparison is made when the book has reached the snapshot, and the book is shown meanwhile."""
    sync = reaching()

    assert sync.on_delta(delta(21, 23)) == []
    assert best_qty(sync) == "23"
    assert sync.on_delta(delta(24, 26)) == [BookCompared("BTCUSDT", 2, 0)]
    assert sync.state is State.LIVE


def test_a_look_that_is_too_old_says_nothing() -> None:
    """The deltas before the look are gone, so that the snapshot cannot be brought up to the book."""
    sync = verifying()

    assert sync.on_snapshot(snapshot(19)) == [BookCompared("BTCUSDT", 0, 0)]
    assert (sync.state, best_qty(sync)) == (State.LIVE, "20")


@pytest.mark.parametrize("useless", [snapshot(20, bids=[("1.2.3", "1")]), snapshot(20, bids=[(ASK, "1")])])
def test_a_look_at_rubbish_says_nothing(useless: DepthSnapshot) -> None:
    """What is no book proves nothing about one."""
    assert verifying().on_snapshot(useless) == [BookCompared("BTCUSDT", 0, 0)]


def test_a_look_that_failed_leaves_the_book_live() -> None:
    """Nobody waits for it."""
    sync = verifying()

    assert sync.on_snapshot_failed() == [BookCompared("BTCUSDT", 0, 0)]
    assert (sync.state, best_qty(sync)) == (State.LIVE, "20")


def test_a_book_that_differs_is_lost_and_replaced_at_once() -> None:
    """The loss names the updates since the two last agreed; the snapshot's book takes its place."""
    sync = live()  # agreed at the snapshot of 15
    sync.on_delta(delta(21, 22, asks=[("103.00000000", "9")]))
    assert sync.look_again()

    assert sync.on_snapshot(snapshot(22)) == [
        BookCompared("BTCUSDT", 3, 1),
        BookLost("BTCUSDT", "audit", 16, 22),
        BookLive("BTCUSDT", 22),
    ]
    assert sync.book is not None
    assert list(sync.book.asks) == [ASK]


def test_a_book_that_agreed_differs_since_then() -> None:
    """A later loss does not take back what was found to be right."""
    sync = verifying()
    sync.on_snapshot(snapshot(20))
    sync.on_delta(delta(21, 22, bids=[(BID, "777")]))
    assert sync.look_again()

    assert sync.on_snapshot(snapshot(22))[1] == BookLost("BTCUSDT", "audit", 21, 22)


def test_a_deeper_look_deepens_the_book() -> None:
    """What lies behind the first snapshot is known from then on."""
    sync = buffering()
    sync.on_snapshot(cut_snapshot(20))
    assert sync.look_again()

    assert sync.on_snapshot(snapshot(20, asks=TOP)) == [
        BookCompared("BTCUSDT", 2, 0),
        BookDeepened("BTCUSDT", 20),
    ]
    assert sync.book is not None
    assert (sync.book.asks, sync.book.asks_are_cut) == (dict(TOP), False)


def test_a_shallower_look_leaves_the_book_as_deep_as_it_was() -> None:
    """An audit of a few levels takes nothing away."""
    sync = buffering()
    sync.on_snapshot(snapshot(20, asks=TOP))
    assert sync.look_again()

    assert sync.on_snapshot(cut_snapshot(20)) == [BookCompared("BTCUSDT", 2, 0)]
    assert sync.book is not None
    assert sync.book.asks == dict(TOP)


def test_a_gap_while_looking_waits_for_the_snapshot_on_its_way() -> None:
    """Two snapshots are never asked for at once; the one to come fits, or another is asked for."""
    sync = verifying()

    assert sync.on_delta(delta(25, 30)) == [BookLost("BTCUSDT", "gap", 21, 24)]
    assert sync.on_snapshot(snapshot(23)) == [RequestSnapshot("BTCUSDT", 0)]
    assert sync.on_snapshot(snapshot(24)) == [BookLive("BTCUSDT", 30)]


def test_a_gap_before_the_snapshot_is_reached_asks_for_another() -> None:
    """The one that is here was not asked for because of the gap, and is given up with the book."""
    sync = reaching()

    assert sync.on_delta(delta(22, 30)) == [
        BookLost("BTCUSDT", "gap", 21, 21),
        RequestSnapshot("BTCUSDT", 0),
    ]
    assert sync.state is State.BUFFERING


@pytest.mark.parametrize(("build", "then"), [(verifying, State.ORPHANED), (reaching, State.IDLE)])
def test_a_book_is_lost_with_its_stream_while_it_is_looked_at(
    build: Callable[[], BookSync], then: State
) -> None:
    """As a live one; a snapshot on its way is still owed."""
    sync = build()

    assert sync.on_disconnected() == [BookLost("BTCUSDT", "disconnected", None, None)]
    assert sync.state is then


@pytest.mark.parametrize(("build", "asks"), [(verifying, False), (reaching, True)])
def test_rubbish_while_looking_loses_the_book(build: Callable[[], BookSync], asks: bool) -> None:
    """A snapshot is asked for unless one is on its way."""
    sync = build()
    actions = sync.on_delta(delta(21, 21, bids=[("1.2.3", "1")]))

    assert actions[0] == BookLost("BTCUSDT", "malformed", None, None)
    assert actions[1:] == ([RequestSnapshot("BTCUSDT", 0)] if asks else [])
    assert sync.book is None


def test_a_full_buffer_while_looking_makes_the_snapshot_too_old() -> None:
    """The look says nothing then, and the book goes on."""
    sync = live()
    sync.max_buffered = 1
    assert sync.look_again()
    assert sync.on_delta(delta(21, 21)) == []
    assert sync.on_delta(delta(22, 22)) == [BufferOverflowed("BTCUSDT", 1)]

    assert sync.on_snapshot(snapshot(20)) == [BookCompared("BTCUSDT", 0, 0)]
    assert best_qty(sync) == "22"


# --- the known range --------------------------------------------------------------------------------


def test_ghost_levels_are_not_shown() -> None:
    """A delta tells of a level behind the snapshot's last one, but not of those between."""
    sync = buffering()
    sync.on_snapshot(cut_snapshot(20))
    sync.on_delta(delta(21, 21, asks=[("150.00000000", "1")]))

    assert sync.book is not None
    assert list(sync.book.asks) == [ASK]


def test_check_gives_a_book_up_whose_range_the_market_has_left() -> None:
    """Without a known level the best price of that side is not known."""
    sync = buffering()
    sync.on_snapshot(cut_snapshot(20))
    sync.on_delta(delta(21, 21, asks=[(ASK, "0")]))

    assert sync.check() == [BookLost("BTCUSDT", "exhausted", None, None), RequestSnapshot("BTCUSDT", 0)]
    assert sync.book is None


def test_an_empty_snapshot_is_not_believed() -> None:
    """It would make every later delta the whole of a book."""
    sync = buffering()
    empty = DepthSnapshot("BTCUSDT", 20, 0, [], [], "resync", 0)

    assert sync.on_snapshot(empty) == [RequestSnapshot("BTCUSDT", 1)]
