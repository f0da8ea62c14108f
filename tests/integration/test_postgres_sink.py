"""Batches against a real server: every way in, and every way it can go wrong."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from decimal import Decimal

import asyncpg
import pytest

from ingest.binance.answers import Instrument
from ingest.book.moment import Neighbour
from ingest.buffer import encode, tables
from ingest.buffer.batcher import Batch
from ingest.buffer.tables import BOOK_TICKERS, KLINES, TABLES, TRADES, Table
from ingest.errors import RowsRefused, SchemaMismatch, StoreUnavailable
from ingest.events import AvgPrice, GapFilled, MiniTicker, StreamKey, Ticker
from ingest.store.instants import instant
from ingest.store.ledger import (
    OpenGap,
    close_covered_gaps,
    count_open_gaps,
    gaps_after,
    oldest_open_gaps,
)
from ingest.store.lookup import ResumePoint
from ingest.store.postgres import STICKY_BATCHES, PostgresSink
from ingest.store.publish import ShardRow, StreamRow
from ingest.store.sessions import SessionLimits, connected
from ingest.store.statements import statement
from tests.rows import (
    BTC_TRADE,
    NOW_US,
    a_bad_trade_row,
    a_batch,
    a_book_ticker,
    a_delta,
    a_gap,
    a_kline,
    a_kline_batch,
    a_snapshot,
    a_trade,
    an_agg_trade,
    the_gap_filled,
    trade_rows,
)

DAY_US = 86_400_000_000
BTC = Instrument("BTCUSDT", "TRADING", "BTC", "USDT", "0.01", "0.00001")


@pytest.fixture
async def sink(migrated_url: str) -> AsyncIterator[PostgresSink]:
    """A sink on a database of the test's own, in which BTCUSDT has the id that rows have."""
    async with PostgresSink.opened(migrated_url) as opened:
        async with opened.session() as connection:
            await connection.execute("ALTER TABLE ops.instruments ALTER symbol_id RESTART WITH 7")
        assert await opened.instrument_ids("spot", [BTC]) == {"BTCUSDT": 7}
        yield opened


async def fetch(sink: PostgresSink, query: str, *arguments: object) -> list[asyncpg.Record]:
    async with sink.session() as connection:
        return await connection.fetch(query, *arguments)


async def trade_ids(sink: PostgresSink) -> list[int]:
    return [row[0] for row in await fetch(sink, "SELECT trade_id FROM spot.trades ORDER BY trade_id")]


async def go_direct(sink: PostgresSink) -> None:
    """Bring trades to direct COPY: the batches after a start are staged."""
    for number in range(STICKY_BATCHES):
        assert (await sink.write(a_batch(trade_rows([-1 - number])))).staged
    await fetch(sink, "DELETE FROM spot_raw.trades")


# ---------------------------------------------------------------------- what is stored

MINI_TICKER = MiniTicker("BTCUSDT", NOW_US, "1", "2", "3", "0.5", "10", "20", NOW_US * 1_000)
TICKER_PRICES = ("1", "2", "3", "0.5", "10", "20", "-1", "-0.50", "1.5", "2", "0.1", "1", "5", "1.1", "6")
TICKER = Ticker("BTCUSDT", NOW_US, *TICKER_PRICES, NOW_US - DAY_US, NOW_US, 11, 12, 2, NOW_US * 1_000)
AVG_PRICE = AvgPrice("BTCUSDT", NOW_US, "5m", "1.250", NOW_US - 500, NOW_US * 1_000)

ROWS = {
    tables.TRADES: encode.trade(7, a_trade()),
    tables.AGG_TRADES: encode.agg_trade(7, an_agg_trade()),
    tables.BOOK_TICKERS: encode.book_ticker(7, a_book_ticker()),
    tables.DEPTH_DELTAS: encode.depth_delta(7, a_delta(bids=[("1.10", "2"), ("1.00", "0")])),
    tables.DEPTH_SNAPSHOTS: encode.depth_snapshot(7, a_snapshot()),
    tables.KLINES: encode.kline(7, a_kline()),
    tables.TICKERS: encode.ticker(7, TICKER),
    tables.AVG_PRICES: encode.avg_price(7, AVG_PRICE),
}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
async def test_row_of_every_table_arrives_once(sink: PostgresSink, table: Table) -> None:
    """A row is stored by the staged and by the direct way, and is there once for all that."""
    batch = a_batch([ROWS[table]], table=table)
    first = await sink.write(batch)
    sink._staging[table] = 0
    again = await sink.write(batch)

    assert (first.rows, again.rows, again.conflicts) == (1, 0, 1)
    ((count, symbol),) = await fetch(sink, f"SELECT count(*), min(symbol) FROM spot.{table.name}")
    assert (count, symbol) == (1, "BTCUSDT")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
