-- What is known of a symbol's trades is looked up once for a symbol, not once for each of its candles: as a join
-- like any other it came last as soon as several symbols were asked for, and took 0.2 to 1 ms a candle.

-- One text for all four, so that they cannot differ; called again whenever what lies below them was exchanged.
CREATE OR REPLACE FUNCTION spot_raw.make_candle_views() RETURNS void
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
                k.symbol,
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
            FROM (
                -- DISTINCT ON makes it a step of its own, in which a filter by symbol still comes first.
                SELECT DISTINCT ON (i.symbol_id, i.symbol) i.symbol_id, i.symbol, t.*
                FROM ops.instruments AS i CROSS JOIN LATERAL ops.trade_knowledge(i.symbol_id) AS t
                WHERE i.market = 'spot'
            ) AS k
            JOIN spot_raw.%1$I AS c ON c.symbol_id = k.symbol_id
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
        $view$, 'candles_' || grain, step);
        audits := audits || format($audit$
            SELECT k.symbol, t.interval, t.open_time, d.field, d.ours, d.theirs
            FROM (
                -- DISTINCT ON makes it a step of its own, in which a filter by symbol still comes first.
                SELECT DISTINCT ON (i.symbol_id, i.symbol) i.symbol_id, i.symbol, t.*
                FROM ops.instruments AS i CROSS JOIN LATERAL ops.trade_knowledge(i.symbol_id) AS t
                WHERE i.market = 'spot'
            ) AS k
            JOIN spot_raw.klines AS t ON t.symbol_id = k.symbol_id AND t.interval = %2$L AND t.is_closed
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
                k.known_until >= upper(b.span)
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

SELECT spot_raw.make_candle_views();
