"""Gaps repaired from the exchange double's history into a real database."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import asyncpg
import pytest

from ingest.binance.rest import RestClient
from ingest.buffer.batcher import Batch
from ingest.clock import SystemClock
from ingest.errors import StoreUnavailable
from ingest.events import AggTrade, Gap, Kline, StreamKey, Trade
from ingest.feed.budget_file import Budget, BudgetLimits, SharedBudget
from ingest.sequence.backfill import Page, Patience
from ingest.shard.history import History, batch_of, fetch_page
from ingest.shard.repair import Repairer, RepairLimits, RepairStore
from ingest.sim import faults
from ingest.sim.market import MarketPlan
from ingest.sim.server import DoubleConfig, ExchangeDouble
from ingest.store.postgres import PostgresSink
from ingest.store.publish import StreamRow
from ingest.store.sink import Written
from tests.integration.wire import until
from tests.rows import NOW_US, a_batch

BTC, ETH = "BTCUSDT", "ETHUSDT"
TRADES, AGGS, CANDLES = (StreamKey("spot", BTC, kind) for kind in ("trade", "agg_trade", "kline_1s"))
ETH_TRADES = StreamKey("spot", ETH, "trade")
KEYS = (TRADES, AGGS, CANDLES, ETH_TRADES)
PATIENCE = Patience(first_s=0.02, cap_s=0.1, confirm_s=0.1)
PAGE_ROWS = 40
_FIELDS = {
    "trade": ("trades", "trade_id", ("price", "qty", "buyer_is_maker")),
    "agg_trade": (
        "agg_trades",
        "agg_trade_id",
        ("price", "qty", "first_trade_id", "last_trade_id", "buyer_is_maker"),
    ),
    "kline_1s": (
        "klines",
        "(extract(epoch FROM open_time) * 1000)::bigint",
        (
            *("open", "high", "low", "close", "volume", "trades", "quote_volume"),
            *("taker_buy_volume", "taker_buy_quote_volume"),
        ),
    ),
}


class GapRow(NamedTuple):
    """What a test wants to know of a row of the ledger."""

    first_id: int
    last_id: int
    state: str
    rows: int


class Workshop:
    """An exchange that has a past, a database that has a part of it, and repairers between them."""

    def __init__(self, double: ExchangeDouble, rest: RestClient, sink: PostgresSink) -> None:
        self.double, self.rest, self.sink = double, rest, sink
        self.ids: dict[str, int] = {}
        self.carried: tuple[StreamKey, ...] = KEYS

    def happened(self, key: StreamKey) -> dict[int, int]:
        """The digest of each event by its id."""
        return {entry.event_id: entry.digest for entry in self.double.ledger.entries(key.symbol, key.kind)}

    async def stored(self, key: StreamKey) -> dict[int, int]:
        """The same of each stored row. Fails when an id is there twice."""
        table, event_id, fields = _FIELDS[key.kind]
        columns = ", ".join(f"{field}::text" for field in fields)
        rows = await self.fetch(
            f"SELECT {event_id}, {columns} FROM spot.{table} WHERE symbol = $1", key.symbol
        )
        found = {row[0]: crc32("|".join(row[1:]).encode()) for row in map(tuple, rows)}
        assert len(found) == len(rows)
        return found

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        async with self.sink.session() as connection:
            return await connection.fetch(sql, *arguments)

    async def store(self, key: StreamKey, ids: Collection[int]) -> None:
        """Have these of the exchange's events in the table, as if they had come by stream."""
        wanted = sorted(ids)
        while wanted:
            rows = await fetch_page(self.rest, key, self.ids[key.symbol], Page(wanted[0], 1_000))
            await self.sink.write(batch_of(key.kind, [row for row in rows if row.ids.first in ids]))
            wanted = [each for each in wanted if each > rows[-1].ids.first]

    async def open_gap(self, key: StreamKey, first_id: int, last_id: int) -> None:
        """Tell the ledger, with the times of the neighbours."""
        series = self.double.ledger.entries(key.symbol, key.kind)
        times = {entry.event_id: entry.ts_ms for entry in series}
        start_us = max((ms for each, ms in times.items() if each < first_id), default=None)
        end_us = min((ms for each, ms in times.items() if each > last_id), default=None)
        gap = Gap(
            key,
            first_id,
            last_id,
            None if start_us is None else start_us * 1_000,
            None if end_us is None else end_us * 1_000,
            "disconnect",
            True,
            "",
            NOW_US,
        )
        await self.sink.write(a_batch([], gap))

    async def ledger(self, key: StreamKey) -> list[GapRow]:
        """The stream's rows of the ledger, by their ids."""
        rows = await self.fetch(
            "SELECT first_id, last_id, state, rows_repaired FROM ops.gaps WHERE symbol = $1 AND kind = $2"
            " ORDER BY first_id, last_id DESC",
            key.symbol,
            key.kind,
        )
        return [GapRow(*row) for row in rows]

    async def publish(self, *keys: StreamKey) -> None:
        """Say, as the supervisor does, that shards carry these streams."""
        await self.sink.publish_stream_states(
            [StreamRow(key, 1, "1", "live", "", None, None, None, 1.0, None, 0, 0) for key in keys]
        )

    async def is_settled(self) -> bool:
        """No gap is open."""
        return not await self.fetch("SELECT FROM ops.gaps WHERE state = 'open'")

    def repairer(
        self,
        history: History | None = None,
        store: RepairStore | None = None,
        *,
        page_rows: int = PAGE_ROWS,
        orphans_of: str | None = None,
    ) -> Repairer:
        """One that looks often and is not patient."""
        return Repairer(
            history or self.rest,
            store or self.sink,
            streams=lambda: {key: self.ids[key.symbol] for key in self.carried},
            clock=SystemClock(),
            rng=random.Random(1),
            limits=RepairLimits(look_every_s=0.05, page_rows=page_rows, patience=PATIENCE),
            orphans_of=orphans_of,
        )

    async def settle(self, repairer: Repairer | None = None) -> Repairer:
        """Let one repair until nothing is open."""
        made = repairer or self.repairer()
        async with running(made):
            await until_settled(self)
        return made


