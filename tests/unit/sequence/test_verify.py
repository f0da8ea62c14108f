"""Two accounts of the same trades."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.events import AggTrade, Trade
from ingest.sequence.verify import SHOWN, Account, Difference, Fact, agg_trade_fact, trade_fact


def fact(row_id: int, price: str = "1.50", *, ts_ms: int = 0) -> Fact:
    """One trade."""
    return Fact(row_id, ts_ms, (price, "2", "1"))


def account(ours: list[Fact], theirs: list[Fact]) -> Account:
    """The account of one stretch."""
    made = Account()
    made.add(ours, theirs)
    return made


def test_equal_accounts_have_no_differences() -> None:
    """In whatever order."""
    made = account([fact(2), fact(1)], [fact(1), fact(2)])

    assert made.is_equal
    assert (made.ours, made.theirs, made.examples) == (2, 2, [])


def test_missing_extra_and_different_rows_are_told_apart() -> None:
    """Each with what is known of it."""
    ours = [fact(1), fact(2, "1.51"), fact(3, ts_ms=1), fact(9)]
    made = account(ours, [fact(1), fact(2), fact(3), fact(4)])

    assert made.counts == {"missing": 1, "extra": 1, "different": 2}
    assert made.examples == [
        Difference("different", fact(2, "1.51"), fact(2)),
        Difference("different", fact(3, ts_ms=1), fact(3)),
        Difference("extra", fact(9), None),
        Difference("missing", None, fact(4)),
    ]
    assert [each.row_id for each in made.examples] == [2, 3, 9, 4]


def test_row_that_is_there_twice_is_extra() -> None:
    """Once is right, so one of them is counted."""
    assert account([fact(1), fact(1)], [fact(1)]).counts == {"missing": 0, "extra": 1, "different": 0}


def test_of_two_rows_of_one_id_the_right_one_counts() -> None:
    """Whichever comes first; of two wrong ones, one is different and the other too many."""
    right, wrong = fact(1), fact(1, ts_ms=1)

    for ours in ([wrong, right], [right, wrong]):
        assert account(ours, [right]).examples == [Difference("extra", wrong, None)]
    assert account([wrong, wrong], [right]).counts == {"missing": 0, "extra": 1, "different": 1}


def test_padding_of_numbers_does_not_count() -> None:
    """The value does."""
    assert account([fact(1, "1.50000000")], [fact(1, "1.5")]).is_equal
    assert not account([fact(1, "1.50000001")], [fact(1, "1.5")]).is_equal


def test_only_the_first_differences_are_kept() -> None:
    """All are counted, over all stretches."""
    made = account([], [fact(row_id) for row_id in range(SHOWN)])
    made.add([], [fact(row_id) for row_id in range(100, 110)])

    assert made.counts["missing"] == SHOWN + 10
    assert len(made.examples) == SHOWN


IDS = st.sets(st.integers(0, 30))


@given(ours=IDS, theirs=IDS)
def test_any_two_accounts_are_told_apart_exactly(ours: set[int], theirs: set[int]) -> None:
    """By their ids."""
    made = account([fact(each) for each in ours], [fact(each) for each in theirs])

    assert made.counts == {"missing": len(theirs - ours), "extra": len(ours - theirs), "different": 0}
    assert made.is_equal == (ours == theirs)


def test_trades_are_compared_in_milliseconds() -> None:
    """The archive has microseconds where the stream has not."""
    assert trade_fact(Trade("BTCUSDT", 5, 1_234_567, "1.5", "2", True, 9)) == Fact(
        5, 1_234, ("1.5", "2", "1")
    )


def test_aggregates_are_compared_with_the_trades_that_they_are_made_of() -> None:
    """Their first and last id."""
    agg = AggTrade("BTCUSDT", 5, 1_234_567, "1.5", "2", 7, 8, False, 9)

    assert agg_trade_fact(agg) == Fact(5, 1_234, ("1.5", "2", "0", "7", "8"))
