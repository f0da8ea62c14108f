"""The book of a past moment: rebuilt and right, or refused for a reason."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ingest.book.levels import Book
from ingest.book.moment import KnownGap, Neighbour, Refusal, StoredMoment, book_at
from ingest.book.rebuild import RebuiltBook
from ingest.events import DepthDelta, DepthSnapshot

ASKS = [("99.00000000", "1.00000000")]


def a_delta(first: int, final: int, qty: str = "2.00000000") -> DepthDelta:
    """A delta that happens at the time of its last update."""
    return DepthDelta("BTCUSDT", first, final, final * 10, [("9.00000000", qty)], [], 0)


def a_snapshot(last: int, *, reason: str = "sync") -> DepthSnapshot:
    return DepthSnapshot("BTCUSDT", last, last * 10, [("9.00000000", "1.00000000")], ASKS, reason, 0)


def a_gap(first: int, last: int, *, cause: str = "restart") -> KnownGap:
    return KnownGap(17, first, last, first * 10 - 10, last * 10 + 10, cause, "unrepairable")


def a_moment(
    at_us: int,
    *,
    snapshot: DepthSnapshot | None = None,
    deltas: list[DepthDelta] | None = None,
    gaps: list[KnownGap] | None = None,
    next_snapshot: int | None = None,
    reason: str = "sync",
) -> StoredMoment:
    """What is stored around a moment: a snapshot of 10, and all these deltas, before and after it."""
    deltas = deltas or []
    later = [delta for delta in deltas if delta.ts_us > at_us]
    newest = max([delta.ts_us for delta in deltas], default=100)
    return StoredMoment(
        at_us=at_us,
        newest_us=max(newest, 10 * (next_snapshot or 10)),
        snapshot=snapshot or a_snapshot(10, reason=reason),
        deltas=[delta for delta in deltas if delta.ts_us <= at_us],
        next_delta=Neighbour(later[0].first_update_id, later[0].ts_us) if later else None,
        next_snapshot=Neighbour(next_snapshot, next_snapshot * 10) if next_snapshot else None,
        gaps=gaps or [],
    )


def refused(stored: StoredMoment) -> Refusal:
    answer = book_at(stored)
    assert isinstance(answer, Refusal)
    return answer


def rebuilt(stored: StoredMoment) -> RebuiltBook:
    answer = book_at(stored)
    assert isinstance(answer, RebuiltBook)
    return answer


def test_moment_between_two_deltas_that_touch_is_known() -> None:
    """The book is that of the delta before it."""
    answer = rebuilt(a_moment(145, deltas=[a_delta(11, 12), a_delta(13, 14, "3.0"), a_delta(15, 16)]))

    assert (answer.update_id, answer.book.best_bid()) == (14, ("9.00000000", "3.0"))


def test_newest_moment_of_all_is_known() -> None:
    """Nothing is stored behind it, and nothing has to be."""
    assert rebuilt(a_moment(120, deltas=[a_delta(11, 12)])).update_id == 12
    assert rebuilt(a_moment(100)).update_id == 10


def test_moment_before_the_first_stored_book_is_refused() -> None:
    """And it is said when the first one is."""
    stored = a_moment(50, next_snapshot=10)._replace(snapshot=None)

    assert refused(stored) == Refusal("before_first", 100, known_again_us=100)


def test_moment_beyond_the_newest_row_is_refused() -> None:
    """What is not committed yet may still change the book."""
    assert refused(a_moment(121, deltas=[a_delta(11, 12)])) == Refusal("beyond_newest", 120)


def test_moment_behind_a_gap_is_refused_with_the_row_of_the_ledger() -> None:
    """Its updates, its times and its cause, and when the book is known again."""
    gap = a_gap(13, 19)
    deltas = [a_delta(11, 12), a_delta(20, 21), a_delta(22, 23)]

    assert refused(a_moment(215, deltas=deltas, gaps=[gap], next_snapshot=23)) == Refusal(
        "gap", 230, (13, 19), gap, 230
    )


def test_moment_inside_a_gap_is_refused() -> None:
    """Nobody can say which of the missing updates came before it."""
    gap = a_gap(13, 19)

    assert refused(a_moment(125, deltas=[a_delta(11, 12), a_delta(20, 21)], gaps=[gap])).gap == gap


def test_moment_before_a_gap_is_known() -> None:
    """What went missing later changes nothing."""
    deltas = [a_delta(11, 12), a_delta(13, 14), a_delta(20, 21)]

    assert rebuilt(a_moment(120, deltas=deltas, gaps=[])).update_id == 12


def test_hole_that_the_ledger_does_not_know_is_refused_all_the_same() -> None:
    """Rows may be on their way from the spool; the book is not shown without them."""
    stored = a_moment(215, deltas=[a_delta(11, 12), a_delta(20, 21), a_delta(22, 23)])

    assert refused(stored) == Refusal("hole", 230, (13, 19))


def test_newer_snapshot_without_the_deltas_before_it_is_a_hole() -> None:
    """A stored book can be committed before its deltas are, and these be lost with the process."""
    stored = a_moment(150, deltas=[a_delta(11, 12)], next_snapshot=20)

    assert refused(stored) == Refusal("hole", 200, (13, 20), None, 200)


def test_ledger_speaks_against_rows_that_are_there() -> None:
    """A gap that covers stored rows, too, is believed: its bounds are upper ones."""
    gap = a_gap(11, 14, cause="buffer_full")

    assert refused(a_moment(130, deltas=[a_delta(11, 12), a_delta(13, 14)], gaps=[gap])).gap == gap


def test_gap_without_ids_speaks_against_its_time() -> None:
    """Where the ledger names no updates, only times are left."""
    gap = a_gap(1, 1)._replace(first_id=None, last_id=None)

    assert refused(a_moment(120, deltas=[a_delta(11, 12)], gaps=[gap])) == Refusal("gap", 120, None, gap)


@pytest.mark.parametrize(("reason", "is_refused"), [("periodic", True), ("audit", False)])
def test_book_stored_while_it_was_wrong_is_not_shown(reason: str, is_refused: bool) -> None:
    """A book stored at the end of what is not to be trusted is the wrong one, or what replaced it."""
    stored = a_moment(120, deltas=[a_delta(11, 12)], gaps=[a_gap(5, 10, cause="audit")], reason=reason)

    assert isinstance(book_at(stored), Refusal) is is_refused


def test_lost_updates_before_the_stored_book_do_not_matter() -> None:
    """The snapshot holds what they said."""
    assert rebuilt(a_moment(120, deltas=[a_delta(11, 12)], gaps=[a_gap(5, 10)])).update_id == 12


def _touches(gap: KnownGap, first: int, last: int) -> bool:
    return (gap.last_id or 0) >= first and (gap.first_id or 0) <= last


class History:
    """Deltas as they happened, which of them are stored, and where books were stored; from a seed."""

    def __init__(self, seed: int) -> None:
        rng = Random(seed)
        bounds = [10, *sorted(rng.sample(range(11, 80), 25))]
        self.deltas = [
            DepthDelta(
                "BTCUSDT",
                before + 1,
                final,
                final * 10,
                [(f"{rng.randrange(1, 9)}.00000000", rng.choice(["0", f"{final}.5"]))],
                [],
                0,
            )
            for before, final in pairwise(bounds)
        ]
        lost = {rng.randrange(len(self.deltas)) for _ in range(rng.randrange(4))}
        self.stored = [delta for number, delta in enumerate(self.deltas) if number not in lost]
        self.gaps = [
            a_gap(delta.first_update_id, delta.final_update_id)
            for number, delta in enumerate(self.deltas)
            if number in lost
        ]
        self.snapshots = sorted(
            {10 if rng.random() < 0.8 else 30, *(rng.choice(bounds) for _ in range(rng.randrange(4)))}
        )

    def truth(self, at_us: int) -> dict[str, str]:
        """The bids that a moment saw."""
        book = Book()
        for delta in self.deltas:
            if delta.ts_us <= at_us:
                book.apply(delta.bids, delta.asks)
        return book.bids

    def moment(self, at_us: int) -> StoredMoment:
        """What a database would give of it."""
        before = [last for last in self.snapshots if last * 10 <= at_us]
        after = [last for last in self.snapshots if last * 10 > at_us]
        later = [delta for delta in self.stored if delta.ts_us > at_us]
        base = before[-1] if before else None
        stored = StoredMoment(
            at_us=at_us,
            newest_us=max([delta.ts_us for delta in self.stored] + [10 * self.snapshots[-1]]),
            snapshot=None if base is None else self.snapshot(base),
            deltas=[
                d for d in self.stored if base is not None and base < d.final_update_id and d.ts_us <= at_us
            ],
            next_delta=Neighbour(later[0].first_update_id, later[0].ts_us) if later else None,
            next_snapshot=Neighbour(after[0], after[0] * 10) if after else None,
            gaps=[],
        )
        first, last = stored.leans_on
        gaps = [
            g for g in self.gaps if g.last_id and g.first_id and g.last_id >= first and g.first_id <= last
        ]
        return stored._replace(gaps=gaps)

    def snapshot(self, last: int) -> DepthSnapshot:
        bids = list(self.truth(last * 10).items())
        return DepthSnapshot("BTCUSDT", last, last * 10, bids, ASKS, "periodic", 0)

    def may_refuse(self, stored: StoredMoment) -> bool:
        """Whether something is missing that the book of the moment needs."""
        if stored.snapshot is None or stored.at_us > stored.newest_us:
            return True
        first, last = stored.leans_on
        needed = [d for d in self.deltas if d.final_update_id > first and d.first_update_id <= last]
        return any(delta not in self.stored for delta in needed)


@settings(max_examples=400)
@given(seed=st.integers(0, 2**32 - 1), at_us=st.integers(90, 820))
def test_every_moment_is_right_or_refused_for_a_reason(seed: int, at_us: int) -> None:
    """What is shown is what the exchange had, and whatever nothing speaks against is shown."""
    history = History(seed)
    stored = history.moment(at_us)

    answer = book_at(stored)

    event(answer.why if isinstance(answer, Refusal) else "shown")
    if isinstance(answer, Refusal):
        assert history.may_refuse(stored)
        assert answer.why != "hole" or stored.next_delta is None
    else:
        assert answer.book.bids == history.truth(at_us)
