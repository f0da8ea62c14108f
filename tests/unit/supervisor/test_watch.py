"""All streams together: who is asked about, which incidents there are, what is ordered, and when."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from ingest.board.layout import Diagnosis, StreamState
from ingest.events import StreamKey
from ingest.supervisor.ladder import Step
from ingest.supervisor.watch import (
    Action,
    AskWhetherHealed,
    AskWitness,
    Finding,
    IncidentClosed,
    IncidentOpened,
    IncidentStep,
    OrderReplaceFeed,
    OrderRestartShard,
    OrderResubscribe,
)
from ingest.supervisor.witness import Quiet, Stale, Unknown
from tests.unit.supervisor.stage import (
    LIMITS,
    NOTHING_KNOWN,
    STALE,
    THRESHOLD_S,
    UNKNOWN,
    Stage,
    a_key,
    a_reading,
    asked,
    closed,
    opened,
    orders,
)

BTC, ETH, SOL, XRP = (a_key(f"{coin}USDT") for coin in ("BTC", "ETH", "SOL", "XRP"))
BTC_BOOK, ETH_BOOK = a_key("BTCUSDT", "book_ticker"), a_key("ETHUSDT", "book_ticker")
ADA, BNB, DOT = (a_key(f"{coin}USDT") for coin in ("ADA", "BNB", "DOT"))
THE_FEED = dict.fromkeys((BTC, BTC_BOOK, ETH, ETH_BOOK), (0, 0))
OTHER_FEED = dict.fromkeys((SOL, XRP), (0, 1))
OTHER_SHARD = dict.fromkeys((ADA, BNB, DOT), (1, 2))
ALL = {**THE_FEED, **OTHER_FEED, **OTHER_SHARD}
SUSPECT_AFTER_S = 6
WELL_S = int(LIMITS.start_s)
"""After which a shard's process is new no more."""


def a_stage(*, finding: Finding = NOTHING_KNOWN, **limits: float) -> Stage:
    return Stage(
        ALL,
        limits=replace(LIMITS, **limits),  # type: ignore[arg-type]
        finding=finding,
    )


def steps(actions: Iterable[Action]) -> list[Step]:
    return [action.repair.step for action in actions if isinstance(action, IncidentStep)]


def steps_by_second(stage: Stage, seconds: int) -> list[tuple[int, list[Action]]]:
    """At which second from now something was ordered or begun, and what was ordered."""
    found = []
    for second in range(1, seconds + 1):
        actions = stage.pass_s()
        if any(isinstance(action, IncidentStep) for action in actions):
            found.append((second, orders(actions)))
    return found


# ---------------------------------------------------------------------- asking


def test_streams_that_speak_are_live_and_nothing_is_done() -> None:
    """A service that is well gives no work."""
    stage = a_stage()

    assert stage.pass_s(100) == []
    assert stage.states(ALL) == {StreamState.LIVE}


def test_witness_is_asked_of_all_new_suspects_together() -> None:
    """A thousand silent streams are one question."""
    stage = a_stage()
    stage.mute(BTC, SOL)
    actions = stage.pass_s(SUSPECT_AFTER_S)

    assert [set(keys) for keys in asked(actions)] == [{BTC, SOL}]
    assert orders(actions) == []


def test_witness_is_asked_again_while_nothing_is_known() -> None:
    """Every few seconds, until there is a verdict or the time for one is up."""
    stage = a_stage(witness_s=100.0)
    stage.mute(BTC)
    stage.pass_s(SUSPECT_AFTER_S)
    times = []
    for _ in range(6):
        stage.watch.verdict(BTC, UNKNOWN, stage.now_s)
        times.append(bool(asked(stage.pass_s())))

    assert times == [False, True] * 3
    assert stage.state(BTC) is StreamState.SUSPECT


def test_quiet_stream_is_asked_about_again_when_its_proof_is_old() -> None:
    """Nothing is done about it as long as it is proven again and again."""
    stage = a_stage()
    stage.mute(BTC)
    done, questions = [], 0
    for _ in range(100):
        actions = stage.pass_s()
        questions += len(asked(actions))
        done += [action for action in actions if not isinstance(action, AskWitness)]
        stage.find_quiet(*(key for keys in asked(actions) for key in keys))

    assert done == []
    assert questions == 95 // SUSPECT_AFTER_S + 1


def test_proofs_that_come_late_do_not_make_a_storm_of_questions() -> None:
    """A proof that is already older than the threshold is followed by a question in its time only."""
    stage = Stage(ALL, thresholds_s={BTC: 1.0})
    stage.mute(BTC)
    questions = 0
    for _ in range(100):
        questions += len(asked(stage.pass_s()))
        stage.watch.verdict(BTC, Quiet(stage.now_s - 1.5, "no trade"), stage.now_s)

    assert questions <= 100 / LIMITS.ask_again_s + 1


def test_new_silence_is_asked_about_at_once() -> None:
    """However shortly ago the former one was."""
    stage = Stage(ALL, limits=replace(LIMITS, ask_again_s=1_000.0))
    stage.mute(BTC)
    stage.pass_s(SUSPECT_AFTER_S)
    stage.speaking.add(BTC)
    stage.pass_s()
    stage.mute(BTC)

    assert asked(stage.pass_s(SUSPECT_AFTER_S)) == [(BTC,)]


