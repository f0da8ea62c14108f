"""The exchange double over real sockets: stream addresses, control messages, limits of connections."""

import asyncio
from urllib.parse import quote

import aiohttp
import pytest

from ingest.sim.limits import Limits
from ingest.sim.market import MarketPlan
from ingest.sim.recording import bundled_recording
from ingest.sim.server import DoubleConfig, ExchangeDouble
from tests.integration.double_client import DEADLINE_S, connected, get, market_config


async def test_raw_address_sends_bare_events() -> None:
    """`/ws/<stream>` carries one stream without wrapper."""
    async with ExchangeDouble(market_config()) as double, connected(double, "/ws/btcusdt@trade") as client:
        event = await client.next()

    assert (event["e"], event["s"]) == ("trade", "BTCUSDT")


async def test_combined_address_wraps_events() -> None:
    """`/stream?streams=` names the stream of each event."""
    path = "/stream?streams=btcusdt@trade/ethusdt@bookTicker"
    async with ExchangeDouble(market_config()) as double, connected(double, path) as client:
        events = await client.events(60)

    assert {event["stream"] for event in events} == {"btcusdt@trade", "ethusdt@bookTicker"}


async def test_address_may_be_url_encoded_and_symbols_non_ascii() -> None:
    """A percent-encoded Chinese symbol is understood in both forms of address."""
    config = DoubleConfig(market=MarketPlan(named=("币安人生USDT",), rate=300.0))
    stream = quote("币安人生usdt@bookTicker")
    async with ExchangeDouble(config) as double:
        async with connected(double, f"/stream?streams={stream}") as client:
            combined = await client.next()
        async with connected(double, f"/ws/{stream}") as client:
            raw = await client.next()

    assert (combined["stream"], raw["s"]) == ("币安人生usdt@bookTicker", "币安人生USDT")


async def test_time_unit_switches_to_microseconds() -> None:
    """With `timeUnit=MICROSECOND` times have three digits more; a wrong unit is refused."""
    async with ExchangeDouble(market_config()) as double:
        path = "/stream?streams=btcusdt@trade&timeUnit=microsecond"
        async with connected(double, path) as client:
            event = await client.next()
        status, body, _ = await get(double, "/ws/btcusdt@trade?timeUnit=FORTNIGHT")

    assert event["data"]["E"] > 10**15
    assert (status, body["code"]) == (400, -1194)


async def test_bare_addresses_take_subscriptions() -> None:
    """On `/ws` and `/stream` everything is subscribed later."""
    async with ExchangeDouble(market_config()) as double:
        for path, key in (("/ws", "e"), ("/stream", "stream")):
            async with connected(double, path) as client:
                await client.send({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1})
                assert await client.reply(1) == {"result": None, "id": 1}
                assert key in await client.next()


