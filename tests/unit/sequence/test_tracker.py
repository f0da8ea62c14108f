"""Next, duplicate, gap or late: trackers judged against naive models that remember every id."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.binance.streams import INTERVALS
from ingest.sequence.tracker import (
    MAX_HOLES,
    MAX_RECENT,
    CandleTracker,
    ConsecutiveTracker,
    Filled,
    RisingTracker,
    Verdict,
    next_open_us,
)

NEXT, GAP, LATE, FILLED, DUPLICATE = (
    Verdict.NEXT,
    Verdict.GAP,
    Verdict.LATE,
    Verdict.FILLED,
    Verdict.DUPLICATE,
)


def judge(tracker: ConsecutiveTracker, *ids: int) -> list[Verdict]:
    """Feed single ids and collect what is said of each."""
    return [tracker.accept(trade_id, trade_id) for trade_id in ids]


# --- consecutive ids ------------------------------------------------------------------------------


def test_the_first_id_ever_is_next() -> None:
    """A stream that begins anywhere begins without a gap."""
    tracker = ConsecutiveTracker(None)

    assert judge(tracker, 1000) == [NEXT]
    assert tracker.last_id == 1000


def test_consecutive_ids_are_next() -> None:
    """Each id that is one above the newest continues the stream."""
    assert judge(ConsecutiveTracker(9), 10, 11, 12) == [NEXT, NEXT, NEXT]


def test_the_inlined_comparison_agrees_with_accept() -> None:
    """The comparison that callers may make themselves holds for the next id alone, and never at first."""
    known, fresh = ConsecutiveTracker(9), ConsecutiveTracker(None)

    assert [trade_id - 1 == known.last_id for trade_id in (8, 9, 10, 11)] == [False, False, True, False]
    assert not any(trade_id - 1 == fresh.last_id for trade_id in (-1, 0, 1))


def test_a_repeated_id_is_a_duplicate() -> None:
    """The newest id and all before it are known."""
    assert judge(ConsecutiveTracker(9), 9, 8, 10, 10) == [DUPLICATE, DUPLICATE, NEXT, DUPLICATE]


def test_a_jump_is_a_gap_with_its_bounds() -> None:
    """The ids that were skipped are named, and the stream goes on behind them."""
    tracker = ConsecutiveTracker(9)

    assert judge(tracker, 13) == [GAP]
    assert (tracker.gap, tracker.last_id) == ((10, 12), 13)


def test_a_stream_resumed_after_a_known_id_has_a_gap_at_once() -> None:
    """What was missed while away is a gap like any other."""
    tracker = ConsecutiveTracker(100)

    assert judge(tracker, 500) == [GAP]
    assert tracker.gap == (101, 499)


def test_late_ids_fill_their_hole() -> None:
    """The last missing id closes the hole, which is told with its bounds and its rows."""
    tracker = ConsecutiveTracker(9)

    assert judge(tracker, 13, 11, 10, 11, 12) == [GAP, LATE, LATE, DUPLICATE, FILLED]
    assert tracker.filled == (Filled(10, 12, 3),)
    assert judge(tracker, 10, 11, 12, 13) == [DUPLICATE] * 4


def test_each_hole_is_closed_on_its_own() -> None:
    """Holes are filled in any order, and each names its own bounds."""
    tracker = ConsecutiveTracker(0)
    judge(tracker, 3, 6)

    assert judge(tracker, 4, 5) == [LATE, FILLED]
    assert tracker.filled == (Filled(4, 5, 2),)
    assert judge(tracker, 1, 2) == [LATE, FILLED]
    assert tracker.filled == (Filled(1, 2, 2),)


def test_a_depth_delta_that_overlaps_the_newest_id_is_next() -> None:
    """A range may begin below what is known if it ends above."""
    tracker = ConsecutiveTracker(10)

    assert tracker.accept(8, 12) is NEXT
    assert tracker.accept(13, 20) is NEXT
    assert tracker.accept(13, 20) is DUPLICATE
    assert tracker.last_id == 20


def test_a_depth_delta_behind_a_jump_is_a_gap() -> None:
    """A range that begins above the next id leaves ids missing."""
    tracker = ConsecutiveTracker(10)

    assert tracker.accept(15, 20) is GAP
    assert tracker.gap == (11, 14)


def test_a_late_range_may_close_several_holes() -> None:
    """One late delta can hold the ids of more than one hole; each is told."""
    tracker = ConsecutiveTracker(0)
    judge(tracker, 3, 6)

    assert tracker.accept(1, 5) is FILLED
    assert tracker.filled == (Filled(1, 2, 1), Filled(4, 5, 1))


def test_a_late_range_that_covers_part_of_a_hole_leaves_the_rest() -> None:
    """What a late range does not hold is still missing."""
    tracker = ConsecutiveTracker(0)
    judge(tracker, 10)

    assert tracker.accept(4, 6) is LATE
    assert judge(tracker, 5, 3, 7) == [DUPLICATE, LATE, LATE]
    assert tracker.accept(1, 2) is LATE
    assert tracker.accept(8, 9) is FILLED
    assert tracker.filled == (Filled(1, 9, 5),)


def test_the_oldest_hole_is_forgotten_when_there_are_too_many() -> None:
    """Memory is bounded: ids of the oldest hole count as duplicates once it is forgotten."""
    tracker = ConsecutiveTracker(0)
    judge(tracker, *range(2, 2 * MAX_HOLES + 3, 2))

    assert judge(tracker, 1, 3) == [DUPLICATE, FILLED]


def test_a_hole_in_too_many_pieces_is_forgotten_too() -> None:
    """Late ids that cut one hole into pieces cannot make memory grow."""
    tracker = ConsecutiveTracker(0)
    judge(tracker, 1000)
    verdicts = judge(tracker, *range(2, 2 * MAX_HOLES + 2, 2))

    assert verdicts == [LATE] * MAX_HOLES
    assert judge(tracker, 1, 999) == [DUPLICATE, DUPLICATE]


DELIVERIES = st.lists(st.integers(1, 60), max_size=150)


@given(deliveries=DELIVERIES, start=st.none() | st.integers(0, 30))
@example(deliveries=[5, 1, 2, 2, 4, 3, 9, 6], start=0)
def test_trades_under_any_drop_duplicate_and_reorder(deliveries: list[int], start: int | None) -> None:
    """Kept are exactly the ids not kept before and not below the start; gaps and fillings match a set."""
    tracker = ConsecutiveTracker(start)
    kept: set[int] = set()
    gaps: set[tuple[int, int]] = set()
    for trade_id in deliveries:
        if start is None:
            start = trade_id - 1
        newest = max(kept, default=start)
        verdict = tracker.accept(trade_id, trade_id)

        assert (verdict is DUPLICATE) == (trade_id in kept or trade_id <= start)
        if verdict is DUPLICATE:
            continue
        assert (verdict is NEXT) == (trade_id == newest + 1)
        assert (verdict is GAP) == (trade_id > newest + 1)
        kept.add(trade_id)
        if verdict is GAP:
            assert tracker.gap == (newest + 1, trade_id - 1)
            gaps.add(tracker.gap)
        closed = {gap for gap in gaps if all(missing in kept for missing in range(gap[0], gap[1] + 1))}
        assert (verdict is FILLED) == bool(closed)
        if closed:
            assert set(tracker.filled) == {Filled(a, b, b - a + 1) for a, b in closed}
        gaps -= closed
        assert tracker.last_id == max(kept)


@st.composite
def delta_schedules(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Cut the ids from 1 into ranges that touch, and deliver them anyhow."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=30))
    ranges: list[tuple[int, int]] = []
    for size in sizes:
        first = ranges[-1][1] + 1 if ranges else 1
        ranges.append((first, first + size - 1))
    return draw(st.lists(st.sampled_from(ranges), max_size=60))


@given(schedule=delta_schedules())
def test_ranges_under_any_drop_duplicate_and_reorder(schedule: list[tuple[int, int]]) -> None:
    """Each delta is kept once, whenever it comes; what was announced as missing and never came stays so."""
    tracker = ConsecutiveTracker(0)
    kept: set[tuple[int, int]] = set()
    missing: set[int] = set()
    for first, last in schedule:
        verdict = tracker.accept(first, last)

        assert (verdict is DUPLICATE) == ((first, last) in kept)
        if verdict is GAP:
            assert tracker.gap is not None
            missing |= set(range(tracker.gap[0], tracker.gap[1] + 1))
        kept.add((first, last))
        missing -= set(range(first, last + 1))
        known = {update_id for a, b in kept for update_id in range(a, b + 1)}
        assert known | missing == set(range(1, (tracker.last_id or 0) + 1))


# --- rising ids -----------------------------------------------------------------------------------


def test_rising_ids_may_skip_but_not_fall() -> None:
    """A book ticker is new when its id is above all before it; a late one between the newest is kept."""
    tracker = RisingTracker(None)

    verdicts = [tracker.accept(update_id) for update_id in (10, 10, 50, 49, 51, 49, 9)]

    assert verdicts == [NEXT, DUPLICATE, NEXT, LATE, NEXT, DUPLICATE, DUPLICATE]
    assert tracker.last_id == 51


@given(ids=st.lists(st.integers(0, 400), min_size=1, max_size=300), overlaps=st.sets(st.integers(0, 299)))
def test_rising_id_is_kept_once_whatever_its_order(ids: list[int], overlaps: set[int]) -> None:
    """None is kept twice, and none is dropped that is among the newest and has not come before."""
    tracker, kept, overlapping = RisingTracker(None), list[int](), False
    for place, update_id in enumerate(ids):
        if place in overlaps:
            overlapping = not overlapping
            tracker.overlap(overlapping)
        is_owed = update_id not in kept and sorted(kept)[-MAX_RECENT:][:1] < [update_id]
        verdict = tracker.accept(update_id)
        if verdict is not DUPLICATE:
            kept.append(update_id)
        assert verdict is not DUPLICATE or not is_owed

    assert len(kept) == len(set(kept))


def test_rising_ids_of_two_connections_are_each_kept_once() -> None:
    """While both bring them, an older id that has not been seen is late, however old; before it is not."""
    tracker = RisingTracker(10)
    tracker.overlap(True)
    during = [tracker.accept(update_id) for update_id in (14, 12, 14, 12, 10, 9, 15)]
    tracker.overlap(False)

    assert during == [NEXT, LATE, DUPLICATE, DUPLICATE, DUPLICATE, DUPLICATE, NEXT]
    assert [tracker.accept(update_id) for update_id in (10, 11, 16)] == [DUPLICATE, DUPLICATE, NEXT]


def test_rising_ids_may_overlap_from_the_first_one() -> None:
    """A stream that has not spoken yet has nothing that could come again."""
    tracker = RisingTracker(None)
    tracker.overlap(True)

    assert [tracker.accept(update_id) for update_id in (5, 3, 3)] == [NEXT, LATE, DUPLICATE]


def test_rising_ids_continue_after_a_known_one() -> None:
    """What is in the database already is not new."""
    tracker = RisingTracker(10)

    assert [tracker.accept(10), tracker.accept(11)] == [DUPLICATE, NEXT]


# --- candles --------------------------------------------------------------------------------------

MINUTE = 60_000_000


def us(year: int, month: int, day: int) -> int:
    """Return midnight UTC of a day in microseconds."""
    return round(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1_000_000


def judge_candles(tracker: CandleTracker, *candles: tuple[int, bool]) -> list[Verdict]:
    """Feed (minute, is closed) and collect what is said of each."""
    return [tracker.accept(minute * MINUTE, is_closed) for minute, is_closed in candles]


def test_updates_of_the_current_candle_are_all_next() -> None:
    """Each update replaces the one before, up to the closing one."""
    tracker = CandleTracker("1m")

    verdicts = judge_candles(tracker, (5, False), (5, False), (5, True), (6, False))

    assert verdicts == [NEXT] * 4


def test_what_a_closed_candle_has_said_is_not_said_again() -> None:
    """After its close a candle's updates are old, the repeated close too."""
    tracker = CandleTracker("1m")

    verdicts = judge_candles(tracker, (5, True), (5, False), (5, True), (4, True))

    assert verdicts == [NEXT, DUPLICATE, DUPLICATE, DUPLICATE]


