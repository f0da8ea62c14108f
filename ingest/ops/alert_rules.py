"""Which troubles deserve somebody's attention now: rules as data, facts in, active alerts out.

Decides what is wrong, how badly and since when. Never decides whether anybody is told (`alert_desk`) nor
in which words (`notices`); holds no state and reads no clock.

    rule               measured                                        one alert for each
    stream_stale       seconds that a stream has been stale            stream
    stale_share        share of the watched streams that are stale     service
    feed_reconnects    reconnects of a feed within the window          feed
    shard_restarts     restarts of a shard within the window           shard
    shard_quarantined  1 while a shard is quarantined or given up      shard
    database_stalled   seconds without a commit while data arrive      service
    rest_banned        seconds that the exchange's REST still bans us  service
    clock_offset       seconds between our clock and the exchange's    service
    exchange_down      seconds that the whole exchange has stood still service
    table_not_written  seconds since the freshness table was written   service

Invariants: the key of an alert names its rule and its place and nothing that changes while it lasts; an
alert that is standing is measured against the lower `clear` limit, so that a value that wavers round
its limit is one alert.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from ingest.ops.alert_facts import AlertFacts, OpenIncident

STALE_SHARE_MIN_STREAMS: Final = 3
"""Fewer stale streams are no share of anything: each has its own alert."""


class Severity(IntEnum):
    WARNING = 1
    CRITICAL = 2


class RuleName(StrEnum):
    STREAM_STALE = "stream_stale"
    STALE_SHARE = "stale_share"
    FEED_RECONNECTS = "feed_reconnects"
    SHARD_RESTARTS = "shard_restarts"
    SHARD_QUARANTINED = "shard_quarantined"
    DATABASE_STALLED = "database_stalled"
    REST_BANNED = "rest_banned"
    CLOCK_OFFSET = "clock_offset"
    EXCHANGE_DOWN = "exchange_down"
    TABLE_NOT_WRITTEN = "table_not_written"

    @property
    def anchor(self) -> str:
        """Its entry in the runbook."""
        return self.replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When one kind of trouble is worth a notice; the unit of the limits is that of the measured value."""

    name: RuleName
    limit: float
    clear: float
    """A standing alert stands for as long as the value is at least this; not above `limit`."""
    severity: Severity = Severity.WARNING
    critical: float | None = None
    """From this value on it is critical."""
    window_s: float = 0.0
    hold_s: float = 0.0
    """It must have lasted this long before anybody is told."""
    recovered_after_s: float = 60.0
    """It must have been away this long before it counts as over."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A trouble that is there now. `key` is stable; `since_s` is monotonic."""

    key: str
    rule: RuleName
    severity: Severity
    where: str
    since_s: float
    value: float
    limit: float
    window_s: float = 0.0
    note: str = ""
    tried: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertThresholds:
    """What configuration says about the rules, one field for each key of `[alerts]`."""

    stream_stale_s: float = 60.0
    stale_share: float = 0.05
    stale_share_critical: float = 0.25
    feed_reconnects: int = 5
    feed_reconnects_window_s: float = 600.0
    shard_restarts: int = 3
    shard_restarts_window_s: float = 600.0
    database_stalled_s: float = 30.0
    rest_ban_s: float = 1.0
    rest_ban_critical_s: float = 300.0
    clock_offset_s: float = 0.5
    clock_offset_critical_s: float = 5.0
    exchange_down_s: float = 30.0
    table_age_s: float = 15.0
    recovered_after_s: float = 60.0
    disabled: tuple[RuleName, ...] = ()


def make_rules(thresholds: AlertThresholds) -> tuple[Rule, ...]:
    """The rules that these thresholds mean, those that are disabled left out."""
    rules = (*_rules_of_streams(thresholds), *_rules_of_processes(thresholds), *_rules_of_others(thresholds))
    return tuple(
        replace(rule, recovered_after_s=thresholds.recovered_after_s)
        for rule in rules
        if rule.name not in thresholds.disabled
    )


