"""Plays a recording: its happenings at a speed, with their times moved to now.

Pure. A moment that was received `offset` after the first line happens `offset / speed` after the start,
and its exchange times are compressed in the same way, so that they are never later than the moment of
sending. With `loop` the session begins again at its end: ids continue, and one depth delta leads from
the last book to the first. Invariant: ids and update ids are consecutive over all rounds.
"""

from ingest.sim.book import Book, difference
from ingest.sim.happenings import Aggregated, BookChanged, Happening, Listing, TopChanged, Traded
from ingest.sim.recording import Recording
from ingest.sim.wire import levels

_BRIDGE_US = 100_000


class Playback:
    """One symbol's session, from its first line to its last, or round and round."""

    applies_deltas = True

    def __init__(self, recording: Recording, *, speed: float = 1.0, loop: bool = False) -> None:
        if not speed > 0:
            raise ValueError("speed must be above zero")
        self._recording = recording
        self.listings: tuple[Listing, ...] = (recording.listing,)
        self._symbol = recording.listing.symbol
        self._speed = speed
        self._loop = loop
        self._book = recording.first_book.copy()
        self._start_us = 0.0
        self._place = 0
        self._halted = False
        self._now_us = 0
        self._trade_shift = self._agg_shift = self._update_shift = 0
        self.rounds = 0

    @property
    def position(self) -> tuple[int, int]:
        """Moments played in this round, and moments of a round."""
        return self._place, len(self._recording.moments)

    def book(self, symbol: str) -> Book:
        return self._book

    def start(self, now_us: int) -> None:
        self._start_us = self._now_us = now_us

    def advance(self, now_us: int, limit: int) -> list[Happening]:
        if self._halted:
            self.skip(now_us - self._now_us)
            return []
        happenings: list[Happening] = []
        moments = self._recording.moments
        reached_us = (now_us - self._start_us) * self._speed
        while len(happenings) < limit and self._place < len(moments):
            offset_us, happening = moments[self._place]
            if offset_us > reached_us:
                break
            happenings.append(self._now(happening))
            self._place += 1
        self._now_us = now_us
        if self._place == len(moments) and reached_us >= self._recording.length_us + _BRIDGE_US:
            self._end_round(now_us, happenings)
        return happenings

    def skip(self, pause_us: int) -> None:
        self._start_us += pause_us
        self._now_us += pause_us

    def halt(self, symbol: str, halted: bool) -> None:
        self._halted = halted

    def flush(self, now_us: int) -> list[Happening]:
        return []

    def settled_us(self) -> int:
        """Before the next moment by the longest delay of the recording."""
        if self._place == len(self._recording.moments):
            return self._now_us
        offset_us = self._recording.moments[self._place].offset_us - self._recording.longest_delay_us
        return min(self._at(offset_us), self._now_us)

    def is_over(self) -> bool:
        return not self._loop and self._place == len(self._recording.moments)

    def _at(self, offset_us: int) -> int:
        return int(self._start_us + offset_us / self._speed)

    def _now(self, happening: Happening) -> Happening:
        """The happening at this round's ids and times."""
        at = self._at
        if isinstance(happening, TopChanged):
            update_id = happening.update_id + self._update_shift
            return happening._replace(update_id=update_id, ts_us=at(happening.ts_us))
        if isinstance(happening, BookChanged):
            return happening._replace(
                first_update_id=happening.first_update_id + self._update_shift,
                final_update_id=happening.final_update_id + self._update_shift,
                event_us=at(happening.event_us),
            )
        times = (at(happening.event_us), at(happening.ts_us))
        if isinstance(happening, Traded):
            trade_id = happening.trade_id + self._trade_shift
            return happening._replace(trade_id=trade_id, event_us=times[0], ts_us=times[1])
        return self._aggregated(happening, times)

    def _aggregated(self, happening: Aggregated, times: tuple[int, int]) -> Aggregated:
        return happening._replace(
            agg_trade_id=happening.agg_trade_id + self._agg_shift,
            event_us=times[0],
            ts_us=times[1],
            first_trade_id=happening.first_trade_id + self._trade_shift,
            last_trade_id=happening.last_trade_id + self._trade_shift,
        )

    def _end_round(self, now_us: int, happenings: list[Happening]) -> None:
        """Go back to the first book by one delta and begin again; only when looping.

        The deltas of this round have been applied by now only if they were handed out before this
        call, so a round ends in a call of its own.
        """
        if not self._loop or happenings:
            return
        bridge_id = self._book.update_id + 1
        first = self._recording.first_book
        bids = levels(difference(self._book.bids, first.bids))
        asks = levels(difference(self._book.asks, first.asks))
        happenings.append(BookChanged(self._symbol, bridge_id, bridge_id, now_us, bids, asks))
        top = (*first.best_bid(), *first.best_ask())
        happenings.append(TopChanged(self._symbol, bridge_id, now_us, *top))
        self._continue_ids(bridge_id - first.update_id)
        self._start_us, self._place = now_us, 0
        self.rounds += 1

    def _continue_ids(self, update_shift: int) -> None:
        self._update_shift = update_shift
        played = [moment.happening for moment in self._recording.moments]
        self._trade_shift += sum(isinstance(happening, Traded) for happening in played)
        self._agg_shift += sum(isinstance(happening, Aggregated) for happening in played)