@asynccontextmanager
async def running(repairer: Repairer) -> AsyncIterator[None]:
    """A repairer at work."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(repairer.run())
        try:
            yield
        finally:
            task.cancel()


async def until_settled(workshop: Workshop) -> None:
    async with asyncio.timeout(30):
        while not await workshop.is_settled():
            await asyncio.sleep(0.05)


@pytest.fixture
async def workshop(migrated_url: str, tmp_path: Path) -> AsyncIterator[Workshop]:
    """Two symbols that have traded for a while, and stand still."""
    clock, rng = SystemClock(), random.Random(1)
    budget = SharedBudget(tmp_path / "budget", BudgetLimits(), clock=clock, rng=rng)
    plan = MarketPlan(named=(BTC, ETH), rate=1_200.0)
    async with (
        ExchangeDouble(DoubleConfig(market=plan)) as double,
        RestClient(double.rest_url, budget, clock=clock) as rest,
        PostgresSink.opened(migrated_url, connections=2) as sink,
    ):
        made = Workshop(double, rest, sink)
        made.ids = await sink.instrument_ids("spot", await rest.exchange_info())
        await until(lambda: min(len(made.happened(key)) for key in (TRADES, AGGS, ETH_TRADES)) > 150)
        await until(lambda: len(made.happened(CANDLES)) > 1)
        double.pause()
        yield made
    budget.close()


def middle(happened: Collection[int], *, leaving: int) -> list[int]:
    """All ids but the first and the last `leaving`."""
    return sorted(happened)[leaving:-leaving]


@pytest.mark.parametrize("key", [TRADES, AGGS], ids=lambda key: key.kind)
async def test_gap_of_several_pages_is_closed_with_every_row(workshop: Workshop, key: StreamKey) -> None:
    """What is stored then is what happened, digit by digit, each row once."""
    happened = workshop.happened(key)
    lost = middle(happened, leaving=10)
    await workshop.store(key, happened.keys() - set(lost))
    await workshop.open_gap(key, lost[0], lost[-1])
    repairer = await workshop.settle()

    assert await workshop.stored(key) == happened
    assert await workshop.ledger(key) == [GapRow(lost[0], lost[-1], "repaired", len(lost))]
    assert (repairer.counts.rows, repairer.counts.closed) == (len(lost), 1)
    assert repairer.counts.pages > 2


async def test_gap_of_candles_is_closed_by_their_times(workshop: Workshop) -> None:
    """Closed candles, bounded by the times at which the first and the last of them opened."""
    happened = workshop.happened(CANDLES)
    lost = sorted(happened)
    await workshop.open_gap(CANDLES, lost[0], lost[-1])
    await workshop.settle()

    assert await workshop.stored(CANDLES) == happened
    assert await workshop.ledger(CANDLES) == [GapRow(lost[0], lost[-1], "repaired", len(lost))]
    closed = await workshop.fetch("SELECT bool_and(is_closed) FROM spot.klines")
    assert closed[0][0]


async def test_rows_that_are_there_are_not_asked_for_again(workshop: Workshop) -> None:
    """Late arrivals have filled most of it: one page is enough for the rest."""
    happened = workshop.happened(TRADES)
    lost = middle(happened, leaving=5)
    await workshop.store(TRADES, happened.keys() - set(lost[60:70]))
    await workshop.open_gap(TRADES, lost[0], lost[-1])
    repairer = await workshop.settle()

    assert await workshop.stored(TRADES) == happened
    assert await workshop.ledger(TRADES) == [GapRow(lost[0], lost[-1], "repaired", len(lost))]
    assert (repairer.counts.pages, repairer.counts.rows) == (1, 10)


async def test_repaired_row_says_when_it_was_fetched(workshop: Workshop) -> None:
    """`recv_ts` is the arrival of the answer, not of the message that was lost."""
    before = SystemClock().wall_ns()
    lost = middle(workshop.happened(TRADES), leaving=100)
    await workshop.open_gap(TRADES, lost[0], lost[-1])
    await workshop.settle()

    rows = await workshop.fetch("SELECT extract(epoch FROM min(recv_ts)) FROM spot.trades")
    assert float(rows[0][0]) * 1e9 >= before - 1_000


# --- crashes and trouble ----------------------------------------------------------------------------


class Hanging:
    """The history of an exchange that answers so many pages and then no more."""

    def __init__(self, history: History, pages: int) -> None:
        self._history, self._left = history, pages
        self.hangs = asyncio.Event()

    async def trades(self, symbol: str, *, from_id: int | None = None, limit: int = 1_000) -> list[Trade]:
        if not self._left:
            self.hangs.set()
            await asyncio.Event().wait()
        self._left -= 1
        return await self._history.trades(symbol, from_id=from_id, limit=limit)

    async def agg_trades(
        self, symbol: str, *, from_id: int | None = None, start_ms: int | None = None, limit: int = 1_000
    ) -> list[AggTrade]:
        raise NotImplementedError

    async def klines(self, symbol: str, interval: str, *, start_ms: int, limit: int = 1_000) -> list[Kline]:
        raise NotImplementedError


async def test_crash_between_pages_costs_no_row_and_no_page(workshop: Workshop) -> None:
    """The next shard goes on where the last one had got to."""
    happened = workshop.happened(TRADES)
    await workshop.open_gap(TRADES, min(happened), max(happened))
    history = Hanging(workshop.rest, 2)
    async with running(workshop.repairer(history)):
        async with asyncio.timeout(30):
            await history.hangs.wait()
    assert len(await workshop.stored(TRADES)) == 2 * PAGE_ROWS
    assert [row.state for row in await workshop.ledger(TRADES)] == ["open"]

    repairer = await workshop.settle()
    assert await workshop.stored(TRADES) == happened
    assert repairer.counts.rows == len(happened) - 2 * PAGE_ROWS
    assert [row.rows for row in await workshop.ledger(TRADES)] == [len(happened)]


class Flaky:
    """A database that is away now and then, before a batch or after its commit."""

    def __init__(self, sink: PostgresSink, fails: Callable[[int], str]) -> None:
        self._sink, self._fails, self._writes = sink, fails, 0
        self.session = sink.session

    async def write_again(self, batch: Batch) -> Written:
        self._writes += 1
        failure = self._fails(self._writes)
        if failure != "before":
            written = await self._sink.write_again(batch)
            if not failure:
                return written
        raise StoreUnavailable("away")


@pytest.mark.parametrize("failure", ["before", "after"])
async def test_write_of_unknown_outcome_is_looked_up(workshop: Workshop, failure: str) -> None:
    """Nothing is lost when it failed before the commit, nothing is twice when it failed after."""
    happened = workshop.happened(TRADES)
    await workshop.open_gap(TRADES, min(happened), max(happened))
    flaky = Flaky(workshop.sink, lambda write: failure if write in {2, 3} else "")
    repairer = await workshop.settle(workshop.repairer(store=flaky))

    assert await workshop.stored(TRADES) == happened
    assert repairer.counts.failures == 2
    assert [row.rows for row in await workshop.ledger(TRADES)] == [len(happened)]


@pytest.mark.parametrize(
    "fault",
    [
        faults.RestFault(status=429, code=-1003, retry_after_s=1, n=1),
        faults.RestFault(status=418, code=-1003, retry_after_s=1, n=1),
        faults.RestFault(status=503, n=3),
        faults.RestFault(silent=True, n=2),
        faults.RestFault(status=403, html=True, n=1),
        faults.RestFault(status=451, n=1),
        faults.RestFault(status=400, code=-1100, n=1),
    ],
    ids=["429", "418", "503", "hung-up", "403", "451", "refused"],
)
async def test_trouble_in_the_middle_is_waited_out(workshop: Workshop, fault: faults.RestFault) -> None:
    """The repair goes on afterwards, and breaks no limit of the exchange meanwhile."""
    happened = workshop.happened(TRADES)
    await workshop.open_gap(TRADES, min(happened), max(happened))
    history = Hanging(workshop.rest, 2)
    async with running(workshop.repairer(history)):
        async with asyncio.timeout(30):
            await history.hangs.wait()
    record = workshop.double.add_fault(fault)
    await workshop.settle()

    assert record.touched
    assert await workshop.stored(TRADES) == happened
    assert workshop.double.violations.total == 0


async def test_repairs_leave_their_share_of_weight_to_others(workshop: Workshop, tmp_path: Path) -> None:
    """When that is all that is left, the gap waits."""
    happened = workshop.happened(TRADES)
    await workshop.open_gap(TRADES, min(happened), max(happened))
    clock = SystemClock()
    budget = SharedBudget(
        tmp_path / "small", BudgetLimits(weight_per_min=300), clock=clock, rng=random.Random(1)
    )
    async with RestClient(workshop.double.rest_url, budget, clock=clock, history_leaves=200) as rest:
        repairer = workshop.repairer(rest, page_rows=10)
        async with running(repairer):
            await until(lambda: repairer.counts.pages > 1 and budget.used(Budget.WEIGHT) > 75)
            await budget.acquire(Budget.WEIGHT, 200, deadline_s=5)

        assert len(await workshop.stored(TRADES)) <= 40
    budget.close()


# --- what the exchange has not either ---------------------------------------------------------------


async def go_on(workshop: Workshop, more: int) -> None:
    """Let the market go on for some trades, and stand still again."""
    before = len(workshop.happened(TRADES))
    workshop.double.resume()
    await until(lambda: len(workshop.happened(TRADES)) > before + more)
    workshop.double.pause()


async def test_hole_of_the_exchanges_own_is_a_fact_of_its_own(workshop: Workshop) -> None:
    """What there is comes in, what there is not gets a row that says so."""
    before = max(workshop.happened(TRADES))
    workshop.double.skip_ids(BTC, "trade", 7)
    await go_on(workshop, 20)
    happened = workshop.happened(TRADES)
    first, last = min(happened), max(happened)
    await workshop.open_gap(TRADES, first, last)
    await workshop.settle()

    assert await workshop.stored(TRADES) == happened
    assert await workshop.ledger(TRADES) == [
        GapRow(first, last, "repaired", len(happened)),
        GapRow(before + 1, before + 7, "absent_at_exchange", 0),
    ]


async def test_gap_that_is_the_exchanges_own_is_absent_as_a_whole(workshop: Workshop) -> None:
    """Exactly what its streams show when the exchange leaves ids out."""
    before = max(workshop.happened(TRADES))
    workshop.double.skip_ids(BTC, "trade", 7)
    await go_on(workshop, 20)
    await workshop.open_gap(TRADES, before + 1, before + 7)
    await workshop.settle()

    assert await workshop.stored(TRADES) == {}
    assert await workshop.ledger(TRADES) == [GapRow(before + 1, before + 7, "absent_at_exchange", 0)]


class WithoutOneCandle:
    """The history of an exchange that has a hole in its candles."""

    def __init__(self, history: History, open_ms: int) -> None:
        self._history, self._open_us = history, open_ms * 1_000
        self.trades, self.agg_trades = history.trades, history.agg_trades

    async def klines(self, symbol: str, interval: str, *, start_ms: int, limit: int = 1_000) -> list[Kline]:
        found = await self._history.klines(symbol, interval, start_ms=start_ms, limit=limit)
        return [each for each in found if each.open_time_us != self._open_us]


async def test_candle_that_the_exchange_has_not_is_named_by_its_time(workshop: Workshop) -> None:
    """Its row of the ledger is bounded by opening times, as the gap's own."""
    await go_on(workshop, 1_500)
    opens = sorted(workshop.happened(CANDLES))
    assert len(opens) > 3
    await workshop.open_gap(CANDLES, opens[0], opens[-1])
    await workshop.settle(workshop.repairer(WithoutOneCandle(workshop.rest, opens[1])))

    assert sorted(await workshop.stored(CANDLES)) == [opens[0], *opens[2:]]
    assert await workshop.ledger(CANDLES) == [
        GapRow(opens[0], opens[-1], "repaired", len(opens) - 1),
        GapRow(opens[1], opens[1], "absent_at_exchange", 0),
    ]


