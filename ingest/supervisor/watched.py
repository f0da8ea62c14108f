"""One stream under watch: what its readings, its witness and the time make of its state.

Pure. Decides the state and nothing else: what is done about it is decided by `supervisor.watch`. Of two
events at one tick the upper row is taken: a message wins, whatever else is said of the stream.

    state        event                                     next         what `Watch` does
    ----------   ---------------------------------------   ----------   --------------------------------
    any          message                                   LIVE         closes its incident if the last
    any          the exchange does not trade the symbol    HALTED       the same
    HALTED       it trades again                           STARTING
    any (1)      its feed or shard is away                 RECOVERING
    any (1)      away for longer than its threshold (2)    STALE        opens an incident
    RECOVERING   its feed is up again, not overdue         LIVE
    any (3)      silent past its threshold                 SUSPECT      asks the witness
    QUIET        the proof is older than its threshold     SUSPECT      asks the witness
    SUSPECT      the witness: nothing new there either     QUIET
    SUSPECT      the witness: there is something new       STALE        opens an incident
    SUSPECT      no witness within its deadline (2) (4)    STALE        opens an incident

(1) STARTING stays what it is until it is overdue; STALE and HALTED stay what they are. (2) Only when the
silence is this stream's own: nobody is found stale for want of evidence while all are silent alike.
(3) STARTING, LIVE, RECOVERING. (4) See below for a ban.

REST that is known to refuse us for a while (a ban) is no witness that fails: a suspect's deadline then runs
from the end of the ban. But not for ever: a silence of more than `_UNHEARD_THRESHOLDS` thresholds and
`_UNHEARD_S` is repaired unheard, which disturbs no other stream, because a ban may last for three days.

Silence is counted from the newest message, or the newest proof that there was none to be had. A new
connection gives a stream its threshold once more; but twice the threshold without a message is silence
whatever happened to the connection, so that a feed which is lost every few seconds cannot hide one. A
stream that was never subscribed, or whose shard is a new process, has `start_s` for it if that is longer.

A message is a count that has risen within one process. The count of another process is no message and
no gap, whether it is lower or higher.
"""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from ingest.board.layout import Diagnosis, StreamState
from ingest.events import StreamKey
from ingest.supervisor.ladder import Repair
from ingest.supervisor.rhythm import Rhythm

INCIDENTS_OF_THEIR_OWN = frozenset({Diagnosis.SHARD_WEDGED, Diagnosis.DATABASE_STALLED})
"""Diagnoses that no stream has alone: shard and database are looked after by themselves."""
_UNHEARD_S = 900.0
_UNHEARD_THRESHOLDS = 3.0


class Reading(NamedTuple):
    """One stream at one tick, as its board says.

    `news` counts messages that were no duplicates; `epoch` is the process that counts and how often
    the stream's connection was broken in it; `is_up` is false while its feed is not subscribed or its
    shard does not beat; `feed` is -1 while no board names one.
    """

    shard: int
    feed: int
    news: int
    epoch: tuple[int, int]
    is_up: bool
    is_halted: bool = False


