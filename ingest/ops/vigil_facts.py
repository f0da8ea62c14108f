"""What the supervisor knows beside the boards, as numbers for `metrics`: vigil, budgets, alerts.

Decides nothing and counts nothing: each number is kept where it arises. None is not known, which is not
zero: before the first sweep nobody knows how far behind the exchange we are.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ingest.board.layout import Diagnosis
from ingest.ops.alert_view import open_repairs
from ingest.ops.alerts import Alerts
from ingest.supervisor.ladder import Step
from ingest.supervisor.lines import Lead
from ingest.supervisor.service import Supervisor
from ingest.supervisor.storage import StorageFacts
from ingest.supervisor.vigil import Vigil
from ingest.supervisor.witness import Quiet, Stale, Unknown

NO_DIAGNOSIS = "unknown"
DIAGNOSES = tuple(each.name.lower() if each else NO_DIAGNOSIS for each in Diagnosis)
VERDICTS = {Quiet: "quiet", Stale: "stale", Unknown: "unknown"}


class Filling(NamedTuple):
    """One budget of this address: how much is in its window now, and how much may be."""

    used: int
    limit: int


class AlertCounts(NamedTuple):
    """Letters since the start, by what became of them; `waiting`, `standing` and `held_back` are now."""

    delivered: int = 0
    failed_attempts: int = 0
    given_up: int = 0
    dropped: int = 0
    waiting: int = 0
    standing: int = 0
    held_back: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VigilFacts:
    """At one moment. Mappings hold every name that there is, with its zero."""

    incidents_open: Mapping[str, int] = field(default_factory=dict)
    """By diagnosis."""
    incidents_total: Mapping[str, int] = field(default_factory=dict)
    steps_total: Mapping[str, int] = field(default_factory=dict)
    """By step of the ladder."""
    verdicts_total: Mapping[str, int] = field(default_factory=dict)
    incident_writes_dropped: int = 0
    sweep_age_s: float | None = None
    deficits: Mapping[str, int] | None = None
    """Trades that the exchange had and we did not, by symbol, at the newest sweep."""
    exchange_answers: bool | None = None
    clock_offset_s: float | None = None
    banned_for_s: float = 0.0
    budgets: Mapping[str, Filling] = field(default_factory=dict)
    table_age_s: float | None = None
    leads: Mapping[tuple[int, int], Lead] = field(default_factory=dict)
    """By the shard whose line was first, and the other; empty while each stream has one line."""
    line_repairs: int | None = None
    line_gaps_closed: int | None = None
    line_gaps_trimmed: int | None = None
    alerts: AlertCounts = field(default_factory=AlertCounts)
    storage: StorageFacts = field(default_factory=StorageFacts)


def vigil_facts(supervisor: Supervisor, alerts: Alerts, now_s: float) -> VigilFacts | None:
    """What is known at `now_s` (monotonic); None until the shards are planned."""
    vigil = supervisor.vigil
    if vigil is None:
        return None
    witnesses, tally = vigil.witnesses, vigil.sentinel.watch.tally
    lines = vigil.lines
    swept_s, written_s = witnesses.swept_s, supervisor.published_s
    return VigilFacts(
        incidents_open=_by_diagnosis(_open_incidents(vigil)),
        incidents_total=_by_diagnosis(tally.incidents),
        steps_total={step.name.lower(): tally.steps[step] for step in Step},
        verdicts_total={name: tally.verdicts[kind] for kind, name in VERDICTS.items()},
        incident_writes_dropped=vigil.incidents.dropped,
        sweep_age_s=None if swept_s is None else now_s - swept_s,
        deficits=None if swept_s is None else witnesses.deficits,
        exchange_answers=witnesses.exchange_answers,
        clock_offset_s=witnesses.clock_offset_s,
        banned_for_s=supervisor.banned_for_s,
        budgets={name: Filling(*filling) for name, filling in supervisor.budget_used().items()},
        table_age_s=None if written_s is None else now_s - written_s,
        leads=dict(lines.leads.by_pair) if lines is not None else {},
        line_repairs=lines.orders if lines is not None else None,
        line_gaps_closed=lines.gaps_closed if lines is not None else None,
        line_gaps_trimmed=lines.gaps_trimmed if lines is not None else None,
        alerts=_alert_counts(alerts),
        storage=supervisor.storage,
    )


def _open_incidents(vigil: Vigil) -> Counter[Diagnosis]:
    return Counter(repair.diagnosis for repair in open_repairs(vigil))


def _by_diagnosis(counts: Counter[Diagnosis]) -> dict[str, int]:
    return {name: counts[each] for name, each in zip(DIAGNOSES, Diagnosis, strict=True)}


def _alert_counts(alerts: Alerts) -> AlertCounts:
    stats = alerts.delivery.stats()
    return AlertCounts(
        delivered=stats.delivered,
        failed_attempts=stats.failed_attempts,
        given_up=stats.given_up,
        dropped=stats.dropped,
        waiting=stats.waiting,
        standing=len(alerts.standing),
        held_back=alerts.held_back,
    )
