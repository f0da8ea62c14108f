-- What the databases of the query benchmark are filled with beside the rows that are copied into them.

-- The exchange's candles of one symbol, from the rows that are stored.
-- name: fill_klines
INSERT INTO spot_raw.klines
SELECT
    c.minute,
    c.minute + interval '1 minute' - interval '1 millisecond',
    c.minute + interval '1 minute',
    c.minute + interval '1 minute',
    c.trades,
    $1,
    true,
    '1m',
    c.open,
    c.high,
    c.low,
    c.close,
    c.volume,
    c.quote_volume,
    c.taker_buy_volume,
    c.taker_buy_quote_volume
FROM (
    SELECT
        date_trunc('minute', r.ts, 'UTC') AS minute,
        count(*) AS trades,
        (array_agg(r.price ORDER BY r.trade_id))[1] AS open,
        max(r.price) AS high,
        min(r.price) AS low,
        (array_agg(r.price ORDER BY r.trade_id DESC))[1] AS close,
        sum(r.qty) AS volume,
        sum(r.price * r.qty) AS quote_volume,
        coalesce(sum(r.qty) FILTER (WHERE NOT r.buyer_is_maker), 0) AS taker_buy_volume,
        coalesce(sum(r.price * r.qty) FILTER (WHERE NOT r.buyer_is_maker), 0) AS taker_buy_quote_volume
    FROM spot_raw.trades AS r
    WHERE r.symbol_id = $1
    GROUP BY 1
) AS c
ORDER BY c.minute;

-- name: fill_gap
INSERT INTO ops.gaps
    (market, symbol, kind, first_id, last_id, start_ts, end_ts, cause, state, opened_at, closed_at)
VALUES ('spot', $1, 'trade', $2, $3, $4, $5, 'disconnect', 'unrepairable', $5, $5);

-- Of one symbol: a running service notes each batch, and refreshes the candles of what was noted.
-- name: fill_touched
INSERT INTO spot_raw.trades_touched (is_backlog, symbol_ids, oldest, newest)
VALUES (true, ARRAY[$1::integer], $2, $3);

-- What the supervisor keeps: one row for each stream, here of trades and book tickers.
-- name: fill_freshness
INSERT INTO ops.stream_state
    (
        market, symbol, kind, shard, feed, state, diagnosis, last_event_ts, last_recv_ts, last_commit_ts,
        threshold_s, reconnects, open_gaps, updated_at
    )
SELECT 'spot', i.symbol, k.kind, 0, '0', 'live', '', newest.ts, newest.recv_ts, newest.recv_ts, 60, 0, 0, newest.ts
FROM ops.instruments AS i
CROSS JOIN (VALUES ('trade'), ('book_ticker')) AS k (kind)
CROSS JOIN LATERAL (
    (
        SELECT r.ts, r.recv_ts FROM spot_raw.trades AS r
        WHERE k.kind = 'trade' AND r.symbol_id = i.symbol_id
        ORDER BY r.ts DESC
        LIMIT 1
    )
    UNION ALL
    (
        SELECT r.ts, r.recv_ts FROM spot_raw.book_tickers AS r
        WHERE k.kind = 'book_ticker' AND r.symbol_id = i.symbol_id
        ORDER BY r.ts DESC
        LIMIT 1
    )
) AS newest;

-- As tutorials do it: one table a kind, the symbol as text, floating point, one index on symbol and time.
-- name: create_naive
CREATE SCHEMA naive;
CREATE TABLE naive.trades (
    ts timestamptz NOT NULL,
    symbol text NOT NULL,
    trade_id bigint,
    price double precision,
    qty double precision,
    buyer_is_maker boolean,
    recv_ts timestamptz
);
CREATE INDEX ON naive.trades (symbol, ts DESC);
CREATE TABLE naive.book_tickers (
    ts timestamptz NOT NULL,
    symbol text NOT NULL,
    update_id bigint,
    bid_price double precision,
    bid_qty double precision,
    ask_price double precision,
    ask_qty double precision,
    recv_ts timestamptz
);
CREATE INDEX ON naive.book_tickers (symbol, ts DESC);
CREATE TABLE naive.depth_deltas (
    ts timestamptz NOT NULL,
    symbol text NOT NULL,
    first_update_id bigint,
    final_update_id bigint,
    bids jsonb,
    asks jsonb,
    recv_ts timestamptz
);
CREATE INDEX ON naive.depth_deltas (symbol, ts DESC);
CREATE TABLE naive.depth_snapshots (
    ts timestamptz NOT NULL,
    symbol text NOT NULL,
    last_update_id bigint,
    bids jsonb,
    asks jsonb,
    recv_ts timestamptz
);
CREATE INDEX ON naive.depth_snapshots (symbol, ts DESC);
CREATE TABLE naive.klines (
    open_time timestamptz NOT NULL,
    symbol text NOT NULL,
    open double precision,
    high double precision,
    low double precision,
    close double precision,
    volume double precision,
    quote_volume double precision,
    trades bigint
);
CREATE INDEX ON naive.klines (symbol, open_time DESC);

-- A whole table scanned without helpers comes in the order in which it was written.
-- name: fill_naive_trades
INSERT INTO naive.trades
SELECT ts, symbol, trade_id, price, qty, buyer_is_maker, recv_ts FROM spot.trades;

-- name: fill_naive_book_tickers
INSERT INTO naive.book_tickers
SELECT ts, symbol, update_id, bid_price, bid_qty, ask_price, ask_qty, recv_ts FROM spot.book_tickers;