@pytest.mark.parametrize("verdict", [STALE, Quiet(100.0, "no trade"), UNKNOWN])
def test_verdict_on_an_unknown_stream_is_passed_over(verdict: object) -> None:
    """It may have left the plan while the witness was asked."""
    stage = a_stage()
    stage.watch.verdict(a_key("GONEUSDT"), verdict, stage.now_s)  # type: ignore[arg-type]

    assert stage.pass_s() == []
    assert set(stage.watch.streams) == set(ALL)


def test_verdict_on_a_stream_that_has_spoken_is_passed_over() -> None:
    """It was about a silence that is over."""
    stage = a_stage()
    stage.mute(BTC)
    stage.pass_s(SUSPECT_AFTER_S)
    stage.speaking.add(BTC)
    stage.pass_s()
    stage.find_stale(BTC)

    assert stage.pass_s(20) == []


def test_stream_that_speaks_right_after_it_was_found_stale_is_not_repaired() -> None:
    """The verdict takes effect with the next tick, and the message comes first."""
    stage = a_stage()
    stage.mute(BTC)
    stage.pass_s(SUSPECT_AFTER_S)
    stage.find_stale(BTC)
    stage.speaking.add(BTC)

    assert stage.pass_s(5) == []
    assert stage.state(BTC) is StreamState.LIVE


# ---------------------------------------------------------------------- incidents and groups


def test_one_mute_stream_is_one_incident_that_begins_with_a_subscription() -> None:
    """Its feed speaks, so nothing else is disturbed."""
    stage = a_stage(finding=Finding(Diagnosis.STREAM_SILENT, "others of its feed speak"))
    actions = stage.make_stale(BTC)

    (repair,) = opened(actions)
    assert (repair.shard, repair.feed, repair.keys) == (0, 0, {BTC})
    assert repair.evidence == f"others of its feed speak; {STALE.evidence}"
    assert orders(actions) == [OrderResubscribe(0, (BTC,))]
    assert stage.asked_of == [(0, 0, False)]
    assert stage.stream(BTC).diagnosis is Diagnosis.STREAM_SILENT


def test_incident_without_a_diagnosis_has_the_streams_own_evidence() -> None:
    """What the witness said is enough to act on."""
    (repair,) = opened(a_stage().make_stale(BTC))

    assert (repair.diagnosis, repair.evidence) == (Diagnosis.NONE, STALE.evidence)


def test_one_kind_mute_on_one_feed_is_one_incident() -> None:
    """The streams that were found stale together are resubscribed together."""
    actions = a_stage().make_stale(BTC_BOOK, ETH_BOOK)

    assert [repair.keys for repair in opened(actions)] == [{BTC_BOOK, ETH_BOOK}]
    assert orders(actions) == [OrderResubscribe(0, (BTC_BOOK, ETH_BOOK))]


def test_streams_found_stale_a_little_later_join_the_incident_of_their_feed() -> None:
    """They have other thresholds and the same trouble; the step's time goes on."""
    stage = Stage(ALL, thresholds_s={ETH_BOOK: 6.0})
    stage.mute(ETH_BOOK)
    (repair,) = opened(stage.make_stale(BTC_BOOK))
    until_s = repair.step_until_s
    stage.find_stale(ETH_BOOK)
    actions = stage.pass_s()

    assert opened(actions) == []
    assert actions == [OrderResubscribe(0, (ETH_BOOK,)), IncidentStep(repair)]
    assert repair.affected == {BTC_BOOK, ETH_BOOK}
    assert repair.step_until_s == until_s
    assert repair.story[-1].what == "streams joined: 1"


def test_streams_that_join_while_their_feed_is_replaced_wait_for_that() -> None:
    """One new feed is enough for all of them."""
    stage = a_stage()
    stage.mute(*THE_FEED)
    stage.pass_s(SUSPECT_AFTER_S)
    stage.find_stale(BTC)
    stage.pass_s()
    stage.find_stale(ETH)
    actions = stage.pass_s()

    assert (opened(actions), orders(actions)) == ([], [])
    assert len(stage.watch.repairs) == 1


def test_streams_do_not_join_an_incident_that_nobody_could_solve() -> None:
    """A stream that is mute for days must not keep others from their own repair."""
    stage = a_stage()
    (old,) = opened(stage.make_stale(BTC))
    stage.pass_s(11)
    assert old.step is Step.ALERT
    (new,) = opened(stage.make_stale(ETH))

    assert (old.keys, new.keys) == ({BTC}, {ETH})
    assert new.step is Step.RESUBSCRIBE


def test_two_feeds_are_two_incidents() -> None:
    """Each has its own cause and its own ladder."""
    actions = a_stage().make_stale(BTC, SOL)

    assert [(repair.feed, repair.keys) for repair in opened(actions)] == [(0, {BTC}), (1, {SOL})]
    assert orders(actions) == [OrderResubscribe(0, (BTC,)), OrderResubscribe(0, (SOL,))]


def test_silent_feed_is_one_incident_that_begins_with_a_new_feed() -> None:
    """Subscriptions on a connection that says nothing would be a waste of time."""
    stage = a_stage()
    actions = stage.make_stale(*THE_FEED)

    (repair,) = opened(actions)
    assert repair.keys == set(THE_FEED)
    names = "spot:BTCUSDT:book_ticker, spot:BTCUSDT:trade, spot:ETHUSDT:book_ticker and 1 more"
    assert orders(actions) == [OrderReplaceFeed(0, 0, f"none: {names}")]
    assert stage.asked_of == [(0, 0, True)]


