"""Evidence about silent streams: numbers in, one verdict out, and every race named and closed."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.supervisor.witness import (
    DAY_S,
    IN_FLIGHT_S,
    NO_ID,
    REST_LAG_S,
    IdAnswer,
    Quiet,
    Quote,
    QuoteAnswer,
    Sight,
    Stale,
    Unknown,
    Verdict,
    by_id,
    by_quotes,
    by_siblings,
    by_trade_stream,
    by_trades,
    is_outdated,
    push_s,
    sweep_deficits,
)

ASKED_S = 100.0
ANSWERED_S = 100.3
READ_S = ANSWERED_S + IN_FLIGHT_S
LONG_AGO_S = 50.0


def sight(
    *, read_s: float = READ_S, messages: int = 7, moved_s: float = LONG_AGO_S, last_id: int = 1_000
) -> Sight:
    return Sight(read_s, messages, moved_s, last_id)


BEFORE = sight(read_s=ASKED_S)
AFTER = sight()


def answer(
    last_id: int | None,
    *,
    asked_s: float = ASKED_S,
    answered_s: float = ANSWERED_S,
    is_outdated: bool = False,
) -> IdAnswer:
    return IdAnswer(asked_s, answered_s, last_id, is_outdated)


def first_answer(last_id: int | None, *, asked_s: float = 60.0, is_outdated: bool = False) -> IdAnswer:
    return answer(last_id, asked_s=asked_s, answered_s=asked_s + 0.3, is_outdated=is_outdated)


# --- by id ---


def test_same_id_is_quiet_as_of_the_asking() -> None:
    """The answer was made after it was asked for, so the proof holds up to that moment and not later."""
    verdict = by_id(BEFORE, AFTER, answer(1_000))

    assert verdict == Quiet(ASKED_S, "the exchange's newest id is 1000 and so is ours")


def test_newer_id_at_the_exchange_is_stale() -> None:
    """A trade that has not arrived long after REST told of it was missed, be it a single one."""
    verdict = by_id(BEFORE, AFTER, answer(1_001))

    assert verdict == Stale("the exchange is at id 1001, 1 beyond our 1000")


def test_message_in_flight_is_waited_for() -> None:
    """REST may be faster than the stream: before the time of flight is over nothing is said."""
    verdict = by_id(BEFORE, sight(read_s=READ_S - 0.1), answer(1_001))

    assert isinstance(verdict, Unknown)
    assert "in flight" in verdict.reason


def test_stream_that_moved_meanwhile_is_not_judged() -> None:
    """A message between the two readings ends the silence, whatever the answer says."""
    assert by_id(BEFORE, sight(messages=8, last_id=1_001), answer(1_005)) == Unknown(
        "the stream has moved meanwhile"
    )


def test_answer_that_is_older_than_the_stream_proves_nothing() -> None:
    """A REST node that trails the stream cannot say what came after."""
    assert by_id(BEFORE, AFTER, answer(998)) == Unknown("the answer's id 998 is older than our 1000")


def test_outdated_answer_is_not_evidence_of_quiet() -> None:
    """A cached answer that happens to show our newest id does not hide what came after."""
    assert isinstance(by_id(BEFORE, AFTER, answer(1_000, is_outdated=True)), Unknown)


def test_symbol_missing_in_the_answer_is_unknown() -> None:
    """Whether a symbol is still traded is not this witness's to say."""
    assert by_id(BEFORE, AFTER, answer(None)) == Unknown("the symbol is not in the answer")


@pytest.mark.parametrize("earlier", [first_answer(10), first_answer(NO_ID)])
def test_ids_that_began_anew_and_rise_are_stale(earlier: IdAnswer) -> None:
    """After a reset of the exchange's numbering a rising low id is news, though it is below ours."""
    verdict = by_id(BEFORE, AFTER, answer(20), earlier=earlier)

    assert verdict == Stale("the exchange numbers anew and is at id 20; we are still at 1000")


