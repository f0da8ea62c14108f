"""How long a stream is silent when all is well: learned from the stream itself, second by second.

Decides one stream's threshold of silence, and can say why. Fed once a second with the number of
messages that the stream has delivered so far; whether that number has moved is all that is looked at,
so nothing is paid for a message. Never judges whether a silence is right: that is the witness's word.

    threshold = factor x (the high quantile of the stream's gaps in its slow periods), between floor
                and ceiling; a value that was fixed by configuration wins; without a whole period: ceiling

A gap is the time between two ticks at which messages were seen, in whole ticks. A period is full when
it has lasted PERIOD_S and holds PERIOD_GAPS gaps, so its length adapts to the rate: five minutes for a
busy stream, hours for a rare one. Of a period only its quantile and its number of gaps are kept; of
the newest PERIODS periods the slowest quarter decides, by its median: one odd period (an exchange that
stood still, a burst of repairs) moves nothing, a slow night does.

What is learned of a gap:

    it stayed within the threshold                    as it was
    longer, and proven quiet in between               as it was, up to a threshold past the proof
    longer, never proven, ended by itself             as a threshold: it may have been a fault that healed
    the feed or shard was away, or a repair ended it  nothing
    it ended in a tick that came late                 nothing: the time of the message is not known

Invariants: floor <= threshold <= ceiling unless fixed; a silence that a repair ended never widens the
threshold; the threshold changes only when a period ends; a record read back gives the same threshold.
"""

from array import array
from dataclasses import dataclass
from math import isfinite
from typing import Literal, NamedTuple, TypeAlias

PERIODS = 24
PERIOD_S = 300.0
FIRST_PERIOD_S = 60.0
"""The first period may be short: a busy stream need not wait five minutes at the ceiling."""
PERIOD_GAPS = 30
QUANTILE = 0.99
LATE_TICK_S = 5.0
"""A tick later than this after the one before cannot date what came in between."""

# A period ends with at most PERIOD_S + LATE_TICK_S gaps of a second or more, so the quantile is exact
# with this many of its longest: floor(0.01 x 305) lie above it.
_LONGEST = 4

_UNSEEN = -1

