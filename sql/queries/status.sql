-- What people look at: streams by kind, shards, gaps. Everything as it can be seen by any query.

-- name: status_kinds
SELECT
    f.market,
    f.kind,
    count(*) AS streams,
    count(*) FILTER (WHERE f.state = 'live') AS live,
    count(*) FILTER (WHERE f.state IN ('stale', 'recovering')) AS stale,
    max(f.age_s) AS age_s,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY f.age_s) AS median_age_s,
    sum(f.reconnects) AS reconnects,
    max(f.updated_at) AS updated_at
FROM ops.stream_freshness AS f
GROUP BY f.market, f.kind
ORDER BY f.market, f.kind;

-- name: status_not_live
SELECT market, symbol, kind, state, diagnosis, age_s, threshold_s, shard, feed
FROM ops.stream_freshness
WHERE state <> 'live'
ORDER BY age_s DESC NULLS FIRST, market, symbol, kind
LIMIT $1;

-- name: status_symbol
SELECT market, symbol, kind, state, diagnosis, age_s, threshold_s, shard, feed
FROM ops.stream_freshness
WHERE symbol = $1
ORDER BY market, kind;

-- name: status_shards
SELECT
    shard,
    pid,
    state,
    restarts,
    extract(epoch FROM clock_timestamp() - started_at)::double precision AS uptime_s,
    extract(epoch FROM clock_timestamp() - heartbeat_at)::double precision AS heartbeat_age_s,
    loop_lag_ms,
    rows_committed,
    rows_waiting,
    rows_refused
FROM ops.shards
ORDER BY shard;

-- name: status_gaps
SELECT market, kind, state, count(*) AS gaps
FROM ops.gaps
WHERE state <> 'repaired'
GROUP BY market, kind, state;

-- name: status_age
SELECT extract(epoch FROM clock_timestamp() - max(updated_at))::double precision FROM ops.stream_freshness;
