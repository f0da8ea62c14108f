"""Three questions about the service, three answers: alive is not ready, ready is not fresh.

    liveness    does the supervisor's own loop turn? No: restart the service.
    readiness   schema checked, every shard up and able to commit, the freshness table being written? No: it
                cannot do its work now.
    freshness   is the newest row that a query can see young enough, for every stream? No: do not act
                on the data. The reasons name the streams.

Pure: facts and rows in, an `Answer` out. Streams that are `halted` (the exchange does not trade them)
or `quiet` (silence that was verified) count for nothing here, nor does a quiet one whose proof has just
grown too old and is sought anew (`suspect`, for `DOUBT_S`). A stream that was never seen counts once it
has been waited for longer than its limit. Doubt is not freshness: `stale`, `recovering`, no streams at
all, and no row of any stream yet are all answered with no. Only a learned threshold leaves `DOUBT_S`:
every silence that turns out to be quiet passes through it while the witness is heard.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ingest.board.layout import ShardState
from ingest.supervisor.freshness import ServiceFacts, ShardFacts, StreamFreshness, heartbeat_age_s

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_REASONS = 20
DEFAULT_LIMIT_S = 60.0
"""Age allowed to a stream whose shard has not said its threshold yet."""

DOUBT_S = 15.0
"""How long a suspect may wait for its witness before the doubt itself is told."""
COMMIT_S = 5.0
"""A message that came within this time may be on its way to the table: who was quiet for an hour and has
just spoken is not late. Rows that wait for longer are `database_stalled`, which is stale."""
TABLE_OLD_S = 10.0
"""The freshness table is written each second; when it is older than this nobody can rely on it, which
`ingest status` says, too."""
EVERY_OTHER_KIND = "*"

NOT_COUNTED = frozenset({"halted", "quiet"})
LIVE, SUSPECT = "live", "suspect"
NEVER_FRESH = frozenset({"stale", "recovering"})


@dataclass(frozen=True, slots=True)
class Answer:
    """`ok` is for machines, `status` is one word, `reasons` say why not; `body` is what HTTP shows."""

    ok: bool
    status: str
    reasons: tuple[str, ...]
    body: dict[str, Json]


def _answer(*, ok: bool, status: str, reasons: Sequence[str], **more: Json) -> Answer:
    shown = [*reasons[:MAX_REASONS]]
    body: dict[str, Json] = {"status": status, **more, "reasons": list(shown)}
    if len(reasons) > MAX_REASONS:
        body["reasons_left_out"] = len(reasons) - MAX_REASONS
    return Answer(ok, status, tuple(shown), body)


def liveness(*, tick_age_s: float, limit_s: float = 10.0) -> Answer:
    """Whether the supervisor went round its loop within `limit_s`."""
    ok = tick_age_s <= limit_s
    reasons = [] if ok else [f"the supervisor's loop has stood for {tick_age_s:.1f} s, limit {limit_s:g} s"]
    return _answer(
        ok=ok, status="alive" if ok else "stuck", reasons=reasons, tick_age_seconds=round(tick_age_s, 3)
    )


def readiness(facts: ServiceFacts) -> Answer:
    """Whether the service can do its work now; the reasons name each shard that cannot."""
    reasons = [] if facts.schema_checked else ["the database's schema has not been checked"]
    if not facts.shards:
        reasons.append("no shard is planned")
    doubts = [shard_doubt(shard, facts) for shard in facts.shards]
    reasons += [
        f"shard {shard.shard} {doubt}" for shard, doubt in zip(facts.shards, doubts, strict=True) if doubt
    ]
    if doubt := table_doubt(facts):
        reasons.append(doubt)
    ok = not reasons
    return _answer(
        ok=ok,
        status="ready" if ok else "not ready",
        reasons=reasons,
        shards=len(facts.shards),
        shards_ready=doubts.count(""),
    )


def table_doubt(facts: ServiceFacts) -> str:
    """Why nobody can rely on the freshness table; empty if he can, and before it was ever written."""
    age_s = facts.table_age_s
    return f"the freshness table was last written {age_s:.0f} s ago" if age_s and age_s > TABLE_OLD_S else ""


def shard_doubt(shard: ShardFacts, facts: ServiceFacts) -> str:
    """Why a shard is not able to receive and commit, in words that follow its number; empty if it is."""
    if shard.gave_up:
        return f"will not be started again: {shard.gave_up}"
    if not shard.running:
        return "is crashing again and again" if shard.crash_looping else "is not running"
    if shard.board is None or shard.has_former_board:
        return "has no board yet"
    age_s = heartbeat_age_s(
        shard.board, now_wall_ns=facts.now_wall_ns, now_monotonic_ns=facts.now_monotonic_ns
    )
    if age_s > facts.heartbeat_limit_s:
        return f"does not beat: its loop has stood for {age_s:.1f} s"
    if shard.waits_for_database:
        return "waits for the database"
    if shard.board.header.state is not ShardState.RUNNING:
        return f"is {shard.board.header.state.name.lower()}"
    return "" if shard.board.header.database_up else "cannot reach the database"


def freshness_report(
    rows: Sequence[StreamFreshness],
    *,
    max_age_s: float | None = None,
    kind_limits_s: Mapping[str, float] | None = None,
) -> Answer:
    """Whether every stream that counts has a row young enough.

    With `max_age_s` the age alone decides, against that number. Without, a stream's limit is that of
    its kind in `kind_limits_s` (`*` is any other kind), else its own threshold; a `stale` or
    `recovering` stream is never fresh, and a `live` one whose message came within `COMMIT_S` is, because
    its row is on its way. `last_event_age_seconds` is the greatest age among the streams that count.
    """
    limits = AgeLimits(max_age_s, kind_limits_s or {})
    counted = [row for row in rows if not _is_excused(row)]
    late = sorted((row for row in counted if limits.is_late(row)), key=_waited_s, reverse=True)
    status, reasons = _freshness_status(rows, counted, [limits.reason(row) for row in late])
    states: dict[str, Json] = dict(sorted(Counter(row.state for row in rows).items()))
    return _answer(
        ok=status == "fresh",
        status=status,
        reasons=reasons,
        last_event_age_seconds=_greatest_age_s(counted),
        streams=len(rows),
        streams_counted=len(counted),
        streams_not_fresh=len(late),
        states=states,
        markets=_by_market(counted, late),
    )


def _freshness_status(
    rows: Sequence[StreamFreshness], counted: Sequence[StreamFreshness], reasons: list[str]
) -> tuple[str, list[str]]:
    if not rows:
        return "unknown", ["no stream is watched"]
    if reasons:
        return "stale", reasons
    if counted and all(row.age_s is None for row in counted):
        return "starting", ["no stream has a row yet"]
    return "fresh", []


class AgeLimits(NamedTuple):
    """How old a stream's newest row may be: `max_age_s` for all alike, else by kind, else as learned."""

    max_age_s: float | None
    kinds_s: Mapping[str, float]

    def is_not_fresh(self, row: StreamFreshness) -> bool:
        """Whether the stream counts and is late: what `freshness_report` says no for."""
        return not _is_excused(row) and self.is_late(row)

    def limit_s(self, row: StreamFreshness) -> float:
        """The age from which the row is too old, in seconds."""
        if self.max_age_s is not None:
            return self.max_age_s
        named_s = self.kinds_s.get(row.kind) or self.kinds_s.get(EVERY_OTHER_KIND)
        return named_s or self._learned_s(row)

    @staticmethod
    def _learned_s(row: StreamFreshness) -> float:
        doubt_s = DOUBT_S if row.state == SUSPECT else 0.0
        return (row.threshold_s or DEFAULT_LIMIT_S) + doubt_s

    def is_late(self, row: StreamFreshness) -> bool:
        """Whether the row is past its limit, or the stream is known not to be right."""
        # Who names an age asks about the rows, not about how we feel about the stream.
        if self.max_age_s is None and row.state in NEVER_FRESH:
            return True
        if self.max_age_s is None and _has_row_on_its_way(row):
            return False
        return _waited_s(row) > self.limit_s(row)

    def reason(self, row: StreamFreshness) -> str:
        """Why the stream is not fresh, for people."""
        why = f"{row.state}, {row.diagnosis}" if row.diagnosis else row.state
        if row.age_s is None:
            return f"{row.key}: no row yet after {row.waiting_s:.1f} s ({why})"
        limit_s = round(self.limit_s(row), 1)
        return f"{row.key}: newest row is {row.age_s:.1f} s old, limit {limit_s:g} s ({why})"


