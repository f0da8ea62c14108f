"""Facts, alerts and a desk whose clock the test turns."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ingest.ops.alert_desk import AlertDesk, DeskLimits, Notice
from ingest.ops.alert_facts import StaleStream
from ingest.ops.alert_rules import DEFAULT_RULES, Alert, Rule, RuleName, Severity

T0_US = 1_790_000_000_000_000
"""2026-09-21 14:13:20 UTC."""

AT_ONCE = DeskLimits(group_wait_s=0.0)


def an_alert(
    where: str = "spot:BTCUSDT:trade",
    rule: RuleName = RuleName.STREAM_STALE,
    *,
    since_s: float = 0.0,
    severity: Severity = Severity.WARNING,
    value: float = 61.0,
    note: str = "",
    tried: tuple[str, ...] = (),
) -> Alert:
    return Alert(
        f"{rule}/{where}" if where else str(rule),
        rule,
        severity,
        where=where,
        since_s=since_s,
        value=value,
        limit=60.0,
        window_s=600.0,
        note=note,
        tried=tried,
    )


def stale(
    stream: str = "spot:BTCUSDT:trade", *, since_s: float = 0.0, exhausted: bool = False
) -> StaleStream:
    return StaleStream(
        stream=stream,
        since_s=since_s,
        diagnosis="half_open",
        ladder_exhausted=exhausted,
        tried=("resubscribe",),
    )


def the_rule(name: RuleName) -> Rule:
    return next(rule for rule in DEFAULT_RULES if rule.name is name)


@dataclass
class Watched:
    """A desk and its clock; `at` is monotonic, wall time goes along with it."""

    limits: DeskLimits = AT_ONCE
    at_s: float = 0.0
    desk: AlertDesk = field(init=False)

    def __post_init__(self) -> None:
        self.desk = AlertDesk(DEFAULT_RULES, self.limits)

    def sees(self, *active: Alert) -> list[Notice]:
        """One look at what is active now."""
        return self.desk.consider(active, self.at_s, T0_US + int(self.at_s * 1e6))

    def sees_for(self, seconds: float, *active: Alert) -> list[Notice]:
        """A look each second; all that was told meanwhile."""
        told: list[Notice] = []
        for _ in range(int(seconds)):
            self.at_s += 1
            told += self.sees(*active)
        return told


def kinds(notices: Iterable[Notice]) -> list[str]:
    return [str(notice.kind) for notice in notices]
