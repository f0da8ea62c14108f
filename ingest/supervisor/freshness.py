"""Turn the shards' boards into rows of `ops.stream_freshness`.

Decides what a stream's row says when its shard cannot be believed any more: the board is the shard's
own account, and a wedged, killed or database-less shard gives a rosier one than is true. Only what a
query can see counts: the age of a stream is the age of its newest *committed* event. Pure:
`publisher` is the loop that writes the rows.

    the service was stopped in order              -> stale, service_stopped
    the process is gone, or its heartbeat stands  -> stale, shard_wedged
    received, and not committed in the threshold  -> stale, database_stalled
    otherwise                                     -> what the shard says

Invariants: a stream's age is never negative, and an event from the exchange's future ages from its
commit; a stream without any committed event has no age, but it has been waited for since its shard's
start (`waiting_s`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ingest.board.layout import BoardSnapshot, Diagnosis, ShardState, StreamSlot, StreamState, StreamValues
from ingest.events import StreamKey

HEARTBEAT_LIMIT_S = 5.0
SERVICE_STOPPED = "service_stopped"
"""Diagnosis of every stream in the last rows that a service publishes when it is stopped in order."""

_NS_PER_S = 1_000_000_000
_LINE_IS_AWAY = frozenset({"shard_wedged", "database_stalled"})
_AHEAD_US = 1_000_000
_CLOCK_RESOLUTION_S = 1.0


class StreamFreshness(NamedTuple):
    """What `ops.stream_freshness` says of one stream; times in microseconds since the epoch, UTC.

    `last_event_us` is the newest *committed* event's time, `last_commit_us` when it was committed;
    None is never. `diagnosis` is empty when there is nothing to diagnose.
    """

    market: str
    symbol: str
    kind: str
    shard: int
    feed: int | None
    state: str
    diagnosis: str
    last_event_us: int | None
    last_recv_us: int | None
    last_commit_us: int | None
    age_s: float | None
    threshold_s: float
    """0 when nobody judges streams; `Vigil` gives one even before it has looked at the stream."""
    verified_quiet_us: int | None
    reconnects: int
    open_gaps: int
    updated_us: int
    trades_behind: int | None
    """Trades that the exchange had and we did not, by the newest sweep; None when not compared."""
    waiting_s: float
    """Not in the table: seconds since the stream's shard started, for a stream that was never seen."""

    @property
    def key(self) -> str:
        return f"{self.market}:{self.symbol}:{self.kind}"


class Judgement(NamedTuple):
    """What the watch says of one stream; the board alone does not know it."""

    state: StreamState
    diagnosis: Diagnosis
    threshold_s: float
    verified_quiet_us: int | None
    trades_behind: int | None


