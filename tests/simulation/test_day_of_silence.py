"""The simulated day in small, and what it rests on; the whole day is a program of its own."""

from array import array
from random import Random

import pytest

from ingest.events import StreamKey
from ingest.supervisor import witnesses
from ingest.supervisor.witness import Quiet, Stale, Unknown
from tests.simulation.day_of_silence import main, simulate
from tests.simulation.silence_exchange import Fault, Line
from tests.simulation.silence_market import (
    DAY_S,
    SEGMENT_S,
    STANDSTILL_AT_S,
    STANDSTILL_S,
    Timeline,
    market,
    timeline,
    together,
)


def test_no_repair_is_false_and_no_fault_is_missed_in_a_small_market() -> None:
    """An hour of thirty symbols with forty mute stretches: all that can be noticed is, and nothing else."""
    account = simulate(hours=1, symbols=30, faults=40, seed=5)

    assert (account.false_repairs, account.missed, account.sweep_false_deficits) == ([], [], 0)
    assert len(account.required) > 10
    assert account.repairs >= len(account.required)


def test_program_prints_precision_and_recall(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The account says with which seed it was made and what came out."""
    monkeypatch.setattr("sys.argv", "day --hours 0.1 --symbols 10 --faults 30 --seed 5".split())

    assert main() == 0
    printed = capsys.readouterr().out
    assert "seed 5, 0.1 hours" in printed
    assert "precision 1.0000" in printed
    assert "recall 1.0000" in printed


def test_judge_that_takes_each_silence_for_a_fault_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The market does hold silences without a fault, and the account does hold repairs against them."""
    monkeypatch.setattr(witnesses, "testify", lambda kind, evidence: Stale(f"{kind} is silent"))
    account = simulate(hours=0.5, symbols=20, faults=1, seed=3)

    assert account.false_repairs
    assert account.precision < 0.5


def test_judge_that_takes_no_silence_for_a_fault_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults that could have been known are missed then."""
    monkeypatch.setattr(witnesses, "by_siblings", lambda *_: Unknown("nobody was asked"))
    monkeypatch.setattr(witnesses, "testify", lambda _, evidence: Quiet(evidence.now["trade"].read_s, ""))
    account = simulate(hours=0.5, symbols=20, faults=40, seed=3)

    assert account.recall < 0.5


def test_a_day_is_the_same_each_time() -> None:
    """The seed alone decides."""
    first, second = (simulate(hours=0.1, symbols=10, faults=10, seed=5) for _ in range(2))

    assert (first.messages, first.repairs, first.verdicts, first.weights) == (
        second.messages,
        second.repairs,
        second.verdicts,
        second.weights,
    )


# --- a line ---


def a_line(*spoken: int, faults: tuple[Fault, ...] = ()) -> Line:
    """A stream that speaks in these ticks."""
    published = Timeline(per_tick=2)
    for tick in spoken:
        published.add(tick, tick + 1)
    return Line(StreamKey("spot", "S", "trade"), (0, 0), published, faults)


def test_line_delivers_what_no_fault_hides() -> None:
    """News and ids stand still while the stream is mute."""
    line = a_line(1, 3, 5, faults=(Fault(2, 5),))

    assert [line.advance(tick) for tick in range(1, 7)] == [True, None, False, None, True, None]
    assert line.reading.news == 4
    assert line.sight(7.0).last_id - line.sight(7.0).messages == 1_000_002


def test_order_is_right_while_something_is_hidden_and_wrong_once_it_is_mended() -> None:
    """A stubborn fault is not mended by the subscription, but by another feed."""
    line = a_line(1, 3, 5, 9, faults=(Fault(2, 8, is_stubborn=True),))
    for tick in (1, 2):
        line.advance(tick)
    assert line.hidden_by(2) is None
    line.advance(3)
    assert line.hidden_by(3) is line.faults[0]
    line.subscribe_anew(4, is_new_feed=False)
    assert line.hidden_by(4) is line.faults[0]
    line.subscribe_anew(6, is_new_feed=True)
    assert line.hidden_by(6) is None
    assert line.advance(9)


def test_fault_that_hid_nothing_need_not_be_noticed() -> None:
    """A mute stretch without a message to lose has no effect that anybody could see."""
    assert not Fault(10, DAY_S, ended=DAY_S).must_be_noticed


@pytest.mark.parametrize(
    ("kind", "lasts_s", "must"),
    [("trade", 150, True), ("book_ticker", 150, False), ("book_ticker", STANDSTILL_S + 80, True)],
)
def test_book_ticker_need_not_be_known_to_be_mute_while_nothing_moves(
    kind: str, lasts_s: int, must: bool
) -> None:
    """It lost something just before the exchange stood still, and only a change of prices could tell."""
    start, due = STANDSTILL_AT_S - 15, STANDSTILL_AT_S + 30
    fault = Fault(start, due + lasts_s, kind=kind, first_missed=start, due=due, ended=due + lasts_s)

    assert fault.must_be_noticed is must


# --- the market ---


def test_timeline_counts_and_finds_its_runs() -> None:
    """Runs that touch are one; counts go by tick, inclusive."""
    spoken = Timeline(per_tick=2)
    spoken.add(3, 5)
    spoken.add(5, 6)
    spoken.add(9, 10)

    assert [spoken.count(tick) for tick in (0, 3, 4, 5, 8, 9, 20)] == [0, 2, 4, 6, 6, 8, 8]
    assert [spoken.run_from(tick) for tick in (0, 4, 6, 10)] == [(3, 6), (4, 6), (9, 10), None]


def test_quotes_speak_whenever_the_trades_do() -> None:
    """Both streams' ticks, each once."""
    first, second = (
        timeline(0.3, array("d", [1.0] * 10), Random(1)),
        timeline(0.2, array("d", [1.0] * 10), Random(2)),
    )
    both = together(first, second)

    def speaks(stream: Timeline, tick: int) -> bool:
        return stream.count(tick) > stream.count(tick - 1)

    for tick in range(10 * SEGMENT_S):
        assert speaks(both, tick) == (speaks(first, tick) or speaks(second, tick))


@pytest.mark.parametrize("per_s", [0.02, 0.7, 3.0, 100.0])
def test_timeline_speaks_as_often_as_its_rate_says(per_s: float) -> None:
    """The share of ticks with news is that of a Poisson stream of the rate."""
    segments = 600
    spoken = timeline(per_s, array("d", [1.0] * segments), Random(2))
    share = spoken.count(segments * SEGMENT_S) / spoken.per_tick / (segments * SEGMENT_S)

    assert share == pytest.approx(1 - 2.718281828**-per_s, rel=0.1)


def test_market_has_a_heavy_tail() -> None:
    """From a hundred a second to one an hour; the busiest tenth makes most of the messages."""
    rates = [symbol.trades_per_s for symbol in market(1_500, Random(1))]

    assert rates[0] == pytest.approx(100, rel=0.01)
    assert rates[-1] == pytest.approx(1 / 3_600, rel=0.01)
    assert sum(rates[:150]) > 0.7 * sum(rates)
    assert rates == sorted(rates, reverse=True)
