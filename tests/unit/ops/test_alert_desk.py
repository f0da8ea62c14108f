"""`ingest.ops.alert_desk`: who is told what, and how often."""

from random import Random

from ingest.ops.alert_desk import HELD_BACK_LIMIT, DeskLimits, NoticeKind
from ingest.ops.alert_rules import Alert, RuleName, Severity
from tests.unit.ops.alert_builders import AT_ONCE, T0_US, Watched, an_alert, kinds

OFFSET = an_alert("", RuleName.CLOCK_OFFSET)


def streams(n: int) -> list[Alert]:
    return [an_alert(f"spot:S{number}:trade") for number in range(n)]


def test_one_notice_while_it_lasts() -> None:
    """An alert that is active all the time is told once."""
    told = Watched().sees_for(600, an_alert())

    assert kinds(told) == ["raised"]
    assert told[0].items[0].since_us == T0_US


def test_end_is_told_with_its_duration() -> None:
    """The recovery comes when it has stayed away for a minute, and lasted until it went away."""
    watched = Watched()
    watched.sees_for(100, an_alert())

    (recovered,) = watched.sees_for(120)

    assert (recovered.kind, recovered.severity) == (NoticeKind.RECOVERED, Severity.WARNING)
    assert recovered.items[0].lasted_s == 101
    assert watched.desk.standing == frozenset()


def test_short_absence_is_no_end() -> None:
    """What comes back within the minute is the same trouble, and nobody hears of it."""
    watched = Watched()
    told = []
    for _ in range(10):
        told += watched.sees_for(30, an_alert())
        told += watched.sees_for(30)

    assert kinds(told) == ["raised"]


def test_slow_flapping_grows_into_one_long_trouble() -> None:
    """On and off every two minutes for six hours: a handful of notices instead of 180."""
    watched = Watched()
    told = []
    for _ in range(90):
        told += watched.sees_for(120, an_alert())
        told += watched.sees_for(120)

    assert len(told) <= 8
    assert max(notice.items[0].times for notice in told) >= 3


def test_trouble_must_last_before_anybody_is_told() -> None:
    """The clock rule holds for 30 s; what is over before is never told."""
    watched = Watched()

    assert watched.sees_for(29, an_alert("", RuleName.CLOCK_OFFSET, since_s=1.0)) == []
    assert watched.sees_for(10) == []
    watched.at_s = 100
    assert watched.sees(an_alert("", RuleName.CLOCK_OFFSET, since_s=100.0)) == []
    assert kinds(watched.sees_for(31, an_alert("", RuleName.CLOCK_OFFSET, since_s=100.0))) == ["raised"]


def test_hold_counts_from_its_first_sight_although_since_moves() -> None:
    """A rule that measures a value says `now` each time; the first time counts."""
    watched = Watched()
    told = []
    for second in range(40):
        watched.at_s = second
        told += watched.sees(an_alert("", RuleName.CLOCK_OFFSET, since_s=second))

    assert kinds(told) == ["raised"]
    assert told[0].at_us == T0_US + 30_000_000
    assert told[0].items[0].since_us == T0_US


def test_many_streams_share_one_notice() -> None:
    """Streams that fall silent within the group's wait are one notice; later ones another."""
    watched = Watched(DeskLimits(group_wait_s=5))
    alerts = streams(8)
    told = [notice for n in range(8) for notice in watched.sees_for(1, *alerts[: n + 1])]

    assert [len(notice.items) for notice in told] == [6]
    (rest,) = watched.sees_for(10, *alerts)
    assert (len(rest.items), rest.standing) == (2, 6)


def test_one_look_waits_for_no_group() -> None:
    """A single look at a state tells all of it."""
    watched = Watched(DeskLimits().without_waiting())

    assert kinds(watched.sees(*streams(3))) == ["raised"]


def test_recoveries_share_one_notice() -> None:
    """Three of five that end together are one notice, which says that two are left."""
    watched = Watched()
    watched.sees(*streams(5))

    (recovered,) = watched.sees_for(90, *streams(2))

    assert (recovered.kind, len(recovered.items), recovered.standing) == (NoticeKind.RECOVERED, 3, 2)


def test_reminder_comes_every_few_hours() -> None:
    """One reminder for all alerts of a rule that still stand."""
    watched = Watched()
    watched.sees(*streams(3))
    watched.at_s = 4 * 3_600
    (reminder,) = watched.sees(*streams(3))

    assert (reminder.kind, len(reminder.items)) == (NoticeKind.REMINDER, 3)
    assert watched.sees_for(3_600, *streams(3)) == []


def test_worse_is_told_at_once_and_better_is_not() -> None:
    """A warning that becomes critical is news; a critical one that becomes a warning is not."""
    watched = Watched()
    watched.sees(an_alert())
    worse = watched.sees_for(3, an_alert(severity=Severity.CRITICAL))
    better = watched.sees_for(3, an_alert())

    assert [(notice.kind, notice.severity) for notice in worse] == [(NoticeKind.RAISED, Severity.CRITICAL)]
    assert better == []


