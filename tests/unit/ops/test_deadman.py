"""`ingest.ops.deadman`: silence, judged from one row, and whom to tell."""

from dataclasses import replace

import pytest

from ingest.ops.deadman import (
    EXIT_CODES,
    DeadmanLimits,
    Finding,
    Remembered,
    Step,
    TableFacts,
    Verdict,
    judge,
    next_step,
    unreachable,
)
from ingest.ops.hours import parse_hours
from ingest.ops.notices import Tone
from tests.unit.ops.alert_builders import T0_US

FED = TableFacts(streams=12, now_us=T0_US, table_age_s=1.0, event_age_s=2.0)
SILENT = FED._replace(event_age_s=301.0)
LIMITS = DeadmanLimits()
HOUR_US = 3_600_000_000


def step(before: Remembered | None, verdict: Verdict) -> Step:
    return next_step(before, verdict, name="prod", remind_every_s=4 * 3_600)


@pytest.mark.parametrize(
    ("facts", "finding"),
    [
        (FED, Finding.FRESH),
        (FED._replace(event_age_s=300.0), Finding.FRESH),
        (SILENT, Finding.SILENT),
        (FED._replace(event_age_s=None), Finding.SILENT),
        (FED._replace(event_age_s=-5.0), Finding.FRESH),
        (FED._replace(table_age_s=61.0), Finding.TABLE_OLD),
        (FED._replace(table_age_s=-61.0), Finding.TABLE_OLD),
        (TableFacts(0, T0_US, None, None), Finding.TABLE_OLD),
        (SILENT._replace(table_age_s=3_600.0), Finding.TABLE_OLD),
    ],
)
def test_facts_are_judged(facts: TableFacts, finding: Finding) -> None:
    """Old, empty or future tables cannot be believed; else the newest committed event decides."""
    assert judge(facts, LIMITS).finding is finding


def test_reasons_say_what_was_seen_and_what_the_limit_is() -> None:
    """A person can judge the judgement."""
    silent, old = judge(SILENT, LIMITS), judge(FED._replace(table_age_s=7_200.0), LIMITS)

    assert silent.reason == (
        "the newest committed event of all 12 streams is 5 min 1 s old, the limit is 5 min"
    )
    assert silent.since_us == T0_US - 301_000_000
    assert "last written 2 h ago, the limit is 1 min: the supervisor does not run" in old.reason
    assert "in the future" in judge(FED._replace(table_age_s=-90.0), LIMITS).reason
    assert "ever been committed" in judge(FED._replace(event_age_s=None), LIMITS).reason
    assert judge(FED, LIMITS).reason == "12 streams, newest event 2 s old"


@pytest.mark.parametrize(
    ("hours", "finding"),
    [
        ("Mon 15:00-16:00", Finding.NOT_JUDGED),
        ("Mon 14:10-16:00", Finding.FRESH),
        ("Mon 14:08-16:00", Finding.SILENT),
        ("Sun-Mon 00:00-24:00", Finding.SILENT),
    ],
)
def test_silence_counts_within_the_hours_only(hours: str, finding: Finding) -> None:
    """At 14:13:20, hours that began 200 s ago hold no silence of 300 s yet."""
    limits = replace(LIMITS, hours=parse_hours([hours]))

    assert judge(SILENT._replace(event_age_s=9_000.0), limits).finding is finding


def test_table_is_judged_outside_the_hours_too() -> None:
    """The supervisor writes the table day and night."""
    limits = replace(LIMITS, hours=parse_hours(["Mon 15:00-16:00"]))

    assert judge(FED._replace(table_age_s=61.0), limits).finding is Finding.TABLE_OLD


def test_exit_codes_are_as_documented() -> None:
    """0 fresh or not judged, 1 nobody knows, 3 silent; 2 is wrong use, which never gets here."""
    assert {finding: EXIT_CODES[finding] for finding in Finding} == {
        Finding.FRESH: 0,
        Finding.NOT_JUDGED: 0,
        Finding.UNREACHABLE: 1,
        Finding.SILENT: 3,
        Finding.TABLE_OLD: 3,
    }


def test_trouble_is_told_once_and_its_end_too() -> None:
    """Run after run: one letter, silence, one letter."""
    first = step(None, judge(SILENT, LIMITS))
    again = step(first.if_sent, judge(SILENT._replace(now_us=T0_US + HOUR_US), LIMITS))
    over = step(again.if_sent, judge(FED._replace(now_us=T0_US + 2 * HOUR_US), LIMITS))
    quiet = step(over.if_sent, judge(FED, LIMITS))

    assert first.letter is not None
    assert first.letter.subject == "[prod] CRITICAL: no event reaches the database"
    assert again.letter is None
    assert over.letter is not None
    assert (over.letter.subject, over.letter.tone) == (
        "[prod] Recovered: the database is fed again",
        Tone.SUCCESS,
    )
    assert "It was silent from 2026-09-21 14:08:19 UTC on" in over.letter.body
    assert quiet == Step(None, None, None)


def test_letter_says_what_since_when_what_was_tried_and_where_to_look() -> None:
    """As every other notice does."""
    letter = step(None, judge(SILENT, LIMITS)).letter
    assert letter is not None

    assert "5 min 1 s old" in letter.body
    assert "It began at 2026-09-21 14:08:19 UTC" in letter.body
    assert "What was tried: nothing by this check" in letter.body
    assert "What to look at:\n  ingest status" in letter.body
    assert letter.tone is Tone.CRITICAL


def test_letter_that_was_not_delivered_is_written_again() -> None:
    """Nobody was told, so the next run tells; the beginning is remembered."""
    first = step(None, judge(SILENT, LIMITS))
    second = step(first.if_not, judge(SILENT._replace(now_us=T0_US + HOUR_US), LIMITS))

    assert second.letter is not None
    assert "Still" not in second.letter.subject
    assert second.if_sent is not None
    assert second.if_sent.since_us == T0_US - 301_000_000


def test_lasting_trouble_is_reminded_of() -> None:
    """After four hours, marked as such, even if what is found has changed meanwhile."""
    first = step(None, judge(SILENT, LIMITS))
    changed = step(first.if_sent, unreachable("connection refused", at_us=T0_US + HOUR_US))
    later = step(first.if_sent, unreachable("connection refused", at_us=T0_US + 4 * HOUR_US))

    assert changed.letter is None
    assert later.letter is not None
    assert later.letter.subject == "[prod] CRITICAL: Still: the database cannot be asked"
    assert "connection refused" in later.letter.body


def test_recovery_that_nobody_waits_for_is_not_told() -> None:
    """Whoever was never told of the trouble needs no end of it."""
    first = step(None, judge(SILENT, LIMITS))

    assert step(first.if_not, judge(FED, LIMITS)) == Step(None, None, None)


def test_recovery_that_was_not_delivered_is_tried_again() -> None:
    """The memory of the trouble stays until its end was told."""
    told = step(None, judge(SILENT, LIMITS)).if_sent

    assert step(told, judge(FED, LIMITS)).if_not == told


def test_run_that_does_not_judge_changes_nothing() -> None:
    """Outside the hours a silence neither lasts nor ends."""
    told = step(None, judge(SILENT, LIMITS)).if_sent
    outside = judge(FED, replace(LIMITS, hours=parse_hours(["Tue 10:00-11:00"])))

    assert step(told, outside) == Step(None, told, told)
