"""Who is told what, and how often: active alerts in, notices out.

Decides when a trouble is announced, repeated, grouped with others, held back, and declared over. Never
judges a trouble (`alert_rules`), words a notice (`notices`) or sends one (`alerts`).

    phase      event                                                  next       notice
    --------   ----------------------------------------------------   --------   -------------------------
    (none)     active                                                 PENDING
    PENDING    not active                                             (none)
    PENDING    lasted `hold_s`, not explained, group has waited       STANDING   RAISED
    STANDING   active, and now critical when it was told as warning   STANDING   RAISED
    STANDING   active, told `remind_every_s` ago                      STANDING   REMINDER
    STANDING   not active                                             CLEARING
    CLEARING   active                                                 STANDING
    CLEARING   away for long enough, group has waited                 (none)     RECOVERED

* One notice for a key while it lasts; the alerts of one rule that come together share one notice.
* An alert that flaps must stay away ever longer before it is over: twice as long for each time that it
  came, or came back, within the hour. So flapping becomes one long trouble instead of many short ones.
* While the cause of an alert stands (`EXPLAINED_BY`) the alert stays PENDING.
* Notices pass a token bucket. What finds it empty waits, and leaves as one summary: late, never silent.

Invariants: everybody who was told of a trouble is told of its end; what is held back is bounded, and
what is dropped from it is counted in the summary.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Final

from ingest.ops.alert_rules import EXPLAINED_BY, Alert, Rule, RuleName, Severity

FLAP_WINDOW_S: Final = 3_600.0
FLAP_DOUBLINGS: Final = 4
FLAPS_KEPT: Final = 20
HELD_BACK_LIMIT: Final = 500
"""Notices that may wait for the rate limit."""


class NoticeKind(StrEnum):
    RAISED = "raised"
    REMINDER = "reminder"
    RECOVERED = "recovered"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True)
class Item:
    """One alert of a notice. `since_us` is wall time; `lasted_s` was measured on the monotonic clock."""

    alert: Alert
    since_us: int
    lasted_s: float
    times: int = 1
    """How often it came within the last hour, this time included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What somebody is to be told, not yet in words."""

    kind: NoticeKind
    severity: Severity
    at_us: int
    rule: RuleName | None = None
    """None for a summary only."""
    items: tuple[Item, ...] = ()
    standing: int = 0
    """Alerts of the same rule that stand besides the items."""
    folded: tuple["Notice", ...] = ()
    """Of a summary: the notices that the rate limit held back."""
    dropped: int = 0
    """Of a summary: further notices that not even it can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskLimits:
    """How much anybody is told; `burst` notices at once, `per_hour` in the long run."""

    min_severity: Severity = Severity.WARNING
    remind_every_s: float = 4 * 3_600.0
    group_wait_s: float = 5.0
    burst: int = 10
    per_hour: float = 30.0

    def without_waiting(self) -> "DeskLimits":
        """The same without waiting for a group: for one look at a state."""
        return replace(self, group_wait_s=0.0)


class _Phase(Enum):
    PENDING = "pending"
    STANDING = "standing"
    CLEARING = "clearing"


@dataclass(slots=True)
class _Entry:
    alert: Alert
    since_s: float
    since_us: int
    phase: _Phase = _Phase.PENDING
    ready_s: float | None = None
    """Since when it could be told but for its group."""
    told: Severity | None = None
    told_s: float = 0.0
    gone_s: float = 0.0


@dataclass(slots=True)
class _Bucket:
    limits: DeskLimits
    tokens: float
    filled_s: float | None = None

    def available(self, now_s: float) -> int:
        """Whole tokens at this time; time that seems to go back adds none."""
        if self.filled_s is not None:
            grown = (now_s - self.filled_s) * self.limits.per_hour / 3_600
            self.tokens = min(float(self.limits.burst), self.tokens + max(0.0, grown))
        self.filled_s = now_s
        return int(self.tokens)

    def spend(self, tokens: int) -> None:
        self.tokens -= tokens


