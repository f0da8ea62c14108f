"""A feed that changes its connection while data come, and what can be asked of a connection that stays."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from ingest.buffer.tables import BOOK_TICKERS, DEPTH_DELTAS, TRADES, Table
from ingest.events import DepthSnapshot, Gap
from ingest.feed.budget_file import Budget
from ingest.feed.connection import Feed
from ingest.feed.lifecycle import FeedPhase
from ingest.feed.rotation import Rotation
from ingest.sim import faults
from ingest.sim.limits import Limits
from ingest.sim.market import MarketPlan
from tests.integration.wire import MARKET, QUICK, SYMBOL, Wire, a_wire, until

OFTEN = replace(QUICK, backoff=replace(QUICK.backoff, good_s=0.0))
"""No session is too short to be forgotten: hand-overs follow each other without waiting."""
BUSY = replace(MARKET, market=MarketPlan(named=(SYMBOL,), rate=1_000.0))


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    """A busy market of one symbol."""
    async with a_wire(tmp_path, BUSY) as made:
        yield made


async def speaking(wire: Wire, feed: Feed) -> None:
    """Until the feed is live and every stream has spoken, and speaks again."""
    await until(lambda: feed.phase is FeedPhase.LIVE)
    before = [stream.messages for stream in wire.streams]
    await until(lambda: all(s.messages > n + 2 for s, n in zip(wire.streams, before, strict=True)))


async def handed_over(wire: Wire, feed: Feed, times: int = 1) -> None:
    """Until so many connections have ended, and all streams speak on the one that is left."""
    await until(lambda: len(wire.ends) >= times and feed.sessions == 1)
    await speaking(wire, feed)


def nothing_is_missing(wire: Wire) -> None:
    """Every event from the first to the newest was stored once, and never was there a gap."""
    for kind, stored in wire.stored.items():
        ids = [entry.event_id for entry in wire.double.ledger.entries(SYMBOL, kind)]
        assert sorted(stored) == ids[ids.index(min(stored)) : ids.index(max(stored)) + 1]
    for table in (TRADES, DEPTH_DELTAS, BOOK_TICKERS):
        assert wire.bench.gaps(table) == []


def gaps_in(wire: Wire, table: Table) -> list[Gap]:
    """The gaps that wait to be written."""
    return [item for item in wire.bench.gaps(table) if isinstance(item, Gap)]


async def test_replaced_feed_loses_nothing(wire: Wire) -> None:
    """Under traffic, again and again: ids continue, what came twice is dropped, no book is given up."""
    async with wire.running(wire.feed(OFTEN)) as feed:
        await speaking(wire, feed)
        wire.book.on_snapshot(await snapshot_of(wire))
        await until(lambda: wire.book.book)
        for times in range(1, 4):
            assert feed.replace(f"replaced {times}")
            await handed_over(wire, feed, times)

        assert wire.book.book is not None
        assert [(end.reason, end.seamless) for end in wire.ends] == [
            (f"replaced {times}", True) for times in range(1, 4)
        ]
        assert all(stream.duplicates for stream in wire.streams)
        assert [stream.reconnects for stream in wire.streams] == [0, 0, 0]
        assert (feed.reconnects, wire.budget.used(Budget.CONNECTS)) == (3, 4)
        nothing_is_missing(wire)
    assert wire.double.violations.total == 0


async def snapshot_of(wire: Wire) -> DepthSnapshot:
    """The book as REST gives it."""
    url = f"{wire.double.rest_url}/api/v3/depth"
    async with (
        aiohttp.ClientSession() as http,
        http.get(url, params={"symbol": SYMBOL, "limit": "1000"}) as response,
    ):
        answer = await response.json()
    bids, asks = ([(price, qty) for price, qty in answer[side]] for side in ("bids", "asks"))
    return DepthSnapshot(SYMBOL, answer["lastUpdateId"], 0, bids, asks, "sync", 0)


async def test_two_connections_are_open_while_one_hands_over(wire: Wire) -> None:
    """The old one carries on until the new one has settled, and is then closed."""
    limits = replace(QUICK, settle_s=2.0)
    async with wire.running(wire.feed(limits)) as feed:
        await speaking(wire, feed)
        port = feed.signs.local_port
        feed.replace("a test")
        await until(lambda: feed.sessions == 2)
        during = (feed.phase, feed.signs.local_port, len(wire.ends))
        await handed_over(wire, feed)

        assert during == (FeedPhase.LIVE, port, 0)
        assert feed.signs.local_port not in {0, port}


async def test_successor_that_nothing_speaks_on_takes_over_all_the_same(tmp_path: Path) -> None:
    """It waits for data only so long: a market may be closed."""
    async with a_wire(tmp_path, replace(BUSY, start="manual")) as wire, wire.running(wire.feed()) as feed:
        await until(lambda: feed.phase is FeedPhase.LIVE)
        feed.replace("a test")
        await until(lambda: wire.ends)

        assert wire.ends[0].seamless


async def test_asking_twice_is_asking_once(wire: Wire) -> None:
    """While a successor is on its way, another reason changes nothing."""
    async with wire.running(wire.feed(OFTEN)) as feed:
        await speaking(wire, feed)
        feed.replace("first")
        feed.replace("second")
        await handed_over(wire, feed)
        await speaking(wire, feed)

        assert [end.reason for end in wire.ends] == ["first"]
        assert feed.sessions == 1


@pytest.mark.parametrize("status", [503, 451, 429])
async def test_successor_that_fails_leaves_the_carrier_in_peace(wire: Wire, status: int) -> None:
    """It is tried again with the ordinary backoff, and the streams never notice."""
    async with wire.running(wire.feed()) as feed:
        await speaking(wire, feed)
        wire.double.add_fault(faults.Refuse(status=status, n=2))
        feed.replace("a test")
        await handed_over(wire, feed)

        assert [end.reason for end in wire.ends] == ["a test"]
        assert wire.budget.used(Budget.CONNECTS) == 4
        # 0 s, then within 1 s; the address that is told to slow down starts at the top.
        assert [each for each in wire.rng.ceilings if each > 0][:1] == [30.0 if status == 429 else 1.0]
        nothing_is_missing(wire)


async def test_successor_that_ends_at_once_is_no_break(wire: Wire) -> None:
    """A connection that never carried the streams takes none of them along."""
    async with wire.running(wire.feed(replace(QUICK, settle_s=3.0))) as feed:
        await speaking(wire, feed)
        feed.replace("a test")
        await until(lambda: feed.sessions == 2)
        wire.double.add_fault(faults.Close(connection=2, code=1001))
        await handed_over(wire, feed, 2)

        assert [end.seamless for end in wire.ends] == [True, True]
        assert [stream.reconnects for stream in wire.streams] == [0, 0, 0]
        nothing_is_missing(wire)


async def test_carrier_that_dies_while_handing_over_takes_nothing_along_that_overlaps(wire: Wire) -> None:
    """The successor that was under way carries on without being dialled again, and no stream is broken."""
    async with wire.running(wire.feed(replace(QUICK, settle_s=20.0, overlap_s=20.0))) as feed:
        await speaking(wire, feed)
        feed.replace("a test")
        await until(lambda: all(stream.duplicates for stream in wire.streams))
        wire.double.add_fault(faults.Reset(connection=1))
        await handed_over(wire, feed)

        assert [end.seamless for end in wire.ends] == [False]
        assert [stream.reconnects for stream in wire.streams] == [0, 0, 0]
        assert wire.budget.used(Budget.CONNECTS) == 2
        nothing_is_missing(wire)


async def test_carrier_that_dies_while_its_successor_is_refused_is_dialled_again(wire: Wire) -> None:
    """With nobody under way it is the ordinary way back."""
    async with wire.running(wire.feed(replace(QUICK, settle_s=20.0))) as feed:
        await speaking(wire, feed)
        wire.double.add_fault(faults.Refuse(status=503, n=3))
        feed.replace("a test")
        await until(lambda: wire.budget.used(Budget.CONNECTS) >= 2)
        wire.double.add_fault(faults.Reset(connection=1))
        await handed_over(wire, feed)

        assert [end.seamless for end in wire.ends] == [False]


async def test_feed_is_rotated_before_the_exchange_cuts_it(wire: Wire) -> None:
    """At the end of its life it hands over of its own accord, each time."""
    async with wire.running(wire.feed(replace(OFTEN, rotation=Rotation(max_age_s=0.5)))) as feed:
        await until(lambda: len(wire.ends) >= 2)
        await speaking(wire, feed)

        assert {(end.reason, end.seamless) for end in wire.ends} == {("rotation", True)}
        nothing_is_missing(wire)


async def test_exchange_that_cuts_every_connection_at_its_age_cuts_none_of_ours(tmp_path: Path) -> None:
    """Each is left before that, and nothing is missing although no connection lives long."""
    mortal = replace(BUSY, limits=replace(BUSY.limits, connection_life_s=4.0))
    async with a_wire(tmp_path, mortal) as wire:
        limits = replace(QUICK, rotation=Rotation(max_age_s=1.5))
        async with wire.running(wire.feed(limits)) as feed:
            await until(lambda: len(wire.ends) >= 4)
            await speaking(wire, feed)

            assert {(end.reason, end.seamless) for end in wire.ends} == {("rotation", True)}
            nothing_is_missing(wire)


async def test_successor_that_lacks_a_stream_does_not_take_over(wire: Wire) -> None:
    """The next one that brings it does; the carrier goes on until then."""
    async with wire.running(wire.feed(replace(OFTEN, overlap_s=1.0))) as feed:
        await speaking(wire, feed)
        wire.double.add_fault(faults.MuteStream(symbol=SYMBOL, kind="trade", connection=2, until="lifted"))
        feed.replace("a test")
        await until(lambda: wire.ends)
        assert (wire.ends[0].reason.partition(":")[0], wire.ends[0].seamless) == ("not_overlapping", True)
        await handed_over(wire, feed, 2)

        assert [end.reason for end in wire.ends][1:] == ["a test"]
        assert [stream.reconnects for stream in wire.streams] == [0, 0, 0]
        nothing_is_missing(wire)


@pytest.mark.parametrize("form", ["raw", "combined"])
async def test_announced_shutdown_is_not_waited_for(wire: Wire, form: faults.NoticeForm) -> None:
    """The feed leaves for a new connection when the notice comes, not when the server closes."""
    async with wire.running(wire.feed()) as feed:
        await speaking(wire, feed)
        wire.double.add_fault(faults.Shutdown(connection=1, close_after_s=20.0, form=form))
        await handed_over(wire, feed)

        assert [(end.reason, end.seamless) for end in wire.ends] == [("server_shutdown", True)]
        nothing_is_missing(wire)


async def test_exchange_that_closes_before_anybody_is_ready_is_an_ordinary_break(wire: Wire) -> None:
    """The successor that was called by the notice carries on."""
    async with wire.running(wire.feed()) as feed:
        await speaking(wire, feed)
        wire.double.add_fault(faults.Refuse(status=503, n=1))
        wire.double.add_fault(faults.Shutdown(connection=1, close_after_s=0.0))
        await handed_over(wire, feed)

        assert wire.ends[0].seamless is False
        assert wire.ends[0].reason.startswith("closed_by_exchange")


async def test_shutdown_of_the_successor_makes_another_one(wire: Wire) -> None:
    """A notice belongs to the connection that it came on."""
    async with wire.running(wire.feed(replace(OFTEN, settle_s=2.0))) as feed:
        await speaking(wire, feed)
        feed.replace("a test")
        await until(lambda: feed.sessions == 2)
        wire.double.add_fault(faults.Shutdown(connection=2, close_after_s=None))
        await handed_over(wire, feed, 2)

        assert [end.reason for end in wire.ends] == ["a test", "server_shutdown"]


async def test_half_open_carrier_does_not_hold_up_its_successor(wire: Wire) -> None:
    """It answers nothing, so it is left behind within the deadline; what it did not bring is a gap."""
    async with wire.running(wire.feed()) as feed:
        await speaking(wire, feed)
        wire.double.add_fault(faults.HalfOpen(connection=1))
        seen = wire.trade.last_id
        await until(lambda: wire.double.ledger.entries(SYMBOL, "trade")[-1].event_id > seen + 20)
        feed.replace("feed_silent")
        await handed_over(wire, feed)

        assert [end.seamless for end in wire.ends] == [True]
        assert [gap.cause for gap in gaps_in(wire, TRADES)] == ["sequence"]


async def test_stopping_ends_both_connections(wire: Wire) -> None:
    """Whoever stops a feed that is handing over leaves nothing behind."""
    async with wire.running(wire.feed(replace(QUICK, settle_s=20.0))) as feed:
        await speaking(wire, feed)
        feed.replace("a test")
        await until(lambda: feed.sessions == 2)

    assert [end.reason for end in wire.ends] == ["stopped", "stopped"]
    assert (feed.sessions, feed.phase) == (0, FeedPhase.STOPPED)
    await until(lambda: not wire.double.connections)


# --- without changing the connection ----------------------------------------------------------------


async def test_mute_stream_is_healed_by_asking_for_it_again(wire: Wire) -> None:
    """Its neighbours and the connection stay; what it missed is a gap with that cause."""
    async with wire.running(wire.feed()) as feed:
        await speaking(wire, feed)
        fault = wire.double.add_fault(faults.MuteStream(symbol=SYMBOL, kind="trade", until="resubscribe"))
        await until(lambda: fault.touched > 5)
        lost, spoken = wire.trade.last_id, wire.trade.messages
        assert feed.resubscribe(["btcusdt@trade"], lambda: wire.lane.broke([wire.trade], "resubscribe"))
        await until(lambda: wire.trade.messages > spoken + 5)
        (gap,) = gaps_in(wire, TRADES)

        assert (gap.first_id, gap.cause) == (lost + 1, "resubscribe")
        assert [stream.reconnects for stream in wire.streams] == [1, 0, 0]
        assert wire.ends == []


async def test_request_that_is_refused_ends_nothing(wire: Wire) -> None:
    """Those that are carried already shall not pay for one that is not."""
    wrong = '{"method":"SUBSCRIBE","params":[7],"id":%d}'
    async with wire.running(wire.feed()) as feed:
        await speaking(wire, feed)
        feed._write = lambda method, names, first: {first: wrong % first}
        feed.add(["nobody@knows"])
        await until(lambda: wire.double.connections[1].received >= 2)
        await speaking(wire, feed)

        assert wire.ends == []


async def test_request_that_is_not_answered_asks_for_a_successor(wire: Wire) -> None:
    """The connection may be bad, and it still carries the others until the next one does."""
    ignored = '{"method":"SUBSCRIBE","params":["%s"],"id":%%d}' % ("x" * 5_000)
    async with wire.running(wire.feed(replace(QUICK, acknowledge_s=1.0))) as feed:
        await speaking(wire, feed)
        write, feed._write = feed._write, lambda method, names, first: {first: ignored % first}
        feed.add(["nobody@knows"])
        feed._write = write
        await handed_over(wire, feed)

        assert wire.ends[0].reason.startswith("request_unanswered: ")
        assert wire.ends[0].seamless


async def test_streams_come_and_go_on_a_connection_that_stays(wire: Wire) -> None:
    """Also for the connections after it."""
    candles = wire.bench.stream("kline_1s")
    async with wire.running(wire.feed(OFTEN)) as feed:
        await speaking(wire, feed)
        feed.add(wire.lane.add([candles]))
        await until(lambda: candles.messages)
        feed.remove(wire.lane.remove([wire.trade]))
        names = wire.double.connections[1].subscriptions.names
        await until(lambda: "btcusdt@trade" not in names)
        assert (wire.ends, "btcusdt@kline_1s" in names) == ([], True)

        spoken, silent = candles.messages, wire.trade.messages
        feed.replace("a test")
        await until(lambda: wire.ends and candles.messages > spoken + 1)
        assert wire.trade.messages == silent
        assert list(wire.double.connections[2].subscriptions.names) == [
            "btcusdt@depth@100ms",
            "btcusdt@bookTicker",
            "btcusdt@kline_1s",
        ]


async def test_ping_of_our_own_is_answered(wire: Wire) -> None:
    """When it was sent and when the answer came can be seen."""
    async with wire.running(wire.feed()) as feed:
        await speaking(wire, feed)
        assert (feed.signs.probe_wall_ns, feed.signs.pong_wall_ns) == (0, 0)
        assert feed.probe()
        await until(lambda: feed.signs.pong_wall_ns)

        assert feed.signs.pong_wall_ns >= feed.signs.probe_wall_ns > feed.signs.connected_wall_ns


async def test_ping_on_a_half_open_connection_is_not_answered(wire: Wire) -> None:
    """Although one was answered before."""
    async with wire.running(wire.feed()) as feed:
        await speaking(wire, feed)
        feed.probe()
        await until(lambda: feed.signs.pong_wall_ns)
        answered_ns = feed.signs.pong_wall_ns
        wire.double.add_fault(faults.HalfOpen())
        feed.probe()
        await until(lambda: feed.signs.probe_wall_ns > answered_ns)
        await asyncio.sleep(0.3)

        assert feed.signs.pong_wall_ns == answered_ns


async def test_nothing_can_be_asked_of_a_feed_that_is_away(wire: Wire) -> None:
    """There is nobody to ask."""
    feed = wire.feed()

    assert not feed.probe()
    assert not feed.resubscribe(["btcusdt@trade"], lambda: None)


async def test_requests_keep_the_pace_with_pings_and_pongs_counted(tmp_path: Path) -> None:
    """Whatever is asked at once, the exchange sees no more than five messages a second."""
    config = replace(BUSY, limits=Limits(ping_interval_s=1.2))
    async with a_wire(tmp_path, config) as wire, wire.running(wire.feed()) as feed:
        await speaking(wire, feed)
        for _ in range(4):
            feed.resubscribe(["btcusdt@trade"], lambda: None)
            feed.probe()
        await until(lambda: wire.double.connections[1].received >= 10)

        assert wire.double.violations.total == 0
        assert wire.ends == []


async def test_queue_of_requests_is_bounded(wire: Wire) -> None:
    """Beyond that a repair is refused, and streams that come are asked for on a new connection."""
    async with wire.running(wire.feed(OFTEN)) as feed:
        await speaking(wire, feed)
        taken = [feed.resubscribe(["btcusdt@trade"], lambda: None) for _ in range(40)]
        assert (taken[0], taken[-1]) == (True, False)
        feed.add(["btcusdt@kline_1s"])
        await until(lambda: wire.ends)

        assert (wire.ends[0].reason, wire.ends[0].seamless) == ("too_many_requests_wait", True)
        assert "btcusdt@kline_1s" in wire.double.connections[2].subscriptions.names


async def test_mass_replacement_keeps_all_limits(tmp_path: Path) -> None:
    """Many feeds that hand over at once break none of the exchange's rules."""
    async with a_wire(tmp_path, MARKET) as wire:
        wires = [Wire(wire.double, wire.budget, wire.dial) for _ in range(15)]
        feeds = [each.feed(OFTEN, number=number) for number, each in enumerate(wires)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(feed.run()) for feed in feeds]
            await until(lambda: all(feed.phase is FeedPhase.LIVE for feed in feeds))
            for feed in feeds:
                feed.replace("all at once")
            await until(lambda: all(each.ends for each in wires))
            for task in tasks:
                task.cancel()

        assert all(each.ends[0].seamless for each in wires)
        assert wire.double.violations.total == 0
        assert wire.budget.used(Budget.CONNECTS) == 30