async def test_exchange_that_lags_behind_its_streams_is_waited_for(workshop: Workshop) -> None:
    """Ids that its history does not reach yet are neither absent nor given up."""
    happened = workshop.happened(TRADES)
    last = max(happened) + 10
    await workshop.open_gap(TRADES, min(happened), last)
    repairer = workshop.repairer()
    async with running(repairer):
        await until(lambda: repairer.counts.pages > 6)
        assert [row.state for row in await workshop.ledger(TRADES)] == ["open"]
        await go_on(workshop, 20)
        await until_settled(workshop)

    happened = {each: digest for each, digest in workshop.happened(TRADES).items() if each <= last}
    assert await workshop.stored(TRADES) == happened
    assert [row.state for row in await workshop.ledger(TRADES)] == ["repaired"]


async def test_symbol_that_the_exchange_knows_no_longer_cannot_be_repaired(workshop: Workshop) -> None:
    """The ledger says why, and keeps what had come."""
    happened = sorted(workshop.happened(TRADES))
    await workshop.store(TRADES, happened[:20])
    await workshop.open_gap(TRADES, happened[0], happened[-1])
    workshop.double.delist(BTC)
    await workshop.settle()

    assert await workshop.ledger(TRADES) == [GapRow(happened[0], happened[-1], "unrepairable", 20)]
    ((note,),) = await workshop.fetch("SELECT note FROM ops.gaps")
    assert "-1121" in note


