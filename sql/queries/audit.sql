-- What is stored, in a form that can be compared with a list of what was published. For each kind: symbol,
-- the exchange's id, the event time in milliseconds, and the fields as the exchange printed them, joined.

-- name: audit_trade
SELECT symbol, trade_id AS id, (extract(epoch FROM ts) * 1000)::bigint AS ts_ms,
    concat_ws('|', price, qty, CASE WHEN buyer_is_maker THEN 'true' ELSE 'false' END) AS fields
FROM spot.trades;

-- name: audit_agg_trade
SELECT symbol, agg_trade_id AS id, (extract(epoch FROM ts) * 1000)::bigint AS ts_ms,
    concat_ws(
        '|', price, qty, first_trade_id, last_trade_id, CASE WHEN buyer_is_maker THEN 'true' ELSE 'false' END
    ) AS fields
FROM spot.agg_trades;

-- name: audit_book_ticker
SELECT symbol, update_id AS id, (extract(epoch FROM ts) * 1000)::bigint AS ts_ms,
    concat_ws('|', bid_price, bid_qty, ask_price, ask_qty) AS fields
FROM spot.book_tickers;

-- name: audit_depth
SELECT symbol, final_update_id AS id, (extract(epoch FROM ts) * 1000)::bigint AS ts_ms,
    concat_ws(
        '|',
        first_update_id,
        (
            SELECT coalesce(string_agg(concat(b.price, ':', b.qty), ',' ORDER BY b.place), '')
            FROM unnest(bid_prices, bid_qtys) WITH ORDINALITY AS b (price, qty, place)
        ),
        (
            SELECT coalesce(string_agg(concat(a.price, ':', a.qty), ',' ORDER BY a.place), '')
            FROM unnest(ask_prices, ask_qtys) WITH ORDINALITY AS a (price, qty, place)
        )
    ) AS fields
FROM spot.depth_deltas;

-- name: audit_kline
SELECT symbol, (extract(epoch FROM open_time) * 1000)::bigint AS id,
    (extract(epoch FROM close_time) * 1000)::bigint AS ts_ms,
    concat_ws(
        '|', open, high, low, close, volume, trades, quote_volume, taker_buy_volume, taker_buy_quote_volume
    ) AS fields
FROM spot.klines
WHERE is_closed AND interval = $1;

-- name: audit_mini_ticker
SELECT symbol, (extract(epoch FROM ts) * 1000)::bigint AS id, (extract(epoch FROM ts) * 1000)::bigint AS ts_ms,
    concat_ws('|', last_price, open, high, low, volume, quote_volume) AS fields
FROM spot.tickers
WHERE kind = 'mini_ticker';

-- name: audit_ticker
SELECT symbol, (extract(epoch FROM ts) * 1000)::bigint AS id, (extract(epoch FROM ts) * 1000)::bigint AS ts_ms,
    concat_ws(
        '|', price_change, price_change_percent, weighted_avg_price, prev_close_price, last_price, last_qty,
        bid_price, bid_qty, ask_price, ask_qty, open, high, low, volume, quote_volume
    ) AS fields
FROM spot.tickers
WHERE kind = 'ticker';

-- name: audit_avg_price
SELECT symbol, (extract(epoch FROM ts) * 1000)::bigint AS id, (extract(epoch FROM ts) * 1000)::bigint AS ts_ms,
    avg_price::text AS fields
FROM spot.avg_prices;

-- name: audit_gaps
SELECT
    symbol,
    kind,
    first_id,
    last_id,
    (extract(epoch FROM start_ts) * 1000)::bigint AS start_ms,
    (extract(epoch FROM end_ts) * 1000)::bigint AS end_ms
FROM ops.gaps
WHERE market = 'spot' AND state <> 'repaired';
