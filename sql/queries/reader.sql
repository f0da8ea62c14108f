-- What readers ask: ingest/reader. All statements of one answer run on one state of the database.

-- Who the stream is, and what the service says of it, by the server's clock.
-- name: reader_standing
SELECT
    i.symbol_id,
    clock_timestamp() AS now,
    greatest(f.last_event_ts, f.verified_quiet_at) AS known_until,
    coalesce(f.state, '') AS state,
    coalesce(f.diagnosis, '') AS diagnosis,
    f.threshold_s,
    f.updated_at
FROM ops.instruments AS i
LEFT JOIN ops.stream_freshness AS f ON f.market = i.market AND f.symbol = i.symbol AND f.kind = $3
WHERE i.market = $1 AND i.symbol = $2;

-- name: reader_now
SELECT clock_timestamp();

-- name: reader_symbols
SELECT symbol FROM ops.instruments WHERE market = $1 ORDER BY symbol;

-- What the ledger has of a stream and a span of time that is not repaired. A side without a time is no bound.
-- name: reader_gaps
SELECT gap_id, first_id, last_id, start_ts, end_ts, cause, state
FROM ops.gaps
WHERE
    market = $1
    AND symbol = $2
    AND kind = $3
    AND state <> 'repaired'
    AND (start_ts IS NULL OR start_ts < $5)
    AND (end_ts IS NULL OR end_ts >= $4)
ORDER BY start_ts, gap_id;

-- The same of a range of ids.
-- name: reader_gaps_of_ids
SELECT gap_id, first_id, last_id, start_ts, end_ts, cause, state
FROM ops.gaps
WHERE market = $1 AND symbol = $2 AND kind = $3 AND state <> 'repaired' AND last_id >= $4 AND first_id <= $5
ORDER BY first_id, gap_id;

-- Rows of a span of time.

-- name: reader_rows_trades
SELECT trade_id, ts, price, qty, buyer_is_maker, recv_ts
FROM spot.trades
WHERE symbol_id = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, trade_id;

-- name: reader_rows_agg_trades
SELECT agg_trade_id, ts, price, qty, first_trade_id, last_trade_id, buyer_is_maker, recv_ts
FROM spot.agg_trades
WHERE symbol_id = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, agg_trade_id;

-- name: reader_rows_book_tickers
SELECT update_id, ts, bid_price, bid_qty, ask_price, ask_qty, recv_ts
FROM spot.book_tickers
WHERE symbol_id = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, update_id;

-- The same with float8, which is half as much for the client to read.

-- name: reader_floats_trades
SELECT trade_id, ts, price::float8, qty::float8, buyer_is_maker, recv_ts
FROM spot.trades
WHERE symbol_id = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, trade_id;

-- name: reader_floats_agg_trades
SELECT
    agg_trade_id, ts, price::float8, qty::float8, first_trade_id, last_trade_id, buyer_is_maker, recv_ts
FROM spot.agg_trades
WHERE symbol_id = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, agg_trade_id;

-- name: reader_floats_book_tickers
SELECT
    update_id, ts, bid_price::float8, bid_qty::float8, ask_price::float8, ask_qty::float8, recv_ts
FROM spot.book_tickers
WHERE symbol_id = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, update_id;

-- name: reader_rows_klines
SELECT
    open_time, close_time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,
    taker_buy_quote_volume, is_closed, recv_ts
FROM spot.klines
WHERE symbol_id = $1 AND open_time >= $2 AND open_time < $3 AND interval = $4
ORDER BY open_time;

-- name: reader_rows_candles_1s
SELECT
    open_time, close_time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,
    taker_buy_quote_volume, round(vwap, 18) AS vwap, first_trade_id, last_trade_id, is_closed, is_complete,
    missing_trades
FROM spot.candles_1s
WHERE symbol_id = $1 AND open_time >= $2 AND open_time < $3
ORDER BY open_time;

-- name: reader_rows_candles_1m
SELECT
    open_time, close_time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,
    taker_buy_quote_volume, round(vwap, 18) AS vwap, first_trade_id, last_trade_id, is_closed, is_complete,
    missing_trades
FROM spot.candles_1m
WHERE symbol_id = $1 AND open_time >= $2 AND open_time < $3
ORDER BY open_time;

-- name: reader_rows_candles_1h
SELECT
    open_time, close_time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,
    taker_buy_quote_volume, round(vwap, 18) AS vwap, first_trade_id, last_trade_id, is_closed, is_complete,
    missing_trades
FROM spot.candles_1h
WHERE symbol_id = $1 AND open_time >= $2 AND open_time < $3
ORDER BY open_time;

-- name: reader_rows_candles_1d
SELECT
    open_time, close_time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,
    taker_buy_quote_volume, round(vwap, 18) AS vwap, first_trade_id, last_trade_id, is_closed, is_complete,
    missing_trades
