"""Which page next, what of it is wanted, when a hole is closed, and which gap goes first."""

import itertools
import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.events import StreamKey
from ingest.sequence.backfill import (
    Agenda,
    Hole,
    IdRange,
    OpenGap,
    Page,
    Patience,
    Settled,
    Stored,
    joined,
    settle,
    shared_page,
)

MINUTE_MS = 60_000


def rows(ids: Iterable[int]) -> list[IdRange]:
    """Rows of one id each, as trades are."""
    return [IdRange(each, each) for each in ids]


def one(trade_id: int) -> Stored:
    """A single stored trade."""
    return Stored(trade_id, trade_id, 1)


def ids_of(ranges: Iterable[IdRange]) -> set[int]:
    """The ids in some ranges."""
    return {each for run in ranges for each in range(run.first, run.last + 1)}


def filled(hole: Hole, has: Sequence[int], *, most: int) -> list[int]:
    """Go on until nothing is left to ask an exchange that has these ids; what is stored by that, in order."""
    stored: list[int] = []
    while (page := hole.next_page(most)) is not None:
        answer = [each for each in has if each >= page.from_id][: page.limit]
        stored += [answer[place] for place in hole.take(page, rows(answer))]
    return stored


# --- pages ------------------------------------------------------------------------------------------


def test_first_page_begins_with_the_first_missing_id() -> None:
    """And asks for one row more than is missing, as proof of the hole's end."""
    assert Hole(10, 14).next_page(1_000) == Page(10, 6)


def test_page_is_never_larger_than_allowed() -> None:
    """However large the hole."""
    assert Hole(10, 10_000).next_page(1_000) == Page(10, 1_000)


def test_what_is_stored_already_is_not_asked_for() -> None:
    """Runs at the edges and in the middle, in any order."""
    hole = Hole(10, 19, [Stored(15, 16, 2), Stored(10, 11, 2), one(19)])

    assert hole.missing == ((12, 14), (17, 18))
    assert hole.rows == 5
    assert hole.next_page(1_000) == Page(12, 8)


def test_stored_run_elsewhere_counts_for_nothing() -> None:
    """Neither as a row of the hole nor as a part of it."""
    hole = Hole(10, 11, [one(9), one(12)])

    assert (hole.rows, hole.missing) == (0, ((10, 11),))


def test_hole_that_is_stored_whole_asks_nothing() -> None:
    """A crash came after the last page and before the ledger was written."""
    hole = Hole(10, 11, [Stored(10, 11, 2)])

    assert hole.next_page(1_000) is None
    assert settle(hole, ()) == Settled("repaired", 2)


def test_next_page_goes_on_behind_the_rows_that_came() -> None:
    """Page after page, until nothing is missing."""
    hole = Hole(10, 15)
    first = hole.next_page(3)
    assert first is not None
    assert hole.take(first, rows([10, 11, 12])) == [0, 1, 2]

    assert hole.next_page(3) == Page(13, 3)
    assert hole.take(Page(13, 3), rows([13, 14, 15])) == [0, 1, 2]
    assert hole.next_page(3) is None


def test_rows_outside_the_hole_and_rows_stored_already_are_not_taken() -> None:
    """Only what is missing is written, each row once."""
    hole = Hole(10, 12, [one(11)])

    assert hole.take(Page(10, 9), rows([8, 9, 10, 10, 11, 12, 13])) == [2, 5]
    assert hole.rows == 3


def test_order_of_an_answer_does_not_matter() -> None:
    """The exchange sorts; if it did not, nothing would be lost."""
    hole = Hole(10, 12)

    assert hole.take(Page(10, 4), rows([12, 10, 11])) == [0, 1, 2]
    assert hole.missing == hole.skipped == ()


