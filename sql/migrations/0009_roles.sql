-- Who may do what: three roles that log nobody in, to be granted to the users who do.
--
-- Roles belong to the server, not to the database, and not everybody may make them: what is missing is left out,
-- `ingest migrate` tells of it, and grants everything once they are there.

CREATE TABLE ops.role_rights (
    role name NOT NULL CHECK (role IN ('ingest_writer', 'ingest_reader')),
    schema_name name NOT NULL,
    kind text NOT NULL CHECK (kind IN ('relation', 'function')),
    object_name name NOT NULL,
    rights text[] NOT NULL CHECK (rights <@ ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'EXECUTE']),
    columns name[],
    PRIMARY KEY (role, schema_name, kind, object_name)
);
COMMENT ON TABLE ops.role_rights IS 'What ops.grant_roles() grants; ingest_owner owns everything and needs no row';
COMMENT ON COLUMN ops.role_rights.object_name IS 'One relation or function (all of its forms), or * for all of the schema but partitions; names of what is not there wait for it';
COMMENT ON COLUMN ops.role_rights.columns IS 'The rights are on these columns only; null: on the whole';

INSERT INTO ops.role_rights (role, schema_name, kind, object_name, rights)
SELECT 'ingest_writer', schema_name, 'relation', unnest(string_to_array(names, ' ')), string_to_array(rights, ' ')
FROM (VALUES
    ('ops', 'instruments gaps stream_rhythms incidents feed_sessions shards', 'SELECT INSERT UPDATE'),
    ('ops', 'stream_state', 'SELECT INSERT UPDATE DELETE'),
    ('ops', 'quarantine', 'SELECT INSERT DELETE'),
    ('ops', 'stream_freshness schema_migrations partition_plan storage', 'SELECT'),
    ('ops', 'capability', 'SELECT INSERT UPDATE'),
    ('ops', 'conversions', 'SELECT DELETE'),
    -- Candles and books are written again when they are known better; nothing is ever deleted here.
    ('spot_raw', '*', 'SELECT INSERT'),
    ('spot_raw', 'klines depth_snapshots latest_books book_publishers', 'SELECT INSERT UPDATE'),
    ('spot', '*', 'SELECT')
) AS wanted (schema_name, names, rights)
UNION ALL
SELECT 'ingest_reader', schema_name, 'relation', unnest(string_to_array(names, ' ')), ARRAY['SELECT']
FROM (VALUES
    ('spot', '*'),
    -- What the book of a moment is rebuilt from, and what functions that run as the reader look into.
    ('spot_raw', '*'),
    ('ops', 'instruments gaps stream_state stream_freshness stream_rhythms incidents feed_sessions shards schema_migrations'),
    ('ops', 'capability storage')
) AS wanted (schema_name, names)
UNION ALL
SELECT role, schema_name, 'function', unnest(string_to_array(names, ' ')), ARRAY['EXECUTE']
FROM (VALUES
    ('ingest_writer', 'spot', '*'),
    ('ingest_writer', 'ops', 'is_fresh require_fresh fresh_until completeness share_before'),
    ('ingest_writer', 'ops', 'ensure_partition missing_partitions partition_name rows_in_default missing_roles'),
    ('ingest_writer', 'ops', 'expired_partitions drop_partition delete_expired drop_expired_chunks'),
    ('ingest_writer', 'ops', 'timescale_schema hot_index_bytes'),
    ('ingest_reader', 'spot', '*'),
    ('ingest_reader', 'ops', 'is_fresh require_fresh fresh_until completeness share_before missing_roles')
) AS wanted (role, schema_name, names);

-- A frame, or a row that was refused, may hold anything: what it was is for the writer and the owner only.
INSERT INTO ops.role_rights (role, schema_name, kind, object_name, rights, columns)
VALUES (
    'ingest_reader', 'ops', 'relation', 'quarantine', '{SELECT}', '{id, at, market, shard, feed, source, error}'
);

-- What the writer may do by these functions only, and not by itself. Each looks its tables up in ops.partition_plan
-- or ops.storage, or names them; everything else is found in pg_catalog, so that nobody can put something of his own
-- in its way.
ALTER FUNCTION ops.ensure_partition(regclass, timestamptz) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION ops.rows_in_default() SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION ops.completeness(text, text, timestamptz, timestamptz)
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