async def test_unsubscribed_stream_falls_silent() -> None:
    """After the acknowledgement nothing of the stream follows."""
    path = "/stream?streams=btcusdt@bookTicker/ethusdt@bookTicker"
    async with ExchangeDouble(market_config()) as double, connected(double, path) as client:
        await client.send({"method": "UNSUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 9})
        await client.reply(9)
        events = await client.events(30)

    assert {event["stream"] for event in events} == {"ethusdt@bookTicker"}


async def test_unknown_stream_is_acknowledged_and_listed() -> None:
    """The exchange does not say that a stream does not exist."""
    async with ExchangeDouble(market_config()) as double, connected(double, "/ws") as client:
        await client.send({"method": "SUBSCRIBE", "params": ["nosuch@trade"], "id": 1})
        assert await client.reply(1) == {"result": None, "id": 1}
        await client.send({"method": "LIST_SUBSCRIPTIONS", "id": 2})
        assert await client.reply(2) == {"result": ["nosuch@trade"], "id": 2}


async def test_combined_property_changes_the_form() -> None:
    """SET_PROPERTY wraps what was bare."""
    path = "/ws/btcusdt@bookTicker"
    async with ExchangeDouble(market_config()) as double, connected(double, path) as client:
        await client.send({"method": "SET_PROPERTY", "params": ["combined", True], "id": 1})
        await client.reply(1)

        assert "stream" in await client.next()


async def test_errors_come_in_the_configured_shape() -> None:
    """Documented at the top level, seen nested."""
    for shape in ("top", "nested"):
        config = market_config(error_shape=shape)
        async with ExchangeDouble(config) as double, connected(double, "/ws") as client:
            await client.send({"method": "NONSENSE", "id": 3})
            reply = await client.reply(3)
        assert (reply if shape == "top" else reply["error"])["code"] == 2


async def test_long_subscribe_is_never_answered() -> None:
    """Above 4088 bytes nothing happens; the next request is served."""
    async with ExchangeDouble(market_config()) as double, connected(double, "/ws") as client:
        names = [f"btcusdt@kline_{number:05d}" for number in range(250)]
        await client.send({"method": "SUBSCRIBE", "params": names, "id": 1})
        await client.send({"method": "LIST_SUBSCRIPTIONS", "id": 2})
        listed = await client.reply(2)

        assert (listed["result"], len(client.seen)) == ([], 1)
        assert double.violations.long_requests == 1


@pytest.mark.parametrize("kind", ["json", "ping", "pong"])
async def test_sixth_message_of_a_second_ends_the_connection(kind: str) -> None:
    """Control messages, pings and pongs all count; the close says so."""
    async with ExchangeDouble(market_config()) as double, connected(double, "/ws") as client:
        for number in range(6):
            if kind == "json":
                await client.send({"method": "LIST_SUBSCRIPTIONS", "id": number})
            else:
                await (client.ws.ping() if kind == "ping" else client.ws.pong())

        assert await client.close_frame() == (1008, "Too many requests")
        assert double.violations.message_rate == 1


async def test_server_pings_with_payload_and_keeps_who_answers() -> None:
    """Pongs that copy the payload keep the connection beyond its deadline."""
    limits = Limits(ping_interval_s=0.2, pong_deadline_s=0.6)
    config = market_config(limits=limits)
    async with ExchangeDouble(config) as double, connected(double, "/ws", autoping=False) as client:
        for _ in range(8):
            frame = await client.frame()
            assert frame.type is aiohttp.WSMsgType.PING
            assert frame.data
            await client.ws.pong(frame.data)

        assert double.violations.total == 0


@pytest.mark.parametrize("unsolicited", [False, True])
async def test_missing_pong_ends_the_connection(unsolicited: bool) -> None:
    """Silence, or pongs with another payload, are not an answer."""
    limits = Limits(ping_interval_s=0.2, pong_deadline_s=0.5)
    config = market_config(limits=limits)
    async with ExchangeDouble(config) as double, connected(double, "/ws", autoping=False) as client:
        if unsolicited:
            await client.ws.pong(b"")

        assert await client.close_frame() == (1008, "Pong timeout")
        assert double.violations.missed_pongs == 1


async def test_client_ping_is_answered() -> None:
    """The pong copies the client's payload."""
    async with ExchangeDouble(market_config()) as double, connected(double, "/ws", autoping=False) as client:
        await client.ws.ping(b"hello")
        frame = await client.frame()

        assert (frame.type, bytes(frame.data)) == (aiohttp.WSMsgType.PONG, b"hello")


async def test_more_than_the_allowed_streams_are_refused() -> None:
    """By SUBSCRIBE with an error, in the address with a close."""
    config = market_config(limits=Limits(streams_per_connection=3))
    async with ExchangeDouble(config) as double:
        async with connected(double, "/ws") as client:
            await client.send({"method": "SUBSCRIBE", "params": ["a@trade"] * 2 + ["b", "c", "d"], "id": 1})
            assert (await client.reply(1))["code"] == 4
        async with connected(double, "/stream?streams=a/b/c/d") as client:
            assert (await client.close_frame())[0] == 1008
        assert double.violations.too_many_streams == 2


async def test_1024_streams_fit_into_an_address() -> None:
    """The longest allowed list of streams is taken from the URL."""
    names = "/".join(f"s{number:04d}@trade" for number in range(1023))
    path = f"/stream?streams={names}/btcusdt@trade"
    async with ExchangeDouble(market_config()) as double, connected(double, path) as client:
        assert (await client.next())["stream"] == "btcusdt@trade"
        assert double.violations.total == 0


async def test_connection_ends_with_its_life() -> None:
    """After its life a connection is closed."""
    config = market_config(limits=Limits(connection_life_s=0.3))
    async with ExchangeDouble(config) as double, connected(double, "/ws") as client:
        assert (await client.close_frame())[0] == 1001
        assert double.violations.total == 0


async def test_too_many_attempts_are_refused_at_the_handshake() -> None:
    """The fourth connection of three is answered with 429 and counted."""
    config = market_config(limits=Limits(attempts=3))
    async with ExchangeDouble(config) as double:
        for _ in range(3):
            async with connected(double, "/ws"):
                pass
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with connected(double, "/ws"):
                pass

        assert (caught.value.status, double.violations.connection_attempts) == (429, 1)


async def test_slow_consumer_is_disconnected() -> None:
    """Who does not read is dropped instead of filling memory; others go on."""
    config = DoubleConfig(
        recording=bundled_recording(), speed=200.0, start="manual", limits=Limits(send_queue_bytes=1_000_000)
    )
    everything = "/stream?streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms"
    async with ExchangeDouble(config) as double, connected(double, "/ws/btcusdt@kline_1s") as reader:
        deaf = await _silent_reader(double, everything)
        try:
            while len(double.connections) < 2:
                await asyncio.sleep(0.01)
            double.start()
            async with asyncio.timeout(DEADLINE_S):
                while not double.violations.slow_consumers:
                    await reader.next()
            assert (await reader.next())["e"] == "kline"
        finally:
            deaf.close()
        assert double.violations.slow_consumers == 1


async def _silent_reader(double: ExchangeDouble, path: str) -> asyncio.Transport:
    """A handshake and then nothing is read any more."""
    loop = asyncio.get_running_loop()
    host, _, port = double.ws_url.removeprefix("ws://").partition(":")
    transport, _ = await loop.create_connection(_Deaf, host, int(port))
    transport.write(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    transport.pause_reading()
    return transport


class _Deaf(asyncio.Protocol):
    """Has nothing to say about anything."""
