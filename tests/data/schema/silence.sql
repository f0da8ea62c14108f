-- Rows as version 0004 could hold them.
UPDATE ops.stream_state SET trades_behind = 12 WHERE symbol = 'BTCUSDT';
INSERT INTO ops.stream_rhythms (market, symbol, kind, quantiles_s, gaps, messages, threshold_s, explanation) VALUES
    ('spot', 'BTCUSDT', 'trade', '{0.5,NaN,0.75}', '{100,200,300}', 600, 3, '4 x 0.75 s');
INSERT INTO ops.incidents (incident, market, shard, feed, streams, diagnosis, evidence, step, story, opened_at, closed_at) VALUES
    ('1767261600000000-1', 'spot', 0, '1', '{spot:BTCUSDT:trade}', 'half_open', 'no byte for 9 s', 'replace', '{noticed,replaced}', '2026-01-01 10:00+00', '2026-01-01 10:01+00'),
    ('1767261600000000-2', 'spot', NULL, NULL, '{}', 'exchange_down', '', 'alert', '{}', '2026-01-01 11:00+00', NULL);