NOT_JUDGED = Judgement(StreamState.STARTING, Diagnosis.NONE, 0.0, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFacts:
    """What the supervisor knows of one shard, from outside."""

    shard: int
    running: bool
    """The process exists and was not told to stop."""
    started_wall_ns: int = 0
    """When the supervisor first started it."""
    planned: tuple[StreamKey, ...] = ()
    """Its streams, so that none is forgotten while there is no board."""
    restarts: int = 0
    crash_looping: bool = False
    gave_up: str = ""
    """Why the supervisor will not start it again; empty while it will."""
    pid: int | None = None
    """Of the process that runs; None when it is not known."""
    board: BoardSnapshot | None = None
    """None when the board is not there yet or cannot be read. It may be a former process's."""

    @property
    def has_former_board(self) -> bool:
        """The board was left by a process before this one: its committed times hold, its states do not."""
        return self.board is not None and self.pid is not None and self.board.identity.pid != self.pid

    @property
    def waits_for_database(self) -> bool:
        """It could not begin to receive yet, because the database did not answer."""
        board = self.board
        if board is None or not self.running or self.has_former_board or not board.heartbeat.monotonic_ns:
            return False  # a board is all zeros until its shard has begun to beat
        return board.header.state is ShardState.STARTING and not board.header.database_up


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFacts:
    """All that the supervisor knows at one moment: the one input of health, metrics and pages."""

    now_wall_ns: int
    now_monotonic_ns: int
    shards: tuple[ShardFacts, ...]
    schema_checked: bool = False
    """Migrations and program were found to agree."""
    is_stopped: bool = False
    """All shards were told to stop, and have."""
    heartbeat_limit_s: float = HEARTBEAT_LIMIT_S
    open_gaps: Mapping[StreamKey, int] = field(default_factory=dict)
    """Open gaps of each stream in the ledger, as last asked; a stream that is absent has none."""
    judgements: Mapping[StreamKey, Judgement] = field(default_factory=dict)
    """Of every planned stream, once there is a vigil; one that is absent is NOT_JUDGED."""
    candle_lag_s: float | None = None
    """How long the oldest trades have waited that are in no candle yet; None when not known."""
    candle_backlog: int | None = None
    """Pieces of history that are still to be rolled up into candles."""
    table_age_s: float | None = None
    """Since the freshness table was last written; None before the first time."""


class Judged(NamedTuple):
    """What is known of a moment, and the rows that were made of it."""

    facts: ServiceFacts
    rows: "list[StreamFreshness]"


def heartbeat_age_s(board: BoardSnapshot, *, now_wall_ns: int, now_monotonic_ns: int) -> float:
    """Seconds since the shard's event loop last turned; infinite for a board of an earlier boot.

    A shard that has not beaten yet is measured from its start.
    """
    if board.heartbeat.monotonic_ns == 0:
        return max(0.0, (now_wall_ns - board.identity.started_wall_ns) / _NS_PER_S)
    age_s = (now_monotonic_ns - board.heartbeat.monotonic_ns) / _NS_PER_S
    # The monotonic clock begins anew at boot, so a heartbeat of the future is one of the past.
    return max(0.0, age_s) if age_s > -_CLOCK_RESOLUTION_S else float("inf")


def judge(
    board: BoardSnapshot,
    *,
    now_wall_ns: int,
    now_monotonic_ns: int,
    heartbeat_limit_s: float = HEARTBEAT_LIMIT_S,
    process_gone: bool = False,
    open_gaps: Mapping[StreamKey, int] | None = None,
    judgements: Mapping[StreamKey, Judgement] | None = None,
) -> list[StreamFreshness]:
    """One row for each stream of the board, in its order."""
    beat_age_s = heartbeat_age_s(board, now_wall_ns=now_wall_ns, now_monotonic_ns=now_monotonic_ns)
    stopped = board.header.state is ShardState.STOPPED
    now = _Moment(board, now_wall_ns, process_gone or stopped or beat_age_s > heartbeat_limit_s)
    gaps, judged = open_gaps or {}, judgements or {}
    return [
        _row(slot, judged.get(slot.key, NOT_JUDGED), now, gaps.get(slot.key, 0)) for slot in board.streams
    ]


def judge_all(facts: ServiceFacts) -> list[StreamFreshness]:
    """One row for each planned stream, by its shard; what is not on its board is spoken for by the plan.

    A board may have more than the plan: a stream that was given away or dropped is nobody's row there. A
    stream with two lines is as fresh as the better one, whose shard and feed its row names.
    """
    rows: dict[tuple[str, str, str], StreamFreshness] = {}
    for shard in facts.shards:
        for row in _rows_of(shard, facts):
            key = (row.market, row.symbol, row.kind)
            rows[key] = _better(rows[key], row) if key in rows else row
    if facts.is_stopped:
        return [row._replace(state="stale", diagnosis=SERVICE_STOPPED) for row in rows.values()]
    return list(rows.values())


def judged(facts: ServiceFacts) -> Judged:
    """The facts with their rows."""
    return Judged(facts, judge_all(facts))


def _better(first: StreamFreshness, second: StreamFreshness) -> StreamFreshness:
    """Of two lines the one that works, then the one that is ahead; the first when both are alike."""
    wrong = _LINE_IS_AWAY
    if (first.diagnosis in wrong) != (second.diagnosis in wrong):
        return second if first.diagnosis in wrong else first
    ahead_us = (second.last_event_us or 0) - (first.last_event_us or 0)
    return second if ahead_us > _AHEAD_US else first


def _rows_of(shard: ShardFacts, facts: ServiceFacts) -> list[StreamFreshness]:
    board = shard.board
    if board is None:
        return [_row_without_board(key, shard, facts) for key in shard.planned]
    rows = judge(
        board,
        now_wall_ns=facts.now_wall_ns,
        now_monotonic_ns=facts.now_monotonic_ns,
        heartbeat_limit_s=facts.heartbeat_limit_s,
        process_gone=not shard.running or shard.has_former_board,
        open_gaps=facts.open_gaps,
        judgements=facts.judgements,
    )
    known = {(row.market, row.symbol, row.kind): row for row in rows}
    return [known.get(key) or _row_without_board(key, shard, facts) for key in shard.planned]


def _row_without_board(key: StreamKey, shard: ShardFacts, facts: ServiceFacts) -> StreamFreshness:
    judged = facts.judgements.get(key, NOT_JUDGED)
    blank = StreamFreshness(
        *key,
        shard=shard.shard,
        feed=None,
        state=judged.state.name.lower(),
        diagnosis=judged.diagnosis.name.lower() if judged.diagnosis else "",
        last_event_us=None,
        last_recv_us=None,
        last_commit_us=None,
        age_s=None,
        threshold_s=judged.threshold_s,
        verified_quiet_us=judged.verified_quiet_us,
        reconnects=0,
        open_gaps=facts.open_gaps.get(key, 0),
        updated_us=facts.now_wall_ns // 1_000,
        trades_behind=judged.trades_behind,
        waiting_s=max(0.0, (facts.now_wall_ns - shard.started_wall_ns) / _NS_PER_S),
    )
    return blank if shard.running else blank._replace(state="stale", diagnosis="shard_wedged")


class _Moment(NamedTuple):
    board: BoardSnapshot
    now_wall_ns: int
    shard_is_dead: bool


def _row(slot: StreamSlot, judged: Judgement, now: _Moment, open_gaps: int) -> StreamFreshness:
    key, values = slot
    state, diagnosis = _verdict(values, judged, now)
    event_us = _dated_us(values)
    return StreamFreshness(
        market=key.market,
        symbol=key.symbol,
        kind=key.kind,
        shard=now.board.shard,
        feed=values.feed if values.feed >= 0 else None,
        state=state.name.lower(),
        diagnosis=diagnosis.name.lower() if diagnosis else "",
        last_event_us=event_us,
        last_recv_us=values.last_recv_ns // 1_000 or None,
        last_commit_us=values.committed_wall_ns // 1_000 or None,
        age_s=None if event_us is None else max(0.0, (now.now_wall_ns - event_us * 1_000) / _NS_PER_S),
        threshold_s=judged.threshold_s,
        verified_quiet_us=judged.verified_quiet_us,
        reconnects=values.reconnects,
        open_gaps=open_gaps,
        updated_us=now.now_wall_ns // 1_000,
        trades_behind=judged.trades_behind,
        waiting_s=max(0.0, (now.now_wall_ns - now.board.identity.started_wall_ns) / _NS_PER_S),
    )


def _verdict(values: StreamValues, judged: Judgement, now: _Moment) -> tuple[StreamState, Diagnosis]:
    if now.shard_is_dead:
        return StreamState.STALE, Diagnosis.SHARD_WEDGED
    if judged.state is not StreamState.HALTED and _is_held_up(values, judged.threshold_s, now):
        return StreamState.STALE, Diagnosis.DATABASE_STALLED
    return judged.state, judged.diagnosis


def _is_held_up(values: StreamValues, threshold_s: float, now: _Moment) -> bool:
    """Whether received rows of the stream are kept from the table for longer than its threshold.

    That the newest received event is far ahead of the newest committed one is not enough: so it is
    for a moment whenever a rare stream speaks. The database must be away, or rows must have waited.
    """
    stored_us = values.committed_event_us or now.board.identity.started_wall_ns // 1_000
    lag_s = (values.last_event_us - stored_us) / 1_000_000
    if not values.last_event_us or lag_s <= threshold_s:
        return False
    oldest_ns = now.board.header.oldest_waiting_recv_ns
    waited_s = (now.now_wall_ns - oldest_ns) / _NS_PER_S if oldest_ns else 0.0
    return not now.board.header.database_up or waited_s > threshold_s


def _dated_us(values: StreamValues) -> int | None:
    """The newest committed event's time, or its commit's when the event claims to be from after it.

    An event from the future would otherwise keep its stream fresh for as long as it lies.
    """
    if not values.committed_wall_ns:
        return values.committed_event_us or None
    return min(values.committed_event_us, values.committed_wall_ns // 1_000) or None
