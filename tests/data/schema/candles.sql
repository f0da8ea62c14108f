-- Rows as the version that made candles could hold them.
INSERT INTO ops.trade_coverage (market, symbol, span, carried_until) VALUES
    ('spot', 'BTCUSDT', '[2026-01-01 10:00:00+00,)', '2026-01-01 10:00:00+00');
INSERT INTO spot_raw.trades_touched (symbol_ids, oldest, newest) VALUES
    ('{1}', '2026-01-01 10:00:00+00', '2026-01-01 10:00:01+00');
