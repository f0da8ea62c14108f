-- Gaps on their way to being closed: see ingest/sequence/backfill.py.

-- Those with the newest data first.
-- name: open_gaps_of
SELECT g.gap_id, g.market, g.symbol, g.kind, g.first_id, g.last_id, g.start_ts, g.end_ts
FROM ops.gaps AS g
JOIN unnest($1::text[], $2::text[], $3::text[]) AS own (market, symbol, kind) USING (market, symbol, kind)
WHERE g.state = 'open' AND g.first_id <= g.last_id
ORDER BY coalesce(g.end_ts, g.opened_at) DESC, g.gap_id DESC
LIMIT $4;

-- Of streams of a market that nobody carries: their symbol was taken from the configuration, or delisted. A table of
-- states that is empty, as after a crash of the server, says nothing about who carries what.
-- name: orphaned_gaps
SELECT g.gap_id, g.market, g.symbol, g.kind, g.first_id, g.last_id, g.start_ts, g.end_ts, i.symbol_id
FROM ops.gaps AS g
JOIN ops.instruments AS i USING (market, symbol)
WHERE
    g.state = 'open'
    AND g.first_id <= g.last_id
    AND g.market = $1
    AND g.kind = ANY ($2::text[])
    AND EXISTS (SELECT FROM ops.stream_state AS s WHERE s.market = $1)
    AND NOT EXISTS (
        SELECT FROM ops.stream_state AS s
        WHERE s.market = g.market AND s.symbol = g.symbol AND s.kind = g.kind
    )
ORDER BY coalesce(g.end_ts, g.opened_at) DESC, g.gap_id DESC
LIMIT $3;

-- Runs of consecutive ids. The times are there for the index, whose keys they lead.
-- name: stored_trade_runs
SELECT min(id) AS first_id, max(id) AS last_id, count(*) AS row_count
FROM (
    SELECT id, id - row_number() OVER (ORDER BY id) AS run
    FROM (
        SELECT DISTINCT r.trade_id AS id
        FROM spot_raw.trades AS r
        WHERE
            r.symbol_id = $1
            AND r.trade_id BETWEEN $2 AND $3
            AND r.ts BETWEEN coalesce($4::timestamptz, '-infinity') AND coalesce($5::timestamptz, 'infinity')
    ) AS ids
) AS runs
GROUP BY run
ORDER BY first_id;

-- name: stored_agg_trade_runs
SELECT min(id) AS first_id, max(id) AS last_id, count(*) AS row_count
FROM (
    SELECT id, id - row_number() OVER (ORDER BY id) AS run
    FROM (
        SELECT DISTINCT r.agg_trade_id AS id
        FROM spot_raw.agg_trades AS r
        WHERE
            r.symbol_id = $1
            AND r.agg_trade_id BETWEEN $2 AND $3
            AND r.ts BETWEEN coalesce($4::timestamptz, '-infinity') AND coalesce($5::timestamptz, 'infinity')
    ) AS ids
) AS runs
GROUP BY run
ORDER BY first_id;

-- name: stored_candles
SELECT r.open_time, r.close_time
FROM spot_raw.klines AS r
WHERE r.symbol_id = $1 AND r.interval = $2 AND r.open_time BETWEEN $3 AND $4 AND r.is_closed
ORDER BY r.open_time;

-- name: settle_gap
UPDATE ops.gaps
SET
    state = $2,
    rows_repaired = $3,
    closed_at = greatest($4, opened_at),
    note = concat_ws('; ', nullif(note, ''), nullif($5, ''))
WHERE gap_id = $1 AND state = 'open';

-- name: note_absent
INSERT INTO ops.gaps
    (market, symbol, kind, first_id, last_id, start_ts, end_ts, cause, state, opened_at, closed_at, note)
SELECT
    g.market, g.symbol, g.kind, part.first_id, part.last_id, g.start_ts, g.end_ts, g.cause,
    'absent_at_exchange', $4, $4, format('part of gap %s', g.gap_id)
FROM ops.gaps AS g CROSS JOIN unnest($2::bigint[], $3::bigint[]) AS part (first_id, last_id)
WHERE g.gap_id = $1
ORDER BY part.first_id
ON CONFLICT (market, symbol, kind, opened_at, first_id) DO NOTHING;

-- name: missing_partitions_of
SELECT m.range_start
FROM ops.missing_partitions($1, $2) AS m
WHERE m.relation = $3::text::regclass
ORDER BY m.range_start
LIMIT $4;
