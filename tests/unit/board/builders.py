"""Boards and facts as tests want them: healthy by default, each test says what is different."""

from collections.abc import Mapping

from ingest.board.layout import (
    LAYOUT_VERSION,
    MAGIC,
    BoardSnapshot,
    Diagnosis,
    FeedState,
    FeedValues,
    HeaderValues,
    Heartbeat,
    Identity,
    ShardState,
    StreamSlot,
    StreamState,
    StreamValues,
)
from ingest.events import StreamKey
from ingest.supervisor.freshness import NOT_JUDGED, Judgement, ServiceFacts, ShardFacts

S = 1_000_000_000
NOW_WALL_NS = 1_760_000_000 * S
NOW_MONOTONIC_NS = 5_000 * S
STARTED_WALL_NS = NOW_WALL_NS - 600 * S

BTC_TRADE = StreamKey("spot", "BTCUSDT", "trade")
ETH_TRADE = StreamKey("spot", "ETHUSDT", "trade")
BTC_DEPTH = StreamKey("spot", "BTCUSDT", "depth")

RUNNING = HeaderValues(ShardState.RUNNING, database_up=1)


def ago_ns(seconds: float) -> int:
    return NOW_WALL_NS - round(seconds * S)


def ago_us(seconds: float) -> int:
    return ago_ns(seconds) // 1_000


class JudgedStream(StreamValues):
    """What a board says of a stream, and beside it what the watch does."""

    judgement: Judgement = NOT_JUDGED


def judged_as(values: StreamValues, judgement: Judgement) -> StreamValues:
    judged = JudgedStream(*values)
    judged.judgement = judgement
    return judged


def judgements_of(*boards: BoardSnapshot | None) -> dict[StreamKey, Judgement]:
    """What the watch says of the streams on these boards."""
    slots = [slot for board in boards if board for slot in board.streams]
    return {slot.key: slot.values.judgement for slot in slots if isinstance(slot.values, JudgedStream)}


def a_stream(
    *,
    age_s: float = 1.0,
    received_s: float | None = None,
    threshold_s: float = 60.0,
    state: StreamState = StreamState.LIVE,
    diagnosis: Diagnosis = Diagnosis.NONE,
    **more: int,
) -> StreamValues:
    """A live stream, its newest event received and committed `age_s` ago."""
    received = age_s if received_s is None else received_s
    values = StreamValues(
        state=StreamState.LIVE,
        feed=0,
        last_event_us=ago_us(received),
        last_recv_ns=ago_ns(received),
        committed_event_us=ago_us(age_s),
        committed_wall_ns=ago_ns(age_s),
    )._replace(**more)  # type: ignore[arg-type]
    return judged_as(values, Judgement(state, diagnosis, threshold_s, None, None))


def never_seen(*, threshold_s: float = 60.0, **more: int) -> StreamValues:
    judgement = Judgement(StreamState.STARTING, Diagnosis.NONE, threshold_s, None, None)
    return judged_as(StreamValues(feed=0)._replace(**more), judgement)  # type: ignore[arg-type]


def a_board(
    streams: Mapping[StreamKey, StreamValues] | None = None,
    *,
    shard: int = 0,
    header: HeaderValues = RUNNING,
    beat_age_s: float = 0.1,
    started_wall_ns: int = STARTED_WALL_NS,
) -> BoardSnapshot:
    """The board of a running shard whose loop turned `beat_age_s` ago."""
    streams = {BTC_TRADE: a_stream()} if streams is None else streams
    beat_ns = round(beat_age_s * S)
    return BoardSnapshot(
        identity=Identity(MAGIC, LAYOUT_VERSION, shard, 42, len(streams), 1, started_wall_ns),
        heartbeat=Heartbeat(NOW_MONOTONIC_NS - beat_ns, NOW_WALL_NS - beat_ns, loop_lag_us=250),
        header=header,
        feeds=(FeedValues(feed=0, state=FeedState.LIVE, last_data_ns=ago_ns(2)),),
        streams=tuple(StreamSlot(key, values) for key, values in streams.items()),
    )


def a_shard(board: BoardSnapshot | None, *, running: bool = True, **more: object) -> ShardFacts:
    """A shard whose plan is what is on its board, unless it is said to be another."""
    number = board.shard if board else 0
    planned = tuple(slot.key for slot in board.streams) if board else ()
    more = {"planned": planned, **more}
    return ShardFacts(shard=number, running=running, board=board, **more)  # type: ignore[arg-type]


def some_facts(
    *shards: ShardFacts, schema_checked: bool = True, open_gaps: Mapping[StreamKey, int] | None = None
) -> ServiceFacts:
    """A service that runs well, unless the shards say otherwise."""
    return ServiceFacts(
        now_wall_ns=NOW_WALL_NS,
        now_monotonic_ns=NOW_MONOTONIC_NS,
        shards=shards or (a_shard(a_board()),),
        schema_checked=schema_checked,
        open_gaps=open_gaps or {},
        judgements=judgements_of(*(shard.board for shard in shards or (a_shard(a_board()),))),
    )
