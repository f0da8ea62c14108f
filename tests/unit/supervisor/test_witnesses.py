"""When the witnesses are asked, in which order, and what becomes of answers that do not come."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from random import Random

import pytest

from ingest.binance.parse import BestPrices, DayStats
from ingest.binance.rest import RestClient
from ingest.errors import (
    BudgetExhausted,
    IngestError,
    LocationRefused,
    RateLimited,
    RestRefused,
    RestUnavailable,
)
from ingest.events import DepthSnapshot, StreamKey
from ingest.feed.budget_file import BudgetLimits, SharedBudget
from ingest.supervisor.witness import Quiet, Sight, Stale, Unknown, Verdict
from ingest.supervisor.witnesses import Witnesses
from tests.plugin_async import LoopClock

pytestmark = pytest.mark.virtual_time

BTC, ETH = "BTCUSDT", "ETHUSDT"


_PROMPTLY_S = 5.0
"""In virtual time: what is in flight is waited for, and the streams are looked at once a second."""


def key(symbol: str = BTC, kind: str = "trade") -> StreamKey:
    return StreamKey("spot", symbol, kind)


class ScriptedRest(RestClient):
    """An exchange of which every number is set by the test."""

    def __init__(self, budget: SharedBudget) -> None:
        super().__init__("http://nowhere.invalid", budget, clock=LoopClock())
        self.banning = budget
        self.trade_ids: dict[str, int] = {BTC: 100, ETH: 200}
        self.update_ids: dict[str, int] = {}
        self.prices: dict[str, str] = {BTC: "1.0", ETH: "2.0"}
        self.errors: dict[str, IngestError] = {}
        """What a call raises, by its name."""
        self.hanging: set[str] = set()
        self.calls: list[tuple[str, list[str] | None]] = []

    async def _called(self, name: str, symbols: Sequence[str] | None) -> None:
        self.calls.append((name, None if symbols is None else list(symbols)))
        if name in self.hanging:
            await asyncio.sleep(290)
        if name in self.errors:
            raise self.errors[name]
        unknown = set(symbols or ()) - self.trade_ids.keys()
        if unknown:
            raise RestRefused(f"-1121 Invalid symbol: {unknown}")

    async def day_stats(self, symbols: Sequence[str] | None = None) -> list[DayStats]:
        await self._called("day_stats", symbols)
        wanted = self.trade_ids if symbols is None else symbols
        return [DayStats(symbol, 1, self.trade_ids[symbol], "1") for symbol in wanted]

    async def book_tickers(self, symbols: Sequence[str] | None = None) -> list[BestPrices]:
        await self._called("book_tickers", symbols)
        wanted = self.trade_ids if symbols is None else symbols
        return [BestPrices(symbol, self.prices[symbol], "1", "9", "1") for symbol in wanted]

    async def depth(self, symbol: str, limit: int) -> DepthSnapshot:
        await self._called("depth", [symbol])
        return DepthSnapshot(symbol, self.update_ids.get(symbol, 1), 0, [], [], "resync", 0)

    async def server_time_ms(self) -> int:
        await self._called("time", None)
        return LoopClock().wall_ns() // 1_000_000 - 250

    def asked(self, name: str) -> list[list[str] | None]:
        return [symbols for called, symbols in self.calls if called == name]


class Hearing:
    """Witnesses in front of streams whose messages the test counts; a tick each second."""

    def __init__(self, rest: ScriptedRest, *, sweep_every_s: float = 1e6) -> None:
        self.rest = rest
        self.verdicts: list[tuple[StreamKey, Verdict]] = []
        self.healed: list[tuple[StreamKey, Verdict]] = []
        self.streams: dict[StreamKey, Sight] = {}
        self.witnesses = Witnesses(
            rest,
            clock=LoopClock(),
            on_verdict=lambda key, verdict: self.verdicts.append((key, verdict)),
            on_healed=lambda key, verdict: self.healed.append((key, verdict)),
            sweep_every_s=sweep_every_s,
        )

    def has(self, *keys: StreamKey, last_id: int = -1, moved_s: float = -100.0) -> None:
        for each in keys:
            self.streams[each] = Sight(0.0, 1, moved_s, last_id)

    def speaks(self, each: StreamKey, last_id: int | None = None) -> None:
        """A message, now."""
        sight = self.streams[each]
        self.streams[each] = sight._replace(
            messages=sight.messages + 1,
            moved_s=LoopClock().monotonic_s(),
            last_id=sight.last_id if last_id is None else last_id,
        )

    def tick(self) -> None:
        """Sights that have not moved are those of before, as the service has them."""
        self.witnesses.see(LoopClock().monotonic_s(), dict(self.streams))

    async def tick_on(self) -> None:
        while True:
            self.tick()
            await asyncio.sleep(1.0)

    async def for_s(
        self, seconds: float, *suspects: StreamKey, since_s: Mapping[StreamKey, float] | None = None
    ) -> None:
        """Run for so long; the suspects are asked about once there is something to compare with."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.tick_on()), group.create_task(self.witnesses.run())]
            await asyncio.sleep(9.5)  # the first sweep is over
            self.rest.calls.clear()
            if suspects:
                self.witnesses.ask(suspects)
            if since_s:
                self.witnesses.ask_whether_healed(since_s)
            await asyncio.sleep(seconds)
            for task in tasks:
                task.cancel()

    def verdict(self, each: StreamKey) -> Verdict:
        return dict(self.verdicts)[each]