def test_a_candle_never_seen_closed_is_a_gap_when_the_next_one_opens() -> None:
    """An update of a later candle proves that the close of the one before was missed."""
    tracker = CandleTracker("1m")

    assert judge_candles(tracker, (5, False), (6, False)) == [NEXT, GAP]
    assert tracker.gap == (5 * MINUTE, 5 * MINUTE)


def test_a_gap_of_candles_is_bounded_by_open_times() -> None:
    """The first and the last candle that are missing are named."""
    tracker = CandleTracker("1m", last_closed_us=4 * MINUTE)

    assert judge_candles(tracker, (9, True), (10, True)) == [GAP, NEXT]
    assert tracker.gap == (5 * MINUTE, 8 * MINUTE)


def test_a_missing_candle_may_come_late_but_only_closed() -> None:
    """An old update of a hole says nothing lasting; the closed candle fills it."""
    tracker = CandleTracker("1m", last_closed_us=4 * MINUTE)

    verdicts = judge_candles(tracker, (8, False), (6, False), (6, True), (6, True), (5, True), (7, True))

    assert verdicts == [GAP, DUPLICATE, LATE, DUPLICATE, LATE, FILLED]
    assert tracker.filled == (Filled(5 * MINUTE, 7 * MINUTE, 3),)


def test_the_first_candle_ever_is_next_even_closed() -> None:
    """A stream may begin with the close of a candle."""
    assert judge_candles(CandleTracker("1m"), (5, True), (6, True)) == [NEXT, NEXT]