@pytest.mark.parametrize(
    "earlier", [None, first_answer(20), first_answer(None), first_answer(5, is_outdated=True)]
)
def test_low_id_that_does_not_rise_is_unknown(earlier: IdAnswer | None) -> None:
    """A single low answer may come from anywhere; only a movement is evidence."""
    assert isinstance(by_id(BEFORE, AFTER, answer(20), earlier=earlier), Unknown)


def test_slowly_catching_up_answer_is_no_reset() -> None:
    """An answer that trails by less than half of all ids and rises is a late one, not a new numbering."""
    assert isinstance(by_id(BEFORE, AFTER, answer(900), earlier=first_answer(800)), Unknown)


def test_reset_in_flight_is_waited_for_too() -> None:
    """The first messages of a new numbering may be under way like any other."""
    verdict = by_id(BEFORE, sight(read_s=READ_S - 0.1), answer(20), earlier=first_answer(10))

    assert isinstance(verdict, Unknown)


def test_stream_without_an_id_is_compared_with_the_earlier_answer() -> None:
    """What has never spoken is behind as soon as the exchange moves on from where we found it."""
    before, after = sight(read_s=ASKED_S, messages=0, last_id=NO_ID), sight(messages=0, last_id=NO_ID)

    assert isinstance(by_id(before, after, answer(1_000), earlier=first_answer(1_000)), Quiet)
    assert isinstance(by_id(before, after, answer(1_001), earlier=first_answer(1_000)), Stale)


@pytest.mark.parametrize(
    "earlier",
    [None, first_answer(None), first_answer(1_000, is_outdated=True), first_answer(1_000, asked_s=ASKED_S)],
)
def test_stream_without_an_id_needs_an_earlier_answer(earlier: IdAnswer | None) -> None:
    """One answer alone says where the exchange is, not whether it has moved."""
    before, after = sight(read_s=ASKED_S, messages=0, last_id=NO_ID), sight(messages=0, last_id=NO_ID)

    assert isinstance(by_id(before, after, answer(1_000), earlier=earlier), Unknown)


def test_symbol_without_trades_for_a_day_is_quiet() -> None:
    """The exchange's own word that there was nothing is proof for a stream that has nothing newer."""
    never = sight(messages=0, last_id=NO_ID)
    old = sight(moved_s=ASKED_S - DAY_S)

    assert by_id(never, never, answer(NO_ID)) == Quiet(ASKED_S, "the exchange had no trade in 24 hours")
    assert isinstance(by_id(old, old, answer(NO_ID)), Quiet)


def test_no_trade_for_a_day_contradicts_a_stream_that_had_one() -> None:
    """We saw a trade less than a day ago, so this answer is not about what we saw."""
    assert isinstance(by_id(BEFORE, AFTER, answer(NO_ID)), Unknown)


@given(
    exchange_id=st.integers(1, 10_000),
    missed=st.integers(0, 50),
    arrives_s=st.floats(0.0, IN_FLIGHT_S),
    waited_s=st.floats(0.0, 10.0),
)
def test_live_stream_is_never_stale(exchange_id: int, missed: int, arrives_s: float, waited_s: float) -> None:
    """However ahead REST is: what arrives within the time of flight is not counted as missed."""
    read_s = ANSWERED_S + waited_s
    has_arrived = missed > 0 and waited_s >= arrives_s
    before = sight(read_s=ASKED_S, last_id=exchange_id - missed)
    after = (
        sight(read_s=read_s, last_id=exchange_id, messages=8)
        if has_arrived
        else before._replace(read_s=read_s)
    )

    assert not isinstance(by_id(before, after, answer(exchange_id)), Stale)


