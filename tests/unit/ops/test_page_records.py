"""`ingest.ops.page_records`: incidents and gaps as the page tells them."""

from types import SimpleNamespace
from typing import cast

from ingest.board.layout import Diagnosis
from ingest.ops.page_records import PageRecords, open_diagnoses, page_records
from ingest.store.ledger import OpenGap
from ingest.supervisor.incidents import EndedIncident
from ingest.supervisor.ladder import LadderLimits, Repair, Step
from ingest.supervisor.service import Supervisor
from tests.unit.board.builders import BTC_TRADE, ETH_TRADE

GAP = OpenGap(BTC_TRADE, 1, 9, "disconnect", 1_000_000)


def a_repair(number: int, opened_s: float, diagnosis: Diagnosis = Diagnosis.HALF_OPEN) -> Repair:
    repair = Repair(
        number, 0, 3, {BTC_TRADE, ETH_TRADE}, diagnosis, "no ping", opened_s, Step.RESUBSCRIBE, 90.0
    )
    repair.enter(Step.REPLACE_FEED, opened_s + 1, LadderLimits())
    return repair


def records_of(*repairs: Repair, ended: tuple[EndedIncident, ...] = (), planned: bool = True) -> PageRecords:
    watch = SimpleNamespace(repairs=dict(enumerate(repairs)), standstill=None)
    sentinel = SimpleNamespace(watch=watch, conditions={})
    vigil = SimpleNamespace(sentinel=sentinel, incidents=SimpleNamespace(ended=list(ended)))
    supervisor = SimpleNamespace(vigil=vigil if planned else None, oldest_gaps=[GAP])
    return page_records(cast(Supervisor, supervisor), 100.0)


def test_service_that_is_not_planned_yet_has_no_records() -> None:
    """There is no vigil to ask."""
    assert records_of(planned=False) == PageRecords()


def test_incident_is_told_with_its_story() -> None:
    """Where, what, why, since when, and what was done; gaps as they were read."""
    told = records_of(a_repair(5, 90.0))
    (record,) = told.incidents

    assert (record.number, record.place, record.diagnosis, record.evidence) == (
        5,
        "feed 3",
        "half_open",
        "no ping",
    )
    assert (record.opened_s, record.ended_s, record.streams) == (10.0, None, 2)
    assert (record.step, record.story) == ("replace_feed", ("step replace_feed",))
    assert told.gaps == (GAP,)


def test_open_incidents_come_before_those_that_are_over() -> None:
    """The open ones oldest first, the others newest first; one without a diagnosis has an empty one."""
    over = tuple(EndedIncident(a_repair(number, 10.0), 10.0 + number) for number in (1, 2))
    told = records_of(a_repair(4, 80.0, Diagnosis.NONE), a_repair(3, 60.0), ended=over)

    assert [record.number for record in told.incidents] == [3, 4, 2, 1]
    assert [record.ended_s for record in told.incidents] == [None, None, 88.0, 89.0]
    assert told.incidents[1].diagnosis == ""


def test_evidence_that_quotes_anything_can_be_sent() -> None:
    """Half a character, as a broken answer may hold, would be no JSON."""
    repair = a_repair(5, 90.0)
    repair.evidence = "REST could not be asked: \0 and half a character \ud83d"
    (record,) = records_of(repair).incidents

    assert record.evidence == "REST could not be asked:  and half a character ?"


def test_incidents_that_are_over_are_not_open() -> None:
    """They stay on the page for a while, and the headline is of now."""
    over = EndedIncident(a_repair(4, 20.0, Diagnosis.EXCHANGE_DOWN), 60.0)

    assert open_diagnoses(records_of(a_repair(5, 90.0), ended=(over,))) == ["half_open"]
