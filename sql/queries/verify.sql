-- Stored rows in the form in which they are compared with the exchange's own: see ingest/sequence/verify.py.

-- name: verify_trade
SELECT
    r.trade_id AS id, r.ts, ARRAY[r.price::text, r.qty::text, r.buyer_is_maker::integer::text] AS fields
FROM spot_raw.trades AS r
WHERE
    r.symbol_id = (SELECT i.symbol_id FROM ops.instruments AS i WHERE i.market = $1 AND i.symbol = $2)
    AND r.trade_id > $3
    AND r.trade_id <= $4
    AND r.ts BETWEEN $5 AND $6
ORDER BY r.trade_id, r.ts;

-- name: verify_agg_trade
SELECT
    r.agg_trade_id AS id,
    r.ts,
    ARRAY[
        r.price::text, r.qty::text, r.buyer_is_maker::integer::text, r.first_trade_id::text,
        r.last_trade_id::text
    ] AS fields
FROM spot_raw.agg_trades AS r
WHERE
    r.symbol_id = (SELECT i.symbol_id FROM ops.instruments AS i WHERE i.market = $1 AND i.symbol = $2)
    AND r.agg_trade_id > $3
    AND r.agg_trade_id <= $4
    AND r.ts BETWEEN $5 AND $6
ORDER BY r.agg_trade_id, r.ts;

-- All of a span, to be counted.
-- name: verify_count_trade
SELECT count(*)
FROM spot_raw.trades AS r
WHERE
    r.symbol_id = (SELECT i.symbol_id FROM ops.instruments AS i WHERE i.market = $1 AND i.symbol = $2)
    AND r.ts BETWEEN $3 AND $4;

-- All of a span in the order of their times, a page at a time.
-- name: verify_by_time_trade
SELECT
    r.trade_id AS id, r.ts, ARRAY[r.price::text, r.qty::text, r.buyer_is_maker::integer::text] AS fields
FROM spot_raw.trades AS r
WHERE
    r.symbol_id = (SELECT i.symbol_id FROM ops.instruments AS i WHERE i.market = $1 AND i.symbol = $2)
    AND (r.ts, r.trade_id) > ($3, $4)
    AND r.ts <= $5
ORDER BY r.ts, r.trade_id
LIMIT $6;

-- All of a span, to be counted.
-- name: verify_count_agg_trade
SELECT count(*)
FROM spot_raw.agg_trades AS r
WHERE
    r.symbol_id = (SELECT i.symbol_id FROM ops.instruments AS i WHERE i.market = $1 AND i.symbol = $2)
    AND r.ts BETWEEN $3 AND $4;

-- All of a span in the order of their times, a page at a time.
-- name: verify_by_time_agg_trade
SELECT
    r.agg_trade_id AS id,
    r.ts,
    ARRAY[
        r.price::text, r.qty::text, r.buyer_is_maker::integer::text, r.first_trade_id::text,
        r.last_trade_id::text
    ] AS fields
FROM spot_raw.agg_trades AS r
WHERE
    r.symbol_id = (SELECT i.symbol_id FROM ops.instruments AS i WHERE i.market = $1 AND i.symbol = $2)
    AND (r.ts, r.agg_trade_id) > ($3, $4)
    AND r.ts <= $5
ORDER BY r.ts, r.agg_trade_id
LIMIT $6;
