"""One scenario's measurement: when it began, what the service noticed, and whom it disturbed.

    begin() -> the fault is provoked -> lifted(), where it is one that ends -> finish()

All times are monotonic. A stream has left its state when the table shows another one, which is written
once a second and looked at four times a second; an incident's time is its log line's.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.silence.observer import Key, Seen
from tests.silence.stage import Incident, Line, Stage, wall_s

_POLL_S = 0.2
_QUIET_AFTER_S = 2.0
"""Looked on for so long after everything is well: trouble may follow trouble."""
_WRITTEN_S = 15.0
_STATES = {"live", "quiet"}
_TOLD_AT_MOST = 5

Condition = Callable[[], bool]


@dataclass(kw_only=True)
class Row:
    """What the table says of one scenario. Seconds; None is never, or does not apply."""

    name: str
    title: str
    targets: int = 0
    threshold_s: float | None = None
    noticed_s: float | None = None
    incident_s: float | None = None
    incidents: int = 0
    diagnoses: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    recovered_s: float | None = None
    since: str = "fault"
    """What `recovered_s` is counted from: the fault's begin, or its end where only that can heal it."""
    all_spoke_s: float | None = None
    """When the last of the targets, the slow ones included, had spoken again."""
    disturbed: list[str] = field(default_factory=list)
    false_incidents: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    note: str = ""
    measured: bool = True


