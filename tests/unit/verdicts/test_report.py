"""The table of faults as people read it."""

from dataclasses import replace

from tests.unit.verdicts.test_agreement import GONE, STALE
from tests.verdicts.faults import FAULTS
from tests.verdicts.report import HEADINGS, cells, markdown, summary
from tests.verdicts.trial import Row, complaints

MUTE = FAULTS[0]


def a_row(**fields: object) -> Row:
    """A stream that was mute, on which all agreed."""
    row = Row(fault=MUTE, views=STALE, agreed_s=8.2, well_s=4.4, before=frozenset({"StreamStale"}))
    for field, value in fields.items():
        setattr(row, field, value)
    return row


def test_every_heading_has_a_cell() -> None:
    """Also when nobody has looked."""
    assert len(cells(a_row())) == len(cells(a_row(views=None))) == len(HEADINGS)


def test_alerts_that_held_before_are_left_out() -> None:
    """They are not of this fault."""
    assert cells(a_row())[7] == "DataNotFresh"


def test_who_does_not_answer_is_said_to_be_silent() -> None:
    """A service that is gone says neither yes nor no."""
    told = cells(a_row(views=GONE))

    assert told[1] == told[3] == told[4] == "no answer"
    assert told[6].startswith("30 s old; 48 live")


def test_disagreement_stands_below_the_table() -> None:
    """With the fault's name."""
    row = a_row(agreed_s=None, complaints=["/freshz says True, and it is False"])

    assert "- stream-mute: /freshz says True, and it is False" in markdown([row], "about")
    assert "agreed after never s" in summary(row)
    assert not row.is_good


def test_agreement_on_something_else_than_the_truth_is_a_complaint() -> None:
    """All may be wrong together."""
    wrong = complaints(replace(STALE, diagnoses=frozenset({"half_open"})), FAULTS[0])

    assert wrong == ["the diagnosis is half_open, not stream_silent"]