# --- which gap ---------------------------------------------------------------------------------------


async def test_newest_gap_is_repaired_first_and_only_one_of_our_own(workshop: Workshop) -> None:
    """By the time of what is missing; a stream of another shard is that one's business."""
    workshop.carried = (TRADES,)
    happened = sorted(workshop.happened(TRADES))
    others = sorted(workshop.happened(ETH_TRADES))
    await workshop.open_gap(TRADES, happened[0], happened[50])
    await workshop.open_gap(TRADES, happened[60], happened[100])
    await workshop.open_gap(ETH_TRADES, others[0], others[50])
    history = Hanging(workshop.rest, 2)
    async with running(workshop.repairer(history)):
        async with asyncio.timeout(30):
            await history.hangs.wait()

    assert [row.state for row in await workshop.ledger(TRADES)] == ["open", "repaired"]
    assert [row.state for row in await workshop.ledger(ETH_TRADES)] == ["open"]


async def test_swarm_of_small_gaps_costs_few_pages(workshop: Workshop) -> None:
    """Single lost frames of a stream are asked for together, and each is closed by itself."""
    happened = workshop.happened(TRADES)
    lost = set(middle(happened, leaving=3)[:120:3])
    await workshop.store(TRADES, happened.keys() - lost)
    for each in sorted(lost):
        await workshop.open_gap(TRADES, each, each)
    repairer = await workshop.settle()

    assert await workshop.stored(TRADES) == happened
    assert await workshop.ledger(TRADES) == [GapRow(each, each, "repaired", 1) for each in sorted(lost)]
    assert repairer.counts.pages <= 5