@given(ours=st.integers(0, 10_000), theirs=st.integers(0, 10_000), waited_s=st.floats(0.0, 10.0))
def test_quiet_and_stale_never_contradict_the_ids(ours: int, theirs: int, waited_s: float) -> None:
    """Quiet means equal ids; stale means a higher one at the exchange, and after the time of flight."""
    after = sight(read_s=ANSWERED_S + waited_s, last_id=ours)
    verdict = by_id(sight(read_s=ASKED_S, last_id=ours), after, answer(theirs))

    assert isinstance(verdict, Quiet) is (ours == theirs)
    assert isinstance(verdict, Stale) is (theirs > ours and after.read_s - ANSWERED_S >= IN_FLIGHT_S)


# --- by trades ---


def test_no_trade_between_two_answers_is_quiet() -> None:
    """A stream that speaks at trades is right to be silent while there is none."""
    verdict = by_trades(BEFORE, AFTER, (first_answer(500), answer(500)))

    assert verdict == Quiet(ASKED_S, "no trade since id 500")


@pytest.mark.parametrize("first_id", [NO_ID, 500, 5_000])
def test_trade_between_two_answers_is_stale(first_id: int) -> None:
    """A trade that the stream has not told of was missed, in whatever numbering it came."""
    assert isinstance(by_trades(BEFORE, AFTER, (first_answer(first_id), answer(501))), Stale)


def test_second_answer_older_than_the_first_is_unknown() -> None:
    """Answers from nodes that trail each other differently cannot be compared."""
    assert isinstance(by_trades(BEFORE, AFTER, (first_answer(500), answer(499))), Unknown)
    assert isinstance(by_trades(BEFORE, AFTER, (first_answer(500), answer(NO_ID))), Unknown)


def test_pushed_kinds_are_given_their_period() -> None:
    """A kline may be held back by the exchange itself for two seconds, on top of the flight."""
    answers = (first_answer(500), answer(501))

    assert isinstance(by_trades(BEFORE, AFTER, answers, push_s=push_s("kline_1m")), Unknown)
    later = sight(read_s=READ_S + push_s("kline_1m"))
    assert isinstance(by_trades(BEFORE, later, answers, push_s=push_s("kline_1m")), Stale)


def test_push_periods_are_the_exchanges() -> None:
    """All intervals of klines share a period; trades are pushed at once."""
    assert (push_s("kline_1h"), push_s("mini_ticker"), push_s("trade")) == (2.0, 1.0, 0.0)


def test_first_answer_must_be_younger_than_the_newest_message() -> None:
    """A trade in an answer of before the newest message may be the very one that it told of."""
    verdict = by_trades(BEFORE, AFTER, (first_answer(500, asked_s=LONG_AGO_S + 1), answer(501)))

    assert verdict == Unknown("the first answer may be older than the stream's newest message")


@pytest.mark.parametrize(
    ("first", "second", "after"),
    [
        (first_answer(None), answer(501), AFTER),
        (first_answer(500, is_outdated=True), answer(501), AFTER),
        (first_answer(500), answer(None), AFTER),
        (first_answer(500), answer(501, is_outdated=True), AFTER),
        (first_answer(500), answer(501), sight(messages=8)),
    ],
)
def test_unusable_answers_say_nothing(first: IdAnswer, second: IdAnswer, after: Sight) -> None:
    """A missing symbol, an outdated answer or a stream that moved leaves the question open."""
    assert isinstance(by_trades(BEFORE, after, (first, second)), Unknown)


# --- by the trade stream ---

PROVEN = Quiet(ASKED_S, "proven")


@pytest.mark.parametrize("trade_moved_s", [LONG_AGO_S - 20, LONG_AGO_S, LONG_AGO_S + 3])
def test_quiet_trade_stream_vouches_for_those_that_follow_it(trade_moved_s: float) -> None:
    """No trade since its newest message: there was nothing to say. Neighbouring ticks are one moment."""
    verdict = by_trade_stream(sight(), sight(moved_s=trade_moved_s), PROVEN)

    assert verdict == Quiet(ASKED_S, "no trade since its newest message: proven")


