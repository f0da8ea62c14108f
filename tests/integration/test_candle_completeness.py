"""Which candles may be called complete: by ids, the gap ledger, the time it speaks for, and what waits."""

import random
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest

from ingest.binance.answers import Instrument
from ingest.buffer import encode
from ingest.events import Gap, StreamKey, Trade
from ingest.store.candles import refresh_candles
from ingest.store.coverage import LONGEST_SILENCE, cover_trades, keep_coverage
from ingest.store.instants import instant, microseconds
from ingest.store.postgres import PostgresSink
from ingest.store.publish import StreamRow
from tests.candles import random_trades
from tests.rows import BTC_TRADE, NOW_US, a_batch, a_trade

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

BTC = Instrument("BTCUSDT", "TRADING", "BTC", "USDT", "0.01", "0.00001")
MINUTE_US = 60_000_000
M0_US = NOW_US // MINUTE_US * MINUTE_US - 20 * MINUTE_US
"""The first microsecond of minute 0 of these tests; a trade with id n happens n seconds after it."""
DAY_US = 86_400_000_000


class Verdict(NamedTuple):
    is_closed: bool
    is_complete: bool
    missing_trades: int


COMPLETE = Verdict(True, True, 0)
OPEN = Verdict(False, False, 0)


@pytest.fixture
async def sink(migrated_url: str) -> AsyncIterator[PostgresSink]:
    """A sink on a database of the test's own, in which the ledger speaks of BTCUSDT from minute -1 on."""
    async with PostgresSink.opened(migrated_url) as opened:
        async with opened.session() as connection:
            await cover_trades(connection, "spot", "BTCUSDT", M0_US - MINUTE_US, M0_US + 60 * MINUTE_US)
        yield opened


async def store(sink: PostgresSink, trades: Iterable[Trade], *gaps: Gap, rolled_up: bool = True) -> None:
    symbol_id = (await sink.instrument_ids("spot", [BTC]))["BTCUSDT"]
    await sink.write(a_batch([encode.trade(symbol_id, each) for each in trades], *gaps))
    if rolled_up:
        async with sink.session() as connection:
            await refresh_candles(connection)


def one_a_second(ids: Iterable[int]) -> list[Trade]:
    """Id 60 is the first of minute 1."""
    return [a_trade(each, ts_us=M0_US + each * 1_000_000) for each in ids]


