"""Expected and stored trades by minute, by what ids and ledger say, on a real server."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta

import asyncpg
import pytest

from ingest.binance.answers import Instrument
from ingest.buffer import encode
from ingest.events import Gap
from ingest.store.instants import instant
from ingest.store.postgres import PostgresSink
from ingest.store.publish import StreamRow
from tests.rows import BTC_TRADE, NOW_US, a_batch, a_trade

BTC = Instrument("BTCUSDT", "TRADING", "BTC", "USDT", "0.01", "0.00001")
MINUTE_US = 60_000_000
M0_US = NOW_US // MINUTE_US * MINUTE_US - 10 * MINUTE_US
"""The first microsecond of minute 0 of these tests; a trade with id n happens n seconds after it."""


def moment(minute: float) -> datetime:
    return instant(M0_US + int(minute * MINUTE_US))


@pytest.fixture
async def sink(migrated_url: str) -> AsyncIterator[PostgresSink]:
    """A sink on a database of the test's own that knows BTCUSDT."""
    async with PostgresSink.opened(migrated_url) as opened:
        yield opened


async def store(sink: PostgresSink, ids: Iterable[int], *gaps: Gap) -> None:
    """One trade a second: id 60 is the first of minute 1."""
    symbol_id = (await sink.instrument_ids("spot", [BTC]))["BTCUSDT"]
    rows = [encode.trade(symbol_id, a_trade(each, ts_us=M0_US + each * 1_000_000)) for each in ids]
    await sink.write(a_batch(rows, *gaps))


def ledger(first_id: int, last_id: int, *, repairable: bool = True, opened_us: int = NOW_US) -> Gap:
    """A hole with the seconds of its neighbours."""
    start_us, end_us = (M0_US + each * 1_000_000 for each in (first_id - 1, last_id + 1))
    return Gap(BTC_TRADE, first_id, last_id, start_us, end_us, "disconnect", repairable, "", opened_us)


