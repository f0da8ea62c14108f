"""One stream's states: each row of the table, and what counts as a message, a gap, a silence."""

from math import inf

import pytest

from ingest.board.layout import Diagnosis, StreamState
from ingest.supervisor.rhythm import Rhythm, RhythmLimits
from ingest.supervisor.watched import Reading, WatchedStream
from tests.unit.supervisor.stage import a_key, a_reading

STARTING, LIVE, SUSPECT, QUIET, STALE, RECOVERING, HALTED = StreamState
THRESHOLD_S = 5.0
WITNESS_S = 4.0
START_S = 30.0


class Watching:
    """One stream and the time; `at` takes a reading and judges, as the watch does."""

    def __init__(self, threshold_s: float | None = THRESHOLD_S) -> None:
        limits = RhythmLimits(floor_s=1.0, ceiling_s=50.0, fixed_s=threshold_s)
        self.stream = WatchedStream(a_key("BTCUSDT"), Rhythm(limits))

    def at(
        self, now_s: float, reading: Reading, *, is_its_own: bool = True, witness_back_s: float = -inf
    ) -> StreamState:
        self.stream.read(reading, now_s)
        self.stream.judge(
            now_s,
            witness_s=WITNESS_S,
            start_s=START_S,
            is_its_own=is_its_own,
            witness_back_s=witness_back_s,
        )
        return self.stream.state

    def brought_to(self, state: StreamState) -> float:
        """Bring the stream into a state by what leads there; returns the time."""
        self.at(0.0, a_reading(0))
        if state is STARTING:
            return 0.0
        self.at(1.0, a_reading(1))
        if state is RECOVERING:
            self.at(2.0, a_reading(1, is_up=False))
        elif state is HALTED:
            self.at(2.0, a_reading(1, is_halted=True))
        elif state is not LIVE:
            self.at(7.0, a_reading(1))
        if state is QUIET:
            self.stream.prove_quiet(7.0, 7.0)
        elif state is STALE:
            self.stream.find_stale("behind", 7.0)
        assert self.stream.state is state
        return {LIVE: 1.0, RECOVERING: 2.0, HALTED: 2.0}.get(state, 7.0)


# ---------------------------------------------------------------------- the rows of the table


@pytest.mark.parametrize("state", StreamState)
@pytest.mark.parametrize("is_up", [True, False])
@pytest.mark.parametrize("is_halted", [True, False])
def test_message_makes_any_stream_live(state: StreamState, is_up: bool, is_halted: bool) -> None:
    """The data win over what the exchange and the connection say."""
    watching = Watching()
    now_s = watching.brought_to(state)

    assert watching.at(now_s + 1.0, a_reading(2, is_up=is_up, is_halted=is_halted)) is LIVE


@pytest.mark.parametrize("state", StreamState)
@pytest.mark.parametrize("is_up", [True, False])
def test_stream_that_is_not_traded_is_halted(state: StreamState, is_up: bool) -> None:
    """From any state, and whether or not its feed is there."""
    watching = Watching()
    now_s = watching.brought_to(state)
    news = 0 if state is STARTING else 1

    assert watching.at(now_s + 1.0, a_reading(news, is_up=is_up, is_halted=True)) is HALTED
    assert watching.at(now_s + 900.0, a_reading(news, is_up=is_up, is_halted=True)) is HALTED


def test_halted_stream_starts_when_it_is_traded_again() -> None:
    """Its silence counts from the end of the halt."""
    watching = Watching()
    watching.brought_to(HALTED)
    watching.at(900.0, a_reading(1, is_halted=True))

    assert watching.at(901.0, a_reading(1)) is STARTING
    assert watching.at(905.0, a_reading(1)) is STARTING
    assert watching.at(906.0, a_reading(1)) is SUSPECT


@pytest.mark.parametrize("state", [LIVE, QUIET, RECOVERING])
def test_stream_whose_feed_is_away_recovers(state: StreamState) -> None:
    """As long as it has not been silent for its threshold."""
    watching = Watching()
    now_s = watching.brought_to(state)

    assert watching.at(now_s + 3.0, a_reading(1, breaks=1, is_up=False)) is RECOVERING


@pytest.mark.parametrize("state", [STARTING, STALE, HALTED])
def test_stream_stays_what_it_is_while_its_feed_is_away(state: StreamState) -> None:
    """One that never spoke has nothing to recover, one that is stale has not recovered."""
    watching = Watching()
    now_s = watching.brought_to(state)
    reading = a_reading(0 if state is STARTING else 1, breaks=1, is_up=False, is_halted=state is HALTED)

    assert watching.at(now_s + 4.0, reading) is state