async def verdicts(sink: PostgresSink, grain: str = "1m") -> dict[int, Verdict]:
    """By minute."""
    async with sink.session() as connection:
        rows = await connection.fetch(
            f"SELECT open_time, is_closed, is_complete, missing_trades FROM spot.candles_{grain}"
            " WHERE symbol = 'BTCUSDT' ORDER BY open_time"
        )
    return {(microseconds(row[0]) - M0_US) // MINUTE_US: Verdict(*row[1:]) for row in rows}


def ledger(first_id: int, last_id: int, *, repairable: bool = True) -> Gap:
    """A hole with the seconds of its neighbours."""
    start_us, end_us = (M0_US + each * 1_000_000 for each in (first_id - 1, last_id + 1))
    return Gap(BTC_TRADE, first_id, last_id, start_us, end_us, "disconnect", repairable, "", NOW_US)


async def test_whole_minute_is_complete_when_it_is_over(sink: PostgresSink) -> None:
    """The one that runs is neither closed nor complete, nor is the one before the ledger speaks."""
    await store(sink, one_a_second(range(-100, 150)))

    assert await verdicts(sink) == {
        -2: Verdict(True, False, 0),
        -1: COMPLETE,
        0: COMPLETE,
        1: COMPLETE,
        2: OPEN,
    }


async def test_candle_of_59_known_seconds_does_not_look_like_one_of_60(sink: PostgresSink) -> None:
    """A second that is lost makes its minute incomplete, and its hour, and no other minute."""
    await store(sink, one_a_second({*range(-5, 200)} - {70}), ledger(70, 70, repairable=False))

    assert await verdicts(sink) == {
        -1: COMPLETE,
        0: COMPLETE,
        1: Verdict(True, False, 1),
        2: COMPLETE,
        3: OPEN,
    }
    assert not any(verdict.is_complete for verdict in (await verdicts(sink, "1h")).values())


async def test_hole_between_two_minutes_makes_both_incomplete(sink: PostgresSink) -> None:
    """Neither has an id missing inside, and nobody knows where the lost ones belong."""
    await store(sink, one_a_second({*range(-5, 200)} - {59, 60}), ledger(59, 60))
    found = await verdicts(sink)

    assert (found[0], found[1]) == (Verdict(True, False, 0), Verdict(True, False, 0))
    assert found[2] == COMPLETE


async def test_gap_behind_the_newest_trade_is_the_ledgers_alone_to_tell(sink: PostgresSink) -> None:
    """Though the stream is known to be quiet since."""
    await store(sink, one_a_second(range(-5, 110)), ledger(110, 115, repairable=False))
    await sink.publish_stream_states([a_row(last_event_us=M0_US, verified_quiet_us=NOW_US)])

    assert await verdicts(sink) == {-1: COMPLETE, 0: COMPLETE, 1: Verdict(True, False, 0)}


async def test_repaired_gap_makes_its_candle_complete(sink: PostgresSink) -> None:
    """Late rows come into it, and what the ledger still calls open is looked up."""
    await store(sink, one_a_second({*range(-5, 130)} - {70, 71}), ledger(70, 71))
    assert (await verdicts(sink))[1] == Verdict(True, False, 2)
    await store(sink, one_a_second([70]))
    assert (await verdicts(sink))[1] == Verdict(True, False, 1)
    await store(sink, one_a_second([71]))

    assert (await verdicts(sink))[1] == COMPLETE


async def test_what_the_exchange_has_not_either_is_not_missing(sink: PostgresSink) -> None:
    """However many rows of the ledger say so."""
    await store(sink, one_a_second({*range(-5, 130)} - {10, 11, 12}))
    assert (await verdicts(sink))[0] == Verdict(True, False, 3)
    async with sink.session() as connection:
        for first, last in ((10, 12), (11, 12)):
            await put_gap(connection, first, last, "absent_at_exchange")

    assert (await verdicts(sink))[0] == COMPLETE


async def test_candle_that_lacks_stored_trades_is_not_closed(sink: PostgresSink) -> None:
    """Between the commit of trades and the next refresh, however old they are."""
    await store(sink, one_a_second(range(-5, 130)))
    assert (await verdicts(sink))[0] == COMPLETE
    await store(sink, [a_trade(7_000, ts_us=M0_US + 500)], rolled_up=False)

    assert (await verdicts(sink))[0] == OPEN
    assert (await verdicts(sink))[-1] == COMPLETE


async def test_quiet_minute_is_closed_by_the_proof_of_quiet(sink: PostgresSink) -> None:
    """No later trade has to come; an older proof says nothing."""
    await store(sink, one_a_second(range(-5, 30)))
    assert (await verdicts(sink))[0] == OPEN
    await sink.publish_stream_states([a_row(last_event_us=M0_US, verified_quiet_us=M0_US + MINUTE_US - 1)])
    assert (await verdicts(sink))[0] == OPEN
    await sink.publish_stream_states([a_row(last_event_us=M0_US, verified_quiet_us=M0_US + MINUTE_US)])

    assert (await verdicts(sink))[0] == COMPLETE


def a_row(
    *, last_event_us: int | None, verified_quiet_us: int | None = None, symbol: str = "BTCUSDT"
) -> StreamRow:
    return StreamRow(
        key=StreamKey("spot", symbol, "trade"),
        shard=0,
        feed="0",
        state="live",
        diagnosis="",
        last_event_us=last_event_us,
        last_recv_us=None,
        last_commit_us=None,
        threshold_s=1.0,
        verified_quiet_us=verified_quiet_us,
        reconnects=0,
        open_gaps=0,
        trades_behind=None,
    )


async def put_gap(
    connection: "Connection",
    first_id: int,
    last_id: int,
    state: str,
    start_us: int | None = None,
    end_us: int | None = None,
) -> None:
    await connection.execute(
        "INSERT INTO ops.gaps (market, symbol, kind, first_id, last_id, start_ts, end_ts, cause, state,"
        " opened_at, closed_at)"
        " VALUES ('spot', 'BTCUSDT', 'trade', $1, $2, $3, $4, 'sequence', $5, clock_timestamp(),"
        " CASE WHEN $5 <> 'open' THEN 'infinity'::timestamptz END)",
        first_id,
        last_id,
        instant(start_us),
        instant(end_us),
        state,
    )


@pytest.mark.parametrize("seed", range(25))
async def test_candles_and_completeness_agree(sink: PostgresSink, seed: int) -> None:
    """Of every closed minute with trades, whatever gaps of whatever state lie in it."""
    rng = random.Random(seed)
    trades = random_trades(
        rng, "BTCUSDT", since_us=M0_US - 30_000_000, span_s=600, count=rng.choice((40, 300, 1_500))
    )
    gone: set[int] = set()
    holes: list[tuple[int, int, str]] = []
    for _ in range(rng.randrange(1, 7)):
        first = rng.randrange(2, len(trades))
        last = min(first + rng.choice((0, 0, 1, 5, len(trades) // 4)), len(trades) + rng.randrange(20))
        state = rng.choice(("open", "unrepairable", "absent_at_exchange", "repaired"))
        holes.append((first, last, state))
        if state != "repaired":
            back = rng.random() * (rng.random() < 0.5 and state != "absent_at_exchange")
            gone |= {each for each in range(first, last + 1) if rng.random() >= back}
    gone -= {1}
    await store(sink, [trade for trade in trades if trade.trade_id not in gone])
    async with sink.session() as connection:
        for first, last, state in holes:
            is_absent = state == "absent_at_exchange" and gone >= set(range(first, last + 1))
            said = state if is_absent or state != "absent_at_exchange" else "unrepairable"
            await put_gap(connection, first, last, said, *_neighbours(trades, gone, first, last))
        rows = await connection.fetch(
            "SELECT minute, is_complete FROM ops.completeness('spot', 'BTCUSDT', $1, $2)",
            instant(M0_US - MINUTE_US),
            instant(M0_US + 12 * MINUTE_US),
        )
    complete = {(microseconds(row[0]) - M0_US) // MINUTE_US: row[1] for row in rows}
    found = {minute: each.is_complete for minute, each in (await verdicts(sink)).items() if each.is_closed}
    # The ledger speaks from minute -1 on, stored rows begin later.
    found.pop(-1, None)

    assert found == {minute: complete[minute] for minute in found}
    assert found


def _neighbours(trades: Sequence[Trade], gone: set[int], first: int, last: int) -> tuple[int, int | None]:
    """Times of the stored rows beside a hole, as the ledger has them; null when none came after it."""
    times = {trade.trade_id: trade.ts_us for trade in trades if trade.trade_id not in gone}
    before = max(each for each in times if each < first)
    after = min((each for each in times if each > last), default=None)
    return times[before], None if after is None else times[after]


# --- the time that the ledger speaks for ------------------------------------------------------------


async def spans(sink: PostgresSink, symbol: str) -> list[tuple[int, int | None]]:
    """In hours from M0, ended ones with their end."""
    async with sink.session() as connection:
        rows = await connection.fetch(
            "SELECT lower(span), upper(span) FROM ops.trade_coverage WHERE symbol = $1 ORDER BY 1", symbol
        )
    hour_us = 60 * MINUTE_US
    return [
        tuple(None if each is None else (microseconds(each) - M0_US) // hour_us for each in row)  # type: ignore[misc]
        for row in rows
    ]


async def carried(sink: PostgresSink, *hours: float | None) -> None:
    """What the service sees, one after another: the newest committed trade of ETHUSDT."""
    for hour in hours:
        event_us = None if hour is None else M0_US + int(hour * 60 * MINUTE_US)
        await sink.publish_stream_states([a_row(last_event_us=event_us, symbol="ETHUSDT")])
        async with sink.session() as connection:
            await keep_coverage(connection)
            await keep_coverage(connection)


async def test_ledger_speaks_from_the_first_live_trade_on(sink: PostgresSink) -> None:
    """And without an end, over restarts and days without a trade."""
    await carried(sink, None)
    assert await spans(sink, "ETHUSDT") == []
    await carried(sink, 0, 1, 2, 60)

    assert await spans(sink, "ETHUSDT") == [(0, None)]


async def test_silence_that_no_restart_would_look_back_over_ends_the_span(sink: PostgresSink) -> None:
    """What was missed in it has no row; from the next live trade on there is one for everything again."""
    silence_h = LONGEST_SILENCE / timedelta(hours=1)
    await carried(sink, 0, 5, 5 + silence_h + 1, 5 + silence_h + 3)

    assert await spans(sink, "ETHUSDT") == [(0, 5), (int(5 + silence_h + 1), None)]


async def test_spans_that_touch_are_one(sink: PostgresSink) -> None:
    """A candle may lie over the border of what was filled by hand and what came live."""
    async with sink.session() as connection:
        await connection.execute("DELETE FROM ops.trade_coverage")
        await cover_trades(connection, "spot", "BTCUSDT", M0_US, M0_US + MINUTE_US // 2)
        await cover_trades(connection, "spot", "BTCUSDT", M0_US, M0_US + MINUTE_US // 2)
        await cover_trades(connection, "spot", "BTCUSDT", M0_US + MINUTE_US // 2, M0_US + MINUTE_US)
    await store(sink, one_a_second(range(-5, 130)))

    assert (await verdicts(sink))[0] == COMPLETE
    assert not (await verdicts(sink))[1].is_complete