def test_trade_after_the_newest_message_is_stale() -> None:
    """The trade stream told of a trade that this stream has not told of in due time."""
    verdict = by_trade_stream(sight(), sight(moved_s=LONG_AGO_S + 10), PROVEN)

    assert verdict == Stale("the newest trade came 10 s after its newest message")


def test_trade_stream_that_is_counted_anew_has_told_of_no_trade() -> None:
    """Its shard was restarted after the kline's newest message: its count has moved, to nothing."""
    verdict = by_trade_stream(sight(), sight(moved_s=LONG_AGO_S + 10, messages=0), PROVEN)

    assert isinstance(verdict, Unknown)


def test_fresh_trade_is_waited_for() -> None:
    """A kline that follows a trade of a moment ago may be under way."""
    trade = sight(moved_s=READ_S - 3.0)

    assert isinstance(by_trade_stream(sight(), trade, PROVEN, push_s=2.0), Unknown)


@pytest.mark.parametrize("verdict", [Unknown("asked in vain"), Stale("behind")])
def test_trade_stream_that_is_not_proven_vouches_for_nobody(verdict: Verdict) -> None:
    """A mute trade stream would make every stream of its symbol look right."""
    assert isinstance(by_trade_stream(sight(), sight(), verdict), Unknown)


# --- by quotes ---

KNOWN = Quote("10.10", "5", "10.20", "7")
CHANGED = KNOWN._replace(bid_qty="4")


def quoted(quote: Quote | None, *, asked_s: float = ASKED_S) -> QuoteAnswer:
    return QuoteAnswer(asked_s, ANSWERED_S, quote)


@pytest.mark.parametrize("quote", [KNOWN, Quote("10.1000", "5.0", "10.2", "7.000")])
def test_unchanged_best_prices_are_quiet(quote: Quote) -> None:
    """The book ticker speaks when its four numbers change; zeros at their end are no change."""
    verdict = by_quotes(BEFORE, AFTER, KNOWN, quoted(quote))

    assert verdict == Quiet(ASKED_S, "the best prices are still 10.10 and 10.20")


def test_changed_best_prices_are_stale() -> None:
    """A changed quantity is as much a change as a changed price."""
    assert isinstance(by_quotes(BEFORE, AFTER, KNOWN, quoted(CHANGED)), Stale)


def test_changed_prices_in_flight_are_waited_for() -> None:
    """REST tells of the change before its message arrives."""
    assert isinstance(by_quotes(BEFORE, sight(read_s=READ_S - 0.1), KNOWN, quoted(CHANGED)), Unknown)


def test_prices_are_not_compared_right_after_a_message() -> None:
    """REST's memory trails the stream: its answer may be the state before our newest message."""
    spoke = sight(moved_s=ASKED_S - REST_LAG_S + 0.1)

    assert isinstance(by_quotes(spoke, spoke, KNOWN, quoted(CHANGED)), Unknown)


def test_book_ticker_that_moved_or_is_missing_is_not_judged() -> None:
    """Nothing is compared with a stream that speaks, or with an answer that does not."""
    assert isinstance(by_quotes(BEFORE, sight(messages=8), KNOWN, quoted(CHANGED)), Unknown)
    assert isinstance(by_quotes(BEFORE, AFTER, KNOWN, quoted(None)), Unknown)


# --- by siblings ---

THEN_S = 100.0
NOW_S = THEN_S + 5.0


@dataclass
class Symbol:
    """Two readings of one symbol's streams: the own one is silent since `LONG_AGO_S`."""

    then: dict[str, Sight]
    now: dict[str, Sight]

    def ask(self, kind: str) -> Verdict:
        return by_siblings(kind, self.then, self.now)


