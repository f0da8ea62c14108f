"""The dead man's switch: is the database still being fed? Judged from the database alone.

Decides from one row of facts whether the service is silent, and whether somebody is to be told now.
Reads no database, no file and no clock; knows nothing of boards, shards or HTTP, so that nothing that
breaks them can break it.

    the table cannot be read                            -> UNREACHABLE   exit code 1
    the table has no row, or none is younger than the
    limit, or they are dated in the future              -> TABLE_OLD     exit code 3
    nothing was committed for too long, in hours        -> SILENT        exit code 3
    outside the hours, the table being written          -> NOT_JUDGED    exit code 0
    else                                                -> FRESH         exit code 0

Silence counts only as far as it lies within the stated hours: at their beginning it starts from zero.
The newest event counts by the exchange's time or by our time of its commit, whichever is older, so that
neither a wrong clock nor an event from the future can hide a silence.

Invariants: a trouble is told once, reminded of, and its end is told to whoever was told of it; a letter
that was not delivered is tried again at the next run; a run that does not judge changes nothing.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from types import MappingProxyType
from typing import Final, NamedTuple

from ingest.ops.hours import ALWAYS, Window, open_for_s
from ingest.ops.notices import RUNBOOK, Letter, Tone, make_letter, places_to_look, what_to_do
from ingest.ops.rule_texts import Places, span, utc

ANCHOR: Final = "dead-mans-switch"
"""Its entry in the runbook."""


class Finding(StrEnum):
    FRESH = "fresh"
    NOT_JUDGED = "not_judged"
    UNREACHABLE = "unreachable"
    SILENT = "silent"
    TABLE_OLD = "table_old"


EXIT_CODES: Final = MappingProxyType(
    {
        Finding.FRESH: 0,
        Finding.NOT_JUDGED: 0,
        Finding.UNREACHABLE: 1,
        Finding.SILENT: 3,
        Finding.TABLE_OLD: 3,
    }
)


class TableFacts(NamedTuple):
    """One look at `ops.stream_freshness`; ages by the server's clock, None when there is nothing."""

    streams: int
    now_us: int
    table_age_s: float | None
    """Since the newest row was written; negative when it is dated in the future."""
    event_age_s: float | None
    """Since the newest committed event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadmanLimits:
    max_silence_s: float = 300.0
    table_max_age_s: float = 60.0
    hours: tuple[Window, ...] = ALWAYS
    """Apart from each other and in order: what `parse_hours` returns."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is a sentence for people; `since_us` is when the trouble began, as far as is known."""

    finding: Finding
    reason: str
    at_us: int
    since_us: int | None = None


# ---------------------------------------------------------------------- judgement


def judge(facts: TableFacts, limits: DeadmanLimits) -> Verdict:
    """What the facts mean. The table is judged at any hour, the silence within the hours only."""
    age_s, now_us = facts.table_age_s, facts.now_us
    if age_s is None:
        reason = "the freshness table is empty: nothing has run on this database since its server started"
        return Verdict(Finding.TABLE_OLD, reason, now_us)
    if abs(age_s) > limits.table_max_age_s:
        return Verdict(Finding.TABLE_OLD, _old(age_s, limits), now_us, now_us - int(max(age_s, 0.0) * 1e6))
    in_hours_s = open_for_s(limits.hours, now_us)
    if in_hours_s <= 0:
        return Verdict(Finding.NOT_JUDGED, "outside the stated hours; the freshness table is written", now_us)
    silence_s = inf if facts.event_age_s is None else facts.event_age_s
    if min(silence_s, in_hours_s) > limits.max_silence_s:
        return _silent(facts, limits)
    return Verdict(Finding.FRESH, _fresh(facts), now_us)


def unreachable(why: str, *, at_us: int) -> Verdict:
    """The verdict when the table could not be read; `why` must hold no secret."""
    return Verdict(Finding.UNREACHABLE, f"the freshness table cannot be read: {why}", at_us)


def _old(age_s: float, limits: DeadmanLimits) -> str:
    if age_s < 0:
        return f"the freshness table is dated {span(-age_s)} in the future: the database's clock went back"
    return (
        f"the freshness table was last written {span(age_s)} ago, the limit is "
        f"{span(limits.table_max_age_s)}: the supervisor does not run or cannot write"
    )


def _silent(facts: TableFacts, limits: DeadmanLimits) -> Verdict:
    if facts.event_age_s is None:
        reason = f"no event of any of {facts.streams} streams has ever been committed"
        return Verdict(Finding.SILENT, reason, facts.now_us)
    reason = (
        f"the newest committed event of all {facts.streams} streams is {span(facts.event_age_s)} old, "
        f"the limit is {span(limits.max_silence_s)}"
    )
    return Verdict(Finding.SILENT, reason, facts.now_us, facts.now_us - int(facts.event_age_s * 1e6))


