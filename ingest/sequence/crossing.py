"""One stream on two connections: in which order its messages go on, and whether the old one may end.

A connection (the carrier) hands over to another (the heir). Either may be ahead of the other, so that
messages taken as they come would look like holes that close a moment later. What the heir brings is held
back until the carrier has brought as much: from then on both bring the same without a break, whatever
comes first is new and the other a duplicate, and the carrier is needed no more.

    state      the heir                                the carrier
    AWAITED    has not spoken                          goes on
    HELD       has spoken, and is ahead: it is held    goes on, until it has reached the heir's first message
    JOINED     goes on                                 goes on: the ids overlap
    GIVEN_UP   goes on                                 goes on; it did not get that far, so something may be
                                                       missing before the heir's first message

Pure: the time is handed in. Invariants: items go on in the order in which the heir brought them, each
once; at most MAX_HELD are held.
"""

from enum import Enum, auto
from typing import Final, Generic, TypeVar

MAX_HELD: Final = 4_096
"""Messages of one stream that are held back; 400 s of the busiest depth, some seconds of a book ticker."""

Item = TypeVar("Item")


class Meeting(Enum):
    """How far the two are; see the table above."""

    AWAITED = auto()
    HELD = auto()
    JOINED = auto()
    GIVEN_UP = auto()


class Crossing(Generic[Item]):
    """Positions are those of `ingest.binance.order`; None is that of a stream that has never spoken."""

    __slots__ = ("_carried_s", "_first", "_held", "_reach", "moved_since_s", "state")

    def __init__(self, *, consecutive: bool) -> None:
        self.state = Meeting.AWAITED
        self.moved_since_s: float | None = None
        """Since when the carrier brings what the heir owes; None while it owes nothing."""
        # The heir's first message must be known on the other side, or be the very next.
        self._reach = 1 if consecutive else 0
        self._first = 0
        self._held: list[Item] = []
        self._carried_s = 0.0

    @property
    def passes(self) -> bool:
        """Whether nothing is held back any more."""
        return self.state in {Meeting.JOINED, Meeting.GIVEN_UP}

    @property
    def is_joined(self) -> bool:
        return self.state is Meeting.JOINED

    @property
    def is_awaited(self) -> bool:
        return self.state is Meeting.AWAITED

    def carried(self, position: int | None, now_s: float, *, is_owed: bool) -> list[Item]:
        """The carrier has brought a message, and the stream stands at `position`; returns what goes on now.

        `is_owed`: the heir has been listening for so long that it must bring the same.
        """
        self._carried_s = now_s
        if is_owed and self.state is Meeting.AWAITED and self.moved_since_s is None:
            self.moved_since_s = now_s
        return self._join() if self.state is Meeting.HELD and self._meets(position) else []

    def offered(self, first: int, item: Item, position: int | None, now_s: float) -> list[Item]:
        """The heir has brought an item that begins at `first`; returns what goes on now."""
        if self.passes:
            return [item]
        if self.state is Meeting.AWAITED:
            self._first, self._carried_s = first, now_s
            self.state = Meeting.HELD
        self._held.append(item)
        if self._meets(position):
            return self._join()
        return self.give_up() if len(self._held) >= MAX_HELD else []

    def silent_s(self, now_s: float) -> float:
        """How long the heir has been held for a carrier that says nothing; 0 when it is not held."""
        return now_s - self._carried_s if self.state is Meeting.HELD else 0.0

    def owes_s(self, now_s: float) -> float | None:
        """For how long the heir has owed what the carrier brings; None when it owes nothing."""
        if self.state is not Meeting.AWAITED or self.moved_since_s is None:
            return None
        return now_s - self.moved_since_s

    def give_up(self) -> list[Item]:
        """Wait for the carrier no longer; returns what was held. What was joined stays joined."""
        if self.state is not Meeting.JOINED:
            self.state = Meeting.GIVEN_UP
        return self._take()

    def _meets(self, position: int | None) -> bool:
        return position is None or self._first <= position + self._reach

    def _join(self) -> list[Item]:
        self.state = Meeting.JOINED
        return self._take()

    def _take(self) -> list[Item]:
        held, self._held = self._held, []
        return held
