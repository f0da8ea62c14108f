-- Rows as version 0001 could hold them, one at least in each table, for the migrations behind it.
INSERT INTO ops.instruments (market, symbol, status, base_asset, quote_asset, tick_size, step_size) VALUES
    ('spot', 'BTCUSDT', 'TRADING', 'BTC', 'USDT', 0.01000000, 0.00001000),
    ('spot', 'OLDUSDT', 'BREAK', 'OLD', 'USDT', NULL, NULL);
INSERT INTO ops.gaps (market, symbol, kind, first_id, last_id, start_ts, end_ts, cause, state, rows_repaired, opened_at, closed_at, note) VALUES
    ('spot', 'BTCUSDT', 'trade', 5, 9, '2026-01-01 10:00+00', '2026-01-01 10:01+00', 'disconnect', 'open', 0, '2026-01-01 10:01+00', NULL, ''),
    ('spot', 'BTCUSDT', 'trade', 15, 19, '2026-01-01 11:00+00', '2026-01-01 11:01+00', 'disconnect', 'repaired', 5, '2026-01-01 11:01+00', '2026-01-01 11:02+00', ''),
    ('spot', 'BTCUSDT', 'depth', 1, 4, NULL, '2026-01-01 09:00+00', 'start', 'unrepairable', 0, '2026-01-01 09:00+00', '2026-01-01 09:00+00', 'no history of depth'),
    ('spot', 'BTCUSDT', 'mini_ticker', NULL, NULL, '2026-01-01 09:00+00', NULL, 'disconnect', 'absent_at_exchange', 0, '2026-01-01 09:05+00', '2026-01-01 09:06+00', '');
INSERT INTO ops.stream_state (market, symbol, kind, shard, feed, state, diagnosis, last_event_ts, last_recv_ts, last_commit_ts, threshold_s, verified_quiet_at, reconnects, open_gaps, updated_at) VALUES
    ('spot', 'BTCUSDT', 'trade', 0, '1', 'live', '', '2026-01-01 12:00+00', '2026-01-01 12:00+00', '2026-01-01 12:00+00', 1.5, NULL, 3, 1, '2026-01-01 12:00+00'),
    ('spot', 'OLDUSDT', 'trade', 1, '', 'halted', '', NULL, NULL, NULL, 60, NULL, 0, 0, '2026-01-01 12:00+00');
INSERT INTO ops.feed_sessions (market, feed, shard, url, connected_at, closed_at, close_code, reason, streams, messages) VALUES
    ('spot', '1', 0, 'wss://exchange.example', '2026-01-01 08:00+00', '2026-01-01 10:00+00', 1006, 'half_open', 5, 12345),
    ('spot', '1', 0, 'wss://exchange.example', '2026-01-01 10:00+00', NULL, NULL, NULL, 5, 0);
INSERT INTO ops.shards (shard, pid, state, started_at, restarts, heartbeat_at, loop_lag_ms, rows_committed, rows_waiting, rows_refused, updated_at) VALUES
    (0, 4711, 'running', '2026-01-01 08:00+00', 2, '2026-01-01 12:00+00', 0.25, 1000000, 12, 0, '2026-01-01 12:00+00'),
    (1, NULL, 'down', NULL, 0, NULL, NULL, 0, 0, 0, '2026-01-01 12:00+00');
INSERT INTO ops.quarantine (at, market, shard, feed, source, error, payload) VALUES
    ('2026-01-01 10:30+00', 'spot', 0, '1', 'frame', 'not JSON', '\x7b00ff');
