-- How the rows are kept: as partitions or as hypertables, for how long, and what the server can do for that.
--
-- Nothing here needs TimescaleDB: its functions are named inside EXECUTE only, and found in whatever schema
-- the extension was put.

CREATE TABLE ops.capability (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    postgres integer NOT NULL,
    timescale text NOT NULL,
    edition text NOT NULL CHECK (edition IN ('plain', 'apache', 'full')),
    asked text NOT NULL CHECK (asked IN ('auto', 'off', 'apache', 'full')),
    used text NOT NULL CHECK (used IN ('plain', 'apache', 'full')),
    warnings text[] NOT NULL,
    probed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE ops.capability IS 'What this server can do, as the newest start of the service or `ingest migrate` found it; one row';
COMMENT ON COLUMN ops.capability.postgres IS 'server_version_num, such as 180006';
COMMENT ON COLUMN ops.capability.timescale IS 'Version of the extension in this database; empty without';
COMMENT ON COLUMN ops.capability.edition IS 'plain: without the extension; apache: its Apache part only; full: all of it';
COMMENT ON COLUMN ops.capability.asked IS '[database] timescale of the configuration';
COMMENT ON COLUMN ops.capability.used IS 'What of the edition is used: no more than was asked for';

CREATE TABLE ops.storage (
    relation text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('partitions', 'hypertable', 'table', 'continuous_aggregate')),
    ts_column name NOT NULL,
    chunk interval,
    compress_after interval,
    keep interval,
    arranged_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE ops.storage IS 'How each physical relation of market data is kept, as `ingest migrate` last arranged it';
COMMENT ON COLUMN ops.storage.relation IS 'Schema and name, such as spot_raw.trades';
COMMENT ON COLUMN ops.storage.ts_column IS 'The time that its rows are parted, kept and dropped by';
COMMENT ON COLUMN ops.storage.chunk IS 'Span of one partition or chunk; null for a plain table';
COMMENT ON COLUMN ops.storage.compress_after IS 'Age at which a chunk goes to the columnstore; null: never';
COMMENT ON COLUMN ops.storage.keep IS 'Age at which rows are dropped, a whole partition or chunk at a time; null: never';

INSERT INTO ops.storage (relation, kind, ts_column, chunk)
SELECT relation::text, 'partitions', ts_column, ('1 ' || grain)::interval FROM ops.partition_plan;

CREATE TABLE ops.conversions (
    relation text NOT NULL,
    partition text NOT NULL,
    row_count bigint NOT NULL,
    converted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (relation, partition)
);
COMMENT ON TABLE ops.conversions IS 'Partitions that an unfinished `ingest migrate --convert` has copied; a writer that connects forgets them, because it may change what was copied';

-- ------------------------------------------------------------------ partitions

CREATE OR REPLACE FUNCTION ops.ensure_partition(parent regclass, at timestamptz) RETURNS bigint
LANGUAGE plpgsql STRICT
SET lock_timeout = '2s'
SET timezone = 'UTC'
AS $$
DECLARE
    plan ops.partition_plan;
    schema_name name;
    range_start timestamptz;
    range_end timestamptz;
    child name;
    default_child regclass;
    moved bigint;
BEGIN
    SELECT * INTO plan FROM ops.partition_plan WHERE relation = parent;
    IF plan.relation IS NULL THEN
        RETURN NULL;  -- a hypertable by now: it makes its chunks itself
    END IF;
    SELECT n.nspname INTO STRICT schema_name
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = parent;
    range_start := date_trunc(plan.grain, at, 'UTC');
    range_end := range_start + ('1 ' || plan.grain)::interval;
    child := ops.partition_name(parent, range_start, plan.grain);

    -- One maker at a time for a table; the second then finds the partition there.
    PERFORM pg_advisory_xact_lock(hashtext('ingest partitions'), parent::oid::integer);
    IF EXISTS (
        SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = parent AND c.relname = child
    ) THEN
        RETURN NULL;
    END IF;

    -- Attaching locks the parent so that writers go on, where CREATE TABLE ... PARTITION OF would stop
    -- them. The default partition stands still for this moment, which it must for the move anyway.
    EXECUTE format('CREATE TABLE %I.%I (LIKE %s INCLUDING ALL)', schema_name, child, parent);
    EXECUTE format(
        'ALTER TABLE %I.%I ADD CONSTRAINT within CHECK (%I >= %L AND %I < %L)',
        schema_name, child, plan.ts_column, range_start, plan.ts_column, range_end
    );
    SELECT partdefid::regclass INTO STRICT default_child FROM pg_partitioned_table WHERE partrelid = parent;
    EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', default_child);
    EXECUTE format(
        'WITH moved AS (DELETE FROM ONLY %s WHERE %I >= %L AND %I < %L RETURNING *)'
        ' INSERT INTO %I.%I SELECT * FROM moved',
        default_child, plan.ts_column, range_start, plan.ts_column, range_end, schema_name, child
    );
    GET DIAGNOSTICS moved = ROW_COUNT;
    EXECUTE format(
        'ALTER TABLE %s ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
        parent, schema_name, child, range_start, range_end
    );
    EXECUTE format('ALTER TABLE %I.%I DROP CONSTRAINT within', schema_name, child);
    RETURN moved;
END
$$;

CREATE FUNCTION ops.expired_partitions(parent regclass, before timestamptz)
RETURNS TABLE (partition regclass, range_end timestamptz)
LANGUAGE sql STABLE STRICT
SET timezone = 'UTC'
AS $$
    SELECT made.partition, made.range_end
    FROM (
        SELECT
            c.oid::regclass AS partition,
            substring(pg_get_expr(c.relpartbound, c.oid) FROM $re$TO \('([^']+)'\)$re$)::timestamptz AS range_end
        FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = parent
    ) AS made
    WHERE made.range_end <= before
    ORDER BY made.range_end
$$;
COMMENT ON FUNCTION ops.expired_partitions IS 'Partitions of parent with nothing at or after a time, the oldest first; never the default one';

CREATE FUNCTION ops.drop_partition(parent regclass, partition regclass) RETURNS void
LANGUAGE plpgsql STRICT
-- Writers queue behind the lock that is waited for: give up long before they notice.
SET lock_timeout = '200ms'
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM ops.partition_plan WHERE relation = parent) THEN
        RAISE EXCEPTION '% is none of the partitioned tables', parent USING ERRCODE = '42809';
    END IF;
    -- Not CONCURRENTLY, which PostgreSQL refuses beside a default partition. As one transaction nothing is
    -- ever left half done: a partition is there with all its rows, or gone.
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, partition);
    EXECUTE format('DROP TABLE %s', partition);