async def completeness(
    sink: PostgresSink, first: float, last: float, symbol: str = "BTCUSDT"
) -> list[tuple[int, int, int, bool]]:
    """(minute, expected, stored, is_complete) from one minute to another."""
    async with sink.session() as connection:
        rows = await connection.fetch(
            "SELECT * FROM ops.completeness('spot', $1, $2, $3)", symbol, moment(first), moment(last)
        )
    return [((row[0] - moment(0)) // timedelta(minutes=1), *row[1:]) for row in rows]


async def test_minutes_without_a_hole_are_complete(sink: PostgresSink) -> None:
    """Rows on both sides show that nothing is missing between them."""
    await store(sink, range(-1, 181))

    assert await completeness(sink, 0, 3) == [(0, 60, 60, True), (1, 60, 60, True), (2, 60, 60, True)]


async def test_missing_ids_are_expected_in_their_minute(sink: PostgresSink) -> None:
    """Neighbouring minutes are not touched by a hole inside one."""
    await store(sink, {*range(-1, 181)} - {70, 71, 72, 100})

    assert await completeness(sink, 0, 3) == [(0, 60, 60, True), (1, 60, 56, False), (2, 60, 60, True)]


async def test_hole_over_minutes_is_spread_and_its_sum_is_right(sink: PostgresSink) -> None:
    """By time: what is missing is not known more exactly than that."""
    await store(sink, {*range(-1, 241)} - {*range(45, 190)})
    rows = await completeness(sink, 0, 4)

    assert [row[2] for row in rows] == [45, 0, 0, 50]
    assert sum(row[1] for row in rows) == 240
    assert [row[1] for row in rows] == pytest.approx([60, 60, 60, 60], abs=1)
    assert not any(row[3] for row in rows)


@pytest.mark.parametrize("missing", [1, 2, 3])
async def test_few_ids_missing_over_many_minutes_make_all_of_them_incomplete(
    sink: PostgresSink, missing: int
) -> None:
    """Nobody knows in which minute the one trade happened; it is expected once."""
    symbol_id = (await sink.instrument_ids("spot", [BTC]))["BTCUSDT"]
    ids_at = {1: -30, 2: 30, 3 + missing: 270, 4 + missing: 330}
    rows = [encode.trade(symbol_id, a_trade(i, ts_us=M0_US + at_s * 1_000_000)) for i, at_s in ids_at.items()]
    await sink.write(a_batch(rows))
    found = await completeness(sink, 0, 5)

    assert sum(row[1] - row[2] for row in found) == missing
    assert not any(row[3] for row in found)


async def test_hole_that_reaches_into_the_span_is_seen(sink: PostgresSink) -> None:
    """Its other end lies outside, on either side."""
    await store(sink, {*range(-60, 241)} - {*range(-10, 5)} - {*range(110, 130)})

    assert await completeness(sink, 0, 2) == [(0, 60, 55, False), (1, 60, 50, False)]


async def test_what_the_exchange_has_not_either_is_not_expected(sink: PostgresSink) -> None:
    """However many rows of the ledger say so."""
    await store(sink, {*range(-1, 121)} - {10, 11, 12, 80})
    async with sink.session() as connection:
        for first, last in ((10, 12), (11, 12)):
            await connection.execute(
                "INSERT INTO ops.gaps (market, symbol, kind, first_id, last_id, cause, state, opened_at,"
                " closed_at) VALUES ('spot', 'BTCUSDT', 'trade', $1, $2, 'sequence', 'absent_at_exchange',"
                " now(), now())",
                first,
                last,
            )

    assert await completeness(sink, 0, 2) == [(0, 57, 57, True), (1, 60, 59, False)]


@pytest.mark.parametrize("repairable", [True, False], ids=["open", "unrepairable"])
async def test_gap_beyond_the_newest_row_is_expected_by_the_ledger(
    sink: PostgresSink, repairable: bool
) -> None:
    """Ids cannot show it as long as nothing behind it is stored."""
    await store(sink, range(-1, 61), ledger(61, 90, repairable=repairable))

    assert await completeness(sink, 0, 2) == [(0, 60, 60, True), (1, 31, 1, False)]


async def test_gap_between_rows_is_counted_once(sink: PostgresSink) -> None:
    """The ids say it, the ledger says it again."""
    await store(sink, {*range(-1, 121)} - {*range(20, 30)}, ledger(20, 29))

    assert await completeness(sink, 0, 2) == [(0, 60, 50, False), (1, 60, 60, True)]


async def test_what_nothing_shows_is_not_called_complete(sink: PostgresSink) -> None:
    """Minutes before the first row, that of the first row, that of the newest, and later ones."""
    await store(sink, range(90, 210))

    assert await completeness(sink, 0, 5) == [
        (0, 0, 0, False),
        (1, 30, 30, False),
        (2, 60, 60, True),
        (3, 30, 30, False),
        (4, 0, 0, False),
    ]


async def test_proof_of_quiet_completes_the_minutes_before_it(sink: PostgresSink) -> None:
    """The exchange had nothing newer up to that moment."""
    await store(sink, range(-1, 70))
    at_us = M0_US + 3 * MINUTE_US
    row = StreamRow(BTC_TRADE, 0, "0", "quiet", "", M0_US, M0_US, M0_US, 60.0, at_us, 0, 0)
    await sink.publish_stream_states([row])

    assert await completeness(sink, 0, 4) == [
        (0, 60, 60, True),
        (1, 10, 10, True),
        (2, 0, 0, True),
        (3, 0, 0, False),
    ]


async def test_span_begins_with_a_whole_minute_and_ends_before_its_end(sink: PostgresSink) -> None:
    """`to` is exclusive; the minute that `from` lies in is counted whole."""
    await store(sink, range(-1, 181))

    assert await completeness(sink, 0.5, 2) == [(0, 60, 60, True), (1, 60, 60, True)]
    assert await completeness(sink, 1, 1) == []


async def test_symbol_without_rows_is_not_complete(sink: PostgresSink) -> None:
    """Nothing is known of it, so nothing is expected."""
    assert await completeness(sink, 0, 1, "NOSUCHUSDT") == [(0, 0, 0, False)]


async def test_session_time_zone_does_not_move_minutes(sink: PostgresSink) -> None:
    """Nor does anything else of the session."""
    await store(sink, range(-1, 61))
    async with sink.session() as connection:
        await connection.execute("SET timezone = 'Asia/Kathmandu'")
        rows = await connection.fetch(
            "SELECT * FROM ops.completeness('spot', 'BTCUSDT', $1, $2)", moment(0), moment(1)
        )
        await connection.execute("RESET timezone")

    assert [tuple(row) for row in rows] == [(moment(0), 60, 60, True)]


async def test_market_without_trades_is_refused(sink: PostgresSink) -> None:
    """An empty answer would read like a quiet market."""
    async with sink.session() as connection:
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.fetch("SELECT * FROM ops.completeness('usdm', 'BTCUSDT', now(), now())")

    assert refused.value.sqlstate == "ST002"