@pytest.mark.parametrize("answer", [[], [8, 9]], ids=["empty", "older"])
def test_answer_that_reaches_nothing_missing_means_ask_later(answer: list[int]) -> None:
    """The exchange's history lags behind its streams: no proof that it lacks the ids."""
    hole = Hole(10, 12)

    assert hole.take(Page(10, 4), rows(answer)) == []
    assert hole.is_behind
    assert hole.next_page(1_000) is None
    assert hole.missing == ((10, 12),)
    assert settle(hole, ()) is None


def test_answer_that_ends_inside_the_hole_is_taken_and_the_rest_asked_for() -> None:
    """What comes is used; only a page with nothing at all ends the attempt."""
    hole = Hole(10, 20)
    hole.take(Page(10, 12), rows([10, 11]))
    assert hole.next_page(1_000) == Page(12, 10)
    hole.take(Page(12, 10), [])

    assert hole.is_behind
    assert hole.missing == ((12, 20),)


# --- what the exchange has not either ---------------------------------------------------------------


def test_ids_that_an_answer_passes_over_are_skipped() -> None:
    """At the beginning, in the middle, and before the row behind the hole."""
    hole = Hole(10, 19)
    hole.take(Page(10, 11), rows([12, 13, 16, 17, 20]))

    assert hole.skipped == ((10, 11), (14, 15), (18, 19))
    assert (hole.missing, hole.rows) == ((), 4)


def test_skipped_ids_are_not_believed_the_first_time() -> None:
    """Asked again later, what is skipped again is absent; the rest is repaired."""
    hole = Hole(10, 19)
    hole.take(Page(10, 11), rows([*range(12, 20)]))
    assert settle(hole, ()) is None

    again = Hole(10, 19, [Stored(12, 19, 8)])
    again.take(Page(10, 3), rows([12]))
    assert settle(again, hole.skipped) == Settled(
        "repaired", 8, (IdRange(10, 11),), "but for ids that the exchange has not either"
    )


def test_part_of_what_was_skipped_may_have_come_meanwhile() -> None:
    """Only what is skipped now is absent."""
    hole = Hole(10, 19)
    hole.take(Page(10, 11), rows([15, 16, 17, 18, 19, 20]))

    settled = settle(hole, (IdRange(10, 19),))
    assert settled is not None
    assert settled.absent == ((10, 14),)


@pytest.mark.parametrize("suspected", [(), (IdRange(10, 12),), (IdRange(13, 20),)])
def test_more_skipped_than_was_suspected_is_asked_again(suspected: tuple[IdRange, ...]) -> None:
    """Each id must have been skipped twice."""
    hole = Hole(10, 14)
    hole.take(Page(10, 6), rows([15]))

    assert settle(hole, suspected) is None


def test_hole_of_which_the_exchange_has_nothing_is_absent_as_a_whole() -> None:
    """No part has a row of its own then."""
    hole = Hole(10, 14)
    hole.take(Page(10, 6), rows([15]))

    assert settle(hole, (IdRange(10, 14),)) == Settled(
        "absent_at_exchange", 0, note="the exchange goes on without these ids"
    )


# --- candles ----------------------------------------------------------------------------------------


def candle(minute: int) -> IdRange:
    """The milliseconds of one candle of a minute."""
    return IdRange(minute * MINUTE_MS, (minute + 1) * MINUTE_MS - 1)


def test_candles_follow_each_other_by_the_time_they_cover() -> None:
    """No millisecond between two openings counts as missing."""
    hole = Hole(candle(5).first, candle(8).last, [Stored(*candle(6), 1)])
    assert hole.next_page(1_000) == Page(5 * MINUTE_MS, 1_000)
    assert hole.take(Page(5 * MINUTE_MS, 1_000), [candle(each) for each in (5, 6, 7, 8, 9)]) == [0, 2, 3]

    assert (hole.missing, hole.skipped, hole.rows) == ((), (), 4)


