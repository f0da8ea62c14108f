-- What tables take on the disk, sampled: how fast they grow, and what that comes to.

CREATE TABLE ops.relation_sizes (
    relation text NOT NULL,
    sampled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    parts bigint NOT NULL,
    rows_estimate bigint NOT NULL,
    table_bytes bigint NOT NULL,
    index_bytes bigint NOT NULL,
    oldest_at timestamptz,
    rowstore_bytes bigint,
    columnstore_bytes bigint,
    PRIMARY KEY (relation, sampled_at)
);
COMMENT ON TABLE ops.relation_sizes IS 'What each table takes on the disk, sampled by the supervisor each ten minutes, for eight days';
COMMENT ON COLUMN ops.relation_sizes.relation IS 'The table, such as spot_raw.trades';
COMMENT ON COLUMN ops.relation_sizes.sampled_at IS 'When it was measured, by the server''s clock';
COMMENT ON COLUMN ops.relation_sizes.parts IS 'Partitions, or chunks of a hypertable; 1 for a table without';
COMMENT ON COLUMN ops.relation_sizes.rows_estimate IS 'Rows by the server''s own statistics: not counted';
COMMENT ON COLUMN ops.relation_sizes.table_bytes IS 'Heap and TOAST of all parts, columnstore included';
COMMENT ON COLUMN ops.relation_sizes.index_bytes IS 'Indexes of all parts';
COMMENT ON COLUMN ops.relation_sizes.oldest_at IS 'Begin of the oldest part with rows; null where there are no parts, or no rows';
COMMENT ON COLUMN ops.relation_sizes.rowstore_bytes IS 'What is in the columnstore now had taken so many as rows; null where nothing is';
COMMENT ON COLUMN ops.relation_sizes.columnstore_bytes IS 'What it takes there; null where nothing is';

INSERT INTO ops.role_rights (role, schema_name, kind, object_name, rights) VALUES
    ('ingest_writer', 'ops', 'relation', 'relation_sizes', '{SELECT,INSERT,DELETE}'),
    ('ingest_writer', 'ops', 'relation', 'storage', '{SELECT}'),
    ('ingest_reader', 'ops', 'relation', 'relation_sizes', '{SELECT}'),
    ('ingest_reader', 'ops', 'relation', 'storage', '{SELECT}')
ON CONFLICT DO NOTHING;
