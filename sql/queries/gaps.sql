-- The gap ledger as people read it.

-- Newest first. A symbol, a kind, a state or a time that is null means any; a gap belongs to the time after $5 when
-- it ended or was noticed then.
-- name: list_gaps
SELECT
    gap_id, market, symbol, kind, first_id, last_id, start_ts, end_ts, cause, state, rows_repaired,
    opened_at, closed_at, note
FROM ops.gaps
WHERE
    ($1::text IS NULL OR symbol = $1)
    AND ($2::text IS NULL OR kind = $2)
    AND ($3::text IS NULL OR state = $3)
    AND ($5::timestamptz IS NULL OR greatest(end_ts, opened_at) >= $5)
ORDER BY opened_at DESC, gap_id DESC
LIMIT $4;

-- name: count_gaps
SELECT state, count(*) AS gaps
FROM ops.gaps
WHERE
    ($1::text IS NULL OR symbol = $1)
    AND ($2::text IS NULL OR kind = $2)
    AND ($3::timestamptz IS NULL OR greatest(end_ts, opened_at) >= $3)
GROUP BY state;

-- What came of what: for each kind, cause and state how many gaps, of how many symbols, how many ids they span (an
-- upper bound where ids skip; null where ids are times), how many rows came back, and when they began and ended.
-- name: summarize_gaps
SELECT
    market,
    kind,
    cause,
    state,
    count(*) AS gaps,
    count(DISTINCT symbol) AS symbols,
    CASE WHEN kind NOT LIKE 'kline%' THEN sum(last_id - first_id + 1)::bigint END AS ids,
    sum(rows_repaired)::bigint AS rows_repaired,
    min(coalesce(start_ts, opened_at)) AS first_at,
    max(greatest(end_ts, opened_at)) AS last_at
FROM ops.gaps
WHERE
    ($1::text IS NULL OR symbol = $1)
    AND ($2::text IS NULL OR kind = $2)
    AND ($3::text IS NULL OR state = $3)
    AND ($4::timestamptz IS NULL OR greatest(end_ts, opened_at) >= $4)
GROUP BY market, kind, cause, state
ORDER BY state <> 'open', market, kind, gaps DESC, cause, state;

-- Whether anything is known of a symbol: no gap of a misspelt one is no good news.
-- name: is_known_symbol
SELECT
    EXISTS (SELECT FROM ops.instruments WHERE symbol = $1)
    OR EXISTS (SELECT FROM ops.gaps WHERE symbol = $1);
