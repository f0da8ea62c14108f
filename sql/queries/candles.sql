-- Candles from our own trades: what was touched, and rolled up into tables; the time for which the ledger speaks.

-- In the transaction of the trades. Continuous aggregates find the young ones by themselves.
-- name: note_touched
INSERT INTO spot_raw.trades_touched (symbol_ids, oldest, newest)
SELECT $1::integer[], $2::timestamptz, $3::timestamptz
FROM spot_raw.candle_upkeep AS u
WHERE u.reach IS NULL OR $2 < clock_timestamp() - u.reach;

-- name: refresh_candles
SELECT batches, seconds FROM spot_raw.refresh_candles($1, $2);

-- name: candle_upkeep
SELECT reach FROM spot_raw.candle_upkeep;

-- name: candle_lag
SELECT
    count(*) FILTER (WHERE NOT t.is_backlog) AS batches,
    count(*) FILTER (WHERE t.is_backlog) AS backlog,
    coalesce(extract(epoch FROM now() - min(t.touched_at) FILTER (WHERE NOT t.is_backlog)), 0)::double precision AS lag_s
FROM spot_raw.trades_touched AS t;

-- Streams that are carried and whose newest committed trade is known. $1 is a little less than how far back a shard
-- looks for the newest stored trade when it starts: after a longer silence it would not know what was missed.
-- name: keep_coverage
WITH carried AS (
    SELECT s.market, s.symbol, s.last_event_ts
    FROM ops.stream_state AS s
    WHERE s.kind = 'trade' AND s.last_event_ts IS NOT NULL
),

ended AS (
    UPDATE ops.trade_coverage AS c
    SET span = tstzrange(lower(c.span), greatest(c.carried_until, lower(c.span)), '[]')
    FROM carried AS n
    WHERE
        c.market = n.market AND c.symbol = n.symbol AND upper_inf(c.span)
        AND n.last_event_ts - c.carried_until > $1::interval
    RETURNING c.market, c.symbol
),

renewed AS (
    UPDATE ops.trade_coverage AS c
    SET carried_until = n.last_event_ts
    FROM carried AS n
    WHERE
        c.market = n.market AND c.symbol = n.symbol AND upper_inf(c.span)
        AND n.last_event_ts - c.carried_until BETWEEN interval '10 minutes' AND $1::interval
)

INSERT INTO ops.trade_coverage (market, symbol, span, carried_until)
SELECT n.market, n.symbol, tstzrange(n.last_event_ts, NULL), n.last_event_ts
FROM carried AS n
WHERE NOT EXISTS (
    SELECT FROM ops.trade_coverage AS c
    WHERE c.market = n.market AND c.symbol = n.symbol AND upper_inf(c.span)
)
ON CONFLICT DO NOTHING;

-- name: cover_trades
INSERT INTO ops.trade_coverage (market, symbol, span, carried_until)
VALUES ($1, $2, tstzrange($3, $4), $4)
ON CONFLICT DO NOTHING;
