"""A feed against the exchange double, over real sockets: dialling, subscribing, pings, every way to end."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from ingest.clock import SystemClock
from ingest.errors import LocationRefused
from ingest.feed.budget_file import Budget
from ingest.feed.connection import Feed, Method
from ingest.feed.lifecycle import FeedPhase
from ingest.feed.socket import WsClient
from ingest.sim import faults
from ingest.sim.limits import Limits
from tests.integration.wire import DEADLINE_S, MARKET, QUICK, SILENT, Wire, a_wire, until

BAD_REQUEST = '{"method":"SUBSCRIBE","params":[7],"id":1}'


def subscribe_message(names: Sequence[str], request_id: int) -> str:
    """One message for all of these names, however long it gets."""
    return json.dumps({"method": "SUBSCRIBE", "params": names, "id": request_id})


@pytest.fixture
async def wire(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    """A lively market of one symbol that pings twice a second."""
    async with a_wire(tmp_path, MARKET, getattr(request, "param", "aiohttp")) as made:
        yield made


@pytest.fixture
async def silent(tmp_path: Path) -> AsyncIterator[Wire]:
    """The same exchange while nothing happens there."""
    async with a_wire(tmp_path, SILENT) as made:
        yield made


@pytest.mark.parametrize("wire", get_args(WsClient), indirect=True)
async def test_feed_is_live_once_its_subscriptions_are_acknowledged(wire: Wire) -> None:
    """Data come on every stream, stamped once with the time of their arrival."""
    before_ns = SystemClock().wall_ns()
    async with wire.running(wire.feed()) as feed:
        await until(lambda: feed.phase is FeedPhase.LIVE)
        await until(lambda: all(stream.messages > 2 for stream in wire.streams))

        assert before_ns < wire.lane.last_data_ns <= feed.last_frame_ns <= SystemClock().wall_ns()
        assert wire.budget.used(Budget.CONNECTS) == 1


def pinged_for_ns(feed: Feed) -> int:
    """How long after its opening the connection was last pinged; 0 when it was not."""
    signs = feed.signs
    return signs.last_ping_ns - signs.connected_wall_ns if signs.last_ping_ns else 0


async def test_stopped_feed_says_so(wire: Wire) -> None:
    """Cancelling is a named end like any other."""
    async with wire.running(wire.feed()) as feed:
        await until(lambda: feed.phase is FeedPhase.LIVE)

    assert [end.reason for end in wire.ends] == ["stopped"]
    assert feed.phase is FeedPhase.STOPPED
    await until(lambda: not wire.double.connections)


async def test_pings_are_answered_with_their_payload(tmp_path: Path) -> None:
    """An exchange that cuts off whoever does not echo a ping within a second keeps the connection."""
    strict = Limits(ping_interval_s=0.5, pong_deadline_s=1.0)
    async with a_wire(tmp_path, replace(MARKET, limits=strict)) as wire, wire.running(wire.feed()) as feed:
        await until(lambda: pinged_for_ns(feed) > 2_500_000_000)

        assert wire.double.violations.missed_pongs == 0
        assert len(wire.sessions) == 1


async def test_many_subscriptions_keep_the_pace_with_pongs_counted(tmp_path: Path) -> None:
    """Eight messages in a row, and pings meanwhile, are never more than five a second."""
    quick_pings = Limits(ping_interval_s=1.2)

    def write(_method: Method, _names: Sequence[str], first: int) -> Mapping[int, str]:
        return {
            number: subscribe_message([f"s{number}usdt@trade"], number) for number in range(first, first + 8)
        }

    async with (
        a_wire(tmp_path, replace(SILENT, limits=quick_pings)) as wire,
        wire.running(wire.feed(write=write)) as feed,
    ):
        await until(lambda: feed.phase is FeedPhase.LIVE)

        assert wire.double.violations.message_rate == 0
        assert len(wire.sessions) == 1


async def test_unanswered_subscription_ends_the_session(silent: Wire) -> None:
    """A SUBSCRIBE that the exchange ignores (it is too long) is not waited for for ever."""
    ignored = subscribe_message([f"{'x' * 60}{number}usdt@trade" for number in range(80)], 1)
    limits = replace(QUICK, acknowledge_s=0.3)
    async with silent.running(silent.feed(limits, lambda *_: {1: ignored})):
        await until(lambda: silent.ends)

        assert silent.ends[0].reason == "subscription_unanswered: request 1"


async def test_refused_subscription_ends_the_session(silent: Wire) -> None:
    """With the exchange's own words."""
    async with silent.running(silent.feed(write=lambda *_: {1: BAD_REQUEST})):
        await until(lambda: silent.ends)

        assert silent.ends[0].reason.startswith("subscription_refused: ")


