"""`ingest.cli.audit`: the arithmetic of the account."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.cli.audit import Account, GapRange, Published, Stored, settle


def _published(*ids: int) -> list[Published]:
    return [Published(event_id, 1_000 + event_id, event_id * 7) for event_id in ids]


def _stored(*ids: int) -> list[Stored]:
    return [Stored(event_id, event_id * 7) for event_id in ids]


def test_everything_stored_is_good() -> None:
    """What was published is there, once, as it was."""
    account = settle(_published(1, 2, 3), _stored(1, 2, 3), [])

    assert account == Account(published=3, stored=3)
    assert account.is_good


def test_missing_event_inside_a_gap_is_noticed() -> None:
    """A gap by ids covers what lies between its bounds, inclusive."""
    account = settle(_published(1, 2, 3, 4), _stored(1, 4), [GapRange(2, 3, None, None)])

    assert (account.lost_noticed, account.lost_unnoticed) == (2, 0)
    assert account.is_good


def test_missing_event_outside_all_gaps_is_unnoticed() -> None:
    """The one number that must be zero."""
    account = settle(_published(1, 2, 3), _stored(1), [GapRange(2, 2, None, None)])

    assert (account.lost_noticed, account.lost_unnoticed) == (1, 1)
    assert not account.is_good


def test_gap_without_ids_covers_by_time_between_its_neighbours() -> None:
    """The bounds are events that are there, so they themselves are not covered."""
    gap = GapRange(None, None, 1_001, 1_004)

    assert [gap.covers(event) for event in _published(1, 2, 3, 4)] == [False, True, True, False]


def test_gap_without_any_bound_covers_nothing() -> None:
    """A row that says nothing excuses nothing."""
    assert not GapRange(None, None, None, 5_000).covers(Published(1, 1_000, 0))


def test_row_twice_is_counted() -> None:
    """The same id in two rows is one duplicate."""
    account = settle(_published(1, 2), _stored(1, 2, 2), [])

    assert (account.stored, account.duplicated) == (2, 1)
    assert not account.is_good


def test_changed_and_invented_rows_are_altered() -> None:
    """A digest that differs, and an id that was never published."""
    account = settle(_published(1), [Stored(1, 8), Stored(9, 9)], [])

    assert account.altered == 2
    assert not account.is_good


@given(st.lists(st.integers(1, 60), unique=True), st.data())
def test_every_published_event_is_stored_or_lost(ids: list[int], data: st.DataObject) -> None:
    """Published is always the sum of stored, noticed and unnoticed."""
    kept = [event_id for event_id in ids if data.draw(st.booleans())]
    first = data.draw(st.integers(1, 60))
    gaps = [GapRange(first, data.draw(st.integers(first, 60)), None, None)]

    account = settle(_published(*ids), _stored(*kept), gaps)

    assert account.published == account.stored + account.lost_noticed + account.lost_unnoticed
    assert account.altered == account.duplicated == 0


def test_accounts_add_up() -> None:
    """The sum over streams is field by field."""
    assert Account(1, 2, 3, 4, 5, 6) + Account(1, 1, 1, 1, 1, 1) == Account(2, 3, 4, 5, 6, 7)