@pytest.mark.parametrize(
    ("interval", "first", "second", "third"),
    [
        ("1d", us(2024, 2, 28), us(2024, 2, 29), us(2024, 3, 1)),
        ("3d", us(2024, 2, 27), us(2024, 3, 1), us(2024, 3, 4)),
        ("1w", us(2024, 12, 23), us(2024, 12, 30), us(2025, 1, 6)),
        ("1M", us(2024, 11, 1), us(2024, 12, 1), us(2025, 1, 1)),
        ("1M", us(2024, 1, 1), us(2024, 2, 1), us(2024, 3, 1)),
    ],
)
def test_long_candles_follow_the_calendar(interval: str, first: int, second: int, third: int) -> None:
    """Three days, a week and a month step as the exchange's candles do."""
    tracker = CandleTracker(interval)

    assert [tracker.accept(first, True), tracker.accept(second, True)] == [NEXT, NEXT]

    tracker = CandleTracker(interval, first)

    assert tracker.accept(third, False) is GAP
    assert tracker.gap == (second, second)
    assert tracker.accept(second, True) is FILLED
    assert tracker.filled == (Filled(second, second, 1),)


def test_a_year_of_missing_months_is_bounded_by_its_months() -> None:
    """Months of different lengths are bounded by their first days."""
    tracker = CandleTracker("1M", us(2023, 12, 1))

    assert tracker.accept(us(2025, 1, 1), True) is GAP
    assert tracker.gap == (us(2024, 1, 1), us(2024, 12, 1))