def test_consequences_of_a_known_cause_are_not_told() -> None:
    """While the exchange stands still nobody needs a notice of each stale stream, nor of their end."""
    watched = Watched()
    down = an_alert("", RuleName.EXCHANGE_DOWN, severity=Severity.CRITICAL)

    told = watched.sees_for(600, down, *streams(50))
    told += watched.sees_for(300)

    assert [(notice.kind, notice.rule) for notice in told] == [
        (NoticeKind.RAISED, RuleName.EXCHANGE_DOWN),
        (NoticeKind.RECOVERED, RuleName.EXCHANGE_DOWN),
    ]


def test_what_is_left_when_its_cause_is_gone_is_told() -> None:
    """A stream that stays stale after the exchange came back is a trouble of its own."""
    watched = Watched()
    watched.sees_for(60, an_alert("", RuleName.EXCHANGE_DOWN), *streams(2))
    told = watched.sees_for(120, *streams(1))

    assert [notice.rule for notice in told if notice.kind is NoticeKind.RAISED] == [RuleName.STREAM_STALE]


def test_rate_limit_sums_up_instead_of_falling_silent() -> None:
    """Beyond the burst everything still arrives: as one summary when there is room for it."""
    watched = Watched(DeskLimits(group_wait_s=0, burst=3, per_hour=30))
    told = [notice for n in range(40) for notice in watched.sees_for(1, *streams(n + 1))]
    assert kinds(told) == ["raised"] * 3
    assert watched.desk.held_back == 37

    (summary,) = watched.sees_for(120, *streams(40))

    assert (summary.kind, len(summary.folded), watched.desk.held_back) == (NoticeKind.SUMMARY, 37, 0)


def test_gravest_leaves_first() -> None:
    """When one notice may leave by itself, it is the critical one."""
    watched = Watched(DeskLimits(group_wait_s=0, burst=2, per_hour=30))
    several = [
        an_alert("feed 1", RuleName.FEED_RECONNECTS),
        an_alert("shard 1", RuleName.SHARD_RESTARTS),
        an_alert("", RuleName.DATABASE_STALLED, severity=Severity.CRITICAL),
    ]

    alone, summary = watched.sees(*several)

    assert (alone.rule, summary.kind, len(summary.folded)) == (
        RuleName.DATABASE_STALLED,
        NoticeKind.SUMMARY,
        2,
    )


def test_what_is_held_back_is_bounded_and_counted() -> None:
    """A storm that outlasts all room loses the least grave notices, and the summary says how many."""
    watched = Watched(DeskLimits(group_wait_s=0, burst=1, per_hour=0.001))
    watched.sees(an_alert("first"))
    for n in range(HELD_BACK_LIMIT + 50):
        watched.sees_for(1, *(an_alert(f"{n}"), an_alert("first")))
    assert watched.desk.held_back > HELD_BACK_LIMIT

    watched.at_s += 3_600_000
    (summary,) = [notice for notice in watched.sees() if notice.kind is NoticeKind.SUMMARY]

    assert len(summary.folded) == HELD_BACK_LIMIT
    assert summary.dropped > 0


def test_least_severity_keeps_warnings_from_people() -> None:
    """Who wants the critical ones only gets those, with their end."""
    watched = Watched(DeskLimits(group_wait_s=0, min_severity=Severity.CRITICAL))
    told = watched.sees(an_alert(), an_alert("", RuleName.DATABASE_STALLED, severity=Severity.CRITICAL))
    told += watched.sees_for(300)

    assert [(notice.kind, notice.rule) for notice in told] == [
        (NoticeKind.RAISED, RuleName.DATABASE_STALLED),
        (NoticeKind.RECOVERED, RuleName.DATABASE_STALLED),
    ]


def test_whoever_was_told_of_a_trouble_is_told_of_its_end() -> None:
    """Over a random day of 20 streams, every key that was raised is recovered, and never the reverse."""
    rng = Random(7)
    watched = Watched(DeskLimits(group_wait_s=5, burst=100_000, remind_every_s=1e9))
    open_keys: set[str] = set()
    active: set[int] = set()
    for _ in range(20_000):
        active ^= {rng.randrange(20)} if rng.random() < 0.02 else set()
        for notice in watched.sees_for(1, *(an_alert(str(n)) for n in active)):
            told = {item.alert.key for item in notice.items}
            assert told.isdisjoint(open_keys) if notice.kind is NoticeKind.RAISED else told <= open_keys
            open_keys ^= told
    watched.sees_for(1)
    ended = {item.alert.key for n in watched.sees_for(2_000) for item in n.items}

    assert ended == open_keys
    assert watched.desk.standing == frozenset()


def test_time_that_goes_back_earns_nothing() -> None:
    """The bucket never fills from a clock that was set back."""
    watched = Watched(AT_ONCE)
    watched.at_s = 1_000
    watched.sees(OFFSET)
    watched.at_s = 0

    assert watched.sees(OFFSET) == []
