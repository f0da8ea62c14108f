"""The letter that a notice becomes: a subject line and a body of plain text, as a colleague would write.

Each says what is wrong, since when (UTC), what was tried, and what to look at. Decides the layout; what
each rule has to say stands in `rule_texts`. A letter holds nothing but what its alerts hold: no URL and
no configuration is known here.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from ingest.ops.alert_desk import Item, Notice, NoticeKind
from ingest.ops.alert_rules import Severity
from ingest.ops.rule_texts import (
    GENERAL_PLACES,
    RULE_TEXTS,
    ItemText,
    Places,
    RuleText,
    sentence,
    span,
    utc,
)

RUNBOOK: Final = "ingest/docs/runbook.md"
"""In the package; an address where people can read it is a matter of configuration."""
MAX_LINES: Final = 20
"""Alerts that one letter names; the others are counted."""


class Tone(StrEnum):
    """How a letter is marked where the receiving service knows colours."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    CRITICAL = "critical"


class Letter(NamedTuple):
    """Ready to be sent."""

    subject: str
    body: str
    tone: Tone


def write_letter(notice: Notice, *, name: str, runbook: str = RUNBOOK) -> Letter:
    """The notice in words; `name` is that of this installation and begins the subject.

    `runbook` is where its entries are found: what is wrong is told with a link to what to do.
    """
    subject, paragraphs = _WRITERS[notice.kind](notice)
    tone = tone_of(notice)
    mark = "CRITICAL: " if tone is Tone.CRITICAL else ""
    told = (*paragraphs, *what_to_do(anchors_of(notice), runbook))
    return make_letter(f"{mark}{sentence(subject)}", told, name=name, tone=tone)


def anchors_of(notice: Notice) -> list[str]:
    """The entries of the runbook that a notice leads to; none for what is over."""
    if notice.kind is NoticeKind.RECOVERED:
        return []
    if notice.kind is NoticeKind.SUMMARY:
        return list(dict.fromkeys(anchor for part in notice.folded for anchor in anchors_of(part)))
    return [notice.rule.anchor] if notice.rule is not None else []


def what_to_do(anchors: Sequence[str], runbook: str = RUNBOOK) -> list[str]:
    """A paragraph with the entries of the runbook, or none."""
    if not anchors:
        return []
    return ["What to do:\n" + "\n".join(f"  {runbook or RUNBOOK}#{anchor}" for anchor in anchors)]


def trial_letter(*, name: str, at_us: int) -> Letter:
    """What `ingest alerts --test` sends."""
    paragraphs = (
        f"This is a test, sent at {utc(at_us)}.",
        "Nothing is wrong. Somebody wanted to know whether alerts arrive here, and they do.",
    )
    return make_letter("Test of the alerts", paragraphs, name=name, tone=Tone.INFO)


def make_letter(subject: str, paragraphs: Sequence[str], *, name: str, tone: Tone) -> Letter:
    """Subject and body with the marks that all letters have."""
    body = "\n\n".join([*paragraphs, f"-- \ningest, installation {name}"]) + "\n"
    return Letter(f"[{name}] {subject}", body, tone)


def tone_of(notice: Notice) -> Tone:
    """Good news is marked as such, whatever the trouble was; a summary is as bad as its worst part."""
    if notice.kind is NoticeKind.RECOVERED:
        return Tone.SUCCESS
    if notice.kind is NoticeKind.SUMMARY:
        return max((tone_of(part) for part in notice.folded), key=list(Tone).index)
    return Tone.CRITICAL if notice.severity is Severity.CRITICAL else Tone.WARNING


def places_to_look(places: Places, symbol: str = "") -> str:
    """The last paragraph: commands and tables, each with what is to be seen there."""
    lines = [f"  {place.format(symbol=symbol).strip()}: {what}" for place, what in places]
    return "What to look at:\n" + "\n".join(lines)


_Words: TypeAlias = tuple[str, Sequence[str]]
"""Subject and paragraphs."""


def _raised(notice: Notice) -> _Words:
    text, first = _text_of(notice), notice.items[0]
    paragraphs = (
        *_what(notice, text),
        text.meaning(first),
        _tried(notice.items, text),
        places_to_look(text.look, _symbol(first)),
    )
    return _headline(notice), paragraphs


def _reminder(notice: Notice) -> _Words:
    headline, paragraphs = _raised(notice)
    longest_s = max(item.lasted_s for item in notice.items)
    reminder = f"This is a reminder: it has lasted for {span(longest_s)} and is not over."
    return f"still: {headline}", (reminder, *paragraphs)