@pytest.fixture
async def rest(tmp_path: Path) -> AsyncIterator[ScriptedRest]:
    budget = SharedBudget(tmp_path / "budget", BudgetLimits(), clock=LoopClock(), rng=Random(1))
    yield ScriptedRest(budget)
    budget.close()


# --- suspects ---


@pytest.mark.parametrize(("last_id", "verdict"), [(100, Quiet), (98, Stale)])
async def test_suspect_is_judged_by_rest(rest: ScriptedRest, last_id: int, verdict: type) -> None:
    """Named in the question, alone, and pronounced once."""
    hearing = Hearing(rest)
    hearing.has(key(), last_id=last_id)
    await hearing.for_s(5, key())

    assert rest.calls == [("day_stats", [BTC])]
    assert [(each, type(said)) for each, said in hearing.verdicts] == [(key(), verdict)]
    assert hearing.witnesses.exchange_answers is True


async def speaks_on(hearing: Hearing, each: StreamKey, *, behind: int = 0) -> None:
    """A trade each second, of which REST tells so many trades later."""
    for last_id in range(1_000, 2_000):
        hearing.speaks(each, last_id)
        hearing.rest.trade_ids[each.symbol] = last_id - behind
        await asyncio.sleep(1.0)


@pytest.mark.parametrize(("behind", "verdict"), [(0, Quiet), (1, Quiet), (30, Unknown)])
async def test_cached_answer_about_a_suspect_is_found_out_by_a_symbol_that_trades(
    rest: ScriptedRest, behind: int, verdict: type
) -> None:
    """A rare symbol's id looks the same in an old answer, so a busy one is named with it.

    REST may trail the streams by a moment; that is no cache.
    """
    hearing = Hearing(rest)
    hearing.has(key(), last_id=100)
    hearing.has(key(ETH), last_id=999)
    async with asyncio.TaskGroup() as group:
        speaking = group.create_task(speaks_on(hearing, key(ETH), behind=behind))
        await hearing.for_s(5, key())
        speaking.cancel()

    assert rest.asked("day_stats") == [[BTC, ETH]]
    assert isinstance(hearing.verdict(key()), verdict)


async def test_question_is_not_made_dearer_by_a_busy_symbol(rest: ScriptedRest) -> None:
    """Twenty names cost as little as one, and one more costs as much as all."""
    names = [f"S{number}USDT" for number in range(20)]
    rest.trade_ids |= dict.fromkeys(names, 5)
    hearing = Hearing(rest)
    hearing.has(*(key(name) for name in names), last_id=5)
    hearing.has(key(ETH), last_id=999)
    async with asyncio.TaskGroup() as group:
        speaking = group.create_task(speaks_on(hearing, key(ETH)))
        await hearing.for_s(5, *(key(name) for name in names))
        speaking.cancel()

    assert rest.asked("day_stats") == [sorted(names)]


async def test_speaking_sibling_is_enough_and_rest_is_not_asked(rest: ScriptedRest) -> None:
    """What costs nothing is said at once."""
    hearing = Hearing(rest)
    hearing.has(key(), key(kind="agg_trade"))
    hearing.speaks(key(kind="agg_trade"))
    await hearing.for_s(0.1, key())

    assert isinstance(hearing.verdict(key()), Stale)
    assert rest.calls == []