END
$$;
COMMENT ON FUNCTION ops.drop_partition IS 'Drop one partition with its rows; fails within 200 ms where somebody holds a lock on it or its table';

CREATE FUNCTION ops.delete_expired(relation regclass, ts_column name, before timestamptz, most integer) RETURNS bigint
LANGUAGE plpgsql STRICT
AS $$
DECLARE
    target regclass := relation;
    deleted bigint;
BEGIN
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
COMMENT ON FUNCTION ops.delete_expired IS 'Delete at most so many rows before a time: of a partitioned table from its default partition, else from the table; returns how many';

-- ------------------------------------------------------------------ hypertables

CREATE FUNCTION ops.timescale_schema() RETURNS name
LANGUAGE sql STABLE
AS $$
    SELECT n.nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
    WHERE e.extname = 'timescaledb'
$$;
COMMENT ON FUNCTION ops.timescale_schema IS 'Where the functions of TimescaleDB are; null without it';

CREATE FUNCTION ops.is_empty(relation regclass) RETURNS boolean
LANGUAGE plpgsql STABLE STRICT
AS $$
DECLARE
    found_one boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', relation) INTO found_one;
    RETURN NOT found_one;
END
$$;
COMMENT ON FUNCTION ops.is_empty IS 'Whether a table has no row';

CREATE FUNCTION ops.start_hypertable(parent regclass, ts_column name, chunk interval) RETURNS void
LANGUAGE plpgsql STRICT
SET search_path = pg_catalog
AS $$
DECLARE
    named name;