def test_feed_with_a_halted_stream_is_silent_all_the_same() -> None:
    """A symbol that does not trade is no sign of life."""
    stage = a_stage()
    stage.mute(ETH)
    stage.change(ETH, is_halted=True)
    (repair,) = opened(stage.make_stale(BTC, BTC_BOOK, ETH_BOOK))

    assert repair.step is Step.REPLACE_FEED


def test_feed_with_an_unsolved_incident_is_silent_all_the_same() -> None:
    """What was tried for one stream does not count as another's message."""
    stage = a_stage()
    stage.make_stale(BTC)
    stage.pass_s(23)
    (repair,) = opened(stage.make_stale(BTC_BOOK, ETH, ETH_BOOK))

    assert repair.step is Step.REPLACE_FEED


def test_only_stream_of_a_feed_is_its_feed() -> None:
    """When it is silent so is the feed, and a new one disturbs nobody."""
    stage = Stage({BTC: (0, 0), SOL: (0, 1)})
    (repair,) = opened(stage.make_stale(BTC))

    assert repair.step is Step.REPLACE_FEED


@pytest.mark.parametrize(
    ("silent_s", "is_silent"), [(0, False), (SUSPECT_AFTER_S - 1, False), (SUSPECT_AFTER_S, True)]
)
def test_feed_is_silent_when_its_streams_are(silent_s: int, is_silent: bool) -> None:
    """As soon as one is past its threshold and none has spoken for half of that."""
    stage = a_stage()
    stage.mute(*THE_FEED)
    stage.pass_s(silent_s)

    assert stage.watch.feed_is_silent(0, 0, stage.now_s) is is_silent
    assert not stage.watch.feed_is_silent(0, 1, stage.now_s)


@pytest.mark.parametrize(("silent_s", "hushed"), [(0, []), (2, []), (3, [(0, 0)])])
def test_feed_is_hushed_before_its_streams_are_suspect(silent_s: int, hushed: list[tuple[int, int]]) -> None:
    """Nothing on it has spoken for half of the shortest threshold; known at each tick, whoever asks first."""
    stage = a_stage()
    stage.mute(*THE_FEED)
    stage.pass_s(silent_s)

    assert stage.watch.hushed_feeds(stage.now_s) == hushed
    assert not stage.watch.feed_is_silent(0, 0, stage.now_s)


def test_feed_that_nobody_knows_is_not_silent() -> None:
    """There is nothing to be said of it."""
    assert not a_stage().watch.feed_is_silent(7, 7, 100.0)


def test_incident_is_closed_with_its_last_stream() -> None:
    """Not before, and once."""
    stage = a_stage()
    (repair,) = opened(stage.make_stale(BTC, ETH))
    stage.speaking.add(BTC)
    assert closed(stage.pass_s()) == []
    stage.speaking.add(ETH)

    assert closed(stage.pass_s(50)) == [IncidentClosed(repair, 2.0)]
    assert not repair.keys
    assert repair.affected == {BTC, ETH}
    assert stage.watch.repairs == {}


def test_incident_is_closed_when_its_stream_is_watched_no_more() -> None:
    """A symbol that has left the plan is nobody's trouble."""
    stage = a_stage()
    (repair,) = opened(stage.make_stale(BTC))
    del stage.readings[BTC]

    assert stage.pass_s(50) == [IncidentClosed(repair, 1.0)]
    assert BTC not in stage.watch.streams


def test_incident_goes_on_when_one_of_its_streams_is_watched_no_more() -> None:
    """The others are still silent."""
    stage = a_stage()
    stage.make_stale(BTC, ETH)
    del stage.readings[BTC]
    actions = stage.pass_s(5)

    assert closed(actions) == []
    assert orders(actions) == [OrderReplaceFeed(0, 0, "none: spot:ETHUSDT:trade")]


def test_incident_is_closed_when_its_stream_is_halted() -> None:
    """The exchange has told why it is silent."""
    stage = a_stage()
    (repair,) = opened(stage.make_stale(BTC))
    stage.change(BTC, is_halted=True)

    assert stage.pass_s(50) == [IncidentClosed(repair, 1.0)]
    assert stage.state(BTC) is StreamState.HALTED


def test_stream_that_was_halted_is_watched_again() -> None:
    """From its return on, as if it had just been subscribed."""
    stage = a_stage()
    stage.mute(BTC)
    stage.change(BTC, is_halted=True)
    assert stage.pass_s(100) == []
    stage.change(BTC, is_halted=False)

    assert asked(stage.pass_s(SUSPECT_AFTER_S)) == [(BTC,)]


def test_stream_that_comes_back_to_the_plan_begins_anew() -> None:
    """It is a new one, with the rhythm that was recorded."""
    stage = a_stage()
    reading = stage.readings.pop(BTC)
    stage.pass_s(100)
    stage.mute(BTC)
    stage.readings[BTC] = reading._replace(news=0)
    stage.pass_s()

    assert stage.state(BTC) is StreamState.STARTING


# ---------------------------------------------------------------------- the ladder


