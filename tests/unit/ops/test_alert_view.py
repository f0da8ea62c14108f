"""What the alert rules are shown: what is, and what only becomes visible from one look to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import cast

import pytest

from ingest.board.layout import Diagnosis, FeedValues, StreamState
from ingest.events import StreamKey
from ingest.ops.alert_facts import AlertFacts, OpenIncident, RestBan, ShardRecord, StaleStream
from ingest.ops.alert_view import AlertView
from ingest.supervisor.freshness import ServiceFacts, ShardFacts
from ingest.supervisor.ladder import LadderLimits, Repair, Step
from ingest.supervisor.rhythm import Rhythm, RhythmLimits
from ingest.supervisor.service import Supervisor
from ingest.supervisor.watched import WatchedStream
from tests.unit.board.builders import BTC_TRADE, ETH_TRADE, a_board, some_facts

PID = 42
LIMITS = RhythmLimits(floor_s=1.0, ceiling_s=60.0)


def a_repair(*keys: StreamKey, shard: int = 0, feed: int = 3, step: Step = Step.RESUBSCRIBE) -> Repair:
    repair = Repair(1, shard, feed, set(keys), Diagnosis.HALF_OPEN, "no ping for 40 s", 90.0, step, 90.0)
    repair.enter(step, 91.0, LadderLimits())
    return repair


def a_shard(*feeds: FeedValues, pid: int | None = PID, **more: object) -> ShardFacts:
    board = replace(a_board(), feeds=feeds)
    facts = ShardFacts(shard=0, running=pid is not None, pid=pid, board=board)
    return replace(facts, **more)  # type: ignore[arg-type]


@dataclass
class Service:
    """A supervisor's outside, as far as the view looks at it."""

    shards: tuple[ShardFacts, ...] = ()
    streams: dict[StreamKey, WatchedStream] = field(default_factory=dict)
    repairs: dict[int, Repair] = field(default_factory=dict)
    standstill: Repair | None = None
    conditions: dict[str, Repair] = field(default_factory=dict)
    banned_for_s: float = 0.0
    published_s: float | None = 99.0
    clock_offset_s: float | None = None
    is_planned: bool = True

    def facts(self) -> ServiceFacts:
        return replace(some_facts(), shards=self.shards)

    @property
    def vigil(self) -> SimpleNamespace | None:
        if not self.is_planned:
            return None
        watch = SimpleNamespace(streams=self.streams, repairs=self.repairs, standstill=self.standstill)
        return SimpleNamespace(
            sentinel=SimpleNamespace(watch=watch, conditions=self.conditions),
            witnesses=SimpleNamespace(clock_offset_s=self.clock_offset_s),
        )


def look(service: Service, *, view: AlertView | None = None, now_s: float = 100.0) -> AlertFacts:
    return (view or AlertView()).facts(cast(Supervisor, service), now_s)


def watched(key: StreamKey, state: StreamState, repair: Repair | None = None) -> WatchedStream:
    stream = WatchedStream(key, Rhythm(LIMITS), state=state, since_s=80.0, repair=repair)
    stream.diagnosis = repair.diagnosis if repair else Diagnosis.NONE
    return stream


def test_service_that_has_not_planned_yet_shows_its_table_alone() -> None:
    """There is nothing to watch."""
    assert look(Service(is_planned=False)) == AlertFacts(now_s=100.0, table_written_s=99.0)


def test_service_that_is_well_shows_nothing_wrong() -> None:
    """Only how many streams there are."""
    streams = {key: watched(key, StreamState.LIVE) for key in (BTC_TRADE, ETH_TRADE)}
    facts = look(Service(shards=(a_shard(FeedValues(feed=0)),), streams=streams))

    assert facts.streams == {"live": 2}
    assert (facts.stale, facts.incidents, facts.reconnects) == ((), (), {})
    assert [shard.restarts_s for shard in facts.shards] == [()]


@pytest.mark.parametrize(("step", "exhausted"), [(Step.RESUBSCRIBE, False), (Step.ALERT, True)])
def test_stale_stream_is_shown_with_what_was_tried(step: Step, exhausted: bool) -> None:
    """Whether the ladder is at its end decides how long people are spared."""
    repair = a_repair(BTC_TRADE, step=step)
    facts = look(Service(streams={BTC_TRADE: watched(BTC_TRADE, StreamState.STALE, repair)}))

    assert facts.stale == (
        StaleStream(
            stream="spot:BTCUSDT:trade",
            since_s=80.0,
            diagnosis="half_open",
            ladder_exhausted=exhausted,
            tried=(step.name.lower(),),
        ),
    )


def test_stale_stream_without_a_repair_yet_is_shown() -> None:
    """As between the finding and the next tick."""
    (stale,) = look(Service(streams={BTC_TRADE: watched(BTC_TRADE, StreamState.STALE)})).stale

    assert (stale.diagnosis, stale.ladder_exhausted, stale.tried) == ("", False, ())