BEGIN
    SELECT relname INTO STRICT named FROM pg_class WHERE oid = parent;
    CREATE SCHEMA IF NOT EXISTS ops_conversion;
    COMMENT ON SCHEMA ops_conversion IS 'Hypertables before they take the place of partitioned tables; otherwise empty';
    EXECUTE format('DROP TABLE IF EXISTS ops_conversion.%I', named);
    DELETE FROM ops.conversions WHERE relation = format('%s', parent);
    -- In a schema of its own, so that its indexes and constraints have the names of the old ones.
    EXECUTE format('CREATE TABLE ops_conversion.%I (LIKE %s INCLUDING ALL)', named, parent);
    EXECUTE format(
        'SELECT %1$I.create_hypertable(%2$L::regclass, %1$I.by_range(%3$L, %4$L::interval), create_default_indexes => false)',
        ops.timescale_schema(), format('ops_conversion.%I', named), ts_column, chunk
    );
END
$$;
COMMENT ON FUNCTION ops.start_hypertable IS 'Make an empty hypertable like parent in schema ops_conversion, in place of one that may be there';

CREATE FUNCTION ops.copy_partition(parent regclass, partition regclass) RETURNS bigint
LANGUAGE plpgsql STRICT
SET search_path = pg_catalog
AS $$
DECLARE
    named name;
    columns text;
    copied bigint;
BEGIN
    SELECT relname INTO STRICT named FROM pg_class WHERE oid = parent;
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO STRICT columns
    FROM pg_attribute WHERE attrelid = parent AND attnum > 0 AND NOT attisdropped;
    EXECUTE format(
        'INSERT INTO ops_conversion.%1$I (%2$s) SELECT %2$s FROM ONLY %3$s', named, columns, partition
    );
    GET DIAGNOSTICS copied = ROW_COUNT;
    INSERT INTO ops.conversions (relation, partition, row_count)
    VALUES (format('%s', parent), format('%s', partition), copied);
    RETURN copied;
END
$$;
COMMENT ON FUNCTION ops.copy_partition IS 'Copy a partition into the hypertable that ops.start_hypertable made, and note it; returns the rows';

CREATE FUNCTION ops.finish_hypertable(parent regclass) RETURNS void
LANGUAGE plpgsql STRICT
SET search_path = pg_catalog
AS $$
DECLARE
    old pg_class;
    space name;
    successor text;
    described text := obj_description(parent, 'pg_class');
    found_view record;
    found_grant record;
    piece text;
    afterwards text[] := '{}';
