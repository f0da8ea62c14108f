-- Candles of 1 s, 1 m, 1 h and 1 d from our own trades, and for which spans of time the gap ledger speaks.
--
-- Each candle is made from those of the next finer kind, the finest from trades. Here they are tables that a
-- refresh keeps up; where the server can aggregate continuously, aggregates of the same names and columns take
-- their place (ingest/store/candles.py).

CREATE TABLE spot_raw.candles_1s (
    open_time timestamptz NOT NULL,
    first_trade_id bigint NOT NULL,
    last_trade_id bigint NOT NULL,
    trades bigint NOT NULL,
    symbol_id integer NOT NULL,
    open numeric NOT NULL,
    high numeric NOT NULL,
    low numeric NOT NULL,
    close numeric NOT NULL,
    volume numeric NOT NULL,
    quote_volume numeric NOT NULL,
    taker_buy_volume numeric NOT NULL,
    taker_buy_quote_volume numeric NOT NULL,
    UNIQUE (symbol_id, open_time)
) PARTITION BY RANGE (open_time);
CREATE TABLE spot_raw.candles_1m (LIKE spot_raw.candles_1s INCLUDING ALL) PARTITION BY RANGE (open_time);
CREATE TABLE spot_raw.candles_1h (LIKE spot_raw.candles_1s INCLUDING ALL);
CREATE TABLE spot_raw.candles_1d (LIKE spot_raw.candles_1s INCLUDING ALL);

CREATE TABLE spot_raw.candles_1s_default PARTITION OF spot_raw.candles_1s DEFAULT;
CREATE TABLE spot_raw.candles_1m_default PARTITION OF spot_raw.candles_1m DEFAULT;
INSERT INTO ops.partition_plan (relation, ts_column, grain) VALUES
    ('spot_raw.candles_1s', 'open_time', 'day'),
    ('spot_raw.candles_1m', 'open_time', 'month');
INSERT INTO ops.storage (relation, kind, ts_column, chunk) VALUES
    ('spot_raw.candles_1s', 'partitions', 'open_time', '1 day'),
    ('spot_raw.candles_1m', 'partitions', 'open_time', '1 month'),
    ('spot_raw.candles_1h', 'table', 'open_time', NULL),
    ('spot_raw.candles_1d', 'table', 'open_time', NULL);

-- "The newest hundred of a symbol" is read backwards by time: a view that names symbols cannot use the key for it.
CREATE INDEX candles_1s_by_time ON spot_raw.candles_1s (open_time);
CREATE INDEX candles_1m_by_time ON spot_raw.candles_1m (open_time);
CREATE INDEX candles_1h_by_time ON spot_raw.candles_1h (open_time);
CREATE INDEX candles_1d_by_time ON spot_raw.candles_1d (open_time);

CREATE TABLE spot_raw.candle_upkeep (
    is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    reach interval
);
INSERT INTO spot_raw.candle_upkeep DEFAULT VALUES;
COMMENT ON TABLE spot_raw.candle_upkeep IS 'How candles are kept up; one row';
COMMENT ON COLUMN spot_raw.candle_upkeep.reach IS
    'Null: tables, refreshed from all that was touched. Else continuous aggregates, which tell of trades up to this age by themselves';

