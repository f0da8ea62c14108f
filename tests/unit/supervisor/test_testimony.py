"""Who is heard for which kind: siblings first, then the best that REST can say."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.supervisor import testimony
from ingest.supervisor.testimony import Evidence
from ingest.supervisor.witness import (
    IN_FLIGHT_S,
    IdAnswer,
    Quiet,
    Quote,
    QuoteAnswer,
    Sight,
    Stale,
    Unknown,
)

THEN_S, ASKED_S, ANSWERED_S, NOW_S = 96.0, 100.0, 100.3, 103.5
LONG_AGO_S = 50.0
KINDS = ("trade", "agg_trade", "book_ticker", "depth", "kline_1m", "mini_ticker", "ticker", "avg_price")
QUOTE = Quote("1.0", "5", "1.1", "6")
OTHER_QUOTE = Quote("1.0", "5", "1.2", "6")


def sights(read_s: float, **moved_s: float) -> dict[str, Sight]:
    """Streams by kind, each at id 1000 and moved when it says; those that move have more messages."""
    return {
        kind: Sight(read_s, int(at_s) if at_s > LONG_AGO_S else 7, at_s, 1_000)
        for kind, at_s in moved_s.items()
    }


def evidence_of(*kinds: str, **more: object) -> Evidence:
    """All streams have been silent since `LONG_AGO_S`, and nobody has said anything."""
    moved_s = dict.fromkeys(kinds, LONG_AGO_S)
    evidence = Evidence(
        then=sights(THEN_S, **moved_s), asked=sights(ASKED_S, **moved_s), now=sights(NOW_S, **moved_s)
    )
    return replace(evidence, **more)  # type: ignore[arg-type]


def id_answer(last_id: int | None, *, asked_s: float = ASKED_S) -> IdAnswer:
    return IdAnswer(asked_s, asked_s + 0.3, last_id)


def quote_answer(quote: Quote | None, *, asked_s: float = ASKED_S) -> QuoteAnswer:
    return QuoteAnswer(asked_s, asked_s + 0.3, quote)


# --- before REST is heard ---


@pytest.mark.parametrize("gone", ["then", "now"])
def test_stream_that_was_not_seen_is_unknown(gone: str) -> None:
    """Without two readings of the stream itself there is nothing to judge."""
    assert testimony.testify("trade", evidence_of("trade", **{gone: {}})) == Unknown(
        "the stream was not seen"
    )


def test_speaking_sibling_is_heard_before_rest() -> None:
    """What a stream of the same symbol proves needs no answer from outside."""
    speaking = evidence_of("trade")
    speaking = replace(
        speaking,
        then=sights(THEN_S, trade=LONG_AGO_S, agg_trade=95.0),
        now=sights(NOW_S, trade=LONG_AGO_S, agg_trade=103.0),
        unanswered="REST is away",
    )

    assert testimony.testify("trade", speaking) == Stale("the agg_trade stream of its symbol speaks")


@pytest.mark.parametrize("kind", KINDS)
def test_rest_that_was_not_heard_is_the_reason(kind: str) -> None:
    """An exchange that does not answer makes nothing quiet and nothing stale."""
    evidence = evidence_of(kind, trades=id_answer(1_000), unanswered="REST could not be asked: banned")

    assert testimony.testify(kind, evidence) == Unknown("REST could not be asked: banned")


def test_stream_that_came_after_the_question_is_unknown() -> None:
    """What REST said before the stream was there says nothing of it."""
    evidence = evidence_of("trade", asked={}, trades=id_answer(1_001))

    assert testimony.testify("trade", evidence) == Unknown("no stream of its symbol can say")


@pytest.mark.parametrize("kind", KINDS)
def test_without_any_answer_nobody_can_say(kind: str) -> None:
    """No kind has a verdict from nothing."""
    assert isinstance(testimony.testify(kind, evidence_of(kind, "trade")), Unknown)


# --- trades ---


@pytest.mark.parametrize(
    ("last_id", "verdict"), [(1_000, Quiet), (1_001, Stale), (999, Unknown), (None, Unknown)]
)
def test_trade_stream_is_judged_by_the_newest_trade_id(last_id: int | None, verdict: type) -> None:
    """One id more at the exchange is enough, none is proof."""
    assert isinstance(testimony.testify("trade", evidence_of("trade", trades=id_answer(last_id))), verdict)


def test_trade_ids_that_began_anew_need_an_earlier_answer() -> None:
    """The newest of the earlier answers is what the numbering is compared with."""
    evidence = evidence_of("trade", trades=id_answer(9))

    assert isinstance(testimony.testify("trade", evidence), Unknown)
    rising = replace(evidence, earlier_trades=(id_answer(5, asked_s=60.0), id_answer(900, asked_s=1.0)))
    assert isinstance(testimony.testify("trade", rising), Stale)


# --- depth and best prices ---


@pytest.mark.parametrize(("last_id", "verdict"), [(1_000, Quiet), (1_001, Stale)])
def test_depth_is_judged_by_the_update_id(last_id: int, verdict: type) -> None:
    """A snapshot of the book says exactly where the deltas should be."""
    assert isinstance(testimony.testify("depth", evidence_of("depth", depth=id_answer(last_id))), verdict)


def test_depth_whose_snapshot_says_nothing_is_judged_by_the_best_prices() -> None:
    """An old snapshot leaves the word to what else was asked."""
    evidence = evidence_of(
        "depth",
        depth=id_answer(999),
        quotes=quote_answer(OTHER_QUOTE),
        earlier_quotes=(quote_answer(QUOTE, asked_s=60.0),),
    )

    assert isinstance(testimony.testify("depth", evidence), Stale)


def test_standing_best_prices_do_not_prove_depth_quiet() -> None:
    """The levels behind the best are not in the answer."""
    evidence = evidence_of(
        "depth", quotes=quote_answer(QUOTE), earlier_quotes=(quote_answer(QUOTE, asked_s=60.0),)
    )

    assert testimony.testify("depth", evidence) == Unknown(
        "the best prices stand; the levels behind them cannot be seen"
    )


@pytest.mark.parametrize(("quote", "verdict"), [(QUOTE, Quiet), (OTHER_QUOTE, Stale), (None, Unknown)])
def test_book_ticker_is_judged_by_the_best_prices(quote: Quote | None, verdict: type) -> None:
    """The same prices are quiet, others are stale."""
    evidence = evidence_of(
        "book_ticker", quotes=quote_answer(quote), earlier_quotes=(quote_answer(QUOTE, asked_s=60.0),)
    )

    assert isinstance(testimony.testify("book_ticker", evidence), verdict)


def test_best_prices_are_compared_with_the_first_answer_after_the_newest_message() -> None:
    """Later answers would hide what changed before them; earlier ones the stream has told of since."""
    earlier = (
        quote_answer(OTHER_QUOTE, asked_s=80.0),
        quote_answer(QUOTE, asked_s=60.0),
        quote_answer(OTHER_QUOTE, asked_s=LONG_AGO_S),
    )
    evidence = evidence_of("book_ticker", quotes=quote_answer(OTHER_QUOTE), earlier_quotes=earlier)

    assert isinstance(testimony.testify("book_ticker", evidence), Stale)


@pytest.mark.parametrize("earlier", [(), (quote_answer(QUOTE, asked_s=LONG_AGO_S + 1.9),)])
def test_best_prices_without_a_usable_earlier_answer_say_nothing(earlier: tuple[QuoteAnswer, ...]) -> None:
    """An answer that may be older than the stream's newest message is no measure."""
    evidence = evidence_of("book_ticker", quotes=quote_answer(OTHER_QUOTE), earlier_quotes=earlier)

    assert testimony.testify("book_ticker", evidence) == Unknown(
        "there is no earlier answer to compare the best prices with"
    )