async def test_staging_table_has_the_columns_of_its_market_table(sink: PostgresSink, table: Table) -> None:
    """In the same order, of the same types: rows are merged with all their columns at once."""
    columns = (
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
        " WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    async with sink.session() as connection:
        market = await connection.fetch(columns, f"{table.schema}.{table.name}")
        stage = await connection.fetch(columns, f"pg_temp.stage_{table.name}")

    assert [tuple(column) for column in stage] == [tuple(column) for column in market]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
async def test_direct_way_stores_what_the_staged_way_stores(sink: PostgresSink, table: Table) -> None:
    """Both ways give the same row, field by field."""
    batch = a_batch([ROWS[table]], table=table)
    await sink.write(batch)
    staged = await fetch(sink, f"SELECT * FROM spot.{table.name}")
    await fetch(sink, f"DELETE FROM spot_raw.{table.name}")
    sink._staging[table] = 0
    await sink.write(batch)

    assert await fetch(sink, f"SELECT * FROM spot.{table.name}") == staged


async def test_fields_of_a_trade_come_back_as_they_were(sink: PostgresSink) -> None:
    """Times to the microsecond, exact decimals with their scale, the symbol beside its id."""
    trade = a_trade(5, ts_us=NOW_US + 123_456, price="61602.01000000", qty="0.00001")
    await sink.write(a_batch([encode.trade(7, trade)]))

    (row,) = await fetch(sink, "SELECT *, price::text AS printed FROM spot.trades")
    assert dict(row) == {
        "symbol": "BTCUSDT",
        "trade_id": 5,
        "ts": instant(NOW_US + 123_456),
        "price": Decimal("61602.01000000"),
        "qty": Decimal("0.00001"),
        "buyer_is_maker": True,
        "recv_ts": instant(NOW_US + 153_456),
        "printed": "61602.01000000",
        "symbol_id": 7,
    }


async def test_fields_of_a_delta_come_back_as_they_were(sink: PostgresSink) -> None:
    """Arrays keep order and scale of the levels; times survive the way through text."""
    delta = a_delta(9, ts_us=NOW_US + 654_321, bids=[("2.10", "1"), ("2.00", "0.000")])
    await sink.write(a_batch([encode.depth_delta(7, delta)], table=tables.DEPTH_DELTAS))

    (row,) = await fetch(
        sink,
        "SELECT ts, recv_ts, bid_prices::text[], bid_qtys::text[], ask_prices::text[] FROM spot.depth_deltas",
    )
    assert list(row) == [instant(NOW_US + 654_321)] * 2 + [
        ["2.10", "2.00"],
        ["1", "0.000"],
        ["61602.02000000"],
    ]


async def test_both_tickers_of_a_moment_are_kept(sink: PostgresSink) -> None:
    """A mini ticker and a 24 h ticker of the same time do not replace each other."""
    rows = [encode.mini_ticker(7, MINI_TICKER), encode.ticker(7, TICKER)]
    await sink.write(a_batch(rows, table=tables.TICKERS))

    found = await fetch(
        sink, "SELECT kind, price_change_percent::text, trades FROM spot.tickers ORDER BY kind"
    )
    assert [tuple(row) for row in found] == [("mini_ticker", None, None), ("ticker", "-0.50", 2)]


def some_decimals(rng: random.Random, count: int) -> list[str]:
    """Spellings of every shape that the encoder takes."""
    texts = ["0", "0.0", "-0", "1e-8", "1.50e1", "9999.99999999", "10000.00000000", "100000000.00000000"]
    while len(texts) < count:
        digits = "".join(rng.choices("0009123456789", k=rng.randint(1, 24)))
        point = rng.randint(0, len(digits))
        places = f"{digits[:point] or '0'}.{digits[point:]}"
        texts += [
            f"{rng.randrange(10 ** rng.randint(1, 12))}.{rng.randrange(10**8):08d}",
            rng.choice(("", "-", "+")) + places,
            f"{places}e{rng.randint(-30, 30)}",
        ]
    return texts[:count]


async def test_server_prints_every_decimal_as_its_own_reading_of_the_text(sink: PostgresSink) -> None:
    """Thousands of numbers through the encoder equal the server's own cast, value and scale."""
    texts = some_decimals(random.Random(1), 6_000)
    rows = [encode.trade(7, a_trade(number, price=text, qty=text)) for number, text in enumerate(texts)]
    await sink.write(a_batch(rows))

    wrong = await fetch(
        sink,
        "SELECT given.text, price::text, qty::text FROM spot.trades"
        " JOIN unnest($1::text[]) WITH ORDINALITY AS given (text, n) ON n = trade_id + 1"
        " WHERE price::text <> given.text::numeric::text OR qty::text <> given.text::numeric::text",
        texts,
    )
    assert wrong == []
    assert len(await trade_ids(sink)) == 6_000


# ---------------------------------------------------------------------- duplicates


@pytest.mark.parametrize(
    "second",
    [[1, 11, 12], [11, 5, 12], [11, 12, 10], list(range(1, 11)), [11, 12, 11], [5, 5, 5], [10, 9, 8, 11]],
    ids=["first", "middle", "last", "all", "within", "one thrice", "backwards"],
)
async def test_duplicates_in_any_place_cost_no_other_row(sink: PostgresSink, second: list[int]) -> None:
    """A batch with rows that are there already, or twice in itself, brings in all the others."""
    await go_direct(sink)
    await sink.write(a_batch(trade_rows(range(1, 11))))

    written = await sink.write(a_batch(trade_rows(second)))

    assert await trade_ids(sink) == sorted({*range(1, 11), *second})
    assert written.rows + written.conflicts == len(second)
    assert written.rows == len({*second} - {*range(1, 11)})
    assert written.staged


async def test_way_is_direct_after_enough_batches_without_duplicates(sink: PostgresSink) -> None:
    """A table is staged at first, and goes direct when nothing was there twice for a while."""
    ways = [(await sink.write(a_batch(trade_rows([number])))).staged for number in range(STICKY_BATCHES + 2)]

    assert ways == [True] * STICKY_BATCHES + [False] * 2


async def test_conflict_makes_the_staged_way_stick(sink: PostgresSink) -> None:
    """After a duplicate the next batches are staged, until enough came without one."""
    await go_direct(sink)
    assert not (await sink.write(a_batch(trade_rows([1])))).staged
    assert (await sink.write(a_batch(trade_rows([1])))).conflicts == 1

    ways = [(await sink.write(a_batch(trade_rows([10 + n])))).staged for n in range(STICKY_BATCHES + 1)]
    assert ways == [True] * STICKY_BATCHES + [False]


async def test_expected_duplicates_are_staged(sink: PostgresSink) -> None:
    """Who knows that duplicates come says so, for a table or for all."""
    await go_direct(sink)
    sink.expect_duplicates(KLINES)
    assert not (await sink.write(a_batch(trade_rows([1])))).staged
    sink.expect_duplicates()
    assert (await sink.write(a_batch(trade_rows([2])))).staged


async def test_two_writers_with_the_same_rows_in_opposite_order_do_not_deadlock(migrated_url: str) -> None:
    """Two collectors that offer the same rows from both ends finish without an error, each row once."""

    async def write(ids: list[int]) -> None:
        async with PostgresSink.opened(migrated_url, connections=1) as sink:
            for start in range(0, len(ids), 500):
                sink.expect_duplicates()
                await sink.write(a_batch(trade_rows(ids[start : start + 500])))

    forward = list(range(10_000))
    blocks = [forward[start : start + 500] for start in range(0, 10_000, 500)]
    backward = [trade_id for block in blocks for trade_id in reversed(block)]
    async with asyncio.TaskGroup() as group:
        group.create_task(write(forward))
        group.create_task(write(backward))

    async with connected(migrated_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM spot_raw.trades") == 10_000


# ---------------------------------------------------------------------- two lines


def ticker_rows(ids: Iterable[int], *, late_us: int = 0) -> list[bytes]:
    """Book tickers a millisecond apart, as a line brings them that is so late."""
    start_us = NOW_US + late_us
    return [
        encode.book_ticker(7, a_book_ticker(each)._replace(ts_us=start_us + each * 1_000)) for each in ids
    ]


async def ticker_ids(sink: PostgresSink) -> list[int]:
    rows = await fetch(sink, "SELECT update_id FROM spot.book_tickers ORDER BY update_id")
    return [row["update_id"] for row in rows]


async def test_book_ticker_of_two_lines_is_stored_once(sink: PostgresSink, migrated_url: str) -> None:
    """Though each line dates it by its own arrival: the first wins, and the rest of a batch comes in."""
    async with PostgresSink.opened(migrated_url, lines=2) as other:
        await other.write(a_batch(ticker_rows(range(1, 11)), table=BOOK_TICKERS))
        written = await other.write(
            a_batch(ticker_rows([9, 10, 11, 12], late_us=2_500_000), table=BOOK_TICKERS)
        )

        assert (written.rows, written.conflicts) == (2, 2)
        assert await ticker_ids(other) == list(range(1, 13))


async def test_two_lines_that_write_at_once_store_each_book_ticker_once(migrated_url: str) -> None:
    """Neither sees what the other has not committed yet, so they take turns."""

    async def write(late_us: int) -> None:
        async with PostgresSink.opened(migrated_url, connections=1, lines=2) as sink:
            for start in range(0, 4_000, 200):
                rows = ticker_rows(range(start, start + 200), late_us=late_us)
                await sink.write(a_batch(rows, table=BOOK_TICKERS))

    async with asyncio.TaskGroup() as group:
        group.create_task(write(0))
        group.create_task(write(37))

    async with connected(migrated_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM spot_raw.book_tickers") == 4_000


async def test_with_two_lines_every_batch_is_staged(migrated_url: str) -> None:
    """Duplicates are the rule there."""
    async with PostgresSink.opened(migrated_url, lines=2) as sink:
        await go_direct(sink)

        assert (await sink.write(a_batch(trade_rows([1])))).staged


# ---------------------------------------------------------------------- candles


async def closes(sink: PostgresSink) -> list[tuple[str, bool]]:
    rows = await fetch(sink, "SELECT close::text, is_closed FROM spot.klines ORDER BY open_time")
    return [(row[0], row[1]) for row in rows]


async def test_newest_version_of_a_candle_wins_within_a_batch(sink: PostgresSink) -> None:
    """Versions of one candle in one batch, in any order: the newest is stored."""
    versions = [a_kline("1", after_s=1), a_kline("3", after_s=3), a_kline("2", after_s=2)]

    written = await sink.write(a_kline_batch(*versions))

    assert await closes(sink) == [("3", False)]
    assert (written.rows, written.conflicts) == (1, 2)


async def test_newer_version_replaces_an_older_one_and_never_the_reverse(sink: PostgresSink) -> None:
    """A stored candle changes with newer versions only."""
    for close, after_s, expected in (("2", 2, "2"), ("3", 3, "3"), ("1", 1, "3")):
        await sink.write(a_kline_batch(a_kline(close, after_s=after_s)))
        assert await closes(sink) == [(expected, False)]


async def test_closed_candle_is_never_opened_again(sink: PostgresSink) -> None:
    """An open version does not replace a closed one, not even when it says that it is newer."""
    await sink.write(a_kline_batch(a_kline("9", after_s=60, is_closed=True), a_kline("8", after_s=61)))
    await sink.write(a_kline_batch(a_kline("7", after_s=62)))

    assert await closes(sink) == [("9", True)]


async def test_candles_of_several_minutes_are_kept_apart(sink: PostgresSink) -> None:
    """Each open time has its own row."""
    minute = 60_000_000
    await sink.write(
        a_kline_batch(a_kline("1"), a_kline("2", open_us=NOW_US + minute), a_kline("3", after_s=5))
    )

    assert await closes(sink) == [("3", False), ("2", False)]


# ---------------------------------------------------------------------- gaps


async def gaps(sink: PostgresSink) -> list[tuple[object, ...]]:
    query = "SELECT first_id, last_id, state, rows_repaired, closed_at FROM ops.gaps ORDER BY gap_id"
    return [tuple(row) for row in await fetch(sink, query)]


@pytest.mark.parametrize("direct", [False, True])
async def test_gap_and_rows_are_committed_together(sink: PostgresSink, direct: bool) -> None:
    """A batch stores its gap with its rows; written again, neither doubles."""
    if direct:
        await go_direct(sink)
    batch = a_batch(trade_rows([10, 11]), a_gap(5, 9))

    first, again = await sink.write(batch), await sink.write(batch)

    assert (first.staged, again.staged) == (not direct, True)
    assert await gaps(sink) == [(5, 9, "open", 0, None)]
    assert await trade_ids(sink) == [10, 11]


@pytest.mark.parametrize("direct", [False, True])
async def test_gap_is_not_stored_without_its_rows(sink: PostgresSink, direct: bool) -> None:
    """When the rows are refused the gap is rolled back with them."""
    if direct:
        await go_direct(sink)

    with pytest.raises(RowsRefused):
        await sink.write(a_batch([a_bad_trade_row()], a_gap()))

    assert await gaps(sink) == []


async def test_gap_alone_is_written(sink: PostgresSink) -> None:
    """A batch may hold gaps and no rows, with ids or without."""
    written = await sink.write(a_batch([], a_gap(), a_gap(None, None), a_gap(None, None)))

    assert written == (0, 0, False)
    assert await gaps(sink) == [(None, None, "open", 0, None), (5, 9, "open", 0, None)] or await gaps(
        sink
    ) == [
        (5, 9, "open", 0, None),
        (None, None, "open", 0, None),
    ]


async def test_gap_that_cannot_be_repaired_is_closed_from_the_start(sink: PostgresSink) -> None:
    """A gap of a kind that the exchange does not give again is unrepairable at once."""
    await sink.write(a_batch([], a_gap(repairable=False)))

    assert await gaps(sink) == [(5, 9, "unrepairable", 0, instant(NOW_US))]


async def test_filled_gap_is_closed_once(sink: PostgresSink) -> None:
    """Rows that arrive after all close their gap, whether in the same batch or a later one."""
    await sink.write(a_batch([], a_gap(5, 9), a_gap(20, 21), the_gap_filled(20, 21)))
    for _ in range(2):
        await sink.write(a_batch(trade_rows(range(5, 10)), the_gap_filled(5, 9)))

    closed = instant(NOW_US + 5_000_000)
    assert await gaps(sink) == [(5, 9, "repaired", 5, closed), (20, 21, "repaired", 2, closed)]


async def test_filled_gap_of_another_stream_stays_open(sink: PostgresSink) -> None:
    """Only the gap of the same stream and range is closed."""
    other = the_gap_filled()._replace(key=StreamKey("spot", "ETHUSDT", "trade"))
    await sink.write(a_batch([], a_gap(), other, GapFilled(BTC_TRADE, 5, 8, 4, NOW_US)))

    assert await gaps(sink) == [(5, 9, "open", 0, None)]


async def test_gap_that_another_line_has_filled_is_closed(sink: PostgresSink) -> None:
    """One that could not be repaired otherwise, too; none is closed twice, and other gaps stay."""
    trades, depth = a_gap(), a_gap()._replace(key=StreamKey("spot", "BTCUSDT", "depth"), repairable=False)
    await sink.write(a_batch(trade_rows([9]), trades, depth))
    async with sink.session() as connection:
        found = await gaps_after(connection, 0)
        closed = [await close_covered_gaps(connection, [gap.gap_id for gap in found]) for _ in range(2)]
        left = await gaps_after(connection, 0)

    bounds = (trades.first_id, trades.last_id)
    assert {(gap.key.kind, gap.first_id, gap.last_id) for gap in found} == {
        ("trade", *bounds),
        ("depth", *bounds),
    }
    assert (closed, left) == ([2, 0], [])
    assert {row["state"] for row in await fetch(sink, "SELECT state FROM ops.gaps")} == {"repaired"}


async def test_open_gaps_are_counted_by_stream(sink: PostgresSink) -> None:
    """Only gaps that are open count, each for its stream."""
    other = a_gap()._replace(key=StreamKey("spot", "ETHUSDT", "trade"))
    await sink.write(a_batch([], a_gap(5), a_gap(20, 21), a_gap(30, repairable=False), other))
    await sink.write(a_batch([], the_gap_filled(20, 21)))

    async with sink.session() as connection:
        assert await count_open_gaps(connection) == {BTC_TRADE: 1, other.key: 1}


async def test_oldest_open_gaps_are_named(sink: PostgresSink) -> None:
    """Those that wait longest first, no more than asked for, and none that is closed or beyond repair."""
    gaps = [
        a_gap(first, first + 4)._replace(opened_us=at_us)
        for first, at_us in ((5, 3_000), (20, 1_000), (40, 2_000))
    ]
    await sink.write(a_batch([], *gaps, a_gap(60, repairable=False)))

    async with sink.session() as connection:
        found = await oldest_open_gaps(connection, 2)

    assert found == [
        OpenGap(BTC_TRADE, 20, 24, gaps[1].cause, 1_000),
        OpenGap(BTC_TRADE, 40, 44, gaps[2].cause, 2_000),
    ]


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("place", [0, 5, 9])
async def test_bad_row_refuses_the_whole_batch_and_nothing_is_stored(
    sink: PostgresSink, place: int, direct: bool
) -> None:
    """The server takes all rows of a batch or none; the connection is good for the next."""
    if direct:
        await go_direct(sink)
    rows = trade_rows(range(10))
    rows[place] = a_bad_trade_row()

    with pytest.raises(RowsRefused):
        await sink.write(a_batch(rows))

    assert await trade_ids(sink) == []
    assert (await sink.write(a_batch(trade_rows([1])))).rows == 1


async def test_bad_line_of_text_refuses_its_batch(sink: PostgresSink) -> None:
    """A number that only looks like one is refused by the server."""
    line = encode.depth_delta(7, a_delta(bids=[("1.2.3", "1")]))

    with pytest.raises(RowsRefused, match="22P02"):
        await sink.write(a_batch([line], table=tables.DEPTH_DELTAS))


async def held_write(sink: PostgresSink, batch: Batch, url: str, *, then: str) -> None:
    """Write while the table is locked, run a statement once the write waits, then unlock."""
    async with connected(url) as holder, connected(url) as other, holder.transaction():
        await holder.execute("LOCK TABLE spot_raw.trades IN ACCESS EXCLUSIVE MODE")
        async with asyncio.TaskGroup() as group:
            group.create_task(sink.write(batch))
            async with asyncio.timeout(20):
                while not await other.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                ):
                    await asyncio.sleep(0.01)
            await other.fetch(then)


TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.mark.parametrize("then", [TERMINATE, CANCEL], ids=["terminated", "cancelled"])
@pytest.mark.parametrize("direct", [False, True])
async def test_backend_that_ends_during_copy_is_unavailable(
    sink: PostgresSink, migrated_url: str, direct: bool, then: str
) -> None:
    """A write whose backend is taken away fails as unavailable; again, it is staged and stored once."""
    if direct:
        await go_direct(sink)
    batch = a_batch(trade_rows(range(100)), a_gap())

    with pytest.raises(ExceptionGroup) as raised:
        await held_write(sink, batch, migrated_url, then=then)
    assert raised.group_contains(StoreUnavailable)
    assert await trade_ids(sink) == []

    assert await sink.write(batch) == (100, 0, True)
    assert len(await gaps(sink)) == 1


async def test_connection_that_ended_while_idle_is_replaced(sink: PostgresSink, migrated_url: str) -> None:
    """Connections that the server has closed cost at most a failure each, then writing goes on."""
    async with connected(migrated_url) as other:
        await other.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    for _ in range(4):
        try:
            assert (await sink.write(a_batch(trade_rows([1])))).staged
            break
        except StoreUnavailable:
            continue
    assert await trade_ids(sink) == [1]


async def test_lock_that_cannot_be_had_is_unavailable(migrated_url: str) -> None:
    """Waiting for a lock ends by the session's own limit."""
    limits = SessionLimits(lock_s=0.2)
    async with PostgresSink.opened(migrated_url, limits=limits) as sink, connected(migrated_url) as holder:
        async with holder.transaction():
            await holder.execute("LOCK TABLE spot_raw.trades IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreUnavailable, match="55P03"):
                await sink.write(a_batch(trade_rows([1])))

        assert (await sink.write(a_batch(trade_rows([1])))).rows == 1


async def test_busy_pool_is_unavailable_in_time(migrated_url: str) -> None:
    """Waiting for a connection of the pool has an end too."""
    limits = SessionLimits(acquire_s=0.2)
    async with PostgresSink.opened(migrated_url, connections=1, limits=limits) as sink, sink.session():
        with pytest.raises(StoreUnavailable, match="TimeoutError"):
            await sink.write(a_batch(trade_rows([1])))


async def test_cancelled_write_leaves_the_pool_usable(sink: PostgresSink, migrated_url: str) -> None:
    """Cancelling a write in flight drops its connection at once; the next write gets a good one."""
    async with connected(migrated_url) as holder, holder.transaction():
        await holder.execute("LOCK TABLE spot_raw.trades IN ACCESS EXCLUSIVE MODE")
        for _ in range(4):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await sink.write(a_batch(trade_rows([1])))

    assert (await sink.write(a_batch(trade_rows([1])))).rows == 1


async def test_read_only_database_is_unavailable(migrated_url: str) -> None:
    """A database that has become read only (a failover) is waited for."""
    async with PostgresSink.opened(migrated_url, connections=1) as sink:
        await fetch(sink, "SET default_transaction_read_only = on")

        with pytest.raises(StoreUnavailable, match="25006"):
            await sink.write(a_batch(trade_rows([1])))
        assert (await sink.write(a_batch(trade_rows([1])))).rows == 1


async def test_database_without_schema_is_a_mismatch(database_url: str) -> None:
    """A sink does not open on an empty database."""
    with pytest.raises(SchemaMismatch, match=r"spot_raw\.trades\.ts is missing"):
        async with PostgresSink.opened(database_url):
            pytest.fail("opened")


async def test_column_of_another_type_is_a_mismatch(migrated_url: str) -> None:
    """Bytes are not sent to a column whose type is not the encoder's: they would be stored wrongly."""
    async with connected(migrated_url) as connection:
        await connection.execute("DROP VIEW spot.book_tickers, spot.latest_book_tickers")
        await connection.execute("ALTER TABLE spot_raw.book_tickers ALTER update_id TYPE double precision")

    with pytest.raises(SchemaMismatch, match="update_id is double precision, this program writes bigint"):
        async with PostgresSink.opened(migrated_url):
            pytest.fail("opened")


ALTERED = {
    "trade_id": ("trades", "double precision"),
    "recv_ts": ("trades", "timestamp without time zone"),
    "bid_prices": ("depth_deltas", "double precision[]"),
    "price": ("trades", "numeric(20,2)"),
}


@pytest.mark.parametrize("column", ALTERED)
async def test_column_altered_under_a_live_connection_takes_no_bytes(migrated_url: str, column: str) -> None:
    """Neither way stores a row in a column whose type was changed after the connection was made."""
    name, type_name = ALTERED[column]
    table = next(table for table in TABLES if table.name == name)
    async with PostgresSink.opened(migrated_url, connections=1) as sink, connected(migrated_url) as other:
        await other.execute(
            "BEGIN; DROP SCHEMA spot CASCADE;"
            f" ALTER TABLE {table.schema}.{name} ALTER {column} TYPE {type_name}; COMMIT"
        )
        for _ in range(2):
            with pytest.raises(SchemaMismatch, match=f"the type of {column} was changed under a writer"):
                await sink.write(a_batch([ROWS[table]], table=table))
            sink._staging[table] = 0
        assert await other.fetchval(f"SELECT count(*) FROM {table.schema}.{name}") == 0


async def test_column_added_under_a_live_connection_does_not_matter(migrated_url: str) -> None:
    """A migration that only adds does not stop the writers of the program before it."""
    async with PostgresSink.opened(migrated_url, connections=1) as sink, connected(migrated_url) as other:
        sink._staging[TRADES] = 0
        await other.execute("ALTER TABLE spot_raw.trades ADD COLUMN venue_note text")

        assert (await sink.write(a_batch(trade_rows([1])))).rows == 1


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
async def test_type_of_a_copied_column_is_held_by_the_readers_view(migrated_url: str, table: Table) -> None:
    """The server refuses to change it while the view stands; a watch is there for when it does not."""
    async with connected(migrated_url) as connection:
        for column in table.columns:
            if column == "event_ts" and table is KLINES:
                continue  # candles are staged always, and the merge converts
            with pytest.raises(asyncpg.PostgresError, match="used by a view|partition key"):
                await connection.execute(f"ALTER TABLE {table.schema}.{table.name} ALTER {column} TYPE text")
        assert await connection.fetchval(
            "SELECT count(*) FROM pg_trigger"
            " WHERE tgrelid = $1::text::regclass AND tgname = 'promised_columns'",
            f"{table.schema}.{table.name}",
        )


async def test_schema_is_checked_on_request(sink: PostgresSink) -> None:
    """A sink can say whether the database's migrations are this program's."""
    await sink.check_schema()
    await fetch(sink, "UPDATE ops.schema_migrations SET checksum = 'other' WHERE version = 1")

    with pytest.raises(SchemaMismatch, match="0001_operations was changed"):
        await sink.check_schema()


# ---------------------------------------------------------------------- what is read back


async def test_instrument_keeps_its_id_while_it_changes(sink: PostgresSink) -> None:
    """What is new about a symbol is stored under the id that it has for ever."""
    others = [
        Instrument("币安人生USDT", "TRADING", "币安人生", "USDT", None, None),
        BTC._replace(status="BREAK"),
    ]

    ids = await sink.instrument_ids("spot", others)

    assert ids["BTCUSDT"] == 7
    assert await sink.instrument_ids("spot", [BTC._replace(status="BREAK")]) == {"BTCUSDT": 7}
    rows = await fetch(sink, "SELECT symbol, status, tick_size::text FROM ops.instruments ORDER BY symbol")
    assert [tuple(row) for row in rows] == [("BTCUSDT", "BREAK", "0.01"), ("币安人生USDT", "TRADING", None)]


async def test_shards_that_start_together_agree_on_ids(migrated_url: str) -> None:
    """Many callers with the same new symbols get the same ids."""
    symbols = [Instrument(f"S{number}USDT", "TRADING", "S", "USDT", "1", "1") for number in range(200)]

    async def ids(shuffled: list[Instrument]) -> dict[str, int]:
        async with PostgresSink.opened(migrated_url, connections=1) as sink:
            return await sink.instrument_ids("spot", shuffled)

    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(ids(random.Random(n).sample(symbols, 200))) for n in range(4)]

    assert all(caller.result() == callers[0].result() for caller in callers)
    assert len(set(callers[0].result().values())) == 200


async def test_no_instruments_need_no_database(sink: PostgresSink) -> None:
    """Asking for the ids of no symbols gives none."""
    assert await sink.instrument_ids("spot", []) == {}


async def test_resume_points_are_the_newest_committed_rows(sink: PostgresSink) -> None:
    """Each symbol and kind has its newest row, in the window or before it; candles the newest closed."""
    ids = await sink.instrument_ids("spot", [BTC._replace(symbol=s) for s in ("OLDUSDT", "NONEUSDT")])
    old = a_trade(3, ts_us=NOW_US - 40 * DAY_US)
    await sink.write(a_batch([*trade_rows([4, 6, 5]), encode.trade(ids["OLDUSDT"], old)]))
    for table in TABLES[1:]:
        await sink.write(a_batch([ROWS[table]], table=table))
    earlier = NOW_US - 60_000_000
    await sink.write(a_kline_batch(a_kline(open_us=earlier, is_closed=True), a_kline(after_s=1)))
    kinds = [
        "trade",
        "agg_trade",
        "book_ticker",
        "depth",
        "kline_1m",
        "kline_5m",
        "mini_ticker",
        "ticker",
        "avg_price",
    ]

    points = await sink.resume_points(
        "spot", ["BTCUSDT", "OLDUSDT", "NONEUSDT"], kinds, since_us=NOW_US - DAY_US
    )

    assert points == {
        ("BTCUSDT", "trade"): ResumePoint(6, NOW_US + 6_000),
        ("OLDUSDT", "trade"): ResumePoint(3, NOW_US - 40 * DAY_US),
        ("BTCUSDT", "agg_trade"): ResumePoint(1, NOW_US),
        ("BTCUSDT", "book_ticker"): ResumePoint(1, NOW_US),
        ("BTCUSDT", "depth"): ResumePoint(2, NOW_US),
        ("BTCUSDT", "kline_1m"): ResumePoint(None, earlier),
        ("BTCUSDT", "ticker"): ResumePoint(None, NOW_US),
        ("BTCUSDT", "avg_price"): ResumePoint(None, NOW_US),
    }


async def test_resume_points_come_from_the_index_of_recent_partitions(sink: PostgresSink) -> None:
    """The newest row costs one descent of the unique index a partition, old partitions none."""
    await sink.write(a_batch(trade_rows(range(20_000))))
    await fetch(sink, "ANALYZE spot_raw.trades")
    async with sink.session() as connection:
        plan = await connection.fetch(
            f"EXPLAIN (ANALYZE, COSTS off) {statement('resume_trades')}",
            "spot",
            ["BTCUSDT"],
            instant(NOW_US - 1_000),
        )
    text = "\n".join(row[0] for row in plan)

    # Expected (PostgreSQL 18): for each instrument, Limit -> Merge Append -> for each partition from the
    # window's on, the default one included, that ends after its first row:
    #   Index Only Scan Backward using trades_p20261122_symbol_id_ts_trade_id_key
    #     Index Cond: ((symbol_id = i.symbol_id) AND (ts >= ...))
    assert "Index Scan Backward" in text or "Index Only Scan Backward" in text, text
    assert "Seq Scan on trades" not in text, text
    yesterday = instant(NOW_US - DAY_US).strftime("trades_p%Y%m%d")
    assert yesterday not in text, text


async def test_stored_book_is_the_last_snapshot_and_the_deltas_after_it(sink: PostgresSink) -> None:
    """A book at a moment is rebuilt from the newest snapshot not after it, deltas in order of their ids."""
    second = 1_000_000
    snapshots = [a_snapshot(n, ts_us=NOW_US + n * second) for n in (10, 20, 30)]
    deltas = [a_delta(n, ts_us=NOW_US + n * second - 300_000) for n in (25, 22, 5, 21, 20, 23, 29, 31)]
    rows = [encode.depth_snapshot(7, snapshot) for snapshot in snapshots]
    await sink.write(a_batch(rows, table=tables.DEPTH_SNAPSHOTS))
    await sink.write(a_batch([encode.depth_delta(7, d) for d in deltas], table=tables.DEPTH_DELTAS))

    book = await sink.stored_book("spot", "BTCUSDT", at_us=NOW_US + 25 * second)

    assert book is not None
    assert book.snapshot == snapshots[1]
    assert [delta.final_update_id for delta in book.deltas] == [21, 22, 23, 25]
    assert book.deltas[0] == deltas[3]
    assert (book.next_delta, book.next_snapshot) == (
        Neighbour(29, NOW_US + 29 * second - 300_000),
        Neighbour(30, NOW_US + 30 * second),
    )
    assert book.newest_us == NOW_US + 31 * second - 300_000


async def test_stored_book_of_no_moment_is_the_newest(sink: PostgresSink) -> None:
    """The newest row of either table is the moment that is meant."""
    await sink.write(a_batch([encode.depth_snapshot(7, a_snapshot(10))], table=tables.DEPTH_SNAPSHOTS))
    delta = a_delta(11, ts_us=NOW_US + 500)
    await sink.write(a_batch([encode.depth_delta(7, delta)], table=tables.DEPTH_DELTAS))

    book = await sink.stored_book("spot", "BTCUSDT")

    assert book is not None
    assert (book.at_us, book.newest_us, book.deltas) == (NOW_US + 500, NOW_US + 500, [delta])


async def test_stored_book_comes_with_what_the_ledger_has_against_it(sink: PostgresSink) -> None:
    """Gaps of its updates that are not repaired; not those of other updates, kinds and symbols."""
    rows = [encode.depth_snapshot(7, a_snapshot(10))]
    depth = StreamKey("spot", "BTCUSDT", "depth")
    gaps = [
        a_gap(1, 9)._replace(key=depth),
        a_gap(12, 14)._replace(key=depth),
        a_gap(16, 19)._replace(key=depth),
        a_gap(11, 14),
        a_gap(11, 14)._replace(key=depth._replace(symbol="ETHUSDT")),
    ]
    await sink.write(a_batch(rows, *gaps, table=tables.DEPTH_SNAPSHOTS))
    deltas = [a_delta(11, ts_us=NOW_US + 1), a_delta(15, ts_us=NOW_US + 5)]
    await sink.write(a_batch([encode.depth_delta(7, d) for d in deltas], table=tables.DEPTH_DELTAS))

    book = await sink.stored_book("spot", "BTCUSDT", at_us=NOW_US + 3)

    assert book is not None
    assert [(gap.first_id, gap.last_id) for gap in book.gaps] == [(12, 14)]


async def test_depth_that_cannot_be_fetched_and_came_late_is_repaired(sink: PostgresSink) -> None:
    """A gap of a kind that the exchange does not give again is closed all the same when its rows came."""
    depth = StreamKey("spot", "BTCUSDT", "depth")
    gap = a_gap(12, 14)._replace(key=depth, repairable=False)
    await sink.write(a_batch([], gap, table=tables.DEPTH_DELTAS))
    filled = GapFilled(depth, 12, 14, 1, gap.opened_us + 1)
    await sink.write(a_batch([], filled, table=tables.DEPTH_DELTAS))

    assert [row["state"] for row in await fetch(sink, "SELECT state FROM ops.gaps")] == ["repaired"]


async def test_stored_book_is_known_as_far_as_its_row_says(sink: PostgresSink) -> None:
    """Cut, whole, and from before the range was noted, when the outermost levels are all that is known."""
    moments = [a_snapshot(n, ts_us=NOW_US + n) for n in (1, 2, 3)]
    cut = moments[1]._replace(bids_known_from="61602.01000000", asks_known_to="61700.5")
    rows = [encode.depth_snapshot(7, snapshot) for snapshot in (moments[0], cut, moments[2])]
    await sink.write(a_batch(rows, table=tables.DEPTH_SNAPSHOTS))
    await fetch(
        sink,
        "UPDATE spot_raw.depth_snapshots SET bids_known_from = NULL, asks_known_to = NULL"
        " WHERE last_update_id = 3",
    )
    books = [await sink.stored_book("spot", "BTCUSDT", at_us=NOW_US + n) for n in (1, 2, 3)]

    ranges = [
        (book.snapshot.bids_known_from, book.snapshot.asks_known_to)
        for book in books
        if book is not None and book.snapshot is not None
    ]
    assert ranges == [("0", "Infinity"), ("61602.01000000", "61700.5"), ("61602.01000000", "61602.02000000")]


@pytest.mark.parametrize(
    ("known", "reason", "is_replaced"),
    [
        (("1", "Infinity"), "deepened", True),
        (("61602", "Infinity"), "periodic", False),
        (("1", "61700"), "periodic", False),
        (("61602", "Infinity"), "audit", True),
    ],
)
async def test_stored_book_that_stood_still_is_replaced_by_a_better_one(
    sink: PostgresSink, known: tuple[str, str], reason: str, is_replaced: bool
) -> None:
    """Deeper on one side and not shallower on the other, or right at last; by nothing else of that update."""
    first = a_snapshot(5)._replace(bids_known_from="61600")
    await sink.write(a_batch([encode.depth_snapshot(7, first)], table=tables.DEPTH_SNAPSHOTS))
    again = first._replace(
        bids=[("61602.01000000", "9.0")], reason=reason, bids_known_from=known[0], asks_known_to=known[1]
    )
    await sink.write(a_batch([encode.depth_snapshot(7, again)], table=tables.DEPTH_SNAPSHOTS))

    book = await sink.stored_book("spot", "BTCUSDT")

    assert book is not None
    assert book.snapshot == (again if is_replaced else first)


async def test_book_before_the_first_snapshot_is_unknown(sink: PostgresSink) -> None:
    """Nothing can be said about a time before the first snapshot, or about an unknown symbol."""
    await sink.write(a_batch([ROWS[tables.DEPTH_SNAPSHOTS]], table=tables.DEPTH_SNAPSHOTS))

    book = await sink.stored_book("spot", "BTCUSDT", at_us=NOW_US - 1)
    assert book is not None
    assert (book.snapshot, book.next_snapshot) == (None, Neighbour(1, NOW_US))
    assert await sink.stored_book("spot", "NOUSDT", at_us=NOW_US) is None


# ---------------------------------------------------------------------- what is published


def a_stream(kind: str = "trade", *, last_event_us: int | None = NOW_US, state: str = "live") -> StreamRow:
    return StreamRow(
        key=StreamKey("spot", "BTCUSDT", kind),
        shard=0,
        feed="spot-0",
        state=state,
        diagnosis="",
        last_event_us=last_event_us,
        last_recv_us=NOW_US + 1,
        last_commit_us=NOW_US + 2,
        threshold_s=5.0,
        verified_quiet_us=None,
        reconnects=0,
        open_gaps=0,
    )


async def test_freshness_tells_the_age_of_the_newest_committed_event(sink: PostgresSink) -> None:
    """The age is the server's now minus the committed event's time, and null before the first."""
    await sink.publish_stream_states([a_stream(), a_stream("depth", last_event_us=None)])

    rows = await fetch(
        sink,
        "SELECT kind, last_event_ts, last_recv_ts, last_commit_ts,"
        " age_s - extract(epoch FROM now() - last_event_ts) AS off FROM ops.stream_freshness ORDER BY kind",
    )
    assert (rows[0]["kind"], rows[0]["last_event_ts"], rows[0]["off"]) == ("depth", None, None)
    assert list(rows[1])[1:4] == [instant(NOW_US), instant(NOW_US + 1), instant(NOW_US + 2)]
    assert abs(rows[1]["off"]) < 10


async def test_published_rows_replace_their_predecessors(sink: PostgresSink) -> None:
    """A stream or shard has one row, the last that was published."""
    await sink.publish_stream_states([a_stream(), a_stream("depth")])
    await sink.publish_stream_states([a_stream(state="stale")])
    shard = ShardRow(0, 42, "running", NOW_US, 0, NOW_US, 1.5, 10, 5, 0)
    await sink.publish_shards([shard, shard._replace(shard=1)])
    await sink.publish_shards([shard._replace(state="down", pid=None, heartbeat_us=None, loop_lag_ms=None)])

    streams = await fetch(sink, "SELECT kind, state FROM ops.stream_freshness ORDER BY kind")
    shards = await fetch(sink, "SELECT shard, pid, state FROM ops.shards ORDER BY shard")
    assert [tuple(row) for row in streams] == [("depth", "live"), ("trade", "stale")]
    assert [tuple(row) for row in shards] == [(0, None, "down"), (1, 42, "running")]