@pytest.mark.parametrize("state", [STARTING, LIVE, SUSPECT, QUIET, RECOVERING])
def test_stream_is_stale_when_it_is_away_past_its_threshold(state: StreamState) -> None:
    """No witness is asked: a feed that is not there delivers nothing."""
    watching = Watching()
    now_s = watching.brought_to(state)
    news = 0 if state is STARTING else 1

    assert watching.at(now_s + THRESHOLD_S + 1.0, a_reading(news, is_up=False)) is STALE
    assert watching.stream.evidence == "its connection is away"


def test_suspect_whose_feed_goes_away_is_stale_at_once() -> None:
    """Its threshold has passed already."""
    watching = Watching()
    now_s = watching.brought_to(SUSPECT)

    assert watching.at(now_s + 1.0, a_reading(1, breaks=1, is_up=False)) is STALE


def test_stream_that_is_away_with_all_others_only_recovers() -> None:
    """Nobody is found stale for want of evidence while all are silent alike."""
    watching = Watching()
    now_s = watching.brought_to(SUSPECT)

    assert watching.at(now_s + 100.0, a_reading(1, is_up=False), is_its_own=False) is RECOVERING


def test_stream_is_live_again_when_its_feed_is() -> None:
    """A new connection gives it its threshold once more."""
    watching = Watching()
    watching.brought_to(RECOVERING)
    watching.at(5.0, a_reading(1, breaks=1, is_up=False))

    assert watching.at(6.0, a_reading(1, breaks=1)) is LIVE
    assert watching.at(10.0, a_reading(1, breaks=1)) is LIVE
    assert watching.at(11.0, a_reading(1, breaks=1)) is SUSPECT


@pytest.mark.parametrize("state", [STARTING, LIVE])
def test_stream_that_is_silent_past_its_threshold_is_suspect(state: StreamState) -> None:
    """At the threshold it is not yet; one that never spoke is judged from its subscription."""
    watching = Watching()
    now_s = watching.brought_to(state)
    news = 0 if state is STARTING else 1

    assert watching.at(now_s + THRESHOLD_S, a_reading(news)) is state
    assert watching.at(now_s + THRESHOLD_S + 1.0, a_reading(news)) is SUSPECT


def test_stream_that_recovers_is_suspect_when_it_comes_back_too_late() -> None:
    """Twice its threshold without a message is silence, though the connection is new."""
    watching = Watching()
    watching.brought_to(RECOVERING)
    watching.at(60.0, a_reading(1, breaks=1, is_up=False), is_its_own=False)

    assert watching.at(61.0, a_reading(1, breaks=1)) is SUSPECT


def test_quiet_stream_is_suspect_again_when_its_proof_is_old() -> None:
    """A proof holds for a threshold, and then for no longer."""
    watching = Watching()
    watching.brought_to(QUIET)

    assert watching.at(12.0, a_reading(1)) is QUIET
    assert watching.at(13.0, a_reading(1)) is SUSPECT


def test_proof_that_comes_late_counts_from_when_it_was_made() -> None:
    """What happened after the witness was asked is not covered by what it says."""
    watching = Watching()
    watching.brought_to(SUSPECT)
    watching.at(10.0, a_reading(1))
    watching.stream.prove_quiet(7.0, 11.0)

    assert watching.stream.proven_quiet_s == 7.0
    assert watching.at(12.0, a_reading(1)) is QUIET
    assert watching.at(13.0, a_reading(1)) is SUSPECT


def test_suspect_is_stale_when_no_witness_came_in_time() -> None:
    """Nobody could say, so it is repaired rather than trusted."""
    watching = Watching()
    now_s = watching.brought_to(SUSPECT)

    assert watching.at(now_s + WITNESS_S, a_reading(1)) is SUSPECT
    assert watching.at(now_s + WITNESS_S + 1.0, a_reading(1)) is STALE
    assert watching.stream.evidence == "silent past its threshold, and no witness could be asked"


def test_suspect_waits_for_the_end_of_a_ban_and_its_witness() -> None:
    """The wait for a verdict begins when REST may be asked again; a ban of long ago changes nothing."""
    watching = Watching()
    since_s = watching.brought_to(SUSPECT)
    back_s = since_s + 200.0

    for now_s in (since_s + 5.0, back_s, back_s + WITNESS_S):
        assert watching.at(now_s, a_reading(1), witness_back_s=back_s) is SUSPECT
    assert watching.at(back_s + WITNESS_S + 1.0, a_reading(1), witness_back_s=back_s) is STALE


