"""Every fault of the exchange double, seen from the other side of the wire."""

import aiohttp
import orjson
import pytest

from ingest.sim.faults import (
    Close,
    Drop,
    Duplicate,
    HalfOpen,
    Malformed,
    MuteFeed,
    MuteStream,
    Refuse,
    Reorder,
    Reset,
    RestFault,
    Shutdown,
)
from ingest.sim.limits import Limits
from ingest.sim.server import ExchangeDouble
from tests.integration.double_client import Json, connected, get, is_event, market_config, post

BOTH = "/stream?streams=btcusdt@trade/btcusdt@bookTicker"


async def test_mute_stream_leaves_the_others() -> None:
    """The stream stops on this connection, the other one goes on; a new connection hears both."""
    async with ExchangeDouble(market_config()) as double:
        async with connected(double, BOTH) as client:
            await client.next(is_event("trade"))
            record = double.add_fault(MuteStream(symbol="BTCUSDT", kind="trade"))
            client.seen.clear()
            await client.events(100, lambda event: event["stream"] == "btcusdt@bookTicker")
            late = [event for event in client.seen if event["stream"] == "btcusdt@trade"]
        async with connected(double, BOTH) as client:
            await client.next(is_event("trade"))

    assert record.touched > 0
    assert len(late) < 20


