"""The kinds of streams: for each, how a message is parsed, sequenced and encoded.

Each class is one path from a decoded message to `Stream.store`. What differs between them is what the
exchange's ids promise (`binance.streams.ID_RULE`): trades are consecutive, depth deltas are ranges
that touch, book tickers only rise, candles follow the clock, tickers carry nothing but their time.
"""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from ingest.binance import parse
from ingest.binance.frames import JsonObject
from ingest.binance.streams import interval_of
from ingest.book.sync import Action, BookSync
from ingest.buffer import encode
from ingest.events import AvgPrice, DepthDelta, GapCause, Kline, MiniTicker, Ticker
from ingest.sequence.tracker import CandleTracker, ConsecutiveTracker, RisingTracker, Verdict
from ingest.shard.stream import Stream, StreamContext

# A member of an enum is looked up by a function: too dear for each message.
_DUPLICATE: Final = Verdict.DUPLICATE
_GAP: Final = Verdict.GAP
_FILLED: Final = Verdict.FILLED


class _ConsecutiveStream(Stream):
    """Ids without holes: a jump is a gap, and an id inside a known hole is late but welcome."""

    def __init__(self, context: StreamContext) -> None:
        super().__init__(context)
        self.tracker = ConsecutiveTracker(None)

    def resume(self, last_id: int, ts_us: int) -> None:
        super().resume(last_id, ts_us)
        self.tracker = ConsecutiveTracker(last_id)

    def is_new(self, first_id: int, last_id: int, ts_us: int) -> bool:
        """Whether to store it; opens and closes gaps on the way."""
        verdict = self.tracker.accept(first_id, last_id)
        if verdict is _DUPLICATE:
            self.duplicates += 1
            return False
        if verdict is _GAP and self.tracker.gap is not None:
            first, last = self.tracker.gap
            self.open_gap(first_id=first, last_id=last, start_us=self.last_event_us or None, end_us=ts_us)
        elif verdict is _FILLED:
            for hole in self.tracker.filled:
                self.gap_filled(*hole)
        return True


class TradeStream(_ConsecutiveStream):
    def accept(self, data: JsonObject, recv_ns: int) -> None:
        self.messages += 1
        event = parse.trade(data, recv_ns)
        if event.symbol != self.symbol:
            self.expect_symbol(event.symbol)
        trade_id = event.trade_id
        row = encode.trade(self.symbol_id, event)
        tracker = self.tracker
        if trade_id - 1 == tracker.last_id:
            tracker.last_id = trade_id
        elif not self.is_new(trade_id, trade_id, event.ts_us):
            return
        self.store(row, event.ts_us, trade_id, recv_ns)


class AggTradeStream(_ConsecutiveStream):
    def accept(self, data: JsonObject, recv_ns: int) -> None:
        self.messages += 1
        event = parse.agg_trade(data, recv_ns)
        self.expect_symbol(event.symbol)
        row = encode.agg_trade(self.symbol_id, event)
        if self.is_new(event.agg_trade_id, event.agg_trade_id, event.ts_us):
            self.store(row, event.ts_us, event.agg_trade_id, recv_ns)


class DeltaStream(_ConsecutiveStream):
    """Depth deltas that are stored, and nothing else: another shard keeps the book."""

    def accept(self, data: JsonObject, recv_ns: int) -> None:
        self.messages += 1
        event = parse.depth(data, recv_ns)
        self.expect_symbol(event.symbol)
        row = encode.depth_delta(self.symbol_id, event)
        if self.is_new(event.first_update_id, event.final_update_id, event.ts_us):
            self.store(row, event.ts_us, event.final_update_id, recv_ns, event.first_update_id)
            self.stored(event)

    def stored(self, event: DepthDelta) -> None:
        """A new delta is on its way to the table."""


class DepthStream(DeltaStream):
    """Deltas are stored whatever the book makes of them; the book is told of the ones that are new."""

    def __init__(self, context: StreamContext, book: BookSync, act: Callable[[Action], None]) -> None:
        super().__init__(context)
        self.book = book
        self._act = act

    def stored(self, event: DepthDelta) -> None:
        for action in self.book.on_delta(event):
            self._act(action)

    def broke(self, cause: GapCause = "disconnect") -> None:
        super().broke(cause)
        for action in self.book.on_disconnected():
            self._act(action)

    @property
    def known_levels(self) -> tuple[int, int]:
        book = self.book.book
        return (-1, -1) if book is None else (len(book.bids), len(book.asks))


