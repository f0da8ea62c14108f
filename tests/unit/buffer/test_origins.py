"""Encoded rows tell whose they are: the stream, ids and time that the event had."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.buffer import encode
from ingest.buffer.origins import Origin, Span, TouchedTrades, origin, spans, touched_trades
from ingest.buffer.tables import (
    AGG_TRADES,
    AVG_PRICES,
    BOOK_TICKERS,
    DEPTH_DELTAS,
    DEPTH_SNAPSHOTS,
    KLINES,
    TABLES,
    TICKERS,
    TRADES,
    Table,
)
from ingest.events import AvgPrice, MiniTicker, StreamKey
from tests.rows import NOW_US, a_book_ticker, a_delta, a_kline, a_snapshot, a_trade, an_agg_trade, trade_rows

MINI = MiniTicker("BTCUSDT", NOW_US, "1", "2", "3", "0.5", "10", "20", NOW_US * 1_000)
AVERAGE = AvgPrice("BTCUSDT", NOW_US, "5m", "1.250", NOW_US - 500, NOW_US * 1_000)

ROWS = {
    TRADES: (encode.trade(7, a_trade(5)), Origin(7, "trade", 5, 5, NOW_US + 5_000)),
    AGG_TRADES: (encode.agg_trade(8, an_agg_trade(3)), Origin(8, "agg_trade", 3, 3, NOW_US)),
    BOOK_TICKERS: (encode.book_ticker(9, a_book_ticker(4)), Origin(9, "book_ticker", 4, 4, NOW_US)),
    DEPTH_DELTAS: (
        encode.depth_delta(7, a_delta(6, ts_us=NOW_US + 1)._replace(first_update_id=4)),
        Origin(7, "depth", 4, 6, NOW_US + 1),
    ),
    DEPTH_SNAPSHOTS: (
        encode.depth_snapshot(7, a_snapshot()),
        Origin(7, "depth_snapshot", None, None, NOW_US),
    ),
    KLINES: (
        encode.kline(7, a_kline(is_closed=True, after_s=60)),
        Origin(7, "kline_1m", NOW_US // 1_000, NOW_US // 1_000, NOW_US + 60_000_000),
    ),
    TICKERS: (encode.mini_ticker(7, MINI), Origin(7, "mini_ticker", None, None, NOW_US)),
    AVG_PRICES: (encode.avg_price(7, AVERAGE), Origin(7, "avg_price", None, None, NOW_US)),
}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_row_of_every_table_tells_its_origin(table: Table) -> None:
    """Stream, ids and time come back from the bytes as they went in."""
    row, expected = ROWS[table]

    assert origin(table, row) == expected


def test_open_candle_has_no_id() -> None:
    """A version that a later one replaces cannot be missed."""
    assert origin(KLINES, encode.kline(7, a_kline(after_s=5))) == Origin(
        7, "kline_1m", None, None, NOW_US + 5_000_000
    )


@given(
    trade_id=st.integers(0, 2**62),
    symbol_id=st.integers(1, 2**31 - 1),
    ts_us=st.integers(0, 4 * 10**15),
)
def test_any_trade_tells_its_origin(trade_id: int, symbol_id: int, ts_us: int) -> None:
    """Whatever the numbers are."""
    row = encode.trade(symbol_id, a_trade(trade_id, ts_us=ts_us))

    assert origin(TRADES, row) == Origin(symbol_id, "trade", trade_id, trade_id, ts_us)


@given(ids=st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)), ts_us=st.integers(0, 4 * 10**15))
def test_any_delta_tells_its_origin(ids: tuple[int, int], ts_us: int) -> None:
    """Text rows, too, to the microsecond."""
    first, final = sorted(ids)
    row = encode.depth_delta(3, a_delta(final, ts_us=ts_us)._replace(first_update_id=first))

    assert origin(DEPTH_DELTAS, row) == Origin(3, "depth", first, final, ts_us)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@given(junk=st.binary(max_size=60))
def test_junk_is_refused_as_what_it_is(table: Table, junk: bytes) -> None:
    """Bytes that are too short or no text give a ValueError, or some origin, and nothing else."""
    with suppress(ValueError):
        assert origin(table, junk).symbol_id is not None


def test_spans_are_told_stream_by_stream() -> None:
    """Rows of two symbols in one table: each has its bounds and its number of rows; junk counts nowhere."""
    rows = [*trade_rows([5, 9, 7]), b"junk", *trade_rows([40], symbol_id=8)]

    assert spans(TRADES, rows, {7: "BTCUSDT", 8: "ETHUSDT"}.__getitem__) == [
        Span(StreamKey("spot", "BTCUSDT", "trade"), 5, 9, NOW_US + 5_000, NOW_US + 9_000, 3),
        Span(StreamKey("spot", "ETHUSDT", "trade"), 40, 40, NOW_US + 40_000, NOW_US + 40_000, 1),
    ]


def test_spans_of_what_has_no_ids_are_bounded_by_time() -> None:
    """Quotes have a first and a last time only."""
    rows = [encode.mini_ticker(7, MINI._replace(ts_us=NOW_US + n)) for n in (3, 1, 2)]

    (span,) = spans(TICKERS, rows, lambda _: "BTCUSDT")

    assert span == Span(StreamKey("spot", "BTCUSDT", "mini_ticker"), None, None, NOW_US + 1, NOW_US + 3, 3)


# --- where trades lie in time -------------------------------------------------------------------------

_TIMES = st.tuples(st.integers(1, 4), st.integers(0, 30_000_000))


@given(st.lists(_TIMES, min_size=1, max_size=40), st.sampled_from([0, 1, 1_000_000, 60_000_000]))
def test_touched_trades_are_those_of_the_rows(times: list[tuple[int, int]], apart_from_us: int) -> None:
    """Every row lies in a span of its symbol, and no span reaches further than it must."""
    rows = [
        encode.trade(symbol_id, a_trade(number, ts_us=NOW_US + at_us))
        for number, (symbol_id, at_us) in enumerate(times, start=1)
    ]
    spans_of = touched_trades(rows, apart_from_us=apart_from_us)

    oldest, newest = NOW_US + min(at for _, at in times), NOW_US + max(at for _, at in times)
    if newest - oldest < apart_from_us:
        assert spans_of == [TouchedTrades(sorted({each for each, _ in times}), oldest, newest)]
    else:
        by_symbol = {
            symbol: [NOW_US + at for each, at in times if each == symbol]
            for symbol in sorted({s for s, _ in times})
        }
        assert spans_of == [TouchedTrades([symbol], min(at), max(at)) for symbol, at in by_symbol.items()]


def test_no_rows_touch_nothing() -> None:
    """A batch of gaps alone."""
    assert touched_trades([], apart_from_us=1) == []