def _rules_of_streams(t: AlertThresholds) -> tuple[Rule, ...]:
    return (
        # A stream that somebody was told of stays told of until it is not stale at all, hence 0.
        Rule(name=RuleName.STREAM_STALE, limit=t.stream_stale_s, clear=0.0),
        Rule(
            name=RuleName.STALE_SHARE,
            limit=t.stale_share,
            clear=t.stale_share * 0.8,
            critical=t.stale_share_critical,
            hold_s=15.0,
        ),
        Rule(name=RuleName.EXCHANGE_DOWN, limit=t.exchange_down_s, clear=0.0, severity=Severity.CRITICAL),
    )


def _rules_of_processes(t: AlertThresholds) -> tuple[Rule, ...]:
    return (
        Rule(
            name=RuleName.FEED_RECONNECTS,
            limit=t.feed_reconnects,
            clear=t.feed_reconnects / 2,
            window_s=t.feed_reconnects_window_s,
        ),
        Rule(
            name=RuleName.SHARD_RESTARTS,
            limit=t.shard_restarts,
            clear=t.shard_restarts / 2,
            window_s=t.shard_restarts_window_s,
        ),
        Rule(name=RuleName.SHARD_QUARANTINED, limit=1.0, clear=1.0, severity=Severity.CRITICAL),
    )


def _rules_of_others(t: AlertThresholds) -> tuple[Rule, ...]:
    return (
        Rule(
            name=RuleName.DATABASE_STALLED,
            limit=t.database_stalled_s,
            clear=0.0,
            severity=Severity.CRITICAL,
        ),
        Rule(name=RuleName.REST_BANNED, limit=t.rest_ban_s, clear=0.0, critical=t.rest_ban_critical_s),
        Rule(
            name=RuleName.CLOCK_OFFSET,
            limit=t.clock_offset_s,
            clear=t.clock_offset_s / 2,
            critical=t.clock_offset_critical_s,
            hold_s=30.0,
        ),
        Rule(
            name=RuleName.TABLE_NOT_WRITTEN,
            limit=t.table_age_s,
            # It is written each second when all is well.
            clear=min(t.table_age_s, 5.0),
            severity=Severity.CRITICAL,
        ),
    )