FROM spot.candles_1d
WHERE symbol_id = $1 AND open_time >= $2 AND open_time < $3
ORDER BY open_time;

-- The rows beside a span: the last one before it, the first one from its end on.

-- name: reader_beside_trades
SELECT b.id AS before_id, b.ts AS before_ts, a.id AS after_id, a.ts AS after_ts
FROM (VALUES (1)) AS always
LEFT JOIN LATERAL (
    SELECT trade_id AS id, ts FROM spot.trades
    WHERE symbol_id = $1 AND ts < $2 ORDER BY ts DESC, trade_id DESC LIMIT 1
) AS b ON true
LEFT JOIN LATERAL (
    SELECT trade_id AS id, ts FROM spot.trades
    WHERE symbol_id = $1 AND ts >= $3 ORDER BY ts, trade_id LIMIT 1
) AS a ON true;

-- name: reader_beside_agg_trades
SELECT b.id AS before_id, b.ts AS before_ts, a.id AS after_id, a.ts AS after_ts
FROM (VALUES (1)) AS always
LEFT JOIN LATERAL (
    SELECT agg_trade_id AS id, ts FROM spot.agg_trades
    WHERE symbol_id = $1 AND ts < $2 ORDER BY ts DESC, agg_trade_id DESC LIMIT 1
) AS b ON true
LEFT JOIN LATERAL (
    SELECT agg_trade_id AS id, ts FROM spot.agg_trades
    WHERE symbol_id = $1 AND ts >= $3 ORDER BY ts, agg_trade_id LIMIT 1
) AS a ON true;

-- name: reader_beside_book_tickers
SELECT b.id AS before_id, b.ts AS before_ts, a.id AS after_id, a.ts AS after_ts
FROM (VALUES (1)) AS always
LEFT JOIN LATERAL (
    SELECT update_id AS id, ts FROM spot.book_tickers
    WHERE symbol_id = $1 AND ts < $2 ORDER BY ts DESC, update_id DESC LIMIT 1
) AS b ON true
LEFT JOIN LATERAL (
    SELECT update_id AS id, ts FROM spot.book_tickers
    WHERE symbol_id = $1 AND ts >= $3 ORDER BY ts, update_id LIMIT 1
) AS a ON true;

-- name: reader_beside_depth_deltas
SELECT b.id AS before_id, b.ts AS before_ts, a.id AS after_id, a.ts AS after_ts
FROM (VALUES (1)) AS always
LEFT JOIN LATERAL (
    SELECT final_update_id AS id, ts FROM spot.depth_deltas
    WHERE symbol_id = $1 AND ts < $2 ORDER BY ts DESC, final_update_id DESC LIMIT 1
) AS b ON true
LEFT JOIN LATERAL (
    SELECT first_update_id AS id, ts FROM spot.depth_deltas
    WHERE symbol_id = $1 AND ts >= $3 ORDER BY ts, final_update_id LIMIT 1
) AS a ON true;

-- name: reader_beside_klines
SELECT NULL::bigint AS before_id, b.ts AS before_ts, NULL::bigint AS after_id, a.ts AS after_ts
FROM (VALUES (1)) AS always
LEFT JOIN LATERAL (
    SELECT open_time AS ts FROM spot.klines
    WHERE symbol_id = $1 AND open_time < $2 AND interval = $4 ORDER BY open_time DESC LIMIT 1
) AS b ON true
LEFT JOIN LATERAL (
    SELECT open_time AS ts FROM spot.klines
    WHERE symbol_id = $1 AND open_time >= $3 AND interval = $4 ORDER BY open_time LIMIT 1
) AS a ON true;

-- Where a chunk of about $4 rows ends: the time of the row behind so many.

-- name: reader_cut_trades
SELECT ts FROM spot.trades
WHERE symbol_id = $1 AND ts >= $2 AND ts < $3 ORDER BY ts, trade_id OFFSET $4 LIMIT 1;

-- name: reader_cut_agg_trades
SELECT ts FROM spot.agg_trades
WHERE symbol_id = $1 AND ts >= $2 AND ts < $3 ORDER BY ts, agg_trade_id OFFSET $4 LIMIT 1;

-- name: reader_cut_book_tickers
SELECT ts FROM spot.book_tickers
WHERE symbol_id = $1 AND ts >= $2 AND ts < $3 ORDER BY ts, update_id OFFSET $4 LIMIT 1;

-- What follows an id, as stored from a time on; and the newest row up to a time.

-- name: reader_page_trades
SELECT trade_id, ts, price, qty, buyer_is_maker, recv_ts
FROM spot.trades
WHERE symbol_id = $1 AND ts >= $2 AND trade_id > $3
ORDER BY ts, trade_id LIMIT $4;

-- name: reader_page_agg_trades
SELECT agg_trade_id, ts, price, qty, first_trade_id, last_trade_id, buyer_is_maker, recv_ts
FROM spot.agg_trades
WHERE symbol_id = $1 AND ts >= $2 AND agg_trade_id > $3
ORDER BY ts, agg_trade_id LIMIT $4;

