-- What `ingest alerts --dry-run` judges: the alert rules' facts as far as tables hold them.

-- name: alert_streams
SELECT state, count(*) AS streams
FROM ops.stream_freshness
GROUP BY state;

-- A stream that never had a row has been waited for since its shard started.
-- name: alert_stale_streams
SELECT
    f.market || ':' || f.symbol || ':' || f.kind AS stream,
    f.diagnosis,
    greatest(
        coalesce(f.age_s, extract(epoch FROM clock_timestamp() - s.started_at), 0) - f.threshold_s,
        0
    )::double precision AS stale_s
FROM ops.stream_freshness AS f
LEFT JOIN ops.shards AS s ON s.shard = f.shard
WHERE f.state IN ('stale', 'recovering')
ORDER BY stale_s DESC, stream;

-- Ends that were planned are no sign of trouble. $1 is the window in seconds.
-- name: alert_reconnects
SELECT
    'feed ' || feed || ' of shard ' || shard AS feed,
    array_agg(extract(epoch FROM clock_timestamp() - closed_at)::double precision ORDER BY closed_at) AS ages_s
FROM ops.feed_sessions
WHERE
    closed_at > clock_timestamp() - make_interval(secs => $1)
    AND reason NOT IN ('rotation', 'server_shutdown', 'stopped')
GROUP BY shard, feed
ORDER BY shard, feed;

-- name: alert_shards
SELECT shard, state FROM ops.shards WHERE state IN ('given up', 'quarantined') ORDER BY shard;