# --- kinds that speak when there are trades ---


def test_candles_are_quiet_when_the_trade_stream_is_proven_quiet_since() -> None:
    """No trade since the newest candle: nothing to tell."""
    verdict = testimony.testify("kline_1m", evidence_of("kline_1m", "trade", trades=id_answer(1_000)))

    assert isinstance(verdict, Quiet)
    assert verdict.at_s == ASKED_S


def test_candles_are_judged_by_two_answers_when_the_trade_stream_cannot_say() -> None:
    """A trade between two answers should have made a candle, whoever else has missed it."""
    evidence = evidence_of(
        "kline_1m",
        "trade",
        trades=id_answer(1_005),
        earlier_trades=(id_answer(1_005, asked_s=80.0), id_answer(1_001, asked_s=60.0)),
    )
    evidence = replace(evidence, now={**evidence.now, "kline_1m": Sight(105.0, 7, LONG_AGO_S, -1)})

    assert testimony.testify("kline_1m", evidence) == Stale(
        "there were trades from id 1001 to 1005, and no message"
    )


def test_two_answers_with_the_same_id_are_proof() -> None:
    """For a symbol whose trades are not ingested the exchange's own count decides."""
    evidence = evidence_of("mini_ticker", trades=id_answer(5), earlier_trades=(id_answer(5, asked_s=60.0),))

    assert testimony.testify("mini_ticker", evidence) == Quiet(ASKED_S, "no trade since id 5")


@pytest.mark.parametrize("earlier", [(), (id_answer(4, asked_s=LONG_AGO_S + IN_FLIGHT_S + 0.9),)])
def test_answer_that_may_be_older_than_the_newest_message_is_not_used(earlier: tuple[IdAnswer, ...]) -> None:
    """The push of the kind and the flight of its message both lie before the first usable answer."""
    evidence = evidence_of("mini_ticker", trades=id_answer(5), earlier_trades=earlier)

    assert testimony.testify("mini_ticker", evidence) == Unknown(
        "every earlier answer may be older than the stream's newest message"
    )


def test_trade_stream_that_went_away_meanwhile_is_not_asked() -> None:
    """Its streams may be moved between two readings; what is left is judged without it."""
    evidence = evidence_of("kline_1m", "trade", trades=id_answer(5))
    now = {kind: sight for kind, sight in evidence.now.items() if kind != "trade"}

    assert isinstance(testimony.testify("kline_1m", replace(evidence, now=now)), Unknown)


