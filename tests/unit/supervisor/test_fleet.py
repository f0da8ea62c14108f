"""Who carries which streams: every change is in the job files before anybody is told."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from ingest.board.layout import BoardSnapshot
from ingest.config import Settings
from ingest.events import StreamKey
from ingest.shard.job import job_path, load_job
from ingest.shard.orders import Adopt, Drop, Order, Probe, encode
from ingest.shard.plan import FeedPlan, ShardPlan
from ingest.supervisor.child import ShardKeeper
from ingest.supervisor.fleet import Fleet
from ingest.supervisor.freshness import ShardFacts
from tests.unit.board.builders import a_board


def key(symbol: str, kind: str = "trade") -> StreamKey:
    return StreamKey("spot", symbol, kind)


BTC, ETH, XRP, NEW = key("BTCUSDT"), key("ETHUSDT"), key("XRPUSDT"), key("NEWUSDT")
IDS = {"BTCUSDT": 1, "ETHUSDT": 2, "XRPUSDT": 3}


@dataclass
class Keeper:
    """A shard that takes everything down; at each order it remembers what its job file said."""

    plan: ShardPlan
    data_dir: Path
    pid: int | None = 42
    free_slots: int = 1_000
    orders: list[Order] = field(default_factory=list)
    planned_when_told: list[set[StreamKey]] = field(default_factory=list)
    recycled: int = 0
    has_board: bool = True

    def __post_init__(self) -> None:
        self._slots = len(self.plan.streams) + self.free_slots

    def order(self, order: Order) -> bool:
        encode(order)
        self.planned_when_told.append(set(self.job()))
        self.orders.append(order)
        return self.pid is not None

    def recycle(self) -> None:
        self.planned_when_told.append(set(self.job()))
        self.recycled += 1

    def job(self) -> tuple[StreamKey, ...]:
        return load_job(job_path(self.data_dir, self.plan.shard), "postgresql://x/y").plan.streams

    def facts(self) -> ShardFacts:
        board = self._board() if self.has_board else None
        return ShardFacts(shard=self.plan.shard, running=self.pid is not None, pid=self.pid, board=board)

    def _board(self) -> BoardSnapshot:
        board = a_board({}, shard=self.plan.shard)
        return replace(board, identity=board.identity._replace(n_streams=self._slots, n_feeds=8))


class Scene:
    """Three shards: two streams, one, and none."""

    def __init__(self, data_dir: Path, *plans: tuple[StreamKey, ...], free_slots: int = 1_000) -> None:
        settings = Settings.model_validate({"service": {"data_dir": str(data_dir)}})
        self.keepers = [
            Keeper(
                ShardPlan(number, (FeedPlan(10 * number, streams),) if streams else ()),
                data_dir,
                free_slots=free_slots,
            )
            for number, streams in enumerate(plans)
        ]
        self.fleet = Fleet(cast("list[ShardKeeper]", self.keepers), settings, IDS)

    def carried(self) -> list[set[StreamKey]]:
        return [set(keeper.plan.streams) for keeper in self.keepers]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, (BTC, ETH), (XRP,), ())


# --- adopting ---


def test_new_streams_go_to_the_shard_with_the_fewest(scene: Scene) -> None:
    """On a feed of their own, whose number nobody had, with the ids that they need."""
    depth = key("NEWUSDT", "depth")
    assert scene.fleet.adopt([NEW, depth], {"NEWUSDT": 9})

    assert scene.keepers[2].plan.feeds == (FeedPlan(11, (NEW, depth)),)
    assert scene.keepers[2].orders == [Adopt(11, (NEW, depth), {"NEWUSDT": 9})]
    assert scene.fleet.symbols == {"BTCUSDT", "ETHUSDT", "XRPUSDT", "NEWUSDT"}


def test_job_says_so_before_the_shard_is_told(scene: Scene) -> None:
    """A shard that ends at this moment starts again with what it should carry."""
    scene.fleet.adopt([NEW], {"NEWUSDT": 9})

    assert scene.keepers[2].planned_when_told == [{NEW}]


def test_shard_that_runs_is_preferred(scene: Scene) -> None:
    """One that is down could be down for long."""
    scene.keepers[2].pid = None
    scene.fleet.adopt([NEW], {"NEWUSDT": 9})

    assert scene.carried() == [{BTC, ETH}, {XRP, NEW}, set()]


def test_streams_wait_in_a_job_when_no_shard_runs(scene: Scene) -> None:
    """Whoever starts first reads them there."""
    for keeper in scene.keepers:
        keeper.pid = None

    assert scene.fleet.adopt([NEW], {"NEWUSDT": 9})
    assert scene.keepers[2].job() == (NEW,)


def test_every_adoption_has_a_feed_number_of_its_own(scene: Scene) -> None:
    """Numbers are unique over all shards and never used again."""
    for symbol in ("AUSDT", "BUSDT", "CUSDT"):
        scene.fleet.adopt([key(symbol)], {symbol: 9})
    numbers = [feed.feed for keeper in scene.keepers for feed in keeper.plan.feeds]

    assert sorted(numbers) == [0, 10, 11, 12, 13]


def test_nothing_to_adopt_is_nobodys(scene: Scene) -> None:
    """No order, no feed."""
    assert not scene.fleet.adopt([], {})
    assert scene.carried() == [{BTC, ETH}, {XRP}, set()]


def test_order_too_long_for_a_line_is_told_in_parts(tmp_path: Path) -> None:
    """As many streams as a feed may carry, with the longest of names."""
    symbol = "币安人生" * 4 + "{}USDT"
    streams = [key(symbol.format(number), "kline_1m") for number in range(1_024)]
    scene = Scene(tmp_path, (), free_slots=2_000)
    scene.fleet.adopt(streams, {each.symbol: number for number, each in enumerate(streams)})

    orders = [order for order in scene.keepers[0].orders if isinstance(order, Adopt)]
    assert [each for order in orders for each in order.streams] == streams
    assert {order.feed for order in orders} == {0}
    assert all(set(order.symbol_ids) == {each.symbol for each in order.streams} for order in orders)

    scene.fleet.drop([each.symbol for each in streams])
    dropped = [order for order in scene.keepers[0].orders if isinstance(order, Drop)]
    assert [each for order in dropped for each in order.streams] == streams


def test_shard_without_room_on_its_board_is_started_anew(tmp_path: Path) -> None:
    """It would refuse the order; its next process makes a board for what is in the job."""
    scene = Scene(tmp_path, (BTC,), free_slots=1)
    scene.fleet.adopt([ETH], {})
    assert (len(scene.keepers[0].orders), scene.keepers[0].recycled) == (1, 0)

    scene.fleet.adopt([XRP], {})
    assert (len(scene.keepers[0].orders), scene.keepers[0].recycled) == (1, 1)
    assert scene.keepers[0].planned_when_told[-1] == {BTC, ETH, XRP}


def test_shard_without_a_board_is_told(tmp_path: Path) -> None:
    """It is starting, and the job may have been read already."""
    scene = Scene(tmp_path, (BTC,))
    scene.keepers[0].has_board = False
    scene.fleet.adopt([NEW], {"NEWUSDT": 9})

    assert (len(scene.keepers[0].orders), scene.keepers[0].recycled) == (1, 0)


# --- dropping ---


def test_dropped_symbol_leaves_plan_job_and_shard(tmp_path: Path) -> None:
    """With all its streams, wherever they are; a feed without streams goes with them."""
    depth = key("BTCUSDT", "depth")
    scene = Scene(tmp_path, (BTC, ETH), (depth,), (XRP,))

    assert set(scene.fleet.drop(["BTCUSDT", "UNKNOWNUSDT"])) == {BTC, depth}
    assert scene.carried() == [{ETH}, set(), {XRP}]
    assert scene.keepers[1].plan.feeds == ()
    assert [keeper.orders for keeper in scene.keepers] == [[Drop((BTC,))], [Drop((depth,))], []]
    assert [keeper.planned_when_told for keeper in scene.keepers] == [[{ETH}], [set()], []]


# --- evacuating ---


def test_streams_of_an_evacuated_shard_go_to_the_others(scene: Scene) -> None:
    """Feed by feed; its own job is empty, so that its next process carries nothing twice."""
    scene.fleet.evacuate(0)

    assert scene.carried() == [set(), {XRP}, {BTC, ETH}]
    assert scene.keepers[0].job() == ()
    assert scene.keepers[2].orders == [Adopt(11, (BTC, ETH), {"BTCUSDT": 1, "ETHUSDT": 2})]


def test_shard_is_evacuated_once_and_gets_nothing_more(scene: Scene) -> None:
    """It has shown what it does with streams."""
    scene.fleet.evacuate(2)
    scene.fleet.evacuate(2)
    scene.fleet.adopt([NEW], {"NEWUSDT": 9})

    assert scene.carried() == [{BTC, ETH}, {XRP, NEW}, set()]


def test_readmitted_shard_gets_what_comes_next(scene: Scene) -> None:
    """What it gave away stays with the others; it may be given streams, and lose them, as any shard."""
    scene.fleet.evacuate(0)
    scene.fleet.readmit(0)
    scene.fleet.readmit(1)
    assert scene.carried() == [set(), {XRP}, {BTC, ETH}]

    scene.fleet.adopt([NEW], {"NEWUSDT": 9})
    assert scene.carried() == [{NEW}, {XRP}, {BTC, ETH}]
    scene.fleet.evacuate(0)
    assert scene.carried() == [set(), {XRP, NEW}, {BTC, ETH}]


def test_shards_that_crash_one_after_the_other_are_each_evacuated(scene: Scene) -> None:
    """Those that run well again take the streams over; nobody is left with all of them."""
    for number in (0, 1, 2):
        scene.fleet.evacuate(number)
        scene.fleet.readmit(number)

    assert scene.carried()[2] == set()
    assert set().union(*scene.carried()) == {BTC, ETH, XRP}


def test_last_shard_is_not_evacuated(scene: Scene) -> None:
    """There must be somebody to carry the streams, be it badly."""
    for number in (0, 1, 2):
        scene.fleet.evacuate(number)

    assert scene.carried()[2] == {BTC, ETH, XRP}


def test_only_shard_is_not_evacuated(tmp_path: Path) -> None:
    """Nobody else is there."""
    scene = Scene(tmp_path, (BTC,))
    scene.fleet.evacuate(0)

    assert scene.carried() == [{BTC}]
    assert scene.keepers[0].orders == []


# --- two lines ---


def test_streams_are_not_given_to_the_shard_of_their_other_line(tmp_path: Path) -> None:
    """Though it has the fewest; the order says which line it is."""
    scene = Scene(tmp_path, (BTC, ETH, XRP), (NEW,), ())
    assert scene.fleet.adopt([NEW], {"NEWUSDT": 9}, line=2)

    assert scene.keepers[2].plan.feeds == (FeedPlan(11, (NEW,), 2),)
    assert scene.keepers[2].orders == [Adopt(11, (NEW,), {"NEWUSDT": 9}, 2)]


def test_evacuated_lines_go_where_the_other_ones_are_not(tmp_path: Path) -> None:
    """Stream by stream, as their other lines are on different shards."""
    scene = Scene(tmp_path, (BTC, ETH), (BTC,), (ETH,))
    scene.fleet.evacuate(0)

    assert scene.carried() == [set(), {BTC, ETH}, {BTC, ETH}]


def test_lines_that_nobody_may_have_wait_for_their_shard(tmp_path: Path) -> None:
    """Their other lines go on meanwhile."""
    scene = Scene(tmp_path, (BTC, ETH), (BTC, ETH))
    scene.fleet.evacuate(0)

    assert scene.carried() == [{BTC, ETH}, {BTC, ETH}]
    assert scene.keepers[0].job() == (BTC, ETH)


# --- telling ---


def test_order_and_recycling_reach_the_shard_that_is_meant(scene: Scene) -> None:
    """Whether it could be told is the answer."""
    scene.keepers[1].pid = None
    scene.fleet._replan(cast(ShardKeeper, scene.keepers[1]), scene.keepers[1].plan)

    assert not scene.fleet.order(1, Probe(10))
    scene.fleet.recycle(1, "its loop stands")
    assert [keeper.recycled for keeper in scene.keepers] == [0, 1, 0]
