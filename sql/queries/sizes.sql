-- How much disk the tables take. Sizes are asked of the files, part by part: for once a minute, not once a second.

-- name: relation_sizes
WITH roots AS MATERIALIZED (
    SELECT c.oid, n.nspname || '.' || c.relname AS relation
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY ($1::text[]) AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition
),

parts AS MATERIALIZED (
    SELECT r.relation, coalesce(i.inhrelid, r.oid) AS oid, i.inhrelid IS NOT NULL AS is_part
    FROM roots AS r LEFT JOIN pg_inherits AS i ON i.inhparent = r.oid
),

measured AS MATERIALIZED (
    SELECT
        p.relation,
        p.is_part,
        greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)::bigint AS rows_estimate,
        pg_table_size(c.oid) AS table_bytes,
        pg_indexes_size(c.oid) AS index_bytes,
        pg_relation_size(c.oid) > 0 AS has_rows,
        substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''([^'']+)''\)')::timestamptz AS begins_at
    FROM parts AS p JOIN pg_class AS c USING (oid)
)

SELECT
    relation,
    count(*) AS parts,
    sum(rows_estimate)::bigint AS rows_estimate,
    sum(table_bytes)::bigint AS table_bytes,
    sum(index_bytes)::bigint AS index_bytes,
    min(begins_at) FILTER (WHERE has_rows) AS oldest_at
FROM measured
GROUP BY relation
ORDER BY relation;

-- name: kept_spans
SELECT relation, extract(epoch FROM keep)::double precision AS keep_s FROM ops.storage WHERE keep IS NOT NULL;

-- name: has_hypertables
SELECT to_regclass('timescaledb_information.hypertables') IS NOT NULL;

-- name: has_columnstore
SELECT current_setting('timescaledb.license', true) = 'timescale'
    AND to_regproc('public.hypertable_columnstore_stats') IS NOT NULL;

-- name: hypertable_sizes
SELECT
    h.hypertable_schema || '.' || h.hypertable_name AS relation,
    h.num_chunks AS parts,
    approximate_row_count(format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass) AS rows_estimate,
    (s.table_bytes + s.toast_bytes)::bigint AS table_bytes,
    s.index_bytes::bigint AS index_bytes,
    (
        SELECT min(c.range_start)
        FROM timescaledb_information.chunks AS c
        WHERE c.hypertable_schema = h.hypertable_schema AND c.hypertable_name = h.hypertable_name
    ) AS oldest_at
FROM timescaledb_information.hypertables AS h
CROSS JOIN LATERAL hypertable_detailed_size(
    format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass
) AS s
WHERE h.hypertable_schema = ANY ($1::text[]);

-- name: columnstore_sizes
SELECT
    h.hypertable_schema || '.' || h.hypertable_name AS relation,
    s.before_compression_total_bytes::bigint AS rowstore_bytes,
    s.after_compression_total_bytes::bigint AS columnstore_bytes
FROM timescaledb_information.hypertables AS h
CROSS JOIN LATERAL hypertable_columnstore_stats(
    format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass
) AS s
WHERE h.hypertable_schema = ANY ($1::text[]) AND s.after_compression_total_bytes > 0;

-- name: note_relation_sizes
WITH kept AS (
    DELETE FROM ops.relation_sizes WHERE sampled_at < clock_timestamp() - interval '8 days'
)

INSERT INTO ops.relation_sizes (
    relation, parts, rows_estimate, table_bytes, index_bytes, oldest_at, rowstore_bytes, columnstore_bytes
)
SELECT *
FROM unnest(
    $1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::bigint[], $8::bigint[]
)
ON CONFLICT DO NOTHING;

-- name: size_history
SELECT relation, sampled_at, table_bytes + index_bytes AS total_bytes
FROM ops.relation_sizes
WHERE sampled_at >= clock_timestamp() - $1::interval
ORDER BY relation, sampled_at;