async def test_replacing_a_feed_that_is_away_does_nothing(silent: Wire) -> None:
    """There is no connection to end."""
    feed = silent.feed()
    assert not feed.replace("nobody there")

    async with silent.running(feed):
        await until(lambda: feed.phase is FeedPhase.LIVE)
        assert silent.ends == []


async def test_close_by_the_exchange_is_recorded_with_code_and_words(silent: Wire) -> None:
    """What the exchange said when it ended the connection."""
    async with silent.running(silent.feed()) as feed:
        await until(lambda: feed.phase is FeedPhase.LIVE)
        silent.double.add_fault(faults.Close(code=1008, reason="Pong timeout"))
        await silent.until_live_again(feed)

        assert (silent.ends[0].reason, silent.ends[0].code) == ("closed_by_exchange: Pong timeout", 1008)
        assert feed.last_close_code == 1008


async def test_reset_connection_is_dialled_again(silent: Wire) -> None:
    """A TCP reset is an end like any other."""
    async with silent.running(silent.feed()) as feed:
        await until(lambda: feed.phase is FeedPhase.LIVE)
        silent.double.add_fault(faults.Reset())
        await silent.until_live_again(feed)

        assert silent.ends[0].reason.startswith(("connection_lost", "protocol_error"))


async def test_link_without_any_frame_is_given_up(silent: Wire) -> None:
    """Half-open: not even pings come."""
    async with silent.running(silent.feed(replace(QUICK, silent_link_s=1.0))) as feed:
        await until(lambda: feed.phase is FeedPhase.LIVE)
        silent.double.add_fault(faults.HalfOpen())
        await silent.until_live_again(feed)

        assert silent.ends[0].reason.startswith("link_silent: ")


async def test_pings_alone_keep_a_link(silent: Wire) -> None:
    """Whether data come is not the feed's question."""
    async with silent.running(silent.feed(replace(QUICK, silent_link_s=1.0))) as feed:
        await until(lambda: pinged_for_ns(feed) > 3_000_000_000)

        assert silent.ends == []


@pytest.mark.parametrize(
    ("status", "first_ceilings"),
    [(503, [1.0, 2.0]), (0, [1.0, 2.0]), (429, [30.0, 30.0]), (418, [30.0, 30.0])],
)
async def test_refused_handshakes_climb_the_backoff(
    silent: Wire, status: int, first_ceilings: list[float]
) -> None:
    """At once, then within 1 s, 2 s …; told to slow down, at once to the top of the ladder."""
    times = 3 if status not in {429, 418} else 2
    silent.double.add_fault(faults.Refuse(status=status, n=times))
    async with silent.running(silent.feed()) as feed:
        await until(lambda: feed.phase is FeedPhase.LIVE)

        assert [ceiling for ceiling in silent.rng.ceilings if ceiling > 0] == first_ceilings
        assert silent.budget.used(Budget.CONNECTS) == times + 1
        assert silent.ends == []


async def test_place_that_was_served_is_dialled_on_when_refused(silent: Wire) -> None:
    """HTTP 451 in the middle of a run may be one server's, and other feeds receive meanwhile."""
    async with silent.running(silent.feed()) as feed:
        await until(lambda: feed.phase is FeedPhase.LIVE)
        silent.double.add_fault(faults.Refuse(status=451, n=2))
        silent.double.add_fault(faults.Reset())
        await silent.until_live_again(feed)

        assert silent.budget.used(Budget.CONNECTS) == 4


async def test_refused_location_is_fatal(silent: Wire) -> None:
    """HTTP 451 at the first attempt will not change by dialling again."""
    silent.double.add_fault(faults.Refuse(status=451))
    with pytest.raises(LocationRefused, match="451"):
        async with asyncio.timeout(DEADLINE_S):
            await silent.feed().run()

    assert silent.budget.used(Budget.CONNECTS) == 1


async def test_exchange_that_is_not_there_is_dialled_on(silent: Wire) -> None:
    """Every attempt is taken from the shared budget."""
    feed = silent.feed(url="ws://127.0.0.1:1/stream")
    async with silent.running(feed):
        await until(lambda: silent.budget.used(Budget.CONNECTS) >= 4)

        assert feed.phase in {FeedPhase.CONNECTING, FeedPhase.CLOSED}
        assert silent.sessions == []


async def test_short_sessions_do_not_reset_the_backoff(silent: Wire) -> None:
    """A feed that connects and dies again climbs the same ladder as one that cannot connect."""
    async with silent.running(silent.feed()) as feed:
        for sessions in range(1, 5):
            await silent.until_live_again(feed, sessions)
            silent.double.add_fault(faults.Close())
        await silent.until_live_again(feed, 5)

        assert [ceiling for ceiling in silent.rng.ceilings if ceiling > 0] == [1.0, 2.0, 4.0]