CREATE FUNCTION ops.require_expired(relation regclass, before timestamptz) RETURNS void
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The day is for clocks that differ.
    IF NOT EXISTS (
        SELECT FROM ops.storage AS s
        WHERE to_regclass(s.relation) = require_expired.relation
            AND before <= clock_timestamp() - s.keep + interval '1 day'
    ) THEN
        RAISE EXCEPTION 'rows of % up to % are to be kept', relation, before USING ERRCODE = '42501';
    END IF;
END
$$;
COMMENT ON FUNCTION ops.require_expired IS 'Raises unless rows of a table before a time are older than ops.storage says they are kept';

CREATE OR REPLACE FUNCTION ops.drop_partition(parent regclass, partition regclass) RETURNS void
LANGUAGE plpgsql STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- Writers queue behind the lock that is waited for: give up long before they notice.
SET lock_timeout = '200ms'
AS $$
DECLARE
    upto timestamptz;
BEGIN
    SELECT e.range_end INTO upto FROM ops.expired_partitions(parent, 'infinity') AS e
    WHERE e.partition = drop_partition.partition;
    IF upto IS NULL THEN
        RAISE EXCEPTION '% is no partition of %', partition, parent USING ERRCODE = '42809';
    END IF;
    PERFORM ops.require_expired(parent, upto);
    -- Not CONCURRENTLY, which PostgreSQL refuses beside a default partition. As one transaction nothing is
    -- ever left half done: a partition is there with all its rows, or gone.
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, partition);
    EXECUTE format('DROP TABLE %s', partition);
END
$$;
COMMENT ON FUNCTION ops.drop_partition IS 'Drop one partition that is older than it is kept, with its rows; fails within 200 ms where somebody holds a lock on it or its table';

CREATE OR REPLACE FUNCTION ops.delete_expired(relation regclass, ts_column name, before timestamptz, most integer)
RETURNS bigint
LANGUAGE plpgsql STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target regclass := relation;
    deleted bigint;
BEGIN
    PERFORM ops.require_expired(relation, before);
    SELECT partdefid::regclass INTO target FROM pg_partitioned_table WHERE partrelid = relation;
    EXECUTE format(
        'DELETE FROM ONLY %1$s WHERE ctid = ANY (ARRAY('
        'SELECT ctid FROM ONLY %1$s WHERE %2$I < %3$L LIMIT %4$s FOR UPDATE SKIP LOCKED))',
        coalesce(target, relation), ts_column, before, most
    );
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$$;
COMMENT ON FUNCTION ops.delete_expired IS 'Delete at most so many rows that are older than they are kept: of a partitioned table from its default partition, else from the table; returns how many';

CREATE OR REPLACE FUNCTION ops.drop_expired_chunks(relation regclass, before timestamptz) RETURNS SETOF text
LANGUAGE plpgsql STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '200ms'
AS $$
BEGIN
    PERFORM ops.require_expired(relation, before);
    RETURN QUERY EXECUTE format(
        'SELECT %I.drop_chunks(%L::regclass, older_than => %L::timestamptz)::text', ops.timescale_schema(), relation, before
    );
END
$$;
COMMENT ON FUNCTION ops.drop_expired_chunks IS 'Drop the chunks of a hypertable with nothing at or after a time up to which it need not be kept; returns their names';

REVOKE ALL ON FUNCTION ops.ensure_partition, ops.rows_in_default, ops.completeness FROM PUBLIC;
REVOKE ALL ON FUNCTION ops.drop_partition, ops.delete_expired, ops.drop_expired_chunks FROM PUBLIC;