@pytest.mark.parametrize(
    ("kind", "sibling"), [("kline_1m", "trade"), ("trade", "agg_trade"), ("book_ticker", "trade")]
)
def test_sibling_whose_shard_has_begun_anew_has_not_spoken(kind: str, sibling: str) -> None:
    """Two kinds of a symbol may be in two shards: the restart of one makes the other no more suspect."""
    symbol = symbol_with(kind, {sibling: (THEN_S - 5.0, 0)})
    for view in (symbol.then, symbol.now):
        view[sibling] = view[sibling]._replace(messages=0, moved_s=THEN_S - 5.0)

    assert isinstance(symbol.ask(kind), Unknown)


def symbol_with(kind: str, siblings: Mapping[str, tuple[float, int]], *, now_s: float = NOW_S) -> Symbol:
    """`siblings`: when each was last seen to move by the first reading, and its messages since."""
    then = {kind: sight(read_s=THEN_S)}
    now = {kind: sight(read_s=now_s)}
    for sibling, (moved_s, messages) in siblings.items():
        then[sibling] = sight(read_s=THEN_S, moved_s=moved_s, messages=100)
        now[sibling] = sight(read_s=now_s, moved_s=now_s, messages=100 + messages)
    return Symbol(then, now)


@pytest.mark.parametrize(
    ("kind", "sibling"),
    [("trade", "agg_trade"), ("agg_trade", "trade"), ("kline_1m", "trade"), ("ticker", "agg_trade")],
)
def test_stream_whose_sibling_spoke_is_stale(kind: str, sibling: str) -> None:
    """What the sibling told of by the first reading must have been told here by the second."""
    verdict = symbol_with(kind, {sibling: (THEN_S - 10, 0)}).ask(kind)

    assert verdict == Stale(f"the {sibling} stream of its symbol speaks")


@pytest.mark.parametrize(("kind", "sibling"), [("book_ticker", "trade"), ("depth", "book_ticker")])
def test_book_is_stale_when_its_sibling_keeps_speaking(kind: str, sibling: str) -> None:
    """One trade may leave the best prices as they are; a run of them does not."""
    assert isinstance(symbol_with(kind, {sibling: (THEN_S - 10, 3)}).ask(kind), Stale)
    assert isinstance(symbol_with(kind, {sibling: (THEN_S - 10, 2)}).ask(kind), Unknown)
    assert isinstance(symbol_with(kind, {sibling: (LONG_AGO_S, 99)}).ask(kind), Unknown)


@pytest.mark.parametrize("moved_s", [LONG_AGO_S - 10, LONG_AGO_S, LONG_AGO_S + 3.0])
def test_sibling_that_spoke_at_the_same_moment_proves_nothing(moved_s: float) -> None:
    """Messages of one moment are seen in neighbouring ticks, and silent siblings may be mute as well."""
    assert isinstance(symbol_with("trade", {"agg_trade": (moved_s, 5)}).ask("trade"), Unknown)


def test_readings_too_close_leave_the_message_in_flight() -> None:
    """The sibling may have been the first to bring the news; klines are pushed later still."""
    close_s = THEN_S + IN_FLIGHT_S
    moved = {"trade": (THEN_S - 10, 5)}

    assert isinstance(symbol_with("agg_trade", moved, now_s=close_s - 0.1).ask("agg_trade"), Unknown)
    assert isinstance(symbol_with("agg_trade", moved, now_s=close_s).ask("agg_trade"), Stale)
    assert isinstance(symbol_with("kline_1m", moved, now_s=close_s).ask("kline_1m"), Unknown)


@pytest.mark.parametrize("kind", ["trade", "book_ticker", "avg_price"])
def test_stream_without_siblings_has_no_witness_here(kind: str) -> None:
    """Where nobody of the symbol can say, somebody else has to be asked."""
    assert symbol_with(kind, {}).ask(kind) == Unknown("no stream of its symbol can say")


def test_sibling_that_left_the_plan_is_no_soft_witness() -> None:
    """A stream that is only in the first reading cannot be said to keep speaking."""
    symbol = symbol_with("book_ticker", {"trade": (THEN_S - 10, 9)})
    del symbol.now["trade"]

    assert isinstance(symbol.ask("book_ticker"), Unknown)


