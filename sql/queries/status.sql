-- What people look at: streams by kind, shards, gaps. Everything as it can be seen by any query.

-- name: status_kinds
SELECT
    f.market,
    f.kind,
    count(*) AS streams,
    count(*) FILTER (WHERE f.state = 'live') AS live,
    -- Silent and proven right to be so, or about to be asked: nothing is known to be wrong.
    count(*) FILTER (WHERE f.state IN ('live', 'quiet', 'halted', 'suspect')) AS well,
    count(*) FILTER (WHERE f.state = 'quiet') AS quiet,
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
ORDER BY state IN ('quiet', 'halted'), age_s DESC NULLS FIRST, market, symbol, kind
LIMIT $1;

-- name: status_symbol
SELECT
    market,
    symbol,
    kind,
    state,
    diagnosis,
    age_s,
    threshold_s,
    shard,
    feed,
    extract(epoch FROM clock_timestamp() - verified_quiet_at)::double precision AS proof_age_s,
    trades_behind
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

-- name: status_incidents_open
-- Those of the supervisor that noted anything last: what a killed one left open is not open any more.
SELECT
    incident,
    shard,
    feed,
    streams,
    diagnosis,
    evidence,
    step,
    story,
    opened_at,
    closed_at,
    extract(epoch FROM clock_timestamp() - opened_at)::double precision AS lasted_s
FROM ops.incidents
WHERE
    closed_at IS NULL
    AND split_part(incident, '-', 1)::bigint
    = (SELECT max(split_part(newest.incident, '-', 1)::bigint) FROM ops.incidents AS newest)
ORDER BY opened_at
LIMIT $1;

-- name: status_incidents_of
-- Of one symbol, newest first.
SELECT
    incident,
    shard,
    feed,
    streams,
    diagnosis,
    evidence,
    step,
    story,
    opened_at,
    closed_at,
    extract(epoch FROM coalesce(closed_at, clock_timestamp()) - opened_at)::double precision AS lasted_s
FROM ops.incidents
WHERE EXISTS (SELECT FROM unnest(streams) AS stream (name) WHERE split_part(stream.name, ':', 2) = $1)
ORDER BY opened_at DESC
LIMIT $2;
