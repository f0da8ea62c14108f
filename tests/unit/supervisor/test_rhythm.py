"""A stream's rhythm: readings once a second in, one threshold out."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.supervisor.rhythm import (
    FIRST_PERIOD_S,
    LATE_TICK_S,
    PERIOD_GAPS,
    PERIOD_S,
    PERIODS,
    Rhythm,
    RhythmLimits,
    RhythmRecord,
)

LIMITS = RhythmLimits(floor_s=5, ceiling_s=300)


class Stream:
    """A stream whose messages come when the test says, read at every second."""

    def __init__(self, limits: RhythmLimits = LIMITS, *, record: RhythmRecord | None = None) -> None:
        self.rhythm = Rhythm(limits, record=record)
        self.now_s = 1_000.0
        self.news = 0
        self.rhythm.observe(0, self.now_s)

    def speak_after(self, gaps_s: Iterable[int]) -> None:
        """One message after each gap; the ticks in between find nothing."""
        for gap_s in gaps_s:
            self.wait(gap_s - 1)
            self.speak()

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_s += 1
            self.rhythm.observe(self.news, self.now_s)

    def speak(self, after_s: float = 1.0) -> None:
        self.now_s += after_s
        self.news += 1
        self.rhythm.observe(self.news, self.now_s)


def gaps_of_periods(gaps_s: Iterable[int]) -> Iterator[int]:
    """Gaps that fill one period after the other, each with gaps of one length."""
    for gap_s in gaps_s:
        yield from [gap_s] * max(PERIOD_GAPS, int(PERIOD_S) // gap_s + 1)


def learned(*quantiles_s: float, limits: RhythmLimits = LIMITS) -> Rhythm:
    return Rhythm(limits, record=RhythmRecord(quantiles_s, (100,) * len(quantiles_s), 1_000))


def test_cold_stream_starts_at_the_ceiling() -> None:
    """Nothing is known of a stream that has not filled a period, so it is given the most time."""
    explanation = Rhythm(LIMITS).explain()

    assert (explanation.rule, explanation.threshold_s, explanation.quantile_s) == ("cold", 300, None)
    assert explanation.sentence() == "300 s, the ceiling: too few messages yet to know its rhythm"


def test_busy_stream_is_learned_within_its_first_minute() -> None:
    """A stream that speaks each second leaves the ceiling after the short first period."""
    stream = Stream()
    stream.speak_after([1] * int(FIRST_PERIOD_S + 1))

    assert stream.rhythm.threshold_s == 5
    assert stream.rhythm.explain().rule == "floor"


def test_threshold_is_factor_times_the_gaps_of_the_stream() -> None:
    """A stream that speaks each ten seconds may be silent for four times that."""
    stream = Stream()
    stream.speak_after([10] * (PERIOD_GAPS + 1))

    assert stream.rhythm.threshold_s == 40
    assert stream.rhythm.explain().rule == "learned"


def test_factor_is_configurable() -> None:
    """The configured factor takes the place of the four."""
    assert learned(10.0, limits=replace(LIMITS, factor=3.0)).threshold_s == 30


def test_rare_stream_stays_at_the_ceiling() -> None:
    """What was learned is bounded, so that a rare stream is looked after too."""
    rhythm = learned(200.0)

    assert (rhythm.threshold_s, rhythm.explain().rule) == (300, "ceiling")


def test_fixed_threshold_wins_and_the_learned_one_is_told() -> None:
    """Configuration overrules what was learned; the explanation still says what that was."""
    rhythm = learned(10.0, limits=replace(LIMITS, fixed_s=7.5))

    assert (rhythm.threshold_s, rhythm.explain().rule) == (7.5, "fixed")
    assert rhythm.explain().sentence() == (
        "7.5 s, fixed by configuration, learned: 99 of 100 gaps in its slow periods are within 10 s"
        " (periods: 1, gaps: 100, messages: 1000)"
    )


def test_fixed_threshold_of_a_cold_stream_needs_no_more_words() -> None:
    """Where nothing was learned, nothing is told of it."""
    assert Rhythm(replace(LIMITS, fixed_s=60.0)).explain().sentence() == "60 s, fixed by configuration"


@pytest.mark.parametrize(
    ("quantile_s", "sentence"),
    [
        (10.0, "40 s = 4 x 10 s: 99 of 100"),
        (1.0, "5.0 s = 4 x 1.0 s, raised to the floor: 99 of 100"),
        (100.0, "300 s = 4 x 100 s, lowered to the ceiling: 99 of 100"),
    ],
)
def test_explanation_reads_as_a_sentence(quantile_s: float, sentence: str) -> None:
    """People read the sum and what bounded it."""
    assert learned(quantile_s).explain().sentence().startswith(sentence)


def test_explanation_counts_what_it_rests_on() -> None:
    """Periods, gaps and messages are told, and the slowest period beside the one that decided."""
    explanation = learned(*[10.0] * 7, 90.0).explain()

    assert (explanation.periods, explanation.gaps, explanation.messages) == (8, 800, 1_000)
    assert explanation.quantile_s == 90


def test_quantile_passes_over_the_longest_hundredth() -> None:
    """Of 281 gaps the two longest do not make the rhythm, the third does."""
    stream = Stream()
    stream.speak_after([1] * int(FIRST_PERIOD_S + 1))
    stream.speak_after([5, 9, 8, *[1] * 278])

    assert stream.rhythm.record() == RhythmRecord((1.0, 5.0), (59, 281), 341)


def test_slow_periods_decide_and_a_single_odd_one_does_not() -> None:
    """One period in eight in which the exchange stood still moves nothing; slow hours do."""
    busy = [2.0] * 22

    assert learned(*busy, 100.0).explain().quantile_s == 2
    assert learned(*busy[:12], 20.0, 20.0, 20.0, *busy[12:19]).explain().quantile_s == 20


def test_only_the_newest_periods_count() -> None:
    """What was slow long ago is forgotten."""
    stream = Stream(record=RhythmRecord((50.0,) * PERIODS, (30,) * PERIODS, 720))
    stream.speak_after(gaps_of_periods([2] * PERIODS))

    assert stream.rhythm.threshold_s == 8
    assert len(stream.rhythm.record().quantiles_s) == PERIODS


def test_period_of_a_rare_stream_waits_for_its_gaps() -> None:
    """Five minutes with four messages are not a period."""
    stream = Stream()
    stream.speak_after([100] * PERIOD_GAPS)
    assert stream.rhythm.record() == RhythmRecord()

    stream.speak_after([100])
    assert stream.rhythm.record() == RhythmRecord((100.0,), (PERIOD_GAPS,), PERIOD_GAPS + 1)


def test_first_gap_is_not_learned() -> None:
    """What was before the first reading is not known, so the gap up to the first message is not either."""
    stream = Stream()
    stream.speak_after([200, *[2] * PERIOD_GAPS])

    assert stream.rhythm.record().quantiles_s == (2.0,)


def test_interrupted_gap_is_not_learned() -> None:
    """A silence that a repair ended is the fault's, not the stream's."""
    stream = Stream()
    stream.speak_after([2] * 11)
    stream.wait(100)
    stream.rhythm.interrupted(stream.now_s)
    stream.speak_after([50, *[2] * PERIOD_GAPS])

    assert stream.rhythm.record().quantiles_s == (2.0,)


def test_restarted_shard_is_not_a_gap() -> None:
    """A count that went down is another process's: the time between the two is nobody's rhythm."""
    stream = Stream()
    stream.speak_after([2] * 11)
    stream.wait(100)
    stream.news = 3
    stream.speak_after([1])
    stream.news = 0
    stream.wait(30)
    stream.speak_after([2] * (PERIOD_GAPS + 1))

    assert stream.rhythm.record().quantiles_s == (2.0,)


def test_gap_that_ended_in_a_late_tick_is_not_learned() -> None:
    """When nobody looked for a while, nobody knows when the message came."""
    stream = Stream()
    stream.speak_after([2] * 11)
    stream.speak(after_s=LATE_TICK_S + 60)
    stream.speak_after([2] * PERIOD_GAPS)

    assert stream.rhythm.record().quantiles_s == (2.0,)


def test_unproven_silence_counts_as_no_more_than_the_threshold() -> None:
    """A silence past the threshold that ended by itself may have been a fault that healed."""
    stream = Stream(record=RhythmRecord((10.0,), (30,), 30))
    stream.speak_after([10] * 2)
    stream.speak_after([200])
    stream.speak_after([10] * PERIOD_GAPS)

    assert stream.rhythm.record().quantiles_s == (10.0, 40.0)


def test_proven_silence_is_learned_up_to_a_threshold_past_the_proof() -> None:
    """Verified quiet is the stream's own rhythm; what follows the proof is so within the threshold."""
    stream = Stream(record=RhythmRecord((10.0,), (30,), 30))
    stream.speak_after([10] * 2)
    stream.wait(100)
    stream.rhythm.verified_quiet(stream.now_s)
    stream.rhythm.verified_quiet(stream.now_s - 90)
    stream.speak_after([100])
    stream.speak_after([10] * PERIOD_GAPS)

    assert stream.rhythm.record().quantiles_s == (10.0, 140.0)


