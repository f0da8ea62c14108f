-- What the server can do, and how the tables are kept.

-- name: probe_capability
SELECT
    current_setting('server_version_num')::integer AS postgres,
    coalesce((SELECT e.extversion FROM pg_extension AS e WHERE e.extname = 'timescaledb'), '') AS timescale,
    current_setting('timescaledb.license', true) AS license,
    coalesce(
        (SELECT a.default_version FROM pg_available_extensions AS a WHERE a.name = 'timescaledb'), ''
    ) AS available,
    coalesce(
        (
            -- By name: to_regclass wants a right that whoever only asks may lack.
            SELECT r.rolname::text
            FROM pg_class AS c
            JOIN pg_namespace AS n ON n.oid = c.relnamespace
            JOIN pg_roles AS r ON r.oid = c.relowner
            WHERE n.nspname = 'spot_raw' AND c.relname = 'trades' AND NOT r.rolcanlogin
        ), ''
    ) AS jobless_owner;

-- name: create_extension
CREATE EXTENSION IF NOT EXISTS timescaledb;

-- name: record_capability
INSERT INTO ops.capability AS c (postgres, timescale, edition, asked, used, warnings)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (is_only) DO UPDATE SET
    postgres = excluded.postgres,
    timescale = excluded.timescale,
    edition = excluded.edition,
    asked = excluded.asked,
    used = excluded.used,
    warnings = excluded.warnings,
    probed_at = clock_timestamp();

-- name: capability
SELECT postgres, timescale, edition, asked, used, warnings, probed_at FROM ops.capability;

-- name: storage
SELECT relation, kind, ts_column, chunk, compress_after, keep FROM ops.storage ORDER BY relation;

-- name: record_storage
UPDATE ops.storage
SET kind = $2, chunk = coalesce($3, chunk), compress_after = $4, keep = $5, arranged_at = clock_timestamp()
WHERE
    relation = $1
    AND (kind, chunk, compress_after, keep) IS DISTINCT FROM ($2, coalesce($3, chunk), $4, $5);

-- name: record_keep
UPDATE ops.storage SET keep = $2, arranged_at = clock_timestamp()
WHERE relation = $1 AND keep IS DISTINCT FROM $2;

-- Those that stand in the plan of partitions are not hypertables yet.
-- name: partitioned_relations
SELECT relation::text AS relation FROM ops.partition_plan ORDER BY relation::text;

-- name: lock_relation
SELECT ops.lock_relation($1::text::regclass);

-- name: is_empty
SELECT ops.is_empty($1::text::regclass);

-- name: start_hypertable
SELECT ops.start_hypertable($1::text::regclass, $2, $3);

-- name: finish_hypertable
SELECT ops.finish_hypertable($1::text::regclass);

-- name: partitions_to_copy
SELECT c.oid::regclass::text AS partition, pg_table_size(c.oid) AS size_bytes
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE
    i.inhparent = $1::text::regclass
    AND NOT EXISTS (
        SELECT FROM ops.conversions AS done
        WHERE done.relation = i.inhparent::regclass::text AND done.partition = c.oid::regclass::text
    )
ORDER BY c.relname;

-- name: copied_partitions
SELECT count(*) FROM ops.conversions WHERE relation = $1;

-- name: copy_partition
SELECT ops.copy_partition($1::text::regclass, $2::text::regclass);

-- name: forget_conversions
DELETE FROM ops.conversions;

-- name: has_conversions
SELECT EXISTS (SELECT FROM ops.conversions);

-- Held shared by every session that writes market data for as long as it lives, and alone by a conversion. A late
-- row may meet a chunk of the columnstore: what is unpacked to compare keys has a limit there, by default lower than
-- a batch of many symbols needs.
-- name: join_writers
SELECT
    pg_try_advisory_lock_shared(hashtext('ingest writers'), 0) AS may_write,
    to_regclass('ops.conversions') IS NOT NULL AS may_convert,
    set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', false);

-- name: exclude_writers
SELECT pg_try_advisory_lock(hashtext('ingest writers'), 0);

-- name: admit_writers
SELECT pg_advisory_unlock(hashtext('ingest writers'), 0);

-- name: arrange_chunks
SELECT ops.arrange_chunks($1::text::regclass, $2);

-- name: arrange_columnstore
SELECT ops.arrange_columnstore($1::text::regclass, $2, $3, $4);

-- name: arrange_retention
SELECT ops.arrange_retention($1::text::regclass, $2);

-- name: expired_partitions
SELECT partition::text AS partition FROM ops.expired_partitions($1::text::regclass, $2);

-- name: drop_partition
SELECT ops.drop_partition($1::text::regclass, $2::text::regclass);

-- name: delete_expired
SELECT ops.delete_expired($1::text::regclass, $2, $3, $4);

-- name: drop_expired_chunks
SELECT chunk FROM ops.drop_expired_chunks($1::text::regclass, $2) AS chunk;

-- name: failed_jobs
SELECT
    j.job_id,
    j.proc_name::text AS policy,
    s.hypertable_schema || '.' || s.hypertable_name AS relation,
    s.total_failures,
    s.last_run_started_at
FROM timescaledb_information.job_stats AS s
JOIN timescaledb_information.jobs AS j ON j.job_id = s.job_id
WHERE s.last_run_status = 'Failed' AND s.hypertable_schema IS NOT NULL
ORDER BY j.job_id;

-- The rule of TimescaleDB's makers: the indexes of what is being written to should fit into a quarter of memory.
-- name: hot_index_bytes
SELECT ops.hot_index_bytes() AS index_bytes, pg_size_bytes(current_setting('shared_buffers')) AS buffer_bytes;
