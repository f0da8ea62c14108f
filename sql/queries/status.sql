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

-- When the service was stopped in order, and how long ago; no row while it runs, or when it was killed. Shards
-- that only an earlier configuration had keep their old rows.
-- name: status_stopped
SELECT
    newest.updated_at AS stopped_at,
    extract(epoch FROM clock_timestamp() - newest.updated_at)::double precision AS stopped_s
FROM (SELECT max(updated_at) AS updated_at FROM ops.shards) AS newest
WHERE EXISTS (SELECT FROM ops.shards) AND NOT EXISTS (
    SELECT FROM ops.shards AS s
    WHERE s.updated_at > newest.updated_at - interval '1 second' AND s.state <> 'stopped'
);

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

-- For a live view: the streams that are nearest to their threshold, or furthest past it, first.
-- name: top_streams
SELECT market, symbol, kind, state, diagnosis, age_s, threshold_s, shard, feed, age_s / nullif(threshold_s, 0) AS share
FROM ops.stream_freshness
WHERE state NOT IN ('quiet', 'halted')
ORDER BY state IN ('stale', 'recovering') DESC, share DESC NULLS LAST, market, symbol, kind
LIMIT $1;

-- How many streams of each kind are where between nothing (1) and their threshold (10), and beyond it (11).
-- name: top_ages
SELECT market, kind, width_bucket(age_s / nullif(threshold_s, 0), 0, 1, 10) AS tenth, count(*) AS streams
FROM ops.stream_freshness
WHERE state NOT IN ('quiet', 'halted') AND age_s IS NOT NULL
GROUP BY market, kind, tenth
ORDER BY market, kind, tenth;

-- The newest connection of each feed, and how often and why its connections ended within the last hour. Feeds that
-- were given up are left out: nothing of them was open within the life of their shard.
-- name: top_feeds
SELECT
    newest.shard,
    newest.feed,
    newest.streams,
    newest.closed_at IS NULL AS is_open,
    extract(epoch FROM clock_timestamp() - coalesce(newest.closed_at, newest.connected_at))::double precision AS since_s,
    newest.reason,
    newest.close_code,
    recent.ends,
    recent.reasons
FROM (
    SELECT DISTINCT ON (f.market, f.shard, f.feed) f.*
    FROM ops.feed_sessions AS f
    WHERE f.connected_at > clock_timestamp() - interval '2 days'
    ORDER BY f.market, f.shard, f.feed, f.connected_at DESC
) AS newest
JOIN ops.shards AS s ON s.shard = newest.shard AND newest.connected_at >= s.started_at
CROSS JOIN LATERAL (
    SELECT
        count(*) AS ends,
        string_agg(DISTINCT split_part(f.reason, ':', 1), ', ') AS reasons
    FROM ops.feed_sessions AS f
    WHERE
        f.market = newest.market AND f.shard = newest.shard AND f.feed = newest.feed
        AND f.closed_at > clock_timestamp() - interval '1 hour'
) AS recent
ORDER BY is_open, newest.shard, length(newest.feed), newest.feed;
