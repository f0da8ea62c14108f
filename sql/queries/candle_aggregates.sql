-- Candles as continuous aggregates of TimescaleDB (full edition): made, bound to their views, and kept up by jobs.

-- Its functions may be in any schema; all else is named with its own.
-- name: see_extension
SELECT
    current_setting('search_path') AS before,
    set_config('search_path', format('%I, pg_catalog', ops.timescale_schema()), false) AS now;

-- name: restore_search_path
SELECT set_config('search_path', $1, false);

-- name: are_trades_hypertable
SELECT EXISTS (
    SELECT FROM timescaledb_information.hypertables
    WHERE hypertable_schema = 'spot_raw' AND hypertable_name = 'trades'
);

-- One who refreshes the tables at this moment ends first.
-- name: lock_candles
SELECT pg_advisory_xact_lock(hashtext('ingest candles'));

-- name: put_candle_tables_aside
ALTER TABLE spot_raw.candles_1s RENAME TO candles_1s_rolled_up;
ALTER TABLE spot_raw.candles_1m RENAME TO candles_1m_rolled_up;
ALTER TABLE spot_raw.candles_1h RENAME TO candles_1h_rolled_up;
ALTER TABLE spot_raw.candles_1d RENAME TO candles_1d_rolled_up;

-- name: create_candles_1s
CREATE MATERIALIZED VIEW spot_raw.candles_1s
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    time_bucket('1 second', t.ts) AS open_time,
    min(t.trade_id) AS first_trade_id,
    max(t.trade_id) AS last_trade_id,
    count(*) AS trades,
    t.symbol_id,
    first(t.price, t.trade_id) AS open,
    max(t.price) AS high,
    min(t.price) AS low,
    last(t.price, t.trade_id) AS close,
    sum(t.qty) AS volume,
    sum(t.price * t.qty) AS quote_volume,
    sum(CASE WHEN t.buyer_is_maker THEN 0 ELSE t.qty END) AS taker_buy_volume,
    sum(CASE WHEN t.buyer_is_maker THEN 0 ELSE t.price * t.qty END) AS taker_buy_quote_volume
FROM spot_raw.trades AS t
GROUP BY t.symbol_id, time_bucket('1 second', t.ts)
WITH NO DATA;

-- name: create_candles_1m
CREATE MATERIALIZED VIEW spot_raw.candles_1m
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    time_bucket('1 minute', f.open_time) AS open_time,
    min(f.first_trade_id) AS first_trade_id,
    max(f.last_trade_id) AS last_trade_id,
    sum(f.trades)::bigint AS trades,
    f.symbol_id,
    first(f.open, f.first_trade_id) AS open,
    max(f.high) AS high,
    min(f.low) AS low,
    last(f.close, f.last_trade_id) AS close,
    sum(f.volume) AS volume,
    sum(f.quote_volume) AS quote_volume,
    sum(f.taker_buy_volume) AS taker_buy_volume,
    sum(f.taker_buy_quote_volume) AS taker_buy_quote_volume
FROM spot_raw.candles_1s AS f
GROUP BY f.symbol_id, time_bucket('1 minute', f.open_time)
WITH NO DATA;

-- name: create_candles_1h
CREATE MATERIALIZED VIEW spot_raw.candles_1h
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    time_bucket('1 hour', f.open_time) AS open_time,
    min(f.first_trade_id) AS first_trade_id,
    max(f.last_trade_id) AS last_trade_id,
    sum(f.trades)::bigint AS trades,
    f.symbol_id,
    first(f.open, f.first_trade_id) AS open,
    max(f.high) AS high,
    min(f.low) AS low,
    last(f.close, f.last_trade_id) AS close,
    sum(f.volume) AS volume,
    sum(f.quote_volume) AS quote_volume,
    sum(f.taker_buy_volume) AS taker_buy_volume,
    sum(f.taker_buy_quote_volume) AS taker_buy_quote_volume
FROM spot_raw.candles_1m AS f
GROUP BY f.symbol_id, time_bucket('1 hour', f.open_time)
WITH NO DATA;

-- name: create_candles_1d
CREATE MATERIALIZED VIEW spot_raw.candles_1d
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    time_bucket('1 day', f.open_time) AS open_time,
    min(f.first_trade_id) AS first_trade_id,
    max(f.last_trade_id) AS last_trade_id,
    sum(f.trades)::bigint AS trades,
    f.symbol_id,
    first(f.open, f.first_trade_id) AS open,
    max(f.high) AS high,
    min(f.low) AS low,
    last(f.close, f.last_trade_id) AS close,
    sum(f.volume) AS volume,
    sum(f.quote_volume) AS quote_volume,
    sum(f.taker_buy_volume) AS taker_buy_volume,
    sum(f.taker_buy_quote_volume) AS taker_buy_quote_volume
FROM spot_raw.candles_1h AS f
GROUP BY f.symbol_id, time_bucket('1 day', f.open_time)
WITH NO DATA;

-- The views are bound to what has the names now; then nothing holds the tables any more.
-- name: bind_candle_views
SELECT spot_raw.make_candle_views();