-- Insert-only for writers, emptied by the refresh every two seconds.
CREATE TABLE spot_raw.trades_touched (
    touched_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    touched_at timestamptz NOT NULL DEFAULT now(),
    is_backlog boolean NOT NULL DEFAULT false,
    symbol_ids integer[] NOT NULL,
    oldest timestamptz NOT NULL,
    newest timestamptz NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE spot_raw.trades_touched IS 'Which trades were written and are not in the candles yet: one row a batch, written in its transaction (one a symbol when it spans a long time)';
COMMENT ON COLUMN spot_raw.trades_touched.is_backlog IS 'History, of which little is taken at a time';
COMMENT ON COLUMN spot_raw.trades_touched.oldest IS 'Time of the oldest of these trades';

-- What is stored already is history to be rolled up.
INSERT INTO spot_raw.trades_touched (is_backlog, symbol_ids, oldest, newest)
SELECT true, ARRAY[i.symbol_id], first.ts, last.ts
FROM ops.instruments AS i
CROSS JOIN LATERAL (
    SELECT r.ts FROM spot_raw.trades AS r WHERE r.symbol_id = i.symbol_id ORDER BY r.ts LIMIT 1
) AS first
CROSS JOIN LATERAL (
    SELECT r.ts FROM spot_raw.trades AS r WHERE r.symbol_id = i.symbol_id ORDER BY r.ts DESC LIMIT 1
) AS last
WHERE i.market = 'spot';

CREATE TABLE ops.trade_coverage (
    market text NOT NULL,
    symbol text NOT NULL,
    span tstzrange NOT NULL CHECK (NOT isempty(span) AND NOT lower_inf(span)),
    carried_until timestamptz NOT NULL,
    PRIMARY KEY (market, symbol, span)
);
CREATE UNIQUE INDEX trade_coverage_lasting ON ops.trade_coverage (market, symbol) WHERE upper_inf(span);
COMMENT ON TABLE ops.trade_coverage IS 'The time for which ops.gaps speaks of trades: what is missing in it has a row there';
COMMENT ON COLUMN ops.trade_coverage.market IS 'Such as spot';
COMMENT ON COLUMN ops.trade_coverage.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN ops.trade_coverage.span IS 'From the first live trade on, without an end while the symbol is carried; or what was filled by hand';
COMMENT ON COLUMN ops.trade_coverage.carried_until IS 'Time of a recent trade of the span; days without one end it, as a restart would not look back as far';

INSERT INTO ops.trade_coverage (market, symbol, span, carried_until)
SELECT i.market, i.symbol, tstzrange(first.ts, NULL), last.ts
FROM ops.instruments AS i
CROSS JOIN LATERAL (
    SELECT r.ts FROM spot_raw.trades AS r
    WHERE r.symbol_id = i.symbol_id AND r.ts >= i.first_seen
    ORDER BY r.ts LIMIT 1
) AS first
CROSS JOIN LATERAL (
    SELECT r.ts FROM spot_raw.trades AS r WHERE r.symbol_id = i.symbol_id ORDER BY r.ts DESC LIMIT 1
) AS last
WHERE i.market = 'spot';

CREATE INDEX gaps_lasting ON ops.gaps (market, symbol, kind) WHERE state <> 'repaired';

CREATE FUNCTION ops.trade_knowledge(
    symbol_id integer,
    OUT known_until timestamptz,
    OUT covered tstzmultirange,
    OUT lacking tstzmultirange,
    OUT moving tstzmultirange,
    OUT absent int8multirange
)
LANGUAGE plpgsql STABLE COST 10000
AS $$
#variable_conflict use_column
DECLARE
    instrument ops.instruments;
BEGIN
    SELECT i.* INTO instrument FROM ops.instruments AS i WHERE i.symbol_id = trade_knowledge.symbol_id;
    SELECT ops.fresh_until(f) INTO known_until FROM ops.stream_state AS f
    WHERE f.market = instrument.market AND f.symbol = instrument.symbol AND f.kind = 'trade';
    IF known_until IS NULL THEN
        SELECT r.ts INTO known_until FROM spot_raw.trades AS r
        WHERE r.symbol_id = trade_knowledge.symbol_id
        ORDER BY r.ts DESC LIMIT 1;
    END IF;
    SELECT coalesce(range_agg(c.span), '{}') INTO covered FROM ops.trade_coverage AS c
    WHERE c.market = instrument.market AND c.symbol = instrument.symbol;
    SELECT coalesce(range_agg(tstzrange(t.oldest, t.newest, '[]')), '{}') INTO moving
    FROM spot_raw.trades_touched AS t
    WHERE trade_knowledge.symbol_id = ANY (t.symbol_ids);
    SELECT coalesce(range_agg(int8range(g.first_id, g.last_id, '[]')), '{}') INTO absent
    FROM ops.gaps AS g
    WHERE g.market = instrument.market AND g.symbol = instrument.symbol AND g.kind = 'trade'
        AND g.state = 'absent_at_exchange' AND g.first_id <= g.last_id;
    -- Of a gap only what is not there yet is missing: between its rows, and from the last of them to its end.
    WITH gap AS (
        SELECT
            g.first_id, g.last_id, coalesce(g.start_ts, g.end_ts) AS start_ts, coalesce(g.end_ts, g.start_ts) AS end_ts
        FROM ops.gaps AS g
        WHERE g.market = instrument.market AND g.symbol = instrument.symbol AND g.kind = 'trade'
            AND g.state IN ('open', 'unrepairable') AND g.first_id <= g.last_id
    )
    SELECT coalesce(range_agg(tstzrange(h.start_ts, greatest(h.start_ts, h.end_ts), '[]')), '{}') INTO lacking
    FROM gap AS g
    CROSS JOIN LATERAL (
        SELECT
            lag(s.ts, 1, g.start_ts) OVER by_id AS start_ts,
            s.ts AS end_ts,
            lag(s.trade_id, 1, g.first_id - 1) OVER by_id + 1 AS first_id,
            s.trade_id - 1 AS last_id
        FROM (
            SELECT r.ts, r.trade_id FROM spot_raw.trades AS r
            WHERE r.symbol_id = trade_knowledge.symbol_id
                AND r.ts >= g.start_ts AND r.ts <= g.end_ts AND r.trade_id BETWEEN g.first_id AND g.last_id
            UNION ALL
            SELECT g.end_ts, g.last_id + 1
        ) AS s
        WINDOW by_id AS (ORDER BY s.trade_id)
    ) AS h
    WHERE h.first_id <= h.last_id AND NOT int8range(h.first_id, h.last_id, '[]') <@ absent;
END
$$;
COMMENT ON FUNCTION ops.trade_knowledge IS
    'What is known of a symbol''s trades: up to when; when the gap ledger speaks; when something is missing; which times are not in the candles yet; which ids the exchange has not either';

CREATE FUNCTION ops.ids_within(ids int8multirange, first_id bigint, last_id bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT
RETURN (
    SELECT coalesce(sum(upper(part) - lower(part)), 0)::bigint
    FROM unnest(ids * int8multirange(int8range(first_id, last_id, '[]'))) AS part
);
COMMENT ON FUNCTION ops.ids_within IS 'How many of these ids lie from first_id to last_id, inclusive';

CREATE FUNCTION ops.rounding_of(product numeric, trades bigint) RETURNS numeric
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN min_scale(product) > 8 THEN trades * 0.00000001 ELSE 0 END;
COMMENT ON FUNCTION ops.rounding_of IS 'How far the exchange''s sum of so many products, each rounded to eight decimals, may lie from the exact one';

-- One text for all four, so that they cannot differ; called again whenever what lies below them was exchanged.
CREATE FUNCTION spot_raw.make_candle_views() RETURNS void
LANGUAGE plpgsql
AS $make$
DECLARE
    grain text;
    step interval;
    audits text[] := '{}';
BEGIN
    FOR grain, step IN VALUES ('1s', interval '1 second'), ('1m', '1 minute'), ('1h', '1 hour'), ('1d', '24 hours') LOOP
        EXECUTE format($view$
            CREATE OR REPLACE VIEW spot.%1$I AS
            SELECT
                i.symbol,
                c.open_time,
                c.open_time + %2$L::interval - interval '1 millisecond' AS close_time,
                c.open,
                c.high,
                c.low,
                c.close,
                c.volume,
                c.quote_volume,
                c.trades,
                c.taker_buy_volume,
                c.taker_buy_quote_volume,
                c.quote_volume / nullif(c.volume, 0) AS vwap,
                c.first_trade_id,
                c.last_trade_id,
                coalesce(k.known_until >= upper(b.span), false) AND NOT b.span && k.moving AS is_closed,
                coalesce(k.known_until >= upper(b.span), false)
                    AND NOT b.span && k.moving
                    AND b.span <@ k.covered
                    AND NOT b.span && k.lacking
                    AND m.trades = 0 AS is_complete,
                m.trades AS missing_trades,
                -- By the name alone the server has to sort all of a symbol's candles to find the newest.
                c.symbol_id
            FROM ops.instruments AS i
            CROSS JOIN LATERAL ops.trade_knowledge(i.symbol_id) AS k
            JOIN spot_raw.%1$I AS c ON c.symbol_id = i.symbol_id
            CROSS JOIN LATERAL (SELECT tstzrange(c.open_time, c.open_time + %2$L::interval) AS span) AS b
            CROSS JOIN LATERAL (
                -- Nearly always there is nothing to subtract: no function is called for it.
                SELECT CASE
                    WHEN c.last_trade_id - c.first_trade_id >= c.trades THEN greatest(0,
                        c.last_trade_id - c.first_trade_id + 1 - c.trades
                        - ops.ids_within(k.absent, c.first_trade_id, c.last_trade_id))
                    ELSE 0
                END AS trades
            ) AS m
            WHERE i.market = 'spot'
        $view$, 'candles_' || grain, step);
        audits := audits || format($audit$
            SELECT i.symbol, t.interval, t.open_time, d.field, d.ours, d.theirs
            FROM ops.instruments AS i
            CROSS JOIN LATERAL ops.trade_knowledge(i.symbol_id) AS k
            JOIN spot_raw.klines AS t ON t.symbol_id = i.symbol_id AND t.interval = %2$L AND t.is_closed
            LEFT JOIN spot_raw.%1$I AS c ON c.symbol_id = t.symbol_id AND c.open_time = t.open_time
            CROSS JOIN LATERAL (SELECT tstzrange(t.open_time, t.open_time + %3$L::interval) AS span) AS b
            CROSS JOIN LATERAL (VALUES
                ('trades', coalesce(c.trades, 0)::numeric, t.trades::numeric, 0),
                ('open', c.open, t.open, 0),
                ('high', c.high, t.high, 0),
                ('low', c.low, t.low, 0),
                ('close', c.close, t.close, 0),
                ('volume', c.volume, t.volume, 0),
                ('taker_buy_volume', c.taker_buy_volume, t.taker_buy_volume, 0),
                -- The exchange rounds each trade's product to eight decimals, ours are exact.
                ('quote_volume', c.quote_volume, t.quote_volume, ops.rounding_of(c.quote_volume, c.trades)),
                ('taker_buy_quote_volume', c.taker_buy_quote_volume, t.taker_buy_quote_volume,
                    ops.rounding_of(c.taker_buy_quote_volume, c.trades))
            ) AS d (field, ours, theirs, rounding)
            WHERE
                i.market = 'spot'
                AND k.known_until >= upper(b.span)
                AND NOT b.span && k.moving
                AND b.span <@ k.covered
                AND NOT b.span && k.lacking
                AND CASE
                    WHEN c.symbol_id IS NULL THEN d.field = 'trades' AND d.theirs > 0
                    ELSE abs(d.ours - d.theirs) > d.rounding
                        AND c.last_trade_id - c.first_trade_id + 1 - c.trades
                            <= ops.ids_within(k.absent, c.first_trade_id, c.last_trade_id)
                END
        $audit$, 'candles_' || grain, grain, step);
    END LOOP;
    EXECUTE 'CREATE OR REPLACE VIEW spot.candle_differences AS ' || array_to_string(audits, ' UNION ALL ');
END
$make$;
COMMENT ON FUNCTION spot_raw.make_candle_views IS 'Make the views over the candles, or bind them to the relations that bear these names now';

SELECT spot_raw.make_candle_views();

COMMENT ON VIEW spot.candles_1s IS 'Candles of one second of our own trades, UTC; a second without trades has none; unique by symbol, open_time';
COMMENT ON VIEW spot.candles_1m IS 'Candles of one minute of our own trades, UTC; a minute without trades has none; unique by symbol, open_time';
COMMENT ON VIEW spot.candles_1h IS 'Candles of one hour of our own trades, UTC; an hour without trades has none; unique by symbol, open_time';
COMMENT ON VIEW spot.candles_1d IS 'Candles of one UTC day of our own trades; a day without trades has none; unique by symbol, open_time';
DO $$
DECLARE
    grain text;
    told text[];
BEGIN
    FOREACH grain IN ARRAY ARRAY['1s', '1m', '1h', '1d'] LOOP
        FOREACH told SLICE 1 IN ARRAY ARRAY[
            ['symbol', 'Upper case, such as BTCUSDT'],
            ['open_time', 'Begin of its time, in UTC'],
            ['close_time', 'A millisecond before the next one opens, as the exchange prints it'],
            ['open', 'Price of the trade with the lowest id'],
            ['high', 'Highest price'],
            ['low', 'Lowest price'],
            ['close', 'Price of the trade with the highest id'],
            ['volume', 'In the base asset'],
            ['quote_volume', 'Sum of price times quantity, exact'],
            ['trades', 'How many are stored'],
            ['taker_buy_volume', 'volume of the trades in which the aggressor bought'],
            ['taker_buy_quote_volume', 'quote_volume of the trades in which the aggressor bought'],
            ['vwap', 'quote_volume / volume'],
            ['first_trade_id', 'Lowest id'],
            ['last_trade_id', 'Highest id'],
            ['is_closed', 'It is over, nothing younger is known to come, and all that is stored is in it'],
            ['is_complete', 'Closed, in the time for which the gap ledger speaks, and nothing of it is missing'],
            ['missing_trades', 'Ids between its first and its last trade that are not stored, less those that the exchange has not either'],
            ['symbol_id', 'Of ops.instruments; with it the newest rows come from the index']
        ] LOOP
            EXECUTE format('COMMENT ON COLUMN spot.%I.%I IS %L', 'candles_' || grain, told[1], told[2]);
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON VIEW spot.candle_differences IS 'Where a complete candle of ours and the exchange''s closed one (spot.klines) differ; should be empty';
COMMENT ON COLUMN spot.candle_differences.symbol IS 'Upper case, such as BTCUSDT';
COMMENT ON COLUMN spot.candle_differences.interval IS '1s, 1m, 1h or 1d';
COMMENT ON COLUMN spot.candle_differences.open_time IS 'Of both candles';
COMMENT ON COLUMN spot.candle_differences.ours IS 'Made of our trades';
COMMENT ON COLUMN spot.candle_differences.theirs IS 'As the exchange printed it';
COMMENT ON COLUMN spot.candle_differences.field IS 'What differs; trades also where ours is not there at all';

CREATE FUNCTION spot_raw.roll_up_candles(
    finer text, coarser text, step interval, INOUT symbol_ids integer[], INOUT opened timestamptz[]
)
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format($query$
        WITH bucket AS (
            SELECT DISTINCT t.symbol_id, date_bin($1, t.open_time, 'epoch') AS open_time
            FROM unnest($2, $3) AS t (symbol_id, open_time)
        ),
        changed AS (
            INSERT INTO spot_raw.%2$I AS c (
                symbol_id, open_time, first_trade_id, last_trade_id, trades, open, high, low, close, volume,
                quote_volume, taker_buy_volume, taker_buy_quote_volume
            )
            SELECT b.symbol_id, b.open_time, r.*
            FROM bucket AS b
            CROSS JOIN LATERAL (
                SELECT
                    min(f.first_trade_id), max(f.last_trade_id), sum(f.trades)::bigint,
                    (array_agg(f.open ORDER BY f.first_trade_id))[1], max(f.high), min(f.low),
                    (array_agg(f.close ORDER BY f.last_trade_id DESC))[1], sum(f.volume), sum(f.quote_volume),
                    sum(f.taker_buy_volume), sum(f.taker_buy_quote_volume)
                FROM spot_raw.%1$I AS f
                WHERE f.symbol_id = b.symbol_id AND f.open_time >= b.open_time AND f.open_time < b.open_time + $1
                HAVING count(*) > 0
            ) AS r
            ON CONFLICT (symbol_id, open_time) DO UPDATE SET
                first_trade_id = excluded.first_trade_id,
                last_trade_id = excluded.last_trade_id,
                trades = excluded.trades,
                open = excluded.open,
                high = excluded.high,
                low = excluded.low,
                close = excluded.close,
                volume = excluded.volume,
                quote_volume = excluded.quote_volume,
                taker_buy_volume = excluded.taker_buy_volume,
                taker_buy_quote_volume = excluded.taker_buy_quote_volume
            WHERE excluded.trades >= c.trades
                AND (
                    excluded.first_trade_id, excluded.last_trade_id, excluded.trades, excluded.open, excluded.high,
                    excluded.low, excluded.close, excluded.volume, excluded.quote_volume, excluded.taker_buy_volume,
                    excluded.taker_buy_quote_volume
                ) IS DISTINCT FROM (
                    c.first_trade_id, c.last_trade_id, c.trades, c.open, c.high, c.low, c.close, c.volume,
                    c.quote_volume, c.taker_buy_volume, c.taker_buy_quote_volume
                )
            RETURNING c.symbol_id, c.open_time
        )
        SELECT array_agg(changed.symbol_id), array_agg(changed.open_time) FROM changed
    $query$, 'candles_' || finer, 'candles_' || coarser)
    INTO symbol_ids, opened USING step, symbol_ids, opened;
END
$$;
COMMENT ON FUNCTION spot_raw.roll_up_candles IS
    'Make the coarser candles of changed finer ones anew; which of them changed. One of fewer trades than before never takes its place: what it was made of is gone';

CREATE FUNCTION spot_raw.refresh_candles(
    most_batches integer, most_trades integer, OUT batches integer, OUT seconds integer
)
LANGUAGE plpgsql
AS $$
DECLARE
    ids integer[];
    froms timestamptz[];
    untils timestamptz[];
    minutes timestamptz[];
    cut timestamptz;
    day timestamptz;
    place integer;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('ingest candles')) THEN
        RETURN;
    END IF;
    WITH chosen AS (
        (SELECT t.touched_id FROM spot_raw.trades_touched AS t WHERE NOT t.is_backlog ORDER BY 1 LIMIT most_batches)
        UNION ALL
        (SELECT t.touched_id FROM spot_raw.trades_touched AS t WHERE t.is_backlog ORDER BY 1 LIMIT 1)
        LIMIT most_batches
    ),
    taken AS (
        DELETE FROM spot_raw.trades_touched AS t USING chosen WHERE t.touched_id = chosen.touched_id RETURNING t.*
    ),
    -- Whole seconds, so that batches that follow each other make one span.
    span AS (
        SELECT u.symbol_id, unnest(range_agg(tstzrange(
            date_bin('1 second', t.oldest, 'epoch'), date_bin('1 second', t.newest, 'epoch') + interval '1 second'
        ))) AS span
        FROM taken AS t CROSS JOIN LATERAL unnest(t.symbol_ids) AS u (symbol_id)
        GROUP BY u.symbol_id
    )
    SELECT
        (SELECT count(*) FROM taken), array_agg(s.symbol_id), array_agg(lower(s.span)), array_agg(upper(s.span))
    INTO batches, ids, froms, untils
    FROM span AS s;

    FOR place IN SELECT n FROM generate_subscripts(ids, 1) AS n WHERE untils[n] - froms[n] > interval '1 minute' LOOP
        -- Of a long span no more than so many trades at once; what is left waits for its turn.
        SELECT date_bin('1 second', r.ts, 'epoch') + interval '1 second' INTO cut
        FROM spot_raw.trades AS r
        WHERE r.symbol_id = ids[place] AND r.ts >= froms[place] AND r.ts < untils[place]
        ORDER BY r.ts OFFSET most_trades LIMIT 1;
        IF cut < untils[place] THEN
            INSERT INTO spot_raw.trades_touched (is_backlog, symbol_ids, oldest, newest)
            VALUES (true, ids[place:place], cut, untils[place] - interval '1 microsecond');
            untils[place] := cut;
        END IF;
    END LOOP;
    FOR day IN
        SELECT DISTINCT date_bin('24 hours', r.ts, 'epoch')
        FROM unnest(ids, froms, untils) AS s (symbol_id, from_ts, until_ts)
        CROSS JOIN LATERAL (
            SELECT t.ts FROM spot_raw.trades AS t
            WHERE t.symbol_id = s.symbol_id AND t.ts >= s.from_ts AND t.ts < s.until_ts
        ) AS r
        WHERE s.from_ts < now() - interval '1 day'
    LOOP
        PERFORM ops.ensure_partition('spot_raw.candles_1s', day);
        PERFORM ops.ensure_partition('spot_raw.candles_1m', day);
    END LOOP;

    WITH changed AS (
        INSERT INTO spot_raw.candles_1s AS c (
                symbol_id, open_time, first_trade_id, last_trade_id, trades, open, high, low, close, volume,
                quote_volume, taker_buy_volume, taker_buy_quote_volume
        )
        SELECT
            r.symbol_id, r.open_time, r.first_trade_id, r.last_trade_id, r.trades, r.prices[1], r.high, r.low,
            r.prices[cardinality(r.prices)], r.volume, r.quote_volume, r.taker_buy_volume, r.taker_buy_quote_volume
        FROM unnest(ids, froms, untils) AS s (symbol_id, from_ts, until_ts)
        CROSS JOIN LATERAL (
            SELECT
                t.symbol_id,
                date_bin('1 second', t.ts, 'epoch') AS open_time,
                min(t.trade_id) AS first_trade_id,
                max(t.trade_id) AS last_trade_id,
                count(*) AS trades,
                array_agg(t.price ORDER BY t.trade_id) AS prices,
                max(t.price) AS high,
                min(t.price) AS low,
                sum(t.qty) AS volume,
                sum(t.price * t.qty) AS quote_volume,
                sum(CASE WHEN t.buyer_is_maker THEN 0 ELSE t.qty END) AS taker_buy_volume,
                sum(CASE WHEN t.buyer_is_maker THEN 0 ELSE t.price * t.qty END) AS taker_buy_quote_volume
            FROM spot_raw.trades AS t
            WHERE t.symbol_id = s.symbol_id AND t.ts >= s.from_ts AND t.ts < s.until_ts
            GROUP BY 1, 2
        ) AS r
        ON CONFLICT (symbol_id, open_time) DO UPDATE SET
            first_trade_id = excluded.first_trade_id,
            last_trade_id = excluded.last_trade_id,
            trades = excluded.trades,
            open = excluded.open,
            high = excluded.high,
            low = excluded.low,
            close = excluded.close,
            volume = excluded.volume,
            quote_volume = excluded.quote_volume,
            taker_buy_volume = excluded.taker_buy_volume,
            taker_buy_quote_volume = excluded.taker_buy_quote_volume
        WHERE excluded.trades >= c.trades
            AND (
                excluded.first_trade_id, excluded.last_trade_id, excluded.trades, excluded.open, excluded.high,
                excluded.low, excluded.close, excluded.volume, excluded.quote_volume, excluded.taker_buy_volume,
                excluded.taker_buy_quote_volume
            ) IS DISTINCT FROM (
                c.first_trade_id, c.last_trade_id, c.trades, c.open, c.high, c.low, c.close, c.volume,
                c.quote_volume, c.taker_buy_volume, c.taker_buy_quote_volume
            )
        RETURNING c.symbol_id, date_bin('1 minute', c.open_time, 'epoch') AS minute
    ),
    minute AS (
        SELECT c.symbol_id, c.minute, count(*) AS seconds FROM changed AS c GROUP BY 1, 2
    )
    SELECT array_agg(m.symbol_id), array_agg(m.minute), coalesce(sum(m.seconds), 0)
    INTO ids, minutes, seconds
    FROM minute AS m;
    SELECT * INTO ids, minutes FROM spot_raw.roll_up_candles('1s', '1m', '1 minute', ids, minutes);
    SELECT * INTO ids, minutes FROM spot_raw.roll_up_candles('1m', '1h', '1 hour', ids, minutes);
    PERFORM spot_raw.roll_up_candles('1h', '1d', '24 hours', ids, minutes);
END
$$;
COMMENT ON FUNCTION spot_raw.refresh_candles IS
    'Make the candles anew that spot_raw.trades_touched names, of so many batches, and so many trades of a longer span; batches is null while another session does it. Returns how many batches were taken and how many seconds changed';

-- Where continuous aggregates have taken the place of the tables. A job calls it, as the owner of the aggregates,
-- whom the server asks for; config says which, and how old their candles must be. Not younger ones: they would be
-- taken for finished. Not older ones than what they are made of is kept: they would lose what was dropped.
CREATE PROCEDURE spot_raw.refresh_late_candles(job_id integer, config jsonb)
LANGUAGE plpgsql
AS $$
DECLARE
    ids bigint[];
    spans tstzmultirange;
    level jsonb;
    width interval;
    span tstzrange;
    oldest timestamptz;
    newest timestamptz;
    since timestamptz;
    until timestamptz;
    at_once CONSTANT boolean := EXISTS (
        SELECT FROM pg_catalog.pg_proc AS p WHERE p.proname = 'refresh_continuous_aggregate' AND p.pronargs = 5
    );
BEGIN
    SELECT array_agg(t.touched_id), range_agg(tstzrange(
        date_bin('1 minute', t.oldest, 'epoch'), date_bin('1 minute', t.newest, 'epoch') + interval '1 minute'
    ))
    INTO ids, spans
    FROM (
        SELECT * FROM spot_raw.trades_touched ORDER BY is_backlog, touched_id LIMIT (config ->> 'most')::integer
    ) AS t;
    IF ids IS NULL THEN
        RETURN;
    END IF;
    -- A procedure with a setting of its own could not refresh.
    PERFORM set_config('search_path', format('%I, pg_catalog', ops.timescale_schema()), false);
    FOR level IN SELECT * FROM jsonb_array_elements(config -> 'levels') LOOP
        width := level ->> 'width';
        SELECT max(clock_timestamp() - (j.config ->> 'drop_after')::interval) INTO oldest
        FROM timescaledb_information.jobs AS j
        LEFT JOIN timescaledb_information.continuous_aggregates AS a
            ON (j.hypertable_schema, j.hypertable_name)
            = (a.materialization_hypertable_schema, a.materialization_hypertable_name)
        WHERE j.proc_name = 'policy_retention' AND coalesce(a.view_schema, j.hypertable_schema) = 'spot_raw'
            AND coalesce(a.view_name, j.hypertable_name) = level ->> 'source';
        newest := date_bin(width, clock_timestamp() - (level ->> 'end_offset')::interval, 'epoch');
        FOR span IN SELECT * FROM unnest(spans) LOOP
            since := greatest(
                date_bin(width, lower(span), 'epoch'), date_bin(width, oldest, 'epoch') + width
            );
            until := least(date_bin(width, upper(span) - interval '1 microsecond', 'epoch') + width, newest);
            -- In pieces, each of which is a transaction that ends soon.
            WHILE since < until LOOP
                IF at_once THEN
                    CALL refresh_continuous_aggregate(
                        format('spot_raw.%I', level ->> 'name')::regclass, since,
                        least(since + (level ->> 'piece')::interval, until), false, '{"buckets_per_batch": 0}'::jsonb
                    );
                ELSE
                    CALL refresh_continuous_aggregate(
                        format('spot_raw.%I', level ->> 'name')::regclass, since,
                        least(since + (level ->> 'piece')::interval, until)
                    );
                END IF;
                -- What has changed is told to the next level by the end of the transaction.
                COMMIT;
                since := since + (level ->> 'piece')::interval;
            END LOOP;
        END LOOP;
    END LOOP;
    DELETE FROM spot_raw.trades_touched WHERE touched_id = ANY (ids);
END
$$;
COMMENT ON PROCEDURE spot_raw.refresh_late_candles IS
    'Bring the trades that spot_raw.trades_touched names into the continuous aggregates; a note stays until that is done';

INSERT INTO ops.role_rights (role, schema_name, kind, object_name, rights)
SELECT role, schema_name, kind, unnest(string_to_array(names, ' ')), string_to_array(rights, ' ')
FROM (VALUES
    ('ingest_writer', 'spot_raw', 'relation', 'candles_1s candles_1m candles_1h candles_1d', 'SELECT INSERT UPDATE'),
    ('ingest_writer', 'spot_raw', 'relation', 'trades_touched', 'SELECT INSERT DELETE'),
    ('ingest_writer', 'ops', 'relation', 'trade_coverage', 'SELECT INSERT UPDATE'),
    ('ingest_writer', 'spot_raw', 'function', 'refresh_candles roll_up_candles', 'EXECUTE'),
    ('ingest_writer', 'ops', 'function', 'trade_knowledge ids_within rounding_of', 'EXECUTE'),
    ('ingest_reader', 'ops', 'relation', 'trade_coverage', 'SELECT'),
    ('ingest_reader', 'ops', 'function', 'trade_knowledge ids_within rounding_of', 'EXECUTE')
) AS wanted (role, schema_name, kind, names, rights)
ON CONFLICT DO NOTHING;
