"""What the status page shows of one moment: streams in columns, and everything that is small as a whole.

No I/O and no clock: facts in, a `Picture` out; how pictures travel is decided in `picture_events`. The page
decides nothing about the service: what is fresh is `health`'s answer, the same that /freshz gives.

Of a stream, its age changes with every picture and everything else seldom; so they are kept apart: `ages_ds`
and `details`, both in the order of `names`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ingest.board.layout import BoardSnapshot, FeedValues
from ingest.events import StreamKey
from ingest.ops.headline import headline
from ingest.ops.health import AgeLimits, Json, freshness_report, readiness, shard_doubt
from ingest.ops.page_records import IncidentRecord, PageRecords, open_diagnoses
from ingest.ops.vigil_facts import VigilFacts
from ingest.store.ledger import OpenGap
from ingest.supervisor.freshness import (
    Judged,
    ServiceFacts,
    ShardFacts,
    StreamFreshness,
    heartbeat_age_s,
)

NO_ROW = -1
MOST_GAPPY = 20

_NS_PER_S = 1_000_000_000


class Detail(NamedTuple):
    """Of one stream what seldom changes; the page takes the values by their place."""

    state: str
    diagnosis: str
    is_not_fresh: bool
    limit_s: float
    shard: int
    feed: int | None
    open_gaps: int
    reconnects: int
    trades_behind: int | None
    proven_quiet_ms: int | None
    """When its silence was last proven right; wall clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One moment."""

    number: int
    names: tuple[str, ...]
    """`market:symbol:kind` of each stream."""
    details: tuple[Detail, ...]
    ages_ds: tuple[int, ...]
    """Age of the newest committed row in tenths of a second; NO_ROW without one."""
    whole: Mapping[str, Json]
    """Everything else, as it is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that a picture is made of."""

    judged: Judged
    vigil: VigilFacts | None
    records: PageRecords
    kind_limits_s: Mapping[str, float]


def make_picture(known: Known, number: int) -> Picture:
    """The picture of this moment."""
    rows = known.judged.rows
    limits = AgeLimits(None, known.kind_limits_s)
    return Picture(
        number=number,
        names=tuple([row.key for row in rows]),
        details=tuple([_detail(row, limits) for row in rows]),
        ages_ds=tuple([NO_ROW if row.age_s is None else round(row.age_s * 10) for row in rows]),
        whole=_whole(known),
    )


def _detail(row: StreamFreshness, limits: AgeLimits) -> Detail:
    quiet_us = row.verified_quiet_us
    # By position: there are thousands of these each second.
    return Detail(
        row.state,
        row.diagnosis,
        limits.is_not_fresh(row),
        round(limits.limit_s(row), 1),
        row.shard,
        row.feed,
        row.open_gaps,
        row.reconnects,
        row.trades_behind,
        quiet_us and quiet_us // 1_000,
    )


def _whole(known: Known) -> dict[str, Json]:
    facts, rows = known.judged
    ready = readiness(facts)
    fresh = freshness_report(rows, kind_limits_s=known.kind_limits_s)
    said = headline(ready, fresh, facts, open_diagnoses(known.records))
    return {
        "at_ms": facts.now_wall_ns // 1_000_000,
        "level": said.level,
        "line": said.line,
        "reasons": [*ready.reasons, *fresh.reasons],
        "reasons_left_out": fresh.body.get("reasons_left_out", 0),
        "not_fresh": fresh.body["streams_not_fresh"],
        "oldest_age_s": fresh.body["last_event_age_seconds"],
        "states": dict(Counter(row.state for row in rows)),
        "shards": [_shard(shard, facts) for shard in facts.shards],
        "feeds": [feed for shard in facts.shards for feed in _feeds(shard, facts)],
        "gaps": _gaps(facts, known.records.gaps),
        "incidents": [_incident(record, facts.now_wall_ns) for record in known.records.incidents],
        **_vigil(known.vigil),
    }


# ---------------------------------------------------------------------- shards and feeds


def _shard(shard: ShardFacts, facts: ServiceFacts) -> dict[str, Json]:
    """A shard in a line; what its board says is absent while there is none of its own."""
    doubt = shard_doubt(shard, facts)
    told: dict[str, Json] = {
        "shard": shard.shard,
        "doubt": doubt,
        "quarantined": shard.crash_looping,
        "pid": shard.pid,
        "restarts": shard.restarts,
        "streams": len(shard.planned),
    }
    if shard.board is None or shard.has_former_board or not shard.running:
        return told
    return {**told, **_board(shard.board, facts)}


def _board(board: BoardSnapshot, facts: ServiceFacts) -> dict[str, Json]:
    header = board.header
    beat_s = heartbeat_age_s(board, now_wall_ns=facts.now_wall_ns, now_monotonic_ns=facts.now_monotonic_ns)
    return {
        "started_ms": board.identity.started_wall_ns // 1_000_000,
        "beat_s": round(beat_s, 1),
        "lag_ms": round(board.heartbeat.loop_lag_us / 1_000, 1),
        "lag_max_ms": round(header.loop_lag_max_us / 1_000, 1),
        "messages": header.frames,
        "rows": header.rows_committed,
        "p50_ms": round(header.commit_latency_p50_us / 1_000, 1),
        "p99_ms": round(header.commit_latency_p99_us / 1_000, 1),
        "waiting_rows": header.buffered_rows,
        "spooled_rows": header.spooled_rows,
        "spool_full": bool(header.spool_full),
        "waiting_s": _age_s(header.oldest_waiting_recv_ns, facts.now_wall_ns),
        "refused_rows": header.refused_rows,
        "books_live": header.books_live,
        "books_wanted": header.books_wanted,
        "database_up": bool(header.database_up),
        "repairs_waiting": header.repairs_waiting,
        "repaired_rows": header.repaired_rows,
        "repairs_closed": header.repairs_closed,
        "repair_failures": header.repair_failures,
    }


def _feeds(shard: ShardFacts, facts: ServiceFacts) -> list[dict[str, Json]]:
    """The feeds of a shard that runs; those of one that does not are nobody's any more."""
    if shard.board is None or shard.has_former_board or not shard.running:
        return []
    return [_feed(feed, shard.shard, facts) for feed in shard.board.feeds]