class BookTickerStream(Stream):
    """Ids rise and are not consecutive: only where the feed was away something may be missing."""

    def __init__(self, context: StreamContext) -> None:
        super().__init__(context)
        self.tracker = RisingTracker(None)

    def resume(self, last_id: int, ts_us: int) -> None:
        super().resume(last_id, ts_us)
        self.tracker = RisingTracker(last_id)

    def overlap(self, begins: bool) -> None:
        super().overlap(begins)
        self.tracker.overlap(begins)

    def accept(self, data: JsonObject, recv_ns: int) -> None:
        self.messages += 1
        event = parse.book_ticker(data, recv_ns)
        if event.symbol != self.symbol:
            self.expect_symbol(event.symbol)
        row = encode.book_ticker(self.symbol_id, event)
        if self.tracker.accept(event.update_id) is _DUPLICATE:
            self.duplicates += 1
            return
        if self._break is not None and event.update_id > self.last_id + 1:
            self.open_gap(
                first_id=self.last_id + 1,
                last_id=event.update_id - 1,
                start_us=self.last_event_us,
                end_us=event.ts_us,
                note="an upper bound: update ids rise, but not each is a best price",
            )
        self.store(row, event.ts_us, event.update_id, recv_ns)


class KlineStream(Stream):
    """Updates of the open candle replace one another; a candle that was never seen closed is a gap."""

    def __init__(self, context: StreamContext) -> None:
        super().__init__(context)
        self._interval = interval_of(context.key.kind)
        self.tracker = CandleTracker(self._interval)

    def resume(self, last_id: int, ts_us: int) -> None:
        """`ts_us` is the open time of the newest candle that is stored closed."""
        super().resume(last_id, ts_us)
        self.tracker = CandleTracker(self._interval, ts_us)

    def accept(self, data: JsonObject, recv_ns: int) -> None:
        self.messages += 1
        event = parse.kline(data, recv_ns)
        self.expect_symbol(event.symbol)
        row = encode.kline(self.symbol_id, event)
        if self._is_overtaken(event):
            self.duplicates += 1
            return
        verdict = self.tracker.accept(event.open_time_us, event.is_closed)
        if verdict is _DUPLICATE:
            self.duplicates += 1
            return
        if verdict is _GAP and self.tracker.gap is not None:
            first_us, last_us = self.tracker.gap
            self.open_gap(
                first_id=first_us // 1_000,
                last_id=last_us // 1_000,
                start_us=first_us,
                end_us=event.open_time_us,
                note="closed candles by open time in milliseconds",
            )
        elif verdict is _FILLED:
            for hole in self.tracker.filled:
                self.gap_filled(hole.first_id // 1_000, hole.last_id // 1_000, hole.rows)
        self.store(row, event.ts_us, event.open_time_us // 1_000, recv_ns)

    def _is_overtaken(self, event: Kline) -> bool:
        """Whether this version of the open candle came before, or a newer one: from another connection."""
        is_open = not event.is_closed and event.open_time_us // 1_000 == self.last_id
        return is_open and event.ts_us <= self.last_event_us


Quote = TypeVar("Quote", MiniTicker, Ticker, AvgPrice)


class QuoteStream(Stream, Generic[Quote]):
    """Once a second at most and without ids: what a longer break swallowed is bounded by time alone."""

    PERIOD_US = 1_500_000

    def __init__(
        self,
        context: StreamContext,
        parse_quote: Callable[[JsonObject, int], Quote],
        encode_quote: Callable[[int, Quote], bytes],
    ) -> None:
        super().__init__(context)
        self._parse: Callable[[JsonObject, int], Quote] = parse_quote
        self._encode: Callable[[int, Quote], bytes] = encode_quote

    def accept(self, data: JsonObject, recv_ns: int) -> None:
        self.messages += 1
        event = self._parse(data, recv_ns)
        self.expect_symbol(event.symbol)
        row = self._encode(self.symbol_id, event)
        if event.ts_us <= self.last_event_us:
            self.duplicates += 1
            return
        if self._break is not None and event.ts_us - self.last_event_us > self.PERIOD_US:
            self.open_gap(first_id=None, last_id=None, start_us=self.last_event_us, end_us=event.ts_us)
        self.store(row, event.ts_us, event.ts_us // 1_000, recv_ns)