async def test_speaking_sibling_is_heard_while_rest_keeps_us_waiting(rest: ScriptedRest) -> None:
    """A question under way, or a ban, delays nobody who needs no answer."""
    rest.hanging = {"day_stats"}
    hearing = Hearing(rest)
    hearing.has(key(), key(ETH), key(ETH, "agg_trade"))
    hearing.speaks(key(ETH, "agg_trade"))
    hearing.witnesses.ask([key()])
    await hearing.for_s(0.1, key(ETH))

    assert isinstance(hearing.verdict(key(ETH)), Stale)


async def test_many_suspects_cost_one_question_for_all(rest: ScriptedRest) -> None:
    """More names than a short question takes are asked for without names."""
    names = [f"S{number}USDT" for number in range(30)]
    rest.trade_ids = dict.fromkeys(names, 5)
    hearing = Hearing(rest)
    hearing.has(*(key(name) for name in names), last_id=5)
    await hearing.for_s(5, *(key(name) for name in names))

    assert rest.asked("day_stats") == [None]
    assert {type(verdict) for _, verdict in hearing.verdicts} == {Quiet}
    assert len(hearing.verdicts) == 30


async def test_stream_that_speaks_while_it_is_judged_is_unknown(rest: ScriptedRest) -> None:
    """The question has fallen away."""
    hearing = Hearing(rest)
    hearing.has(key(), last_id=99)
    rest.errors = {}

    async def speak() -> None:
        await asyncio.sleep(10.2)
        hearing.speaks(key(), 100)

    async with asyncio.TaskGroup() as group:
        group.create_task(speak())
        await hearing.for_s(5, key())

    assert hearing.verdict(key()) == Unknown("the stream has moved meanwhile")


async def test_symbol_that_is_not_listed_any_more_does_not_silence_the_others(rest: ScriptedRest) -> None:
    """One unknown name has all names refused; without names the others are answered."""
    hearing = Hearing(rest)
    hearing.has(key(), last_id=98)
    hearing.has(key("GONEUSDT"), last_id=7)
    hearing.has(key("GONEUSDT", "book_ticker"))
    hearing.has(key("GONEUSDT", "depth"), last_id=7)
    await hearing.for_s(5, *hearing.streams)

    assert isinstance(hearing.verdict(key()), Stale)
    assert hearing.verdict(key("GONEUSDT")) == Unknown("the symbol is not in the answer")
    assert isinstance(hearing.verdict(key("GONEUSDT", "depth")), Unknown)
    assert hearing.witnesses.exchange_answers is True


async def test_best_prices_are_compared_from_the_second_question_on(rest: ScriptedRest) -> None:
    """The first one after the newest message finds nothing to compare with."""
    hearing = Hearing(rest)
    hearing.has(key(kind="book_ticker"), moved_s=4.0)
    await hearing.for_s(5, key(kind="book_ticker"))
    assert isinstance(hearing.verdict(key(kind="book_ticker")), Unknown)

    rest.prices[BTC] = "1.1"
    await hearing.for_s(5, key(kind="book_ticker"))
    assert isinstance(hearing.verdict(key(kind="book_ticker")), Stale)


async def test_repaired_stream_is_judged_by_what_came_since(rest: ScriptedRest) -> None:
    """Its id stays behind; two answers without a trade between them heal it, one with a trade does not."""
    hearing = Hearing(rest)
    hearing.has(key(), last_id=90)
    for _ in range(2):
        await hearing.for_s(5, since_s={key(): -50.0})
    rest.trade_ids[BTC] += 1
    await hearing.for_s(5, since_s={key(): -50.0})

    assert [type(verdict) for _, verdict in hearing.healed] == [Quiet, Quiet, Stale]
    assert hearing.verdicts == []


# --- depth, one symbol at a time ---

MANY = [f"S{number}USDT" for number in range(7)]


async def test_depth_of_every_symbol_gets_its_turn(rest: ScriptedRest) -> None:
    """A few in each question, those first whose turn is longest ago."""
    rest.trade_ids = dict.fromkeys(MANY, 5)
    rest.prices = dict.fromkeys(MANY, "1.0")
    hearing = Hearing(rest)
    suspects = [key(name, "depth") for name in MANY]
    hearing.has(*suspects, last_id=1)
    asked = set()
    for _ in range(2):
        await hearing.for_s(5, *suspects)
        asked |= {symbols[0] for symbols in rest.asked("depth") if symbols}

    assert asked == set(MANY)


