"""When the machine says live, the book is the exchange's book at that update, whatever the stream did."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import NamedTuple

from hypothesis import event, given
from hypothesis import strategies as st

from ingest.book.sync import Action, BookCompared, BookLive, BookLost, BookSync, RequestSnapshot, State
from ingest.events import ALL_ASKS, ALL_BIDS, DepthDelta, DepthSnapshot, Level

SIDES = ("bids", "asks")
SPELLINGS = ("{}", "{}.0", "{}.00000000")
ZEROS = ("0", "0.0", "0.00000000")


class Change(NamedTuple):
    """One update of the exchange's book: a level set to a quantity that no other update has, or removed."""

    side: str
    price: int
    removes: bool
    spelling: int


@dataclass
class Market:
    """A history of updates 1..n, and the two ways in which two feeds cut it into deltas."""

    changes: list[Change]
    feeds: list[list[DepthDelta]]

    def book_at(self, update_id: int) -> dict[str, dict[int, str]]:
        """Return the true book after an update: price to quantity, by side."""
        book: dict[str, dict[int, str]] = {side: {} for side in SIDES}
        for number, change in enumerate(self.changes[:update_id], start=1):
            if change.removes:
                book[change.side].pop(change.price, None)
            else:
                book[change.side][change.price] = f"{number}.5"
        return book

    def snapshot_at(self, update_id: int, limit: int) -> DepthSnapshot:
        """Return what REST answers when its memory is at an update: so many levels a side at most."""
        book = self.book_at(update_id)
        bids, asks = (
            [(f"{price}.00000000", qty) for price, qty in sorted(book[side].items(), reverse=side == "bids")]
            for side in SIDES
        )
        return DepthSnapshot(
            *("BTCUSDT", update_id, 0, bids[:limit], asks[:limit], "resync", 0),
            bids_known_from=bids[limit - 1][0] if len(bids) >= limit else ALL_BIDS,
            asks_known_to=asks[limit - 1][0] if len(asks) >= limit else ALL_ASKS,
        )


def delta_of(changes: list[Change], first: int, final: int) -> DepthDelta:
    """Return the delta of updates first..final: the last state of each level that they touched."""
    rows: dict[str, dict[int, Level]] = {side: {} for side in SIDES}
    for number in range(first, final + 1):
        change = changes[number - 1]
        price = SPELLINGS[change.spelling].format(change.price)
        qty = ZEROS[change.spelling] if change.removes else f"{number}.5"
        rows[change.side][change.price] = (price, qty)
    bids, asks = (list(rows[side].values()) for side in SIDES)
    return DepthDelta("BTCUSDT", first, final, 0, bids, asks, 0)


def market(seed: int, updates: int) -> Market:
    """Make a market whose bids lie below its asks, and cut its updates into deltas twice.

    From a seed, because drawing each update costs ten times what the test itself does.
    """
    rng = Random(seed)
    changes = []
    for _ in range(updates):
        side = rng.choice(SIDES)
        price = rng.randint(1, 6) + (6 if side == "asks" else 0)
        changes.append(Change(side, price, rng.random() < 0.3, rng.randrange(3)))
    feeds = []
    for _ in range(2):
        cuts = rng.sample(range(1, updates), rng.randint(updates // 3, updates - 1))
        bounds = [0, *sorted(cuts), updates]
        feeds.append([delta_of(changes, before + 1, final) for before, final in pairwise(bounds)])
    return Market(changes, feeds)


MARKETS = st.builds(market, st.integers(0, 2**32 - 1), st.integers(20, 120))


class Step(NamedTuple):
    """Something that happens: its name, and a number for how much or how far."""

    what: str
    number: int


# Weighted so that most runs see a live book, and most live books see something go wrong.
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(
            ["deliver"] * 8
            + ["answer"] * 6
            + ["answer_late", "answer_early"] * 2
            + ["look"] * 3
            + ["drop", "repeat", "overtake", "other_feed", "fail", "disconnect", "check"]
        ),
        st.integers(1, 4),
    ),
    # Hypothesis keeps lists near their least size; short ones would hardly ever lose a live book.
    min_size=40,
    max_size=60,
)


