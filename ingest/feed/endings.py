"""Which few classes the reasons fall into for which feeds end their connections and dial anew.

Pure. A reason is free text with a word in front (`closed_by_exchange: going away`); it stands in full in
the log and in `ops.feed_sessions`. A class is one of a fixed, short list, so that it can be counted on
the board and be a label of a metric. Whatever nobody has thought of is OTHER.
"""

from collections import Counter
from enum import StrEnum
from typing import Final


class EndClass(StrEnum):
    """Why a connection ended, was replaced, or did not come about."""

    STREAM_SILENT = "stream_silent"
    FEED_SILENT = "feed_silent"
    HALF_OPEN = "half_open"
    CONSUMER_LAG = "consumer_lag"
    LINK_SILENT = "link_silent"
    """Not even a ping came, for longer than the exchange ever is without one."""
    CLOSED_BY_EXCHANGE = "closed_by_exchange"
    CONNECTION_LOST = "connection_lost"
    PROTOCOL_ERROR = "protocol_error"
    SUBSCRIPTION = "subscription"
    """A request was refused, not answered, or answered without anything coming of it."""
    HANDSHAKE = "handshake"
    """The connection did not come about."""
    ROTATION = "rotation"
    SERVER_SHUTDOWN = "server_shutdown"
    OTHER = "other"


_CLASS_OF_WORD: Final = {
    **{str(kind): kind for kind in EndClass},
    "send_failed": EndClass.CONNECTION_LOST,
    "subscription_refused": EndClass.SUBSCRIPTION,
    "subscription_unanswered": EndClass.SUBSCRIPTION,
    "request_unanswered": EndClass.SUBSCRIPTION,
    "not_overlapping": EndClass.SUBSCRIPTION,
    "too_many_requests_wait": EndClass.SUBSCRIPTION,
    "connect_failed": EndClass.HANDSHAKE,
    "handshake_refused": EndClass.HANDSHAKE,
}


def end_class(reason: str) -> EndClass:
    """The class of a reason, by the word in front of its colon."""
    return _CLASS_OF_WORD.get(reason.partition(":")[0].strip(), EndClass.OTHER)


class EndCounts:
    """How often each class has happened."""

    def __init__(self) -> None:
        self._counts: Counter[EndClass] = Counter()

    def add(self, reason: str) -> None:
        """Count one reason."""
        self._counts[end_class(reason)] += 1

    def by_field(self, prefix: str) -> dict[str, int]:
        """All counts, zeros too, by the class's name behind a prefix."""
        return {f"{prefix}{kind}": self._counts[kind] for kind in EndClass}