BEGIN
    SELECT * INTO STRICT old FROM pg_class WHERE oid = parent;
    SELECT nspname INTO STRICT space FROM pg_namespace WHERE oid = old.relnamespace;
    successor := format('%I.%I', space, old.relname);
    -- Views stand on nothing for this moment: as they are replaced, not dropped, they keep their owner,
    -- rights and comments, and whatever stands on them keeps standing.
    FOR found_view IN
        SELECT DISTINCT v.oid, v.oid::regclass AS name, v.reloptions
        FROM pg_depend AS d
        JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
        JOIN pg_class AS v ON v.oid = r.ev_class
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = parent AND v.relkind = 'v'
    LOOP
        piece := coalesce(' WITH (' || array_to_string(found_view.reloptions, ', ') || ')', '');
        afterwards := afterwards || format(
            'CREATE OR REPLACE VIEW %s%s AS %s', found_view.name, piece, pg_get_viewdef(found_view.oid)
        );
        SELECT string_agg(
            format('NULL::%s AS %I', format_type(atttypid, atttypmod), attname), ', ' ORDER BY attnum
        ) INTO STRICT piece
        FROM pg_attribute WHERE attrelid = found_view.oid AND attnum > 0 AND NOT attisdropped;
        EXECUTE format('CREATE OR REPLACE VIEW %s AS SELECT %s WHERE false', found_view.name, piece);
    END LOOP;
    SELECT afterwards || coalesce(array_agg(pg_get_triggerdef(oid)), '{}') INTO STRICT afterwards
    FROM pg_trigger WHERE tgrelid = parent AND NOT tgisinternal;
    SELECT afterwards || coalesce(array_agg(format(
        'GRANT %s ON TABLE %s TO %s%s', privilege_type, successor,
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
        CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    )), '{}') INTO STRICT afterwards
    FROM aclexplode(old.relacl) WHERE grantee <> old.relowner;

    DELETE FROM ops.partition_plan WHERE relation = parent;
    DELETE FROM ops.conversions WHERE relation = format('%s', parent);
    EXECUTE format('DROP TABLE %s', parent);
    EXECUTE format('ALTER TABLE ops_conversion.%I SET SCHEMA %I', old.relname, space);
    EXECUTE format('ALTER TABLE %s OWNER TO %I', successor, pg_get_userbyid(old.relowner));
    -- What default privileges have given is not what the old one had.
    FOR found_grant IN
        SELECT DISTINCT grantee FROM pg_class AS c CROSS JOIN aclexplode(c.relacl)
        WHERE c.oid = successor::regclass AND grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE %s FROM %s', successor,
            CASE found_grant.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(found_grant.grantee)) END);
    END LOOP;
    FOREACH piece IN ARRAY afterwards LOOP
        EXECUTE piece;
    END LOOP;
    IF described IS NOT NULL THEN
        EXECUTE format('COMMENT ON TABLE %s IS %L', successor, described);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'ops_conversion'::regnamespace) THEN
        DROP SCHEMA ops_conversion;
    END IF;
END
$$;
COMMENT ON FUNCTION ops.finish_hypertable IS 'Put the hypertable of schema ops_conversion in the place of parent, with its owner, rights, comments, triggers, and the views over it; parent is dropped';

CREATE FUNCTION ops.arrange_chunks(relation regclass, chunk interval) RETURNS text
LANGUAGE plpgsql STRICT
AS $$
DECLARE
    so_far interval;
BEGIN
    SELECT d.time_interval INTO STRICT so_far FROM timescaledb_information.dimensions AS d
    WHERE format('%I.%I', d.hypertable_schema, d.hypertable_name)::regclass = relation AND d.dimension_number = 1;
    IF so_far = chunk THEN
        RETURN NULL;
    END IF;
    EXECUTE format(
        'SELECT %I.set_chunk_time_interval(%L::regclass, %L::interval)', ops.timescale_schema(), relation, chunk
    );
    RETURN format('new chunks span %s (were: %s)', chunk, so_far);
END
$$;
COMMENT ON FUNCTION ops.arrange_chunks IS 'Set the span of new chunks; returns what changed, null when nothing had to';

CREATE FUNCTION ops.arrange_columnstore(relation regclass, segment_by text, order_by text, after interval) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    so_far interval;
    has_policy boolean;
    is_set boolean;
    changed text;
BEGIN
    SELECT (j.config ->> 'compress_after')::interval INTO so_far FROM timescaledb_information.jobs AS j
    WHERE format('%I.%I', j.hypertable_schema, j.hypertable_name)::regclass = relation
        AND j.proc_name IN ('policy_compression', 'policy_columnstore');
    has_policy := FOUND;
    IF has_policy AND so_far IS DISTINCT FROM after THEN
        EXECUTE format('CALL %I.remove_columnstore_policy(%L::regclass)', ops.timescale_schema(), relation);
        changed := format('no chunk goes to the columnstore any more (was: after %s)', so_far);
    END IF;
    IF after IS NULL THEN
        RETURN changed;
    END IF;
    SELECT
        replace(s.segmentby, ' ', '') = replace(segment_by, ' ', '')
        AND replace(s.orderby, ', ', ',') = replace(order_by, ', ', ',') INTO is_set
    FROM timescaledb_information.hypertable_columnstore_settings AS s WHERE s.hypertable = relation;
    IF is_set IS NOT TRUE THEN
        EXECUTE format(
            'ALTER TABLE %s SET (timescaledb.enable_columnstore = true, timescaledb.segmentby = %L, timescaledb.orderby = %L)',
            relation, segment_by, order_by
        );
        changed := format('columnstore by %s, ordered by %s', segment_by, order_by);
    END IF;
    IF has_policy AND so_far = after THEN
        RETURN changed;
    END IF;
    EXECUTE format(
        'CALL %I.add_columnstore_policy(%L::regclass, after => %L::interval)', ops.timescale_schema(), relation, after
    );
    RETURN format('chunks go to the columnstore after %s', after);
