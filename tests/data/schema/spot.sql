-- Rows as version 0002 could hold them: all in the net, as partitions come with the next version.
INSERT INTO spot_raw.trades (ts, trade_id, recv_ts, symbol_id, buyer_is_maker, price, qty) VALUES
    ('2026-01-01 10:00:00.123456+00', 4, '2026-01-01 10:00:00.2+00', 1, true, 61602.01000000, 0.00001000),
    ('2026-01-02 00:00:00+00', 10, '2026-01-02 00:00:00.1+00', 1, false, 99999999999.99999999, 123456789.12345678);
INSERT INTO spot_raw.agg_trades (ts, agg_trade_id, first_trade_id, last_trade_id, recv_ts, symbol_id, buyer_is_maker, price, qty) VALUES
    ('2026-01-01 10:00+00', 2, 3, 4, '2026-01-01 10:00:00.2+00', 1, true, 61602.01, 0.5);
INSERT INTO spot_raw.book_tickers (ts, update_id, recv_ts, symbol_id, bid_price, bid_qty, ask_price, ask_qty) VALUES
    ('2026-01-01 10:00+00', 77, '2026-01-01 10:00+00', 1, 61602.01, 1, 61602.02, 2);
INSERT INTO spot_raw.depth_deltas (ts, first_update_id, final_update_id, recv_ts, symbol_id, bid_prices, bid_qtys, ask_prices, ask_qtys) VALUES
    ('2026-01-01 10:00+00', 71, 77, '2026-01-01 10:00+00', 1, '{61602.01,61602.00}', '{1,0.00000000}', '{}', '{}');
INSERT INTO spot_raw.depth_snapshots (ts, last_update_id, recv_ts, symbol_id, bid_prices, bid_qtys, ask_prices, ask_qtys, reason) VALUES
    ('2026-01-01 10:00+00', 70, '2026-01-01 10:00+00', 1, '{61602.01}', '{1}', '{61602.02}', '{2}', 'sync');
INSERT INTO spot_raw.klines (open_time, close_time, event_ts, recv_ts, trades, symbol_id, is_closed, interval, open, high, low, close, volume, quote_volume, taker_buy_volume, taker_buy_quote_volume) VALUES
    ('2026-01-01 10:00+00', '2026-01-01 10:00:59.999+00', '2026-01-01 10:01+00', '2026-01-01 10:01+00', 9, 1, true, '1m', 1, 2, 0.5, 1.5, 10, 15, 5, 7.5);
INSERT INTO spot_raw.tickers (ts, recv_ts, symbol_id, kind, last_price, open, high, low, volume, quote_volume) VALUES
    ('2026-01-01 10:00+00', '2026-01-01 10:00+00', 1, 'mini_ticker', 1, 2, 3, 0.5, 10, 20);
INSERT INTO spot_raw.avg_prices (ts, last_trade_ts, recv_ts, symbol_id, interval, avg_price) VALUES
    ('2026-01-01 10:00+00', '2026-01-01 09:59:59+00', '2026-01-01 10:00+00', 1, '5m', 61602.01);
