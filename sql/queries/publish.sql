-- What the supervisor publishes about streams and shards, each a single statement.

-- name: publish_stream_states
INSERT INTO ops.stream_state (
    market,
    symbol,
    kind,
    shard,
    feed,
    state,
    diagnosis,
    last_event_ts,
    last_recv_ts,
    last_commit_ts,
    threshold_s,
    verified_quiet_at,
    reconnects,
    open_gaps,
    trades_behind,
    updated_at
)
SELECT *, clock_timestamp()
FROM unnest(
    $1::text[],
    $2::text[],
    $3::text[],
    $4::integer[],
    $5::text[],
    $6::text[],
    $7::text[],
    $8::timestamptz[],
    $9::timestamptz[],
    $10::timestamptz[],
    $11::double precision[],
    $12::timestamptz[],
    $13::bigint[],
    $14::bigint[],
    $15::bigint[]
) AS now (
    market, symbol, kind, shard, feed, state, diagnosis, last_event_ts, last_recv_ts, last_commit_ts,
    threshold_s, verified_quiet_at, reconnects, open_gaps, trades_behind
)
ORDER BY market, symbol, kind
ON CONFLICT (market, symbol, kind) DO UPDATE SET
    shard = excluded.shard,
    feed = excluded.feed,
    state = excluded.state,
    diagnosis = excluded.diagnosis,
    last_event_ts = excluded.last_event_ts,
    last_recv_ts = excluded.last_recv_ts,
    last_commit_ts = excluded.last_commit_ts,
    threshold_s = excluded.threshold_s,
    verified_quiet_at = excluded.verified_quiet_at,
    reconnects = excluded.reconnects,
    open_gaps = excluded.open_gaps,
    trades_behind = excluded.trades_behind,
    updated_at = excluded.updated_at;

-- name: publish_shards
INSERT INTO ops.shards (
    shard,
    pid,
    state,
    started_at,
    restarts,
    heartbeat_at,
    loop_lag_ms,
    rows_committed,
    rows_waiting,
    rows_refused,
    updated_at
)
SELECT *, clock_timestamp()
FROM unnest(
    $1::integer[],
    $2::integer[],
    $3::text[],
    $4::timestamptz[],
    $5::bigint[],
    $6::timestamptz[],
    $7::double precision[],
    $8::bigint[],
    $9::bigint[],
    $10::bigint[]
) AS now (shard, pid, state, started_at, restarts, heartbeat_at, loop_lag_ms, rows_committed, rows_waiting, rows_refused)
ORDER BY shard
ON CONFLICT (shard) DO UPDATE SET
    pid = excluded.pid,
    state = excluded.state,
    started_at = excluded.started_at,
    restarts = excluded.restarts,
    heartbeat_at = excluded.heartbeat_at,
    loop_lag_ms = excluded.loop_lag_ms,
    rows_committed = excluded.rows_committed,
    rows_waiting = excluded.rows_waiting,
    rows_refused = excluded.rows_refused,
    updated_at = excluded.updated_at;
