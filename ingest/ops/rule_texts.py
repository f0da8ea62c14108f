"""What each alert rule has to say: the trouble, what it means, what is done about it, where to look.

One table, and the two ways in which a letter writes times. Decides no layout: that is `notices`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, TypeAlias

from ingest.ops.alert_desk import Item
from ingest.ops.alert_rules import RuleName

ItemText: TypeAlias = Callable[[Item], str]
Places: TypeAlias = tuple[tuple[str, str], ...]


def utc(at_us: int) -> str:
    """A moment to the second, such as `2026-07-14 09:12:03 UTC`."""
    return f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """A duration in its two largest units, such as `4 min 12 s`."""
    whole = round(seconds)
    for size, unit, smaller_size, smaller in _UNITS:
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s" if whole else "less than a second"


_UNITS: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def sentence(text: str) -> str:
    """The text with a capital first letter, unless it begins with the name of a stream."""
    first_word = text.partition(" ")[0].rstrip(":")
    return text if ":" in first_word else text[:1].upper() + text[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleText:
    """Texts of one rule. Those of several alerts have {n} for their number."""

    one: ItemText
    """The trouble in a few words, as the subject says it."""
    over: ItemText
    """That it is over, in a few words."""
    meaning: ItemText
    """What it means, in whole sentences."""
    tried: str
    """What is done about it when the alert names no steps; follows `What was tried:`."""
    look: Places
    """Where to look, and for what; {symbol} is that of the first stream."""
    after: Places = ()
    """Where to look once it is over."""
    many: str = "{n} troubles of one kind"
    many_over: str = "{n} troubles of one kind are over"
    noted: str = ""
    """How the note of an alert, {note}, is introduced; empty when another text holds it."""


_STATUS: Final = ("ingest status", "streams that are not live, shards, gaps")
_INCIDENTS: Final = ("table ops.incidents", "each incident with its diagnosis and the steps that were tried")
_SESSIONS: Final = ("table ops.feed_sessions", "when the feed was connected, and the reason of each end")
_SHARDS: Final = ("table ops.shards", "state, restarts, heartbeat and rows that wait, for each shard")
_SHARD_LOG: Final = ("the service's log", "the lines of this shard before each end")
_GAPS: Final = ("table ops.gaps", "whether rows are missing for that time")
_SERVER: Final = ("the database server", "its log, its disk, its connections, its locks")

GENERAL_PLACES: Final[Places] = (_STATUS, _INCIDENTS)


def _clock(item: Item) -> str:
    return f"{_offset(item.alert.value)} {item.alert.note} the exchange's"


def _offset(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else span(seconds)


_OF_STREAMS: Final = {
    RuleName.STREAM_STALE: RuleText(
        one=lambda item: f"{item.alert.where} is stale",
        over=lambda item: f"{item.alert.where} is no longer stale",
        many="{n} streams are stale",
        many_over="{n} streams are no longer stale",
        meaning=lambda item: (
            "The exchange has newer events than the table, and the repair has not brought them in time. "
            "Queries that insist on fresh data are refused meanwhile."
        ),
        tried="no step of the repair has been recorded yet.",
        look=(
            ("ingest status {symbol}", "age, threshold and diagnosis of the symbol's streams"),
            _INCIDENTS,
            _GAPS,
        ),
        after=(_GAPS, _INCIDENTS),
        noted="Diagnosis: {note}.",
    ),
    RuleName.STALE_SHARE: RuleText(
        one=lambda item: f"{item.alert.value:.0%} of the streams are stale",
        over=lambda item: "most streams are live again",
        meaning=lambda item: (
            f"{sentence(item.alert.note)} are stale or being repaired; the limit is {item.alert.limit:.0%}. "
            "So many at once have one cause more often than many."
        ),
        tried="each stream is repaired by itself: subscribed again, then moved to a new connection, then "
        "its shard restarted.",
        look=(_STATUS, ("/freshz", "the reasons, stream by stream"), _INCIDENTS),
        after=(_GAPS, _INCIDENTS),
    ),
    RuleName.FEED_RECONNECTS: RuleText(
        one=lambda item: f"{item.alert.where} was reconnected {item.alert.value:.0f} times",
        over=lambda item: f"{item.alert.where} stays connected again",
        many="{n} feeds keep reconnecting",
        many_over="{n} feeds stay connected again",
        meaning=lambda item: (
            f"A feed that is reconnected often (here {item.alert.value:.0f} times within "
            f"{span(item.alert.window_s)}) leaves its streams behind for some seconds each time, and what "
            "was missed has to be fetched afterwards."
        ),
        tried="it is dialled again each time, after growing pauses.",
        look=(_SESSIONS, _GAPS, ("the network", "loss or resets on the way to the exchange")),
        after=(_GAPS, _SESSIONS),
        noted="Diagnosis: {note}.",
    ),
    RuleName.EXCHANGE_DOWN: RuleText(
        one=lambda item: "the whole exchange stands still",
        over=lambda item: "the exchange moves again",
        meaning=lambda item: (
            "No stream brings anything, and the exchange has nothing newer to show either. Nothing is lost "
            "for as long as it publishes nothing."
        ),
        tried="it is asked again and again whether it moves. No connection is replaced meanwhile: that "
        "would not wake it.",
        look=(
            ("the exchange's status page", "maintenance or trouble that it has announced"),
            ("the network", "whether this machine reaches anything else"),
            _STATUS,
        ),
        after=(_GAPS, _STATUS),
        noted="Evidence: {note}.",
    ),
}

_OF_PROCESSES: Final = {
    RuleName.SHARD_RESTARTS: RuleText(
        one=lambda item: f"{item.alert.where} was restarted {item.alert.value:.0f} times",
        over=lambda item: f"{item.alert.where} keeps running again",
        many="{n} shards keep restarting",
        many_over="{n} shards keep running again",
        meaning=lambda item: (
            "A shard's process ended without being asked to, "
            f"{item.alert.value:.0f} times within {span(item.alert.window_s)}. "
            "Its streams stand still each time, until it is back."
        ),
        tried="it was started again each time.",
        look=(_SHARDS, _SHARD_LOG, _GAPS),
        after=(_GAPS, _SHARDS),
        noted="Its last end: {note}.",
    ),
    RuleName.SHARD_QUARANTINED: RuleText(
        one=lambda item: f"{item.alert.where} is in quarantine",
        over=lambda item: f"{item.alert.where} is out of quarantine",
        many="{n} shards are in quarantine",
        many_over="{n} shards are out of quarantine",
        meaning=lambda item: (
            "The process ended too often, or in a way that starting it again cannot cure, so it is left "
            "alone for a while."
        ),
        tried="it was started again until its limit was reached; the other shards take over its streams.",
        look=(_SHARDS, _SHARD_LOG, _INCIDENTS),
        after=(_GAPS, _SHARDS),
        noted="Its last end: {note}.",
    ),
    RuleName.DATABASE_STALLED: RuleText(
        one=lambda item: "the database takes no rows",
        over=lambda item: "the database takes rows again",
        meaning=lambda item: (
            "Data arrive from the exchange but are not committed, so no query can see them. They wait in "
            "the shards, whose room is bounded."
        ),
        tried="receiving goes on, and the shards try to write again and again.",
        look=(
            ("/readyz", "which shard cannot commit, and why"),
            ("table ops.shards", "rows that wait and rows that were refused, if it can be read"),
            _SERVER,
        ),
        after=(_GAPS, _SHARDS),
        noted="The database said: {note}.",
    ),
    RuleName.TABLE_NOT_WRITTEN: RuleText(
        one=lambda item: "the freshness table is not being written",
        over=lambda item: "the freshness table is written again",
        meaning=lambda item: (
            f"ops.stream_freshness has not been written for {span(item.alert.value)}. Readers that use "
            "ops.is_fresh are refused, which is right: nobody can say how old the data are."
        ),
        tried="writing it is tried each second.",
        look=(("/livez and /readyz", "whether the supervisor turns and reaches the database"), _SERVER),
        after=(_STATUS,),
    ),
}

_OF_THE_EXCHANGE: Final = {
    RuleName.REST_BANNED: RuleText(
        one=lambda item: f"REST is refused for {span(item.alert.value)} more",
        over=lambda item: "REST is no longer refused",
        meaning=lambda item: (
            "The exchange has told this address to stay away from REST. The streams go on; what needs REST "
            "waits: new snapshots, backfill, proofs of silence."
        ),
        tried="REST is left alone until then; asking earlier would make it longer.",
        look=(
            ("other programs", "whatever else asks the exchange from this address shares its budget"),
            ("weight_per_min in [limits]", "our share of the budget; lower it if others need theirs"),
        ),
        after=(_GAPS,),
        noted="The answer was {note}.",
    ),
    RuleName.CLOCK_OFFSET: RuleText(
        one=lambda item: f"the clock is {_clock(item)}",
        over=lambda item: "the clock agrees with the exchange's again",
        meaning=lambda item: (
            f"This machine's clock is {_clock(item)}; the limit is {_offset(item.alert.limit)}. Ages and "
            "receive times are wrong by that much."
        ),
        tried="nothing. The service sets no clocks, somebody has to.",
        look=(
            ("timedatectl, chronyc tracking", "whether time synchronisation runs"),
            ("the host", "a virtual machine that was paused keeps its old time"),
        ),
    ),
}

RULE_TEXTS: Final[Mapping[RuleName, RuleText]] = MappingProxyType(
    {**_OF_STREAMS, **_OF_PROCESSES, **_OF_THE_EXCHANGE}
)
