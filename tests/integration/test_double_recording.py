"""The recorded session, played over a real socket: exactly what its description says."""

from collections import Counter
from decimal import Decimal

from ingest.sim.decimals import units
from ingest.sim.market import MarketPlan
from ingest.sim.recording import bundled_recording
from ingest.sim.server import DoubleConfig, ExchangeDouble
from tests.integration.double_client import connected, get

STREAMS = "/stream?streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms"
EVENTS = 19_904 + 73_174 + 6_495


async def test_whole_session_arrives_as_recorded() -> None:
    """All trades, book tickers and deltas in order, the exact sums, and the final book."""
    config = DoubleConfig(recording=bundled_recording(), speed=1000.0, start=3, wait_for_consumers=True)
    counts: Counter[str] = Counter()
    ids: list[int] = []
    qty = quote = Decimal(0)
    async with ExchangeDouble(config) as double:
        _, snapshot, _ = await get(double, "/api/v3/depth?symbol=BTCUSDT&limit=5000")
        bids, asks = dict(snapshot["bids"]), dict(snapshot["asks"])
        update_id = snapshot["lastUpdateId"]
        async with connected(double, STREAMS) as client:
            for _ in range(EVENTS):
                event = await client.next()
                client.seen.clear()
                data = event["data"]
                counts[event["stream"]] += 1
                if "t" in data:
                    ids.append(data["t"])
                    qty += Decimal(data["q"])
                    quote += Decimal(data["q"]) * Decimal(data["p"])
                elif "U" in data:
                    assert data["U"] == update_id + 1
                    update_id = data["u"]
                    bids.update(data["b"])
                    asks.update(data["a"])
        assert double.violations.total == 0
        assert double.book("BTCUSDT").update_id == update_id == 50_093_696_318

    assert counts == {"btcusdt@trade": 19_904, "btcusdt@bookTicker": 73_174, "btcusdt@depth@100ms": 6_495}
    assert ids == list(range(3_735_683_259, 3_735_703_163))
    assert (qty, quote) == (Decimal("437.91552"), Decimal("27006929.5910348"))
    best_bid = max((units(price), size) for price, size in bids.items() if units(size))
    best_ask = min((units(price), size) for price, size in asks.items() if units(size))
    assert best_bid == (units("61602.01"), "1.67177000")
    assert best_ask == (units("61602.02"), "2.66795000")


async def test_times_are_now_when_sent() -> None:
    """Event times are moved to the present: not in the future, and not long ago."""
    config = DoubleConfig(recording=bundled_recording(), speed=5.0)
    async with ExchangeDouble(config) as double, connected(double, STREAMS) as client:
        events = [event["data"] for event in await client.events(300) if "E" in event["data"]]
        now_ms = double.clock.wall_ns() // 1_000_000

    assert all(now_ms - 20_000 < event["E"] <= now_ms for event in events)
    assert all(event["T"] <= event["E"] for event in events if "T" in event)


async def test_recording_and_seeded_market_play_together() -> None:
    """The seeded symbols do not include the recorded one."""
    config = DoubleConfig(recording=bundled_recording(), market=MarketPlan(symbols=5, rate=300.0))
    async with ExchangeDouble(config) as double:
        _, info, _ = await get(double, "/api/v3/exchangeInfo")
        symbols = [each["symbol"] for each in info["symbols"]]
        path = f"/stream?streams=btcusdt@trade/{symbols[1].lower()}@bookTicker"
        async with connected(double, path) as client:
            streams = {event["stream"] for event in await client.events(100)}

    assert (symbols[0], symbols.count("BTCUSDT"), len(symbols)) == ("BTCUSDT", 1, 6)
    assert len(streams) == 2
