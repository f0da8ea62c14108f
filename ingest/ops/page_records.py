"""What the status page tells beside boards and numbers: incidents with their story, and the oldest open gaps.

Decides nothing: the incidents are the vigil's, the gaps are rows of the ledger as the supervisor last read
them. Times are handed on as ages, because incidents live on the monotonic clock and nobody else does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ingest.ops.alert_view import incident_place, open_repairs
from ingest.store.journal import storable
from ingest.store.ledger import OpenGap
from ingest.supervisor.ladder import Repair
from ingest.supervisor.service import Supervisor


class IncidentRecord(NamedTuple):
    """One incident; ages in seconds. `ended_s` is None while it is open."""

    number: int
    place: str
    """The stream, feed or shard that it is about, in words."""
    diagnosis: str
    evidence: str
    """May quote an exchange, or what answers in its place; what no text may hold is taken out."""
    step: str
    """The newest step of the ladder."""
    streams: int
    """How many it was ever about."""
    opened_s: float
    ended_s: float | None
    story: tuple[str, ...]
    """What was done, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRecords:
    """At one moment."""

    incidents: tuple[IncidentRecord, ...] = ()
    """The open ones, oldest first, then those that are over, newest first."""
    gaps: tuple[OpenGap, ...] = ()
    """Those that have waited longest."""


def open_diagnoses(records: PageRecords) -> list[str]:
    """Of the incidents that are open."""
    return [each.diagnosis for each in records.incidents if each.ended_s is None]


AskRecords: TypeAlias = Callable[[], PageRecords]


def page_records(supervisor: Supervisor, now_s: float) -> PageRecords:
    """What is known at `now_s` (monotonic); nothing until the shards are planned."""
    vigil = supervisor.vigil
    if vigil is None:
        return PageRecords()
    standing = [_record(repair, now_s) for repair in open_repairs(vigil)]
    over = [_record(each.repair, now_s, ended_s=each.ended_s) for each in reversed(vigil.incidents.ended)]
    standing.sort(key=lambda record: record.opened_s, reverse=True)
    return PageRecords(incidents=(*standing, *over), gaps=tuple(supervisor.oldest_gaps))


def _record(repair: Repair, now_s: float, *, ended_s: float | None = None) -> IncidentRecord:
    return IncidentRecord(
        number=repair.number,
        place=incident_place(repair),
        diagnosis=repair.diagnosis.name.lower() if repair.diagnosis else "",
        evidence=storable(repair.evidence),
        step=repair.step.name.lower(),
        streams=len(repair.affected),
        opened_s=now_s - repair.opened_s,
        ended_s=None if ended_s is None else now_s - ended_s,
        story=tuple(record.what for record in repair.story),
    )
