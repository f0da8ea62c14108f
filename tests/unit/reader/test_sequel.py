"""What follows is given once, in order, and nothing is passed over unnoticed."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ingest.reader.errors import Missing
from ingest.reader.sequel import (
    HOPELESS_S,
    RECENT,
    CandleSequel,
    ConsecutiveSequel,
    Passed,
    RisingSequel,
    Stored,
)

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
PATIENCE_S = 10.0


def at(place: float) -> datetime:
    """So many seconds after the start."""
    return START + timedelta(seconds=place)


def row(row_id: int, *, first: int | None = None, place: float | None = None) -> Stored[int]:
    """A row that is its own id."""
    return Stored(row_id if first is None else first, row_id, at(row_id if place is None else place), row_id)


def lost(first: int, last: int, state: str = "unrepairable") -> Missing:
    """A row of the ledger."""
    return Missing(first, last, None, None, "disconnect", state, first)


def consecutive(last_id: int | None = 0, *, skips: bool = False) -> ConsecutiveSequel[int]:
    """Of trades."""
    return ConsecutiveSequel(last_id, at(0), patience_s=PATIENCE_S, skips=skips)


def rising(last_id: int | None = 0, *, skips: bool = False) -> RisingSequel[int]:
    """Of book tickers."""
    return RisingSequel(last_id, at(0), patience_s=PATIENCE_S, skips=skips)


def test_rows_without_a_hole_are_given_in_the_order_of_their_ids() -> None:
    """Whatever the order of their times."""
    sequel = consecutive()

    assert sequel.take([row(2), row(1, place=2), row(3)], [], 0.0).items == [1, 2, 3]
    assert (sequel.last_id, sequel.floor, sequel.anchor) == (3, 3, at(3))
    assert sequel.take([row(3), row(4)], [], 0.0).items == [4]


def test_first_row_of_all_is_where_it_begins() -> None:
    """Without an id nothing is missing before it."""
    sequel = consecutive(None)

    assert sequel.floor == -1
    assert sequel.take([row(7), row(8)], [], 0.0).items == [7, 8]


def test_ledger_is_asked_only_where_ids_do_not_continue() -> None:
    """From the first hole to the last row."""
    assert consecutive().doubts([row(1), row(2)]) is None
    assert consecutive().doubts([row(1), row(4), row(9)]) == (2, 9)
    assert consecutive(None).doubts([row(4)]) is None


def test_ranges_may_overlap() -> None:
    """A delta that begins before the end of the last one continues it."""
    sequel = consecutive(5)

    assert sequel.take([row(8, first=4), row(9)], [], 0.0).items == [8, 9]


def test_hole_is_waited_for_until_patience_ends() -> None:
    """Then it is refused, with the id behind it."""
    sequel = consecutive()
    page = [row(1), row(4)]

    first = sequel.take(page, [], 100.0)
    assert (first.items, first.waits, first.refused) == ([1], True, ())
    assert sequel.take(page, [lost(2, 3, "open")], 109.9).waits
    refused = sequel.take(page, [lost(2, 3, "open")], 110.0)
    assert [one.state for one in refused.refused] == ["open"]
    assert refused.go_on_after == 3


def test_progress_begins_patience_anew() -> None:
    """A repair that comes bit by bit is under way."""
    sequel = consecutive()
    sequel.take([row(3)], [], 0.0)

    assert sequel.take([row(1), row(3)], [], 9.0).items == [1]
    assert sequel.take([row(3)], [], 15.0).waits


def test_what_cannot_be_had_is_waited_for_briefly() -> None:
    """Another line may have it, which closes the gap a second or two later."""
    sequel = consecutive()

    assert sequel.take([row(3)], [lost(1, 2)], 0.0).waits
    assert sequel.take([row(3)], [lost(1, 2)], HOPELESS_S).refused == (lost(1, 2),)


def test_hole_of_the_exchange_is_none() -> None:
    """Nobody waits, and nobody is told."""
    sequel = consecutive()

    assert sequel.take([row(3)], [lost(1, 2, "absent_at_exchange")], 0.0).items == [3]


def test_one_who_lets_it_pass_is_told_before_the_row_behind() -> None:
    """In the order of things."""
    sequel = consecutive(skips=True)
    sequel.take([row(1), row(4)], [lost(2, 3)], 0.0)

    assert sequel.take([row(4)], [lost(2, 3)], HOPELESS_S).items == [Passed((lost(2, 3),)), 4]


FATES = st.lists(st.sampled_from(["now", "late", "absent", "lost", "open"]), min_size=1, max_size=40)


@given(FATES, st.integers(1, 7), st.booleans())
def test_every_stored_row_is_given_once_and_every_hole_is_told(
    fates: list[str], page: int, skips: bool
) -> None:
    """Rows come at once or late; some the exchange has not, some nobody has; pages are short."""
    ids = range(1, len(fates) + 1)
    fate = dict(zip(ids, fates, strict=True))
    sequel = consecutive(skips=skips)
    gaps = [
        lost(n, n, {"absent": "absent_at_exchange", "lost": "unrepairable", "open": "open"}[fate[n]])
        for n in ids
        if fate[n] in {"absent", "lost", "open"}
    ]
    given_ids: list[int] = []
    told: set[int] = set()
    refused: set[int] = set()
    for now_s in range(200):
        stored = [row(n) for n in ids if fate[n] == "now" or (fate[n] == "late" and now_s >= n % 9)]
        behind = [one for one in stored if one.last_id > sequel.floor][:page]
        taken = sequel.take(behind, gaps, float(now_s))
        for item in taken.items:
            if isinstance(item, Passed):
                told |= {one.first_id for one in item.missing if one.first_id is not None}
            else:
                given_ids.append(item)
        if taken.refused:
            assert not skips
            refused |= {one.first_id for one in taken.refused if one.first_id is not None}
            assert taken.go_on_after is not None
            sequel = consecutive(taken.go_on_after)

    there = [n for n in ids if fate[n] in {"now", "late"}]
    newest = max(there, default=0)
    missing = {n for n in ids if fate[n] in {"lost", "open"} and n < newest}
    assert given_ids == there
    assert (told if skips else refused) == missing


def test_rising_ids_may_skip() -> None:
    """Nothing is missing where only the ledger could say so."""
    sequel = rising()

    assert sequel.take([row(5), row(9)], [], 0.0).items == [5, 9]
    assert sequel.doubts([row(9), row(12)]) == (10, 12)
    assert sequel.doubts([row(9)]) is None
    assert rising(None).doubts([row(9)]) is None
    assert rising(None).take([row(9)], [], 0.0).items == [9]


def test_late_one_comes_behind_and_never_twice() -> None:
    """Also when it was dated twice, by two lines."""
    sequel = rising()

    assert sequel.take([row(5, place=1), row(9, place=2)], [], 0.0).items == [5, 9]
    again = [row(5, place=1), row(9, place=2), row(7, place=3), row(9, place=4)]
    assert sequel.take(again, [], 0.0).items == [7]
    assert sequel.anchor == at(1)


def test_one_that_is_later_than_the_newest_ids_is_not_given() -> None:
    """The service stores none such; memory stays bounded."""
    sequel = rising()
    sequel.take([row(2 * n) for n in range(1, RECENT + 11)], [], 0.0)

    assert sequel.floor == 20
    assert sequel.take([row(19, place=500), row(21, place=501)], [], 0.0).items == [21]


def test_gap_in_rising_ids_is_told_once_before_the_row_behind() -> None:
    """And refused where nobody lets it pass; from there one can go on."""
    gaps = [lost(6, 8)]
    sequel, skipping = rising(), rising(skips=True)
    for each in (sequel, skipping):
        assert each.take([row(5), row(9)], gaps, 0.0).items == [5]

    refused = sequel.take([row(9)], gaps, HOPELESS_S)
    assert (refused.refused, refused.go_on_after) == (tuple(gaps), 8)
    assert rising(8).take([row(9)], gaps, 0.0).items == [9]
    assert skipping.take([row(9)], gaps, HOPELESS_S).items == [Passed(tuple(gaps)), 9]
    assert skipping.take([row(9), row(10)], gaps, HOPELESS_S).items == [10]


@given(st.permutations(range(1, 30)), st.integers(1, 10))
def test_rising_gives_each_id_once_whatever_their_order(order: list[int], step: int) -> None:
    """Rows are seen in the order of their times, again and again."""
    sequel = rising()
    stored = [row(row_id, place=place) for place, row_id in enumerate(order, 1)]
    given_ids: list[int] = []

    for upto in range(0, len(stored) + step, step):
        visible = [one for one in stored[:upto] if one.ts >= sequel.anchor and one.last_id > sequel.floor]
        given_ids += [item for item in sequel.take(visible, [], 0.0).items if isinstance(item, int)]

    assert given_ids == order


Candle = tuple[int, int, bool]


def candle(number: int, version: int = 0, *, is_closed: bool = True) -> Stored[Candle]:
    """A version of a candle."""
    return Stored(number, number, at(number), (number, version, is_closed))


def candles(last_id: int | None = 0, *, skips: bool = False) -> CandleSequel[Candle]:
    """Of candles that are over when they say so."""
    return CandleSequel(
        last_id,
        at(0),
        patience_s=PATIENCE_S,
        skips=skips,
        is_closed=lambda one: one[2],
        version=lambda one: at(one[1]),
    )


def test_running_candle_is_given_when_it_is_newer_and_closed_once() -> None:
    """Then the next one begins."""
    sequel = candles()

    assert sequel.take([candle(1, 1, is_closed=False)], [], 0.0).items == [(1, 1, False)]
    assert sequel.take([candle(1, 1, is_closed=False)], [], 0.0).items == []
    assert sequel.take([candle(1, 2, is_closed=False)], [], 0.0).items == [(1, 2, False)]
    assert sequel.take([candle(1, 3), candle(2, 1, is_closed=False)], [], 0.0).items == [
        (1, 3, True),
        (2, 1, False),
    ]
    assert (sequel.last_id, sequel.floor, sequel.doubts([candle(1), candle(2)])) == (1, 1, None)
    assert sequel.take([candle(1, 3), candle(2, 1, is_closed=False)], [], 0.0).items == []


def test_candle_that_was_not_seen_closed_is_missing() -> None:
    """The next one waits until it is."""
    sequel = candles()
    page = [candle(1, 1, is_closed=False), candle(2)]

    assert sequel.doubts(page) == (1, 2)
    taken = sequel.take(page, [], 0.0)
    assert (taken.items, taken.waits) == ([(1, 1, False)], True)
    assert sequel.take([candle(1, 2), candle(2)], [], 1.0).items == [(1, 2, True), (2, 0, True)]


def test_missing_candle_is_refused_or_told() -> None:
    """As with any other kind."""
    sequel, skipping = candles(), candles(skips=True)
    for each in (sequel, skipping):
        each.take([candle(3)], [], 0.0)

    assert sequel.take([candle(3)], [lost(1, 2)], PATIENCE_S).go_on_after == 2
    items = skipping.take([candle(3)], [lost(1, 2)], PATIENCE_S).items
    assert items == [Passed((lost(1, 2),)), (3, 0, True)]
    assert candles().take([candle(3)], [lost(1, 2, "absent_at_exchange")], 0.0).items == [(3, 0, True)]


def test_candles_without_an_id_begin_with_the_running_one() -> None:
    """It has to be seen closed before the next."""
    sequel = candles(None)

    assert sequel.floor == -1
    assert sequel.take([candle(5, 1, is_closed=False)], [], 0.0).items == [(5, 1, False)]
    assert sequel.take([candle(6)], [], 0.0).waits