def test_ladder_for_one_stream_of_a_shard_never_restarts_it() -> None:
    """Resubscribe, new feed, alert; then a new feed again and again, ever more rarely."""
    stage = a_stage()
    stage.make_stale(BTC)
    replace_feed = [OrderReplaceFeed(0, 0, "none: spot:BTCUSDT:trade")]

    assert steps_by_second(stage, 150) == [
        (5, replace_feed),
        (11, []),
        (31, replace_feed),
        (37, []),
        (77, replace_feed),
        (83, []),
        (143, replace_feed),
        (149, []),
    ]


def test_ladder_restarts_a_shard_of_which_most_is_stale() -> None:
    """Once, after a new feed has not helped, and once only however many feeds it has."""
    stage = a_stage()
    stage.pass_s(WELL_S)
    actions = stage.make_stale(*THE_FEED, *OTHER_FEED)
    names = "none: spot:BTCUSDT:book_ticker, spot:BTCUSDT:trade, spot:ETHUSDT:book_ticker and 1 more"
    both = [
        OrderReplaceFeed(0, 0, names),
        OrderReplaceFeed(0, 1, "none: spot:SOLUSDT:trade, spot:XRPUSDT:trade"),
    ]

    assert orders(actions) == both
    assert steps_by_second(stage, 70) == [
        (6, [OrderRestartShard(0, "none")]),
        (16, []),
        (36, both),
        (42, []),
    ]


def test_shard_that_is_still_starting_is_not_restarted() -> None:
    """Its restart is the one that the step asks for, whoever has ordered it: it gets the step's time."""
    stage = a_stage()
    stage.pass_s(WELL_S)
    (repair, _) = opened(stage.make_stale(*THE_FEED, *OTHER_FEED))
    for key in stage.readings:
        stage.change(key, epoch=(0, 0), is_up=False, news=0)  # it ended by itself, and has no board yet
    stage.pass_s(5)
    for key in stage.readings:
        stage.change(key, epoch=(2, 0))

    actions = stage.pass_s(1)
    assert steps(actions) == [Step.RESTART_SHARD, Step.RESTART_SHARD]
    assert orders(actions + stage.pass_s(10)) == []
    assert repair.step is Step.ALERT


def test_shard_that_has_given_streams_to_another_is_restarted_all_the_same() -> None:
    """Streams that are new to it do not make a process new."""
    stage = a_stage()
    stage.pass_s(WELL_S)
    stage.change(SOL, XRP, shard=1, epoch=(7, 0))
    stage.pass_s(WELL_S - 5)
    stage.change(SOL, XRP, shard=0, epoch=(1, 0))
    stage.make_stale(*THE_FEED, *OTHER_FEED)

    assert OrderRestartShard(0, "none") in orders(stage.pass_s(10))


@pytest.mark.parametrize(("stale", "is_restarted"), [((BTC,), False), ((BTC, BTC_BOOK, ETH, ETH_BOOK), True)])
def test_shard_is_restarted_only_when_most_of_it_is_stale(
    stale: tuple[StreamKey, ...], is_restarted: bool
) -> None:
    """Of the streams that ought to speak: a halted one is not counted."""
    stage = a_stage()
    stage.pass_s(WELL_S)
    stage.mute(SOL, XRP)
    stage.change(SOL, XRP, is_halted=True)
    stage.make_stale(*stale)

    assert any(isinstance(order, OrderRestartShard) for order in orders(stage.pass_s(20))) is is_restarted


def test_feed_that_is_just_replaced_is_not_replaced_again() -> None:
    """Two incidents of one feed order one new feed, and each goes on in its own time."""
    stage = a_stage()
    (old,) = opened(stage.make_stale(BTC))
    stage.pass_s(18)
    (new,) = opened(stage.make_stale(ETH))
    second_s, ordered = 0, []
    while old.step is not Step.REPLACE_FEED or new.step is not Step.REPLACE_FEED:
        second_s += 1
        ordered += orders(stage.pass_s())

    assert second_s == 6
    assert [type(order) for order in ordered] == [OrderReplaceFeed]


def test_feed_without_a_number_is_not_ordered_to_be_replaced() -> None:
    """The shard's board is away; its streams are one incident, and the ladder climbs past that step."""
    stage = a_stage()
    stage.take_away(*THE_FEED, *OTHER_FEED)
    stage.change(*THE_FEED, *OTHER_FEED, feed=-1, news=0, epoch=(0, 0))
    assert opened(stage.pass_s(int(LIMITS.start_s) - 2)) == []
    actions = stage.pass_s(5)

    assert [(repair.feed, len(repair.keys)) for repair in opened(actions)] == [(-1, 6)]
    assert orders(actions) == []
    assert steps(actions) == [Step.REPLACE_FEED]
    assert orders(stage.pass_s(6)) == [OrderRestartShard(0, "none")]


def test_orders_go_to_where_the_streams_are_now() -> None:
    """Streams that were given to another shard are repaired there."""
    stage = a_stage()
    stage.make_stale(BTC)
    stage.change(BTC, shard=1, feed=9, epoch=(2, 0))

    assert orders(stage.pass_s(6)) == [OrderReplaceFeed(1, 9, "none: spot:BTCUSDT:trade")]


def test_stale_stream_of_a_restarted_shard_stays_stale_until_it_speaks() -> None:
    """Counts of the new process are no life, and the ladder goes on."""
    stage = a_stage()
    (repair,) = opened(stage.make_stale(BTC))
    stage.change(BTC, epoch=(2, 0), news=1_000)
    assert closed(stage.pass_s(2)) == []
    stage.speaking.add(BTC)

    assert closed(stage.pass_s()) == [IncidentClosed(repair, 3.0)]


