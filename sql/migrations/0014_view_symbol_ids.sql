-- The number of the symbol, in the views of market data, so that a reader's question can be answered from the unique
-- index in its order: by the name alone the server has to sort all of a symbol's rows to find the newest.

CREATE OR REPLACE VIEW spot.trades AS
SELECT i.symbol, r.trade_id, r.ts, r.price, r.qty, r.buyer_is_maker, r.recv_ts, r.symbol_id
FROM spot_raw.trades AS r JOIN ops.instruments AS i USING (symbol_id);

CREATE OR REPLACE VIEW spot.agg_trades AS
SELECT
    i.symbol, r.agg_trade_id, r.ts, r.price, r.qty, r.first_trade_id, r.last_trade_id, r.buyer_is_maker,
    r.recv_ts, r.symbol_id
FROM spot_raw.agg_trades AS r JOIN ops.instruments AS i USING (symbol_id);

CREATE OR REPLACE VIEW spot.book_tickers AS
SELECT
    i.symbol, r.update_id, r.ts, r.bid_price, r.bid_qty, r.ask_price, r.ask_qty, r.recv_ts, r.symbol_id
FROM spot_raw.book_tickers AS r JOIN ops.instruments AS i USING (symbol_id);

CREATE OR REPLACE VIEW spot.depth_deltas AS
SELECT
    i.symbol, r.first_update_id, r.final_update_id, r.ts, r.bid_prices, r.bid_qtys, r.ask_prices,
    r.ask_qtys, r.recv_ts, r.symbol_id
FROM spot_raw.depth_deltas AS r JOIN ops.instruments AS i USING (symbol_id);

CREATE OR REPLACE VIEW spot.depth_snapshots AS
SELECT
    i.symbol, r.last_update_id, r.ts, r.bid_prices, r.bid_qtys, r.ask_prices, r.ask_qtys, r.reason,
    r.recv_ts, r.bids_known_from, r.asks_known_to, r.symbol_id
FROM spot_raw.depth_snapshots AS r JOIN ops.instruments AS i USING (symbol_id);

-- And which of two versions of a candle is the newer.
CREATE OR REPLACE VIEW spot.klines AS
SELECT
    i.symbol, r.interval, r.open_time, r.close_time, r.open, r.high, r.low, r.close, r.volume,
    r.quote_volume, r.trades, r.taker_buy_volume, r.taker_buy_quote_volume, r.is_closed, r.recv_ts,
    r.event_ts, r.symbol_id
FROM spot_raw.klines AS r JOIN ops.instruments AS i USING (symbol_id);

COMMENT ON COLUMN spot.trades.symbol_id IS 'Of ops.instruments; with it the newest rows come from the index';
COMMENT ON COLUMN spot.agg_trades.symbol_id IS 'Of ops.instruments; with it the newest rows come from the index';
COMMENT ON COLUMN spot.book_tickers.symbol_id IS 'Of ops.instruments; with it the newest rows come from the index';
COMMENT ON COLUMN spot.depth_deltas.symbol_id IS 'Of ops.instruments; with it the newest rows come from the index';
COMMENT ON COLUMN spot.depth_snapshots.symbol_id IS 'Of ops.instruments; with it the newest rows come from the index';
COMMENT ON COLUMN spot.klines.symbol_id IS 'Of ops.instruments; with it the newest rows come from the index';
COMMENT ON COLUMN spot.klines.event_ts IS 'When the exchange said so; of two versions the later is the newer';