def test_stream_that_spoke_between_the_readings_is_not_judged() -> None:
    """Its own message ends the question."""
    symbol = symbol_with("trade", {"agg_trade": (THEN_S - 10, 5)})
    symbol.now["trade"] = sight(read_s=NOW_S, messages=8)

    assert symbol.ask("trade") == Unknown("the stream has moved meanwhile")


# --- the sweep ---


def test_sweep_counts_what_is_missing_after_the_flight() -> None:
    """What arrived by the second reading was in flight; what did not is behind."""
    deficits = sweep_deficits(
        {"LEVEL": 10, "FLYING": 15, "BEHIND": 15, "AHEAD": 10},
        {"LEVEL": 10, "FLYING": 10, "BEHIND": 10, "AHEAD": 12},
        {"LEVEL": 10, "FLYING": 20, "BEHIND": 12, "AHEAD": 12},
    )

    assert deficits == {"LEVEL": 0, "FLYING": 0, "BEHIND": 3, "AHEAD": 0}


def test_sweep_leaves_out_what_cannot_be_compared() -> None:
    """No trade in 24 hours, no id of our own, not planned, gone meanwhile, or numbered anew meanwhile."""
    deficits = sweep_deficits(
        {"RARE": NO_ID, "NEW": 15, "UNPLANNED": 15, "GONE": 15, "RESET": 15},
        {"RARE": 10, "NEW": NO_ID, "GONE": 10, "RESET": 10},
        {"RARE": 10, "NEW": NO_ID, "RESET": 3},
    )

    assert deficits == {}


@given(
    positions=st.dictionaries(
        st.text(min_size=1, max_size=3),
        st.tuples(st.integers(0, 99), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    )
)
def test_sweep_is_exact(positions: dict[str, tuple[int, int, int, int]]) -> None:
    """Each deficit is what was published by the answer and is not there by the second reading."""
    before = {symbol: ours for symbol, (ours, _, _, _) in positions.items()}
    after = {symbol: ours + came for symbol, (ours, came, _, _) in positions.items()}
    rest = {symbol: ours + came + missed for symbol, (ours, came, missed, _) in positions.items()}

    assert sweep_deficits(rest, before, after) == {
        symbol: missed for symbol, (_, _, missed, _) in positions.items()
    }


BOARD_BEFORE = {"A": 1_000, "B": 2_000, "C": 3_000, "MUTE": 500, "NEW": NO_ID}
BOARD_AFTER = {"A": 1_010, "B": 2_010, "C": 3_010, "MUTE": 500, "NEW": 3}


def test_fresh_answer_is_not_outdated() -> None:
    """Moving streams find themselves at or beyond where they were when it was asked for."""
    rest = {"A": 1_005, "B": 2_000, "C": 3_005, "MUTE": 900, "NEW": 5}

    assert not is_outdated(rest, BOARD_BEFORE, BOARD_AFTER)


def test_cached_answer_is_outdated_however_new_it_looks_to_a_mute_stream() -> None:
    """Live streams were already further when it was asked for; the mute one has no vote."""
    rest = {"A": 990, "B": 1_990, "C": 3_001, "MUTE": 501}

    assert is_outdated(rest, BOARD_BEFORE, BOARD_AFTER)


def test_reset_numbering_is_not_taken_for_a_cache() -> None:
    """A fresh answer after a reset of all ids is one that counts."""
    rest = {"A": 1, "B": 2, "C": 3, "MUTE": 4}

    assert not is_outdated(rest, BOARD_BEFORE, BOARD_AFTER)


def test_answer_cannot_be_outdated_where_nothing_moves() -> None:
    """With every stream silent there is nothing to tell an old answer by."""
    assert not is_outdated({"A": 990, "B": NO_ID}, BOARD_BEFORE, BOARD_BEFORE)