-- Rights that were given on the tables; the owner is whoever makes the aggregates.
-- name: grant_candle_rights
DO $$
DECLARE
    given record;
BEGIN
    FOR given IN
        SELECT
            format('spot_raw.%I', replace(c.relname, '_rolled_up', '')) AS successor,
            a.privilege_type,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
        FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a
        WHERE c.relnamespace = 'spot_raw'::regnamespace AND c.relname LIKE 'candles%_rolled_up'
            AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON %s TO %s', given.privilege_type, given.successor, given.grantee);
    END LOOP;
END
$$;

-- name: drop_candle_tables
DELETE FROM ops.partition_plan
WHERE relation IN ('spot_raw.candles_1s_rolled_up'::regclass, 'spot_raw.candles_1m_rolled_up'::regclass);
DROP TABLE
spot_raw.candles_1s_rolled_up, spot_raw.candles_1m_rolled_up, spot_raw.candles_1h_rolled_up, spot_raw.candles_1d_rolled_up;

-- name: record_candle_aggregates
UPDATE ops.storage SET kind = 'continuous_aggregate', chunk = NULL, arranged_at = clock_timestamp()
WHERE relation IN ('spot_raw.candles_1s', 'spot_raw.candles_1m', 'spot_raw.candles_1h', 'spot_raw.candles_1d');

-- name: set_candle_reach
UPDATE spot_raw.candle_upkeep SET reach = $1 WHERE reach IS DISTINCT FROM $1;

-- What was noted until now is a part of the history, all of which is refreshed next.
-- name: forget_touched
DELETE FROM spot_raw.trades_touched;

-- name: is_candle_policy
SELECT
    (j.config ->> 'start_offset')::interval = $2::interval
    AND (j.config ->> 'end_offset')::interval = $3::interval
    AND j.schedule_interval = $4::interval
FROM timescaledb_information.jobs AS j
JOIN timescaledb_information.continuous_aggregates AS a
    -- Which of the two is named depends on the version.
    ON (j.hypertable_schema, j.hypertable_name) IN (
        (a.view_schema, a.view_name), (a.materialization_hypertable_schema, a.materialization_hypertable_name)
    )
WHERE j.proc_name = 'policy_refresh_continuous_aggregate' AND a.view_schema = 'spot_raw' AND a.view_name = $1;

-- name: remove_candle_policy
SELECT remove_continuous_aggregate_policy($1::text::regclass, if_exists => true);

-- name: add_candle_policy
SELECT add_continuous_aggregate_policy(
    $1::text::regclass,
    start_offset => $2::interval,
    end_offset => $3::interval,
    schedule_interval => $4::interval,
    -- The younger first would hide, for a moment, what is not done yet.
    buckets_per_batch => 600,
    refresh_newest_first => false
);

-- name: are_trades_indexed_by_time
SELECT EXISTS (
    SELECT
    FROM pg_index AS x
    JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
    WHERE x.indrelid = 'spot_raw.trades'::regclass AND a.attname = 'ts'
);

-- The youngest trades of all symbols are looked for by time alone, which the key does not help. They come in its order,
-- so that an index of some kilobytes does.
-- name: index_trades_by_time
CREATE INDEX trades_by_time ON spot_raw.trades
USING brin (ts) WITH (pages_per_range = 16);

-- Without statistics a plan for much is that for nothing: minutes instead of seconds.
-- name: analyze_trades
ANALYZE spot_raw.trades;

-- name: analyze_candle_aggregates
DO $$
DECLARE
    made regclass;
BEGIN
    FOR made IN
        SELECT format('%I.%I', a.materialization_hypertable_schema, a.materialization_hypertable_name)::regclass
        FROM timescaledb_information.continuous_aggregates AS a
        WHERE a.view_schema = 'spot_raw' AND a.view_name LIKE 'candles\_%'
    LOOP
        EXECUTE format('ANALYZE %s', made);
    END LOOP;
END
$$;

-- name: note_history
INSERT INTO spot_raw.trades_touched (is_backlog, symbol_ids, oldest, newest)
SELECT true, '{}', min(t.ts), max(t.ts)
FROM spot_raw.trades AS t
HAVING min(t.ts) IS NOT NULL;

-- name: refresh_late_candles
CALL spot_raw.refresh_late_candles(0, $1::text::jsonb);

-- name: count_touched
SELECT count(*) FROM spot_raw.trades_touched;

-- name: is_late_job
SELECT j.config = $1::text::jsonb AND j.schedule_interval = $2::interval
FROM timescaledb_information.jobs AS j
WHERE j.proc_schema = 'spot_raw' AND j.proc_name = 'refresh_late_candles';

-- name: remove_late_job
SELECT delete_job(j.job_id) FROM timescaledb_information.jobs AS j
WHERE j.proc_schema = 'spot_raw' AND j.proc_name = 'refresh_late_candles';

-- name: add_late_job
SELECT add_job('spot_raw.refresh_late_candles'::regproc, $2::interval, config => $1::text::jsonb);