@dataclass
class World:
    """A machine among a market's deltas and snapshots, checked after everything that happens to it."""

    market: Market
    sync: BookSync
    feed: int = 0
    newest_id: int = 0
    asked: int = 0
    was_live: int = 0
    compared: int = 0
    audited: int = 0
    limits: tuple[int, ...] = (100,)
    said_live: bool = False

    def take(self, step: Step) -> None:
        """Let one thing happen."""
        match step.what:
            case "deliver":
                self.deliver(self.coming()[: step.number])
            case "drop":
                self.pass_by(self.coming()[: step.number])
            case "repeat":
                self.deliver(self.gone()[-step.number :])
            case "overtake":
                self.deliver(self.coming()[step.number : step.number + 1], advance=False)
            case "other_feed":
                self.feed = 1 - self.feed
            case "disconnect":
                self.see(self.sync.on_disconnected())
                assert self.sync.book is None
            case "check":
                self.see(self.sync.check(), losses={"exhausted"})
                assert self.sync.book is None or not self.sync.book.is_exhausted
            case "look":
                self.asked += self.sync.look_again()
            case what if self.asked:
                self.reply(what, step.number)

    def reply(self, what: str, number: int) -> None:
        """Give the machine the snapshot that it asked for, of now or another time, or a failure."""
        self.asked -= 1
        if what == "fail":
            self.see(self.sync.on_snapshot_failed())
            return
        ahead = {"answer": 0, "answer_late": -2 * number, "answer_early": 2 * number}[what]
        last_id = min(max(self.newest_id + ahead, 0), len(self.market.changes))
        limit = self.limits[(self.newest_id + number) % len(self.limits)]
        self.see(self.sync.on_snapshot(self.market.snapshot_at(last_id, limit)))

    def coming(self) -> list[DepthDelta]:
        """Return the deltas of the current feed that end beyond what was delivered or dropped."""
        feed = self.market.feeds[self.feed]
        return [delta for delta in feed if delta.final_update_id > self.newest_id]

    def gone(self) -> list[DepthDelta]:
        """Return the deltas of the current feed that were delivered or dropped."""
        feed = self.market.feeds[self.feed]
        return [delta for delta in feed if delta.final_update_id <= self.newest_id]

    def deliver(self, deltas: Iterable[DepthDelta], *, advance: bool = True) -> None:
        """Give deltas to the machine."""
        for delta in deltas:
            self.see(self.sync.on_delta(delta))
            if advance:
                self.pass_by([delta])

    def pass_by(self, deltas: Iterable[DepthDelta]) -> None:
        """Move on without giving them."""
        for delta in deltas:
            self.newest_id = max(self.newest_id, delta.final_update_id)

    def see(self, actions: list[Action], losses: Collection[str] = ("gap", "disconnected")) -> None:
        """Check what the machine says and shows."""
        for action in actions:
            if isinstance(action, RequestSnapshot):
                self.asked += 1
            elif isinstance(action, BookLive):
                assert not self.said_live
                self.said_live = True
                self.was_live += 1
            elif isinstance(action, BookLost):
                assert self.said_live
                assert action.reason in losses
                self.said_live = False
            elif isinstance(action, BookCompared):
                self.audited += action.levels > 0
                assert action.mismatches == 0
        assert self.asked <= 1
        assert self.said_live == (self.sync.book is not None)
        self.compare()

    def compare(self) -> None:
        """Compare the book, if there is one, with the true one."""
        book, update_id = self.sync.book, self.sync.update_id
        assert (book is None) == (update_id is None)
        if book is None or update_id is None:
            return
        self.compared += 1
        shown = ({round(float(price)): qty for price, qty in side.items()} for side in (book.bids, book.asks))
        true = self.market.book_at(update_id)
        lowest, highest = float(book.bids_known_from), float(book.asks_known_to)
        known = {
            "bids": {price: qty for price, qty in true["bids"].items() if price >= lowest},
            "asks": {price: qty for price, qty in true["asks"].items() if price <= highest},
        }
        assert dict(zip(SIDES, shown, strict=True)) == known


LIMITS = st.sampled_from([(100,), (1,), (3,), (2, 100), (1, 2, 3)])


@given(market=MARKETS, steps=STEPS, max_buffered=st.sampled_from([1, 2, 5, 2000]), limits=LIMITS)
def test_a_live_book_is_the_exchange_s_book(
    market: Market, steps: list[Step], max_buffered: int, limits: tuple[int, ...]
) -> None:
    """Under drops, duplicates, reordering, disconnects, two feeds and snapshots of any age, live is right.

    As far as it says to be known, however shallow the snapshots; and a comparison with one finds nothing.
    """
    world = World(market, BookSync("BTCUSDT", max_buffered=max_buffered), limits=limits)

    for step in steps:
        world.take(step)

    event(f"was live {min(world.was_live, 3)} times, {min(world.compared // 10, 4)}0 books or more compared")
    event(f"was audited {min(world.audited, 3)} times")


@given(
    market=MARKETS,
    steps=STEPS,
    hurt=st.integers(0, 30),
    max_buffered=st.sampled_from([5, 2000]),
)
def test_a_look_finds_what_a_frame_said_wrongly(
    market: Market, steps: list[Step], hurt: int, max_buffered: int
) -> None:
    """A quantity that was altered on its way is found by a look at the book, which is right again then."""
    world = World(market, BookSync("BTCUSDT", max_buffered=max_buffered))
    world.deliver(world.coming()[:2])
    world.take(Step("answer", 0))
    world.deliver(world.coming()[: hurt // 3])
    book = world.sync.book
    if book is None or not book.bids:
        return
    price = sorted(book.bids)[hurt % len(book.bids)]
    book.apply([(price, "777.7")], [])

    assert world.sync.look_again()
    found = world.sync.on_snapshot(market.snapshot_at(world.newest_id, 100))

    assert [type(action) for action in found] == [BookCompared, BookLost, BookLive]
    assert found[0] == BookCompared("BTCUSDT", len(book), 1)
    world.compare()
    for step in steps:
        world.take(step)


@given(market=MARKETS, steps=STEPS, max_buffered=st.sampled_from([1, 2000]))
def test_a_book_always_becomes_live_again(market: Market, steps: list[Step], max_buffered: int) -> None:
    """Whatever happened before, a stream without breaks and fresh snapshots make the book live."""
    world = World(market, BookSync("BTCUSDT", max_buffered=max_buffered))
    for step in steps:
        world.take(step)
    world.newest_id = 0
    world.take(Step("disconnect", 0))

    world.deliver(world.coming())
    while world.asked:
        world.take(Step("answer", 0))

    assert world.sync.state is State.LIVE
    assert world.sync.update_id == len(market.changes)
