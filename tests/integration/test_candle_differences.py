"""Our candles against the exchange's: nothing differs, unless something was altered: that is named."""

import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import cast

import pytest

from ingest.binance.answers import Instrument
from ingest.buffer import encode
from ingest.buffer.tables import KLINES
from ingest.events import Kline, Trade
from ingest.store.candles import GRAINS, refresh_candles
from ingest.store.coverage import cover_trades
from ingest.store.instants import instant
from ingest.store.partitions import ensure_partitions
from ingest.store.postgres import PostgresSink
from tests.candles import WIDTH_US, Candle, candles_of, encoded, random_trades
from tests.rows import NOW_US, a_batch

BTC = Instrument("BTCUSDT", "TRADING", "BTC", "USDT", "0.01", "0.00001")
DAY_US = WIDTH_US["1d"]
SINCE_US = NOW_US // DAY_US * DAY_US - 5 * DAY_US
TRADES = random_trades(random.Random(1), "BTCUSDT", since_us=SINCE_US + 1_000, span_s=2 * 86_400, count=3_000)
MINUTE_US = 60_000_000


def the_exchanges(open_us: int, grain: str, candle: Candle) -> Kline:
    """The same candle as the exchange prints it: eight decimals."""
    numbers = {name: f"{value:.8f}" for name, value in candle._asdict().items() if isinstance(value, Decimal)}
    close_us = open_us + WIDTH_US[grain] - 1_000
    return Kline(
        symbol="BTCUSDT",
        interval=grain,
        open_time_us=open_us,
        close_time_us=close_us,
        trades=candle.trades,
        is_closed=True,
        ts_us=close_us,
        recv_ns=close_us * 1_000,
        **numbers,
    )


KLINES_OF: dict[tuple[str, int], Kline] = {
    (grain, open_us): the_exchanges(open_us, grain, candle)
    for grain in GRAINS
    for (_, open_us), candle in candles_of(TRADES, grain).items()
}


@pytest.fixture
async def sink(migrated_url: str) -> AsyncIterator[PostgresSink]:
    """Two days of trades and all the exchange's candles of them; a later trade closes the last one."""
    async with PostgresSink.opened(migrated_url) as opened:
        ids = await opened.instrument_ids("spot", [BTC])
        later = Trade("BTCUSDT", TRADES[-1].trade_id + 1, SINCE_US + 3 * DAY_US, "1", "1", True, 0)
        klines = [encode.kline(ids["BTCUSDT"], kline) for kline in KLINES_OF.values()]
        async with opened.session() as connection:
            await ensure_partitions(connection, now=instant(SINCE_US), days_ahead=4)
            await cover_trades(connection, "spot", "BTCUSDT", SINCE_US, SINCE_US + 4 * DAY_US)
            await opened.write(a_batch(encoded([*TRADES, later], ids)))
            await opened.write(a_batch(klines, table=KLINES))
            while cast("tuple[int, int]", await refresh_candles(connection))[0]:
                pass
        yield opened


async def differences(sink: PostgresSink, where: str = "true") -> list[tuple[object, ...]]:
    async with sink.session() as connection:
        rows = await connection.fetch(
            f"SELECT interval, open_time, field, ours, theirs FROM spot.candle_differences WHERE {where}"
            " ORDER BY interval, open_time, field"
        )
    return [tuple(row) for row in rows]


async def execute(sink: PostgresSink, sql: str, *arguments: object) -> None:
    async with sink.session() as connection:
        assert not (await connection.execute(sql, *arguments)).endswith(" 0")


async def test_nothing_differs(sink: PostgresSink) -> None:
    """Of any width; the exchange's products have eight decimals, ours are exact."""
    assert await differences(sink) == []
    async with sink.session() as connection:
        for grain in GRAINS:
            count = await connection.fetchval(f"SELECT count(*) FROM spot.candles_{grain} WHERE is_complete")
            assert count == sum(interval == grain for interval, _ in KLINES_OF)


