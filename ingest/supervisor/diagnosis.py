"""Why a stream is silent: one of seven names, from facts that are gathered outside the shard's event loop.

Decides the name and the sentence that goes with it. Never gathers a fact and never decides whether the
stream is silent at all. The first row that holds is the answer:

    what is known                                                            diagnosis
    ----------------------------------------------------------------------   ----------------
    the process is gone, or its heartbeat stands                             SHARD_WEDGED
    the shard cannot begin without the database; or the stream receives,
      and what it received is not committed                                  DATABASE_STALLED
    its bytes keep waiting in our kernel, or our loop is late                CONSUMER_LAG
    other streams of its feed receive                                        STREAM_SILENT
    no feed receives, and the exchange has nothing new or does not answer    EXCHANGE_DOWN
    the feed receives nothing, and the exchange answered or sent a ping      FEED_SILENT
    ... and neither a ping nor an answer to ours came, no byte waits here    HALF_OPEN
    anything else                                                            NONE: unknown

A fact is None where it is not known: no board, no /proc/net/tcp on this system, nobody asked. A row that
needs an unknown fact does not hold, so a missing fact leads to a later row only where that row's own
facts exclude the earlier one, and else to unknown; a wrong name would send people looking in the wrong
place. Where two causes come together the one nearer to us is named, because it hides the other: a loop
that stands still cannot be told whether the exchange sends.
"""

from dataclasses import dataclass
from typing import NamedTuple

from ingest.board.layout import Diagnosis

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisLimits:
    """Where a number becomes a symptom; all in seconds."""

    heartbeat_s: float = 5.0
    loop_lag_s: float = 1.0
    ping_s: float = 30.0
    """The exchange pings each 20 s; past this a ping is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceFacts:
    """What is known of a silent stream, its feed, its shard and the exchange; None is not known."""

    shard_runs: bool | None = None
    """The process exists."""
    heartbeat_age_s: float | None = None
    shard_waits_for_database: bool | None = None
    """It was started while the database was away, and can subscribe nothing before it is back."""
    loop_lag_s: float | None = None
    """The highest of the newest ticks, by the board."""
    stream_receives: bool | None = None
    """It has received something within its threshold, whatever is committed of it."""
    rows_are_stuck: bool | None = None
    """Rows wait for longer than the threshold to be committed, or the database is down."""
    waiting_bytes: int | None = None
    """In the kernel's receive queue of the feed's socket: the least of several readings about a second
    apart, because bytes that are on their way through are no lag."""
    feed_receives: bool | None = None
    """Some other stream of the feed receives data. None, too, for the only stream of a feed: it can be
    no witness of itself, and the feed is judged as if it were silent."""
    other_feeds_receive: bool | None = None
    """Some other feed of this exchange receives, in whatever shard; None when there is no other."""
    ping_age_s: float | None = None
    """Since the exchange's newest ping on this feed; since its connection when there was none."""
    probe_answered: bool | None = None
    """Whether our own ping on this feed, sent after it fell silent, was answered in time."""
    exchange_answers: bool | None = None
    """REST answers at all."""
    exchange_moves: bool | None = None
    """REST tells of something newer than we have, of any stream."""


class Finding(NamedTuple):
    """A diagnosis with what speaks for it, in words for a notice."""

    diagnosis: Diagnosis
    evidence: str

    @property
    def name(self) -> str:
        """The name that people and tables see."""
        return self.diagnosis.name.lower() if self.diagnosis else UNKNOWN


_DEFAULT_LIMITS = DiagnosisLimits()


def diagnose(facts: SilenceFacts, limits: DiagnosisLimits = _DEFAULT_LIMITS) -> Diagnosis:
    """The name alone; `Diagnosis.NONE` is unknown."""
    return examine(facts, limits).diagnosis


