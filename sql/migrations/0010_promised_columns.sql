-- Bytes that were encoded for one type are stored in a column of another without an error, and wrong: a binary
-- COPY says no types. A new connection compares the columns; this watches over those that live on.
--
-- What a session promises to write stands in a setting of its own, one for each table. The trigger fires once a
-- statement, when its locks are held: the columns cannot change between this look and the rows.

CREATE FUNCTION ops.check_promised_columns() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    promised CONSTANT text := current_setting('ingest.columns_of_' || TG_TABLE_SCHEMA || '_' || TG_TABLE_NAME, true);
    broken text;
BEGIN
    -- Whoever promises nothing writes values, not bytes: the server converts them.
    IF promised IS NULL OR promised = '' THEN
        RETURN NULL;
    END IF;
    SELECT pg_catalog.string_agg(p.name, ', ' ORDER BY p.name) INTO broken
    FROM pg_catalog.json_each_text(promised::json) AS p (name, type_name)
    WHERE NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_attribute AS a
        WHERE
            a.attrelid = TG_RELID
            AND a.attname = p.name
            AND NOT a.attisdropped
            AND pg_catalog.format_type(a.atttypid, a.atttypmod) = p.type_name
    );
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION '%.%: the type of % was changed under a writer', TG_TABLE_SCHEMA, TG_TABLE_NAME, broken
            USING ERRCODE = 'datatype_mismatch', HINT = 'Start the writers again; if they refuse, update them.';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION ops.check_promised_columns IS
    'Refuses, with SQLSTATE 42804, the rows of a writer whose columns have other types by now than it encodes for';

CREATE FUNCTION ops.watch_columns(relation regclass) RETURNS void
LANGUAGE plpgsql STRICT
AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = relation AND t.tgname = 'promised_columns'
    ) THEN
        EXECUTE pg_catalog.format(
            'CREATE TRIGGER promised_columns BEFORE INSERT ON %s'
            ' FOR EACH STATEMENT EXECUTE FUNCTION ops.check_promised_columns()',
            relation
        );
    END IF;
END
$$;
COMMENT ON FUNCTION ops.watch_columns IS
    'Put ops.check_promised_columns on a table that writers copy into, where it is not yet; for a table that takes the place of another, too';

SELECT ops.watch_columns(s.relation::regclass) FROM ops.storage AS s WHERE s.kind IN ('partitions', 'hypertable');