CREATE FUNCTION ops.missing_roles() RETURNS TABLE (role name, remedy text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT wanted.role, format('CREATE ROLE %I NOLOGIN;', wanted.role)
    FROM unnest('{ingest_owner, ingest_writer, ingest_reader}'::name[]) WITH ORDINALITY AS wanted (role, place)
    WHERE to_regrole(wanted.role::text) IS NULL
    ORDER BY wanted.place
$$;
COMMENT ON FUNCTION ops.missing_roles IS 'The roles that the server lacks, and what makes them';

CREATE FUNCTION ops.grant_roles() RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    command text;
    commands bigint := 0;
BEGIN
    FOR command IN SELECT remedy FROM ops.missing_roles() LOOP
        BEGIN
            EXECUTE command;
            commands := commands + 1;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'not allowed here: %', command;
            WHEN duplicate_object OR unique_violation THEN
                -- Somebody who migrates another database of the server has just made it.
                NULL;
        END;
    END LOOP;
    -- Only what is missing: a GRANT writes the catalogue even where it changes nothing.
    FOR command IN SELECT l.command FROM ops.lacking_rights() AS l LOOP
        BEGIN
            EXECUTE command;
            commands := commands + 1;
        EXCEPTION
            -- Somebody alters the database at this moment ("tuple concurrently updated"). What is granted on it
            -- everybody has by default; on tables and functions no grant may be left out.
            WHEN internal_error THEN
                IF command NOT LIKE 'GRANT % ON DATABASE %' THEN
                    RAISE;
                END IF;
                RAISE NOTICE 'for the next time: %: %', command, SQLERRM;
        END;
    END LOOP;
    RETURN commands;
END
$$;
COMMENT ON FUNCTION ops.grant_roles IS 'Makes the roles where that is allowed, and gives the ones that are there what ops.role_rights says of all that is there by now. Returns how many commands that took; may be called at any time';

CREATE FUNCTION ops.lacking_rights() RETURNS TABLE (command text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH own_schemas AS (
        SELECT n.oid, n.nspname AS schema_name FROM pg_namespace AS n WHERE n.nspname IN ('ops', 'spot', 'spot_raw')
    ),
    there AS (
        SELECT g.role, g.schema_name, g.kind, g.object_name, g.rights, g.columns
        FROM ops.role_rights AS g
        WHERE to_regrole(g.role::text) IS NOT NULL
    ),
    relations AS (
        SELECT c.oid, s.schema_name, c.relname
        FROM pg_class AS c JOIN own_schemas AS s ON s.oid = c.relnamespace
        -- Partitions are reached through their table.
        WHERE c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
    ),
    routines AS (
        SELECT p.oid, s.schema_name, p.proname
        FROM pg_proc AS p JOIN own_schemas AS s ON s.oid = p.pronamespace
        WHERE p.prokind IN ('f', 'p', 'w')
    ),
    databases AS (
        SELECT d.datname, d.datacl FROM pg_database AS d
        -- Whoever does not own it cannot grant anything on it.
        WHERE d.datname = current_database() AND pg_has_role(d.datdba, 'USAGE')
    )
    -- What everybody was given by default goes first.
    SELECT format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', r.oid::regprocedure)
    FROM routines AS r
    WHERE has_function_privilege('public', r.oid, 'EXECUTE')
    UNION ALL
    SELECT format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', s.schema_name)
    FROM own_schemas AS s
    WHERE has_schema_privilege('public', s.oid, 'USAGE') OR has_schema_privilege('public', s.oid, 'CREATE')
    UNION ALL
    SELECT format('GRANT %s ON DATABASE %I TO %I', wanted.rights, d.datname, wanted.role)
    FROM databases AS d
    CROSS JOIN (
        VALUES ('ingest_owner', 'CREATE'), ('ingest_owner', 'CONNECT'), ('ingest_owner', 'TEMPORARY'),
            -- Rows that may be there already go through temporary tables.
            ('ingest_writer', 'CONNECT'), ('ingest_writer', 'TEMPORARY'), ('ingest_reader', 'CONNECT')
    ) AS wanted (role, rights)
    WHERE to_regrole(wanted.role) IS NOT NULL AND NOT EXISTS (
        SELECT FROM aclexplode(d.datacl) AS acl
        WHERE acl.grantee = to_regrole(wanted.role) AND acl.privilege_type = wanted.rights
    )
    UNION ALL
    SELECT DISTINCT format('GRANT USAGE ON SCHEMA %I TO %I', s.schema_name, g.role)
    FROM there AS g JOIN own_schemas AS s USING (schema_name)
    WHERE NOT has_schema_privilege(g.role, s.oid, 'USAGE')
    UNION ALL
    SELECT format('GRANT %s ON TABLE %s TO %I', array_to_string(g.rights, ', '), r.oid::regclass, g.role)
    FROM there AS g
    JOIN relations AS r ON r.schema_name = g.schema_name AND g.object_name IN ('*', r.relname)
    WHERE g.kind = 'relation' AND g.columns IS NULL AND EXISTS (
        SELECT FROM unnest(g.rights) AS wanted (right_name)
        WHERE NOT has_table_privilege(g.role, r.oid, wanted.right_name)
    )
    UNION ALL
    SELECT format(
        'GRANT %s (%s) ON TABLE %s TO %I', wanted.right_name, string_agg(quote_ident(part.name), ', '),
        r.oid::regclass, g.role
    )
    FROM there AS g
    JOIN relations AS r ON r.schema_name = g.schema_name AND g.object_name = r.relname
    CROSS JOIN unnest(g.rights) AS wanted (right_name)
    CROSS JOIN unnest(g.columns) AS part (name)
    WHERE g.kind = 'relation' AND NOT has_column_privilege(g.role, r.oid, part.name::text, wanted.right_name)
    GROUP BY wanted.right_name, r.oid, g.role
    UNION ALL
    SELECT format('GRANT EXECUTE ON ROUTINE %s TO %I', r.oid::regprocedure, g.role)
    FROM there AS g
    JOIN routines AS r ON r.schema_name = g.schema_name AND g.object_name IN ('*', r.proname)
    WHERE g.kind = 'function' AND (
        NOT has_function_privilege(g.role, r.oid, 'EXECUTE') OR has_function_privilege('public', r.oid, 'EXECUTE')
    )
$$;
COMMENT ON FUNCTION ops.lacking_rights IS 'The commands that would bring the rights in the database to what ops.role_rights says';

-- A procedure, so that each table is locked for its own moment only.
CREATE PROCEDURE ops.hand_over()
LANGUAGE plpgsql
AS $$
DECLARE
    command text;
    aggregates regclass[] := '{}';
BEGIN
    IF pg_catalog.to_regrole('ingest_owner') IS NULL THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_extension AS e WHERE e.extname = 'timescaledb') THEN
        -- Its jobs run as the owner of what they work on, who must be allowed to log in.
        IF NOT (SELECT r.rolcanlogin FROM pg_catalog.pg_roles AS r WHERE r.rolname = 'ingest_owner') THEN
            RETURN;
        END IF;
        SELECT pg_catalog.array_agg(pg_catalog.to_regclass(pg_catalog.format('%I.%I', a.view_schema, a.view_name)))
        INTO aggregates
        FROM timescaledb_information.continuous_aggregates AS a;
    END IF;
    IF NOT pg_catalog.pg_has_role('ingest_owner', 'USAGE') THEN
        RETURN;
    END IF;
    -- In this order: at every moment in between, whoever has the one may use what it is made of.
    FOR command IN
        SELECT pg_catalog.format('ALTER %s OWNER TO ingest_owner', mine.what)
        FROM (
            SELECT 1, n.nspowner, pg_catalog.format('SCHEMA %I', n.nspname)
            FROM pg_catalog.pg_namespace AS n
            WHERE n.nspname IN ('ops', 'spot', 'spot_raw')
            UNION ALL
            SELECT
                CASE c.relkind WHEN 'v' THEN 3 ELSE 2 END, c.relowner,
                pg_catalog.format(
                    '%s %I.%I',
                    CASE
                        WHEN c.oid = ANY (aggregates) THEN 'MATERIALIZED VIEW'
                        WHEN c.relkind = 'v' THEN 'VIEW'
                        ELSE 'TABLE'
                    END,
                    n.nspname,
                    c.relname
                )
            FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname IN ('ops', 'spot', 'spot_raw') AND c.relkind IN ('r', 'p', 'v')
            UNION ALL
            SELECT 4, p.proowner, pg_catalog.format('ROUTINE %s', p.oid::pg_catalog.regprocedure)
            FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
            WHERE n.nspname IN ('ops', 'spot', 'spot_raw')
        ) AS mine (place, owner, what)
        WHERE mine.owner <> 'ingest_owner'::pg_catalog.regrole AND pg_catalog.pg_has_role(mine.owner, 'USAGE')
        ORDER BY mine.place, mine.what
    LOOP
        BEGIN
            EXECUTE command;
        EXCEPTION
            WHEN insufficient_privilege OR lock_not_available OR object_in_use THEN
                RAISE NOTICE 'for the next time: %: %', command, SQLERRM;
                RETURN;
        END;
        COMMIT;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE ops.hand_over IS 'Makes ingest_owner the owner of all that is here, if whoever calls is a member of it; may be called at any time outside a transaction, and goes on where an earlier call has ended';
REVOKE ALL ON PROCEDURE ops.hand_over FROM PUBLIC;
REVOKE ALL ON FUNCTION ops.grant_roles, ops.lacking_rights FROM PUBLIC;
