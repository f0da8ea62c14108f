"""`ingest.ops.notices`: letters that a colleague could have written."""

import pytest

from ingest.ops.alert_desk import Item, Notice, NoticeKind
from ingest.ops.alert_rules import RuleName, Severity
from ingest.ops.notices import MAX_LINES, Letter, Tone, trial_letter, write_letter
from ingest.ops.rule_texts import span, utc
from tests.unit.ops.alert_builders import T0_US, an_alert

STALE = an_alert(note="half_open", tried=("RESUBSCRIBE", "REPLACE_FEED"))


def a_notice(
    *items: Item,
    kind: NoticeKind = NoticeKind.RAISED,
    severity: Severity = Severity.WARNING,
    standing: int = 0,
) -> Notice:
    chosen = items or (Item(STALE, T0_US, 64.0),)
    return Notice(
        kind=kind,
        severity=severity,
        at_us=T0_US + 64_000_000,
        rule=chosen[0].alert.rule,
        items=chosen,
        standing=standing,
    )


def letter(notice: Notice) -> Letter:
    return write_letter(notice, name="prod")


def many(n: int) -> list[Item]:
    return [Item(an_alert(f"spot:S{number}:trade"), T0_US, 90.0) for number in range(n)]


def test_letter_says_what_since_when_what_was_tried_and_where_to_look() -> None:
    """The four things that a woken person wants to know."""
    subject, body, tone = letter(a_notice())

    assert subject == "[prod] spot:BTCUSDT:trade is stale"
    assert "spot:BTCUSDT:trade is stale. It began at 2026-09-21 14:13:20 UTC, 1 min 4 s ago." in body
    assert "Diagnosis: half_open." in body
    assert "What was tried, so far without success: resubscribe, then replace feed." in body
    assert "What to look at:\n  ingest status BTCUSDT:" in body
    assert "table ops.incidents" in body
    assert tone is Tone.WARNING


def test_critical_is_marked_in_the_subject() -> None:
    """Whoever filters mail can filter on it."""
    alert = an_alert("", RuleName.DATABASE_STALLED, severity=Severity.CRITICAL, note="connection refused")
    subject, body, tone = letter(a_notice(Item(alert, T0_US, 31.0), severity=Severity.CRITICAL))

    assert subject == "[prod] CRITICAL: The database takes no rows"
    assert "The database said: connection refused." in body
    assert tone is Tone.CRITICAL


def test_many_streams_are_listed_and_the_rest_counted() -> None:
    """A thousand lines help nobody."""
    subject, body, _ = letter(a_notice(*many(57), standing=3))

    assert subject == "[prod] 57 streams are stale"
    assert body.count("  - spot:S") == MAX_LINES
    assert "and 37 more" in body
    assert "3 of the same kind were there before." in body


def test_recovery_says_how_long_it_lasted() -> None:
    """From when to when, and what may be missing."""
    subject, body, tone = letter(a_notice(Item(STALE, T0_US, 252.0), kind=NoticeKind.RECOVERED))

    assert subject == "[prod] Recovered: spot:BTCUSDT:trade is no longer stale"
    assert "It lasted for 4 min 12 s, from 2026-09-21 14:13:20 UTC to 2026-09-21 14:17:32 UTC." in body
    assert "ops.gaps" in body
    assert tone is Tone.SUCCESS


def test_recovery_of_a_critical_trouble_is_good_news() -> None:
    """No CRITICAL in the subject of an end; those that are left are counted."""
    notice = a_notice(*many(2), kind=NoticeKind.RECOVERED, severity=Severity.CRITICAL, standing=4)
    subject, body, tone = letter(notice)

    assert subject == "[prod] Recovered: 2 streams are no longer stale"
    assert "4 of the same kind are not over." in body
    assert tone is Tone.SUCCESS


def test_reminder_says_that_it_is_one() -> None:
    """And for how long it has lasted."""
    subject, body, _ = letter(a_notice(Item(STALE, T0_US, 14_400.0), kind=NoticeKind.REMINDER))

    assert subject == "[prod] Still: spot:BTCUSDT:trade is stale"
    assert body.startswith("This is a reminder: it has lasted for 4 h and is not over.")


def test_flapping_is_mentioned() -> None:
    """It is another trouble than one that came once."""
    assert "came and went: 3 times within the last hour" in letter(a_notice(Item(STALE, T0_US, 5.0, 3))).body


