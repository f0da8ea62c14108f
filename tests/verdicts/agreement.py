"""When the answers about a service agree. Pure.

Each place answers in its own words; what they must have in common is decided here. A service that does not
answer over HTTP is judged by the database and by Prometheus alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

TABLE_OLD_S = 10.0
NEVER_FRESH = frozenset({"stale", "recovering"})
NOTHING_KNOWN_WRONG = frozenset({"live", "quiet", "halted"})
WELL = "well"
GOOD = "good"
_NOT_HEARD = frozenset({"away", "stopped", "unknown"})
_EXITS = {WELL: 0, "unknown": 1}
_DEGRADED = 3


@dataclass(frozen=True, kw_only=True)
class Views:
    """One look at everything. None is: nobody answers there."""

    ready: bool | None
    """/readyz"""
    fresh: bool | None
    """/freshz"""
    metric_ready: bool | None
    metric_fresh: bool | None
    status: str
    """The verdict of `ingest status --json`."""
    exit_code: int
    """Of `ingest status`."""
    table_age_s: float | None
    """Of ops.stream_freshness."""
    states: Mapping[str, int] = field(default_factory=dict)
    """In ops.stream_freshness, how many streams are in each."""
    diagnoses: frozenset[str] = frozenset()
    """Of the streams there."""
    incidents: frozenset[str] = frozenset()
    """What the open ones in ops.incidents are."""
    alerts: frozenset[str] = frozenset()
    """Of Prometheus: whose condition holds now, whether they fire yet or not."""
    page: str | None = None
    """How grave the page's headline is: good, wait, warn or bad."""
    line: str = ""
    """The page's headline."""

    @property
    def is_well(self) -> bool:
        """By the two questions that are asked of the service itself."""
        return bool(self.ready and self.fresh)

    @property
    def table_is_written(self) -> bool:
        return self.table_age_s is not None and self.table_age_s <= TABLE_OLD_S


def disagreements(views: Views) -> list[str]:
    """Who says something else than the others, in words; empty when they agree."""
    return [*_of_metrics(views), *_of_status(views), *_of_table(views), *_of_alerts(views), *_of_page(views)]


def _of_metrics(views: Views) -> Iterator[str]:
    if views.metric_ready != views.ready:
        yield f"/readyz says {views.ready}, ingest_ready {views.metric_ready}"
    if views.metric_fresh != views.fresh:
        yield f"/freshz says {views.fresh}, ingest_fresh {views.metric_fresh}"


def _of_status(views: Views) -> Iterator[str]:
    expected = views.is_well and views.table_is_written
    if (views.status == WELL) != expected:
        yield f"ready {views.ready}, fresh {views.fresh}, and `ingest status` says {views.status}"
    if views.exit_code != _EXITS.get(views.status, _DEGRADED):
        yield f"`ingest status` says {views.status} and exits with {views.exit_code}"
    if (views.status in _NOT_HEARD) == views.table_is_written:
        yield f"the table is {views.table_age_s} s old, and `ingest status` says {views.status}"


def _of_table(views: Views) -> Iterator[str]:
    if not views.table_is_written or views.fresh is None:
        return
    if views.fresh and NEVER_FRESH & views.states.keys():
        yield f"/freshz says fresh, and the table has {dict(views.states)}"
    if not views.fresh and views.states.keys() <= NOTHING_KNOWN_WRONG:
        yield f"/freshz says no, and the table has {dict(views.states)}"


def _of_alerts(views: Views) -> Iterator[str]:
    for alert, holds in (
        ("ServiceNotReady", views.ready is False),
        ("DataNotFresh", views.fresh is False),
        ("MetricsAbsent", views.ready is None),
    ):
        if (alert in views.alerts) != holds:
            yield f"ready {views.ready}, fresh {views.fresh}, and {alert} {'is silent' if holds else 'holds'}"


def _of_page(views: Views) -> Iterator[str]:
    expected = views.is_well and not views.incidents
    if views.page is not None and (views.page == GOOD) != expected:
        known = f"ready {views.ready}, fresh {views.fresh}, incidents {sorted(views.incidents)}"
        yield f"{known}, and the page says {views.page}: {views.line}"
