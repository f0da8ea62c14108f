"""The witnesses ask the exchange double through the real client: the same words on both sides of the wire."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from ingest.binance.rest import RestClient
from ingest.clock import SystemClock
from ingest.events import StreamKey
from ingest.feed.budget_file import Budget, BudgetLimits, SharedBudget
from ingest.sim import faults
from ingest.sim.market import MarketPlan
from ingest.sim.server import DoubleConfig, ExchangeDouble
from ingest.supervisor.witness import Quiet, Sight, Stale, Unknown, Verdict
from ingest.supervisor.witnesses import Witnesses

DEADLINE_S = 40.0
SYMBOLS = ("BTCUSDT", "ETHUSDT", "币安人生USDT")
NEVER_S = 1e6
CLOCK = SystemClock()


def key(symbol: str, kind: str = "trade") -> StreamKey:
    return StreamKey("spot", symbol, kind)


@pytest.fixture
async def double() -> AsyncIterator[ExchangeDouble]:
    """A market that has traded for a moment and then stands still."""
    market = MarketPlan(named=SYMBOLS, rate=2_000.0)
    async with ExchangeDouble(DoubleConfig(market=market)) as made:
        async with asyncio.timeout(DEADLINE_S):
            while any(made.ledger.series(symbol, "trade").last_id in {None, -1} for symbol in SYMBOLS):
                await asyncio.sleep(0.01)
        made.pause()
        yield made


@pytest.fixture
async def budget(tmp_path: Path) -> AsyncIterator[SharedBudget]:
    made = SharedBudget(tmp_path / "budget", BudgetLimits(), clock=CLOCK, rng=random.Random(1))
    yield made
    made.close()


@pytest.fixture
async def rest(double: ExchangeDouble, budget: SharedBudget) -> AsyncIterator[RestClient]:
    async with RestClient(double.rest_url, budget, clock=CLOCK, timeout_s=2.0) as client:
        yield client


class Hearing:
    """Silent streams whose newest ids the test says; looked at a few times a second."""

    def __init__(self, rest: RestClient, *, sweep_every_s: float = NEVER_S) -> None:
        self.verdicts: dict[StreamKey, Verdict] = {}
        self.witnesses = Witnesses(
            rest,
            clock=CLOCK,
            on_verdict=self.verdicts.__setitem__,
            on_healed=self.verdicts.__setitem__,
            sweep_every_s=sweep_every_s,
        )

    async def run(
        self, last_ids: Mapping[StreamKey, int], done: Callable[[], bool], *, suspects: bool = True
    ) -> None:
        """Until `done`; all streams are suspect, and have been silent for a minute."""
        moved_s = CLOCK.monotonic_s() - 60.0
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self.witnesses.run())
            async with asyncio.timeout(DEADLINE_S):
                self._see(last_ids, moved_s)
                if suspects:
                    self.witnesses.ask(last_ids)
                while not done():
                    self._see(last_ids, moved_s)
                    await asyncio.sleep(0.1)
            running.cancel()

    def _see(self, last_ids: Mapping[StreamKey, int], moved_s: float) -> None:
        now_s = CLOCK.monotonic_s()
        sights = {each: Sight(now_s, 7, moved_s, last_id) for each, last_id in last_ids.items()}
        self.witnesses.see(now_s, sights)


async def newest_ids(rest: RestClient) -> dict[str, int]:
    return {row.symbol: row.last_trade_id for row in await rest.day_stats()}


async def heard(
    rest: RestClient, last_ids: Mapping[StreamKey, int]
) -> tuple[Witnesses, Mapping[StreamKey, Verdict]]:
    hearing = Hearing(rest)
    await hearing.run(last_ids, lambda: hearing.verdicts.keys() == last_ids.keys())
    return hearing.witnesses, hearing.verdicts


async def test_silent_streams_are_told_apart_by_one_question(rest: RestClient, budget: SharedBudget) -> None:
    """One has all that the exchange has, one is behind; letters beyond ASCII are no hindrance."""
    ids = await newest_ids(rest)
    used = budget.used(Budget.WEIGHT)
    level, behind, foreign = (key(symbol) for symbol in SYMBOLS)
    _, verdicts = await heard(
        rest,
        {
            level: ids[level.symbol],
            behind: ids[behind.symbol] - 2,
            foreign: ids[foreign.symbol],
        },
    )

    assert [type(verdicts[each]) for each in (level, behind, foreign)] == [Quiet, Stale, Quiet]
    assert budget.used(Budget.WEIGHT) - used == 2


async def test_depth_is_compared_with_the_books_own_update_id(
    rest: RestClient, double: ExchangeDouble
) -> None:
    """Level and behind, by a snapshot of a few levels."""
    ids = {symbol: (await rest.depth(symbol, 5)).last_update_id for symbol in SYMBOLS}
    level, behind = key(SYMBOLS[0], "depth"), key(SYMBOLS[1], "depth")
    _, verdicts = await heard(rest, {level: ids[level.symbol], behind: ids[behind.symbol] - 1})

    assert [type(verdicts[each]) for each in (level, behind)] == [Quiet, Stale]


async def test_symbol_that_the_exchange_does_not_know_is_unknown_alone(rest: RestClient) -> None:
    """The others of the same question are judged all the same."""
    ids = await newest_ids(rest)
    gone, behind = key("GONEUSDT"), key("BTCUSDT")
    witnesses, verdicts = await heard(rest, {gone: 5, behind: ids["BTCUSDT"] - 1})

    assert verdicts[gone] == Unknown("the symbol is not in the answer")
    assert isinstance(verdicts[behind], Stale)
    assert witnesses.exchange_answers is True


@pytest.mark.parametrize(
    ("fault", "answers"),
    [
        (faults.RestFault(status=418, retry_after_s=120), None),
        (faults.RestFault(status=503), False),
        (faults.RestFault(silent=True), False),
    ],
    ids=["banned", "broken", "hung up"],
)
async def test_exchange_that_does_not_answer_makes_nothing_stale(
    rest: RestClient, double: ExchangeDouble, fault: faults.RestFault, answers: bool | None
) -> None:
    """Nor quiet: nobody can say, and why is told."""
    ids = await newest_ids(rest)
    double.add_fault(fault)
    witnesses, verdicts = await heard(rest, {key("BTCUSDT"): ids["BTCUSDT"] - 1})

    verdict = verdicts[key("BTCUSDT")]
    assert isinstance(verdict, Unknown)
    assert "REST could not be asked" in verdict.reason
    assert witnesses.exchange_answers is answers


async def test_sweep_finds_what_every_trade_stream_lacks(rest: RestClient) -> None:
    """With nobody suspect; our clock is compared with the exchange's on the way."""
    ids = await newest_ids(rest)
    hearing = Hearing(rest, sweep_every_s=0.2)
    last_ids = {key(symbol): ids[symbol] - lacking for lacking, symbol in enumerate(SYMBOLS)}
    await hearing.run(last_ids, lambda: hearing.witnesses.clock_offset_s is not None, suspects=False)

    assert hearing.witnesses.deficits == {symbol: lacking for lacking, symbol in enumerate(SYMBOLS)}
    assert hearing.witnesses.clock_offset_s == pytest.approx(0.0, abs=5.0)
    assert hearing.verdicts == {}


