-- Rhythms and incidents, written by the supervisor.

-- name: load_rhythms
SELECT market, symbol, kind, quantiles_s, gaps, messages FROM ops.stream_rhythms;

-- name: save_rhythms
INSERT INTO ops.stream_rhythms (market, symbol, kind, quantiles_s, gaps, messages, threshold_s, explanation)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (market, symbol, kind) DO UPDATE SET
    quantiles_s = excluded.quantiles_s,
    gaps = excluded.gaps,
    messages = excluded.messages,
    threshold_s = excluded.threshold_s,
    explanation = excluded.explanation,
    updated_at = now();

-- name: put_incident
INSERT INTO ops.incidents
    (incident, market, shard, feed, streams, diagnosis, evidence, step, story, opened_at, closed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (incident) DO UPDATE SET
    streams = excluded.streams,
    diagnosis = excluded.diagnosis,
    evidence = excluded.evidence,
    step = excluded.step,
    story = excluded.story,
    closed_at = coalesce(ops.incidents.closed_at, excluded.closed_at),
    updated_at = clock_timestamp();

-- What an earlier supervisor left open: whoever comes after it looks at everything anew.
-- name: close_orphaned_incidents
UPDATE ops.incidents
SET
    closed_at = clock_timestamp(),
    updated_at = clock_timestamp(),
    story = array_append(
        story, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'HH24:MI:SS') || ' a new supervisor has begun'
    )
WHERE closed_at IS NULL;

-- name: forget_streams
DELETE FROM ops.stream_state AS f
USING unnest($1::text[], $2::text[], $3::text[]) AS gone (market, symbol, kind)
WHERE f.market = gone.market AND f.symbol = gone.symbol AND f.kind = gone.kind;

-- Of one market: streams that are not in the plan ($2, $3), if nobody has written them for $4 seconds.
-- name: forget_unplanned
DELETE FROM ops.stream_state AS f
WHERE
    f.market = $1
    AND f.updated_at <= clock_timestamp() - make_interval(secs => $4)
    AND NOT EXISTS (
        SELECT FROM unnest($2::text[], $3::text[]) AS planned (symbol, kind)
        WHERE planned.symbol = f.symbol AND planned.kind = f.kind
    );

-- name: rhythm_explanations
SELECT
    kind,
    threshold_s,
    explanation,
    messages,
    updated_at,
    extract(epoch FROM clock_timestamp() - updated_at)::double precision AS saved_s
FROM ops.stream_rhythms
WHERE symbol = $1
ORDER BY kind;
