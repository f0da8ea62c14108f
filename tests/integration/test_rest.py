"""The REST client against the exchange double: answers, weights, bans, and everything that goes wrong."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from ingest.binance.limits import UNKNOWN_SYMBOL, depth_weight
from ingest.binance.rest import RestClient
from ingest.clock import SystemClock
from ingest.errors import BudgetExhausted, LocationRefused, RateLimited, RestRefused, RestUnavailable
from ingest.feed.budget_file import Budget, BudgetLimits, SharedBudget
from ingest.sim import faults
from ingest.sim.market import MarketPlan
from ingest.sim.server import DoubleConfig, ExchangeDouble
from tests.integration.wire import until

DEADLINE_S = 30.0
NON_ASCII = "币安人生USDT"
SYMBOLS = ("BTCUSDT", "ETHUSDT", NON_ASCII)


@pytest.fixture
async def double() -> AsyncIterator[ExchangeDouble]:
    """A market of three symbols."""
    async with ExchangeDouble(DoubleConfig(market=MarketPlan(named=SYMBOLS))) as made:
        yield made


@pytest.fixture
async def budget(tmp_path: Path) -> AsyncIterator[SharedBudget]:
    made = SharedBudget(tmp_path / "budget", BudgetLimits(), clock=SystemClock(), rng=random.Random(1))
    yield made
    made.close()


@pytest.fixture
async def rest(double: ExchangeDouble, budget: SharedBudget) -> AsyncIterator[RestClient]:
    async with RestClient(double.rest_url, budget, clock=SystemClock(), timeout_s=1.0) as client:
        yield client


async def test_exchange_is_asked_whether_it_is_there(rest: RestClient, budget: SharedBudget) -> None:
    """For a weight of one."""
    await rest.server_time_ms()

    assert budget.used(Budget.WEIGHT) == 1
    assert budget.used(Budget.REQUESTS) == 1


@pytest.mark.parametrize("named", [None, [*SYMBOLS], [NON_ASCII]], ids=["all", "named", "non-ascii"])
async def test_instruments_are_listed(rest: RestClient, named: list[str] | None) -> None:
    """All, or those that are named, letters beyond ASCII included."""
    instruments = await rest.exchange_info(named)

    assert sorted(each.symbol for each in instruments) == sorted(named or SYMBOLS)
    assert {each.status for each in instruments} == {"TRADING"}


@pytest.mark.parametrize("named", [None, [NON_ASCII, "ETHUSDT"]])
async def test_statistics_of_the_day_are_read(rest: RestClient, named: list[str] | None) -> None:
    """Of all symbols, or of those that are named."""
    stats = await rest.day_stats(named)

    assert sorted(row.symbol for row in stats) == sorted(named or SYMBOLS)


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_book_is_read(rest: RestClient, budget: SharedBudget, symbol: str) -> None:
    """So many levels, best first, and its weight by their number."""
    book = await rest.depth(symbol, 100)

    assert (book.symbol, len(book.bids), len(book.asks)) == (symbol, 100, 100)
    assert float(book.bids[0][0]) < float(book.asks[0][0])
    assert budget.used(Budget.WEIGHT) == depth_weight(100)


async def test_past_is_read_page_by_page(
    rest: RestClient, budget: SharedBudget, double: ExchangeDouble
) -> None:
    """Trades, aggregate trades and candles from a place on, each for its weight."""
    await until(lambda: len(list(double.ledger.entries("BTCUSDT", "agg_trade"))) > 20)
    newest = (await rest.trades("BTCUSDT", limit=1))[0].trade_id
    trades = await rest.trades("BTCUSDT", from_id=newest - 5, limit=3)
    aggs = await rest.agg_trades("BTCUSDT", start_ms=trades[0].ts_us // 1_000, limit=2)
    later = await rest.agg_trades("BTCUSDT", from_id=aggs[0].agg_trade_id + 1, limit=1)
    candles = await rest.klines("BTCUSDT", "1m", start_ms=0, limit=1)

    assert [trade.trade_id for trade in trades] == [newest - 5, newest - 4, newest - 3]
    assert aggs[0].ts_us >= trades[0].ts_us
    assert [agg.agg_trade_id for agg in later] == [aggs[0].agg_trade_id + 1]
    assert [candle.interval for candle in candles] == ["1m"]
    assert budget.used(Budget.WEIGHT) == 25 + 25 + 4 + 4 + 2


async def test_questions_about_the_past_leave_weight_to_others(
    tmp_path: Path, double: ExchangeDouble
) -> None:
    """Where others are asked at once, they wait."""
    limits = BudgetLimits(weight_per_min=300)
    budget = SharedBudget(tmp_path / "small", limits, clock=SystemClock(), rng=random.Random(1))
    clock = SystemClock()
    try:
        await budget.acquire(Budget.WEIGHT, 60)
        async with RestClient(double.rest_url, budget, clock=clock, history_leaves=230) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await client.trades("BTCUSDT")
            assert await client.depth("BTCUSDT", 1_000)
    finally:
        budget.close()


async def test_what_others_of_this_address_use_is_observed(
    rest: RestClient, budget: SharedBudget, double: ExchangeDouble
) -> None:
    """The exchange's own count, from the answer's header, goes into the budget of all shards."""
    async with aiohttp.ClientSession() as somebody:
        for _ in range(3):
            async with somebody.get(f"{double.rest_url}/api/v3/depth?symbol=BTCUSDT&limit=5000") as answer:
                assert answer.status == 200
    await rest.server_time_ms()

    assert budget.used(Budget.WEIGHT) >= 3 * depth_weight(5000)


async def test_budget_that_is_used_up_is_not_overdrawn(tmp_path: Path, double: ExchangeDouble) -> None:
    """The question is not asked at all."""
    limits = BudgetLimits(weight_per_min=300)
    budget = SharedBudget(tmp_path / "small", limits, clock=SystemClock(), rng=random.Random(1))
    try:
        await budget.acquire(Budget.WEIGHT, 300)
        with pytest.raises(BudgetExhausted):
            await budget.acquire(Budget.WEIGHT, 5, deadline_s=0.1)
    finally:
        budget.close()

    assert double.violations.total == 0


@pytest.mark.parametrize(
    ("status", "retry_after_s", "wait_s"),
    [(429, 7, 7.0), (418, 90, 90.0), (429, None, 60.0), (418, None, 120.0)],
)
async def test_ban_is_taken_over_by_the_whole_address(
    tmp_path: Path,
    double: ExchangeDouble,
    rest: RestClient,
    status: int,
    retry_after_s: int | None,
    wait_s: float,
) -> None:
    """Every process that shares the budget is quiet for as long as the exchange says."""
    double.add_fault(faults.RestFault(status=status, code=-1003, retry_after_s=retry_after_s, n=1))
    with pytest.raises(RateLimited) as refused:
        await rest.depth("BTCUSDT", 100)

    assert (refused.value.status, refused.value.retry_after_s) == (status, wait_s)
    other = SharedBudget(tmp_path / "budget", BudgetLimits(), clock=SystemClock(), rng=random.Random(2))
    try:
        assert wait_s - 5 < other.banned_for_s() <= wait_s
    finally:
        other.close()


async def test_refused_location_is_named(double: ExchangeDouble, rest: RestClient) -> None:
    """HTTP 451 is not like other refusals."""
    double.add_fault(faults.RestFault(status=451))
    with pytest.raises(LocationRefused, match="451"):
        await rest.exchange_info()


@pytest.mark.parametrize(
    "fault",
    [
        faults.RestFault(status=403, html=True),
        faults.RestFault(status=500),
        faults.RestFault(status=502, html=True),
        faults.RestFault(status=504, code=-1007),
        faults.RestFault(silent=True),
    ],
    ids=["403-html", "500", "502-html", "504", "hung-up"],
)
async def test_trouble_that_may_pass_is_transient(
    double: ExchangeDouble, rest: RestClient, fault: faults.Fault
) -> None:
    """And once it has passed, the same client is answered."""
    record = double.add_fault(fault)
    with pytest.raises(RestUnavailable) as unavailable:
        await rest.depth("BTCUSDT", 100)
    assert unavailable.value.transient

    double.lift_fault(record.fault_id)
    assert (await rest.depth("BTCUSDT", 100)).symbol == "BTCUSDT"


async def test_answer_that_takes_too_long_is_given_up(double: ExchangeDouble, rest: RestClient) -> None:
    """Nobody waits longer than the deadline, and the next question is answered."""
    before = asyncio.all_tasks()
    double.add_fault(faults.RestFault(status=200, delay_s=3.0, n=1))
    with pytest.raises(RestUnavailable, match="depth: TimeoutError"):
        await rest.depth("BTCUSDT", 100)
    async with asyncio.timeout(DEADLINE_S):
        while asyncio.all_tasks() - before:  # the double is still at the first answer
            await asyncio.sleep(0.05)

    assert (await rest.depth("BTCUSDT", 100)).symbol == "BTCUSDT"


async def test_exchange_that_is_not_there_is_unavailable(budget: SharedBudget) -> None:
    """Nobody listens."""
    async with RestClient("http://127.0.0.1:1", budget, clock=SystemClock()) as client:
        with pytest.raises(RestUnavailable):
            await client.server_time_ms()


async def test_question_that_is_wrong_is_refused_for_good(rest: RestClient) -> None:
    """With whom it was about, the exchange's code and words; asking again cannot help."""
    with pytest.raises(RestRefused, match=r'exchangeInfo \["NOSUCHUSDT"\]: HTTP 400: -1121 Invalid'):
        await rest.exchange_info(["NOSUCHUSDT"])
    with pytest.raises(RestRefused, match=r"depth NOSUCHUSDT: HTTP 400: -1121 Invalid symbol") as refused:
        await rest.depth("NOSUCHUSDT", 100)

    assert not refused.value.transient
    assert refused.value.code == UNKNOWN_SYMBOL


async def test_client_is_used_inside_its_block_only(budget: SharedBudget) -> None:
    """Outside there is no connection."""
    with pytest.raises(RuntimeError):
        await RestClient("http://127.0.0.1:1", budget, clock=SystemClock()).server_time_ms()