@pytest.mark.parametrize(("folded", "dropped", "more"), [(38, 0, 37), (10, 28, 37), (1, 0, 0)])
def test_summary_counts_what_was_held_back(folded: int, dropped: int, more: int) -> None:
    """The first headline is in the subject, the others are listed or counted."""
    notice = Notice(
        kind=NoticeKind.SUMMARY,
        severity=Severity.WARNING,
        at_us=T0_US,
        folded=tuple(a_notice(item) for item in many(folded)),
        dropped=dropped,
    )
    subject, body, _ = letter(notice)

    assert subject == "[prod] spot:S0:trade is stale" + (f", and {more} more" if more else "")
    assert body.count("  - ") == min(folded, MAX_LINES)
    left_out = folded + dropped - min(folded, MAX_LINES)
    assert (f"and {left_out} more" in body) == bool(left_out)


def test_summary_is_as_bad_as_its_worst_part() -> None:
    """The end of a critical trouble does not make it critical."""
    good = a_notice(kind=NoticeKind.RECOVERED, severity=Severity.CRITICAL)
    bad = a_notice(severity=Severity.WARNING)
    summary = Notice(kind=NoticeKind.SUMMARY, severity=Severity.CRITICAL, at_us=T0_US, folded=(good, bad))

    assert letter(summary).tone is Tone.WARNING


@pytest.mark.parametrize("rule", list(RuleName))
@pytest.mark.parametrize("kind", [NoticeKind.RAISED, NoticeKind.REMINDER, NoticeKind.RECOVERED])
@pytest.mark.parametrize("n", [1, 2])
def test_every_rule_has_words_for_every_kind(rule: RuleName, kind: NoticeKind, n: int) -> None:
    """No placeholder is left open, no sentence is doubled, every paragraph ends properly."""
    where = "shard 3" if rule.name.startswith("SHARD") else ""
    items = [Item(an_alert(where, rule, note="behind"), T0_US, 90.0)] * n
    subject, body, _ = letter(a_notice(*items, kind=kind))

    assert not set("{}") & set(subject + body)
    assert ".." not in body
    assert "  - " not in body or n == 2
    assert len(subject) < 100


def test_trial_says_that_nothing_is_wrong() -> None:
    """Nobody shall be frightened by a test."""
    subject, body, tone = trial_letter(name="prod", at_us=T0_US)

    assert subject == "[prod] Test of the alerts"
    assert "Nothing is wrong." in body
    assert tone is Tone.INFO


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "less than a second"),
        (12, "12 s"),
        (60, "1 min"),
        (64, "1 min 4 s"),
        (15_120, "4 h 12 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_spans_have_two_units(seconds: float, text: str) -> None:
    """Enough to judge, short enough to read."""
    assert span(seconds) == text


def test_moments_are_utc() -> None:
    """With the zone in words."""
    assert utc(T0_US) == "2026-09-21 14:13:20 UTC"


@pytest.mark.parametrize(("seconds", "text"), [(0.6, "600 ms"), (1.8, "1.8 s"), (3_600.0, "1 h")])
def test_offsets_have_the_unit_that_fits(seconds: float, text: str) -> None:
    """A step of an hour is not told in seconds, nor a small one as nothing."""
    alert = an_alert("", RuleName.CLOCK_OFFSET, value=seconds, note="behind")

    assert letter(a_notice(Item(alert, T0_US, 40.0))).subject == (
        f"[prod] The clock is {text} behind the exchange's"
    )


def test_letter_leads_to_the_runbook() -> None:
    """To the entry of its rule, wherever the runbook is shown; good news leads nowhere."""
    assert "What to do:\n  ingest/docs/runbook.md#stream-stale\n" in letter(a_notice()).body
    elsewhere = write_letter(a_notice(), name="prod", runbook="https://wiki.example/runbook").body
    assert "https://wiki.example/runbook#stream-stale" in elsewhere
    assert "What to do" not in letter(a_notice(kind=NoticeKind.RECOVERED)).body


def test_summary_leads_to_each_entry_once() -> None:
    """The gravest first."""
    clock = a_notice(Item(an_alert("", RuleName.CLOCK_OFFSET), T0_US, 31.0))
    summary = Notice(
        kind=NoticeKind.SUMMARY,
        severity=Severity.WARNING,
        at_us=T0_US,
        rule=None,
        items=(),
        folded=(clock, a_notice(), a_notice()),
    )

    assert letter(summary).body.count("#clock-offset\n  ingest/docs/runbook.md#stream-stale") == 1