def _is_excused(row: StreamFreshness) -> bool:
    """Whether nothing can be asked of the stream: it may not speak, or is proven to have had no cause to."""
    if row.state in NOT_COUNTED:
        return True
    proven_us, spoke_us = row.verified_quiet_us or 0, row.last_event_us or 0
    is_asked_again = row.state == SUSPECT and proven_us > spoke_us
    return is_asked_again and (row.updated_us - proven_us) / 1e6 <= row.threshold_s + DOUBT_S


def _has_row_on_its_way(row: StreamFreshness) -> bool:
    return row.state == LIVE and (row.updated_us - (row.last_recv_us or 0)) / 1e6 <= COMMIT_S


def _waited_s(row: StreamFreshness) -> float:
    return row.waiting_s if row.age_s is None else row.age_s


def _greatest_age_s(rows: Sequence[StreamFreshness]) -> float | None:
    ages = [row.age_s for row in rows if row.age_s is not None]
    return round(max(ages), 3) if ages else None


def _by_market(counted: Sequence[StreamFreshness], late: Sequence[StreamFreshness]) -> dict[str, Json]:
    return {
        market: {
            **_summary([row for row in counted if row.market == market], late),
            "kinds": _by_kind([row for row in counted if row.market == market], late),
        }
        for market in sorted({row.market for row in counted})
    }


def _by_kind(of_market: Sequence[StreamFreshness], late: Sequence[StreamFreshness]) -> dict[str, Json]:
    return {
        kind: _summary([row for row in of_market if row.kind == kind], late)
        for kind in sorted({row.kind for row in of_market})
    }


def _summary(group: Sequence[StreamFreshness], late: Sequence[StreamFreshness]) -> dict[str, Json]:
    late_keys = {row.key for row in late}
    return {
        "last_event_age_seconds": _greatest_age_s(group),
        "streams": len(group),
        "streams_not_fresh": sum(1 for row in group if row.key in late_keys),
    }