def test_candle_that_is_not_there_is_skipped_whole() -> None:
    """From its opening to its close."""
    hole = Hole(candle(5).first, candle(7).last)
    hole.take(Page(5 * MINUTE_MS, 1_000), [candle(5), candle(7), candle(8)])

    assert hole.skipped == (candle(6),)


# --- any hole, any exchange, any paging -------------------------------------------------------------

IDS = st.sets(st.integers(0, 40))


@given(has=IDS, stored=IDS, first=st.integers(0, 40), length=st.integers(1, 41), most=st.integers(1, 12))
@example(has=set(), stored=set(), first=0, length=1, most=1)
@example(has={40}, stored=set(), first=0, length=5, most=1)
def test_any_paging_closes_exactly_the_hole(
    has: set[int], stored: set[int], first: int, length: int, most: int
) -> None:
    """Every id ends in one place, and each row that the exchange has is stored once, in order."""
    last = first + length - 1
    wanted = set(range(first, last + 1))
    runs = [one(each) for each in stored & wanted]
    hole = Hole(first, last, runs)
    got = filled(hole, sorted(has), most=most)

    assert got == sorted((has & wanted) - stored)
    assert hole.rows == len((has | stored) & wanted)
    left, skipped = ids_of(hole.missing), ids_of(hole.skipped)
    assert left | skipped == wanted - has - stored
    assert not left & skipped
    # What is left lies beyond all that the exchange has; what is skipped lies before something it has.
    assert all(each > max(has, default=-1) for each in left)
    assert all(each < max(has, default=-1) for each in skipped)
    assert hole.is_behind == bool(left)


@given(has=IDS, stored=IDS, most=st.integers(1, 12), crashes=st.lists(st.integers(1, 4), max_size=5))
def test_crashes_between_pages_change_nothing(
    has: set[int], stored: set[int], most: int, crashes: list[int]
) -> None:
    """Begun anew from what the table has, as often as you like, the end is the same."""
    has = has | {50}  # the row behind the hole, which opened it
    table = set(stored)
    hole = Hole(0, 40)
    for pages in [*crashes, 100]:
        hole = Hole(0, 40, [one(each) for each in table])
        for _ in range(pages):
            if (page := hole.next_page(most)) is None:
                break
            answer = sorted(each for each in has if each >= page.from_id)[: page.limit]
            took = [answer[place] for place in hole.take(page, rows(answer))]
            assert not table & set(took)
            table |= set(took)

    assert table & set(range(41)) == (has | stored) & set(range(41))
    settled = settle(hole, (IdRange(0, 40),))
    assert settled is not None
    absent = ids_of(settled.absent) if settled.state == "repaired" else set(range(41))
    assert absent == set(range(41)) - has - stored


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5))))
def test_joined_ranges_have_the_same_ids_and_do_not_touch(pairs: list[tuple[int, int]]) -> None:
    """As few ranges as possible, ascending."""
    ranges = [IdRange(first, first + more) for first, more in pairs]
    found = joined(ranges)

    assert ids_of(found) == ids_of(ranges)
    assert all(a.last + 1 < b.first for a, b in itertools.pairwise(found))


# --- the agenda -------------------------------------------------------------------------------------

KEY = StreamKey("spot", "BTCUSDT", "trade")


def gap(number: int) -> OpenGap:
    """A gap of that number."""
    return OpenGap(number, KEY, 1, 5, None, None)


def an_agenda(*numbers: int) -> Agenda:
    """With short waits that do not vary by more than half."""
    agenda = Agenda(random.Random(1), Patience(first_s=2.0, cap_s=10.0, confirm_s=30.0))
    agenda.renew([gap(number) for number in numbers])
    return agenda


def due(agenda: Agenda, now_s: float) -> int | None:
    """The number of the gap that is due."""
    found = agenda.next_due(now_s)
    return None if found is None else found.gap_id