async def test_old_rows_get_the_partitions_of_their_days(workshop: Workshop) -> None:
    """A gap of days ago does not end in the net below the partitions."""
    happened = workshop.happened(TRADES)
    async with workshop.sink.session() as connection:
        for (name,) in await connection.fetch(
            "SELECT i.inhrelid::regclass::text FROM pg_inherits AS i"
            " WHERE i.inhparent = 'spot_raw.trades'::regclass AND i.inhrelid::regclass::text LIKE '%\\_p2%'"
        ):
            await connection.execute(f"DROP TABLE {name}")
    await workshop.open_gap(TRADES, min(happened), max(happened))
    await workshop.settle()

    assert await workshop.stored(TRADES) == happened
    ((left,),) = await workshop.fetch("SELECT count(*) FROM ONLY spot_raw.trades_default")
    assert left == 0


# --- whose gap ---------------------------------------------------------------------------------------


async def test_gap_of_a_stream_that_nobody_carries_is_repaired_by_one_shard(workshop: Workshop) -> None:
    """Its symbol is configured no more, the exchange still has it; a stream that is carried is left alone."""
    workshop.carried = (TRADES,)
    await workshop.publish(TRADES, ETH_TRADES)
    lost, others = sorted(workshop.happened(AGGS)), sorted(workshop.happened(ETH_TRADES))
    await workshop.open_gap(AGGS, lost[0], lost[-1])
    await workshop.open_gap(ETH_TRADES, others[0], others[-1])
    async with running(workshop.repairer()), running(workshop.repairer(orphans_of="spot")):
        await until_in_ledger(workshop, AGGS, "repaired")

    assert await workshop.stored(AGGS) == workshop.happened(AGGS)
    assert await workshop.ledger(AGGS) == [GapRow(lost[0], lost[-1], "repaired", len(lost))]
    assert [row.state for row in await workshop.ledger(ETH_TRADES)] == ["open"]