class Trial:
    """Used once."""

    def __init__(self, stage: Stage, name: str, title: str) -> None:
        self.stage = stage
        self.row = Row(name=name, title=title)
        self.targets: set[Key] = set()
        self.begun_s = self.begun_wall_s = 0.0
        self._lifted_s: float | None = None
        self._before: dict[Key, Seen] = {}
        self._incident_before = self._gap_before = 0
        self._expected: frozenset[str] = frozenset()

    # ------------------------------------------------------------------ what a scenario says

    def begin(self, targets: Iterable[Key], *, expect: Iterable[str] = ()) -> None:
        """The fault comes now, and is about these streams; `expect` are the diagnoses that are right.

        Without any no incident is right.
        """
        stage, self.targets, self._expected = self.stage, set(targets), frozenset(expect)
        self._gap_before = int(stage.service.value("SELECT coalesce(max(gap_id), 0) FROM ops.gaps"))
        self._incident_before = stage.last_incident()
        self._before = dict(stage.streams)
        self.row.targets = len(self.targets)
        thresholds = [stage.thresholds[key] for key in self.targets if key in stage.thresholds]
        self.row.threshold_s = min(thresholds, default=None)
        self.begun_s, self.begun_wall_s = time.monotonic(), wall_s()

    def lifted(self) -> None:
        """The fault ends now; recovery is counted from here."""
        self._lifted_s = time.monotonic()
        self.row.since = "lifted"

    def wait(self, what: str, condition: Condition, *, deadline_s: float) -> float | None:
        """Seconds since the fault at which it came true; None, and a complaint, when it did not."""
        until_s = time.monotonic() + deadline_s
        while time.monotonic() < until_s:
            try:
                if condition():
                    return time.monotonic() - self.begun_s
            except OSError:
                pass  # the database is away
            time.sleep(_POLL_S)
        self.row.wrong.append(f"{what}: not within {deadline_s:g} s")
        return None

    def finish(
        self,
        *,
        must_notice: bool = True,
        deadline_s: float = 90.0,
        slow_s: float = 15.0,
        well: Condition | None = None,
    ) -> Row:
        """Wait until everything is well again, look on for a moment, and make up the account."""
        if must_notice:
            self.wait("noticed", self._is_noticed, deadline_s=deadline_s)
        at_s = self.wait("recovered", well or self._is_well, deadline_s=deadline_s)
        if at_s is not None and (must_notice or self._lifted_s is not None):
            self.row.recovered_s = at_s - ((self._lifted_s or self.begun_s) - self.begun_s)
        slow_until_s = time.monotonic() + slow_s
        while not self._all_spoke() and time.monotonic() < slow_until_s:
            time.sleep(_POLL_S)
        if self._all_spoke():
            self.row.all_spoke_s = time.monotonic() - self.begun_s
        time.sleep(_QUIET_AFTER_S)
        self.account()
        return self.row

    # ------------------------------------------------------------------ looking

    def _left(self) -> list[float]:
        """When targets left the states in which nothing is wrong, or appeared."""
        return [
            change.at_s
            for change in self.stage.observer.changes
            if change.at_s >= self.begun_s
            and change.key in self.targets
            and (change.state not in _STATES or change.key not in self._before)
        ]

    def _opened(self) -> list[Line]:
        lines = self.stage.lines("incident.opened", since_s=self.begun_s - 1.0)
        return [line for line in lines if int(line.fields["incident"]) > self._incident_before]

    def _is_noticed(self) -> bool:
        return bool(self._left() or self._opened())

    def _is_well(self) -> bool:
        """All targets are live, those that are busy have spoken, and every incident is over."""
        stage, since_s = self.stage, self._since_wall_s()
        return (
            stage.is_settled()
            and all(key in stage.streams for key in self.targets)
            and all(stage.streams[key].state in _STATES for key in self.targets)
            and all(stage.streams[key].recv_s > since_s for key in self.targets if stage.is_busy(key))
        )

    def busy_are_well(self) -> bool:
        """The busy targets are live and have spoken, whatever is still to be found of the slow ones."""
        streams, since_s = self.stage.streams, self._since_wall_s()
        busy = [streams[key] for key in self.targets if self.stage.is_busy(key)]
        return self._is_noticed() and all(s.state in _STATES and s.recv_s > since_s for s in busy)

    def _all_spoke(self) -> bool:
        streams, since_s = self.stage.streams, self._since_wall_s()
        return all(key in streams and streams[key].recv_s > since_s for key in self.targets)

    def _since_wall_s(self) -> float:
        """What a stream has heard by then proves nothing: it may have been in flight."""
        return self.begun_wall_s + ((self._lifted_s or self.begun_s) - self.begun_s) + 0.5

    # ------------------------------------------------------------------ the account

    def account(self) -> None:
        row = self.row
        left, opened = self._left(), self._opened()
        row.incident_s = min((line.at_s - self.begun_s for line in opened), default=None)
        row.noticed_s = min([at_s - self.begun_s for at_s in left] + [row.incident_s or 1e9], default=None)
        if row.noticed_s is not None and row.noticed_s > 1e8:
            row.noticed_s = None
        incidents = self._written(len(opened))
        row.incidents = len(incidents)
        row.diagnoses = _once(incident.diagnosis for incident in incidents)
        row.evidence = _once(incident.evidence for incident in incidents)
        row.steps = _once(step for incident in incidents for step in incident.steps) + self._other_steps()
        row.false_incidents = [
            f"{incident.diagnosis} of {len(incident.streams)}: {incident.evidence}"
            for incident in incidents
            if not self._is_right(incident)
        ]
        row.disturbed = self._disturbed()

    def _written(self, least: int) -> list[Incident]:
        until_s = time.monotonic() + _WRITTEN_S
        while True:
            incidents = self.stage.incidents(self._incident_before)
            done = len(incidents) >= least and all(incident.is_closed for incident in incidents)
            if done or time.monotonic() > until_s:
                return incidents
            time.sleep(_POLL_S)

    def _is_right(self, incident: Incident) -> bool:
        return incident.diagnosis in self._expected and incident.streams <= {str(key) for key in self.targets}

    def _other_steps(self) -> list[str]:
        """What was done that is no step of the ladder."""
        names = {
            "shard.recycled": "restart_shard",
            "shard.quarantined": "streams to the other shard",
            "database.started_again": "restart of the database",
            "symbol.delisted": "streams dropped",
            "symbol.listed": "streams adopted",
        }
        return _once(names[line.event] for line in self.stage.lines(*names, since_s=self.begun_s))

    def _disturbed(self) -> list[str]:
        """Streams the fault was not about, with what happened to them."""
        found: dict[Key, list[str]] = {}
        now = self.stage.streams
        for key, before in self._before.items():
            if key not in self.targets and key in now and now[key].reconnects > before.reconnects:
                found.setdefault(key, []).append("reconnected")
        for change in self.stage.observer.changes:
            was_live = self._before.get(change.key)
            is_other = change.key not in self.targets and was_live is not None and was_live.state == "live"
            if is_other and change.at_s >= self.begun_s and change.state != "live":
                found.setdefault(change.key, []).append(change.state)
        for key in self._gaps():
            if key not in self.targets:
                found.setdefault(key, []).append("gap")
        return [f"{key} {', '.join(_once(what))}" for key, what in sorted(found.items())]

    def _gaps(self) -> list[Key]:
        rows = self.stage.service.rows(
            "SELECT DISTINCT symbol, kind FROM ops.gaps WHERE gap_id > $1", self._gap_before
        )
        return [Key(row["symbol"], row["kind"]) for row in rows]


def complaints(row: Row, *, must_notice: bool = True) -> list[str]:
    """What is not as it should be."""
    wrong = list(row.wrong)
    wrong += [f"disturbed: {each}" for each in row.disturbed[:_TOLD_AT_MOST]]
    wrong += [f"false incident: {each}" for each in row.false_incidents]
    if must_notice and row.noticed_s is None:
        wrong.append("not noticed")
    return wrong


def _once(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def is_absent(stage: Stage, keys: Iterable[Key]) -> bool:
    """Whether the table has none of these any more."""
    return all(stage.streams.get(key) is None for key in keys)