# --- after a repair ---

SINCE_S = 70.0


@pytest.mark.parametrize("gone", ["then", "asked", "now"])
def test_repaired_stream_that_was_not_seen_is_unknown(gone: str) -> None:
    """All three readings are needed to say what happened since."""
    assert testimony.testify_since("trade", evidence_of("trade", **{gone: {}}), SINCE_S) == Unknown(
        "the stream was not seen"
    )


def test_what_was_missed_before_the_repair_is_not_held_against_it() -> None:
    """Its id stays behind for ever; that there was no trade since is what heals it."""
    evidence = evidence_of("trade", trades=id_answer(1_009), earlier_trades=(id_answer(1_009, asked_s=80.0),))

    assert isinstance(testimony.testify("trade", evidence), Stale)
    assert testimony.testify_since("trade", evidence, SINCE_S) == Quiet(ASKED_S, "no trade since id 1009")


def test_trade_since_the_repair_shows_that_it_was_in_vain() -> None:
    """Two answers of the time since, and the stream as silent as before."""
    evidence = evidence_of("trade", trades=id_answer(1_010), earlier_trades=(id_answer(1_009, asked_s=80.0),))

    assert isinstance(testimony.testify_since("trade", evidence, SINCE_S), Stale)


def test_answers_from_before_the_repair_say_nothing_of_it() -> None:
    """The first answer that counts is asked after the repair's messages would have come."""
    evidence = evidence_of("trade", trades=id_answer(1_010), earlier_trades=(id_answer(1_009, asked_s=71.0),))

    assert isinstance(testimony.testify_since("trade", evidence, SINCE_S), Unknown)


@pytest.mark.parametrize(
    ("kind", "quote", "verdict"),
    [
        ("book_ticker", QUOTE, Quiet),
        ("book_ticker", OTHER_QUOTE, Stale),
        ("depth", QUOTE, Quiet),
        ("depth", OTHER_QUOTE, Stale),
    ],
)
def test_best_prices_judge_the_time_since_a_repair(kind: str, quote: Quote, verdict: type) -> None:
    """For the book, too, standing prices are the best that can be had."""
    evidence = evidence_of(
        kind, quotes=quote_answer(quote), earlier_quotes=(quote_answer(QUOTE, asked_s=80.0),)
    )

    assert isinstance(testimony.testify_since(kind, evidence, SINCE_S), verdict)


def test_sibling_that_spoke_before_the_repair_is_no_witness_against_it() -> None:
    """Only what it says after the repair counts."""
    moved = {"trade": LONG_AGO_S, "agg_trade": 72.0}
    evidence = evidence_of("trade", "agg_trade")
    evidence = replace(evidence, then=sights(THEN_S, **moved), now=sights(NOW_S, **moved))

    assert isinstance(testimony.testify("trade", evidence), Stale)
    assert testimony.testify_since("trade", evidence, SINCE_S) == Unknown("no stream of its symbol can say")
    assert isinstance(testimony.testify_since("trade", evidence, 60.0), Stale)


def test_unheard_rest_says_nothing_of_a_repair() -> None:
    """Nor does an answer of before."""
    evidence = evidence_of("trade", trades=id_answer(1_010), unanswered="banned")

    assert testimony.testify_since("trade", evidence, SINCE_S) == Unknown("banned")


# --- whatever comes ---

IDS = st.one_of(st.none(), st.integers(-1, 5))
TIMES = st.sampled_from([20.0, 60.0, 90.0, ASKED_S])
READINGS = st.dictionaries(
    st.sampled_from(KINDS),
    st.builds(Sight, st.sampled_from([THEN_S, NOW_S]), st.integers(0, 3), TIMES, st.integers(-1, 5)),
)
QUOTES = st.sampled_from([None, QUOTE, OTHER_QUOTE])


@given(
    kind=st.sampled_from(KINDS),
    evidence=st.builds(
        Evidence,
        then=READINGS,
        asked=READINGS,
        now=READINGS,
        trades=st.one_of(st.none(), st.builds(id_answer, IDS)),
        earlier_trades=st.lists(st.builds(id_answer, IDS, asked_s=TIMES), max_size=2).map(tuple),
        quotes=st.one_of(st.none(), st.builds(quote_answer, QUOTES)),
        earlier_quotes=st.lists(
            st.builds(quote_answer, st.sampled_from([QUOTE, OTHER_QUOTE]), asked_s=TIMES)
        ).map(tuple),
        depth=st.one_of(st.none(), st.builds(id_answer, IDS)),
        unanswered=st.sampled_from(["", "away"]),
    ),
)
def test_every_evidence_has_a_verdict_that_no_later_time_is_claimed_for(
    kind: str, evidence: Evidence
) -> None:
    """Streams come and go between the readings, and a proof never reaches beyond the newest question."""
    for verdict in (testimony.testify(kind, evidence), testimony.testify_since(kind, evidence, 70.0)):
        assert isinstance(verdict, Quiet | Stale | Unknown)
        assert not isinstance(verdict, Quiet) or verdict.at_s <= ASKED_S