-- name: reader_page_book_tickers
SELECT update_id, ts, bid_price, bid_qty, ask_price, ask_qty, recv_ts
FROM spot.book_tickers
WHERE symbol_id = $1 AND ts >= $2 AND update_id > $3
ORDER BY ts, update_id LIMIT $4;

-- name: reader_page_depth_deltas
SELECT first_update_id, final_update_id, ts, bid_prices, bid_qtys, ask_prices, ask_qtys, recv_ts
FROM spot.depth_deltas
WHERE symbol_id = $1 AND ts >= $2 AND final_update_id > $3
ORDER BY ts, final_update_id LIMIT $4;

-- Numbers as the exchange printed them, for a book.
-- name: reader_replay_page
SELECT
    first_update_id, final_update_id, ts, bid_prices::text[], bid_qtys::text[], ask_prices::text[],
    ask_qtys::text[], recv_ts
FROM spot.depth_deltas
WHERE symbol_id = $1 AND ts >= $2 AND ts < $3 AND final_update_id > $4
ORDER BY ts, final_update_id LIMIT $5;

-- name: reader_page_klines
SELECT
    interval, open_time, close_time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,
    taker_buy_quote_volume, is_closed, recv_ts, event_ts
FROM spot.klines
WHERE symbol_id = $1 AND open_time >= $2 AND interval = $3
ORDER BY open_time LIMIT $4;

-- name: reader_newest_trades
SELECT trade_id, ts, price, qty, buyer_is_maker, recv_ts
FROM spot.trades
WHERE symbol_id = $1 AND ts <= $2
ORDER BY ts DESC, trade_id DESC LIMIT 1;

-- name: reader_newest_agg_trades
SELECT agg_trade_id, ts, price, qty, first_trade_id, last_trade_id, buyer_is_maker, recv_ts
FROM spot.agg_trades
WHERE symbol_id = $1 AND ts <= $2
ORDER BY ts DESC, agg_trade_id DESC LIMIT 1;

-- name: reader_newest_book_tickers
SELECT update_id, ts, bid_price, bid_qty, ask_price, ask_qty, recv_ts
FROM spot.book_tickers
WHERE symbol_id = $1 AND ts <= $2
ORDER BY ts DESC, update_id DESC LIMIT 1;

-- name: reader_newest_depth_deltas
SELECT first_update_id, final_update_id, ts, bid_prices, bid_qtys, ask_prices, ask_qtys, recv_ts
FROM spot.depth_deltas
WHERE symbol_id = $1 AND ts <= $2
ORDER BY ts DESC, final_update_id DESC LIMIT 1;

-- name: reader_newest_klines
SELECT
    interval, open_time, close_time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,
    taker_buy_quote_volume, is_closed, recv_ts, event_ts
FROM spot.klines
WHERE symbol_id = $1 AND open_time <= $2 AND interval = $3
ORDER BY open_time DESC LIMIT 1;

-- The book as its shard publishes it.
-- name: reader_latest_book
SELECT last_update_id, ts, bid_prices, bid_qtys, ask_prices, ask_qtys, state FROM spot.latest_book($1);

-- Tables about the service itself.

-- name: reader_freshness
SELECT
    market, symbol, kind, shard, feed, state, diagnosis, last_event_ts, last_recv_ts, last_commit_ts, age_s,
    threshold_s, verified_quiet_at, reconnects, open_gaps, updated_at, trades_behind
FROM ops.stream_freshness
WHERE market = $1 AND ($2::text IS NULL OR symbol = $2) AND ($3::text IS NULL OR kind = $3)
ORDER BY symbol, kind;

-- name: reader_ledger
SELECT
    gap_id, market, symbol, kind, first_id, last_id, start_ts, end_ts, cause, state, rows_repaired, opened_at,
    closed_at, note
FROM ops.gaps
WHERE
    market = $1
    AND ($2::text IS NULL OR symbol = $2)
    AND ($3::text IS NULL OR kind = $3)
    AND ($4::text IS NULL OR state = $4)
    AND coalesce(start_ts, end_ts, opened_at) < $6
    AND coalesce(end_ts, start_ts, opened_at) >= $5
ORDER BY gap_id;

-- name: reader_completeness
SELECT minute, expected, stored, is_complete FROM ops.completeness($1, $2, $3, $4) ORDER BY minute;

-- name: reader_instruments
SELECT market, symbol, status, base_asset, quote_asset, tick_size, step_size, first_seen, updated_at
FROM ops.instruments
WHERE market = $1
ORDER BY symbol;

-- name: reader_incidents
SELECT
    incident, market, shard, feed, streams, diagnosis, evidence, step, story, opened_at, closed_at, updated_at
FROM ops.incidents
WHERE opened_at < $2 AND coalesce(closed_at, 'infinity') >= $1
ORDER BY opened_at, incident;
