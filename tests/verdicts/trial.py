"""One fault: provoked, looked at from all sides until all agree on it, mended, and looked at again."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.chaos.stage import Market, a_chaos_stage
from tests.deploy.prometheus import Prometheus
from tests.deploy.tools import RULES
from tests.silence.stage import BUSY_S, Stage
from tests.simulation.service import wait_until
from tests.verdicts.agreement import Views, disagreements
from tests.verdicts.faults import Fault, Scene
from tests.verdicts.views import look

SYMBOLS = 12
RATE = 600.0
"""Messages a second."""
AGREED_S = 150.0
_PAUSE_S = 0.5
_WINDOW = re.compile(r"(min_over_time\([^\[]+)\[\d+[mh]\]")


@dataclass(kw_only=True)
class Row:
    """What the table says of one fault; seconds since it began, and since it was mended."""

    fault: Fault
    before: frozenset[str] = frozenset()
    """Alerts whose condition held before it."""
    views: Views | None = None
    """The last look: the one at which all agreed, if they did."""
    agreed_s: float | None = None
    well_s: float | None = None
    complaints: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return self.agreed_s is not None and self.well_s is not None and not self.complaints


@dataclass(frozen=True)
class Watched:
    """A service, and the Prometheus that watches it."""

    stage: Stage
    prometheus: Prometheus

    def look(self) -> Views:
        return look(self.stage.service, self.prometheus)


@contextmanager
def watched(folder: Path, *, symbols: int, rate: float) -> Iterator[Watched]:
    """Both running and well; nothing is left running."""
    with a_chaos_stage(folder, Market(symbols=symbols, rate=rate), {}, {}) as stage:
        # Few symbols with much traffic: each of their streams is a busy one.
        stage.thresholds = dict.fromkeys(stage.streams, BUSY_S)
        prometheus = Prometheus(folder, f"127.0.0.1:{stage.service.http_port}", _quick_rules(folder))
        try:
            beheld = Watched(stage, prometheus)
            wait_until("all say that it is well", lambda: _all_well(beheld), deadline_s=60.0)
            yield beheld
        finally:
            prometheus.end()


def _quick_rules(folder: Path) -> Path:
    """The rules as they are, but that "for an hour" is ten seconds: else each trial would last as long."""
    text = yaml.safe_dump(yaml.safe_load(RULES.read_text(encoding="utf-8")), width=10_000)
    file = folder / "rules.yaml"
    file.write_text(_WINDOW.sub(r"\1[10s]", text), encoding="utf-8")
    return file


def _all_well(beheld: Watched) -> bool:
    views = beheld.look()
    return views.is_well and not disagreements(views)


def play(beheld: Watched, fault: Fault) -> Row:
    """Provoke, look until all agree, mend, look until all say that it is well."""
    row, scene = Row(fault=fault, before=beheld.look().alerts), Scene(beheld.stage)
    try:
        row.agreed_s = _wait(beheld, row, scene)
    finally:
        scene.mend()
    mended_s = time.monotonic()
    while row.well_s is None and time.monotonic() - mended_s < AGREED_S:
        if _all_well(beheld):
            row.well_s = time.monotonic() - mended_s
        time.sleep(_PAUSE_S)
    if row.well_s is None:
        row.complaints.append(f"not well {AGREED_S:g} s after it was mended: {beheld.look()}")
    return row


def _wait(beheld: Watched, row: Row, scene: Scene) -> float | None:
    begun_s = time.monotonic()
    row.fault.provoke(scene)
    said: list[str] = []
    while time.monotonic() - begun_s < AGREED_S:
        if row.fault.keep_up is not None:
            row.fault.keep_up(scene)
        row.views = beheld.look()
        said = complaints(row.views, row.fault)
        if not said:
            return time.monotonic() - begun_s
        time.sleep(_PAUSE_S)
    row.complaints += said
    return None


def complaints(views: Views, fault: Fault) -> list[str]:
    """What is not as it should be: somebody differs from the others, or all from the truth."""
    wrong = disagreements(views)
    for name, is_said, expected in (
        ("/readyz", views.ready, fault.ready),
        ("/freshz", views.fresh, fault.fresh),
        ("`ingest status`", views.status, fault.status),
    ):
        if is_said != expected:
            wrong.append(f"{name} says {is_said}, and it is {expected}")
    named = views.diagnoses | views.incidents
    if fault.diagnosis and views.table_age_s is not None and fault.diagnosis not in named:
        wrong.append(f"the diagnosis is {', '.join(sorted(named)) or 'none'}, not {fault.diagnosis}")
    if silent := fault.alerts - views.alerts:
        wrong.append(f"silent: {', '.join(sorted(silent))}")
    return wrong
