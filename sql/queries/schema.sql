-- The record of migrations, and what is compared before anything is written.

-- name: try_migration_lock
SELECT pg_try_advisory_lock(hashtext('ingest migrations'), 0);

-- name: release_migration_lock
SELECT pg_advisory_unlock(hashtext('ingest migrations'), 0);

-- name: has_migrations_table
SELECT to_regclass('ops.schema_migrations') IS NOT NULL;

-- name: create_migrations_table
CREATE TABLE ops.schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    duration_ms double precision NOT NULL
);
COMMENT ON TABLE ops.schema_migrations IS 'The migrations that made this schema, forward only';
COMMENT ON COLUMN ops.schema_migrations.checksum IS 'SHA-256 of the file as it was applied';

-- name: applied_migrations
SELECT version, name, checksum FROM ops.schema_migrations ORDER BY version;

-- name: record_migration
INSERT INTO ops.schema_migrations (version, name, checksum, duration_ms) VALUES ($1, $2, $3, $4);

-- name: column_types
SELECT c.relname AS table_name, a.attname AS column_name, format_type(a.atttypid, a.atttypmod) AS type_name
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE n.nspname = $1 AND c.relname = ANY ($2::text[]) AND a.attnum > 0 AND NOT a.attisdropped;

-- Null where the function is not there yet.
-- name: may_grant_roles
SELECT has_function_privilege(to_regprocedure('ops.grant_roles()'), 'EXECUTE');

-- name: grant_roles
SELECT ops.grant_roles();

-- name: hand_over
CALL ops.hand_over();

-- name: missing_roles
SELECT role, remedy FROM ops.missing_roles();

-- What this session writes, for ops.check_promised_columns: names of settings, and columns with their types.
-- name: promise_columns
SELECT set_config(promise.name, promise.columns, false)
FROM unnest($1::text[], $2::text[]) AS promise (name, columns);
