-- Partitions: which tables have them, by which span, and how one is made while rows come in.

CREATE TABLE ops.partition_plan (
    relation regclass PRIMARY KEY,
    ts_column name NOT NULL,
    grain text NOT NULL CHECK (grain IN ('day', 'month'))
);
COMMENT ON TABLE ops.partition_plan IS 'The partitioned tables and the span of one partition';
COMMENT ON COLUMN ops.partition_plan.ts_column IS 'The column that the table is partitioned by';

INSERT INTO ops.partition_plan (relation, ts_column, grain) VALUES
    ('spot_raw.trades', 'ts', 'day'),
    ('spot_raw.agg_trades', 'ts', 'day'),
    ('spot_raw.book_tickers', 'ts', 'day'),
    ('spot_raw.depth_deltas', 'ts', 'day'),
    ('spot_raw.depth_snapshots', 'ts', 'day'),
    ('spot_raw.klines', 'open_time', 'month'),
    ('spot_raw.tickers', 'ts', 'month'),
    ('spot_raw.avg_prices', 'ts', 'month');

CREATE FUNCTION ops.partition_name(parent regclass, range_start timestamptz, grain text) RETURNS name
LANGUAGE sql STABLE STRICT
AS $$
    SELECT c.relname || '_p'
        || to_char(range_start AT TIME ZONE 'UTC', CASE grain WHEN 'day' THEN 'YYYYMMDD' ELSE 'YYYYMM' END)
    FROM pg_class AS c
    WHERE c.oid = parent
$$;
COMMENT ON FUNCTION ops.partition_name IS 'Such as trades_p20240808 or klines_p202408';

CREATE FUNCTION ops.missing_partitions(from_ts timestamptz, to_ts timestamptz)
RETURNS TABLE (relation regclass, range_start timestamptz)
LANGUAGE sql STABLE STRICT
SET timezone = 'UTC'
AS $$
    SELECT p.relation, span.range_start
    FROM ops.partition_plan AS p
    CROSS JOIN LATERAL generate_series(
        -- A candle of a week or a month opened in the month before.
        date_trunc(p.grain, from_ts - CASE p.grain WHEN 'month' THEN interval '1 month' ELSE '0' END, 'UTC'),
        date_trunc(p.grain, to_ts, 'UTC'),
        ('1 ' || p.grain)::interval
    ) AS span (range_start)
    JOIN pg_class AS c ON c.oid = p.relation
    WHERE NOT EXISTS (
        SELECT
        FROM pg_class AS made
        JOIN pg_inherits AS i ON i.inhrelid = made.oid
        WHERE
            i.inhparent = p.relation
            AND made.relname = ops.partition_name(p.relation, span.range_start, p.grain)
    )
    ORDER BY span.range_start, p.relation::text
$$;
COMMENT ON FUNCTION ops.missing_partitions IS 'Partitions that the time from from_ts to to_ts needs and that do not exist';

CREATE FUNCTION ops.ensure_partition(parent regclass, at timestamptz) RETURNS bigint
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
    SELECT * INTO STRICT plan FROM ops.partition_plan WHERE relation = parent;
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
COMMENT ON FUNCTION ops.ensure_partition IS
    'Make the partition of parent that holds the time at. Returns the rows moved into it from the default partition, null when it was there already';

CREATE FUNCTION ops.rows_in_default() RETURNS TABLE (relation text, row_count bigint)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    plan ops.partition_plan;
    default_child regclass;
BEGIN
    FOR plan IN SELECT * FROM ops.partition_plan ORDER BY ops.partition_plan.relation::text LOOP
        SELECT partdefid::regclass INTO default_child FROM pg_partitioned_table WHERE partrelid = plan.relation;
        relation := plan.relation::text;
        EXECUTE format('SELECT count(*) FROM ONLY %s', default_child) INTO row_count;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION ops.rows_in_default IS 'Rows that fell into the net of each partitioned table; all should be zero';
