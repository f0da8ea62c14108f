-- The top of each live book, as the shards hold it.

-- Two that publish the same book never take it back. One that was withdrawn may begin anew, at any id.
-- name: publish_latest_books
INSERT INTO spot_raw.latest_books AS b (
    symbol_id, last_update_id, ts, bid_prices, bid_qtys, ask_prices, ask_qtys, shard, is_live, published_at
)
SELECT
    n.symbol_id,
    n.last_update_id,
    n.ts,
    n.bid_prices::numeric[],
    n.bid_qtys::numeric[],
    n.ask_prices::numeric[],
    n.ask_qtys::numeric[],
    $8::integer,
    true,
    clock_timestamp()
FROM unnest($1::integer[], $2::bigint[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS n (symbol_id, last_update_id, ts, bid_prices, bid_qtys, ask_prices, ask_qtys)
ORDER BY n.symbol_id
ON CONFLICT (symbol_id) DO UPDATE SET
    last_update_id = excluded.last_update_id,
    ts = excluded.ts,
    bid_prices = excluded.bid_prices,
    bid_qtys = excluded.bid_qtys,
    ask_prices = excluded.ask_prices,
    ask_qtys = excluded.ask_qtys,
    shard = excluded.shard,
    is_live = true,
    published_at = excluded.published_at
WHERE NOT b.is_live OR b.last_update_id <= excluded.last_update_id;

-- name: withdraw_latest_books
WITH withdrawn AS (
    SELECT b.symbol_id FROM spot_raw.latest_books AS b
    WHERE b.symbol_id = ANY ($1::integer[]) AND b.is_live
    ORDER BY b.symbol_id
    FOR UPDATE
)

UPDATE spot_raw.latest_books AS b
SET is_live = false, published_at = clock_timestamp()
FROM withdrawn AS w
WHERE b.symbol_id = w.symbol_id;

-- name: publisher_beat
INSERT INTO spot_raw.book_publishers (shard, every_s, published_at)
VALUES ($1, $2, clock_timestamp())
ON CONFLICT (shard) DO UPDATE SET every_s = excluded.every_s, published_at = excluded.published_at;