@pytest.mark.parametrize(("threshold_s", "longest_s"), [(5.0, 900.0), (400.0, 1_200.0)])
def test_suspect_does_not_wait_for_the_end_of_every_ban(threshold_s: float, longest_s: float) -> None:
    """Three thresholds, but at least a quarter of an hour; then its silence is repaired unheard."""
    watching = Watching(threshold_s)
    watching.at(0.0, a_reading(0))
    watching.at(1.0, a_reading(1))
    watching.at(1.0 + threshold_s + 1.0, a_reading(1), witness_back_s=3 * 86_400.0)

    assert watching.at(1.0 + longest_s, a_reading(1), witness_back_s=3 * 86_400.0) is SUSPECT
    assert watching.at(2.0 + longest_s, a_reading(1), witness_back_s=3 * 86_400.0) is STALE


def test_ban_does_not_cut_the_wait_of_a_suspect_short() -> None:
    """Of a silence that is extreme from the first the witness is heard all the same."""
    watching = Watching(1_000.0)
    watching.at(0.0, a_reading(0))
    watching.at(1.0, a_reading(1))

    assert watching.at(5_000.0, a_reading(1), witness_back_s=4_999.0) is SUSPECT
    assert watching.at(5_000.0 + WITNESS_S, a_reading(1), witness_back_s=4_999.0) is SUSPECT


def test_suspect_waits_on_while_all_are_silent() -> None:
    """Its silence is no news about it while nothing speaks anywhere."""
    watching = Watching()
    watching.brought_to(SUSPECT)

    assert watching.at(900.0, a_reading(1), is_its_own=False) is SUSPECT


@pytest.mark.parametrize("is_up", [True, False])
def test_stale_stream_stays_stale_without_a_message(is_up: bool) -> None:
    """A new connection is no life."""
    watching = Watching()
    watching.brought_to(STALE)

    assert watching.at(8.0, a_reading(1, breaks=1, is_up=is_up)) is STALE
    assert watching.at(900.0, a_reading(1, breaks=2)) is STALE


# ---------------------------------------------------------------------- messages and processes


@pytest.mark.parametrize("news", [0, 1, 2, 50])
def test_restart_of_the_shard_is_no_message(news: int) -> None:
    """The count of another process says nothing, whether it is lower, the same or higher."""
    watching = Watching()
    watching.brought_to(STALE)

    assert watching.at(8.0, a_reading(news, pid=2)) is STALE
    assert watching.at(9.0, a_reading(news, pid=2)) is STALE
    assert watching.at(10.0, a_reading(news + 1, pid=2)) is LIVE


def test_board_that_is_away_for_a_moment_is_no_message() -> None:
    """Its counts are zero while it cannot be read, and back afterwards."""
    watching = Watching()
    watching.brought_to(STALE)

    assert watching.at(8.0, Reading(0, -1, 0, (0, 0), is_up=False)) is STALE
    assert watching.at(9.0, a_reading(1)) is STALE


def test_message_round_a_reconnect_is_a_message() -> None:
    """Within one process a count that has risen was raised by a message."""
    watching = Watching()
    watching.brought_to(STALE)

    assert watching.at(8.0, a_reading(2, breaks=1)) is LIVE


def test_count_that_falls_within_a_process_is_no_message() -> None:
    """Whatever that is, nothing was heard."""
    watching = Watching()
    watching.brought_to(LIVE)
    watching.at(2.0, a_reading(0))

    assert watching.stream.spoke_s == 1.0


def test_messages_from_before_the_first_reading_are_life() -> None:
    """A stream that has spoken before it was looked at has spoken."""
    assert Watching().at(0.0, a_reading(7)) is LIVE


def taught(*readings: tuple[float, Reading]) -> Watching:
    """A stream without a fixed threshold, one message a second for two minutes, then `readings`."""
    watching = Watching(threshold_s=None)
    for second in range(120):
        watching.at(float(second), a_reading(second))
    for now_s, reading in readings:
        watching.at(now_s, reading)
    return watching


@pytest.mark.parametrize("news", [0, 119, 150])
def test_restart_of_the_shard_is_no_rhythm(news: int) -> None:
    """Neither the gap across it nor the difference of the two counts is learned."""
    watching = taught(*((120.0 + s, a_reading(119)) for s in range(40)))
    messages = watching.stream.rhythm.explain().messages
    for second in range(400):
        watching.at(160.0 + second, a_reading(news + second, pid=2))
    told = watching.stream.rhythm.explain()

    assert (told.periods, told.quantile_s) == (2, 1.0)
    assert told.messages - messages <= 400


def test_stream_learns_its_gaps_from_the_readings() -> None:
    """A message a second makes a quantile of a second."""
    assert taught().stream.rhythm.explain().quantile_s == 1.0


# ---------------------------------------------------------------------- silence and connections


