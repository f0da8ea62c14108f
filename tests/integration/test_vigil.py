"""What is learned outlives the service, and the exchange's list is followed: against a real database."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import cast

import pytest
from structlog.testing import capture_logs

from ingest.binance.parse import Instrument
from ingest.binance.rest import RestClient
from ingest.board.layout import StreamState
from ingest.clock import SystemClock
from ingest.config import Settings
from ingest.errors import RestUnavailable, StoreUnavailable
from ingest.events import Market, StreamKey
from ingest.feed.budget_file import SharedBudget
from ingest.store.postgres import PostgresSink
from ingest.store.publish import StreamRow
from ingest.store.rhythms import StoredRhythm, load_rhythms, save_rhythms
from ingest.supervisor.fleet import Fleet
from ingest.supervisor.freshness import ServiceFacts, ShardFacts
from ingest.supervisor.incidents import IncidentLog
from ingest.supervisor.rhythm import RhythmRecord
from ingest.supervisor.vigil import Vigil, forget_former_streams, load_records
from ingest.supervisor.watched import Reading
from tests.integration.wire import until
from tests.rows import NOW_US

BTC, ETH, NEW = (StreamKey("spot", symbol, "trade") for symbol in ("BTCUSDT", "ETHUSDT", "NEWUSDT"))
CLOCK = SystemClock()
TOP: Mapping[str, object] = {"symbols": {"quote": ["USDT"], "top": 1}, "kinds": ["trade"]}
ALL: Mapping[str, object] = {"symbols": "*", "kinds": ["trade"]}
NO_FACTS = ServiceFacts(now_wall_ns=0, now_monotonic_ns=0, shards=())


def listed(*symbols: str, **status: str) -> list[Instrument]:
    return [
        Instrument(symbol, status.get(symbol, "TRADING"), symbol[:-4], "USDT", "0.01", "0.00001")
        for symbol in symbols
    ]


class ListingRest(RestClient):
    """Answers with the list that the test says."""

    def __init__(self) -> None:
        super().__init__("http://nowhere.invalid", cast(SharedBudget, None), clock=CLOCK)
        self.instruments: list[Instrument] = []
        self.is_away = False
        self.asked = 0

    def banned_for_s(self) -> float:
        return 0.0

    async def exchange_info(
        self, symbols: Sequence[str] | None = None, *, only_trading: bool = True
    ) -> list[Instrument]:
        self.asked += 1
        if self.is_away:
            raise RestUnavailable("exchangeInfo: HTTP 503")
        return [each for each in self.instruments if not only_trading or each.status == "TRADING"]


class NotedFleet(Fleet):
    """Streams without shards; remembers what was asked of it."""

    def __init__(self, settings: Settings, *streams: StreamKey) -> None:
        super().__init__((), settings, {})
        self.carried = list(streams)
        self.adopted: list[tuple[list[StreamKey], Mapping[str, int]]] = []
        self.evacuated: list[int] = []
        self.readmitted: list[int] = []

    @property
    def streams(self) -> list[StreamKey]:
        return self.carried

    def adopt(
        self,
        streams: Sequence[StreamKey],
        symbol_ids: Mapping[str, int],
        *,
        but_not: int = -1,
        line: int = 1,
    ) -> bool:
        self.adopted.append(([*streams], symbol_ids))
        self.carried += streams
        return True

    def drop(self, symbols: Sequence[str]) -> list[StreamKey]:
        gone = [key for key in self.carried if key.symbol in symbols]
        self.carried = [key for key in self.carried if key.symbol not in symbols]
        return gone

    def evacuate(self, shard: int) -> None:
        self.evacuated.append(shard)

    def readmit(self, shard: int) -> None:
        self.readmitted.append(shard)


class Scene:
    """A vigil of its own, over the test's database."""

    def __init__(
        self,
        sink: PostgresSink,
        *streams: StreamKey,
        spot: Mapping[str, object] = ALL,
        records: Mapping[StreamKey, RhythmRecord] | None = None,
        facts: ServiceFacts = NO_FACTS,
    ) -> None:
        # The shortest period that may be configured would still be long: tests look by themselves.
        self.settings = Settings.model_validate({"spot": spot, "silence": {"fixed_s": {"ETHUSDT:trade": 7}}})
        self.rest = ListingRest()
        self.fleet = NotedFleet(self.settings, *streams)
        self.vigil = Vigil(
            self.settings,
            self.fleet,
            rest=self.rest,
            sink=sink,
            incidents=IncidentLog(sink.session, clock=CLOCK, rng=random.Random(1)),
            facts=lambda: facts,
            records=records or {},
            clock=CLOCK,
        )

    async def look(self, *instruments: Instrument) -> None:
        self.rest.instruments = [*instruments]
        await self.vigil._look_at_listing()

    def learn(self, seconds: int, *, every_s: int, key: StreamKey = BTC) -> None:
        """The stream speaks at this pace, by a clock of the test's own."""
        for now_s in range(1, seconds):
            reading = Reading(0, 0, now_s // every_s, (1, 0), is_up=True)
            self.vigil.sentinel.watch.tick(float(now_s), {key: reading})

    def threshold_s(self, key: StreamKey = BTC) -> float:
        watch = self.vigil.sentinel.watch
        watch.tick(1.0, {key: Reading(0, 0, 1, (1, 0), is_up=True)})
        return watch.streams[key].rhythm.threshold_s


@pytest.fixture
async def sink(migrated_url: str) -> AsyncIterator[PostgresSink]:
    """A sink on a database of the test's own."""
    async with PostgresSink.opened(migrated_url, connections=2) as opened:
        yield opened


async def fetch(sink: PostgresSink, query: str) -> list[tuple[object, ...]]:
    async with sink.session() as connection:
        return [tuple(row) for row in await connection.fetch(query)]


# --- rhythms ---


async def test_rhythms_are_read_back_as_they_were_saved(sink: PostgresSink) -> None:
    """Oldest period first, the newest state of each stream; what is derived is made anew."""
    first = StoredRhythm(BTC, (1.5, 2.25), (30, 31), 61, 9.0, "9 s = 4 x 2.25 s")
    empty = StoredRhythm(ETH, (), (), 0, 900.0, "cold")
    newer = first._replace(quantiles_s=(1.5, 2.25, 0.1), gaps=(30, 31, 900), messages=2**40)
    async with sink.session() as connection:
        await save_rhythms(connection, [first, empty])
        await save_rhythms(connection, [newer])
        rows = {row.key: row for row in await load_rhythms(connection)}

    assert rows == {
        BTC: newer._replace(threshold_s=0.0, explanation=""),
        ETH: empty._replace(threshold_s=0.0, explanation=""),
    }
    assert await load_records(sink) == {
        BTC: RhythmRecord(newer.quantiles_s, newer.gaps, newer.messages),
        ETH: RhythmRecord(),
    }
    assert await fetch(
        sink, "SELECT threshold_s, explanation FROM ops.stream_rhythms WHERE symbol = 'BTCUSDT'"
    ) == [(9.0, "9 s = 4 x 2.25 s")]


async def test_restart_does_not_forget_what_was_learned(sink: PostgresSink) -> None:
    """The next service starts with the threshold that the last one had come to."""
    before = Scene(sink, BTC)
    before.learn(2_000, every_s=4)
    learned_s = before.vigil.sentinel.watch.streams[BTC].rhythm.threshold_s
    await before.vigil.save()

    cold, after = Scene(sink, BTC), Scene(sink, BTC, records=await load_records(sink))
    assert after.threshold_s() == learned_s == 16.0
    assert cold.threshold_s() == 900.0
    ((explained, threshold_s),) = await fetch(sink, "SELECT explanation, threshold_s FROM ops.stream_rhythms")
    assert threshold_s == learned_s
    assert "4 x 4" in str(explained)


async def test_fixed_threshold_is_fixed_whatever_was_learned(sink: PostgresSink) -> None:
    """By symbol and kind."""
    scene = Scene(sink, ETH)
    scene.learn(2_000, every_s=4, key=ETH)

    assert scene.vigil.sentinel.watch.streams[ETH].rhythm.threshold_s == 7.0


async def test_stream_has_its_threshold_before_it_is_looked_at(sink: PostgresSink) -> None:
    """Learned, fixed, or the ceiling: never none, which every age would be past."""
    scene = Scene(sink, BTC, ETH, NEW, records={BTC: RhythmRecord((2.5,), (30,), 30)})
    judged = scene.vigil.judgements()

    assert {key: judgement.threshold_s for key, judgement in judged.items()} == {
        BTC: 10.0,
        ETH: 7.0,
        NEW: 900.0,
    }
    assert {judgement.state for judgement in judged.values()} == {StreamState.STARTING}
    assert scene.threshold_s() == 10.0


@pytest.mark.parametrize(
    ("quantiles", "gaps", "messages"),
    [
        ("{1,NaN}", "{30,30}", 60),
        ("{-1}", "{30}", 30),
        ("{Infinity}", "{30}", 30),
        ("{1,2}", "{30}", 30),
        ("{1}", "{0}", 30),
        ("{1}", "{30}", -1),
        ("{NULL}", "{30}", 30),
        ("{1}", "{NULL}", 30),
        ("{{1,2},{3,4}}", "{30,30}", 30),
    ],
)
async def test_damaged_rhythm_is_told_ignored_and_overwritten(
    sink: PostgresSink, quantiles: str, gaps: str, messages: int
) -> None:
    """Its stream begins cold; the others keep what they know, and nothing ends."""
    async with sink.session() as connection:
        await save_rhythms(connection, [StoredRhythm(key, (2.0,), (30,), 60, 8.0, "") for key in (BTC, NEW)])
        await connection.execute(
            "UPDATE ops.stream_rhythms SET quantiles_s = $1::text::float8[], gaps = $2::text::bigint[],"
            " messages = $3 WHERE symbol = 'BTCUSDT'",
            quantiles,
            gaps,
            messages,
        )
    with capture_logs() as told:
        records = await load_records(sink)
    scene = Scene(sink, BTC, records=records)

    assert records == {NEW: RhythmRecord((2.0,), (30,), 60)}
    assert [(line["event"], line["rows"]) for line in told] == [("rhythms.damaged", 1)]
    assert scene.threshold_s() == 900.0
    await scene.vigil.save()
    assert (await load_records(sink))[BTC] == RhythmRecord()


async def test_nothing_learned_is_saved_too(sink: PostgresSink) -> None:
    """A service that ends at once is no trouble."""
    await Scene(sink).vigil.save()

    assert await load_records(sink) == {}


# --- the exchange's list ---


async def test_symbol_of_the_top_stays_alone_whatever_else_is_listed(sink: PostgresSink) -> None:
    """What was there when the plan was made has its rank; only what is new to the exchange joins."""
    scene = Scene(sink, BTC, spot=TOP)
    await scene.look(*listed("BTCUSDT", "ETHUSDT"))
    assert scene.fleet.adopted == []

    await scene.look(*listed("BTCUSDT", "ETHUSDT", "NEWUSDT"))
    assert [streams for streams, _ in scene.fleet.adopted] == [[NEW]]


async def test_empty_list_changes_nothing(sink: PostgresSink) -> None:
    """Neither plan nor halts, nor what counts as new in the list after it."""
    scene = Scene(sink, BTC, spot=TOP)
    scene.vigil.sentinel.halted = {BTC}
    await scene.look()
    assert (scene.fleet.streams, scene.vigil.sentinel.halted) == ([BTC], {BTC})

    await scene.look(*listed("BTCUSDT", "ETHUSDT"))
    assert scene.fleet.adopted == []


async def test_listed_symbol_is_adopted_with_its_id(sink: PostgresSink) -> None:
    """The database knows it before any row comes."""
    scene = Scene(sink, BTC)
    await scene.look(*listed("BTCUSDT", "NEWUSDT"))

    ((symbol_id,),) = await fetch(sink, "SELECT symbol_id FROM ops.instruments WHERE symbol = 'NEWUSDT'")
    assert scene.fleet.adopted == [([NEW], {"NEWUSDT": symbol_id})]


def a_state(key: StreamKey) -> StreamRow:
    return StreamRow(key, 0, "0", "live", "", NOW_US, NOW_US, NOW_US, 60.0, None, 0, 0)


async def shown(sink: PostgresSink) -> set[object]:
    """The streams of the freshness table, as market:SYMBOL:kind."""
    query = "SELECT market || ':' || symbol || ':' || kind FROM ops.stream_freshness"
    return {name for (name,) in await fetch(sink, query)}


async def test_streams_of_an_earlier_plan_leave_the_freshness_table_at_the_start(sink: PostgresSink) -> None:
    """By symbol and kind; planned ones keep their row until it is written anew, other markets theirs."""
    book = StreamKey("spot", "BTCUSDT", "depth")
    elsewhere = BTC._replace(market=cast(Market, "futures"))
    await sink.publish_stream_states([a_state(key) for key in (BTC, ETH, book, elsewhere)])
    await forget_former_streams(sink, [BTC, NEW])

    assert await shown(sink) == {"spot:BTCUSDT:trade", "futures:BTCUSDT:trade"}


async def test_delisted_stream_is_forgotten_later_when_the_database_was_away(
    sink: PostgresSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next answer finds a row that nobody writes any more; one that is being written is left alone."""
    await sink.publish_stream_states([a_state(key) for key in (BTC, ETH, NEW)])
    scene = Scene(sink, BTC, ETH)

    def away() -> None:
        raise StoreUnavailable("connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(sink, "session", away)
        with pytest.raises(StoreUnavailable):
            await scene.look(*listed("ETHUSDT"))
    async with sink.session() as connection:
        aged = "UPDATE ops.stream_state SET updated_at = updated_at - interval '2 minutes' WHERE symbol <> $1"
        await connection.execute(aged, "NEWUSDT")
    await scene.look(*listed("ETHUSDT"))

    assert await shown(sink) == {"spot:ETHUSDT:trade", "spot:NEWUSDT:trade"}


async def test_delisted_symbol_leaves_the_fleet_and_the_freshness_table(sink: PostgresSink) -> None:
    """Its row would grow old for ever; others stay."""
    await sink.publish_stream_states([a_state(key) for key in (BTC, ETH)])
    scene = Scene(sink, BTC, ETH)
    await scene.look(*listed("ETHUSDT"))

    assert scene.fleet.streams == [ETH]
    assert await fetch(sink, "SELECT symbol FROM ops.stream_freshness") == [("ETHUSDT",)]


async def test_symbol_that_does_not_trade_is_halted_until_it_does(sink: PostgresSink) -> None:
    """By its status in the newest list."""
    scene = Scene(sink, BTC, ETH)
    await scene.look(*listed("BTCUSDT", "ETHUSDT", BTCUSDT="BREAK"))
    assert scene.vigil.sentinel.halted == {BTC}

    await scene.look(*listed("BTCUSDT", "ETHUSDT"))
    assert scene.vigil.sentinel.halted == set()


async def test_database_that_is_away_does_not_hide_a_halt_nor_lose_a_listing(
    sink: PostgresSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status needs no database; the new symbol joins when there is one again."""
    scene = Scene(sink, BTC, spot=TOP)
    await scene.look(*listed("BTCUSDT"))

    async def away(*_: object) -> dict[str, int]:
        raise StoreUnavailable("connection refused")

    newest = listed("BTCUSDT", "NEWUSDT", BTCUSDT="HALT")
    with monkeypatch.context() as patched:
        patched.setattr(sink, "instrument_ids", away)
        with pytest.raises(StoreUnavailable):
            await scene.look(*newest)
    assert scene.vigil.sentinel.halted == {BTC}

    await scene.look(*newest)
    assert [streams for streams, _ in scene.fleet.adopted] == [[NEW]]


# --- loops ---


async def test_shard_that_crashes_again_and_again_is_evacuated(sink: PostgresSink) -> None:
    """And no other: those may carry whatever comes, be it again."""
    shards = (ShardFacts(shard=0, running=True), ShardFacts(shard=1, running=False, crash_looping=True))
    facts = ServiceFacts(now_wall_ns=0, now_monotonic_ns=0, shards=shards)
    scene = Scene(sink, facts=facts)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(scene.vigil._quarantine())
        await until(lambda: scene.fleet.evacuated)
        running.cancel()

    assert (set(scene.fleet.evacuated), set(scene.fleet.readmitted)) == ({1}, {0})


async def test_everything_that_looks_after_silence_runs(sink: PostgresSink) -> None:
    """Every loop goes its round with nothing to look at, and ends when it is told to."""
    scene = Scene(sink)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop, name=name) for name, loop in scene.vigil.loops().items()]
        for _ in range(10):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()

    assert scene.vigil.judgements() == {}
