"""The reader on a real database: what it gives, and above all what it refuses."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars
import pyarrow as pa
import pytest

from ingest.events import StreamKey
from ingest.reader import AsyncReader, IncompleteData, Kline, StaleData, UnknownName
from tests.integration.stored_market import MINUTE, SECOND, SYMBOL, StoredMarket, now, stored_market

TRADE = StreamKey("spot", SYMBOL, "trade")


@pytest.fixture
async def market(migrated_url: str) -> AsyncIterator[StoredMarket]:
    """A market of which only the symbols are known."""
    async with stored_market(migrated_url) as market:
        yield market


@pytest.fixture
async def reader(migrated_url: str) -> AsyncIterator[AsyncReader]:
    """A reader of the same database."""
    async with AsyncReader.connect(migrated_url) as reader:
        yield reader


async def a_minute_of_trades(market: StoredMarket) -> datetime:
    """Trades 1 to 60 of the minute that has just gone, one a second; returns its start."""
    start = now() - MINUTE
    await market.trades(range(1, 61), start)
    await market.fresh("trade", now())
    return start


async def test_trades_are_a_table_of_the_span_in_order(market: StoredMarket, reader: AsyncReader) -> None:
    """Times are UTC to the microsecond, prices float64 unless asked for, both bounds as said."""
    start = await a_minute_of_trades(market)

    answer = await reader.trades("btcusdt", start + 10 * SECOND, start + 20 * SECOND)

    assert answer.arrow["trade_id"].to_pylist() == list(range(10, 20))
    assert answer.arrow.schema.field("ts").type == pa.timestamp("us", "UTC")
    assert answer.arrow.schema.field("price").type == pa.float64()
    assert answer.arrow["price"][0].as_py() == 60010.01
    assert answer.arrow["ts"][0].as_py() == start + 10 * SECOND
    assert answer.stream == TRADE
    assert answer.known_until is not None and answer.known_until >= start + 20 * SECOND


async def test_prices_are_exact_when_asked_for(market: StoredMarket, reader: AsyncReader) -> None:
    """decimal128 of eighteen places holds what the database holds."""
    start = now() - MINUTE
    await market.trades(range(1, 61), start)
    await market.connection.execute(
        "UPDATE spot_raw.trades SET price = 0.000000010000000001 WHERE trade_id = 30"
    )
    await market.fresh("trade", now())

    answer = await reader.trades(SYMBOL, start + 30 * SECOND, start + 31 * SECOND, prices="decimal")

    assert answer.arrow["price"].to_pylist() == [Decimal("0.000000010000000001")]


async def test_answer_becomes_polars_and_pandas(market: StoredMarket, reader: AsyncReader) -> None:
    """And whatever else takes Arrow."""
    start = await a_minute_of_trades(market)

    answer = await reader.trades(SYMBOL, start + 2 * SECOND, start + 5 * SECOND)

    assert answer.polars()["trade_id"].to_list() == [2, 3, 4]
    assert polars.DataFrame(answer)["qty"].to_list() == [0.5] * 3
    assert list(answer.pandas()["trade_id"]) == [2, 3, 4]
    assert [row["buyer_is_maker"] for row in answer] == [True, False, True]
    assert "3 rows" in repr(answer) and "trade_id" in answer._repr_html_()


async def test_span_without_rows_is_an_empty_table(market: StoredMarket, reader: AsyncReader) -> None:
    """Between two trades there is nothing, and that is known."""
    start = await a_minute_of_trades(market)

    answer = await reader.trades(SYMBOL, start + 2.1 * SECOND, start + 2.9 * SECOND)

    assert len(answer) == 0
    assert answer.arrow.schema.names[0] == "trade_id"


async def test_stale_stream_is_refused_with_age_and_diagnosis(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """Not a row is given up to now; the error says since when, and why."""
    start = await a_minute_of_trades(market)
    await market.fresh("trade", start + 30 * SECOND, state="stale", diagnosis="stream_silent")

    with pytest.raises(StaleData, match="others on the same connection speak") as caught:
        await reader.trades(SYMBOL, start + 10 * SECOND)

    assert caught.value.stream == TRADE
    assert caught.value.since == start + 30 * SECOND
    assert caught.value.age is not None and caught.value.age > 25 * SECOND
    assert caught.value.max_age == 10 * SECOND
    assert caught.value.diagnosis == "stream_silent"
    assert len(await reader.trades(SYMBOL, start + 10 * SECOND, allow_stale=True)) == 51


async def test_past_needs_no_freshness_of_now(market: StoredMarket, reader: AsyncReader) -> None:
    """A span that ends before what is known is as good as ever."""
    start = await a_minute_of_trades(market)
    await market.fresh("trade", start + 30 * SECOND, state="stale")

    answer = await reader.trades(SYMBOL, start + 10 * SECOND, start + 30 * SECOND)

    assert len(answer) == 20


async def test_later_row_shows_that_the_past_is_known(market: StoredMarket, reader: AsyncReader) -> None:
    """Also where the freshness table is empty, as after a crash of the server."""
    start = now() - MINUTE
    await market.trades(range(1, 61), start)

    assert len(await reader.trades(SYMBOL, start + 10 * SECOND, start + 30 * SECOND)) == 20
    with pytest.raises(StaleData, match="has not carried this stream"):
        await reader.trades(SYMBOL, start + 10 * SECOND, max_age=0.001)


async def test_proof_of_quiet_is_as_good_as_a_row(market: StoredMarket, reader: AsyncReader) -> None:
    """A stream that rightly says nothing is fresh."""
    start = now() - 5 * MINUTE
    await market.trades([1, 2], start)
    await market.fresh("trade", start + 2 * SECOND, quiet=now(), state="quiet")

    assert len(await reader.trades(SYMBOL, start + 1.5 * SECOND)) == 1


async def test_rare_stream_is_allowed_its_own_silence(market: StoredMarket, reader: AsyncReader) -> None:
    """Without max_age its learned threshold decides; with it the caller."""
    start = now() - MINUTE
    await market.trades(range(1, 31), start)
    await market.fresh("trade", start + 30 * SECOND, threshold_s=120.0)

    assert len(await reader.trades(SYMBOL, start + 29 * SECOND)) == 2
    with pytest.raises(StaleData):
        await reader.trades(SYMBOL, start + 29 * SECOND, max_age=5)


async def test_supervisor_that_is_away_is_named(market: StoredMarket, reader: AsyncReader) -> None:
    """Its table stands still while it says that all is well."""
    start = await a_minute_of_trades(market)
    await market.fresh("trade", start + 20 * SECOND, updated=now() - 40 * SECOND)

    with pytest.raises(StaleData, match="supervisor_away"):
        await reader.trades(SYMBOL, start + 10 * SECOND)


@pytest.mark.parametrize("state", ["open", "unrepairable"])
async def test_gap_of_the_ledger_refuses_the_span_over_it(
    market: StoredMarket, reader: AsyncReader, state: str
) -> None:
    """The error has the row of the ledger; what lies beside it is given."""
    start = now() - MINUTE
    await market.trades([*range(1, 20), *range(25, 61)], start)
    times = (start + 19 * SECOND, start + 25 * SECOND)
    gap_id = await market.gap("trade", (20, 24), times, state=state)
    await market.fresh("trade", now())

    with pytest.raises(IncompleteData, match=f"gap {gap_id}, {state}") as caught:
        await reader.trades(SYMBOL, start + 10 * SECOND, start + 22 * SECOND)

    assert [(each.first_id, each.last_id, each.cause) for each in caught.value.missing] == [
        (20, 24, "disconnect")
    ]
    assert len(await reader.trades(SYMBOL, start + 10 * SECOND, start + 18.5 * SECOND)) == 9
    assert len(await reader.trades(SYMBOL, start + 26 * SECOND, start + 30 * SECOND)) == 4
    anyway = await reader.trades(SYMBOL, start + 10 * SECOND, start + 30 * SECOND, require_complete=False)
    assert len(anyway) == 15


async def test_repaired_gap_and_hole_of_the_exchange_are_no_reason(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """What the exchange has not either was never to be had."""
    start = now() - MINUTE
    await market.trades([*range(1, 20), *range(25, 61)], start)
    times = (start + 19 * SECOND, start + 25 * SECOND)
    await market.gap("trade", (20, 24), times, state="absent_at_exchange")
    await market.gap("trade", (40, 41), (start + 39 * SECOND, start + 42 * SECOND), state="repaired")
    await market.fresh("trade", now())

    assert len(await reader.trades(SYMBOL, start + 10 * SECOND, start + 50 * SECOND)) == 35


async def test_hole_that_no_ledger_knows_is_found_by_the_ids(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """Within the span, and at its edges, where only the rows beside it tell."""
    start = now() - MINUTE
    await market.trades([*range(1, 20), *range(25, 61)], start)
    await market.fresh("trade", now())

    for since, until in ((10, 30), (10, 22), (22, 30), (21, 23)):
        with pytest.raises(IncompleteData, match="ids 20 to 24") as caught:
            await reader.trades(SYMBOL, start + since * SECOND, start + until * SECOND)
        assert caught.value.missing[0].gap_id is None


async def test_gap_without_times_counts_by_its_ids(market: StoredMarket, reader: AsyncReader) -> None:
    """A refused row has an id and no neighbours: it speaks against its own place only."""
    start = now() - MINUTE
    await market.trades([*range(1, 20), *range(21, 61)], start)
    await market.gap("trade", (20, 20), (None, None), state="unrepairable", cause="row_refused")
    await market.fresh("trade", now())

    with pytest.raises(IncompleteData, match="row_refused"):
        await reader.trades(SYMBOL, start + 10 * SECOND, start + 30 * SECOND)
    assert len(await reader.trades(SYMBOL, start + 30 * SECOND, start + 40 * SECOND)) == 10


async def test_span_before_the_first_row_is_refused(market: StoredMarket, reader: AsyncReader) -> None:
    """It says from when on it may be asked."""
    start = await a_minute_of_trades(market)

    with pytest.raises(IncompleteData, match="begins at") as caught:
        await reader.trades(SYMBOL, start - MINUTE, start + 10 * SECOND)

    assert caught.value.begins is not None
    assert len(await reader.trades(SYMBOL, caught.value.begins, start + 10 * SECOND)) == 8
    with pytest.raises(IncompleteData):
        await reader.agg_trades(SYMBOL, start, start + SECOND, allow_stale=True)


async def test_names_that_are_not_known_come_with_those_that_are_near(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """Symbols, kinds, intervals, markets."""
    with pytest.raises(UnknownName, match="near: BTCUSDT"):
        await reader.trades("BTCUSTD", MINUTE)
    with pytest.raises(UnknownName, match="near: trade"):
        await reader.latest(SYMBOL, "trades")
    with pytest.raises(UnknownName, match="1m"):
        await reader.klines(SYMBOL, "1min", MINUTE)
    with pytest.raises(UnknownName, match="known: 1d, 1h, 1m, 1s"):
        await reader.candles(SYMBOL, "7x", MINUTE)
    with pytest.raises(UnknownName, match="known: spot"):
        await reader.trades(SYMBOL, MINUTE, market="usdm")
    with pytest.raises(TypeError, match="require_completee"):
        await reader.trades(SYMBOL, MINUTE, require_completee=False)  # type: ignore[call-arg]


async def test_moments_without_a_zone_are_refused(market: StoredMarket, reader: AsyncReader) -> None:
    """As a datetime and as text."""
    with pytest.raises(ValueError, match="no time zone"):
        await reader.trades(SYMBOL, datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="no time zone"):
        await reader.trades(SYMBOL, "2026-01-01T00:00")


async def test_parts_are_the_whole_and_nothing_twice(market: StoredMarket, reader: AsyncReader) -> None:
    """By length and by number of rows; several rows of one moment stay together."""
    start = now() - MINUTE
    await market.trades(range(1, 11), start)
    await market.trades(range(11, 31), start + 11 * SECOND, every=timedelta(0))
    await market.trades(range(31, 61), start)
    await market.fresh("trade", now())

    by_rows = [
        part async for part in reader.iter_trades(SYMBOL, start + 1.5 * SECOND, chunk=7, progress=True)
    ]
    by_length = [part async for part in reader.iter_trades(SYMBOL, start + 1.5 * SECOND, chunk=9 * SECOND)]

    for parts in (by_rows, by_length):
        ids = [trade_id for part in parts for trade_id in part.arrow["trade_id"].to_pylist()]
        assert ids == list(range(2, 61))
    assert max(map(len, by_rows)) == 20
    with pytest.raises(ValueError, match="longer than nothing"):
        _ = [part async for part in reader.iter_trades(SYMBOL, start, chunk=0)]


async def test_parts_are_refused_before_the_first(market: StoredMarket, reader: AsyncReader) -> None:
    """A gap anywhere in the whole span is told before a row is given."""
    start = await a_minute_of_trades(market)
    await market.gap("trade", (50, 50), (start + 49 * SECOND, start + 51 * SECOND))

    with pytest.raises(IncompleteData):
        async for _ in reader.iter_trades(SYMBOL, start + 2 * SECOND, chunk=10):
            pytest.fail("a part was given")


async def test_book_tickers_go_by_the_ledger(market: StoredMarket, reader: AsyncReader) -> None:
    """Their ids skip, and that is no hole."""
    start = now() - MINUTE
    await market.book_tickers([10, 13, 17, 29, 31], start)
    await market.fresh("book_ticker", now())

    answer = await reader.book_tickers(SYMBOL, start + SECOND, start + 4 * SECOND)
    assert answer.arrow["update_id"].to_pylist() == [13, 17, 29]

    await market.gap("book_ticker", (18, 28), (start + 2 * SECOND, start + 3 * SECOND), state="unrepairable")
    with pytest.raises(IncompleteData, match="does not give it again"):
        await reader.book_tickers(SYMBOL, start + SECOND, start + 4 * SECOND)


async def test_klines_are_the_closed_ones_without_a_hole(market: StoredMarket, reader: AsyncReader) -> None:
    """The running one only when asked for; a missing one is found by the times."""
    minute = now().replace(second=0, microsecond=0)
    opened = [minute - n * MINUTE for n in (6, 5, 4, 2, 1)]
    await market.klines(opened)
    await market.klines([minute], is_closed=False, event=now())
    await market.fresh("kline_1m", now())

    answer = await reader.klines(SYMBOL, "1m", opened[3])
    assert answer.arrow["open_time"].to_pylist() == opened[3:]
    assert len(await reader.klines(SYMBOL, "1m", opened[3], with_open=True)) == 3
    with pytest.raises(IncompleteData) as caught:
        await reader.klines(SYMBOL, "1m", opened[1])
    assert caught.value.missing[0].start == minute - 3 * MINUTE

    ms = round((minute - 3 * MINUTE).timestamp() * 1_000)
    await market.gap("kline_1m", (ms, ms), (opened[2], opened[3]), state="absent_at_exchange")
    assert len(await reader.klines(SYMBOL, "1m", opened[1])) == 4


async def test_candles_are_those_that_are_over_and_whole(market: StoredMarket, reader: AsyncReader) -> None:
    """The running one only when asked for; one that lacks trades is refused, and so is one that lags."""
    minute = now().replace(second=0, microsecond=0)
    start = minute - 4 * MINUTE
    await market.trades(range(1, 180), start - 2 * SECOND)
    await market.trades(range(182, 242), start - 2 * SECOND)
    await market.candles()
    await market.fresh("trade", now())

    answer = await reader.candles(SYMBOL, "1m", start, minute - 2 * MINUTE, prices="decimal")
    assert answer.arrow["open_time"].to_pylist() == [start, start + MINUTE]
    assert answer.arrow["open"].to_pylist() == [Decimal("60002.01"), Decimal("60062.01")]
    assert answer.arrow["trades"].to_pylist() == [60, 60]
    with pytest.raises(IncompleteData, match="ids 180 to 181"):
        await reader.candles(SYMBOL, "1m", start)
    anyway = await reader.candles(SYMBOL, "1m", start, require_complete=False)
    assert anyway.arrow["trades"].to_pylist() == [60, 60, 58, 60]
    assert len(await reader.candles(SYMBOL, "1h", start - 120 * MINUTE, require_complete=False)) <= 1
    assert len(await reader.candles(SYMBOL, "1s", start, start + 10 * SECOND)) == 10

    await market.trades(range(180, 182), start - 2 * SECOND)
    with pytest.raises(IncompleteData, match="rows"):
        await reader.candles(SYMBOL, "1m", start)
    await market.candles()
    assert (await reader.candles(SYMBOL, "1m", start)).arrow["trades"].to_pylist() == [60, 60, 60, 60]


async def test_latest_is_the_newest_row_exactly(market: StoredMarket, reader: AsyncReader) -> None:
    """Typed, exact, and refused when it is old or rows behind it were lost."""
    start = await a_minute_of_trades(market)
    await market.book_tickers([5], start)
    await market.klines([start.replace(second=0, microsecond=0)])

    trade = await reader.latest(SYMBOL)
    assert (trade.id, trade.price, trade.ts.tzinfo) == (60, Decimal("60060.01"), UTC)
    ticker = await reader.latest(SYMBOL, "book_ticker", allow_stale=True)
    assert (ticker.update_id, ticker.bid_price) == (5, Decimal(5))
    candle = await reader.latest(SYMBOL, "kline_1m", allow_stale=True)
    assert isinstance(candle, Kline) and candle.id == round(
        start.replace(second=0, microsecond=0).timestamp() * 1_000
    )
    with pytest.raises(IncompleteData):
        await reader.latest(SYMBOL, "depth", allow_stale=True)

    await market.gap("trade", (61, 61), (trade.ts, None))
    with pytest.raises(IncompleteData):
        await reader.latest(SYMBOL)
    await market.fresh("trade", start)
    with pytest.raises(StaleData):
        await reader.latest(SYMBOL)


async def test_latest_book_is_the_published_one_while_it_is_right(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """Not while it is lost, its shard is behind, or its stream stale."""
    with pytest.raises(IncompleteData):
        await reader.latest(SYMBOL, "book")
    await market.publish_book(50, now(), is_live=True)
    await market.fresh("depth", now())

    book = await reader.latest(SYMBOL, "book")
    assert (book.update_id, book.bids[0], book.spread) == (50, (Decimal(100), Decimal(50)), Decimal(1))
    await market.fresh("depth", now() - MINUTE)
    with pytest.raises(StaleData):
        await reader.latest(SYMBOL, "book")
    await market.fresh("depth", now())
    await market.publish_book(50, now(), is_live=False)
    with pytest.raises(StaleData, match="state resyncing"):
        await reader.latest(SYMBOL, "book")
    assert (await reader.latest(SYMBOL, "book", allow_stale=True)).update_id == 50


async def test_book_at_is_the_book_of_the_moment(market: StoredMarket, reader: AsyncReader) -> None:
    """From the stored book and the deltas behind it; the newest without a moment."""
    start = now() - MINUTE
    await market.book(10, start)
    await market.deltas(range(11, 51), start)
    await market.fresh("depth", now())

    book = await reader.book_at(SYMBOL, start + 20.5 * SECOND, levels=1)
    assert (book.update_id, book.bids, book.asks) == (
        20,
        ((Decimal(100), Decimal(20)),),
        ((Decimal(101), Decimal(10)),),
    )
    assert (book.bids_known_from, book.asks_known_to) == (Decimal(100), Decimal(101))
    assert (book.mid, book.spread) == (Decimal("100.5"), Decimal(1))
    assert book.imbalance(5) == pytest.approx(10 / 30)
    newest = await reader.book_at(SYMBOL)
    assert (newest.update_id, len(newest.bids)) == (50, 2)
    # Nothing newer came, and that is known: the newest book is that of now, too.
    assert (await reader.book_at(SYMBOL, SECOND)).update_id == 50


async def test_book_that_cannot_be_known_is_refused(market: StoredMarket, reader: AsyncReader) -> None:
    """Before the first, over a hole, over a gap, and when the stream is stale."""
    start = now() - MINUTE
    await market.book(10, start)
    await market.deltas([*range(11, 20), *range(25, 40)], start)
    await market.fresh("depth", now())

    with pytest.raises(IncompleteData, match="begins at"):
        await reader.book_at(SYMBOL, start - SECOND)
    with pytest.raises(IncompleteData, match="ids 20 to 24"):
        await reader.book_at(SYMBOL, start + 22 * SECOND)
    await market.gap("depth", (20, 24), (start + 19 * SECOND, start + 25 * SECOND), state="unrepairable")
    with pytest.raises(IncompleteData, match="unrepairable"):
        await reader.book_at(SYMBOL, start + 22 * SECOND)
    await market.fresh("depth", start + 30 * SECOND)
    with pytest.raises(StaleData):
        await reader.book_at(SYMBOL)
    with pytest.raises(IncompleteData):
        await reader.book_at("ETHUSDT", allow_stale=True)
    with pytest.raises(ValueError, match="future"):
        await reader.book_at(SYMBOL, now() + MINUTE)


async def test_replay_gives_every_book_one_after_the_other(market: StoredMarket, reader: AsyncReader) -> None:
    """The book at the start, and then the one after each delta before the end."""
    start = now() - MINUTE
    await market.book(10, start)
    await market.deltas(range(11, 51), start)
    await market.fresh("depth", now())

    books = [book async for book in reader.book_replay(SYMBOL, start + 20.5 * SECOND, start + 30 * SECOND)]

    assert [book.update_id for book in books] == list(range(20, 30))
    assert [book.bids[0] for book in books] == [(Decimal(100), Decimal(n)) for n in range(20, 30)]


async def test_replay_knows_as_much_as_the_newest_stored_book(
    market: StoredMarket, reader: AsyncReader
) -> None:
    """A book that was stored on the way tells of levels that the first one did not reach to."""
    start = now() - MINUTE
    await market.book(10, start, known_from=100)
    await market.deltas(range(11, 41), start)
    await market.book(25, start + 25.2 * SECOND)
    await market.fresh("depth", now())

    books = [book async for book in reader.book_replay(SYMBOL, start + 20.5 * SECOND, start + 30 * SECOND)]

    assert [book.update_id for book in books] == list(range(20, 30))
    assert [len(book.bids) for book in books] == [1] * 5 + [2] * 5
    for book in books:
        at_once = await reader.book_at(SYMBOL, start + (book.update_id + 0.5) * SECOND)
        assert replace(book, ts=start) == replace(at_once, ts=start)


async def test_replay_stops_at_a_hole_or_jumps_when_told(market: StoredMarket, reader: AsyncReader) -> None:
    """No book is shown that nobody knows."""
    start = now() - MINUTE
    await market.book(10, start)
    await market.deltas([*range(11, 20), *range(25, 41)], start)
    await market.book(30, start + 30 * SECOND)
    await market.fresh("depth", now())

    seen = []
    with pytest.raises(IncompleteData, match="ids 20 to 24"):
        async for book in reader.book_replay(SYMBOL, start + 15.5 * SECOND, start + 35 * SECOND):
            seen += [book.update_id]
    assert seen == [15, 16, 17, 18, 19]

    jumping = reader.book_replay(SYMBOL, start + 15.5 * SECOND, start + 35 * SECOND, require_complete=False)
    assert [book.update_id async for book in jumping] == [15, 16, 17, 18, 19, 30, 31, 32, 33, 34]

    await market.gap("depth", (20, 24), (start + 19 * SECOND, start + 25 * SECOND), state="unrepairable")
    with pytest.raises(IncompleteData, match="unrepairable"):
        _ = [book async for book in reader.book_replay(SYMBOL, start + 15.5 * SECOND, start + MINUTE)]


async def test_tables_about_the_service(market: StoredMarket, reader: AsyncReader) -> None:
    """Freshness, gaps, completeness, incidents, instruments."""
    start = await a_minute_of_trades(market)
    await market.gap("trade", (70, 71), (start, start + SECOND))
    await market.connection.execute(
        "INSERT INTO ops.incidents VALUES"
        " ('1-1', 'spot', 0, '0', '{spot:BTCUSDT:trade}', 'half_open', 'e', 's', '{one}', now(), NULL)"
    )

    assert (await reader.freshness(SYMBOL)).polars()["state"].to_list() == ["live"]
    assert len(await reader.freshness(kind="depth")) == 0
    assert (await reader.gaps(SYMBOL, state="open")).polars()["first_id"].to_list() == [70]
    none = await reader.gaps(SYMBOL, state="repaired")
    assert (len(none), none.arrow.schema.field("end_ts").type) == (0, pa.timestamp("us", "UTC"))
    assert (await reader.completeness(SYMBOL, start, start + MINUTE)).polars()["stored"].sum() >= 50
    assert (await reader.incidents()).polars()["diagnosis"].to_list() == ["half_open"]
    assert set((await reader.instruments()).polars()["symbol"]) == {"BTCUSDT", "ETHUSDT"}
    with pytest.raises(UnknownName):
        await reader.gaps("NOUSDT")
    with pytest.raises(UnknownName, match="unrepairable"):
        await reader.gaps(state="unrepaired")


async def test_wait_fresh_returns_when_all_are_fresh(market: StoredMarket, reader: AsyncReader) -> None:
    """Or says what is not, when that takes too long."""
    await a_minute_of_trades(market)
    await reader.wait_fresh([(SYMBOL, "trade")])

    with pytest.raises(StaleData):
        await reader.wait_fresh([(SYMBOL, "trade"), (SYMBOL, "depth")], timeout_s=0.0)
