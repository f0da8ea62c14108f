"""How much of a limit that the exchange counts per address is left, and when there will be more.

Pure: works on anything that holds integers, so that the same arithmetic runs on a list in a
test and on a memory-mapped file that all processes of this address share.

A `Window` counts amounts in one-second buckets over a sliding period. The exchange counts some
limits in aligned minutes; any aligned minute lies inside a sliding one, so staying inside this
window stays inside theirs. One bucket more than the period is counted, because a bucket's second
is only partly gone when it leaves.

Seconds come from a monotonic clock that starts anew with the machine: a bucket dated later than
now can only be older than the last start and counts as empty.
"""

from dataclasses import dataclass
from typing import Protocol


class Words(Protocol):
    """Integers that can be read and written in place: a list, or a view of mapped memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> int: ...

    def __setitem__(self, index: int, value: int, /) -> None: ...


@dataclass(frozen=True)
class WindowLimit:
    """At most `amount` in any `period_s` seconds."""

    amount: int
    period_s: int

    @property
    def words(self) -> int:
        """Integers that a window of this limit occupies."""
        return 2 * (self.period_s + 1)


class Window:
    """A sliding window over `limit.words` integers: pairs of (second, amount)."""

    def __init__(self, limit: WindowLimit, words: Words) -> None:
        if len(words) != limit.words:
            raise ValueError(f"a window over {limit.period_s} s takes {limit.words} words, not {len(words)}")
        self.limit = limit
        self._words = words

    def used(self, now_s: float) -> int:
        """Amount inside the window that ends now."""
        return sum(amount for _, amount in self._live(int(now_s)))

    def reserve(self, now_s: float, amount: int, *, leaving: int = 0) -> float:
        """Take `amount` and return 0, or take nothing and return the seconds until there is room.

        There is room when `leaving` is free afterwards, for whoever is in more of a hurry. Raises ValueError
        when no empty window could hold both.
        """
        if amount + leaving > self.limit.amount:
            raise ValueError(f"{amount + leaving} is more than the whole limit of {self.limit.amount}")
        live = self._live(int(now_s))
        excess = sum(taken for _, taken in live) + amount + leaving - self.limit.amount
        if excess > 0:
            return self._second_when_freed(live, excess) - now_s
        self.add(now_s, amount)
        return 0.0

    def add(self, now_s: float, amount: int) -> None:
        """Count something that has happened, room or not."""
        second = int(now_s)
        place = 2 * (second % (self.limit.period_s + 1))
        if self._words[place] != second:
            self._words[place] = second
            self._words[place + 1] = 0
        self._words[place + 1] += amount

    def observe(self, now_s: float, used: int) -> None:
        """The exchange says that `used` is gone: count what others of this address have taken."""
        foreign = used - self.used(now_s)
        if foreign > 0:
            self.add(now_s, foreign)

    def _live(self, second: int) -> list[tuple[int, int]]:
        oldest = second - self.limit.period_s
        words = self._words
        pairs = ((words[place], words[place + 1]) for place in range(0, len(words), 2))
        return [(at, amount) for at, amount in pairs if amount and oldest <= at <= second]

    def _second_when_freed(self, live: list[tuple[int, int]], excess: int) -> int:
        for second, amount in sorted(live):
            excess -= amount
            if excess <= 0:
                return second + self.limit.period_s + 1
        raise AssertionError("a full window frees itself")  # pragma: no cover