def test_connections_that_break_again_and_again_do_not_hide_a_silence() -> None:
    """A feed that is new at every other tick puts the suspicion off by one threshold."""
    watching = Watching()
    watching.brought_to(LIVE)
    states = [watching.at(1.0 + s, a_reading(1, breaks=s)) for s in range(1, 13)]

    assert states == [LIVE] * 10 + [SUSPECT] * 2


def test_feed_that_comes_and_goes_does_not_hide_a_silence() -> None:
    """What counts is when the stream spoke last, not when its feed was there."""
    watching = Watching()
    watching.brought_to(LIVE)
    states = [watching.at(1.0 + s, a_reading(1, breaks=s // 2, is_up=s % 2 == 0)) for s in range(1, 8)]

    assert states == [RECOVERING, LIVE, RECOVERING, LIVE, RECOVERING, LIVE, STALE]


def test_stream_has_time_to_be_subscribed_for_the_first_time() -> None:
    """A service that starts does not repair what it is about to subscribe."""
    watching = Watching()
    states = [watching.at(now_s, a_reading(0, is_up=False)) for now_s in (0.0, 10.0, START_S)]

    assert states == [STARTING] * 3
    assert watching.at(START_S + 1.0, a_reading(0, is_up=False)) is STALE


def test_stream_that_never_spoke_is_judged_from_its_subscription() -> None:
    """The time until then is not its silence."""
    watching = Watching()
    watching.at(0.0, a_reading(0, is_up=False))
    watching.at(20.0, a_reading(0))

    assert watching.at(25.0, a_reading(0)) is STARTING
    assert watching.at(26.0, a_reading(0)) is SUSPECT


@pytest.mark.parametrize("state", StreamState)
@pytest.mark.parametrize("is_up", [True, False])
@pytest.mark.parametrize("silent_s", [0.0, THRESHOLD_S, THRESHOLD_S + 1.0, 3 * THRESHOLD_S])
def test_judgement_of_a_stream_that_is_well_changes_nothing(
    state: StreamState, is_up: bool, silent_s: float
) -> None:
    """Whoever looks after thousands of them may pass it by, and nearly all are well at nearly all ticks."""
    watching = Watching()
    now_s = watching.brought_to(state)
    stream = watching.stream
    news = 0 if state is STARTING else 1
    stream.read(a_reading(news, is_up=is_up, is_halted=state is HALTED), now_s + silent_s)
    was_well = stream.is_well(now_s + silent_s)
    before = (stream.state, stream.since_s, stream.evidence)
    stream.judge(now_s + silent_s, witness_s=WITNESS_S, start_s=START_S, is_its_own=True)

    assert was_well == (state in {LIVE, QUIET} and is_up and silent_s <= THRESHOLD_S)
    assert not was_well or (stream.state, stream.since_s, stream.evidence) == before


@pytest.mark.parametrize("state", StreamState)
def test_diagnosis_and_evidence_belong_to_stale_streams(state: StreamState) -> None:
    """They go when the stream leaves that state."""
    watching = Watching()
    now_s = watching.brought_to(STALE)
    watching.stream.diagnosis = Diagnosis.HALF_OPEN
    watching.stream.enter(state, now_s + 1.0)

    assert (watching.stream.diagnosis is Diagnosis.HALF_OPEN) is (state is STALE)
    assert bool(watching.stream.evidence) is (state is STALE)


def test_state_begins_once() -> None:
    """Entering the present state again does not begin it anew."""
    watching = Watching()
    watching.brought_to(LIVE)
    watching.at(2.0, a_reading(2))

    assert watching.stream.since_s == 1.0


def test_waiting_anew_gives_a_suspect_its_witness_time() -> None:
    """What ran while nobody could speak is not counted."""
    watching = Watching()
    watching.brought_to(SUSPECT)
    watching.at(900.0, a_reading(1), is_its_own=False)
    watching.stream.wait_anew(901.0)

    assert watching.at(901.0 + WITNESS_S, a_reading(1)) is SUSPECT
    assert watching.at(902.0 + WITNESS_S, a_reading(1)) is STALE


def test_waiting_anew_gives_a_stream_that_is_away_its_threshold() -> None:
    """Its feed may dial once more before it is called stale."""
    watching = Watching()
    watching.brought_to(RECOVERING)
    watching.stream.wait_anew(901.0)

    assert watching.at(901.0 + THRESHOLD_S, a_reading(1, is_up=False)) is RECOVERING
    assert watching.at(902.0 + THRESHOLD_S, a_reading(1, is_up=False)) is STALE


def test_waiting_anew_leaves_a_live_stream_alone() -> None:
    """Its silence goes on counting from its newest message."""
    watching = Watching()
    watching.brought_to(LIVE)
    watching.stream.wait_anew(4.0)

    assert watching.at(7.0, a_reading(1)) is SUSPECT