def test_gap_that_the_ledger_names_first_goes_first() -> None:
    """The ledger sorts by the newest data."""
    agenda = an_agenda(3, 1, 2)
    assert (due(agenda, 0.0), len(agenda)) == (3, 3)

    agenda.renew([gap(4), gap(3)])
    assert due(agenda, 0.0) == 4


def test_gap_that_failed_waits_and_lets_the_others_go() -> None:
    """Between half of and the whole of two seconds."""
    agenda = an_agenda(3, 1)
    agenda.failed(3, 100.0)

    assert due(agenda, 100.9) == 1
    assert due(agenda, 102.0) == 3


def test_waits_grow_up_to_the_cap_and_shrink_after_progress() -> None:
    """Doubled by each failure in a row."""
    agenda = an_agenda(3)
    for longest_s in (2.0, 4.0, 8.0, 10.0, 10.0):
        agenda.failed(3, 0.0)
        assert due(agenda, longest_s / 2 - 0.001) is None
        assert due(agenda, longest_s) == 3

    agenda.progressed(3)
    agenda.failed(3, 0.0)
    assert due(agenda, 2.0) == 3


def test_any_number_of_failures_is_waited_out() -> None:
    """No overflow in a month of trouble."""
    agenda = an_agenda(3)
    for _ in range(5_000):
        agenda.failed(3, 0.0)

    assert due(agenda, 10.0) == 3


def test_suspicion_is_kept_and_seen_to_later() -> None:
    """As long as the gap is open, also when the ledger is read again."""
    agenda = an_agenda(3)
    assert agenda.suspected(3) == ()
    agenda.suspect(3, (IdRange(1, 2),), 100.0)
    agenda.renew([gap(3)])

    assert agenda.suspected(3) == ((1, 2),)
    assert due(agenda, 129.9) is None
    assert due(agenda, 130.0) == 3


def test_gap_that_is_closed_is_forgotten() -> None:
    """By us, or by somebody else; the same number again begins anew."""
    agenda = an_agenda(3, 1)
    agenda.failed(1, 0.0)
    agenda.closed(3)
    assert 3 not in agenda
    agenda.renew([])
    assert (due(agenda, 99.0), len(agenda)) == (None, 0)

    agenda.renew([gap(1)])
    assert due(agenda, 0.0) == 1


# --- several holes at once ---------------------------------------------------------------------------


def test_holes_within_a_page_share_it() -> None:
    """From the first missing id of all to the row behind the last."""
    holes = [Hole(30, 31), Hole(10, 11, [one(10)]), Hole(20, 20, [one(20)])]

    assert shared_page(holes, 22) == Page(11, 22)
    assert shared_page(holes, 21) is None
    assert shared_page([Hole(20, 20, [one(20)])], 22) is None


def test_shared_page_fills_each_hole() -> None:
    """Rows between them are nobody's."""
    holes = [Hole(14, 15), Hole(10, 11)]
    page = shared_page(holes, 100)
    assert page == Page(10, 7)
    taken = [hole.take(page, rows(range(10, 17))) for hole in holes]

    assert taken == [[4, 5], [0, 1]]
    assert all(settle(hole, ()) == Settled("repaired", 2) for hole in holes)


def test_companions_are_due_gaps_of_the_stream_close_before_this_one() -> None:
    """No other stream, no gap that waits, none further away than a page, none that overlaps."""
    agenda = an_agenda()
    far, late, near, other, this = (
        OpenGap(number, key, first, first + 1, None, None)
        for number, key, first in (
            (1, KEY, 10),
            (2, KEY, 96),
            (3, KEY, 90),
            (4, KEY._replace(symbol="ETHUSDT"), 95),
            (5, KEY, 100),
        )
    )
    agenda.renew([this, other, late, near, far])
    agenda.failed(2, 0.0)

    assert agenda.companions(this, 0.5, most=13) == [near]
    assert agenda.companions(this, 0.5, most=12) == []
    assert agenda.companions(this, 9.0, most=1_000) == [late, near, far]
