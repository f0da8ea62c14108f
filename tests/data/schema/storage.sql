-- Rows as the version that notes how tables are kept could hold them.
INSERT INTO ops.capability (postgres, timescale, edition, asked, used, warnings) VALUES
    (180006, '', 'plain', 'auto', 'plain', '{}');
UPDATE ops.storage SET keep = '90 days' WHERE relation = 'spot_raw.trades';
INSERT INTO ops.conversions (relation, partition, row_count) VALUES
    ('spot_raw.trades', 'spot_raw.trades_p20260101', 1);