Rule: TypeAlias = Literal["fixed", "cold", "learned", "floor", "ceiling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RhythmLimits:
    """What bounds a threshold, per kind or symbol; all times in seconds. ValueError when it cannot be."""

    floor_s: float
    ceiling_s: float
    factor: float = 4.0
    """3 to 5."""
    fixed_s: float | None = None
    """The threshold itself, by configuration; what is learned is then only told."""

    def __post_init__(self) -> None:
        if not 3.0 <= self.factor <= 5.0:
            raise ValueError(f"the factor of a threshold is 3 to 5, not {self.factor:g}")
        if not 0.0 < self.floor_s <= self.ceiling_s:
            raise ValueError(f"no threshold lies between {self.floor_s:g} s and {self.ceiling_s:g} s")
        if self.fixed_s is not None and self.fixed_s <= 0.0:
            raise ValueError(f"a fixed threshold is above zero, not {self.fixed_s:g} s")


class RhythmRecord(NamedTuple):
    """All that has to be kept of a rhythm, oldest period first: one row of a table."""

    quantiles_s: tuple[float, ...] = ()
    gaps: tuple[int, ...] = ()
    """How many gaps each period had."""
    messages: int = 0
    """In all periods that ever were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a threshold is what it is. `quantile_s` is None while no period is full."""

    threshold_s: float
    rule: Rule
    quantile_s: float | None
    periods: int
    gaps: int
    messages: int
    limits: RhythmLimits

    def sentence(self) -> str:
        """One sentence for people, without the stream's name."""
        if self.rule == "fixed":
            return f"{_seconds(self.threshold_s)}, fixed by configuration{self._learned(', learned: ')}"
        if self.rule == "cold":
            return f"{_seconds(self.threshold_s)}, the ceiling: too few messages yet to know its rhythm"
        learned = f"{self.limits.factor:g} x {_seconds(self.quantile_s or 0.0)}"
        bound = {"floor": ", raised to the floor", "ceiling": ", lowered to the ceiling"}.get(self.rule, "")
        return f"{_seconds(self.threshold_s)} = {learned}{bound}{self._learned(': ')}"

    def _learned(self, before: str) -> str:
        if self.quantile_s is None:
            return ""
        return (
            f"{before}99 of 100 gaps in its slow periods are within {_seconds(self.quantile_s)}"
            f" (periods: {self.periods}, gaps: {self.gaps}, messages: {self.messages})"
        )


class Rhythm:
    """One stream's rhythm. All times are seconds on one monotonic clock.

    A `record` of an earlier run goes on where that run ended. ValueError when it makes no sense.
    """

    __slots__ = (
        "_counts",
        "_gaps",
        "_is_own",
        "_limits",
        "_longest",
        "_messages",
        "_news",
        "_period_end_s",
        "_period_messages",
        "_proven_s",
        "_quantiles",
        "_shortest_kept",
        "_since_s",
        "_threshold_s",
        "_tick_s",
    )

    def __init__(self, limits: RhythmLimits, *, record: RhythmRecord | None = None) -> None:
        record = record or RhythmRecord()
        check_record(record)
        self._limits = limits
        self._quantiles = array("d", record.quantiles_s[-PERIODS:])
        self._counts = array("q", record.gaps[-PERIODS:])
        self._messages = record.messages
        self._news = _UNSEEN
        self._since_s = self._tick_s = self._proven_s = 0.0
        self._is_own = False
        self._period_end_s: float | None = None
        """Not before then does the period under way end."""
        self._period_messages = self._gaps = 0
        self._longest: tuple[float, ...] = ()
        self._shortest_kept = 0.0
        self._threshold_s = self._learn()

    @property
    def threshold_s(self) -> float:
        return self._threshold_s

    def silent_s(self, now_s: float) -> float:
        """Seconds of silence that are the stream's own: since it spoke, began, or was interrupted."""
        return now_s - self._since_s if self._news != _UNSEEN else 0.0

    def observe(self, news: int, now_s: float) -> None:
        """Take one tick's reading: `news` is how many messages the stream has delivered so far."""
        if news == self._news:
            self._tick_s = now_s
            return
        before, self._news = self._news, news
        if before == _UNSEEN or news < before:
            self._begin(now_s)
            return
        self._period_messages += news - before
        if self._is_own and now_s - self._tick_s <= LATE_TICK_S:
            self._take(now_s)
        self._is_own = True
        self._since_s = self._tick_s = self._proven_s = now_s

    def interrupted(self, now_s: float) -> None:
        """The feed or shard was away, or a repair was ordered: the gap under way is not the stream's own.

        To be called too when a shard's process has been replaced: its new count may already be higher
        than the old one was.
        """
        self._since_s = self._tick_s = self._proven_s = now_s
        self._is_own = False

    def verified_quiet(self, now_s: float) -> None:
        """It was proven at `now_s` that nothing was missed: the gap up to then is the stream's own.

        A proof of before the newest message says nothing of this gap and is passed over.
        """
        self._proven_s = max(self._proven_s, now_s)

    def record(self) -> RhythmRecord:
        """What to keep. The period under way is not in it: it would be half of one after a restart."""
        return RhythmRecord(tuple(self._quantiles), tuple(self._counts), self._messages)

    def explain(self) -> Explanation:
        quantile_s = self._slow_quantile_s()
        return Explanation(
            threshold_s=self._threshold_s,
            rule=self._rule(quantile_s),
            quantile_s=quantile_s,
            periods=len(self._quantiles),
            gaps=sum(self._counts),
            messages=self._messages,
            limits=self._limits,
        )

    def _begin(self, now_s: float) -> None:
        """Start to watch a count that is not known to go on from the one before."""
        if self._period_end_s is None:
            self._period_end_s = now_s + (PERIOD_S if self._quantiles else FIRST_PERIOD_S)
        self.interrupted(now_s)

    def _begin_period(self, now_s: float) -> None:
        self._period_end_s = now_s + PERIOD_S
        self._period_messages = self._gaps = 0
        self._longest = ()
        self._shortest_kept = 0.0

    def _take(self, now_s: float) -> None:
        gap_s = now_s - self._since_s
        self._gaps += 1
        # True for the first ones and for the rare long ones; a busy stream's gaps of a tick pass by.
        if gap_s > self._shortest_kept:
            self._keep(min(gap_s, self._proven_s - self._since_s + self._threshold_s))
        assert self._period_end_s is not None, "a gap has a beginning"
        if now_s >= self._period_end_s and self._gaps >= PERIOD_GAPS:
            self._end_period(now_s)

    def _keep(self, gap_s: float) -> None:
        self._longest = tuple(sorted((*self._longest, gap_s), reverse=True)[:_LONGEST])
        self._shortest_kept = self._longest[-1] if len(self._longest) == _LONGEST else 0.0

    def _end_period(self, now_s: float) -> None:
        above = min(int((1.0 - QUANTILE) * self._gaps + 1e-9), _LONGEST - 1)
        self._quantiles.append(self._longest[above])
        self._counts.append(self._gaps)
        del self._quantiles[:-PERIODS], self._counts[:-PERIODS]
        self._messages += self._period_messages
        self._begin_period(now_s)
        self._threshold_s = self._learn()

    def _slow_quantile_s(self) -> float | None:
        """The median of the slowest quarter of the periods."""
        if not self._quantiles:
            return None
        slowest = sorted(self._quantiles, reverse=True)[: max(1, len(self._quantiles) // 4)]
        return slowest[(len(slowest) - 1) // 2]

    def _learn(self) -> float:
        limits, quantile_s = self._limits, self._slow_quantile_s()
        if limits.fixed_s is not None:
            return limits.fixed_s
        if quantile_s is None:
            return limits.ceiling_s
        return min(limits.ceiling_s, max(limits.floor_s, limits.factor * quantile_s))

    def _rule(self, quantile_s: float | None) -> Rule:
        if self._limits.fixed_s is not None:
            return "fixed"
        if quantile_s is None:
            return "cold"
        wanted_s = self._limits.factor * quantile_s
        if wanted_s < self._limits.floor_s:
            return "floor"
        return "ceiling" if wanted_s > self._limits.ceiling_s else "learned"


def check_record(record: RhythmRecord) -> None:
    """ValueError when no rhythm can have left this record; TypeError when it is not made of numbers."""
    if len(record.quantiles_s) != len(record.gaps):
        raise ValueError(f"a record of {len(record.quantiles_s)} quantiles and {len(record.gaps)} counts")
    if not all(isfinite(quantile_s) and quantile_s > 0.0 for quantile_s in record.quantiles_s):
        raise ValueError("a record holds a quantile that no gap can have")
    if min(record.gaps, default=1) < 1 or record.messages < 0:
        raise ValueError("a record holds a count that is none")


def _seconds(value_s: float) -> str:
    return f"{value_s:.0f} s" if value_s >= 10.0 else f"{value_s:.1f} s"