def _feed(feed: FeedValues, shard: int, facts: ServiceFacts) -> dict[str, Json]:
    now_ns = facts.now_wall_ns
    return {
        "feed": feed.feed,
        "shard": shard,
        "state": feed.state.name.lower(),
        "connected_ms": feed.connected_wall_ns // 1_000_000 or None,
        "data_s": _age_s(feed.last_data_ns, now_ns),
        "ping_s": _age_s(feed.last_ping_ns, now_ns),
        "messages": feed.messages,
        "streams": feed.streams,
        "silent": feed.silent_streams,
        "sessions": feed.sessions,
        "reconnects": feed.reconnects,
        "ends": {str(kind): count for kind, count in feed.ends.items() if count},
        "close_code": feed.close_code or None,
    }


def _age_s(at_ns: int, now_ns: int) -> float | None:
    return round(max(0.0, (now_ns - at_ns) / _NS_PER_S), 1) if at_ns else None


# ---------------------------------------------------------------------- gaps, incidents, budgets


def _gaps(facts: ServiceFacts, oldest: Sequence[OpenGap]) -> dict[str, Json]:
    by_stream = Counter(facts.open_gaps).most_common(MOST_GAPPY)
    now_us = facts.now_wall_ns // 1_000
    return {
        "open": sum(facts.open_gaps.values()),
        "streams": len(facts.open_gaps),
        "most": [[str(key), count] for key, count in by_stream],
        "oldest": [_gap(gap, now_us) for gap in oldest],
    }


def _gap(gap: OpenGap, now_us: int) -> dict[str, Json]:
    return {
        "stream": str(gap.key),
        "cause": gap.cause,
        "missing": _missing(gap.key, gap.first_id, gap.last_id),
        "age_s": round(max(0.0, (now_us - gap.opened_us) / 1e6), 1),
    }


def _missing(key: StreamKey, first_id: int | None, last_id: int | None) -> int | None:
    """How many ids the range has; a candle's ids are times, and a book ticker's skip."""
    if first_id is None or last_id is None or key.kind.startswith("kline_") or key.kind == "book_ticker":
        return None
    return last_id - first_id + 1


def _incident(record: IncidentRecord, now_ns: int) -> dict[str, Json]:
    return {
        "number": record.number,
        "place": record.place,
        "diagnosis": record.diagnosis,
        "evidence": record.evidence,
        "step": record.step,
        "streams": record.streams,
        "opened_ms": _moment_ms(record.opened_s, now_ns),
        "ended_ms": None if record.ended_s is None else _moment_ms(record.ended_s, now_ns),
        "story": list(record.story),
    }


def _moment_ms(age_s: float, now_ns: int) -> int:
    # To the tenth: it is computed anew from two clocks each time, and should not flicker.
    return round((now_ns / _NS_PER_S - age_s) * 10) * 100


def _vigil(vigil: VigilFacts | None) -> dict[str, Json]:
    if vigil is None:
        return {"budgets": [], "exchange": {}, "disk": {}, "alerts": {}}
    return {
        "budgets": [[name, filling.used, filling.limit] for name, filling in vigil.budgets.items()],
        "exchange": {
            "answers": vigil.exchange_answers,
            "banned_s": round(vigil.banned_for_s, 1),
            "clock_offset_s": vigil.clock_offset_s,
            "sweep_s": None if vigil.sweep_age_s is None else round(vigil.sweep_age_s, 1),
            "table_s": None if vigil.table_age_s is None else round(vigil.table_age_s, 1),
        },
        "disk": {"free_bytes": dict(vigil.storage.free_bytes), "full_in_s": vigil.storage.full_in_s},
        "alerts": {"standing": vigil.alerts.standing, "waiting": vigil.alerts.waiting},
    }