@pytest.mark.parametrize("interval", ["", "m", "1", "1x", "-1m", "1.5h", "2M"])
def test_an_interval_that_does_not_exist_is_refused(interval: str) -> None:
    """A tracker of an unknown interval cannot be made."""
    with pytest.raises(ValueError, match="unknown interval"):
        CandleTracker(interval)


@given(moment=st.datetimes(datetime(1970, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_the_next_month_begins_on_the_first_after_any_moment(moment: datetime) -> None:
    """Whatever the time in a month, the next month opens at its first midnight."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    microsecond = timedelta(microseconds=1)
    opens = epoch + next_open_us((moment - epoch) // microsecond, "1M") * microsecond

    assert (opens.day, opens.hour, opens.minute, opens.second, opens.microsecond) == (1, 0, 0, 0, 0)
    assert (opens.year * 12 + opens.month) - (moment.year * 12 + moment.month) == 1


@given(
    interval=st.sampled_from(INTERVALS),
    updates=st.lists(st.tuples(st.integers(0, 25), st.booleans()), max_size=80),
)
def test_candles_under_any_drop_duplicate_and_reorder(interval: str, updates: list[tuple[int, bool]]) -> None:
    """A close is kept once; every candle between the first and the newest was seen closed or is in a gap."""
    opens = [us(2024, 1, 1)]
    while len(opens) < 27:
        opens.append(next_open_us(opens[-1], interval))
    tracker = CandleTracker(interval)
    closed: set[int] = set()
    missing: set[int] = set()
    first: int | None = None
    for index, is_closed in updates:
        first = index if first is None else first
        verdict = tracker.accept(opens[index], is_closed)

        if is_closed:
            assert (verdict is DUPLICATE) == (index in closed or index < first)
        if verdict is GAP:
            assert tracker.gap is not None
            lost = set(range(opens.index(tracker.gap[0]), opens.index(tracker.gap[1]) + 1))
            assert not lost & closed
            missing |= lost
        if verdict is not DUPLICATE and is_closed:
            closed.add(index)
            missing.discard(index)
        if verdict is not DUPLICATE:
            assert closed | missing | {index} >= set(range(first, index + 1))
