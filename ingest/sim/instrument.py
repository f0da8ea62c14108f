"""Everything that the exchange knows of one symbol, kept consistent and published as it happens.

Pure. Trades feed candles and the rolling day; book changes feed the book; each event is entered in the
ledger before it is published, so that no fault can hide it. Time-driven streams are pushed by
`push_second` and `push_partial`, which the exchange calls on its clock.
"""

import orjson

from ingest.sim import wire
from ingest.sim.book import Book, LevelUnits
from ingest.sim.candles import Candle, Candles, Closed
from ingest.sim.channels import Channel, Hub
from ingest.sim.decimals import printed, units
from ingest.sim.happenings import Aggregated, BookChanged, Listing, Source, TopChanged, Traded
from ingest.sim.intervals import INTERVAL_MS
from ingest.sim.ledger import Ledger, depth_fields
from ingest.sim.rolling import Rolling, Statistics
from ingest.sim.slow_window import SlowWindow
from ingest.sim.streams import KIND_OF_SUFFIX, PARTIAL_LEVELS
from ingest.sim.tape import AggRow, Tape, TradeRow

DAY_US = 86_400_000_000


class Instrument:
    """One symbol of the exchange."""

    def __init__(self, listing: Listing, source: Source, hub: Hub, ledger: Ledger) -> None:
        self.listing = listing
        self.symbol = listing.symbol
        self.name = listing.symbol.encode()
        self.source = source
        self.status = "TRADING"
        self.tape = Tape()
        self.candles = Candles()
        self.rolling = Rolling()
        self.streams = _streams(hub, listing.symbol)
        self.channels = _by_kind(self.streams)
        self.top: TopChanged | None = None
        self.last_qty = 0
        self.last_trade_us = 0
        self._ledger = ledger
        self._trade, self._agg = self.channels["trade"], self.channels["agg_trade"]
        self._top, self._depth = self.channels["book_ticker"], self.channels["depth"]
        self._trade_log = ledger.series(self.symbol, "trade")
        self._agg_log = ledger.series(self.symbol, "agg_trade")
        self._top_log = ledger.series(self.symbol, "book_ticker")
        self._depth_log = ledger.series(self.symbol, "depth")
        self._slow: SlowWindow | None = None
        self._traded_since_push = False
        self._ticker_dirty = False
        self._last_average = b""
        self._candles_dirty = {"1s": False, "longer": False}
        self._partial_id: dict[str, int] = {}
        self._skipped = {"trade": 0, "agg_trade": 0}
        self._to_skip = {"trade": 0, "agg_trade": 0}
        self.mini_payloads: tuple[bytes, bytes] | None = None
        """The newest miniTicker in both time units, until the all-market stream takes it."""

    @property
    def book(self) -> Book:
        return self.source.book(self.symbol)

    def open_at(self, now_us: int) -> None:
        """Trading begins; candles count from here when the price is known."""
        if self.listing.open_price and not self.source.applies_deltas:
            self.candles.open_at(now_us // 1000, self.listing.open_price)

    def skip_ids(self, kind: str, ids: int) -> None:
        """The next trade or aggregate trade leaves out so many ids, which nobody will ever have."""
        self._to_skip[kind] += ids

    def traded(self, trade: Traded) -> None:
        if past := self._skip_over("trade"):
            trade = trade._replace(trade_id=trade.trade_id + past)
        price, qty = printed(trade.price), printed(trade.qty)
        maker = wire.TRUE if trade.buyer_is_maker else wire.FALSE
        fields = (price, qty, maker)
        self._trade_log.add(trade.trade_id, trade.event_us // 1000, b"%b|%b|%b" % fields)
        _, trade_id, event_us, ts_us, price_units, qty_units, by_maker = trade
        self.tape.add_trade(TradeRow(trade_id, ts_us, price_units, qty_units, by_maker))
        closed = self.candles.add(trade_id, ts_us // 1000, price_units, qty_units, by_maker)
        if closed:
            self._publish_closed(closed, event_us)
        self.last_qty, self.last_trade_us = qty_units, ts_us
        self._traded_since_push = self._ticker_dirty = True
        self._candles_dirty["1s"] = self._candles_dirty["longer"] = True
        name = self.name
        self._trade.publish(lambda us: wire.trade((event_us // us, name, trade_id), fields, ts_us // us))

    def aggregated(self, agg: Aggregated) -> None:
        if past := self._skip_over("agg_trade"):
            agg = agg._replace(agg_trade_id=agg.agg_trade_id + past)
        if past := self._skipped["trade"]:
            agg = agg._replace(
                first_trade_id=agg.first_trade_id + past, last_trade_id=agg.last_trade_id + past
            )
        maker = wire.TRUE if agg.buyer_is_maker else wire.FALSE
        ids = (agg.first_trade_id, agg.last_trade_id)
        fields = (printed(agg.price), printed(agg.qty), *ids, maker)
        event_us, ts_us, agg_id, name = agg.event_us, agg.ts_us, agg.agg_trade_id, self.name
        self._agg_log.add(agg_id, event_us // 1000, b"%b|%b|%d|%d|%b" % fields)
        self.tape.add_agg(AggRow(agg_id, ts_us, agg.price, agg.qty, *ids, agg.buyer_is_maker))
        self._agg.publish(lambda us: wire.agg_trade((event_us // us, name, agg_id), fields, ts_us // us))

    def _skip_over(self, kind: str) -> int:
        """How many ids the exchange has left out so far, those included that it leaves out now."""
        self._skipped[kind] += self._to_skip[kind]
        self._to_skip[kind] = 0
        return self._skipped[kind]

    def top_changed(self, top: TopChanged) -> None:
        self.top = top
        self._ticker_dirty = True
        _, update_id, ts_us, bid, bid_qty, ask, ask_qty = top
        fields = (printed(bid), printed(bid_qty), printed(ask), printed(ask_qty))
        self._top_log.add(update_id, ts_us // 1000, b"|".join(fields))
        name = self.name
        self._top.publish(lambda us: wire.book_ticker(update_id, name, fields))

    def book_changed(self, change: BookChanged) -> None:
        _, first, final, event_us, bids, asks = change
        if self.source.applies_deltas:
            self.book.apply(final, parsed_levels(bids), parsed_levels(asks))
        self._depth_log.add(final, event_us // 1000, depth_fields(first, bids, asks))
        if self._slow is not None:
            self._slow.add(change)
        self._publish_depth(self._depth, change)

    def watch_slow_depth(self) -> None:
        """Begin to merge the windows of `@depth`; somebody subscribed to it."""
        if self._slow is None:
            self._slow = SlowWindow()

    def push_second(self, now_us: int, *, longer: bool) -> None:
        """The streams that are pushed once a second; `longer` klines every other second."""
        if self.status == "BREAK":
            return
        self.push_slow_depth(now_us)
        closed = self.candles.roll(self.source.settled_us() // 1000)
        self._publish_closed(closed, now_us)
        self._publish_open_candles(now_us, longer=longer)
        if self._ticker_dirty and self.last_trade_us:
            self._publish_tickers(now_us)

    def push_slow_depth(self, now_us: int) -> None:
        """Close the one-second depth window."""
        change = self._slow.close(self.symbol, now_us) if self._slow is not None else None
        if change is None:
            return
        fields = depth_fields(change.first_update_id, change.bids, change.asks)
        series = self._ledger.series(self.symbol, "depth_1s")
        series.add(change.final_update_id, now_us // 1000, fields)
        self._publish_depth(self.channels["depth_1s"], change)

    def push_partial(self, kind: str) -> None:
        """One partial depth stream, when the book has moved since its last event."""
        channel, book = self.channels[kind], self.book
        if self.status == "BREAK" or not channel.is_wanted() or self._partial_id.get(kind) == book.update_id:
            return
        self._partial_id[kind] = book.update_id
        limit = PARTIAL_LEVELS[kind]
        payload = wire.partial_depth(book.update_id, book.top_bids(limit), book.top_asks(limit))
        channel.publish(lambda us: payload)

    def day(self) -> Statistics | None:
        """The rolling 24 hours; None before the first price."""
        minute = self.candles.shown("1m")
        return self.rolling.statistics(minute) if minute is not None else None

    def average(self) -> int:
        """The five-minute average price; 0 before the first price."""
        minute = self.candles.shown("1m")
        return self.rolling.average(minute) if minute is not None else 0

    def best(self) -> tuple[LevelUnits, LevelUnits]:
        """Best bid and ask as the last book ticker said, else as in the book."""
        if self.top is None:
            return self.book.best_bid(), self.book.best_ask()
        return (self.top.bid, self.top.bid_qty), (self.top.ask, self.top.ask_qty)

    def ticker_fields(self, day: Statistics) -> tuple[bytes, ...]:
        """p P w x c Q b B a A o h l v q as printed."""
        (bid, bid_qty), (ask, ask_qty) = self.best()
        prices = (printed(day.weighted_average), printed(day.prior_close), printed(day.close))
        top = (printed(bid), printed(bid_qty), printed(ask), printed(ask_qty))
        _, o, h, low, v, q = wire.mini_fields(day)
        return (*wire.change_fields(day), *prices, printed(self.last_qty), *top, o, h, low, v, q)

    def _publish_depth(self, channel: Channel, change: BookChanged) -> None:
        _, first, final, event_us, bids, asks = change
        name = self.name
        channel.publish(lambda us: wire.depth(event_us // us, name, (first, final), (bids, asks)))

    def _publish_closed(self, closed: list[Closed], now_us: int) -> None:
        for interval, candle in closed:
            if interval == "1m":
                self.rolling.take_minute(candle)
            series = self._ledger.series(self.symbol, f"kline_{interval}")
            series.add(candle.open_ms, candle.end_ms, b"|".join(wire.candle_fields(candle)))
            self._publish_kline(interval, candle, now_us, closed=True)

    def _publish_open_candles(self, now_us: int, *, longer: bool) -> None:
        if self._candles_dirty["1s"]:
            self._candles_dirty["1s"] = False
            self._publish_open_candle("1s", now_us)
        if longer and self._candles_dirty["longer"]:
            self._candles_dirty["longer"] = False
            for interval in INTERVAL_MS:
                if interval != "1s":
                    self._publish_open_candle(interval, now_us)

    def _publish_open_candle(self, interval: str, now_us: int) -> None:
        if not self.channels[f"kline_{interval}"].is_wanted():
            return
        candle = self.candles.shown(interval)
        if candle is not None and candle.trades:
            self._publish_kline(interval, candle, now_us, closed=False)

    def _publish_kline(self, interval: str, candle: Candle, now_us: int, *, closed: bool) -> None:
        name = self.name
        self.channels[f"kline_{interval}"].publish(
            lambda us: wire.kline(now_us, name, interval, candle, closed=closed, unit_us=us)
        )

    def _publish_tickers(self, now_us: int) -> None:
        day = self.day()
        if day is None:
            return
        self._ticker_dirty = False
        if self._traded_since_push:
            self._traded_since_push = False
            self._publish_mini(now_us, day)
            self._publish_average(now_us)
        fields = self.ticker_fields(day)
        self._ledger.series(self.symbol, "ticker").add(now_us // 1000, now_us // 1000, b"|".join(fields))
        ids = (day.first_trade_id, day.last_trade_id, day.trades)
        name = self.name
        self.channels["ticker"].publish(
            lambda us: wire.ticker(now_us // us, name, fields, ((now_us - DAY_US) // us, now_us // us, *ids))
        )

    def _publish_mini(self, now_us: int, day: Statistics) -> None:
        fields, name, now_ms = wire.mini_fields(day), self.name, now_us // 1000
        self._ledger.series(self.symbol, "mini_ticker").add(now_ms, now_ms, b"|".join(fields))
        payloads = (wire.mini_ticker(now_us, name, fields), wire.mini_ticker(now_ms, name, fields))
        self.mini_payloads = payloads
        self.channels["mini_ticker"].publish(lambda us: payloads[us == wire.MILLISECOND_US])

    def _publish_average(self, now_us: int) -> None:
        average = printed(self.average())
        if average == self._last_average:
            return
        self._last_average = average
        now_ms, ts_us, name = now_us // 1000, self.last_trade_us, self.name
        self._ledger.series(self.symbol, "avg_price").add(now_ms, now_ms, average)
        self.channels["avg_price"].publish(
            lambda us: wire.avg_price(now_us // us, name, average, ts_us // us)
        )


def parsed_levels(side: bytes) -> list[LevelUnits]:
    """Levels from their printed form without the outer brackets."""
    return [(units(price), units(qty)) for price, qty in orjson.loads(b"[" + side + b"]")]


def _streams(hub: Hub, symbol: str) -> dict[str, Channel]:
    """A channel for each stream name of the symbol."""
    names = {f"{symbol.lower()}@{suffix}": kind for suffix, kind in KIND_OF_SUFFIX.items()}
    return {name: Channel(hub, name, symbol, kind) for name, kind in names.items()}


def _by_kind(streams: dict[str, Channel]) -> dict[str, Channel]:
    """The channel of each kind; a second name for the same stream becomes its alias."""
    channels: dict[str, Channel] = {}
    for channel in streams.values():
        first = channels.setdefault(channel.kind, channel)
        if first is not channel:
            first.alias = channel
    return channels