# ---------------------------------------------------------------------- feeds that are away


def test_feed_that_is_away_for_a_moment_is_no_incident() -> None:
    """It dials by itself."""
    stage = a_stage()
    stage.take_away(*THE_FEED)
    assert stage.pass_s(4) == []
    assert stage.states(THE_FEED) == {StreamState.RECOVERING}
    stage.bring_back(*THE_FEED)
    stage.speaking.update(THE_FEED)

    assert stage.pass_s(20) == []
    assert stage.states(THE_FEED) == {StreamState.LIVE}


def test_feed_that_is_away_past_the_threshold_is_one_incident() -> None:
    """Until its streams speak again; being back is not enough."""
    stage = a_stage()
    stage.take_away(*THE_FEED)
    actions = stage.pass_s(SUSPECT_AFTER_S)
    (repair,) = opened(actions)
    assert stage.states(THE_FEED) == {StreamState.STALE}
    assert steps(actions) == [Step.REPLACE_FEED]
    stage.bring_back(*THE_FEED)
    assert closed(stage.pass_s(2)) == []
    stage.speaking.update(THE_FEED)

    assert closed(stage.pass_s()) == [IncidentClosed(repair, 3.0)]


def test_feed_that_is_away_is_never_resubscribed() -> None:
    """Though others of it have spoken a moment ago, there is nothing to subscribe on."""
    stage = Stage(ALL, thresholds_s={BTC: 1.0})
    stage.mute(BTC)
    stage.pass_s()
    stage.take_away(*THE_FEED)
    actions = stage.pass_s(1)

    assert orders(actions) == [OrderReplaceFeed(0, 0, "none: spot:BTCUSDT:trade")]


# ---------------------------------------------------------------------- nothing speaks anywhere


def standing_still(stage: Stage) -> list[Action]:
    stage.mute(*ALL)
    return stage.pass_s(11)


def test_standstill_is_one_incident_and_no_repair() -> None:
    """For as long as it lasts, while the witness cannot say, and whatever time has passed."""
    stage = a_stage()
    actions = standing_still(stage) + stage.pass_s(600)

    (repair,) = opened(actions)
    assert stage.watch.standstill is repair
    assert (repair.diagnosis, repair.step) == (Diagnosis.EXCHANGE_DOWN, Step.ALERT)
    assert not [action for action in actions if not isinstance(action, AskWitness | IncidentOpened)]
    assert stage.states(ALL) == {StreamState.SUSPECT}


WEDGED = Finding(Diagnosis.SHARD_WEDGED, "the shard's event loop has not turned for 9 s")


def test_shard_that_is_wedged_while_few_others_may_be_silent_is_no_standstill() -> None:
    """Most of what is silent is our own doing; the rest is too little to say anything of the exchange."""
    stage = a_stage(standstill_least=4)
    stage.findings[0] = WEDGED
    stage.take_away(*THE_FEED, *OTHER_FEED)
    stage.mute(*OTHER_SHARD)
    stage.pass_s(40)

    assert stage.watch.standstill is None


def test_shard_that_is_wedged_during_a_standstill_changes_nothing() -> None:
    """The others still say that the exchange stands; when it goes on, nobody is repaired in haste."""
    stage = a_stage()
    actions = standing_still(stage)
    stage.findings[0] = WEDGED
    stage.take_away(*THE_FEED, *OTHER_FEED)
    actions += stage.pass_s(600)
    assert [repair.diagnosis for repair in opened(actions)] == [Diagnosis.EXCHANGE_DOWN]

    del stage.findings[0]  # its new process
    stage.change(*THE_FEED, *OTHER_FEED, epoch=(2, 0), is_up=True)
    actions = stage.pass_s(3)
    stage.speaking.update(ALL)
    actions += stage.pass_s(30)
    assert (orders(actions), opened(actions), len(closed(actions))) == ([], [], 1)
    assert stage.states(ALL) == {StreamState.LIVE}


def test_standstill_with_a_witness_is_one_incident_too() -> None:
    """Every stream is proven quiet, again and again."""
    stage = a_stage()
    actions = standing_still(stage)
    for _ in range(100):
        stage.find_quiet(*ALL)
        actions += stage.pass_s()

    assert len(opened(actions)) == 1
    assert (orders(actions), closed(actions)) == ([], [])


def test_standstill_is_over_when_anything_speaks() -> None:
    """The others have their time to speak, too, before anything is done about them."""
    stage = a_stage()
    standing_still(stage)
    stage.pass_s(600)
    repair = stage.watch.standstill
    assert repair is not None
    stage.speaking.add(BTC)
    actions = stage.pass_s(4)
    stage.speaking.update(ALL)
    actions += stage.pass_s(50)

    assert closed(actions) == [IncidentClosed(repair, 601.0)]
    assert (opened(actions), orders(actions)) == ([], [])
    assert stage.watch.standstill is None


def test_streams_that_stay_silent_after_a_standstill_are_repaired() -> None:
    """When they have had their time and no witness could say."""
    stage = a_stage()
    standing_still(stage)
    stage.pass_s(600)
    stage.speaking.update(set(ALL) - {SOL})
    assert opened(stage.pass_s(5)) == []

    assert [repair.keys for repair in opened(stage.pass_s())] == [{SOL}]


