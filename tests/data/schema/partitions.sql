-- As version 0003 has it: what lay in the net moves to partitions, and partitions hold rows.
SELECT ops.ensure_partition(p.relation, '2026-01-01 00:00+00') FROM ops.partition_plan AS p;
INSERT INTO spot_raw.trades (ts, trade_id, recv_ts, symbol_id, buyer_is_maker, price, qty) VALUES
    ('2026-01-01 10:02+00', 11, '2026-01-01 10:02+00', 1, true, 61602.02, 1);
