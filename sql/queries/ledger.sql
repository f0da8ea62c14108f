-- The gap ledger, written in the transaction of the rows that follow the gap.

-- name: open_gaps
INSERT INTO ops.gaps
    (market, symbol, kind, first_id, last_id, start_ts, end_ts, cause, state, opened_at, closed_at, note)
SELECT
    market,
    symbol,
    kind,
    first_id,
    last_id,
    start_ts,
    end_ts,
    cause,
    CASE WHEN repairable THEN 'open' ELSE 'unrepairable' END,
    opened_at,
    CASE WHEN repairable THEN NULL ELSE opened_at END,
    note
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::timestamptz[],
    $8::text[], $9::boolean[], $10::timestamptz[], $11::text[]
) AS gap (market, symbol, kind, first_id, last_id, start_ts, end_ts, cause, repairable, opened_at, note)
ORDER BY 1, 2, 3, 10, 4
ON CONFLICT (market, symbol, kind, opened_at, first_id) DO NOTHING;

-- name: close_filled_gaps
UPDATE ops.gaps AS g
SET state = 'repaired', rows_repaired = filled.row_count, closed_at = greatest(filled.closed_at, g.opened_at)
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[]
) AS filled (market, symbol, kind, first_id, last_id, row_count, closed_at)
WHERE
    g.market = filled.market
    AND g.symbol = filled.symbol
    AND g.kind = filled.kind
    AND g.first_id = filled.first_id
    AND g.last_id = filled.last_id
    -- What cannot be fetched may still have been late.
    AND g.state IN ('open', 'unrepairable');

-- name: count_open_gaps
SELECT market, symbol, kind, count(*) AS gaps
FROM ops.gaps
WHERE state = 'open'
GROUP BY market, symbol, kind;

-- Those that have waited longest.
-- name: oldest_open_gaps
SELECT market, symbol, kind, first_id, last_id, cause, opened_at
FROM ops.gaps
WHERE state = 'open'
ORDER BY opened_at, gap_id
LIMIT $1;

-- name: newest_gap
SELECT coalesce(max(gap_id), 0) AS gap_id FROM ops.gaps;

-- Gaps that are not closed or cannot be repaired, above a number, an hour back at most. Not those of rows that had
-- come and were lost on their way to the table: whoever lost them has missed nothing, by its own account.
-- name: gaps_after
SELECT gap_id, market, symbol, kind, first_id, last_id, start_ts, end_ts
FROM ops.gaps
WHERE
    gap_id > $1
    AND state IN ('open', 'unrepairable')
    AND opened_at > now() - interval '1 hour'
    AND cause IN ('disconnect', 'sequence', 'resubscribe', 'restart', 'buffer_full')
ORDER BY gap_id;

-- Rows of the same stream that overlap or touch a gap, of a day back at most; closed ones for the times they know.
-- name: gaps_beside
SELECT o.first_id, o.last_id, o.start_ts, o.end_ts, o.state <> 'repaired' AS is_missing
FROM ops.gaps AS g
JOIN ops.gaps AS o USING (market, symbol, kind)
WHERE
    g.gap_id = $1
    AND o.gap_id <> g.gap_id
    AND o.opened_at > now() - interval '1 day'
    AND o.cause IN ('disconnect', 'sequence', 'resubscribe', 'restart', 'buffer_full')
    AND (
        (o.first_id <= g.last_id + 1 AND o.last_id >= g.first_id - 1)
        OR (g.first_id IS NULL AND o.start_ts < g.end_ts AND o.end_ts > g.start_ts)
    )
ORDER BY o.gap_id;

-- Close a gap that two lines have had in part, and give what is left of it rows of its own.
-- name: trim_gap
WITH closed AS (
    UPDATE ops.gaps AS g
    SET
        state = 'repaired',
        closed_at = greatest(now(), g.opened_at),
        note = concat_ws('; ', nullif(g.note, ''), 'the other line has it, but for what other rows say')
    FROM (SELECT gap_id, note FROM ops.gaps WHERE gap_id = $1) AS before
    WHERE g.gap_id = before.gap_id AND g.state = 'unrepairable'
    RETURNING g.gap_id, g.market, g.symbol, g.kind, g.cause, before.note
)

INSERT INTO ops.gaps
    (market, symbol, kind, first_id, last_id, start_ts, end_ts, cause, state, opened_at, closed_at, note)
SELECT
    c.market, c.symbol, c.kind, part.first_id, part.last_id, part.start_ts, part.end_ts, c.cause, 'unrepairable',
    -- Apart by a microsecond, or the key would refuse two that have no ids.
    now() + part.number * interval '1 microsecond', now() + part.number * interval '1 microsecond',
    concat_ws('; ', nullif(c.note, ''), format('part of gap %s', c.gap_id))
FROM closed AS c
CROSS JOIN unnest($2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[])
    WITH ORDINALITY AS part (first_id, last_id, start_ts, end_ts, number);

-- Of two lines that bring the same streams, the other one has it all.
-- name: close_covered_gaps
UPDATE ops.gaps AS g
SET
    state = 'repaired',
    closed_at = greatest(now(), g.opened_at),
    note = 'the other line has it'
WHERE g.gap_id = ANY ($1::bigint[]) AND g.state IN ('open', 'unrepairable');
