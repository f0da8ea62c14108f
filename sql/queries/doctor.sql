-- What `ingest doctor` asks of a server, also where the user may nothing: catalogs are for everybody.

-- name: doctor_server
SELECT
    current_user::text AS user_name,
    coalesce((SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user), false) AS is_superuser,
    EXISTS (
        SELECT FROM pg_roles AS r WHERE r.rolname = 'ingest_owner' AND pg_has_role(current_user, r.oid, 'USAGE')
    ) AS is_owner,
    EXISTS (
        SELECT FROM pg_roles AS r WHERE r.rolname = 'ingest_reader' AND pg_has_role(current_user, r.oid, 'USAGE')
    ) AS is_reader,
    EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = 'ingest_writer') AS has_writer,
    EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = 'spot_raw') AS has_schema,
    pg_is_in_recovery() AS is_standby,
    current_setting('default_transaction_read_only')::boolean AS is_read_only,
    current_setting('max_connections')::integer AS max_connections,
    current_setting('superuser_reserved_connections')::integer
    + coalesce(current_setting('reserved_connections', true)::integer, 0) AS reserved_connections,
    (SELECT coalesce(sum(d.numbackends), 0) FROM pg_stat_database AS d)::integer AS used_connections,
    current_setting('fsync')::boolean AS fsync,
    current_setting('full_page_writes')::boolean AS full_page_writes,
    coalesce((SELECT s.version FROM pg_stat_ssl AS s WHERE s.pid = pg_backend_pid() AND s.ssl), '') AS tls,
    (
        SELECT count(*) FROM pg_stat_activity AS a
        WHERE a.datname = current_database() AND a.application_name = 'ingest supervisor'
    )::integer AS supervisor_sessions,
    extract(epoch FROM clock_timestamp())::double precision AS now_s;

-- What members of ingest_writer may and this user may not, in words.
-- name: doctor_missing_rights
WITH writer AS (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = 'ingest_writer'),
own_schemas AS (
    SELECT n.oid, n.nspname FROM pg_namespace AS n WHERE n.nspname IN ('ops', 'spot', 'spot_raw')
)
SELECT missing.what
FROM (
    SELECT 1 AS place, format('USAGE on schema %I', s.nspname) AS what
    FROM own_schemas AS s CROSS JOIN writer AS w
    WHERE has_schema_privilege(w.oid, s.oid, 'USAGE') AND NOT has_schema_privilege(s.oid, 'USAGE')
    UNION ALL
    SELECT 2, format('TEMPORARY on database %I', d.datname)
    FROM pg_database AS d CROSS JOIN writer AS w
    WHERE
        d.datname = current_database()
        AND has_database_privilege(w.oid, d.oid, 'TEMPORARY')
        AND NOT has_database_privilege(d.oid, 'TEMPORARY')
    UNION ALL
    SELECT 3, format('%s on %I.%I', wanted.right_name, s.nspname, c.relname)
    FROM pg_class AS c
    JOIN own_schemas AS s ON s.oid = c.relnamespace
    CROSS JOIN unnest('{SELECT, INSERT, UPDATE, DELETE}'::text[]) AS wanted (right_name)
    CROSS JOIN writer AS w
    WHERE
        c.relkind IN ('r', 'p', 'v', 'm')
        AND NOT c.relispartition
        AND has_table_privilege(w.oid, c.oid, wanted.right_name)
        AND NOT has_table_privilege(c.oid, wanted.right_name)
    UNION ALL
    SELECT 4, format('EXECUTE on %I.%I', s.nspname, p.proname)
    FROM pg_proc AS p
    JOIN own_schemas AS s ON s.oid = p.pronamespace
    CROSS JOIN writer AS w
    WHERE has_function_privilege(w.oid, p.oid, 'EXECUTE') AND NOT has_function_privilege(p.oid, 'EXECUTE')
) AS missing
ORDER BY missing.place, missing.what;

-- Whether ingest_writer itself has been given its rights: it is made before, or after, or not at all.
-- name: doctor_writer_is_granted
SELECT coalesce(bool_or(has_table_privilege(r.oid, c.oid, 'INSERT')), false)
FROM pg_roles AS r
CROSS JOIN pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE r.rolname = 'ingest_writer' AND n.nspname = 'spot_raw' AND c.relname = 'trades';
