-- What a shard asks before it starts.

-- One caller at a time, so that two shards that start together do not deadlock.
-- name: lock_instruments
SELECT pg_advisory_xact_lock(hashtext('ingest instruments'));

-- name: update_instruments
UPDATE ops.instruments AS i
SET
    status = new.status,
    base_asset = new.base_asset,
    quote_asset = new.quote_asset,
    tick_size = new.tick_size::numeric,
    step_size = new.step_size::numeric,
    updated_at = now()
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS new (symbol, status, base_asset, quote_asset, tick_size, step_size)
WHERE
    i.market = $1
    AND i.symbol = new.symbol
    AND (i.status, i.base_asset, i.quote_asset, i.tick_size, i.step_size)
    IS DISTINCT FROM
    (new.status, new.base_asset, new.quote_asset, new.tick_size::numeric, new.step_size::numeric);

-- name: insert_instruments
INSERT INTO ops.instruments (market, symbol, status, base_asset, quote_asset, tick_size, step_size)
SELECT $1, new.symbol, new.status, new.base_asset, new.quote_asset, new.tick_size::numeric, new.step_size::numeric
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS new (symbol, status, base_asset, quote_asset, tick_size, step_size)
WHERE NOT EXISTS (SELECT FROM ops.instruments AS i WHERE i.market = $1 AND i.symbol = new.symbol)
ORDER BY new.symbol
ON CONFLICT (market, symbol) DO NOTHING;

-- name: instrument_ids
SELECT symbol, symbol_id FROM ops.instruments WHERE market = $1 AND symbol = ANY ($2::text[]);

-- The newest committed row of each symbol, not older than $3: one descent of the unique index a symbol and
-- partition. The ids rise with the time, so the row that is newest by time has the newest id.
-- name: resume_trades
SELECT i.symbol, newest.last_id, newest.ts
FROM ops.instruments AS i
CROSS JOIN LATERAL (
    SELECT r.trade_id AS last_id, r.ts AS ts
    FROM spot_raw.trades AS r
    WHERE r.symbol_id = i.symbol_id AND r.ts >= $3
    ORDER BY r.ts DESC, r.trade_id DESC
    LIMIT 1
) AS newest
WHERE i.market = $1 AND i.symbol = ANY ($2::text[]);

-- name: resume_agg_trades
SELECT i.symbol, newest.last_id, newest.ts
FROM ops.instruments AS i
CROSS JOIN LATERAL (
    SELECT r.agg_trade_id AS last_id, r.ts AS ts
    FROM spot_raw.agg_trades AS r
    WHERE r.symbol_id = i.symbol_id AND r.ts >= $3
    ORDER BY r.ts DESC, r.agg_trade_id DESC
    LIMIT 1
) AS newest
WHERE i.market = $1 AND i.symbol = ANY ($2::text[]);

-- name: resume_book_tickers
SELECT i.symbol, newest.last_id, newest.ts
FROM ops.instruments AS i
CROSS JOIN LATERAL (
    SELECT r.update_id AS last_id, r.ts AS ts
    FROM spot_raw.book_tickers AS r
    WHERE r.symbol_id = i.symbol_id AND r.ts >= $3
    ORDER BY r.ts DESC, r.update_id DESC
    LIMIT 1
) AS newest
WHERE i.market = $1 AND i.symbol = ANY ($2::text[]);

-- name: resume_depth_deltas
SELECT i.symbol, newest.last_id, newest.ts
FROM ops.instruments AS i
CROSS JOIN LATERAL (
    SELECT r.final_update_id AS last_id, r.ts AS ts
    FROM spot_raw.depth_deltas AS r
    WHERE r.symbol_id = i.symbol_id AND r.ts >= $3
    ORDER BY r.ts DESC, r.final_update_id DESC
    LIMIT 1
) AS newest
WHERE i.market = $1 AND i.symbol = ANY ($2::text[]);

-- name: resume_klines
SELECT i.symbol, newest.last_id, newest.ts
FROM ops.instruments AS i
CROSS JOIN LATERAL (
    SELECT NULL::bigint AS last_id, r.open_time AS ts
    FROM spot_raw.klines AS r
    WHERE r.symbol_id = i.symbol_id AND r.open_time >= $3 AND r.interval = $4 AND r.is_closed
    ORDER BY r.open_time DESC
    LIMIT 1
) AS newest
WHERE i.market = $1 AND i.symbol = ANY ($2::text[]);

-- name: resume_tickers
SELECT i.symbol, newest.last_id, newest.ts
FROM ops.instruments AS i
CROSS JOIN LATERAL (
    SELECT NULL::bigint AS last_id, r.ts AS ts
    FROM spot_raw.tickers AS r
    WHERE r.symbol_id = i.symbol_id AND r.ts >= $3 AND r.kind = $4
    ORDER BY r.ts DESC
    LIMIT 1
) AS newest
WHERE i.market = $1 AND i.symbol = ANY ($2::text[]);

-- name: resume_avg_prices
SELECT i.symbol, newest.last_id, newest.ts
FROM ops.instruments AS i
CROSS JOIN LATERAL (
    SELECT NULL::bigint AS last_id, r.ts AS ts
    FROM spot_raw.avg_prices AS r
    WHERE r.symbol_id = i.symbol_id AND r.ts >= $3
    ORDER BY r.ts DESC
    LIMIT 1
) AS newest
WHERE i.market = $1 AND i.symbol = ANY ($2::text[]);
