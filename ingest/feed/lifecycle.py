"""The life of one feed's connection, as a table; and which subscriptions are still unanswered.

Pure: no sockets, no clock. The shell (`feed.session`) reports what happened and carries out what
the table answers.

    state         event        next          action
    -----------   ----------   -----------   ----------
    CONNECTING    OPENED       SUBSCRIBING   SUBSCRIBE
    CONNECTING    FAILED       CLOSED        RETRY
    SUBSCRIBING   CONFIRMED    LIVE          REPORT_LIVE
    SUBSCRIBING   FAILED       CLOSED        RETRY
    LIVE          FAILED       CLOSED        RETRY
    CLOSED        DIALLING     CONNECTING    CONNECT
    any but STOPPED  STOP      STOPPED       CLOSE

A pair that is not in the table raises and changes nothing. "LIVE" says that the exchange has
acknowledged the subscriptions, not that data come: the supervisor judges that, stream by
stream, because an unknown stream is acknowledged too and stays silent.
"""

from dataclasses import dataclass, field
from enum import Enum, auto


class FeedPhase(Enum):
    CLOSED = auto()
    CONNECTING = auto()
    SUBSCRIBING = auto()
    LIVE = auto()
    STOPPED = auto()


class FeedEvent(Enum):
    DIALLING = auto()
    OPENED = auto()
    CONFIRMED = auto()
    FAILED = auto()
    STOP = auto()


class FeedAction(Enum):
    CONNECT = auto()
    SUBSCRIBE = auto()
    REPORT_LIVE = auto()
    RETRY = auto()
    CLOSE = auto()


_TABLE: dict[tuple[FeedPhase, FeedEvent], tuple[FeedPhase, FeedAction]] = {
    (FeedPhase.CLOSED, FeedEvent.DIALLING): (FeedPhase.CONNECTING, FeedAction.CONNECT),
    (FeedPhase.CONNECTING, FeedEvent.OPENED): (FeedPhase.SUBSCRIBING, FeedAction.SUBSCRIBE),
    (FeedPhase.CONNECTING, FeedEvent.FAILED): (FeedPhase.CLOSED, FeedAction.RETRY),
    (FeedPhase.SUBSCRIBING, FeedEvent.CONFIRMED): (FeedPhase.LIVE, FeedAction.REPORT_LIVE),
    (FeedPhase.SUBSCRIBING, FeedEvent.FAILED): (FeedPhase.CLOSED, FeedAction.RETRY),
    (FeedPhase.LIVE, FeedEvent.FAILED): (FeedPhase.CLOSED, FeedAction.RETRY),
    (FeedPhase.CLOSED, FeedEvent.STOP): (FeedPhase.STOPPED, FeedAction.CLOSE),
    (FeedPhase.CONNECTING, FeedEvent.STOP): (FeedPhase.STOPPED, FeedAction.CLOSE),
    (FeedPhase.SUBSCRIBING, FeedEvent.STOP): (FeedPhase.STOPPED, FeedAction.CLOSE),
    (FeedPhase.LIVE, FeedEvent.STOP): (FeedPhase.STOPPED, FeedAction.CLOSE),
}


@dataclass
class FeedLifecycle:
    phase: FeedPhase = FeedPhase.CLOSED

    def on(self, event: FeedEvent) -> FeedAction:
        """Move to the next phase and say what to do; ValueError for an event that cannot happen now."""
        try:
            self.phase, action = _TABLE[self.phase, event]
        except KeyError:
            raise ValueError(f"a feed that is {self.phase.name} cannot take {event.name}") from None
        return action


@dataclass
class Subscriptions:
    """Subscription messages that were sent and are not answered yet, by request id."""

    deadline_s: float
    _sent: dict[int, float] = field(default_factory=dict, init=False)

    def sent(self, request_id: int, now_s: float) -> None:
        """A message with this id went out now."""
        self._sent[request_id] = now_s

    def answered(self, request_id: int) -> bool:
        """Strike an answered request; False when nobody asked (an old answer, a foreign id)."""
        return self._sent.pop(request_id, None) is not None

    def overdue(self, now_s: float) -> list[int]:
        """Requests whose answer is past its deadline, oldest first."""
        return [request for request, at_s in self._sent.items() if now_s - at_s > self.deadline_s]

    @property
    def pending(self) -> int:
        return len(self._sent)