def _fresh(facts: TableFacts) -> str:
    newest = "no event yet" if facts.event_age_s is None else f"newest event {span(facts.event_age_s)} old"
    return f"{facts.streams} streams, {newest}"


# ---------------------------------------------------------------------- what is told, and remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What a state file holds: the trouble that lasts since an earlier run."""

    finding: Finding
    since_us: int
    told_us: int | None = None
    """When somebody was last told of it; None while no letter was delivered."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done after a run: send `letter`, then remember `if_sent`, or `if_not` when it failed."""

    letter: Letter | None
    if_sent: Remembered | None
    if_not: Remembered | None


def next_step(
    before: Remembered | None, verdict: Verdict, *, name: str, remind_every_s: float, runbook: str = RUNBOOK
) -> Step:
    """Whom to tell what. `before` is what the last run remembered, None when all was well.

    `runbook` is where its entries are found.
    """
    if verdict.finding is Finding.NOT_JUDGED:
        return Step(None, before, before)
    if verdict.finding is Finding.FRESH:
        return _after_fresh(before, verdict, name)
    began_us = verdict.at_us if verdict.since_us is None else verdict.since_us
    lasting = before or Remembered(finding=verdict.finding, since_us=began_us)
    if lasting.told_us is not None and verdict.at_us - lasting.told_us < remind_every_s * 1e6:
        return Step(None, lasting, lasting)
    letter = _trouble(verdict, lasting, name=name, runbook=runbook)
    return Step(letter, replace(lasting, told_us=verdict.at_us), lasting)


def _after_fresh(before: Remembered | None, verdict: Verdict, name: str) -> Step:
    if before is None or before.told_us is None:
        return Step(None, None, None)
    lasted = span((verdict.at_us - before.since_us) / 1e6)
    told = (
        f"The database is being fed again: {verdict.reason}. It was {_WAS[before.finding]} from "
        f"{utc(before.since_us)} on; this check found it well at {utc(verdict.at_us)}, {lasted} later."
    )
    paragraphs = (told, places_to_look((("table ops.gaps", "whether rows are missing for that time"),)))
    letter = make_letter("Recovered: the database is fed again", paragraphs, name=name, tone=Tone.SUCCESS)
    return Step(letter, None, before)


_WAS: Final = MappingProxyType(
    {
        Finding.SILENT: "silent",
        Finding.TABLE_OLD: "without a fresh freshness table",
        Finding.UNREACHABLE: "out of reach",
    }
)

_SUBJECTS: Final = MappingProxyType(
    {
        Finding.SILENT: "no event reaches the database",
        Finding.TABLE_OLD: "the freshness table is not being written",
        Finding.UNREACHABLE: "the database cannot be asked",
    }
)
_RUNS: Final = ("the service", "whether its supervisor runs, and the last lines of its log")
_PLACES: Final = MappingProxyType[Finding, Places](
    {
        Finding.SILENT: (
            ("ingest status", "streams that are not live, with their diagnosis; shards"),
            ("table ops.incidents", "what the service itself has noticed and tried"),
            ("the network", "whether the service's machine reaches the exchange"),
        ),
        Finding.TABLE_OLD: (
            _RUNS,
            ("ingest status", "the newest that the table says"),
            ("the database server", "whether it was restarted: the table is empty after a crash"),
        ),
        Finding.UNREACHABLE: (
            ("the database server", "whether it runs, takes connections, and has the schema"),
            ("this check", "whether its [database] url and its network are right"),
            _RUNS,
        ),
    }
)


_CONSEQUENCE: Final = (
    "Signals that insist on fresh data are refused meanwhile; whoever does not ask works with old data."
)
_TRIED: Final = (
    "What was tried: nothing by this check, which only looks. The service repairs by itself what it can; "
    "this letter means that it could not, or that it does not run."
)


def _trouble(verdict: Verdict, lasting: Remembered, *, name: str, runbook: str) -> Letter:
    found = (
        f"The dead man's switch, which looks at the database alone, found at {utc(verdict.at_us)}: "
        f"{verdict.reason}. It began at {utc(lasting.since_us)}, as far as this check can tell."
    )
    look, do = places_to_look(_PLACES[verdict.finding]), what_to_do([ANCHOR], runbook)
    paragraphs = (found, _CONSEQUENCE, _TRIED, look, *do)
    still = "Still: " if lasting.told_us is not None else ""
    subject = f"CRITICAL: {still}{_SUBJECTS[verdict.finding]}"
    return make_letter(subject, paragraphs, name=name, tone=Tone.CRITICAL)
