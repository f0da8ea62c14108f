-- Rows as `ingest export` takes them: $1 a symbol, from $2 up to, not including, $3. Times are microseconds since
-- the epoch, lists of numbers are words between spaces: what is read back without a doubt, and fast.

-- name: export_begin
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: export_settings
SELECT
    set_config('work_mem', '64MB', true),
    -- The symbol's one row of ops.instruments first, then the index that begins with its id, whatever the share
    -- of its rows; and not all cores of a server that others wait for.
    set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true),
    set_config('enable_memoize', 'off', true),
    set_config('random_page_cost', '1', true),
    set_config('max_parallel_workers_per_gather', '0', true);

-- name: export_trades
SELECT
    symbol, trade_id, (extract(epoch FROM ts) * 1000000)::bigint, price, qty, buyer_is_maker,
    (extract(epoch FROM recv_ts) * 1000000)::bigint
FROM spot.trades
WHERE symbol = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, trade_id;

-- name: export_agg_trades
SELECT
    symbol, agg_trade_id, (extract(epoch FROM ts) * 1000000)::bigint, price, qty, first_trade_id, last_trade_id,
    buyer_is_maker, (extract(epoch FROM recv_ts) * 1000000)::bigint
FROM spot.agg_trades
WHERE symbol = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, agg_trade_id;

-- name: export_book_tickers
SELECT
    symbol, update_id, (extract(epoch FROM ts) * 1000000)::bigint, bid_price, bid_qty, ask_price, ask_qty,
    (extract(epoch FROM recv_ts) * 1000000)::bigint
FROM spot.book_tickers
WHERE symbol = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, update_id;

-- name: export_depth_deltas
SELECT
    symbol, first_update_id, final_update_id, (extract(epoch FROM ts) * 1000000)::bigint,
    array_to_string(bid_prices, ' '), array_to_string(bid_qtys, ' '), array_to_string(ask_prices, ' '),
    array_to_string(ask_qtys, ' '), (extract(epoch FROM recv_ts) * 1000000)::bigint
FROM spot.depth_deltas
WHERE symbol = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, final_update_id;

-- name: export_depth_snapshots
SELECT
    symbol, last_update_id, (extract(epoch FROM ts) * 1000000)::bigint,
    array_to_string(bid_prices, ' '), array_to_string(bid_qtys, ' '), array_to_string(ask_prices, ' '),
    array_to_string(ask_qtys, ' '), reason, (extract(epoch FROM recv_ts) * 1000000)::bigint, bids_known_from,
    asks_known_to
FROM spot.depth_snapshots
WHERE symbol = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, last_update_id;

-- name: export_klines
SELECT
    symbol, interval, (extract(epoch FROM open_time) * 1000000)::bigint,
    (extract(epoch FROM close_time) * 1000000)::bigint, open, high, low, close, volume, quote_volume, trades,
    taker_buy_volume, taker_buy_quote_volume, is_closed, (extract(epoch FROM recv_ts) * 1000000)::bigint
FROM spot.klines
WHERE symbol = $1 AND open_time >= $2 AND open_time < $3 AND interval = $4
ORDER BY open_time;

-- name: export_tickers
SELECT
    symbol, (extract(epoch FROM ts) * 1000000)::bigint, kind, last_price, open, high, low, volume, quote_volume,
    (extract(epoch FROM recv_ts) * 1000000)::bigint, price_change, price_change_percent, weighted_avg_price,
    prev_close_price, last_qty, bid_price, bid_qty, ask_price, ask_qty,
    (extract(epoch FROM open_time) * 1000000)::bigint, (extract(epoch FROM close_time) * 1000000)::bigint,
    first_trade_id, last_trade_id, trades
FROM spot.tickers
WHERE symbol = $1 AND ts >= $2 AND ts < $3 AND kind = $4
ORDER BY ts;

-- name: export_avg_prices
SELECT
    symbol, (extract(epoch FROM ts) * 1000000)::bigint, interval, avg_price,
    (extract(epoch FROM last_trade_ts) * 1000000)::bigint, (extract(epoch FROM recv_ts) * 1000000)::bigint
FROM spot.avg_prices
WHERE symbol = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, interval;

-- name: export_candles_1s
-- A quotient has no last digit: the price that trades had on average is rounded to what a file can hold.
SELECT
    symbol, (extract(epoch FROM open_time) * 1000000)::bigint, (extract(epoch FROM close_time) * 1000000)::bigint,
    open, high, low, close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume,
    round(vwap, 18), first_trade_id, last_trade_id, is_closed, is_complete, missing_trades
FROM spot.candles_1s
WHERE symbol = $1 AND open_time >= $2 AND open_time < $3
ORDER BY open_time;

-- name: export_candles_1m
SELECT
    symbol, (extract(epoch FROM open_time) * 1000000)::bigint, (extract(epoch FROM close_time) * 1000000)::bigint,
    open, high, low, close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume,
    round(vwap, 18), first_trade_id, last_trade_id, is_closed, is_complete, missing_trades