async def test_old_answer_on_depth_proves_nothing_in_a_later_question(rest: ScriptedRest) -> None:
    """Equal to our id as it may be, it says nothing of the time since it was asked."""
    rest.trade_ids = dict.fromkeys(MANY, 5)
    rest.prices = dict.fromkeys(MANY, "1.0")
    hearing = Hearing(rest)
    suspects = [key(name, "depth") for name in MANY]
    hearing.has(*suspects, last_id=1)
    await hearing.for_s(5, *suspects)
    begun_s = LoopClock().monotonic_s()
    hearing.verdicts.clear()
    await hearing.for_s(5, *suspects)

    proofs = [verdict.at_s for _, verdict in hearing.verdicts if isinstance(verdict, Quiet)]
    assert len(proofs) == 5
    assert min(proofs) > begun_s


# --- answers that do not come ---


@pytest.mark.parametrize(
    ("error", "answers"),
    [
        (RestUnavailable("day_stats: HTTP 503"), False),
        (RateLimited(418, 120.0), None),
        (BudgetExhausted("no room"), None),
        (RestRefused("HTTP 400"), None),
    ],
)
async def test_unheard_rest_is_the_reason_for_unknown(
    rest: ScriptedRest, error: IngestError, answers: bool | None
) -> None:
    """Only an exchange that did not answer counts as one; our own limits say nothing of it."""
    rest.errors = {"day_stats": error}
    hearing = Hearing(rest)
    hearing.has(key(), last_id=98)
    await hearing.for_s(5, key())

    assert hearing.verdict(key()) == Unknown(f"REST could not be asked: {error}")
    assert hearing.witnesses.exchange_answers is answers


async def test_wait_for_weight_has_a_deadline(rest: ScriptedRest) -> None:
    """During a ban suspects are told that nobody can say, long before the ban is over."""
    rest.hanging = {"day_stats"}
    hearing = Hearing(rest)
    hearing.has(key(), last_id=98)
    await hearing.for_s(40, key())

    assert isinstance(hearing.verdict(key()), Unknown)
    assert hearing.witnesses.exchange_answers is None


async def test_refused_location_is_not_heard_and_ends_nothing(rest: ScriptedRest) -> None:
    """REST that refuses the place (HTTP 451) does not take down feeds that receive."""
    rest.errors = {"day_stats": LocationRefused("HTTP 451")}
    hearing = Hearing(rest)
    hearing.has(key(), last_id=98)
    await hearing.for_s(60, key())

    assert isinstance(hearing.verdict(key()), Unknown)


# --- bans ---


async def test_sweep_comes_with_the_end_of_a_ban(rest: ScriptedRest) -> None:
    """For all who were suspect meanwhile and nobody is asked before, whatever the period of the sweep."""
    hearing = Hearing(rest, sweep_every_s=600)
    hearing.has(key(), last_id=98)
    hearing.has(key(ETH), last_id=200)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(hearing.for_s(160, key()))
        await asyncio.sleep(9.0)
        await rest.banning.ban(120.0)
        await asyncio.sleep(60.0)
        hearing.witnesses.ask([key(ETH)])
        await asyncio.sleep(59.9)
        assert (rest.calls, hearing.verdicts) == ([], [])
        assert hearing.witnesses.exchange_answers is None
        await asyncio.sleep(_PROMPTLY_S)
        assert (rest.asked("day_stats"), hearing.witnesses.swept_s is not None) == ([None], True)
        await running

    assert isinstance(hearing.verdict(key()), Stale)
    assert isinstance(hearing.verdict(key(ETH)), Quiet)


async def test_ban_that_a_sweep_runs_into_is_followed_by_a_sweep(rest: ScriptedRest) -> None:
    """The question is over at once, and asked again as soon as it may be."""
    hearing = Hearing(rest, sweep_every_s=600)
    hearing.has(key(), last_id=97)
    original = rest.day_stats

    async def banned(symbols: Sequence[str] | None = None) -> list[DayStats]:
        rest.day_stats = original  # type: ignore[method-assign]
        await rest.banning.ban(120.0)
        raise RateLimited(418, 120.0)

    rest.day_stats = banned  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as group:
        running = group.create_task(hearing.for_s(150))
        await asyncio.sleep(124.0)  # the first sweep is at the fifth second
        assert (rest.calls, hearing.witnesses.deficits) == ([], {})
        await asyncio.sleep(1.0 + _PROMPTLY_S)
        assert hearing.witnesses.deficits == {BTC: 3}
        await running


async def test_speaking_sibling_is_heard_during_a_ban(rest: ScriptedRest) -> None:
    """It costs no question."""
    await rest.banning.ban(600.0)
    hearing = Hearing(rest)
    hearing.has(key(), key(kind="agg_trade"))
    hearing.speaks(key(kind="agg_trade"))
    await hearing.for_s(0.1, key())

    assert isinstance(hearing.verdict(key()), Stale)