@dataclass(slots=True)
class _Outbox:
    """Notices that wait for the rate limit."""

    waiting: list[Notice] = field(default_factory=list)
    dropped: int = 0

    def add(self, notices: Iterable[Notice]) -> None:
        self.waiting += notices
        excess = len(self.waiting) - HELD_BACK_LIMIT
        if excess > 0:
            self.waiting = sorted(self.waiting, key=_gravity)[:HELD_BACK_LIMIT]
            self.dropped += excess

    def release(self, tokens: int) -> list[Notice]:
        """All that waits in at most `tokens` notices: the gravest by themselves, the rest in a summary."""
        if tokens < 1 or not self.waiting:
            return []
        waiting, self.waiting = sorted(self.waiting, key=_gravity), []
        if len(waiting) <= tokens and not self.dropped:
            return waiting
        alone, rest = waiting[: tokens - 1], waiting[tokens - 1 :]
        dropped, self.dropped = self.dropped, 0
        return [*alone, _summary(rest, dropped)]


class AlertDesk:
    """The state of all alerts. Call `consider` about once a second with what is active."""

    def __init__(self, rules: Collection[Rule], limits: DeskLimits | None = None) -> None:
        self._rules: Mapping[RuleName, Rule] = {rule.name: rule for rule in rules}
        self._limits = limits or DeskLimits()
        self._entries: dict[str, _Entry] = {}
        self._came_s: dict[str, tuple[float, ...]] = {}
        self._bucket = _Bucket(self._limits, float(self._limits.burst))
        self._outbox = _Outbox()

    @property
    def standing(self) -> frozenset[str]:
        """Keys that somebody was told of and that are not over: what `evaluate` wants to know."""
        return frozenset(key for key, entry in self._entries.items() if entry.phase is not _Phase.PENDING)

    @property
    def held_back(self) -> int:
        """Notices that wait for the rate limit."""
        return len(self._outbox.waiting) + self._outbox.dropped

    def consider(self, active: Iterable[Alert], now_s: float, now_wall_us: int) -> list[Notice]:
        """What is to be told now, gravest first. `now_s` is monotonic, `now_wall_us` dates the notices."""
        self._take_in({alert.key: alert for alert in active}, now_s, now_wall_us)
        self._forget_flaps(now_s)
        told = [
            *self._raise(now_s, now_wall_us),
            *self._remind(now_s, now_wall_us),
            *self._recover(now_s, now_wall_us),
        ]
        self._outbox.add(notice for notice in told if notice.severity >= self._limits.min_severity)
        released = self._outbox.release(self._bucket.available(now_s))
        self._bucket.spend(len(released))
        return released

    # ------------------------------------------------------------------ what is there

    def _take_in(self, active: Mapping[str, Alert], now_s: float, now_us: int) -> None:
        for key, alert in active.items():
            entry = self._entries.get(key)
            if entry is None:
                since_us = now_us - int((now_s - alert.since_s) * 1e6)
                self._entries[key] = _Entry(alert, alert.since_s, since_us)
                continue
            entry.alert = alert
            if entry.phase is _Phase.CLEARING:
                entry.phase, entry.ready_s = _Phase.STANDING, None
                self._came(key, now_s)
        for key in self._entries.keys() - active.keys():
            self._miss(key, now_s)

    def _miss(self, key: str, now_s: float) -> None:
        entry = self._entries[key]
        if entry.phase is _Phase.PENDING:
            del self._entries[key]
        elif entry.phase is _Phase.STANDING:
            entry.phase, entry.gone_s, entry.ready_s = _Phase.CLEARING, now_s, None

    def _came(self, key: str, now_s: float) -> None:
        self._came_s[key] = (*self._came_s.get(key, ())[-FLAPS_KEPT:], now_s)

    def _forget_flaps(self, now_s: float) -> None:
        self._came_s = {
            key: recent
            for key, times_s in self._came_s.items()
            if (recent := tuple(at_s for at_s in times_s if now_s - at_s < FLAP_WINDOW_S))
        }

    # ------------------------------------------------------------------ what is told

    def _raise(self, now_s: float, now_us: int) -> list[Notice]:
        there = {entry.alert.rule for entry in self._entries.values()}
        explained = {rule for rule, causes in EXPLAINED_BY.items() if causes & there}

        def wants(entry: _Entry) -> bool:
            if entry.phase is _Phase.STANDING:
                return entry.told is not None and entry.alert.severity > entry.told
            held = now_s - entry.since_s >= self._rules[entry.alert.rule].hold_s
            return entry.phase is _Phase.PENDING and held and entry.alert.rule not in explained

        notices = []
        for rule, entries in self._ready_groups(wants, now_s).items():
            for entry in entries:
                self._tell(entry, now_s)
            notices.append(self._notice(NoticeKind.RAISED, rule, entries, now_s, now_us))
        return notices

    def _tell(self, entry: _Entry, now_s: float) -> None:
        if entry.phase is _Phase.PENDING:
            self._came(entry.alert.key, now_s)
        entry.phase, entry.ready_s = _Phase.STANDING, None
        entry.told, entry.told_s = entry.alert.severity, now_s

    def _remind(self, now_s: float, now_us: int) -> list[Notice]:
        standing: dict[RuleName, list[_Entry]] = defaultdict(list)
        for entry in self._entries.values():
            if entry.phase is _Phase.STANDING:
                standing[entry.alert.rule].append(entry)
        notices = []
        for rule, entries in standing.items():
            if any(now_s - entry.told_s >= self._limits.remind_every_s for entry in entries):
                for entry in entries:
                    entry.told_s = now_s
                notices.append(self._notice(NoticeKind.REMINDER, rule, entries, now_s, now_us))
        return notices

    def _recover(self, now_s: float, now_us: int) -> list[Notice]:
        def wants(entry: _Entry) -> bool:
            return entry.phase is _Phase.CLEARING and now_s - entry.gone_s >= self._away_s(entry.alert)

        notices = []
        for rule, entries in self._ready_groups(wants, now_s).items():
            for entry in entries:
                del self._entries[entry.alert.key]
            notices.append(self._notice(NoticeKind.RECOVERED, rule, entries, now_s, now_us))
        return notices

    def _away_s(self, alert: Alert) -> float:
        flaps = len(self._came_s.get(alert.key, ())) - 1
        return self._rules[alert.rule].recovered_after_s * 2.0 ** min(max(flaps, 0), FLAP_DOUBLINGS)

    # ------------------------------------------------------------------ notices

    def _ready_groups(self, wants: Callable[[_Entry], bool], now_s: float) -> Mapping[RuleName, list[_Entry]]:
        """Entries that want to be told of, by rule, where the first of them has waited for the others."""
        groups: dict[RuleName, list[_Entry]] = defaultdict(list)
        for entry in self._entries.values():
            if wants(entry):
                entry.ready_s = now_s if entry.ready_s is None else entry.ready_s
                groups[entry.alert.rule].append(entry)
        return {
            rule: entries
            for rule, entries in groups.items()
            if any(self._has_waited(entry, now_s) for entry in entries)
        }

    def _has_waited(self, entry: _Entry, now_s: float) -> bool:
        return entry.ready_s is not None and now_s - entry.ready_s >= self._limits.group_wait_s

    def _notice(
        self, kind: NoticeKind, rule: RuleName, entries: Sequence[_Entry], now_s: float, now_us: int
    ) -> Notice:
        items = tuple(self._item(entry, kind, now_s) for entry in entries)
        told = {entry.alert.key for entry in entries}
        return Notice(
            kind=kind,
            severity=max(entry.told or entry.alert.severity for entry in entries),
            at_us=now_us,
            rule=rule,
            items=items,
            standing=sum(
                1
                for key, entry in self._entries.items()
                if key not in told and entry.alert.rule is rule and entry.phase is _Phase.STANDING
            ),
        )

    def _item(self, entry: _Entry, kind: NoticeKind, now_s: float) -> Item:
        until_s = entry.gone_s if kind is NoticeKind.RECOVERED else now_s
        times = len(self._came_s.get(entry.alert.key, ()))
        return Item(entry.alert, entry.since_us, max(0.0, until_s - entry.since_s), max(times, 1))


def _gravity(notice: Notice) -> tuple[int, int]:
    """Sort key: critical first, and within a severity the oldest first."""
    return -notice.severity, notice.at_us


def _summary(notices: Sequence[Notice], dropped: int) -> Notice:
    newest = max(notices, key=lambda notice: notice.at_us)
    return Notice(
        kind=NoticeKind.SUMMARY,
        severity=max(notice.severity for notice in notices),
        at_us=newest.at_us,
        folded=tuple(notices),
        dropped=dropped,
    )