def test_proof_of_before_the_newest_message_says_nothing_of_this_gap() -> None:
    """A late answer about the silence before does not vouch for the one that began since."""
    stream = Stream(record=RhythmRecord((10.0,), (30,), 30))
    stream.speak_after([10] * 2)
    stream.rhythm.verified_quiet(stream.now_s - 30)
    stream.speak_after([100])
    stream.speak_after([10] * PERIOD_GAPS)

    assert stream.rhythm.record().quantiles_s == (10.0, 40.0)


def test_silence_is_measured_from_the_newest_message() -> None:
    """Before the first reading there is no silence; then it counts from whatever was last."""
    rhythm = Rhythm(LIMITS)
    assert rhythm.silent_s(50.0) == 0

    rhythm.observe(5, 100.0)
    assert rhythm.silent_s(107.0) == 7
    rhythm.observe(6, 108.0)
    assert rhythm.silent_s(110.0) == 2
    rhythm.interrupted(120.0)
    assert rhythm.silent_s(121.0) == 1


def test_silence_is_not_shortened_by_late_ticks() -> None:
    """A supervisor that was away still knows how long nothing came."""
    rhythm = Rhythm(LIMITS)
    rhythm.observe(5, 100.0)
    rhythm.observe(6, 101.0)
    rhythm.observe(6, 901.0)

    assert rhythm.silent_s(901.0) == 800