async def test_sweep_without_room_in_the_budget_is_tried_again_soon(rest: ScriptedRest) -> None:
    """Those who wait for weight after a ban do not cost the audit a whole period."""
    rest.hanging = {"day_stats"}
    hearing = Hearing(rest, sweep_every_s=600)
    hearing.has(key(), last_id=97)

    async def make_room() -> None:
        await asyncio.sleep(50.0)
        rest.hanging = set()

    async with asyncio.TaskGroup() as group:
        group.create_task(make_room())
        await hearing.for_s(65)

    assert hearing.witnesses.deficits == {BTC: 3}


# --- the sweep ---


async def test_sweep_tells_the_deficit_of_every_trade_stream(rest: ScriptedRest) -> None:
    """Without any suspect, within the first seconds and then once in its period."""
    hearing = Hearing(rest, sweep_every_s=60)
    hearing.has(key(), last_id=97)
    hearing.has(key(ETH), last_id=200)
    await hearing.for_s(65)

    assert hearing.witnesses.deficits == {BTC: 3, ETH: 0}
    assert hearing.witnesses.exchange_moves
    assert rest.asked("day_stats") == [None]
    assert hearing.witnesses.clock_offset_s == pytest.approx(0.25, abs=0.01)


async def test_sweep_hears_the_best_prices_that_a_mute_stream_is_compared_with(rest: ScriptedRest) -> None:
    """A change before the first question is seen, long before the one that is asked in the end."""
    hearing = Hearing(rest, sweep_every_s=60)
    hearing.has(key(kind="book_ticker"))
    await hearing.for_s(5)
    rest.prices[BTC] = "1.1"
    await hearing.for_s(600)
    await hearing.for_s(5, key(kind="book_ticker"))

    assert isinstance(hearing.verdict(key(kind="book_ticker")), Stale)


async def test_sweep_asks_for_no_prices_that_nobody_is_compared_with(rest: ScriptedRest) -> None:
    """Without a book ticker or a book under watch the weight is saved."""
    hearing = Hearing(rest, sweep_every_s=60)
    hearing.has(key(), last_id=100)
    await hearing.for_s(65)

    assert rest.asked("book_tickers") == []


async def test_sweep_is_not_put_off_by_suspects(rest: ScriptedRest) -> None:
    """There may always be somebody suspect; the audit comes in its time all the same."""
    hearing = Hearing(rest, sweep_every_s=10)
    hearing.has(key(), last_id=100)

    async def suspect() -> None:
        for _ in range(600):
            hearing.witnesses.ask([key()])
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        group.create_task(suspect())
        await hearing.for_s(53.5)

    assert 4 <= rest.asked("day_stats").count(None) <= 7
    assert {type(verdict) for _, verdict in hearing.verdicts} == {Quiet}


async def test_outdated_sweep_finds_no_deficit(rest: ScriptedRest) -> None:
    """A cached answer from before our newest trades says nothing of those to come."""
    names = [f"S{number}USDT" for number in range(4)]
    rest.trade_ids = dict.fromkeys(names, 9_000)
    hearing = Hearing(rest, sweep_every_s=8)
    hearing.has(*(key(name) for name in names), last_id=10_000)

    async def speak() -> None:
        for last_id in range(10_001, 10_300):
            await asyncio.sleep(0.05)
            for name in names:
                hearing.speaks(key(name), last_id)
            hearing.tick()

    original = rest.day_stats

    async def slowly(symbols: Sequence[str] | None = None) -> list[DayStats]:
        await asyncio.sleep(0.5)
        return await original(symbols)

    rest.day_stats = slowly  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as group:
        group.create_task(speak())
        await hearing.for_s(6)

    assert rest.asked("day_stats")
    assert hearing.witnesses.deficits == {}


@pytest.mark.parametrize(
    "error",
    [RestUnavailable("503"), RateLimited(429, 1.0), BudgetExhausted("none"), RestRefused("HTTP 400")],
)
async def test_clock_that_cannot_be_compared_costs_nothing_else(
    rest: ScriptedRest, error: IngestError
) -> None:
    """The sweep's result stands, and what was known of the clock too."""
    rest.errors = {"time": error}
    hearing = Hearing(rest, sweep_every_s=5)
    hearing.has(key(), last_id=97)
    await hearing.for_s(3)

    assert hearing.witnesses.deficits == {BTC: 3}
    assert hearing.witnesses.clock_offset_s is None
