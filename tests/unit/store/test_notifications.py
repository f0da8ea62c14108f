"""`ingest.store.notifications`: what a batch tells those who listen."""

import json

from ingest.buffer.batcher import Mark
from ingest.buffer.tables import DEPTH_SNAPSHOTS, KLINES, TICKERS, TRADES
from ingest.events import StreamKey
from ingest.store.notifications import MAX_PAYLOAD_BYTES, Names, notifications, payloads
from tests.rows import NOW_US, SYMBOL_ID, a_batch, a_kline, kline_rows, trade_rows

STREAMS = {
    1: StreamKey("spot", "BTCUSDT", "trade"),
    2: StreamKey("spot", "ETHUSDT", "trade"),
    3: StreamKey("spot", "BTCUSDT", "mini_ticker"),
    4: StreamKey("spot", "BTCUSDT", "ticker"),
    5: StreamKey("spot", "BTCUSDT", "kline_1m"),
}
NAMES = Names(STREAMS.get, {SYMBOL_ID: "BTCUSDT"}.__getitem__)


def told(table: object, marks: dict[int, Mark]) -> dict[str, object]:
    """Channel to payload, for a batch with these newest rows."""
    batch = a_batch([b"row"], table=table)  # type: ignore[arg-type]
    object.__setattr__(batch, "marks", marks)
    return {channel: json.loads(payload) for channel, payload in notifications(batch, NAMES)}


def test_newest_row_of_each_symbol_is_told() -> None:
    """One message for all symbols of a kind: id and time of the newest row."""
    marks = {1: Mark(1_000, 7), 2: Mark(2_000, 9)}

    assert told(TRADES, marks) == {"ingest_spot_trade": {"BTCUSDT": [7, 1_000], "ETHUSDT": [9, 2_000]}}


def test_kinds_of_one_table_are_told_apart() -> None:
    """And what the exchange has no ids for has none here."""
    assert told(TICKERS, {3: Mark(1_000, 1), 4: Mark(2_000, 2)}) == {
        "ingest_spot_mini_ticker": {"BTCUSDT": [None, 1_000]},
        "ingest_spot_ticker": {"BTCUSDT": [None, 2_000]},
    }
    assert told(KLINES, {5: Mark(1_000, 60_000)}) == {"ingest_spot_kline_1m": {"BTCUSDT": [None, 1_000]}}


def test_streams_that_are_gone_and_stored_books_tell_nothing() -> None:
    """Their numbers belong to no stream."""
    assert told(TRADES, {99: Mark(1_000, 7)}) == {}
    assert told(DEPTH_SNAPSHOTS, {-1: Mark(1_000, 7)}) == {}


def test_rows_without_marks_are_told_by_what_they_are() -> None:
    """Repairs have no marks; their rows name symbol, id and time."""
    trades = a_batch(trade_rows([5, 6]))
    candles = a_batch(kline_rows(a_kline(is_closed=True)), table=KLINES)
    for batch in (trades, candles):
        object.__setattr__(batch, "marks", {})

    ((channel, payload),) = notifications(trades, NAMES)
    assert (channel, json.loads(payload)) == ("ingest_spot_trade", {"BTCUSDT": [6, NOW_US + 6_000]})
    ((channel, payload),) = notifications(candles, NAMES)
    assert (channel, json.loads(payload)) == ("ingest_spot_kline_1m", {"BTCUSDT": [None, NOW_US]})


def test_no_payload_is_longer_than_the_server_takes() -> None:
    """Many symbols make several messages, which hold each of them once; names may be of any script."""
    newest = {f"币安{number:04d}USDT": (10**12 + number, 1_700_000_000_000_000) for number in range(1_400)}

    told = list(payloads(newest))
    assert max(len(payload.encode()) for payload in told) <= MAX_PAYLOAD_BYTES
    assert len(told) < 15
    found = [item for payload in told for item in json.loads(payload).items()]
    assert found == [(symbol, list(each)) for symbol, each in newest.items()]