def _recovered(notice: Notice) -> _Words:
    text, first = _text_of(notice), notice.items[0]
    headline = _headline(notice)
    if len(notice.items) == 1:
        told = f"{sentence(headline)}. It lasted for {span(first.lasted_s)}, {_period(first)}."
        told = " ".join([told, *_flapping(first)])
    else:
        told = f"{sentence(headline)}:\n{_lines(notice.items, _ended)}"
    still = [f"{notice.standing} of the same kind are not over."] if notice.standing else []
    look = [places_to_look(text.after, _symbol(first))] if text.after else []
    return f"recovered: {headline}", (told, *still, *look)


def _summary(notice: Notice) -> _Words:
    in_all = len(notice.folded) + notice.dropped
    lines = [f"  - {_folded_line(part)}" for part in notice.folded[:MAX_LINES]]
    if in_all > len(lines):
        lines.append(f"  and {in_all - len(lines)} more")
    told = (
        f"More happened than may be sent one by one. These {in_all} notices were held back, "
        "the gravest first:\n" + "\n".join(lines)
    )
    headline = _headline(notice.folded[0])
    more = f", and {in_all - 1} more" if in_all > 1 else ""
    return f"{headline}{more}", (told, places_to_look(GENERAL_PLACES))


_WRITERS: Final = {
    NoticeKind.RAISED: _raised,
    NoticeKind.REMINDER: _reminder,
    NoticeKind.RECOVERED: _recovered,
    NoticeKind.SUMMARY: _summary,
}


# ---------------------------------------------------------------------- parts of a letter


def _headline(notice: Notice) -> str:
    text, items = _text_of(notice), notice.items
    is_over = notice.kind is NoticeKind.RECOVERED
    if len(items) == 1:
        return text.over(items[0]) if is_over else text.one(items[0])
    return (text.many_over if is_over else text.many).format(n=len(items))


def _what(notice: Notice, text: RuleText) -> list[str]:
    first = notice.items[0]
    besides = [f"{notice.standing} of the same kind were there before."] if notice.standing else []
    if len(notice.items) > 1:
        return [f"{sentence(_headline(notice))}:\n{_lines(notice.items, _begun)}", *besides]
    began = f"{sentence(text.one(first))}. It began at {utc(first.since_us)}, {_ago(first.lasted_s)}."
    return [" ".join([began, *_noted(first, text), *_flapping(first), *besides])]


def _ago(seconds: float) -> str:
    return f"{span(seconds)} ago" if seconds >= 1 else "just now"


def _noted(item: Item, text: RuleText) -> list[str]:
    return [text.noted.format(note=item.alert.note)] if item.alert.note and text.noted else []


def _flapping(item: Item) -> list[str]:
    return [f"It came and went: {item.times} times within the last hour."] if item.times > 1 else []


def _tried(items: Sequence[Item], text: RuleText) -> str:
    steps = list(dict.fromkeys(step for item in items for step in item.alert.tried))
    if not steps:
        return f"What was tried: {text.tried}"
    return f"What was tried, so far without success: {', then '.join(_step(step) for step in steps)}."


def _step(step: str) -> str:
    return step.replace("_", " ").lower()


def _lines(items: Sequence[Item], line: ItemText) -> str:
    shown = "\n".join(f"  - {line(item)}" for item in items[:MAX_LINES])
    return f"{shown}\n  and {len(items) - MAX_LINES} more" if len(items) > MAX_LINES else shown


def _begun(item: Item) -> str:
    last = [f"last step: {_step(item.alert.tried[-1])}"] if item.alert.tried else []
    notes = [note for note in (item.alert.note, *last) if note]
    return "; ".join([f"{item.alert.where}, since {utc(item.since_us)} ({span(item.lasted_s)})", *notes])


def _ended(item: Item) -> str:
    return f"{item.alert.where}: {span(item.lasted_s)}, {_period(item)}"


def _folded_line(notice: Notice) -> str:
    since_us = min(item.since_us for item in notice.items)
    return f"{utc(notice.at_us)}: {_headline(notice)} (since {utc(since_us)})"


def _period(item: Item) -> str:
    return f"from {utc(item.since_us)} to {utc(item.since_us + int(item.lasted_s * 1e6))}"


def _symbol(item: Item) -> str:
    parts = item.alert.where.split(":")
    return parts[1] if len(parts) == 3 else ""


def _text_of(notice: Notice) -> RuleText:
    assert notice.rule is not None, "only a summary is of no rule"
    return RULE_TEXTS[notice.rule]