@pytest.mark.parametrize(
    "limits",
    [
        {"factor": 2.9},
        {"factor": 5.1},
        {"floor_s": 0.0},
        {"floor_s": 301.0},
        {"fixed_s": 0.0},
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, float]) -> None:
    """A factor outside 3 to 5, a floor above the ceiling or a threshold of nothing is a mistake."""
    with pytest.raises(ValueError, match="threshold"):
        replace(LIMITS, **limits)


@pytest.mark.parametrize(
    "record",
    [
        RhythmRecord((1.0,), ()),
        RhythmRecord((float("nan"),), (30,)),
        RhythmRecord((0.0,), (30,)),
        RhythmRecord((1.0,), (0,)),
        RhythmRecord((1.0,), (30,), -1),
    ],
)
def test_records_that_make_no_sense_are_refused(record: RhythmRecord) -> None:
    """A damaged row is said to be one rather than made into a threshold."""
    with pytest.raises(ValueError, match="record"):
        Rhythm(LIMITS, record=record)


def test_rhythm_is_small() -> None:
    """Thousands of streams fit: a full rhythm without what it shares takes less than 2 kB."""
    rhythm = learned(*[float(n + 1) for n in range(PERIODS)])
    parts = [getattr(rhythm, name) for name in Rhythm.__slots__ if name != "_limits"]

    assert sys.getsizeof(rhythm) + sum(sys.getsizeof(part) for part in parts) < 2_048


GAPS_S = st.lists(st.integers(1, 400), min_size=1, max_size=200)


@given(gaps_s=GAPS_S, stride=st.integers(1, 20))
def test_threshold_stays_between_floor_and_ceiling(gaps_s: list[int], stride: int) -> None:
    """However a stream speaks, its threshold is one that configuration allows."""
    stream = Stream()
    for index, gap_s in enumerate(gaps_s):
        stream.speak_after([gap_s])
        if index % stride == 0:
            stream.rhythm.interrupted(stream.now_s)
        assert LIMITS.floor_s <= stream.rhythm.threshold_s <= LIMITS.ceiling_s


@given(gaps_s=GAPS_S)
def test_quantile_is_one_of_the_gaps_and_all_but_a_hundredth_are_within(gaps_s: list[int]) -> None:
    """A period's quantile is exact: counted over the gaps themselves, not estimated."""
    stream = Stream()
    kept: list[int] = []
    for gap_s in [1, *gaps_s]:
        periods = len(stream.rhythm.record().gaps)
        # A cold stream's threshold is the ceiling, and a proof lets the whole gap count.
        stream.wait(gap_s - 1)
        stream.rhythm.verified_quiet(stream.now_s)
        stream.speak()
        kept.append(gap_s)
        if len(stream.rhythm.record().gaps) > periods:
            break
    record = stream.rhythm.record()
    if record.gaps:
        seen = kept[-record.gaps[0] :]

        assert record.quantiles_s[0] in seen
        assert sum(gap_s > record.quantiles_s[0] for gap_s in seen) <= len(seen) / 100


@given(gaps_s=GAPS_S)
def test_record_read_back_gives_the_same_threshold(gaps_s: list[int]) -> None:
    """A restart forgets nothing that was learned in whole periods."""
    stream = Stream()
    stream.speak_after(gaps_s)
    again = Rhythm(LIMITS, record=stream.rhythm.record())

    assert again.threshold_s == stream.rhythm.threshold_s
    assert again.record() == stream.rhythm.record()


@given(mute_s=st.integers(1, 2_000), gap_s=st.integers(1, 60))
def test_silence_that_a_repair_ended_never_widens_the_threshold(mute_s: int, gap_s: int) -> None:
    """However long a fault was, the threshold afterwards is that of the stream's own gaps."""
    stream = Stream()
    stream.speak_after(gaps_of_periods([gap_s]))
    before_s = stream.rhythm.threshold_s
    stream.wait(mute_s)
    stream.rhythm.interrupted(stream.now_s)
    stream.speak_after(gaps_of_periods([gap_s]))

    assert stream.rhythm.threshold_s <= before_s