def test_standstill_is_over_when_something_is_missed() -> None:
    """The exchange moves, so the silence is ours: the stream is repaired."""
    stage = a_stage()
    standing_still(stage)
    repair = stage.watch.standstill
    assert repair is not None
    stage.find_stale(BTC)
    actions = stage.pass_s()

    assert closed(actions) == [IncidentClosed(repair, 1.0)]
    assert [each.keys for each in opened(actions)] == [{BTC}]
    assert stage.watch.standstill is None


def test_nothing_stands_still_while_something_is_missed() -> None:
    """Evidence from within the silence says that it is ours, and all are repaired."""
    stage = a_stage()
    stage.mute(*ALL)
    stage.pass_s(SUSPECT_AFTER_S)
    stage.find_stale(BTC)
    actions = stage.pass_s(30)

    assert Diagnosis.EXCHANGE_DOWN not in {repair.diagnosis for repair in opened(actions)}
    assert {key for repair in opened(actions) for key in repair.affected} == set(ALL)


def test_evidence_of_before_says_nothing_of_a_standstill() -> None:
    """A stream that nobody can repair does not turn a standstill into repairs of everything."""
    stage = a_stage()
    stage.make_stale(BTC)
    stage.pass_s(10)
    actions = standing_still(stage)

    assert [repair.diagnosis for repair in opened(actions)] == [Diagnosis.EXCHANGE_DOWN]


def test_steps_pause_during_a_standstill() -> None:
    """And get their time anew when it is over, so that nothing is restarted for what has just come back."""
    stage = a_stage()
    (repair,) = opened(stage.make_stale(BTC))
    stage.pass_s(4)
    standing_still(stage)
    step = repair.step
    assert orders(stage.pass_s(600)) == []
    stage.speaking.update(set(ALL) - {BTC})

    assert orders(stage.pass_s(6)) == []
    assert repair.step is step
    stage.pass_s(1)
    assert repair.step is not step


def test_standstill_of_connections_is_a_standstill() -> None:
    """All feeds are away at once: they dial by themselves, and one incident is enough."""
    stage = a_stage()
    stage.take_away(*ALL)
    actions = stage.pass_s(100)
    stage.bring_back(*ALL)
    stage.speaking.update(ALL)
    actions += stage.pass_s(20)

    assert [repair.diagnosis for repair in opened(actions)] == [Diagnosis.EXCHANGE_DOWN]
    assert orders(actions) == []
    assert len(closed(actions)) == 1


def test_feeds_that_come_back_one_by_one_are_not_repaired() -> None:
    """The first that speaks ends the standstill, and the others may dial once more."""
    stage = a_stage()
    stage.take_away(*ALL)
    stage.pass_s(100)
    stage.bring_back(*THE_FEED)
    stage.speaking.update(THE_FEED)
    actions = stage.pass_s(4)
    stage.bring_back(*OTHER_FEED, *OTHER_SHARD)
    stage.speaking.update(ALL)

    assert opened(actions + stage.pass_s(20)) == []


@pytest.mark.parametrize("diagnosis", [Diagnosis.SHARD_WEDGED, Diagnosis.CONSUMER_LAG])
def test_silence_of_our_own_doing_is_no_standstill(diagnosis: Diagnosis) -> None:
    """When the only shard stands, nothing speaks either: that is not laid at the exchange's door."""
    stage = a_stage(finding=Finding(diagnosis, "its heartbeat stands"))
    stage.take_away(*ALL)
    actions = stage.pass_s(12)

    assert stage.watch.standstill is None
    # A wedged shard has an incident of its own, which speaks for its streams.
    has_own = diagnosis is Diagnosis.SHARD_WEDGED
    assert {repair.diagnosis for repair in opened(actions)} == (set() if has_own else {diagnosis})
    assert stage.watch.standstill is None


def test_too_few_silent_streams_are_no_standstill() -> None:
    """A service of two streams has no one to compare with: they are repaired for want of a witness."""
    stage = Stage({BTC: (0, 0), ETH: (0, 0)})
    stage.mute(BTC, ETH)
    actions = stage.pass_s(12)

    assert [repair.keys for repair in opened(actions)] == [{BTC, ETH}]
    assert stage.watch.standstill is None


def test_few_fast_streams_among_slow_ones_are_not_forgotten() -> None:
    """Nothing speaks, but most need not yet: the fast ones are repaired for want of a witness."""
    stage = Stage(
        ALL, thresholds_s=dict.fromkeys((ETH, BTC_BOOK, ETH_BOOK, *OTHER_FEED, *OTHER_SHARD), 3_600.0)
    )
    stage.mute(*ALL)

    assert [repair.keys for repair in opened(stage.pass_s(12))] == [{BTC}]


def test_standstill_is_over_when_there_are_no_streams() -> None:
    """An empty plan misses nothing."""
    stage = a_stage()
    standing_still(stage)
    stage.readings = {}

    assert len(closed(stage.pass_s(20))) == 1


def test_service_that_starts_in_a_standstill_says_so() -> None:
    """Streams that never spoke are silent like others."""
    stage = a_stage()
    stage.readings = {}
    stage.pass_s()
    stage.readings = {key: a_reading(shard=place[0], feed=place[1]) for key, place in ALL.items()}
    stage.mute(*ALL)

    assert opened(stage.pass_s(10)) == []
    assert [repair.diagnosis for repair in opened(stage.pass_s(2))] == [Diagnosis.EXCHANGE_DOWN]


