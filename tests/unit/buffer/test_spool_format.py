"""Batches as bytes on the disk: back as they were, or known to be damaged; and what damage costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.buffer import encode
from ingest.buffer.batcher import Batch
from ingest.buffer.origins import Span, spans
from ingest.buffer.spool_format import (
    DamagedBatch,
    Label,
    between,
    checked,
    label_of,
    lost,
    pack,
    reach,
    read_label,
    unpack,
)
from ingest.buffer.tables import DEPTH_DELTAS, DEPTH_SNAPSHOTS, KLINES, TRADES
from ingest.events import StreamKey
from tests.rows import (
    BTC_TRADE,
    NOW_US,
    SYMBOL_ID,
    a_batch,
    a_delta,
    a_gap,
    a_kline,
    a_snapshot,
    the_gap_filled,
    trade_rows,
)

MINUTE_MS = 60_000
DEPTH = StreamKey("spot", "BTCUSDT", "depth")
BOOK_TICKER = StreamKey("spot", "BTCUSDT", "book_ticker")
CANDLE = StreamKey("spot", "BTCUSDT", "kline_1m")
TICKER = StreamKey("spot", "BTCUSDT", "mini_ticker")


def spans_of(batch: Batch) -> list[Span]:
    return spans(batch.table, batch.rows, lambda _: "BTCUSDT")


def a_label(*found: Span) -> Label:
    """A label of a batch with these spans."""
    return Label(
        table=TRADES, rows=1, created_us=NOW_US, oldest_recv_ns=1, newest_recv_ns=2, gaps=(), spans=found
    )


def a_span(key: StreamKey, first_id: int | None, last_id: int | None, at_us: int = NOW_US) -> Span:
    return Span(key, first_id, last_id, at_us, at_us, 3)


@given(rows=st.lists(st.binary(max_size=300), max_size=30), with_gaps=st.booleans())
def test_batch_comes_back_as_it_was(rows: list[bytes], with_gaps: bool) -> None:
    """Rows of any bytes, gaps, times and spans survive the way to the disk and back."""
    batch = a_batch(rows, *((a_gap(), a_gap(None, None), the_gap_filled()) if with_gaps else ()))
    given_spans = [a_span(BTC_TRADE, 1, 2), a_span(TICKER, None, None)]

    packed = pack(batch, given_spans, created_us=NOW_US)
    label, back = unpack(packed.payload)

    assert back == rows
    assert label == read_label(checked(packed.label, packed.label_sum))
    assert label == read_label(label_of(packed.payload))
    assert (label.table, label.rows, label.created_us) == (TRADES, len(rows), NOW_US)
    assert label.gaps == batch.gaps
    assert label.spans == tuple(given_spans)
    assert (label.oldest_recv_ns, label.newest_recv_ns) == (batch.oldest_recv_ns, batch.newest_recv_ns)


@given(data=st.data())
def test_any_flipped_bit_or_cut_is_noticed(data: st.DataObject) -> None:
    """Nothing but what was written is ever handed out."""
    packed = pack(a_batch(trade_rows(range(9)), a_gap()), [a_span(BTC_TRADE, 0, 8)], created_us=NOW_US)
    payload = bytearray(packed.payload)
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(payload) * 8 - 1))
        payload[at // 8] ^= 1 << at % 8
    else:
        del payload[data.draw(st.integers(0, len(payload) - 1)) :]

    with pytest.raises(DamagedBatch):
        unpack(bytes(payload))
    with pytest.raises(DamagedBatch):
        label_of(bytes(payload))


def test_damaged_label_is_noticed() -> None:
    """A label has a checksum of its own."""
    packed = pack(a_batch(trade_rows([1])), [], created_us=NOW_US)

    with pytest.raises(DamagedBatch):
        checked(packed.label[:-1], packed.label_sum)
    with pytest.raises(DamagedBatch):
        read_label(b"none")


# ---------------------------------------------------------------------- what damage costs


def test_lost_batch_is_a_gap_for_each_stream() -> None:
    """The range of every stream in it, with its times; dated by the moment it went to the disk."""
    label = a_label(a_span(BTC_TRADE, 5, 9), a_span(TICKER, None, None))

    trade, ticker = lost(label)

    assert (trade.key, trade.first_id, trade.last_id, trade.cause) == (BTC_TRADE, 5, 9, "spool_damaged")
    assert (trade.repairable, trade.opened_us, trade.start_us) == (True, NOW_US, NOW_US)
    assert (ticker.first_id, ticker.last_id, ticker.repairable) == (None, None, False)


def test_lost_stored_books_and_open_candles_are_no_gap() -> None:
    """The next one replaces them; a closed candle is missed."""
    book = a_batch([encode.depth_snapshot(SYMBOL_ID, a_snapshot())], table=DEPTH_SNAPSHOTS)
    candles = a_batch([encode.kline(SYMBOL_ID, a_kline(after_s=3))], table=KLINES)
    closed = a_batch([encode.kline(SYMBOL_ID, a_kline(is_closed=True))], table=KLINES)

    assert lost(a_label(*spans_of(book), *spans_of(candles))) == []
    assert [gap.first_id for gap in lost(a_label(*spans_of(closed)))] == [NOW_US // 1_000]


def test_lost_deltas_are_the_range_from_first_to_final() -> None:
    """A delta covers several ids."""
    deltas = [a_delta(7)._replace(first_update_id=3), a_delta(12)._replace(first_update_id=8)]
    batch = a_batch([encode.depth_delta(SYMBOL_ID, delta) for delta in deltas], table=DEPTH_DELTAS)

    (gap,) = lost(a_label(*spans_of(batch)))

    assert (gap.key, gap.first_id, gap.last_id, gap.repairable) == (DEPTH, 3, 12, False)


def test_what_lay_between_two_batches_is_bounded_by_them() -> None:
    """Where nothing can be read the neighbours name the range: ids, or times for kinds without."""
    before = {
        BTC_TRADE: a_span(BTC_TRADE, 1, 10),
        BOOK_TICKER: a_span(BOOK_TICKER, 1, 10),
        TICKER: a_span(TICKER, None, None, NOW_US - 5),
    }
    found = between(
        before,
        a_label(a_span(BTC_TRADE, 21, 30), a_span(BOOK_TICKER, 15, 18), a_span(TICKER, None, None)),
    )

    assert [(gap.key, gap.first_id, gap.last_id) for gap in found] == [
        (BTC_TRADE, 11, 20),
        (BOOK_TICKER, 11, 14),
        (TICKER, None, None),
    ]
    assert (found[2].start_us, found[2].end_us) == (NOW_US - 5, NOW_US)


def test_what_continues_misses_nothing() -> None:
    """The unreadable part was another table's; and of a stream not seen before nothing is known."""
    label = a_label(a_span(BTC_TRADE, 11, 20), a_span(DEPTH, 5, 9))

    assert between({BTC_TRADE: a_span(BTC_TRADE, 1, 10)}, label) == []


