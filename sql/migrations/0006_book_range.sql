-- How far from the top a stored book is known.

ALTER TABLE spot_raw.depth_snapshots
    ADD COLUMN bids_known_from numeric,
    ADD COLUMN asks_known_to numeric;

CREATE OR REPLACE VIEW spot.depth_snapshots AS
SELECT
    i.symbol, r.last_update_id, r.ts, r.bid_prices, r.bid_qtys, r.ask_prices, r.ask_qtys, r.reason,
    r.recv_ts, r.bids_known_from, r.asks_known_to
FROM spot_raw.depth_snapshots AS r JOIN ops.instruments AS i USING (symbol_id);

COMMENT ON COLUMN spot.depth_snapshots.reason IS 'sync, resync, deepened, audit (it had differed from the exchange''s) or periodic';
COMMENT ON COLUMN spot.depth_snapshots.bids_known_from IS 'All bids at or above this price are here; 0: all there are. Null: not noted, known as far as the last one';
COMMENT ON COLUMN spot.depth_snapshots.asks_known_to IS 'All asks at or below this price are here; Infinity: all there are. Null: not noted, known as far as the last one';