-- name: fill_naive_depth_deltas
INSERT INTO naive.depth_deltas
SELECT
    d.ts,
    d.symbol,
    d.first_update_id,
    d.final_update_id,
    (
        SELECT coalesce(jsonb_agg(jsonb_build_array(l.price::text, l.qty::text)), '[]')
        FROM unnest(d.bid_prices, d.bid_qtys) AS l (price, qty)
    ),
    (
        SELECT coalesce(jsonb_agg(jsonb_build_array(l.price::text, l.qty::text)), '[]')
        FROM unnest(d.ask_prices, d.ask_qtys) AS l (price, qty)
    ),
    d.recv_ts
FROM spot.depth_deltas AS d;

-- name: fill_naive_depth_snapshots
INSERT INTO naive.depth_snapshots
SELECT
    s.ts,
    s.symbol,
    s.last_update_id,
    (
        SELECT jsonb_agg(jsonb_build_array(l.price::text, l.qty::text))
        FROM unnest(s.bid_prices, s.bid_qtys) AS l (price, qty)
    ),
    (
        SELECT jsonb_agg(jsonb_build_array(l.price::text, l.qty::text))
        FROM unnest(s.ask_prices, s.ask_qtys) AS l (price, qty)
    ),
    s.recv_ts
FROM spot.depth_snapshots AS s;

-- name: fill_naive_klines
INSERT INTO naive.klines
SELECT open_time, symbol, open, high, low, close, volume, quote_volume, trades FROM spot.klines;

-- Bytes of a table and, where it has any, of its partitions.
-- name: size_of_partitions
SELECT sum(pg_table_size(p.relid))::bigint AS rows_bytes, sum(pg_indexes_size(p.relid))::bigint AS index_bytes
FROM (SELECT relid FROM pg_partition_tree($1::text::regclass) UNION SELECT $1::text::regclass) AS p (relid);

-- name: size_of_hypertable
SELECT
    coalesce(sum(s.table_bytes + s.toast_bytes), 0)::bigint AS rows_bytes,
    coalesce(sum(s.index_bytes), 0)::bigint AS index_bytes
FROM hypertable_detailed_size($1::text::regclass) AS s;

-- What holds the rows of a relation: where it is a continuous aggregate, the hypertable behind it.
-- name: hypertable_of
SELECT coalesce(
    (
        SELECT format('%I.%I', a.materialization_hypertable_schema, a.materialization_hypertable_name)
        FROM timescaledb_information.continuous_aggregates AS a
        WHERE format('%I.%I', a.view_schema, a.view_name) = $1
    ),
    $1
);

-- In the catalogue, because the view of hypertables leaves out those behind continuous aggregates.
-- name: is_hypertable
SELECT EXISTS (
    SELECT FROM _timescaledb_catalog.hypertable AS h WHERE format('%I.%I', h.schema_name, h.table_name) = $1
);

-- name: count_trades
SELECT count(*) FROM spot_raw.trades;

-- name: count_book_tickers
SELECT count(*) FROM spot_raw.book_tickers;

-- name: count_depth_deltas
SELECT count(*) FROM spot_raw.depth_deltas;

-- name: count_depth_snapshots
SELECT count(*) FROM spot_raw.depth_snapshots;

-- name: count_klines
SELECT count(*) FROM spot_raw.klines;

-- name: count_candles_1s
SELECT count(*) FROM spot_raw.candles_1s;

-- name: count_candles_1m
SELECT count(*) FROM spot_raw.candles_1m;

-- name: count_candles_1h
SELECT count(*) FROM spot_raw.candles_1h;

-- name: count_candles_1d
SELECT count(*) FROM spot_raw.candles_1d;

-- name: count_naive_trades
SELECT count(*) FROM naive.trades;

-- name: count_naive_book_tickers
SELECT count(*) FROM naive.book_tickers;

-- name: count_naive_depth_deltas
SELECT count(*) FROM naive.depth_deltas;

-- name: count_naive_depth_snapshots
SELECT count(*) FROM naive.depth_snapshots;

-- name: count_naive_klines
SELECT count(*) FROM naive.klines;

-- Policies must not run while times are taken.
-- name: pause_jobs
SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs WHERE job_id >= 1000;

-- name: has_columnstore
SELECT EXISTS (
    SELECT FROM timescaledb_information.hypertables AS h
    WHERE format('%I.%I', h.hypertable_schema, h.hypertable_name) = $1 AND h.compression_enabled
);

-- Chunks with nothing at or after a moment: what the policy would have converted by now.
-- name: chunks_before
SELECT show_chunks($1::text::regclass, older_than => $2::timestamptz)::text AS chunk;

-- name: convert_chunk
CALL convert_to_columnstore($1::text::regclass);

-- Of the converted chunks of one hypertable.
-- name: size_of_columnstore
SELECT
    count(*) AS chunks,
    coalesce(sum(s.after_compression_table_bytes + s.after_compression_toast_bytes), 0)::bigint AS rows_bytes,
    coalesce(sum(s.after_compression_index_bytes), 0)::bigint AS index_bytes
FROM chunk_columnstore_stats($1::text::regclass) AS s
WHERE s.compression_status = 'Compressed';

-- name: count_trades_before
SELECT count(*) FROM spot_raw.trades WHERE ts < $1;

-- name: count_book_tickers_before
SELECT count(*) FROM spot_raw.book_tickers WHERE ts < $1;

-- name: count_depth_deltas_before
SELECT count(*) FROM spot_raw.depth_deltas WHERE ts < $1;

-- name: count_depth_snapshots_before
SELECT count(*) FROM spot_raw.depth_snapshots WHERE ts < $1;

-- name: count_klines_before
SELECT count(*) FROM spot_raw.klines WHERE open_time < $1;