def test_other_incidents_are_numbered_with_these() -> None:
    """What the shell opens for itself is not confused with what is opened here."""
    stage = a_stage()
    mine = stage.watch.new_incident(1, Diagnosis.SHARD_WEDGED, "its loop has stood for 6 s", stage.now_s)
    (repair,) = opened(stage.make_stale(BTC))

    assert (mine.shard, mine.feed, mine.step, mine.keys) == (1, -1, Step.ALERT, set())
    assert repair.number > mine.number


# ---------------------------------------------------------------------- rare streams


def a_rare_stream_under_repair() -> Stage:
    """BTC's trades come about once in a minute; they were found stale and have been resubscribed."""
    stage = Stage(ALL, limits=LIMITS, thresholds_s={BTC: 60.0})
    stage.mute(BTC)
    stage.pass_s(61)
    stage.find_stale(BTC)
    stage.pass_s()
    return stage


def test_rare_stream_is_asked_about_instead_of_climbing() -> None:
    """That it has not spoken three seconds after its repair says nothing, so the witness is asked."""
    stage = a_rare_stream_under_repair()
    began_s = stage.now_s

    actions = stage.pass_s(5)

    assert [action.since_s for action in actions if isinstance(action, AskWhetherHealed)] == [
        {BTC: began_s},
        {BTC: began_s},
    ]
    assert orders(actions) == []


def test_rare_stream_that_is_proven_healed_leaves_its_incident() -> None:
    """Nothing was missed since the step: quiet, and the incident is over."""
    stage = a_rare_stream_under_repair()
    stage.pass_s(4)
    stage.watch.healed(BTC, Quiet(stage.now_s, "no trade since id 9"), stage.now_s)

    actions = stage.pass_s()

    assert len(closed(actions)) == 1
    assert stage.state(BTC) is StreamState.QUIET


def test_healed_stream_is_asked_of_since_its_repair_until_it_speaks() -> None:
    """What it missed before stays missed; found again, it would be repaired again and again."""
    stage = a_rare_stream_under_repair()
    repaired_s = stage.watch.streams[BTC].repair.step_s  # type: ignore[union-attr]
    stage.pass_s(4)
    stage.watch.healed(BTC, Quiet(stage.now_s, "no trade since id 9"), stage.now_s)
    quiet = stage.pass_s(61)

    assert stage.state(BTC) is StreamState.SUSPECT
    since = [action.since_s for action in quiet if isinstance(action, AskWhetherHealed)]
    assert since == [{BTC: repaired_s}]
    assert asked(quiet) == []

    stage.watch.healed(BTC, Quiet(stage.now_s, "no trade since id 9"), stage.now_s)
    assert stage.state(BTC) is StreamState.QUIET
    stage.speaking.add(BTC)
    stage.pass_s()
    stage.mute(BTC)
    assert asked(stage.pass_s(61)) == [(BTC,)]


def test_healed_stream_that_missed_more_since_is_repaired_again() -> None:
    """A second fault before it has spoken is a fault like any other."""
    stage = a_rare_stream_under_repair()
    stage.pass_s(4)
    stage.watch.healed(BTC, Quiet(stage.now_s, "no trade since id 9"), stage.now_s)
    stage.pass_s(61)
    stage.watch.healed(BTC, STALE, stage.now_s)

    assert len(opened(stage.pass_s())) == 1


def test_rare_stream_is_asked_about_since_it_was_subscribed_anew() -> None:
    """What it missed between the order and its effect is no sign that the order was in vain."""
    stage = a_rare_stream_under_repair()
    stage.pass_s(1)
    stage.change(BTC, epoch=(1, 1))
    since = [each.since_s for each in stage.pass_s(2) if isinstance(each, AskWhetherHealed)]

    assert since == [{BTC: stage.now_s - 1.0}]


def test_step_is_not_in_vain_before_its_order_could_have_helped() -> None:
    """Silence shorter than the step tells nothing, however short the threshold is."""
    stage = Stage(ALL, thresholds_s={BTC: 1.0})
    stage.mute(BTC)
    stage.pass_s(2)
    stage.find_stale(BTC)
    stage.pass_s()

    assert orders(stage.pass_s(2)) == []
    assert steps(stage.pass_s(1)) == [Step.REPLACE_FEED]


def test_connection_that_is_made_anew_again_and_again_does_not_keep_a_step_for_ever() -> None:
    """Only a subscription of the step's own time can be its effect."""
    stage = a_stage()
    stage.make_stale(BTC)
    actions: list[Action] = []
    for breaks in range(1, 10):
        stage.change(BTC, epoch=(1, breaks))
        actions += stage.pass_s()

    assert Step.REPLACE_FEED in steps(actions)


def test_rare_stream_that_missed_more_climbs_at_once() -> None:
    """The witness has found that the step was in vain."""
    stage = a_rare_stream_under_repair()
    stage.pass_s(4)
    stage.watch.healed(BTC, Stale("there were trades from id 9 to 12"), stage.now_s)

    assert steps(stage.pass_s(3)) == [Step.REPLACE_FEED]


