-- One staging table a connection and market table, and how its rows come into the latter.
--
-- Rows are merged in the order of the unique key, so that two writers that offer the same rows take their
-- locks in the same order: without it they deadlock.

-- Columns and their order are those of the market tables, written out: LIKE would want a lock on each of them, and
-- a connection that is lost while somebody holds one table could not be replaced for the others.
-- name: create_stages
CREATE TEMP TABLE stage_trades (
    ts timestamptz NOT NULL,
    trade_id bigint NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    buyer_is_maker boolean NOT NULL,
    price numeric NOT NULL,
    qty numeric NOT NULL
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE stage_agg_trades (
    ts timestamptz NOT NULL,
    agg_trade_id bigint NOT NULL,
    first_trade_id bigint NOT NULL,
    last_trade_id bigint NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    buyer_is_maker boolean NOT NULL,
    price numeric NOT NULL,
    qty numeric NOT NULL
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE stage_book_tickers (
    ts timestamptz NOT NULL,
    update_id bigint NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    bid_price numeric NOT NULL,
    bid_qty numeric NOT NULL,
    ask_price numeric NOT NULL,
    ask_qty numeric NOT NULL
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE stage_depth_deltas (
    ts timestamptz NOT NULL,
    first_update_id bigint NOT NULL,
    final_update_id bigint NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    bid_prices numeric[] NOT NULL,
    bid_qtys numeric[] NOT NULL,
    ask_prices numeric[] NOT NULL,
    ask_qtys numeric[] NOT NULL
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE stage_depth_snapshots (
    ts timestamptz NOT NULL,
    last_update_id bigint NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    bid_prices numeric[] NOT NULL,
    bid_qtys numeric[] NOT NULL,
    ask_prices numeric[] NOT NULL,
    ask_qtys numeric[] NOT NULL,
    reason text NOT NULL,
    bids_known_from numeric,
    asks_known_to numeric
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE stage_klines (
    open_time timestamptz NOT NULL,
    close_time timestamptz NOT NULL,
    event_ts timestamptz NOT NULL,
    recv_ts timestamptz NOT NULL,
    trades bigint NOT NULL,
    symbol_id integer NOT NULL,
    is_closed boolean NOT NULL,
    interval text NOT NULL,
    open numeric NOT NULL,
    high numeric NOT NULL,
    low numeric NOT NULL,
    close numeric NOT NULL,
    volume numeric NOT NULL,
    quote_volume numeric NOT NULL,
    taker_buy_volume numeric NOT NULL,
    taker_buy_quote_volume numeric NOT NULL
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE stage_tickers (
    ts timestamptz NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    kind text NOT NULL,
    last_price numeric NOT NULL,
    open numeric NOT NULL,
    high numeric NOT NULL,
    low numeric NOT NULL,
    volume numeric NOT NULL,
    quote_volume numeric NOT NULL,
    price_change numeric,
    price_change_percent numeric,
    weighted_avg_price numeric,
    prev_close_price numeric,
    last_qty numeric,
    bid_price numeric,
    bid_qty numeric,
    ask_price numeric,
    ask_qty numeric,
    open_time timestamptz,
    close_time timestamptz,
    first_trade_id bigint,
    last_trade_id bigint,
    trades bigint
) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE stage_avg_prices (
    ts timestamptz NOT NULL,
    last_trade_ts timestamptz NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    interval text NOT NULL,
    avg_price numeric NOT NULL
) ON COMMIT DELETE ROWS;

-- name: merge_trades
INSERT INTO spot_raw.trades
SELECT * FROM pg_temp.stage_trades ORDER BY symbol_id, ts, trade_id
ON CONFLICT (symbol_id, ts, trade_id) DO NOTHING;

-- name: merge_agg_trades
INSERT INTO spot_raw.agg_trades
SELECT * FROM pg_temp.stage_agg_trades ORDER BY symbol_id, ts, agg_trade_id
ON CONFLICT (symbol_id, ts, agg_trade_id) DO NOTHING;

-- name: merge_book_tickers
INSERT INTO spot_raw.book_tickers
SELECT * FROM pg_temp.stage_book_tickers ORDER BY symbol_id, ts, update_id
ON CONFLICT (symbol_id, ts, update_id) DO NOTHING;

-- Where two lines bring the same streams: the exchange gives a book ticker no time, each line dates it by its
-- own arrival, and so the key does not see that it is one. One writer at a time, so that each sees what the
-- others have committed; $1 is how far the arrivals of two lines may be apart.
-- name: lock_book_tickers
SELECT pg_advisory_xact_lock(hashtext('ingest book_tickers'));

-- name: merge_book_tickers_once
WITH stored AS MATERIALIZED (
    SELECT t.symbol_id, t.update_id
    FROM spot_raw.book_tickers AS t
    WHERE
        t.symbol_id = ANY (ARRAY(SELECT DISTINCT s.symbol_id FROM pg_temp.stage_book_tickers AS s))
        AND t.ts >= (SELECT min(s.ts) FROM pg_temp.stage_book_tickers AS s) - $1::interval
        AND t.ts <= (SELECT max(s.ts) FROM pg_temp.stage_book_tickers AS s) + $1::interval
)

INSERT INTO spot_raw.book_tickers
SELECT s.*
FROM pg_temp.stage_book_tickers AS s
LEFT JOIN stored AS t ON s.symbol_id = t.symbol_id AND s.update_id = t.update_id
WHERE t.symbol_id IS NULL
ORDER BY s.symbol_id, s.ts, s.update_id
ON CONFLICT (symbol_id, ts, update_id) DO NOTHING;

-- name: merge_depth_deltas
INSERT INTO spot_raw.depth_deltas
SELECT * FROM pg_temp.stage_depth_deltas ORDER BY symbol_id, ts, final_update_id
ON CONFLICT (symbol_id, ts, final_update_id) DO NOTHING;

-- A book that stands still may be stored again at the same update: known further than before, or right at
-- last. What is known less far never takes the place of what is known further.
-- name: merge_depth_snapshots
INSERT INTO spot_raw.depth_snapshots AS s
SELECT DISTINCT ON (symbol_id, ts, last_update_id) *
FROM pg_temp.stage_depth_snapshots
ORDER BY symbol_id, ts, last_update_id, reason <> 'audit', bids_known_from, asks_known_to DESC
ON CONFLICT (symbol_id, ts, last_update_id) DO UPDATE SET
    recv_ts = excluded.recv_ts,
    bid_prices = excluded.bid_prices,
    bid_qtys = excluded.bid_qtys,
    ask_prices = excluded.ask_prices,
    ask_qtys = excluded.ask_qtys,
    reason = excluded.reason,
    bids_known_from = excluded.bids_known_from,
    asks_known_to = excluded.asks_known_to
WHERE
    (excluded.reason = 'audit' AND s.reason <> 'audit')
    OR (
        excluded.bids_known_from <= s.bids_known_from
        AND excluded.asks_known_to >= s.asks_known_to
        AND (excluded.bids_known_from, excluded.asks_known_to) <> (s.bids_known_from, s.asks_known_to)
    );

-- name: merge_tickers
INSERT INTO spot_raw.tickers
SELECT * FROM pg_temp.stage_tickers ORDER BY symbol_id, ts, kind
ON CONFLICT (symbol_id, ts, kind) DO NOTHING;

-- name: merge_avg_prices
INSERT INTO spot_raw.avg_prices
SELECT * FROM pg_temp.stage_avg_prices ORDER BY symbol_id, ts, interval
ON CONFLICT (symbol_id, ts, interval) DO NOTHING;

-- A candle is sent many times while it is open. The last version wins: a closed one over an open one,
-- then the newer event.
-- name: merge_klines
INSERT INTO spot_raw.klines AS k
SELECT DISTINCT ON (symbol_id, interval, open_time) *
FROM pg_temp.stage_klines
ORDER BY symbol_id, interval, open_time, is_closed DESC, event_ts DESC, recv_ts DESC
ON CONFLICT (symbol_id, interval, open_time) DO UPDATE SET
    close_time = excluded.close_time,
    event_ts = excluded.event_ts,
    recv_ts = excluded.recv_ts,
    trades = excluded.trades,
    is_closed = excluded.is_closed,
    open = excluded.open,
    high = excluded.high,
    low = excluded.low,
    close = excluded.close,
    volume = excluded.volume,
    quote_volume = excluded.quote_volume,
    taker_buy_volume = excluded.taker_buy_volume,
    taker_buy_quote_volume = excluded.taker_buy_quote_volume
WHERE (excluded.is_closed, excluded.event_ts, excluded.recv_ts) > (k.is_closed, k.event_ts, k.recv_ts);
