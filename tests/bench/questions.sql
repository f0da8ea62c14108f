-- What signal jobs and notebooks ask. Each question twice: of the project's schema, and (`naive_`) of the naive one.
-- The answers of both must be equal; tests/bench/questions.py says who asks and with which parameters.

-- name: newest_trade
SELECT trade_id, ts, price, qty FROM spot.latest_trade($1);

-- name: naive_newest_trade
SELECT trade_id, ts, price, qty
FROM naive.trades
WHERE symbol = $1
ORDER BY ts DESC, trade_id DESC
LIMIT 1;

-- name: newest_of_all
SELECT symbol, trade_id, ts, price, qty FROM spot.latest_trades ORDER BY symbol;

-- name: naive_newest_of_all
SELECT DISTINCT ON (symbol) symbol, trade_id, ts, price, qty
FROM naive.trades
ORDER BY symbol, ts DESC, trade_id DESC;

-- name: freshness_of_all
SELECT symbol, kind, last_event_ts
FROM ops.stream_freshness
WHERE market = 'spot'
ORDER BY symbol, kind;

-- name: naive_freshness_of_all
SELECT symbol, 'trade' AS kind, max(ts) AS last_event_ts FROM naive.trades GROUP BY symbol
UNION ALL
SELECT symbol, 'book_ticker', max(ts) FROM naive.book_tickers GROUP BY symbol
ORDER BY symbol, kind;

-- name: trades_of_a_minute
SELECT ts, trade_id, price, qty, buyer_is_maker
FROM spot.trades
WHERE symbol = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, trade_id;

-- name: naive_trades_of_a_minute
SELECT ts, trade_id, price, qty, buyer_is_maker
FROM naive.trades
WHERE symbol = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, trade_id;

-- name: imbalance_by_second
SELECT date_trunc('second', ts) AS second, sum(CASE WHEN buyer_is_maker THEN -qty ELSE qty END), count(*)
FROM spot.trades
WHERE symbol = $1 AND ts >= $2 AND ts < $3
GROUP BY 1
ORDER BY 1;

-- name: naive_imbalance_by_second
SELECT date_trunc('second', ts) AS second, sum(CASE WHEN buyer_is_maker THEN -qty ELSE qty END), count(*)
FROM naive.trades
WHERE symbol = $1 AND ts >= $2 AND ts < $3
GROUP BY 1
ORDER BY 1;

-- name: deltas_of_a_minute
SELECT
    ts, final_update_id, bid_prices::double precision[], bid_qtys::double precision[],
    ask_prices::double precision[], ask_qtys::double precision[]
FROM spot.depth_deltas
WHERE symbol = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, final_update_id;

-- name: naive_deltas_of_a_minute
SELECT ts, final_update_id, bids, asks
FROM naive.depth_deltas
WHERE symbol = $1 AND ts >= $2 AND ts < $3
ORDER BY ts, final_update_id;

-- The newest snapshot before the moment, and the newest quantity of each price since then: best 20 a side.
-- name: book_at_a_moment
WITH book AS (
    SELECT ts, last_update_id, bid_prices, bid_qtys, ask_prices, ask_qtys
    FROM spot.depth_snapshots
    WHERE symbol = $1 AND ts <= $2
    ORDER BY ts DESC, last_update_id DESC
    LIMIT 1
),
deltas AS (
    SELECT final_update_id, bid_prices, bid_qtys, ask_prices, ask_qtys
    FROM spot.depth_deltas
    WHERE
        symbol = $1
        AND ts >= (SELECT ts FROM book)
        AND ts <= $2
        AND final_update_id > (SELECT last_update_id FROM book)
),
levels AS (
    SELECT 'ask' AS side, b.last_update_id AS update_id, l.price, l.qty
    FROM book AS b, unnest(b.ask_prices, b.ask_qtys) AS l (price, qty)
    UNION ALL
    SELECT 'bid', b.last_update_id, l.price, l.qty
    FROM book AS b, unnest(b.bid_prices, b.bid_qtys) AS l (price, qty)
    UNION ALL
    SELECT 'ask', d.final_update_id, l.price, l.qty
    FROM deltas AS d, unnest(d.ask_prices, d.ask_qtys) AS l (price, qty)
    UNION ALL
    SELECT 'bid', d.final_update_id, l.price, l.qty
    FROM deltas AS d, unnest(d.bid_prices, d.bid_qtys) AS l (price, qty)
),
newest AS (
    SELECT DISTINCT ON (side, price) side, price, qty FROM levels ORDER BY side, price, update_id DESC
),
placed AS (
    SELECT
        side, price, qty,
        row_number() OVER (PARTITION BY side ORDER BY CASE side WHEN 'bid' THEN -price ELSE price END) AS place
    FROM newest
    WHERE qty > 0
)
SELECT side, place, price, qty FROM placed WHERE place <= 20 ORDER BY side, place;

