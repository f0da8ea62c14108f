"""`ingest.supervisor.trimming`: what both lines have missed, said once."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.events import StreamKey
from ingest.supervisor.lines import MissedRange, Span
from ingest.supervisor.trimming import Beside, Part, remains, ripe

DEPTH = StreamKey("spot", "BTCUSDT", "depth")
QUOTES = StreamKey("spot", "BTCUSDT", "mini_ticker")
TRADES = StreamKey("spot", "BTCUSDT", "trade")
MS = 1_000
REVIEW_S = 120.0


def a_gap(first: int, last: int, *, gap_id: int = 1, key: StreamKey = DEPTH) -> MissedRange:
    """Of ids; an event happens each millisecond, and has that for its id."""
    return MissedRange(gap_id, key, first, last, (first - 1) * MS, (last + 1) * MS)


def a_part(first: int, last: int) -> Part:
    return Part(*a_gap(first, last)[2:])


def beside(first: int, last: int, *, is_missing: bool = True) -> Beside:
    return Beside(a_part(first, last), is_missing)


def times(start_ms: int | None, end_ms: int | None) -> MissedRange:
    """A gap of a kind without ids."""
    us = [None if each is None else each * MS for each in (start_ms, end_ms)]
    return MissedRange(1, QUOTES, None, None, *us)


# --- what is left ---


def test_row_that_nobody_else_knows_of_stays() -> None:
    """Whatever was stored before and after it."""
    assert remains(a_gap(5, 9), [Span(1, 4), Span(10, 20)], [beside(20, 30)]) is None


def test_row_is_cut_to_what_the_other_line_has_missed_too() -> None:
    """With the times of the rows around that, as far as either row knows them."""
    left = remains(a_gap(5, 9), [Span(1, 7), Span(13, 20)], [beside(8, 12, is_missing=False)])

    assert left == [a_part(8, 9)]


def test_row_whose_rest_another_row_says_has_nothing_left() -> None:
    """The other row says it already, and will be cut itself."""
    assert remains(a_gap(5, 9), [Span(1, 7)], [beside(8, 12)]) == []


def test_row_in_the_middle_of_which_the_other_line_was_there_falls_into_two() -> None:
    """Times that no row tells are those of the whole."""
    left = remains(a_gap(5, 20), [Span(8, 12)], [])

    assert left == [Part(5, 7, 4 * MS, 21 * MS), Part(13, 20, 4 * MS, 21 * MS)]


def test_stretch_of_which_nothing_is_committed_stores_nothing() -> None:
    """What has begun is not yet stored."""
    assert remains(a_gap(5, 20), [Span(12, 8)], []) is None


def test_row_without_ids_is_cut_by_times() -> None:
    """The rows at its bounds are there."""
    assert remains(times(5, 20), [Span(1, 7), Span(30, 40)], []) == [Part(None, None, 7 * MS, 20 * MS)]
    assert remains(times(5, 20), [Span(12, 40)], []) == [Part(None, None, 5 * MS, 12 * MS)]
    assert remains(times(5, 20), [], [Beside(Part(None, None, 3 * MS, 30 * MS), True)]) == []


@pytest.mark.parametrize("gap", [times(None, 9), times(9, 9), a_gap(9, 5)])
def test_row_that_says_nothing_stays(gap: MissedRange) -> None:
    """Nor does it cut another one."""
    other = Beside(Part(*gap[2:]), True)

    assert remains(gap, [Span(0, 99)], []) is None
    assert remains(a_gap(1, 20), [], [other]) is None


RANGES = st.tuples(st.integers(1, 30), st.integers(1, 30)).map(sorted)


@given(st.lists(RANGES, min_size=1, max_size=6), st.lists(RANGES, max_size=4), st.randoms())
def test_ledger_says_in_the_end_what_is_missing_and_says_it_once(
    rows: list[list[int]], spans: list[list[int]], order: Random
) -> None:
    """In whatever order the rows are looked at."""
    stored = [Span(first, last) for first, last in spans]
    gaps = [a_gap(first, last) for first, last in rows]
    ledger = [Part(*gap[2:]) for gap in gaps]
    order.shuffle(gaps)
    for gap in gaps:
        row = Part(*gap[2:])
        ledger.remove(row)
        left = remains(gap, stored, [Beside(other, True) for other in ledger])
        ledger += [row] if left is None else left

    said = [each for row in ledger for each in range(row.first_id or 0, (row.last_id or 0) + 1)]
    missed = {each for first, last in rows for each in range(first, last + 1)}
    there = {each for first, last in spans for each in range(first, last + 1)}
    assert sorted(said) == sorted(missed - there)


# --- when ---


def test_row_is_ripe_when_it_could_have_been_covered_and_was_not() -> None:
    """The largest first; what REST repairs never is."""
    pending = [
        (a_gap(1, 3), 0.0),
        (a_gap(50, 99, gap_id=2), 1.0),
        (a_gap(200, 201, gap_id=3), 50.0),
        (a_gap(1, 99, gap_id=4, key=TRADES), 0.0),
    ]

    assert ripe(pending, 119.0, review_s=REVIEW_S) == []
    assert [gap.gap_id for gap in ripe(pending, 122.0, review_s=REVIEW_S)] == [2, 1]


def test_row_waits_for_a_younger_one_that_overlaps() -> None:
    """Both are cut together; but it does not wait for ever."""
    pending = [(a_gap(5, 9), 0.0), (a_gap(8, 12, gap_id=2), 60.0), (times(5, 9), 130.0)]

    assert ripe(pending, 150.0, review_s=REVIEW_S) == []
    assert [gap.gap_id for gap in ripe(pending, 181.0, review_s=REVIEW_S)] == [1, 2]
    pending[1] = (a_gap(8, 12, gap_id=2), 200.0)
    assert [gap.gap_id for gap in ripe(pending, 241.0, review_s=REVIEW_S)] == [1]
