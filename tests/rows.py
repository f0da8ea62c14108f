"""Market data as tests want them: valid by default, each test says what is different."""

from collections.abc import Iterable, Sequence

from ingest.buffer import encode
from ingest.buffer.batcher import Batch, Mark
from ingest.buffer.numeric import NUMERICS
from ingest.buffer.tables import KLINES, TRADES, Table
from ingest.clock import SystemClock
from ingest.events import (
    AggTrade,
    BookTicker,
    DepthDelta,
    DepthSnapshot,
    Gap,
    GapFilled,
    Kline,
    StreamKey,
    Trade,
)

NOW_US = SystemClock().wall_ns() // 1_000_000_000 * 1_000_000
"""A whole second about when the tests began, so that rows fall into partitions that exist."""

SYMBOL_ID = 7
BTC_TRADE = StreamKey("spot", "BTCUSDT", "trade")


def a_trade(
    trade_id: int = 1, *, ts_us: int | None = None, price: str = "61602.01000000", qty: str = "0.5"
) -> Trade:
    """Trade number `trade_id`, a millisecond after its predecessor."""
    ts_us = NOW_US + trade_id * 1_000 if ts_us is None else ts_us
    return Trade("BTCUSDT", trade_id, ts_us, price, qty, True, (ts_us + 30_000) * 1_000)


def trade_rows(ids: Iterable[int], *, symbol_id: int = SYMBOL_ID) -> list[bytes]:
    """Encoded trades."""
    return [encode.trade(symbol_id, a_trade(trade_id)) for trade_id in ids]


def a_bad_trade_row(trade_id: int = 1) -> bytes:
    """A trade whose price has a digit of 10,000, which the server refuses."""
    good = encode.trade(SYMBOL_ID, a_trade(trade_id, price="61602.01000000"))
    price = NUMERICS["61602.01000000"]
    return good.replace(price, price[:-2] + (10_000).to_bytes(2, "big"))


def an_agg_trade(agg_trade_id: int = 1) -> AggTrade:
    """An aggregate of two trades."""
    first = 2 * agg_trade_id
    return AggTrade("BTCUSDT", agg_trade_id, NOW_US, "1.50", "2", first, first + 1, False, NOW_US * 1_000)


def a_book_ticker(update_id: int = 1) -> BookTicker:
    """A book one tick wide."""
    return BookTicker(
        "BTCUSDT", update_id, NOW_US, "1.10000000", "3.00000000", "1.20000000", "4", NOW_US * 1_000
    )


def a_delta(
    final_update_id: int = 2, *, ts_us: int = NOW_US, bids: Sequence[tuple[str, str]] = ()
) -> DepthDelta:
    """A delta of a single update, one ask level in it."""
    levels = [("61602.02000000", "0.00000000")]
    return DepthDelta("BTCUSDT", final_update_id, final_update_id, ts_us, list(bids), levels, ts_us * 1_000)


def a_snapshot(last_update_id: int = 1, *, ts_us: int = NOW_US) -> DepthSnapshot:
    """A snapshot with one level a side."""
    bids, asks = [("61602.01000000", "1.67177000")], [("61602.02000000", "2.66795000")]
    return DepthSnapshot("BTCUSDT", last_update_id, ts_us, bids, asks, "start", ts_us * 1_000)


def a_kline(
    close: str = "105.5", *, is_closed: bool = False, after_s: int = 0, open_us: int = NOW_US
) -> Kline:
    """A version of one candle, `after_s` seconds into it."""
    ts_us = open_us + after_s * 1_000_000
    return Kline(
        symbol="BTCUSDT",
        interval="1m",
        open_time_us=open_us,
        close_time_us=open_us + 59_999_999,
        open="100.0",
        high="110.0",
        low="90.0",
        close=close,
        volume="12.5",
        quote_volume="1250",
        trades=9,
        taker_buy_volume="3",
        taker_buy_quote_volume="300",
        is_closed=is_closed,
        ts_us=ts_us,
        recv_ns=ts_us * 1_000,
    )


def kline_rows(*klines: Kline) -> list[bytes]:
    """Encoded candles."""
    return [encode.kline(SYMBOL_ID, kline) for kline in klines]


def a_gap(
    first_id: int | None = 5, last_id: int | None = 9, *, repairable: bool = True, note: str = ""
) -> Gap:
    """Trades that went missing with a connection."""
    return Gap(BTC_TRADE, first_id, last_id, NOW_US, NOW_US + 1_000, "disconnect", repairable, note, NOW_US)


def the_gap_filled(first_id: int = 5, last_id: int = 9) -> GapFilled:
    """The same trades, arrived after all."""
    return GapFilled(BTC_TRADE, first_id, last_id, last_id - first_id + 1, NOW_US + 5_000_000)


def a_batch(rows: list[bytes], *gaps: Gap | GapFilled, table: Table = TRADES) -> Batch:
    """A batch as the batcher would give it."""
    return Batch(
        table=table,
        rows=rows,
        size_bytes=sum(map(len, rows)),
        marks={0: Mark(NOW_US, 1)} if rows else {},
        gaps=gaps,
        oldest_recv_ns=NOW_US * 1_000 if rows else None,
        newest_recv_ns=NOW_US * 1_000 if rows else None,
    )


def a_kline_batch(*klines: Kline) -> Batch:
    """Versions of candles in one batch."""
    return a_batch(kline_rows(*klines), table=KLINES)