-- name: naive_book_at_a_moment
WITH book AS (
    SELECT ts, last_update_id, bids, asks
    FROM naive.depth_snapshots
    WHERE symbol = $1 AND ts <= $2
    ORDER BY ts DESC, last_update_id DESC
    LIMIT 1
),
deltas AS (
    SELECT final_update_id, bids, asks
    FROM naive.depth_deltas
    WHERE
        symbol = $1
        AND ts >= (SELECT ts FROM book)
        AND ts <= $2
        AND final_update_id > (SELECT last_update_id FROM book)
),
levels AS (
    SELECT 'ask' AS side, b.last_update_id AS update_id, l.level
    FROM book AS b, jsonb_array_elements(b.asks) AS l (level)
    UNION ALL
    SELECT 'bid', b.last_update_id, l.level
    FROM book AS b, jsonb_array_elements(b.bids) AS l (level)
    UNION ALL
    SELECT 'ask', d.final_update_id, l.level
    FROM deltas AS d, jsonb_array_elements(d.asks) AS l (level)
    UNION ALL
    SELECT 'bid', d.final_update_id, l.level
    FROM deltas AS d, jsonb_array_elements(d.bids) AS l (level)
),
numbers AS (
    SELECT
        side, update_id, (level ->> 0)::double precision AS price, (level ->> 1)::double precision AS qty
    FROM levels
),
newest AS (
    SELECT DISTINCT ON (side, price) side, price, qty FROM numbers ORDER BY side, price, update_id DESC
),
placed AS (
    SELECT
        side, price, qty,
        row_number() OVER (PARTITION BY side ORDER BY CASE side WHEN 'bid' THEN -price ELSE price END) AS place
    FROM newest
    WHERE qty > 0
)
SELECT side, place, price, qty FROM placed WHERE place <= 20 ORDER BY side, place;

-- name: vwap_of_an_hour
SELECT sum(price * qty) / sum(qty) AS vwap, sum(qty) AS volume, count(*) AS trades
FROM spot.trades
WHERE symbol = $1 AND ts >= $2 AND ts < $3;

-- name: naive_vwap_of_an_hour
SELECT sum(price * qty) / sum(qty) AS vwap, sum(qty) AS volume, count(*) AS trades
FROM naive.trades
WHERE symbol = $1 AND ts >= $2 AND ts < $3;

-- By the symbol's number, as `ingest.reader` asks.
-- name: candles_of_a_day
SELECT open_time, open, high, low, close, volume, trades, vwap
FROM spot.candles_1m
WHERE
    symbol_id = (SELECT symbol_id FROM ops.instruments WHERE market = 'spot' AND symbol = $1)
    AND open_time >= $2
    AND open_time < $3
ORDER BY open_time;

-- name: naive_candles_of_a_day
SELECT
    date_trunc('minute', ts) AS open_time,
    (array_agg(price ORDER BY ts, trade_id))[1] AS open,
    max(price) AS high,
    min(price) AS low,
    (array_agg(price ORDER BY ts DESC, trade_id DESC))[1] AS close,
    sum(qty) AS volume,
    count(*) AS trades,
    sum(price * qty) / sum(qty) AS vwap
FROM naive.trades
WHERE symbol = $1 AND ts >= $2 AND ts < $3
GROUP BY 1
ORDER BY 1;

-- name: hourly_candles_of_all
SELECT symbol, open_time, open, high, low, close, volume
FROM spot.candles_1h
WHERE open_time >= $1 AND open_time < $2
ORDER BY symbol, open_time;

-- name: naive_hourly_candles_of_all
SELECT
    symbol,
    date_trunc('hour', ts) AS open_time,
    (array_agg(price ORDER BY ts, trade_id))[1] AS open,
    max(price) AS high,
    min(price) AS low,
    (array_agg(price ORDER BY ts DESC, trade_id DESC))[1] AS close,
    sum(qty) AS volume
FROM naive.trades
WHERE ts >= $1 AND ts < $2
GROUP BY 1, 2
ORDER BY 1, 2;

-- name: turnover_of_all
SELECT symbol, sum(quote_volume) AS turnover
FROM spot.candles_1h
WHERE open_time >= $1 AND open_time < $2
GROUP BY symbol
ORDER BY symbol;

-- name: naive_turnover_of_all
SELECT symbol, sum(price * qty) AS turnover
FROM naive.trades
WHERE ts >= $1 AND ts < $2
GROUP BY symbol
ORDER BY symbol;