@pytest.mark.parametrize(
    ("next_open", "expected"), [(1, None), (2, (MINUTE_MS, MINUTE_MS)), (5, (MINUTE_MS, 4 * MINUTE_MS))]
)
def test_candles_between_are_named_by_open_time(next_open: int, expected: tuple[int, int] | None) -> None:
    """First and last missing candle, none when the next follows the last."""
    found = between({CANDLE: a_span(CANDLE, 0, 0)}, a_label(a_span(CANDLE, next_open * MINUTE_MS, None)))

    assert [(gap.first_id, gap.last_id) for gap in found] == ([] if expected is None else [expected])


def test_open_candles_say_nothing_of_what_lay_before() -> None:
    """Their closed version is still to come."""
    assert between({CANDLE: a_span(CANDLE, 0, 0)}, a_label(a_span(CANDLE, None, None))) == []


def test_reach_keeps_what_reaches_furthest() -> None:
    """Later ids win; a span without ids does not take a stream back."""
    found: dict[StreamKey, Span] = {}
    reach(found, [a_span(BTC_TRADE, 5, 9), a_span(CANDLE, 7, 7)])
    reach(found, [a_span(BTC_TRADE, 1, 4), a_span(CANDLE, None, None)])

    assert (found[BTC_TRADE].last_id, found[CANDLE].last_id) == (9, 7)
