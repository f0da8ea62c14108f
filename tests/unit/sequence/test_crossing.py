"""`ingest.sequence.crossing`: one stream on two connections, without holes that are none."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.sequence.crossing import MAX_HELD, Crossing, Meeting


def offered(crossing: Crossing[int], first: int, position: int | None, now_s: float = 0.0) -> list[int]:
    return crossing.offered(first, first, position, now_s)


def test_heir_that_continues_what_is_there_has_met_it() -> None:
    """Consecutive ids: the next one proves that nothing lies between."""
    crossing = Crossing[int](consecutive=True)

    assert offered(crossing, 8, 7) == [8]
    assert crossing.is_joined


def test_heir_whose_ids_only_rise_must_bring_one_that_is_known() -> None:
    """The next id proves nothing: another may lie between."""
    crossing = Crossing[int](consecutive=False)
    assert offered(crossing, 8, 7) == []
    assert crossing.state is Meeting.HELD
    assert crossing.carried(8, 0.0, is_owed=False) == [8]

    assert crossing.is_joined


def test_heir_that_is_ahead_is_held_until_the_carrier_has_come_so_far() -> None:
    """Then everything goes on, in its order."""
    crossing = Crossing[int](consecutive=True)
    assert [offered(crossing, trade_id, 5) for trade_id in (8, 9)] == [[], []]
    assert crossing.carried(6, 0.0, is_owed=False) == []
    assert crossing.carried(7, 0.0, is_owed=False) == [8, 9]
    assert offered(crossing, 10, 9) == [10]

    assert crossing.is_joined


def test_stream_that_has_never_spoken_has_nothing_to_wait_for() -> None:
    """Whatever comes is first."""
    crossing = Crossing[int](consecutive=True)

    assert offered(crossing, 8, None) == [8]


def test_heir_is_not_held_for_ever() -> None:
    """Whoever gives up gets all that was held, and nothing is held after that."""
    crossing = Crossing[int](consecutive=True)
    offered(crossing, 8, 5, now_s=10.0)
    assert crossing.silent_s(13.0) == 3.0
    crossing.carried(6, 12.0, is_owed=False)
    assert crossing.silent_s(13.0) == 1.0
    assert crossing.give_up() == [8]
    assert offered(crossing, 9, 6) == [9]

    assert (crossing.state, crossing.silent_s(99.0)) == (Meeting.GIVEN_UP, 0.0)
    assert crossing.give_up() == []


def test_what_is_held_is_bounded() -> None:
    """A full one is given up."""
    crossing = Crossing[int](consecutive=True)
    went_on = [item for each in range(MAX_HELD) for item in offered(crossing, 100 + each, 5)]

    assert len(went_on) == MAX_HELD
    assert crossing.state is Meeting.GIVEN_UP


def test_heir_owes_what_the_carrier_brings_once_it_listens() -> None:
    """Since the first such message, until it speaks itself."""
    crossing = Crossing[int](consecutive=True)
    crossing.carried(5, 1.0, is_owed=False)
    assert crossing.owes_s(9.0) is None
    crossing.carried(6, 2.0, is_owed=True)
    crossing.carried(7, 3.0, is_owed=True)
    assert crossing.owes_s(9.0) == 7.0
    offered(crossing, 8, 7)

    assert crossing.owes_s(9.0) is None


@given(st.data(), st.integers(0, 8), st.booleans())
def test_no_interleaving_makes_a_hole(data: st.DataObject, start: int, consecutive: bool) -> None:
    """Whatever the speeds of both: what goes on never jumps, once both have brought all.

    Positions of a stream that only rises are every third number.
    """
    step = 1 if consecutive else 3
    ids = [step * each for each in range(12)]
    lines = {"carrier": ids[:], "heir": ids[start:]}
    crossing, went_on = Crossing[int](consecutive=consecutive), list[int]()

    def take(item: int) -> None:
        if not went_on or item > went_on[-1]:
            went_on.append(item)

    take(lines["carrier"].pop(0))
    while any(lines.values()):
        name = data.draw(st.sampled_from([name for name, left in lines.items() if left]))
        item = lines[name].pop(0)
        if name == "heir":
            released = offered(crossing, item, went_on[-1])
        else:
            take(item)
            released = crossing.carried(went_on[-1], 0.0, is_owed=False)
        for each in released:
            take(each)

    assert went_on == ids
    assert crossing.is_joined