-- name: correlations
WITH closes AS (
    SELECT symbol, open_time, close::double precision AS close
    FROM spot.candles_1m
    WHERE symbol = ANY ($1::text[]) AND open_time >= $2 AND open_time < $3
),
returns AS (
    SELECT symbol, open_time, ln(close / lag(close) OVER (PARTITION BY symbol ORDER BY open_time)) AS change
    FROM closes
)
SELECT a.symbol, b.symbol AS other, corr(a.change, b.change) AS correlation
FROM returns AS a JOIN returns AS b ON a.open_time = b.open_time AND a.symbol < b.symbol
GROUP BY 1, 2
ORDER BY 1, 2;

-- name: naive_correlations
WITH closes AS (
    SELECT
        symbol,
        date_trunc('minute', ts) AS open_time,
        (array_agg(price ORDER BY ts DESC, trade_id DESC))[1] AS close
    FROM naive.trades
    WHERE symbol = ANY ($1::text[]) AND ts >= $2 AND ts < $3
    GROUP BY 1, 2
),
returns AS (
    SELECT symbol, open_time, ln(close / lag(close) OVER (PARTITION BY symbol ORDER BY open_time)) AS change
    FROM closes
)
SELECT a.symbol, b.symbol AS other, corr(a.change, b.change) AS correlation
FROM returns AS a JOIN returns AS b ON a.open_time = b.open_time AND a.symbol < b.symbol
GROUP BY 1, 2
ORDER BY 1, 2;

-- name: spread_by_minute
SELECT date_trunc('minute', ts) AS minute, avg(ask_price - bid_price), max(ask_price - bid_price), count(*)
FROM spot.book_tickers
WHERE symbol = $1 AND ts >= $2 AND ts < $3
GROUP BY 1
ORDER BY 1;

-- name: naive_spread_by_minute
SELECT date_trunc('minute', ts) AS minute, avg(ask_price - bid_price), max(ask_price - bid_price), count(*)
FROM naive.book_tickers
WHERE symbol = $1 AND ts >= $2 AND ts < $3
GROUP BY 1
ORDER BY 1;

-- name: latency_by_hour
SELECT
    date_trunc('hour', ts) AS hour,
    count(*),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM recv_ts - ts)::double precision),
    percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM recv_ts - ts)::double precision)
FROM spot.trades
WHERE symbol = $1 AND ts >= $2 AND ts < $3
GROUP BY 1
ORDER BY 1;

-- name: naive_latency_by_hour
SELECT
    date_trunc('hour', ts) AS hour,
    count(*),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM recv_ts - ts)::double precision),
    percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM recv_ts - ts)::double precision)
FROM naive.trades
WHERE symbol = $1 AND ts >= $2 AND ts < $3
GROUP BY 1
ORDER BY 1;

-- name: largest_trades
SELECT trade_id, ts, price, qty, price * qty AS value
FROM spot.trades
WHERE symbol = $1 AND ts >= $2 AND ts < $3
ORDER BY value DESC, trade_id
LIMIT 20;

-- name: naive_largest_trades
SELECT trade_id, ts, price, qty, price * qty AS value
FROM naive.trades
WHERE symbol = $1 AND ts >= $2 AND ts < $3
ORDER BY value DESC, trade_id
LIMIT 20;

-- name: completeness_of_a_day
SELECT minute, expected, stored
FROM ops.completeness('spot', $1, $2, $3)
WHERE stored > 0
ORDER BY minute;

-- name: naive_completeness_of_a_day
WITH steps AS (
    SELECT ts, trade_id - lag(trade_id) OVER (ORDER BY trade_id) - 1 AS missing
    FROM naive.trades
    WHERE symbol = $1 AND ts >= $2 AND ts < $3
)
SELECT
    date_trunc('minute', ts) AS minute,
    count(*) + coalesce(sum(missing), 0) AS expected,
    count(*) AS stored
FROM steps
GROUP BY 1
ORDER BY 1;

-- name: gaps_of_a_day
SELECT symbol, first_id, last_id
FROM ops.gaps
WHERE market = 'spot' AND kind = 'trade' AND start_ts >= $1 AND start_ts < $2
ORDER BY symbol, first_id;

-- name: naive_gaps_of_a_day
WITH steps AS (
    SELECT symbol, trade_id, lag(trade_id) OVER (PARTITION BY symbol ORDER BY trade_id) AS before
    FROM naive.trades
    WHERE ts >= $1 AND ts < $2
)
SELECT symbol, before + 1 AS first_id, trade_id - 1 AS last_id
FROM steps
WHERE trade_id > before + 1
ORDER BY symbol, first_id;

-- name: exchange_candles_of_a_day
SELECT open_time, open, high, low, close, volume, trades
FROM spot.klines
WHERE symbol = $1 AND interval = '1m' AND open_time >= $2 AND open_time < $3
ORDER BY open_time;

-- name: naive_exchange_candles_of_a_day
SELECT open_time, open, high, low, close, volume, trades
FROM naive.klines
WHERE symbol = $1 AND open_time >= $2 AND open_time < $3
ORDER BY open_time;
