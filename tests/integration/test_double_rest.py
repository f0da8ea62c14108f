"""The exchange double over HTTP: REST with its limits, and the control door."""

import aiohttp

from ingest.clock import SystemClock
from ingest.sim.limits import Limits
from ingest.sim.server import ExchangeDouble
from tests.integration.double_client import connected, get, market_config, post


class _Noon(SystemClock):
    """The real clock, moved so that the test begins with a minute of the exchange."""

    def __init__(self) -> None:
        self._ahead_ns = 60_000_000_000 - super().wall_ns() % 60_000_000_000

    def wall_ns(self) -> int:
        return super().wall_ns() + self._ahead_ns


async def test_answers_carry_the_used_weight() -> None:
    """The header counts up by each call's weight, errors included."""
    async with ExchangeDouble(market_config(), clock=_Noon()) as double:
        used = []
        for path in ("ping", "depth?symbol=BTCUSDT&limit=1000", "klines?symbol=NOSUCH&interval=1m"):
            _, _, headers = await get(double, f"/api/v3/{path}")
            used.append(int(headers["X-MBX-USED-WEIGHT-1M"]))

    assert used == [1, 51, 53]


async def test_too_much_weight_is_429_then_418() -> None:
    """Refused with Retry-After, and banned for going on."""
    config = market_config(limits=Limits(weight_per_minute=100, refusals_before_ban=2))
    async with ExchangeDouble(config, clock=_Noon()) as double:
        answers = [await get(double, "/api/v3/depth?symbol=BTCUSDT&limit=1000") for _ in range(5)]

        assert [status for status, _, _ in answers] == [200, 200, 429, 429, 418]
        assert all(body["code"] == -1003 for status, body, _ in answers if status != 200)
        assert 0 < int(answers[2][2]["Retry-After"]) <= 60
        assert int(answers[4][2]["Retry-After"]) == 121
        assert double.violations.weight == 3


async def test_errors_have_status_400_and_unknown_paths_404() -> None:
    """Codes are in the body of a 400; a page that does not exist is HTML."""
    async with ExchangeDouble(market_config()) as double:
        status, body, _ = await get(double, "/api/v3/depth?symbol=NOSUCH")
        assert (status, body["code"], body["msg"]) == (400, -1121, "Invalid symbol.")
        assert (await get(double, "/api/v3/nosuch"))[0] == 404


async def test_time_unit_header() -> None:
    """Microseconds on demand, and -1194 for what is no unit."""
    async with ExchangeDouble(market_config()) as double:
        _, in_us, _ = await get(double, "/api/v3/time", **{"X-MBX-TIME-UNIT": "MICROSECOND"})
        status, wrong, _ = await get(double, "/api/v3/time", **{"X-MBX-TIME-UNIT": "HOUR"})

    assert in_us["serverTime"] > 10**15
    assert (status, wrong["code"]) == (400, -1194)


async def test_market_starts_when_enough_streams_are_subscribed() -> None:
    """Nothing happens before; REST shows the first book all the time."""
    config = market_config(start=2)
    async with ExchangeDouble(config) as double:
        _, before, _ = await get(double, "/api/v3/depth?symbol=BTCUSDT")
        async with connected(double, "/stream?streams=btcusdt@trade/btcusdt@depth@100ms") as client:
            first = await client.next(lambda event: event["stream"] == "btcusdt@depth@100ms")

    assert first["data"]["U"] == before["lastUpdateId"] + 1


async def test_control_door_runs_the_market() -> None:
    """Start, pause, resume and finish are seen in the state."""
    async with ExchangeDouble(market_config(start="manual")) as double:
        phases = []
        for verb in ("start", "pause", "resume", "finish"):
            _, state = await post(double, f"/_double/{verb}")
            phases.append(state["phase"])

    assert phases == ["playing", "paused", "playing", "finished"]


