"""The exchange without its network: sources in, published events out, one clock told from outside.

Pure. It takes what happens from its sources, keeps each symbol's state, and pushes the time-driven
streams. Symbols push in turn over the second (in slots of 10 ms), so that a thousand of them are no
burst. Invariant: everything that happens up to a moment is published before the time-driven streams of
that moment are.
"""

from typing import Literal, TypeAlias

from ingest.sim import wire
from ingest.sim.channels import Channel, Hub, Outbox
from ingest.sim.happenings import Aggregated, Happening, Source, TopChanged, Traded
from ingest.sim.instrument import Instrument
from ingest.sim.ledger import Ledger
from ingest.sim.market import Market
from ingest.sim.streams import ALL_MINI, PARTIAL_LEVELS, stream_parts

Phase: TypeAlias = Literal["waiting", "playing", "paused", "finished"]

_SLOT_US = 10_000
_SLOTS = 100
_MOST_PER_SOURCE = 2_000
"""How many happenings of a source are taken before the frames are written out."""
_MOST_BEHIND_US = 2_000_000
"""Beyond this the clock is told to skip: the machine is too slow for the wanted rate."""

_FAST_PARTIAL = [kind for kind in PARTIAL_LEVELS if not kind.endswith("_1s")]
_SLOW_PARTIAL = [kind for kind in PARTIAL_LEVELS if kind.endswith("_1s")]