async def test_mute_feed_still_pings() -> None:
    """No data, but pings and replies."""
    config = market_config(limits=Limits(ping_interval_s=0.2))
    async with ExchangeDouble(config) as double, connected(double, BOTH, autoping=False) as client:
        await client.next()
        record = double.add_fault(MuteFeed())
        await client.send({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await client.reply(1)
        kinds = set()
        for _ in range(3):
            frame = await client.frame()
            kinds.add(frame.type)
            await client.ws.pong(frame.data)

    assert kinds == {aiohttp.WSMsgType.PING}
    assert record.touched > 0


async def test_half_open_connection_is_silent_and_stays() -> None:
    """Nothing comes any more, not even a close; the server still counts the connection."""
    config = market_config(limits=Limits(ping_interval_s=0.4))
    async with ExchangeDouble(config) as double, connected(double, BOTH) as client:
        await client.next()
        record = double.add_fault(HalfOpen())
        await client.ws.ping(b"anybody there?")
        before = double.ledger.happened
        async with connected(double, BOTH) as other:
            await other.events(50)

        assert record.connections == (1,)
        assert double.ledger.happened > before
        assert double.connections[1].half_open
        assert not client.ws.closed


async def test_reset_ends_without_a_close_frame() -> None:
    """The client sees its connection break."""
    async with ExchangeDouble(market_config()) as double, connected(double, BOTH) as client:
        await client.next()
        record = double.add_fault(Reset())

        assert (await client.close_frame())[0] == 1006
        assert (record.state, record.touched) == ("done", 1)


async def test_close_has_code_and_reason() -> None:
    """The close frame says what the fault says."""
    async with ExchangeDouble(market_config()) as double, connected(double, BOTH) as client:
        double.add_fault(Close(code=1008, reason="because"))

        assert await client.close_frame() == (1008, "because")


@pytest.mark.parametrize("path", ["/ws/btcusdt@trade", BOTH])
async def test_server_shutdown_is_announced(path: str) -> None:
    """In the form of the connection, before it is closed."""
    async with ExchangeDouble(market_config()) as double, connected(double, path) as client:
        double.add_fault(Shutdown(close_after_s=0.2))
        event = await client.next(is_event("serverShutdown"))
        code, _ = await client.close_frame()

    assert code == 1001
    if path == BOTH:
        assert event["stream"] == "!serverShutdown"
    else:
        assert set(event) == {"e", "E"}


async def test_drop_loses_frames_that_the_ledger_has() -> None:
    """What is lost on the wire happened all the same."""
    async with ExchangeDouble(market_config()) as double, connected(double, "/ws/btcusdt@trade") as client:
        (before,) = await client.events(1)
        record = double.add_fault(Drop(n=5))
        ids = [event["t"] for event in await client.events(100)]
        ledger = {entry.event_id for entry in double.ledger.entries("BTCUSDT", "trade")}

    # Counted from the last one before the fault: it may have begun with the very next.
    missing = set(range(before["t"] + 1, ids[-1] + 1)) - set(ids)
    assert (len(missing), record.touched) == (5, 5)
    assert missing <= ledger


async def test_duplicate_and_reorder_change_the_order_of_ids() -> None:
    """Ids come twice, then late, and nothing is lost."""
    async with ExchangeDouble(market_config()) as double, connected(double, "/ws/btcusdt@trade") as client:
        double.add_fault(Duplicate(n=3))
        twice = [event["t"] for event in await client.events(60)]
        double.add_fault(Reorder(n=3, by=2))
        late = [event["t"] for event in await client.events(60)]

    assert len(twice) - len(set(twice)) == 3
    assert late != sorted(late)
    assert set(late) == set(range(min(late), max(late) + 1))


@pytest.mark.parametrize("damage", ["truncated", "unknown_event", "wrong_type"])
async def test_malformed_frames_come_beside_the_right_ones(damage: str) -> None:
    """The damaged copies are extra; no trade is missing."""
    texts: list[str] = []
    async with ExchangeDouble(market_config()) as double, connected(double, "/ws/btcusdt@trade") as client:
        double.add_fault(Malformed(n=4, damage=damage))  # type: ignore[arg-type]
        while len(texts) < 60:
            texts.append((await client.frame()).data)

    ids = [event["t"] for event in map(_trade, texts) if event]
    assert len(ids) == 56
    assert ids == list(range(ids[0], ids[-1] + 1))


def _trade(text: str) -> Json:
    """A sound trade; None for anything else."""
    try:
        event = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return event if event.get("e") == "trade" and isinstance(event["p"], str) else None


async def test_non_utf8_frame_breaks_the_connection_of_a_strict_client() -> None:
    """A client has to refuse a text frame that is no text."""
    async with ExchangeDouble(market_config()) as double, connected(double, "/ws/btcusdt@trade") as client:
        double.add_fault(Malformed(n=1, damage="non_utf8"))
        frame = await client.frame()
        while frame.type is aiohttp.WSMsgType.TEXT:
            frame = await client.frame()

    assert client.ws.close_code == 1007


async def test_refused_connections() -> None:
    """With a status, or by hanging up; and then no longer."""
    async with ExchangeDouble(market_config()) as double:
        double.add_fault(Refuse(status=451, n=1))
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with connected(double, "/ws"):
                pass
        assert caught.value.status == 451
        hanging_up = double.add_fault(Refuse(status=0))
        with pytest.raises(aiohttp.ClientConnectionError):
            async with connected(double, "/ws"):
                pass
        double.lift_fault(hanging_up.fault_id)
        async with connected(double, BOTH) as client:
            await client.next()


async def test_rest_faults() -> None:
    """Status, code, Retry-After, HTML bodies and hanging up, on the chosen call only."""
    depth = "/api/v3/depth?symbol=BTCUSDT"
    async with ExchangeDouble(market_config()) as double:
        double.add_fault(RestFault(path="depth", status=429, code=-1003, retry_after_s=7, n=1))
        status, body, headers = await get(double, depth)
        assert (status, body["code"], headers["Retry-After"]) == (429, -1003, "7")
        double.add_fault(RestFault(path="depth", status=403, html=True, n=1))
        status, body, headers = await get(double, depth)
        assert (status, headers["Content-Type"].partition(";")[0]) == (403, "text/html")
        hanging_up = double.add_fault(RestFault(path="depth", silent=True))
        with pytest.raises(aiohttp.ClientConnectionError):
            await get(double, depth)
        double.lift_fault(hanging_up.fault_id)
        double.add_fault(RestFault(path="depth"))
        assert (await get(double, "/api/v3/ping"))[0] == 200
        assert (await get(double, depth))[0] == 503


async def test_stale_snapshot_is_the_book_of_the_fault_s_beginning() -> None:
    """The depth call stands still while the stream goes on."""
    async with ExchangeDouble(market_config()) as double, connected(double, BOTH) as client:
        await client.next()
        then = double.book("BTCUSDT")
        record = double.add_fault(RestFault(path="depth", status=200, stale=True))
        await client.events(50)
        _, stale, _ = await get(double, "/api/v3/depth?symbol=BTCUSDT")
        double.lift_fault(record.fault_id)
        _, fresh, _ = await get(double, "/api/v3/depth?symbol=BTCUSDT")

    assert stale["lastUpdateId"] == then.update_id < fresh["lastUpdateId"]
    assert len(stale["bids"]) == min(len(then.bids), 100)


async def test_script_of_faults_counts_from_the_start() -> None:
    """Faults of the configuration begin with the market, not before."""
    config = market_config(start="manual", faults=(Close(code=4001), Drop(at_s=3600.0)))
    async with ExchangeDouble(config) as double, connected(double, BOTH) as client:
        assert double.faults == {}
        double.start()
        assert (await client.close_frame())[0] == 4001
        assert [record.state for record in double.faults.values()] == ["done", "scheduled"]


async def test_faults_are_ordered_and_lifted_over_http() -> None:
    """The control door takes JSON, reports what was touched, and names mistakes."""
    async with ExchangeDouble(market_config()) as double, connected(double, "/ws/btcusdt@trade") as client:
        status, ordered = await post(double, "/_double/faults", {"action": "duplicate", "n": 2})
        assert (status, ordered[0]["state"]) == (200, "active")
        await client.events(20)
        _, listed, _ = await get(double, "/_double/faults")
        assert (listed[0]["touched"], listed[0]["state"]) == (2, "done")
        status, answer = await post(double, "/_double/faults", {"fault": [{"action": "explode"}]})
        assert (status, "explode" in answer["mistakes"][0]) == (400, True)
        async with (
            aiohttp.ClientSession() as session,
            session.delete(double.rest_url + "/_double/faults/99") as response,
        ):
            assert response.status == 404