def examine(facts: SilenceFacts, limits: DiagnosisLimits = _DEFAULT_LIMITS) -> Finding:
    """The first row of the table that holds."""
    for row in (_wedged, _stalled, _lagging, _alone, _standing_still, _pinged, _dead):
        finding = row(facts, limits)
        if finding is not None:
            return finding
    return Finding(Diagnosis.NONE, f"the cause is not known: {_missing(facts)}")


def _wedged(facts: SilenceFacts, limits: DiagnosisLimits) -> Finding | None:
    if facts.shard_runs is False:
        return Finding(Diagnosis.SHARD_WEDGED, "the shard's process is gone")
    age_s = facts.heartbeat_age_s
    if age_s is None or age_s <= limits.heartbeat_s:
        return None
    return Finding(Diagnosis.SHARD_WEDGED, f"the shard's event loop has not turned for {age_s:.0f} s")


def _stalled(facts: SilenceFacts, _: DiagnosisLimits) -> Finding | None:
    if facts.shard_waits_for_database:
        return Finding(Diagnosis.DATABASE_STALLED, "the shard waits for the database and cannot begin")
    if not (facts.stream_receives and facts.rows_are_stuck):
        return None
    return Finding(Diagnosis.DATABASE_STALLED, "data arrive, and the database does not take them")


def _lagging(facts: SilenceFacts, limits: DiagnosisLimits) -> Finding | None:
    if facts.waiting_bytes:
        return Finding(
            Diagnosis.CONSUMER_LAG, f"{facts.waiting_bytes} bytes wait in this machine for the shard to read"
        )
    if facts.loop_lag_s is None or facts.loop_lag_s <= limits.loop_lag_s:
        return None
    return Finding(Diagnosis.CONSUMER_LAG, f"the shard's event loop is {facts.loop_lag_s:.1f} s late")


def _alone(facts: SilenceFacts, _: DiagnosisLimits) -> Finding | None:
    if not facts.feed_receives:
        return None
    return Finding(Diagnosis.STREAM_SILENT, "other streams of the same connection receive")


def _standing_still(facts: SilenceFacts, _: DiagnosisLimits) -> Finding | None:
    if facts.other_feeds_receive:
        return None
    if facts.exchange_answers is False:
        return Finding(Diagnosis.EXCHANGE_DOWN, "no connection receives, and REST does not answer either")
    if facts.exchange_moves is False:
        return Finding(Diagnosis.EXCHANGE_DOWN, "no connection receives, and REST has nothing new")
    return None


def _pinged(facts: SilenceFacts, limits: DiagnosisLimits) -> Finding | None:
    if facts.probe_answered:
        return Finding(Diagnosis.FEED_SILENT, "the connection answers our ping and carries no data")
    # A ping from before it went dead is no sign of life when it did not answer ours.
    if facts.probe_answered is False or facts.ping_age_s is None or facts.ping_age_s > limits.ping_s:
        return None
    return Finding(
        Diagnosis.FEED_SILENT, f"the exchange pinged {facts.ping_age_s:.0f} s ago, and no data come"
    )


def _dead(facts: SilenceFacts, limits: DiagnosisLimits) -> Finding | None:
    # Bytes that wait unread would look the same, so it must be known that there are none.
    if facts.waiting_bytes is None:
        return None
    if facts.probe_answered is False:
        return Finding(Diagnosis.HALF_OPEN, "the connection is open and does not answer our ping")
    if facts.ping_age_s is None or facts.ping_age_s <= limits.ping_s:
        return None
    return Finding(
        Diagnosis.HALF_OPEN, f"the connection is open, and no ping came for {facts.ping_age_s:.0f} s"
    )


def _missing(facts: SilenceFacts) -> str:
    wanted = {
        "the shard's heartbeat": facts.heartbeat_age_s,
        "the kernel's receive queue": facts.waiting_bytes,
        "the exchange's pings": facts.ping_age_s,
        "other streams of the connection": facts.feed_receives,
    }
    return "nobody can say anything of " + ", ".join(name for name, fact in wanted.items() if fact is None)