class Exchange:
    """All symbols and their channels."""

    def __init__(self, sources: list[Source], ledger: Ledger) -> None:
        self.sources = sources
        self.ledger = ledger
        self.hub = Hub()
        self.phase: Phase = "waiting"
        self.instruments: dict[str, Instrument] = {}
        self.skipped_us = 0
        for source in sources:
            for listing in source.listings:
                if listing.symbol in self.instruments:
                    raise ValueError(f"two sources have the symbol {listing.symbol}")
                self.instruments[listing.symbol] = Instrument(listing, source, self.hub, ledger)
        self._all = list(self.instruments.values())
        self.all_mini = Channel(self.hub, ALL_MINI, "", "mini_ticker_arr")
        self._partial: set[Instrument] = set()
        self._slot = 0
        self._now_us = 0
        self._paused_at_us = 0

    def start(self, now_us: int) -> None:
        """Begin; nothing has happened before."""
        if self.phase != "waiting":
            return
        self.phase = "playing"
        self._now_us = now_us
        self._slot = now_us // _SLOT_US
        for source in self.sources:
            source.start(now_us)
        for instrument in self._all:
            instrument.open_at(now_us)

    def pause(self, now_us: int) -> None:
        """Nothing happens until `resume`; what has happened is published, open depth windows included."""
        if self.phase == "playing":
            self._close_windows(now_us)
            self.phase, self._paused_at_us = "paused", now_us

    def resume(self, now_us: int) -> None:
        if self.phase == "paused":
            self.phase = "playing"
            self.skip(now_us - self._paused_at_us)

    def stalled_until(self, now_us: int) -> None:
        """Nothing was taken for a while; it is not made up for."""
        if self.phase == "playing":
            self.skip(now_us - self._now_us)

    def skip(self, pause_us: int) -> None:
        """So much time has passed and nothing happened in it."""
        self._now_us += pause_us
        for source in self.sources:
            source.skip(pause_us)

    def finish(self, now_us: int) -> None:
        """Stop producing; close the depth windows so that the wire agrees with the ledger."""
        if self.phase in ("waiting", "finished"):
            self.phase = "finished"
            return
        self._close_windows(now_us)
        self.phase = "finished"

    def _close_windows(self, now_us: int) -> None:
        for source in self.sources:
            self._take(source.flush(now_us))
        for instrument in self._all:
            instrument.push_slow_depth(now_us)

    def advance(self, now_us: int) -> bool:
        """Let happen what is due; False when more is due than was taken (call again)."""
        if self.phase != "playing":
            return True
        caught_up = True
        for source in self.sources:
            happenings = source.advance(now_us, _MOST_PER_SOURCE)
            caught_up = caught_up and len(happenings) < _MOST_PER_SOURCE
            self._take(happenings)
        if caught_up:
            self._now_us = now_us
            self._push_slots(now_us // _SLOT_US)
        elif now_us - self._now_us > _MOST_BEHIND_US:
            self.skipped_us += now_us - self._now_us
            self.skip(now_us - self._now_us)
        return caught_up

    def set_status(self, symbol: str, status: str) -> None:
        """TRADING, HALT (market data go on) or BREAK (nothing happens). KeyError without the symbol."""
        instrument = self.instruments[symbol]
        instrument.status = status
        instrument.source.halt(symbol, status == "BREAK")

    def skip_ids(self, symbol: str, kind: str, ids: int) -> None:
        """The exchange itself has a hole: ids that are never given. KeyError without the symbol."""
        self.instruments[symbol].skip_ids(kind, ids)

    def list_symbol(self, symbol: str, now_us: int) -> None:
        """A new symbol begins to trade. KeyError when it was there before, or no market can make it."""
        market = next((source for source in self.sources if isinstance(source, Market)), None)
        if market is None or any(each.symbol == symbol for each in market.listings):
            raise KeyError(symbol)
        instrument = Instrument(market.add(symbol), market, self.hub, self.ledger)
        self.instruments[symbol] = instrument
        self._all.append(instrument)
        if self.phase != "waiting":
            instrument.open_at(now_us)

    def delist(self, symbol: str) -> None:
        """The symbol is gone for good; who listens to it hears nothing more. KeyError without it."""
        instrument = self.instruments.pop(symbol)
        instrument.source.halt(symbol, True)
        self._all.remove(instrument)
        self._partial.discard(instrument)

    def channel(self, stream: str) -> Channel | None:
        """The channel of a stream name; None for a name that no exchange would know."""
        if stream == ALL_MINI:
            return self.all_mini
        parts = stream_parts(stream)
        instrument = self.instruments.get(parts[0]) if parts else None
        return instrument.streams.get(stream) if instrument else None

    def subscribe(self, outbox: Outbox, stream: str) -> None:
        """Join a connection to a stream; unknown streams are silent."""
        channel = self.channel(stream)
        if channel is None or stream in outbox.channels:
            return
        channel.join(outbox)
        if channel.kind == "depth_1s":
            self.instruments[channel.symbol].watch_slow_depth()
        if channel.kind in PARTIAL_LEVELS:
            self._partial.add(self.instruments[channel.symbol])

    def unsubscribe(self, outbox: Outbox, stream: str) -> None:
        channel = outbox.channels.get(stream)
        if channel is not None:
            channel.leave(outbox)

    def drop(self, outbox: Outbox) -> None:
        """The connection is gone."""
        for channel in list(outbox.channels.values()):
            channel.leave(outbox)

    def reform(self, outbox: Outbox, form: int) -> None:
        """The connection wants its events raw or combined from now on."""
        channels = list(outbox.channels.values())
        self.drop(outbox)
        outbox.form = form
        for channel in channels:
            channel.join(outbox)

    def is_over(self) -> bool:
        """Whether every source has played to its end."""
        return all(source.is_over() for source in self.sources)

    def _take(self, happenings: list[Happening]) -> None:
        instruments = self.instruments
        for happening in happenings:
            instrument = instruments.get(happening.symbol)
            if instrument is None:  # the depth window that was open when it was delisted
                continue
            if isinstance(happening, TopChanged):
                instrument.top_changed(happening)
            elif isinstance(happening, Traded):
                instrument.traded(happening)
            elif isinstance(happening, Aggregated):
                instrument.aggregated(happening)
            else:
                instrument.book_changed(happening)

    def _push_slots(self, last_slot: int) -> None:
        self._slot = max(self._slot, last_slot - _SLOTS)
        while self._slot < last_slot:
            self._slot += 1
            self._push_slot(self._slot)

    def _push_slot(self, slot: int) -> None:
        now_us = slot * _SLOT_US
        place, second = slot % _SLOTS, slot // _SLOTS
        for index in range(place, len(self._all), _SLOTS):
            self._all[index].push_second(now_us, longer=second % 2 == 0)
        if self._partial and slot % 10 == 0:
            self._push_partial(every=place == 0)
        if place == 0:
            self._push_all_mini()

    def _push_partial(self, *, every: bool) -> None:
        for instrument in self._partial:
            for kind in _FAST_PARTIAL + _SLOW_PARTIAL if every else _FAST_PARTIAL:
                instrument.push_partial(kind)

    def _push_all_mini(self) -> None:
        """`!miniTicker@arr`: the symbols that changed since the last time."""
        changed = [instrument for instrument in self._all if instrument.mini_payloads is not None]
        if not changed:
            return
        pairs = [instrument.mini_payloads for instrument in changed if instrument.mini_payloads]
        for instrument in changed:
            instrument.mini_payloads = None
        self.all_mini.publish(
            lambda us: b"[" + b",".join(pair[us == wire.MILLISECOND_US] for pair in pairs) + b"]"
        )