def test_stream_does_not_join_a_step_that_is_over() -> None:
    """A feed that was replaced a while ago for a rare stream does nothing for one that fell silent since."""
    stage = a_rare_stream_under_repair()
    stage.pass_s(61)
    stage.change(BTC, epoch=(1, 1))
    stage.pass_s(int(LIMITS.ladder.replace_feed_s) + 1)
    actions = stage.make_stale(ETH)

    assert [repair.keys for repair in opened(actions)] == [{ETH}]
    assert orders(actions) == [OrderResubscribe(0, (ETH,))]


def test_answer_about_a_former_step_says_nothing_of_the_present_one() -> None:
    """It was asked before the step was, and told of what that step has perhaps ended."""
    stage = a_rare_stream_under_repair()
    stage.pass_s(61)
    stage.watch.healed(BTC, STALE, stage.now_s)

    assert Step.ALERT not in steps(stage.pass_s(int(LIMITS.ladder.replace_feed_s) + 1))
    stage.watch.healed(BTC, STALE, stage.now_s)
    assert Step.ALERT in steps(stage.pass_s(2))


def test_rare_stream_climbs_when_it_would_have_spoken_by_now() -> None:
    """Without any word of the witness, silence alone says so in the end: past its threshold."""
    stage = a_rare_stream_under_repair()
    stage.pass_s(4)
    stage.watch.healed(BTC, Unknown("nobody could say"), stage.now_s)

    assert steps(stage.pass_s(55)) == []
    assert steps(stage.pass_s(1)) == [Step.REPLACE_FEED]


@pytest.mark.parametrize("threshold_s", [5.0, 24.0])
def test_healed_stream_has_its_threshold_to_speak(threshold_s: float) -> None:
    """One gap in a hundred is beyond a quarter of it: such a one is no sign that the step was in vain."""
    stage = Stage(ALL, thresholds_s={BTC: threshold_s})
    stage.mute(BTC)
    stage.pass_s(int(threshold_s) + 1)
    stage.find_stale(BTC)
    stage.pass_s(2)
    stage.change(BTC, epoch=(1, 1))

    assert steps(stage.pass_s(int(threshold_s))) == []
    assert steps(stage.pass_s(1)) == [Step.REPLACE_FEED]


def a_stream_that_joined() -> tuple[Stage, list[Action]]:
    """BTC is rare and waits for its message; ETH is found stale on the same feed a few seconds later."""
    stage = a_rare_stream_under_repair()
    stage.mute(ETH)
    stage.pass_s(SUSPECT_AFTER_S)
    stage.find_stale(ETH)
    return stage, stage.pass_s()


def test_stream_that_joins_is_judged_from_its_own_subscription() -> None:
    """The others' step says nothing of an order that was given only now."""
    stage, actions = a_stream_that_joined()
    assert orders(actions) == [OrderResubscribe(0, (ETH,))]
    stage.pass_s(1)
    stage.change(ETH, epoch=(1, 1))

    assert steps(stage.pass_s(int(THRESHOLD_S))) == []
    assert steps(stage.pass_s(1)) == [Step.REPLACE_FEED]


def test_stream_that_joins_is_asked_about_when_its_order_has_had_its_time() -> None:
    """Until then it may well miss something, which is no sign that the order was in vain."""
    stage, _ = a_stream_that_joined()
    stage.pass_s(1)
    stage.change(ETH, epoch=(1, 1))
    joined_s = stage.now_s - 1.0
    since = [each.since_s for each in stage.pass_s(5) if isinstance(each, AskWhetherHealed)]

    assert [each.get(ETH) for each in since[:2]] == [None, joined_s + 2.0]


def test_word_of_a_stream_that_is_not_under_repair_is_passed_over() -> None:
    """It may have spoken meanwhile, or be known no more."""
    stage = a_stage()
    stage.watch.healed(BTC, STALE, stage.now_s)
    stage.watch.healed(a_key("NOWHERE"), STALE, stage.now_s)

    assert orders(stage.pass_s()) == []
    assert stage.state(BTC) is StreamState.LIVE


def test_streams_of_a_wedged_shard_have_no_incident_of_their_own() -> None:
    """The shard's speaks for them, and they say why they are stale."""
    stage = a_stage(finding=Finding(Diagnosis.SHARD_WEDGED, "its loop stands"))

    assert opened(stage.make_stale(*THE_FEED)) == []
    assert {stage.stream(key).diagnosis for key in THE_FEED} == {Diagnosis.SHARD_WEDGED}


def test_streams_of_a_replaced_shard_get_their_time_before_they_are_repaired() -> None:
    """Its start takes longer than a threshold; only what is still silent then is an incident."""
    stage = a_stage(finding=Finding(Diagnosis.SHARD_WEDGED, "its loop stands"))
    stage.make_stale(*THE_FEED)
    stage.finding = NOTHING_KNOWN
    stage.change(*THE_FEED, is_up=False, epoch=(2, 0))
    assert opened(stage.pass_s(int(THRESHOLD_S) + 2)) == []
    assert stage.states(THE_FEED) == {StreamState.RECOVERING}

    (repair,) = opened(stage.pass_s(int(LIMITS.start_s)))
    assert repair.affected == set(THE_FEED)


def test_stream_that_is_given_to_another_shard_may_take_its_time_to_be_subscribed() -> None:
    """It has never been subscribed there."""
    stage = a_stage()
    stage.take_away(BTC)
    stage.change(BTC, shard=7, feed=70)

    assert opened(stage.pass_s(int(LIMITS.start_s) - 1)) == []
    assert [repair.affected for repair in opened(stage.pass_s(3))] == [{BTC}]