@dataclass(slots=True)
class WatchedStream:
    """One stream. Times are seconds on the supervisor's monotonic clock."""

    key: StreamKey
    rhythm: Rhythm
    state: StreamState = StreamState.STARTING
    diagnosis: Diagnosis = Diagnosis.NONE
    shard: int = -1
    feed: int = -1
    is_up: bool = False
    since_s: float = 0.0
    """When the present state began."""
    spoke_s: float | None = None
    """The tick that saw its newest message."""
    well_s: float = 0.0
    """When there was last nothing to complain of: a message, a proof, a halt, its first subscription."""
    begun_s: float = 0.0
    """When the shard's process that carries it was first seen, or was given it."""
    asked_s: float | None = None
    proven_quiet_s: float | None = None
    evidence: str = ""
    """Why it is STALE."""
    renewed_s: float = -inf
    """The tick that saw its subscription made anew."""
    mended_s: float | None = None
    """When the repair was that has healed it, until it speaks: what it missed before stays missed."""
    repair: Repair | None = None
    """Only while it is STALE."""
    _heard: int = 0
    _was_up: bool = False
    _before: Reading | None = None

    def enter(self, state: StreamState, now_s: float) -> None:
        """Change the state; entering the same one again changes nothing."""
        if state is self.state:
            return
        self.state, self.since_s = state, now_s
        if state is not StreamState.STALE:
            self.diagnosis, self.evidence = Diagnosis.NONE, ""

    def read(self, reading: Reading, now_s: float) -> bool:
        """Take a reading; True when the stream has spoken since the last one."""
        if reading == self._before and not reading.is_halted:
            self.rhythm.observe(self._heard, now_s)
            return False
        news = self._take(reading, now_s)
        if news:
            self.spoke_s = self.well_s = now_s
            self.mended_s = None
            if self.state is not StreamState.LIVE:
                self.enter(StreamState.LIVE, now_s)
        elif reading.is_halted:
            self.rhythm.interrupted(now_s)
            self.well_s = now_s
            self.enter(StreamState.HALTED, now_s)
        elif self.state is StreamState.HALTED:
            self.enter(StreamState.STARTING, now_s)
        return news > 0

    @property
    def has_spoken_here(self) -> bool:
        """Whether its newest message came by the subscription that it has now."""
        return self.spoke_s is not None and self.spoke_s >= self.renewed_s

    def is_well(self, now_s: float) -> bool:
        """Whether there is nothing to judge, so that `judge` would change nothing."""
        return (
            (self.state is StreamState.LIVE or self.state is StreamState.QUIET)
            and self.is_up
            and now_s - self.well_s <= self.rhythm.threshold_s
        )

    def judge(
        self,
        now_s: float,
        *,
        witness_s: float,
        start_s: float,
        is_its_own: bool,
        witness_back_s: float = -inf,
    ) -> None:
        """Judge the silence. `is_its_own` is false when it may be everybody's.

        `witness_back_s` is when the newest ban of REST ends or has ended.
        """
        if self.spoke_s == now_s or self.state in _DECIDED:
            return
        overdue = self.is_overdue(now_s, start_s)
        if not self.is_up:
            self._judge_absent(now_s, is_stale=overdue and is_its_own)
        elif overdue:
            is_unheard = is_its_own and self._is_unheard(now_s, witness_s, witness_back_s)
            self._judge_overdue(now_s, is_unheard=is_unheard)
        elif self.state is StreamState.RECOVERING:
            self.enter(StreamState.LIVE, now_s)

    def is_overdue(self, now_s: float, start_s: float) -> bool:
        """Silent for longer than it may be."""
        threshold_s = self.rhythm.threshold_s
        unwell_s = now_s - self.well_s
        if self.is_up and unwell_s <= 2.0 * threshold_s:
            unwell_s = min(unwell_s, self.rhythm.silent_s(now_s))
        return unwell_s > (threshold_s if self._was_up else max(threshold_s, start_s))

    def prove_quiet(self, at_s: float, now_s: float) -> None:
        """The witness has found nothing new up to `at_s`."""
        self.rhythm.verified_quiet(at_s)
        self.proven_quiet_s = at_s
        self.well_s = max(self.well_s, at_s)
        self.enter(StreamState.QUIET, now_s)

    def find_stale(self, evidence: str, now_s: float) -> None:
        self.enter(StreamState.STALE, now_s)
        self.evidence = evidence

    def is_given_back(self, now_s: float) -> bool:
        """Whether its shard was wedged, or waited for the database, which is over: it gets its time anew."""
        if self.diagnosis not in INCIDENTS_OF_THEIR_OWN:
            return False
        self._begin_anew(now_s)
        self.enter(StreamState.RECOVERING, now_s)
        return True

    def _begin_anew(self, now_s: float) -> None:
        """Somebody else carries it from now on, and has to subscribe it first."""
        self._was_up, self.well_s, self.begun_s = self.is_up, now_s, now_s

    def wait_anew(self, now_s: float) -> None:
        """All were silent alike and are not any more: what could not be said meanwhile gets its time."""
        if self.state is StreamState.SUSPECT:
            self.since_s = now_s
        if not self.is_up:
            self.well_s = now_s

    def _take(self, reading: Reading, now_s: float) -> int:
        """Remember a reading; returns how many messages have come since the one before."""
        before, self._before = self._before, reading
        self.shard, self.feed, news, epoch, self.is_up, _ = reading
        if before is None:
            self.since_s = self.well_s = self.begun_s = now_s
        elif before.epoch == epoch and before.shard == reading.shard:
            news = max(0, news - before.news)
        else:
            news = self._go_on(before, reading, now_s)
        if self.is_up and not self._was_up:
            self._was_up, self.well_s = True, now_s
        # The rhythm is fed with a count of our own, which no restart of a shard makes begin anew.
        self._heard += news
        self.rhythm.observe(self._heard, now_s)
        return news

    def _go_on(self, before: Reading, reading: Reading, now_s: float) -> int:
        """Another connection, shard or process brings it than before; returns its new messages."""
        is_same_process = before.epoch[0] == reading.epoch[0]
        if before.shard != reading.shard or not is_same_process:
            self._begin_anew(now_s)
        if before.epoch != reading.epoch:
            self.rhythm.interrupted(now_s)
            self.renewed_s = now_s
        return max(0, reading.news - before.news) if is_same_process else 0

    def _judge_absent(self, now_s: float, *, is_stale: bool) -> None:
        """Its feed dials by itself; what is left to say is how long it has been away."""
        if is_stale:
            self.find_stale("its connection is away", now_s)
        elif self.state is not StreamState.STARTING:
            self.enter(StreamState.RECOVERING, now_s)

    def _is_unheard(self, now_s: float, witness_s: float, witness_back_s: float) -> bool:
        """Whether a suspect has waited for its witness for long enough."""
        if now_s - self.since_s <= witness_s:
            return False
        longest_s = max(_UNHEARD_S, _UNHEARD_THRESHOLDS * self.rhythm.threshold_s)
        return now_s - witness_back_s > witness_s or now_s - self.well_s > longest_s

    def _judge_overdue(self, now_s: float, *, is_unheard: bool) -> None:
        if self.state is not StreamState.SUSPECT:
            if self.state is not StreamState.QUIET:
                # Of a new silence it is asked at once; of a proven one, as often as of any.
                self.asked_s = None
            self.enter(StreamState.SUSPECT, now_s)
        elif is_unheard:
            self.find_stale("silent past its threshold, and no witness could be asked", now_s)


_DECIDED = frozenset({StreamState.STALE, StreamState.HALTED})
"""No silence changes these."""
