"""The way that nearly every message of the three busiest kinds takes: from message to row in one go.

A stream is steady when the next message can only be news: nothing is missing before it, no row of it
waits to be confessed, one connection brings it. A message that continues a steady stream and is made as
the exchange makes them is encoded straight from its fields, without an event in between. Whatever else
comes goes to the kind's own `accept` in `shard.kinds`, which judges it as if nothing had been tried.

What it never does: decide anything. Invariant: rows, marks, counters and books are the same as by the long
way, for every message.
"""

from struct import error as struct_error
from typing import Final

from ingest.binance.fields import FIRST_MICROSECONDS, LATEST, MAX_ID
from ingest.binance.frames import JsonObject
from ingest.buffer import encode
from ingest.buffer.numeric import PLAIN, encode_plain
from ingest.events import DepthDelta
from ingest.shard.kinds import BookTickerStream, DeltaStream, DepthStream, TradeStream
from ingest.shard.stream import StreamContext

_UNUSUAL: Final = (KeyError, TypeError, ValueError, struct_error)
"""What reading a message raises that is not as expected."""
_NONE_YET: Final = object()
"""Equal to nothing that a message may hold."""


class SteadyTradeStream(TradeStream):
    """Prices repeat from trade to trade, so the encoding of the newest one is kept."""

    def __init__(self, context: StreamContext) -> None:
        super().__init__(context)
        self._tail = encode.trade_tail(context.symbol_id)
        self._price: object = _NONE_YET
        self._price_field = b""

    def accept(self, data: JsonObject, recv_ns: int) -> None:
        row, newest_id, ts_us = b"", 0, 0
        try:
            trade_id, time, price, is_maker = data["t"], data["T"], data["p"], data["m"]
            if (
                self.is_steady
                and type(trade_id) is int
                and trade_id == self.last_id + 1
                and type(time) is int
                and 0 <= time <= LATEST
                and type(is_maker) is bool
                and data["s"] == self.symbol
            ):
                newest_id, ts_us = trade_id, time if time >= FIRST_MICROSECONDS else time * 1000
                if price != self._price:
                    self._price_field, self._price = PLAIN[price], price
                numbers = self._price_field + PLAIN[data["q"]]
                row = encode.trade_row(self._tail, trade_id, ts_us, recv_ns, is_maker, numbers)
        except _UNUSUAL:
            row = b""
        if not row:
            super().accept(data, recv_ns)
            return
        self.messages += 1
        self.tracker.last_id = newest_id
        self.store_next(row, ts_us, newest_id, newest_id, recv_ns)


class SteadyBookTickerStream(BookTickerStream):
    """Mostly one side moves, so the encoding of each is kept; prices come back, quantities rarely do."""

    def __init__(self, context: StreamContext) -> None:
        super().__init__(context)
        self._tail = encode.book_ticker_tail(context.symbol_id)
        self._bid: tuple[object, ...] = ()
        self._ask: tuple[object, ...] = ()
        self._bid_fields = self._ask_fields = b""

    def accept(self, data: JsonObject, recv_ns: int) -> None:
        row, newest_id = b"", 0
        try:
            update_id = data["u"]
            if (
                self.is_steady
                and type(update_id) is int
                and update_id > self.last_id
                and data["s"] == self.symbol
            ):
                newest_id = update_id
                bid, ask = (data["b"], data["B"]), (data["a"], data["A"])
                if bid != self._bid:
                    self._bid_fields, self._bid = PLAIN[bid[0]] + encode_plain(bid[1]), bid
                if ask != self._ask:
                    self._ask_fields, self._ask = PLAIN[ask[0]] + encode_plain(ask[1]), ask
                row = encode.book_ticker_row(
                    self._tail, update_id, recv_ns, self._bid_fields, self._ask_fields
                )
        except _UNUSUAL:
            row = b""
        if not row:
            super().accept(data, recv_ns)
            return
        self.messages += 1
        self.tracker.follow(newest_id)
        self.store_next(row, recv_ns // 1_000, newest_id, newest_id, recv_ns)


class SteadyDeltaStream(DeltaStream):
    """Deltas whose first update is the one behind the newest."""

    def accept(self, data: JsonObject, recv_ns: int) -> None:
        row, event = b"", None
        try:
            first_id, final_id, time = data["U"], data["u"], data["E"]
            bids, asks = data["b"], data["a"]
            if (
                self.is_steady
                and type(first_id) is int
                and first_id == self.last_id + 1
                and type(final_id) is int
                and first_id <= final_id <= MAX_ID
                and type(time) is int
                and 0 <= time <= LATEST
                and type(bids) is list
                and type(asks) is list
                and data["s"] == self.symbol
            ):
                ts_us = time if time >= FIRST_MICROSECONDS else time * 1000
                event = DepthDelta(self.symbol, first_id, final_id, ts_us, bids, asks, recv_ns)
                row = encode.depth_delta(self.symbol_id, event)
        except _UNUSUAL:
            event = None
        if event is None:
            super().accept(data, recv_ns)
            return
        self.messages += 1
        self.tracker.last_id = event.final_update_id
        self.store_next(row, event.ts_us, event.first_update_id, event.final_update_id, recv_ns)
        self.stored(event)


class SteadyDepthStream(SteadyDeltaStream, DepthStream):
    """The same with their book."""
