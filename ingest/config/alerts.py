"""The tables of who is told of trouble. Pure."""

from typing import Annotated, Literal, TypeAlias

from pydantic import (
    Field,
    SecretStr,
    field_validator,
)

from ingest.config.vocabulary import JsonValue, Seconds, Section, Share, words_in

AlertRule: TypeAlias = Literal[
    "stream_stale",
    "stale_share",
    "feed_reconnects",
    "shard_restarts",
    "shard_quarantined",
    "database_stalled",
    "rest_banned",
    "clock_offset",
    "exchange_down",
    "table_not_written",
]
"""The names of `ingest.ops.alert_rules.RuleName`."""


class AlertsSection(Section):
    """Who is told of trouble, and from when on something is trouble; README, "Silence", and the runbook."""

    urls: list[SecretStr] = Field(default_factory=list)
    """Of [apprise](https://github.com/caronc/apprise): mail, webhooks, chats, pagers. They may hold
    passwords, and are never shown. None: the log alone is told. In a variable they are separated by
    spaces."""
    name: str = Field(default="ingest", min_length=1, max_length=80)
    """Of this installation; begins every subject."""
    runbook_url: str = ""
    """Where people can read the runbook; each message ends with a link to its entry there. Empty: the file in
    the package is named."""
    min_severity: Literal["warning", "critical"] = "warning"
    """What is less grave is only logged."""
    disabled: list[AlertRule] = Field(default_factory=list)
    """Names of rules that nobody wants to hear of; the keys below that begin with their names are their
    limits."""
    stream_stale_s: Seconds = 60.0
    """A stream has been stale for so long; the ladder of repairs takes about that."""
    stale_share: Share = 0.05
    """Of the watched streams, stale at once, three at least: then one cause is likelier than many."""
    stale_share_critical: Share = 0.25
    """From here on that is critical."""
    feed_reconnects: int = Field(default=5, ge=1, le=1_000)
    """Times that one feed was connected again within the window."""
    feed_reconnects_window_s: Seconds = 600.0
    """The window of `feed_reconnects`."""
    shard_restarts: int = Field(default=3, ge=1, le=1_000)
    """Restarts of one shard within the window."""
    shard_restarts_window_s: Seconds = 600.0
    """The window of `shard_restarts`."""
    database_stalled_s: Seconds = 30.0
    """Data arrive and nothing is committed; a restart of the server takes less."""
    rest_ban_s: Seconds = 1.0
    """REST refuses us for at least so long: any ban is told, because somebody asks too much."""
    rest_ban_critical_s: Seconds = 300.0
    """From here on that is critical: nothing can be repaired or proven meanwhile."""
    clock_offset_s: Seconds = 0.5
    """Between our clock and the exchange's; ages and receive times are wrong by it."""
    clock_offset_critical_s: Seconds = 5.0
    """From here on that is critical."""
    exchange_down_s: Seconds = 30.0
    """The whole exchange stands still."""
    table_age_s: Seconds = 15.0
    """The freshness table, written each second, has not been written for so long."""
    recovered_after_s: Annotated[float, Field(ge=0, le=3_600)] = 60.0
    """A trouble that was away for so long is over: what comes and goes is one trouble."""
    group_wait_s: Annotated[float, Field(ge=0, le=300)] = 5.0
    """What begins within so long is one message."""
    remind_every_s: Annotated[float, Field(ge=60, le=604_800)] = 14_400.0
    """How often a trouble that lasts is told again."""
    burst: int = Field(default=10, ge=1, le=1_000)
    """Messages at once; then `per_hour`."""
    per_hour: Annotated[float, Field(gt=0, le=3_600)] = 30.0
    """What is beyond leaves later, as one summary."""
    deadline_s: Annotated[float, Field(ge=1, le=300)] = 20.0
    """For one attempt to deliver."""
    give_up_after_s: Annotated[float, Field(ge=1, le=86_400)] = 3_600.0
    """How long delivery is tried again; later the message would mislead."""

    @field_validator("urls", mode="before")
    @classmethod
    def _urls_apart(cls, value: JsonValue) -> JsonValue:
        # Not at commas as elsewhere: an apprise URL may have commas of its own, but no spaces.
        return [*value.split()] if isinstance(value, str) else value

    @field_validator("disabled", mode="before")
    @classmethod
    def _rule_words(cls, value: JsonValue) -> JsonValue:
        return words_in(value) if isinstance(value, str) else value


class DeadmanSection(Section):
    """What `ingest deadman` calls silence."""

    max_silence_s: Seconds = 300.0
    """The newest committed event of all streams is older than this: the exchange is never so quiet."""
    hours: list[str] = Field(default=["Mon-Sun 00:00-24:00"], min_length=1)
    """When silence counts, UTC: also `Mon-Fri 08:00-18:00`, `Sat,Sun 10:00-12:00`, `22:00-06:00`. The
    freshness table is judged at any time."""
    table_max_age_s: Seconds = 60.0
    """The freshness table is older than this: nobody writes it."""
    deadline_s: Annotated[float, Field(ge=5, le=600)] = 30.0
    """For the whole check, the alert included; cron calls it every few minutes."""

    @field_validator("hours", mode="before")
    @classmethod
    def _one_or_more(cls, value: JsonValue) -> JsonValue:
        # Not at commas as elsewhere: `Sat,Sun 10:00-12:00` is one entry.
        return [value] if isinstance(value, str) else value
