-- The gap ledger as people read it.

-- Newest first. A symbol, a kind or a state that is null means any; a hole with a known end lasted until then.
-- name: list_gaps
SELECT
    gap_id, market, symbol, kind, first_id, last_id, start_ts, end_ts, cause, state, rows_repaired,
    opened_at, closed_at, note
FROM ops.gaps
WHERE
    ($1::text IS NULL OR symbol = $1)
    AND ($2::text IS NULL OR kind = $2)
    AND ($3::text IS NULL OR state = $3)
ORDER BY opened_at DESC, gap_id DESC
LIMIT $4;

-- name: count_gaps
SELECT state, count(*) AS gaps
FROM ops.gaps
WHERE ($1::text IS NULL OR symbol = $1) AND ($2::text IS NULL OR kind = $2)
GROUP BY state;

-- Whether anything is known of a symbol: no gap of a misspelt one is no good news.
-- name: is_known_symbol
SELECT
    EXISTS (SELECT FROM ops.instruments WHERE symbol = $1)
    OR EXISTS (SELECT FROM ops.gaps WHERE symbol = $1);