async def test_state_counts_connections_and_streams() -> None:
    """Who is connected, what they listen to, what happened and what was delivered."""
    async with (
        ExchangeDouble(market_config()) as double,
        connected(double, "/stream?streams=btcusdt@trade") as client,
    ):
        await client.events(5)
        _, state, _ = await get(double, "/_double/state")

    stream = state["streams"]["btcusdt@trade"]
    assert state["connections"][0]["streams"] == ["btcusdt@trade"]
    assert stream["happened"] >= stream["delivered"] >= 5
    assert state["violations"]["total"] == 0


async def test_ledger_is_readable_over_http() -> None:
    """A summary of the series, one as columns, and one event a line."""
    async with ExchangeDouble(market_config()) as double, connected(double, "/ws/btcusdt@trade") as client:
        await client.events(20)
        double.finish()
        _, summary, _ = await get(double, "/_double/ledger")
        _, columns, _ = await get(double, "/_double/ledger?symbol=BTCUSDT&kind=trade")
        _, lines, _ = await get(double, "/_double/ledger?symbol=BTCUSDT&kind=trade&format=ndjson")
        entries = double.ledger.entries("BTCUSDT", "trade")

    counts = {(each["symbol"], each["kind"]): each["happened"] for each in summary["series"]}
    assert counts["BTCUSDT", "trade"] == len(entries)
    assert columns["ids"] == [entry.event_id for entry in entries]
    assert columns["digests"] == [entry.digest for entry in entries]
    assert len(lines.splitlines()) == len(entries)


async def test_symbol_status_is_set_over_http() -> None:
    """BREAK shows in exchangeInfo; what is no status or no symbol is refused."""
    async with ExchangeDouble(market_config()) as double:
        assert (await post(double, "/_double/symbols/BTCUSDT/status", {"status": "BREAK"}))[0] == 200
        _, info, _ = await get(double, "/api/v3/exchangeInfo?symbolStatus=BREAK")
        assert [each["symbol"] for each in info["symbols"]] == ["BTCUSDT"]
        assert (await post(double, "/_double/symbols/BTCUSDT/status", {"status": "?"}))[0] == 400
        assert (await post(double, "/_double/symbols/NOSUCH/status", {"status": "HALT"}))[0] == 404


async def test_symbols_are_listed_and_delisted_over_http() -> None:
    """exchangeInfo follows; a name that was there before, and one that is not there, are refused."""
    async with ExchangeDouble(market_config()) as double:
        assert (await post(double, "/_double/symbols/NEWUSDT", {}))[0] == 200
        assert (await post(double, "/_double/symbols/NEWUSDT", {}))[0] == 409
        _, info, _ = await get(double, "/api/v3/exchangeInfo")
        assert "NEWUSDT" in {each["symbol"] for each in info["symbols"]}

        assert await _delete(double, "/_double/symbols/NEWUSDT") == 200
        assert await _delete(double, "/_double/symbols/NEWUSDT") == 404
        _, info, _ = await get(double, "/api/v3/exchangeInfo")
        assert "NEWUSDT" not in {each["symbol"] for each in info["symbols"]}


async def _delete(double: ExchangeDouble, path: str) -> int:
    async with aiohttp.ClientSession() as session, session.delete(double.rest_url + path) as answer:
        return answer.status


async def test_finish_leaves_ledger_and_wire_in_agreement() -> None:
    """After finish a client has received every event of the ledger, the open depth window included."""
    path = "/stream?streams=btcusdt@trade/btcusdt@depth@100ms/btcusdt@bookTicker/btcusdt@depth"
    async with ExchangeDouble(market_config(start=4)) as double, connected(double, path) as client:
        await client.events(300)
        double.finish()
        await client.send({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await client.reply(1)

        for stream, kind, key in (
            ("btcusdt@trade", "trade", "t"),
            ("btcusdt@depth@100ms", "depth", "u"),
            ("btcusdt@bookTicker", "book_ticker", "u"),
            ("btcusdt@depth", "depth_1s", "u"),
        ):
            received = [event["data"][key] for event in client.seen if event.get("stream") == stream]
            assert received == [entry.event_id for entry in double.ledger.entries("BTCUSDT", kind)]
        assert double.ledger.entries("BTCUSDT", "depth")[-1].event_id == double.book("BTCUSDT").update_id
