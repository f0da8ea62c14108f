"""A market for the judgement of silence: when each stream of a symbol speaks, second by second.

Only that is drawn which a board would show at its ticks of one second: whether a stream has spoken in
a tick. The ticks in which a stream speaks are stored as runs, so a day of a busy stream takes a few
thousand numbers and a day of a rare one takes two dozen. Each tick is a Bernoulli draw with the Poisson
probability of its rate; geometric lengths of runs and pauses give the same draws without the ticks.

Rates have a heavy tail over the symbols (log-normal), swing over day and night, burst, and lie down for
a while; in one stretch of five minutes the whole exchange stands still. A trade takes from the
best level, so the quotes speak whenever the trades do. Nothing here knows how silence is judged.
"""

from array import array
from bisect import bisect_right
from dataclasses import dataclass
from math import exp, log, pi, sin
from random import Random
from statistics import NormalDist

DAY_S = 86_400
SEGMENT_S = 60
BUSIEST_PER_S = 100.0
RAREST_PER_S = 1 / 3_600
STANDSTILL_AT_S = 13 * 3_600
STANDSTILL_S = 300


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol's mean rates, in messages a second."""

    index: int
    trades_per_s: float
    quotes_per_s: float
    phase: float
    """Where its day begins, in radians."""


def market(symbols: int, rng: Random) -> list[Symbol]:
    """Symbols from a hundred trades a second to one an hour, the busiest first."""
    middle = (log(BUSIEST_PER_S) + log(RAREST_PER_S)) / 2
    normal = NormalDist()
    top = normal.inv_cdf(1 - 0.5 / symbols) if symbols > 1 else 1.0
    spread = (log(BUSIEST_PER_S) - middle) / top
    listed = []
    for index in range(symbols):
        trades_per_s = exp(middle + spread * normal.inv_cdf(1 - (index + 0.5) / symbols))
        quotes_per_s = min(BUSIEST_PER_S, trades_per_s * rng.uniform(2.0, 10.0))
        listed.append(Symbol(index, trades_per_s, quotes_per_s, rng.uniform(-0.5, 0.5)))
    return listed


class Timeline:
    """The ticks in which one stream speaks, and how many messages it has sent by each tick."""

    def __init__(self, per_tick: int) -> None:
        self.per_tick = per_tick
        # A day of the whole market has some ten million runs.
        self._starts = array("i")
        self._ends = array("i")
        self._spoken_before = array("i")

    def add(self, start: int, end: int) -> None:
        """Speak in the ticks `start` up to but not including `end`; later than all runs before."""
        if self._ends and self._ends[-1] == start:
            self._ends[-1] = end
            return
        spoken = self._spoken_before[-1] + self._ends[-1] - self._starts[-1] if self._ends else 0
        self._starts.append(start)
        self._ends.append(end)
        self._spoken_before.append(spoken)

    def run_from(self, tick: int) -> tuple[int, int] | None:
        """The first run at or after `tick`, cut at `tick`; None when it never speaks again."""
        at = bisect_right(self._ends, tick)
        if at == len(self._ends):
            return None
        return max(tick, self._starts[at]), self._ends[at]

    def count(self, tick: int) -> int:
        """Messages up to and including `tick`."""
        at = bisect_right(self._starts, tick) - 1
        if at < 0:
            return 0
        return (self._spoken_before[at] + min(tick + 1, self._ends[at]) - self._starts[at]) * self.per_tick


def moods(symbol: Symbol, seconds: int, rng: Random) -> "array[float]":
    """By how much the symbol is livelier than its mean, for each segment; 0 stands still."""
    segments = -(-seconds // SEGMENT_S)
    mood = array("d", (_daylight(symbol, at * SEGMENT_S) for at in range(segments)))
    for _ in range(round(12 * seconds / DAY_S)):
        _scale(mood, rng.randrange(segments), rng.randint(1, 5), rng.uniform(3.0, 30.0))
    for _ in range(round(2 * seconds / DAY_S)):
        _scale(mood, rng.randrange(segments), rng.randint(10, 60), 0.2)
    _scale(mood, STANDSTILL_AT_S // SEGMENT_S, STANDSTILL_S // SEGMENT_S, 0.0)
    return mood


def _daylight(symbol: Symbol, at_s: int) -> float:
    return 1.0 + 0.7 * sin(2 * pi * at_s / DAY_S + symbol.phase)


def _scale(mood: "array[float]", start: int, segments: int, by: float) -> None:
    for at in range(start, min(start + segments, len(mood))):
        mood[at] *= by


def timeline(per_s: float, mood: "array[float]", rng: Random) -> Timeline:
    """Draw when a stream of mean rate `per_s` speaks."""
    drawn = Timeline(per_tick=1 + int(per_s))
    for segment, factor in enumerate(mood):
        if factor > 0.0:
            _draw_segment(drawn, segment * SEGMENT_S, per_s * factor, rng)
    return drawn


def _draw_segment(drawn: Timeline, tick: int, per_s: float, rng: Random) -> None:
    end = tick + SEGMENT_S
    log_speaks = log(-_expm1(-per_s))
    while True:
        # 1 - random() is above zero, so its logarithm exists.
        tick += int(-log(1.0 - rng.random()) / per_s)
        if tick >= end:
            return
        more = int(log(1.0 - rng.random()) / log_speaks) if log_speaks else SEGMENT_S
        drawn.add(tick, min(tick + 1 + more, end))
        tick += 2 + more


def _expm1(value: float) -> float:
    """exp(value) - 1, and -1 for sure where a stream speaks in every tick."""
    return exp(value) - 1.0


def together(first: Timeline, second: Timeline) -> Timeline:
    """A stream that speaks in each tick in which either does."""
    both = Timeline(max(first.per_tick, second.per_tick))
    tick = 0
    while run := _earlier(first.run_from(tick), second.run_from(tick)):
        both.add(*run)
        tick = run[1]
    return both


def _earlier(first: tuple[int, int] | None, second: tuple[int, int] | None) -> tuple[int, int] | None:
    return min((run for run in (first, second) if run is not None), default=None)