@pytest.mark.parametrize("named", [None, ["ETHUSDT"], [*SYMBOLS]], ids=["all", "one", "some"])
async def test_best_prices_are_read(
    rest: RestClient, double: ExchangeDouble, budget: SharedBudget, named: list[str] | None
) -> None:
    """Of all symbols, or of those that are named, as text, for the weight that the exchange counts."""
    rows = await rest.book_tickers(named)

    assert sorted(row.symbol for row in rows) == sorted(named or SYMBOLS)
    assert all(float(row.bid_price) < float(row.ask_price) for row in rows)
    assert budget.used(Budget.WEIGHT) == 4
    assert double.violations.total == 0


async def test_exchanges_clock_is_read(rest: RestClient, budget: SharedBudget) -> None:
    """In milliseconds since the epoch."""
    assert await rest.server_time_ms() == pytest.approx(CLOCK.wall_ns() / 1e6, abs=60_000)
    assert budget.used(Budget.WEIGHT) == 1


async def test_symbols_that_do_not_trade_are_listed_when_asked_for(
    rest: RestClient, double: ExchangeDouble
) -> None:
    """A halted symbol must not look like a delisted one."""
    double.set_status("ETHUSDT", "BREAK")

    async def statuses(*, only_trading: bool) -> dict[str, str]:
        instruments = await rest.exchange_info(only_trading=only_trading)
        return {each.symbol: each.status for each in instruments}

    assert (await statuses(only_trading=False))["ETHUSDT"] == "BREAK"
    assert set(await statuses(only_trading=True)) == set(SYMBOLS) - {"ETHUSDT"}
