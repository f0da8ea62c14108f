"""Whether a range is complete."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.export.kinds import kind_of
from ingest.export.verdict import (
    Beside,
    Found,
    IdTally,
    LedgerGap,
    after_reading,
    before_reading,
    without,
)

DAY = datetime(2026, 1, 2, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)


def ids(*runs: tuple[int, int]) -> IdTally:
    tally = IdTally()
    tally.add(runs)
    return tally


def a_gap(state: str = "open", first_id: int | None = 5, last_id: int | None = 9) -> LedgerGap:
    return LedgerGap(7, state, "disconnect", first_id, last_id, DAY, DAY, DAY, None, "")


WHOLE = Found(
    kind=kind_of("trade"),
    from_ts=DAY,
    to_ts=NEXT,
    gaps=(),
    known_until=None,
    beside=Beside(9, 21),
    ids=ids((10, 20)),
)


def test_range_between_its_neighbours_lacks_nothing() -> None:
    """Ids that go on on both sides, and no gap: complete."""
    assert before_reading(WHOLE) + after_reading(WHOLE) == []


def test_proof_of_quiet_stands_for_the_row_behind() -> None:
    """The newest range is complete when it is known that nothing newer is on its way."""
    quiet = replace(WHOLE, beside=Beside(9, None), known_until=NEXT)

    assert before_reading(quiet) + after_reading(quiet) == []


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (replace(WHOLE, gaps=[a_gap()]), "gap 7 is open: 2026-01-02T00:00:00.000Z to .*, ids 5..9"),
        (replace(WHOLE, gaps=[a_gap("unrepairable", None, None)]), "gap 7 is unrepairable"),
        (replace(WHOLE, beside=Beside(None, 21)), "nothing is stored before 2026-01-02T00:00:00.000Z"),
        (replace(WHOLE, beside=Beside(9, None)), "not fresh: nothing says that all up to 2026-01-03"),
        (
            replace(WHOLE, beside=Beside(9, None), known_until=DAY),
            "not fresh: .* is stored, only up to 2026-01-02",
        ),
    ],
)
def test_reason_before_reading(found: Found, reason: str) -> None:
    """What is known of a range without its rows."""
    import re

    (said,) = before_reading(found)
    assert re.search(reason, said)


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        (replace(WHOLE, ids=ids((10, 12), (15, 20))), ["ids 13..14"]),
        (replace(WHOLE, beside=Beside(7, 25)), ["ids 8..9", "ids 21..24"]),
        (replace(WHOLE, ids=IdTally(), beside=Beside(9, 21)), ["ids 10..20"]),
        (replace(WHOLE, ids=IdTally(), beside=Beside(9, 10)), []),
        (replace(WHOLE, beside=Beside(4, 21), gaps=[a_gap("absent_at_exchange")]), []),
        (replace(WHOLE, beside=Beside(3, 21), gaps=[a_gap("absent_at_exchange")]), ["ids 4..4"]),
        (replace(WHOLE, not_closed=2, not_complete=1), ["2 candles", "1 candles"]),
        (replace(WHOLE, kind=kind_of("book_ticker"), ids=ids((10, 12), (15, 20))), []),
    ],
)
def test_reason_after_reading(found: Found, reasons: list[str]) -> None:
    """What the rows say: holes that stand in no row of the ledger, candles that are not final."""
    said = after_reading(found)

    assert [one[: len(reason)] for one, reason in zip(said, reasons, strict=True)] == reasons


def test_what_the_exchange_lacks_is_not_missing() -> None:
    """A gap that the exchange has, too, does not make a range incomplete."""
    assert before_reading(replace(WHOLE, gaps=[a_gap("absent_at_exchange")])) == []


def test_candles_judge_themselves() -> None:
    """Where rows say whether they are complete nothing beside them is asked for."""
    assert before_reading(replace(WHOLE, kind=kind_of("candles_1m"), beside=None)) == []


@given(st.lists(st.integers(0, 30), unique=True, min_size=1), st.data())
def test_tally_knows_what_did_not_come(order: list[int], data: st.DataObject) -> None:
    """In whatever order ids come, what lies between the lowest and the highest and did not is missing."""
    tally = IdTally()
    for place in order:
        tally.add([(place, place)])

    missing = {each for first, last in tally.missing for each in range(first, last + 1)}
    assert missing == set(range(min(order), max(order))) - set(order)
    assert (tally.first, tally.last) == (min(order), max(order))


def test_spans_are_cut_where_others_lie() -> None:
    """What is taken away may begin, end, lie within, or lie beside."""
    assert without([(1, 10), (20, 30)], [(0, 2), (5, 6), (30, 40), (50, 60)]) == [(3, 4), (7, 10), (20, 29)]