FIELDS = "open high low close volume quote_volume trades taker_buy_volume taker_buy_quote_volume".split()


@pytest.mark.parametrize(
    ("field", "grain"), [*((field, "1m") for field in FIELDS), *(("close", grain) for grain in GRAINS)]
)
async def test_altered_field_is_named(sink: PostgresSink, field: str, grain: str) -> None:
    """On either side; a ten-thousandth is enough."""
    step = 1 if field == "trades" else Decimal("0.0001")
    open_us = [open_us for interval, open_us in KLINES_OF if interval == grain][-1]
    at = instant(open_us)
    await execute(
        sink,
        f"UPDATE spot_raw.klines SET {field} = {field} + $2 WHERE interval = $3 AND open_time = $1",
        at,
        step,
        grain,
    )
    ((interval, open_time, name, ours, theirs),) = await differences(sink)

    assert (interval, open_time, name) == (grain, at, field)
    assert abs(Decimal(str(theirs)) - Decimal(str(ours)) - step) < Decimal("0.0000001")


async def test_candle_that_we_lack_is_named(sink: PostgresSink) -> None:
    """Though the ledger says nothing; one of the exchange without trades is not missed."""
    last = TRADES[-1]
    open_us = last.ts_us // 1_000_000 * 1_000_000 + 7_000_000
    empty = KLINES_OF["1s", last.ts_us // 1_000_000 * 1_000_000]._replace(open_time_us=open_us, trades=0)
    full = empty._replace(open_time_us=open_us + 1_000_000, trades=2)
    ids = await sink.instrument_ids("spot", [BTC])
    await sink.write(a_batch([encode.kline(ids["BTCUSDT"], each) for each in (empty, full)], table=KLINES))

    assert await differences(sink) == [("1s", instant(full.open_time_us), "trades", Decimal(0), Decimal(2))]


@pytest.mark.parametrize("state", ["open", "unrepairable"])
async def test_what_is_known_to_be_missing_does_not_differ(sink: PostgresSink, state: str) -> None:
    """A candle that is not complete is not compared, at any width, nor one that is not there."""
    gone = [trade for trade in TRADES if SINCE_US + 3_600_000_000 <= trade.ts_us < SINCE_US + 7_200_000_000]
    assert len(gone) > 10
    await execute(
        sink, "DELETE FROM spot_raw.trades WHERE trade_id = ANY ($1)", [each.trade_id for each in gone]
    )
    for grain in GRAINS:
        await execute(sink, f"DELETE FROM spot_raw.candles_{grain} WHERE open_time >= $1", instant(SINCE_US))
    await execute(
        sink,
        "INSERT INTO ops.gaps (market, symbol, kind, first_id, last_id, start_ts, end_ts, cause, state,"
        " opened_at, closed_at) VALUES ('spot', 'BTCUSDT', 'trade', $1, $2, $3, $4, 'sequence', $5, now(),"
        " CASE WHEN $5 <> 'open' THEN now() END)",
        gone[0].trade_id,
        gone[-1].trade_id,
        instant(TRADES[gone[0].trade_id - 2].ts_us),
        instant(TRADES[gone[-1].trade_id].ts_us),
        state,
    )
    await execute(
        sink,
        "INSERT INTO spot_raw.trades_touched (is_backlog, symbol_ids, oldest, newest)"
        " SELECT true, ARRAY[symbol_id], $1, $2 FROM ops.instruments",
        instant(SINCE_US),
        instant(SINCE_US + 4 * DAY_US),
    )
    async with sink.session() as connection:
        while cast("tuple[int, int]", await refresh_candles(connection))[0]:
            pass

    assert await differences(sink) == []
    async with sink.session() as connection:
        assert await connection.fetchval("SELECT count(*) FROM spot.candles_1m WHERE is_complete") > 1_000
