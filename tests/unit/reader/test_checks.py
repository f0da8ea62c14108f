"""What may be given, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.events import StreamKey
from ingest.reader.checks import (
    NOTHING_BESIDE,
    Beside,
    Standing,
    against,
    begins_late,
    holes,
    not_absent,
    staleness,
    uncovered,
)
from ingest.reader.errors import Missing

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
KEY = StreamKey("spot", "BTCUSDT", "trade")


def standing(known_s: float | None, *, threshold_s: float | None = 3.0, updated_s: float = 1.0) -> Standing:
    """A stream that is known up to so many seconds ago."""
    return Standing(
        key=KEY,
        now=NOW,
        known_until=None if known_s is None else NOW - known_s * SECOND,
        state="live",
        diagnosis="half_open",
        threshold=None if threshold_s is None else threshold_s * SECOND,
        updated_at=None if threshold_s is None else NOW - updated_s * SECOND,
    )


def gap(
    ids: tuple[int | None, int | None], since_s: float | None, until_s: float | None, state: str = "open"
) -> Missing:
    """A row of the ledger, its times in seconds before now."""
    start = None if since_s is None else NOW - since_s * SECOND
    end = None if until_s is None else NOW - until_s * SECOND
    return Missing(*ids, start, end, "disconnect", state, 7)


@pytest.mark.parametrize(
    ("known_s", "max_age", "end_s", "is_stale"),
    [
        (9.0, None, None, False),
        (11.0, None, None, True),
        (11.0, 12 * SECOND, None, False),
        (2.0, 1 * SECOND, None, True),
        (100.0, None, 100.0, False),
        (100.0, None, 99.0, True),
        (None, None, 1_000.0, True),
    ],
)
def test_stream_must_be_known_to_the_end_or_nearly_to_now(
    known_s: float | None, max_age: timedelta | None, end_s: float | None, is_stale: bool
) -> None:
    """Whichever is earlier."""
    end = None if end_s is None else NOW - end_s * SECOND

    assert (staleness(standing(known_s), max_age, end=end) is not None) is is_stale


def test_own_threshold_decides_where_nobody_else_does() -> None:
    """With five seconds for a proof, and ten seconds at least."""
    assert standing(0).allowed_age(None) == 10 * SECOND
    assert standing(0, threshold_s=60).allowed_age(None) == 65 * SECOND
    assert standing(0, threshold_s=None).allowed_age(None) == 10 * SECOND
    assert standing(0, threshold_s=60).allowed_age(SECOND) == SECOND


def test_reason_is_the_service_where_it_is_away() -> None:
    """A table that nobody writes says nothing about streams."""
    for facts, diagnosis in (
        (standing(30), "half_open"),
        (standing(30, updated_s=30), "supervisor_away"),
        (standing(30, threshold_s=None), "not_ingested"),
    ):
        refusal = staleness(facts, None)
        assert refusal is not None
        assert refusal.diagnosis == diagnosis
        assert refusal.age == 30 * SECOND
        assert "30.0 s ago, 10.0 s are allowed" in str(refusal)


def test_later_row_proves_what_lies_before_it() -> None:
    """Whatever the freshness table says."""
    end = NOW - 50 * SECOND

    assert staleness(standing(None), None, end=end, seen=end) is None


def test_gap_speaks_against_the_span_that_it_touches() -> None:
    """Both of its moments belong to it; a side that is not known is no bound."""
    start, end = NOW - 60 * SECOND, NOW - 30 * SECOND

    def speaks(one: Missing, beside: Beside = NOTHING_BESIDE) -> bool:
        return bool(against([one], start, end, beside))

    assert speaks(gap((5, 6), 70, 60))
    assert not speaks(gap((5, 6), 70, 60.001))
    assert speaks(gap((5, 6), 30.001, 10))
    assert not speaks(gap((5, 6), 30, 10))
    assert speaks(gap((None, None), None, None))
    assert speaks(gap((5, 6), None, None), Beside(2, None, 9, None))
    assert not speaks(gap((5, 6), None, None), Beside(7, None, 9, None))
    assert not speaks(gap((5, 6), None, None), Beside(1, None, 4, None))
    assert not speaks(gap((5, 6), 50, 40, "absent_at_exchange"))


def test_gaps_are_told_oldest_first() -> None:
    """However the ledger has them."""
    found = against([gap((9, 9), 40, 39), gap((5, 6), 50, 49)], NOW - 60 * SECOND, NOW)

    assert [one.first_id for one in found] == [5, 9]


def test_span_may_not_begin_before_what_is_stored() -> None:
    """It may begin right behind the first row."""
    first = NOW - 10 * SECOND

    late = begins_late(KEY, NOW - 20 * SECOND, first, NOTHING_BESIDE)
    assert late is not None and late.begins == first + timedelta(microseconds=1)
    assert begins_late(KEY, NOW, first, Beside(1, first, None, None)) is None
    nothing = begins_late(KEY, NOW, None, NOTHING_BESIDE)
    assert nothing is not None and nothing.begins is None


ranges = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted), max_size=6)


@given(ranges, st.integers(0, 30), st.integers(0, 30))
def test_uncovered_is_what_no_range_covers(covering: list[list[int]], first: int, last: int) -> None:
    """Compared with sets."""
    pairs = [(low, high) for low, high in covering]
    left = {n for low, high in uncovered(first, last, pairs) for n in range(low, high + 1)}

    assert left == {n for n in range(first, last + 1) if not any(low <= n <= high for low, high in pairs)}


@given(st.sets(st.integers(1, 30)), st.booleans(), st.booleans())
def test_holes_are_the_ids_between_that_are_not_there(ids: set[int], before: bool, after: bool) -> None:
    """And between them and the rows beside."""
    beside = Beside(0 if before else None, None, 31 if after else None, None)
    known = sorted(ids | ({0} if before else set()) | ({31} if after else set()))

    found = {n for low, high in holes(sorted(ids), beside) for n in range(low, high + 1)}

    expected = set(range(known[0], known[-1])) - set(known) if known else set()
    assert found == expected


def test_what_the_exchange_has_not_is_not_missing() -> None:
    """The rest is named by the ledger where it knows of it, once."""
    ledger = [gap((3, 4), 9, 8, "absent_at_exchange"), gap((5, 8), 9, 8)]

    missing = not_absent([(2, 6), (8, 8), (20, 21)], ledger)

    told = [(one.first_id, one.last_id, one.gap_id) for one in missing]
    assert told == [(2, 2, None), (5, 8, 7), (20, 21, None)]
    assert "not in the gap ledger" in str(missing[0])