def at_once(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The same rules without waiting: for one look at a state of which no history is known."""
    return tuple(replace(rule, hold_s=0.0) for rule in rules)


DEFAULT_RULES: Final = make_rules(AlertThresholds())

EXPLAINED_BY: Final[Mapping[RuleName, frozenset[RuleName]]] = MappingProxyType(
    {
        RuleName.STREAM_STALE: frozenset({RuleName.EXCHANGE_DOWN, RuleName.DATABASE_STALLED}),
        RuleName.STALE_SHARE: frozenset({RuleName.EXCHANGE_DOWN, RuleName.DATABASE_STALLED}),
        RuleName.FEED_RECONNECTS: frozenset({RuleName.EXCHANGE_DOWN}),
        RuleName.TABLE_NOT_WRITTEN: frozenset({RuleName.DATABASE_STALLED}),
    }
)
"""Consequences, and what causes them: while the cause is known nobody needs a notice of the other."""


def evaluate(
    rules: Collection[Rule], facts: AlertFacts, standing: Collection[str] = frozenset()
) -> tuple[Alert, ...]:
    """The alerts that are active now. `standing` are the keys that were active, for their lower limit."""
    return tuple(
        alert
        for rule in rules
        for case in _MEASURED[rule.name](rule, facts)
        if (alert := _alert(rule, case, standing)) is not None
    )


class _Case(NamedTuple):
    """One measurement of a rule, whether or not it is past the limit."""

    where: str
    value: float
    since_s: float
    note: str = ""
    tried: tuple[str, ...] = ()


def _alert(rule: Rule, case: _Case, standing: Collection[str]) -> Alert | None:
    key = f"{rule.name}/{case.where}" if case.where else str(rule.name)
    if case.value < (rule.clear if key in standing else rule.limit):
        return None
    is_critical = rule.critical is not None and case.value >= rule.critical
    severity = Severity.CRITICAL if is_critical else rule.severity
    return Alert(
        key,
        rule.name,
        severity,
        where=case.where,
        since_s=case.since_s,
        value=case.value,
        limit=rule.limit,
        window_s=rule.window_s,
        note=case.note,
        tried=case.tried,
    )


def _stale_streams(rule: Rule, facts: AlertFacts) -> Iterator[_Case]:
    for stream in facts.stale:
        lasted_s = facts.now_s - stream.since_s
        value = max(lasted_s, rule.limit) if stream.ladder_exhausted else lasted_s
        yield _Case(stream.stream, value, stream.since_s, stream.diagnosis, stream.tried)


def _stale_share(_rule: Rule, facts: AlertFacts) -> Iterator[_Case]:
    watched = sum(count for state, count in facts.streams.items() if state != "halted")
    stale = facts.streams.get("stale", 0) + facts.streams.get("recovering", 0)
    if stale >= STALE_SHARE_MIN_STREAMS and watched:
        yield _Case("", stale / watched, facts.now_s, f"{stale} of {watched} streams")


def _reconnects(rule: Rule, facts: AlertFacts) -> Iterator[_Case]:
    for feed, times_s in facts.reconnects.items():
        recent_s = [at_s for at_s in times_s if facts.now_s - at_s <= rule.window_s]
        if recent_s:
            incident = _incident_at(feed, facts)
            note, tried = (incident.diagnosis, incident.tried) if incident else ("", ())
            yield _Case(feed, len(recent_s), min(recent_s), note, tried)


def _restarts(rule: Rule, facts: AlertFacts) -> Iterator[_Case]:
    for shard in facts.shards:
        recent_s = [at_s for at_s in shard.restarts_s if facts.now_s - at_s <= rule.window_s]
        if recent_s:
            yield _Case(f"shard {shard.shard}", len(recent_s), min(recent_s), shard.last_end)


def _quarantined(_rule: Rule, facts: AlertFacts) -> Iterator[_Case]:
    for shard in facts.shards:
        if shard.quarantined_since_s is None and not shard.gave_up:
            continue
        since_s = facts.now_s if shard.quarantined_since_s is None else shard.quarantined_since_s
        where = f"shard {shard.shard}"
        incident = _incident_at(where, facts)
        tried = incident.tried if incident else ()
        yield _Case(where, 1.0, since_s, shard.gave_up or shard.last_end, tried)


def _database(_rule: Rule, facts: AlertFacts) -> Iterator[_Case]:
    since_s = facts.database_stalled_since_s
    if since_s is not None:
        yield _Case("", facts.now_s - since_s, since_s, facts.database_error)


def _ban(_rule: Rule, facts: AlertFacts) -> Iterator[_Case]:
    ban = facts.rest_ban
    if ban is not None and ban.until_s > facts.now_s:
        yield _Case("", ban.until_s - facts.now_s, ban.since_s, f"HTTP {ban.status}")


def _clock(_rule: Rule, facts: AlertFacts) -> Iterator[_Case]:
    if facts.clock_offset_s is not None:
        note = "ahead of" if facts.clock_offset_s > 0 else "behind"
        yield _Case("", abs(facts.clock_offset_s), facts.now_s, note)


def _exchange(_rule: Rule, facts: AlertFacts) -> Iterator[_Case]:
    down = [incident for incident in facts.incidents if incident.diagnosis == "exchange_down"]
    if down:
        first = min(down, key=lambda incident: incident.since_s)
        yield _Case("", facts.now_s - first.since_s, first.since_s, first.evidence, first.tried)


def _table(_rule: Rule, facts: AlertFacts) -> Iterator[_Case]:
    if facts.table_written_s is not None:
        yield _Case("", facts.now_s - facts.table_written_s, facts.table_written_s)


def _incident_at(where: str, facts: AlertFacts) -> OpenIncident | None:
    return next((incident for incident in facts.incidents if incident.where == where), None)


_Measure: TypeAlias = Callable[[Rule, AlertFacts], Iterator[_Case]]

_MEASURED: Final[Mapping[RuleName, _Measure]] = MappingProxyType(
    {
        RuleName.STREAM_STALE: _stale_streams,
        RuleName.STALE_SHARE: _stale_share,
        RuleName.FEED_RECONNECTS: _reconnects,
        RuleName.SHARD_RESTARTS: _restarts,
        RuleName.SHARD_QUARANTINED: _quarantined,
        RuleName.DATABASE_STALLED: _database,
        RuleName.REST_BANNED: _ban,
        RuleName.CLOCK_OFFSET: _clock,
        RuleName.EXCHANGE_DOWN: _exchange,
        RuleName.TABLE_NOT_WRITTEN: _table,
    }
)