async def test_gap_of_a_delisted_symbol_is_given_up(workshop: Workshop) -> None:
    """Nobody carries it, and the exchange does not know it: the ledger says why it cannot be had."""
    workshop.carried = ()
    await workshop.publish(ETH_TRADES)
    lost = sorted(workshop.happened(TRADES))
    await workshop.open_gap(TRADES, lost[0], lost[-1])
    workshop.double.delist(BTC)
    await workshop.settle(workshop.repairer(orphans_of="spot"))

    assert await workshop.ledger(TRADES) == [GapRow(lost[0], lost[-1], "unrepairable", 0)]
    ((note,),) = await workshop.fetch("SELECT note FROM ops.gaps")
    assert "-1121" in note


async def test_nothing_is_nobodys_while_nobody_has_said_who_carries_what(workshop: Workshop) -> None:
    """The table of states is empty after a crash of the server; own gaps are repaired meanwhile."""
    workshop.carried = (TRADES,)
    lost, others = sorted(workshop.happened(TRADES)), sorted(workshop.happened(ETH_TRADES))
    await workshop.open_gap(ETH_TRADES, others[0], others[-1])
    await workshop.open_gap(TRADES, lost[0], lost[-1])
    async with running(workshop.repairer(orphans_of="spot")):
        await until_in_ledger(workshop, TRADES, "repaired")

    assert [row.state for row in await workshop.ledger(ETH_TRADES)] == ["open"]


async def test_own_gap_goes_before_one_that_is_nobodys(workshop: Workshop) -> None:
    """Even when what is missing of the latter is newer."""
    workshop.carried = (TRADES,)
    await workshop.publish(TRADES)
    lost, others = sorted(workshop.happened(TRADES)), sorted(workshop.happened(ETH_TRADES))
    await workshop.open_gap(TRADES, lost[0], lost[20])
    await workshop.open_gap(ETH_TRADES, others[-60], others[-1])
    history = Hanging(workshop.rest, 1)
    async with running(workshop.repairer(history, orphans_of="spot")):
        async with asyncio.timeout(30):
            await history.hangs.wait()

    assert [row.state for row in await workshop.ledger(TRADES)] == ["repaired"]
    assert [row.state for row in await workshop.ledger(ETH_TRADES)] == ["open"]


async def until_in_ledger(workshop: Workshop, key: StreamKey, state: str) -> None:
    async with asyncio.timeout(30):
        while [row.state for row in await workshop.ledger(key)] != [state]:
            await asyncio.sleep(0.05)
