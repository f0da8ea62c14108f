-- Partitions made ahead, and the net under them.

-- name: missing_partitions
SELECT relation::text AS relation, range_start FROM ops.missing_partitions($1, $2);

-- name: ensure_partition
SELECT ops.ensure_partition($1::text::regclass, $2);

-- name: rows_in_default
SELECT relation, row_count FROM ops.rows_in_default();