FROM spot.candles_1m
WHERE symbol = $1 AND open_time >= $2 AND open_time < $3
ORDER BY open_time;

-- name: export_candles_1h
SELECT
    symbol, (extract(epoch FROM open_time) * 1000000)::bigint, (extract(epoch FROM close_time) * 1000000)::bigint,
    open, high, low, close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume,
    round(vwap, 18), first_trade_id, last_trade_id, is_closed, is_complete, missing_trades
FROM spot.candles_1h
WHERE symbol = $1 AND open_time >= $2 AND open_time < $3
ORDER BY open_time;

-- name: export_candles_1d
SELECT
    symbol, (extract(epoch FROM open_time) * 1000000)::bigint, (extract(epoch FROM close_time) * 1000000)::bigint,
    open, high, low, close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume,
    round(vwap, 18), first_trade_id, last_trade_id, is_closed, is_complete, missing_trades
FROM spot.candles_1d
WHERE symbol = $1 AND open_time >= $2 AND open_time < $3
ORDER BY open_time;

-- name: export_beside_trades
-- The rows beside a range: the last id before it, not before $4, and the first behind it, before $5. Null: none.
SELECT
    (SELECT max(trade_id) FROM spot.trades WHERE symbol = $1 AND ts >= $4 AND ts < $2) AS before,
    (SELECT min(trade_id) FROM spot.trades WHERE symbol = $1 AND ts >= $3 AND ts < $5) AS behind;

-- name: export_beside_agg_trades
SELECT
    (SELECT max(agg_trade_id) FROM spot.agg_trades WHERE symbol = $1 AND ts >= $4 AND ts < $2) AS before,
    (SELECT min(agg_trade_id) FROM spot.agg_trades WHERE symbol = $1 AND ts >= $3 AND ts < $5) AS behind;

-- name: export_beside_book_tickers
SELECT
    (SELECT max(update_id) FROM spot.book_tickers WHERE symbol = $1 AND ts >= $4 AND ts < $2) AS before,
    (SELECT min(update_id) FROM spot.book_tickers WHERE symbol = $1 AND ts >= $3 AND ts < $5) AS behind;

-- name: export_beside_depth_deltas
SELECT
    (SELECT max(final_update_id) FROM spot.depth_deltas WHERE symbol = $1 AND ts >= $4 AND ts < $2) AS before,
    (SELECT min(first_update_id) FROM spot.depth_deltas WHERE symbol = $1 AND ts >= $3 AND ts < $5) AS behind;

-- name: export_beside_depth_snapshots
SELECT
    (SELECT max(last_update_id) FROM spot.depth_snapshots WHERE symbol = $1 AND ts >= $4 AND ts < $2) AS before,
    (SELECT min(last_update_id) FROM spot.depth_snapshots WHERE symbol = $1 AND ts >= $3 AND ts < $5) AS behind;

-- name: export_beside_klines
SELECT
    (SELECT 1 FROM spot.klines WHERE symbol = $1 AND open_time >= $4 AND open_time < $2 AND interval = $6 LIMIT 1)
    AS before,
    (SELECT 1 FROM spot.klines WHERE symbol = $1 AND open_time >= $3 AND open_time < $5 AND interval = $6 LIMIT 1)
    AS behind;

-- name: export_beside_tickers
SELECT
    (SELECT 1 FROM spot.tickers WHERE symbol = $1 AND ts >= $4 AND ts < $2 AND kind = $6 LIMIT 1) AS before,
    (SELECT 1 FROM spot.tickers WHERE symbol = $1 AND ts >= $3 AND ts < $5 AND kind = $6 LIMIT 1) AS behind;

-- name: export_beside_avg_prices
SELECT
    (SELECT 1 FROM spot.avg_prices WHERE symbol = $1 AND ts >= $4 AND ts < $2 LIMIT 1) AS before,
    (SELECT 1 FROM spot.avg_prices WHERE symbol = $1 AND ts >= $3 AND ts < $5 LIMIT 1) AS behind;

-- name: export_gaps
-- What the ledger has against a stream between $3 and $4. A gap of which no time is known lies when it was noticed.
SELECT
    gap_id, state, cause, first_id, last_id, start_ts, end_ts, opened_at, closed_at, note
FROM ops.gaps
WHERE
    market = 'spot' AND symbol = $1 AND kind = $2 AND state <> 'repaired'
    AND coalesce(start_ts, end_ts, opened_at) < $4
    AND coalesce(end_ts, start_ts, opened_at) >= $3
ORDER BY gap_id;

-- name: export_known_until
-- Up to when a stream is known to be stored: its newest row, or the newest proof that there is none newer.
SELECT greatest(last_event_ts, verified_quiet_at)
FROM ops.stream_freshness
WHERE market = 'spot' AND symbol = $1 AND kind = $2;

-- name: export_schema_version
SELECT max(version) FROM ops.schema_migrations;

-- name: export_is_there
SELECT to_regclass($1) IS NOT NULL;