END
$$;
COMMENT ON FUNCTION ops.arrange_columnstore IS 'Set up the columnstore and its policy, or take the policy away (after null); returns what changed, null when nothing had to';

CREATE FUNCTION ops.arrange_retention(relation regclass, keep interval) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    so_far interval;
    has_policy boolean;
BEGIN
    SELECT (j.config ->> 'drop_after')::interval INTO so_far FROM timescaledb_information.jobs AS j
    WHERE format('%I.%I', j.hypertable_schema, j.hypertable_name)::regclass = relation
        AND j.proc_name = 'policy_retention';
    has_policy := FOUND;
    IF has_policy AND so_far = keep OR NOT has_policy AND keep IS NULL THEN
        RETURN NULL;
    END IF;
    IF has_policy THEN
        EXECUTE format('SELECT %I.remove_retention_policy(%L::regclass)', ops.timescale_schema(), relation);
    END IF;
    IF keep IS NULL THEN
        RETURN format('no policy drops chunks any more (was: after %s)', so_far);
    END IF;
    EXECUTE format(
        'SELECT %I.add_retention_policy(%L::regclass, drop_after => %L::interval)', ops.timescale_schema(), relation, keep
    );
    RETURN format('a policy drops chunks after %s', keep);
END
$$;
COMMENT ON FUNCTION ops.arrange_retention IS 'Set up the policy that drops old chunks, or take it away (keep null); returns what changed, null when nothing had to';

CREATE FUNCTION ops.drop_expired_chunks(relation regclass, before timestamptz) RETURNS SETOF text
LANGUAGE plpgsql STRICT
SET lock_timeout = '200ms'
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT %I.drop_chunks(%L::regclass, older_than => %L::timestamptz)::text', ops.timescale_schema(), relation, before
    );
END
$$;
COMMENT ON FUNCTION ops.drop_expired_chunks IS 'Drop the chunks of a hypertable with nothing at or after a time; returns their names';

CREATE FUNCTION ops.lock_relation(relation regclass) RETURNS void
LANGUAGE plpgsql STRICT
AS $$
BEGIN
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', relation);
END
$$;
COMMENT ON FUNCTION ops.lock_relation IS 'Keep everybody else off a table until the transaction ends';

CREATE FUNCTION ops.hot_index_bytes() RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    kept ops.storage;
    largest bigint;
    total bigint := 0;
BEGIN
    FOR kept IN SELECT * FROM ops.storage WHERE kind IN ('partitions', 'hypertable') LOOP
        -- The newest has only begun, as a rule: the one before tells how large it will be.
        IF kept.kind = 'hypertable' THEN
            SELECT max(pg_indexes_size(newest.chunk)) INTO largest FROM (
                SELECT format('%I.%I', c.chunk_schema, c.chunk_name)::regclass AS chunk
                FROM timescaledb_information.chunks AS c
                WHERE format('%I.%I', c.hypertable_schema, c.hypertable_name)::regclass = kept.relation::regclass
                    AND c.range_start <= now()
                ORDER BY c.range_start DESC LIMIT 2
            ) AS newest;
        ELSE
            SELECT max(pg_indexes_size(newest.partition)) INTO largest FROM (
                SELECT p.partition FROM ops.expired_partitions(kept.relation::regclass, 'infinity') AS p
                WHERE p.range_end - kept.chunk <= now()
                ORDER BY p.range_end DESC LIMIT 2
            ) AS newest;
        END IF;
        total := total + coalesce(largest, 0);
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION ops.hot_index_bytes IS 'Size of the indexes that rows of now go into, over all tables';