@pytest.mark.parametrize(
    ("repair", "where"),
    [
        (a_repair(BTC_TRADE), "spot:BTCUSDT:trade"),
        (a_repair(BTC_TRADE, ETH_TRADE), "feed 3"),
        (a_repair(feed=-1), "shard 0"),
        (a_repair(shard=-1, feed=-1), "exchange"),
    ],
)
def test_incident_is_shown_where_it_is(repair: Repair, where: str) -> None:
    """As narrow as it can be said."""
    assert look(Service(repairs={1: repair})).incidents == (
        OpenIncident(
            where=where,
            diagnosis="half_open",
            since_s=90.0,
            evidence="no ping for 40 s",
            tried=("resubscribe",),
        ),
    )


def test_incidents_of_streams_shards_and_exchange_are_all_shown() -> None:
    """A diagnosis that is not known has a word too."""
    unknown = a_repair(BTC_TRADE)
    unknown.diagnosis = Diagnosis.NONE
    service = Service(
        repairs={1: unknown},
        conditions={"wedged 0": a_repair(feed=-1)},
        standstill=a_repair(shard=-1, feed=-1),
    )

    assert [each.diagnosis for each in look(service).incidents] == ["unknown", "half_open", "half_open"]


def test_stalled_database_is_shown_since_it_stalled() -> None:
    """With who says so."""
    facts = look(Service(conditions={"database": a_repair(shard=-1, feed=-1)}))

    assert (facts.database_stalled_since_s, facts.database_error) == (90.0, "no ping for 40 s")
    assert look(Service()).database_stalled_since_s is None


# --- what shows only from one look to the next ---


def reconnects_after(*looks: ShardFacts) -> Mapping[str, tuple[float, ...]]:
    view, facts = AlertView(), AlertFacts(now_s=0.0)
    for now_s, shard in enumerate(looks):
        facts = look(Service(shards=(shard,)), view=view, now_s=float(now_s))
    return facts.reconnects


def test_reconnect_is_dated_when_the_count_goes_up() -> None:
    """By as many as it went up."""
    looks = [a_shard(FeedValues(feed=3, reconnects=count)) for count in (0, 1, 1, 3)]

    assert reconnects_after(*looks) == {"feed 3": (1.0, 3.0, 3.0)}


def test_count_of_a_new_process_begins_anew() -> None:
    """Lower is no reconnect; what it counts from then on is."""
    looks = [
        a_shard(FeedValues(feed=3, reconnects=5), pid=PID),
        a_shard(FeedValues(feed=3, reconnects=0)),
        a_shard(FeedValues(feed=3, reconnects=1)),
    ]

    assert reconnects_after(*looks)["feed 3"][-1:] == (2.0,)


@pytest.mark.parametrize("pid", [None, PID + 1])
def test_board_of_an_earlier_process_tells_no_reconnects(pid: int | None) -> None:
    """A file that a former service has left says nothing of this one."""
    looks = [a_shard(FeedValues(feed=3, reconnects=40), pid=pid), a_shard(FeedValues(feed=3))]

    assert not any(reconnects_after(*looks).values())


def test_reconnects_are_forgotten_after_an_hour() -> None:
    """No rule looks further back."""
    view = AlertView()
    shard = a_shard(FeedValues(feed=3, reconnects=1))
    look(Service(shards=(a_shard(FeedValues(feed=3)),)), view=view, now_s=0.0)
    look(Service(shards=(shard,)), view=view, now_s=10.0)

    assert look(Service(shards=(shard,)), view=view, now_s=3_600.0).reconnects == {"feed 3": (10.0,)}
    assert look(Service(shards=(shard,)), view=view, now_s=3_611.0).reconnects == {"feed 3": ()}


def test_restart_is_dated_and_forgotten_after_an_hour() -> None:
    """The shard's own count does not say when."""
    view = AlertView()
    look(Service(shards=(a_shard(),)), view=view, now_s=0.0)
    (shard,) = look(Service(shards=(a_shard(restarts=2),)), view=view, now_s=5.0).shards
    assert shard.restarts_s == (5.0, 5.0)

    (shard,) = look(Service(shards=(a_shard(restarts=2),)), view=view, now_s=3_700.0).shards
    assert shard.restarts_s == ()


def test_crash_loop_is_shown_since_it_was_first_seen_and_while_it_lasts() -> None:
    """With why it was given up, if it was."""
    view, records = AlertView(), list[ShardRecord]()
    for now_s, crashing in ((1.0, True), (2.0, True), (3.0, False), (4.0, True)):
        shards = (a_shard(crash_looping=crashing, gave_up="exit code 2"),)
        records += look(Service(shards=shards), view=view, now_s=now_s).shards

    assert [record.quarantined_since_s for record in records] == [1.0, 1.0, None, 4.0]
    assert {record.gave_up for record in records} == {"exit code 2"}


def test_ban_is_shown_since_it_was_first_seen() -> None:
    """Until when it lasts is what the budget says now."""
    view = AlertView()
    look(Service(banned_for_s=60.0), view=view, now_s=100.0)
    facts = look(Service(banned_for_s=50.0, clock_offset_s=0.25), view=view, now_s=110.0)
    assert facts.rest_ban == RestBan(since_s=100.0, until_s=160.0, status=418)
    assert facts.clock_offset_s == 0.25

    assert look(Service(), view=view, now_s=170.0).rest_ban is None
    facts = look(Service(banned_for_s=5.0), view=view, now_s=180.0)
    assert facts.rest_ban is not None
    assert facts.rest_ban.since_s == 180.0
