-- As version 0006 has it: how far a book is known, all the way up included.
INSERT INTO spot_raw.depth_snapshots (ts, last_update_id, recv_ts, symbol_id, bid_prices, bid_qtys, ask_prices, ask_qtys, reason, bids_known_from, asks_known_to) VALUES
    ('2026-01-01 10:05+00', 90, '2026-01-01 10:05+00', 1, '{61602.01}', '{1}', '{}', '{}', 'periodic', 0, 'Infinity');
