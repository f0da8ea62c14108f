-- How complete the trades of a symbol are, minute by minute, by what the exchange's own ids say.

CREATE FUNCTION ops.completeness(market text, symbol text, from_ts timestamptz, to_ts timestamptz)
RETURNS TABLE (minute timestamptz, expected bigint, stored bigint, is_complete boolean)
LANGUAGE plpgsql STABLE STRICT
AS $$
#variable_conflict use_column
DECLARE
    instrument integer;
    first_minute CONSTANT timestamptz := date_trunc('minute', from_ts, 'UTC');
    quiet_until timestamptz;
BEGIN
    IF completeness.market <> 'spot' THEN
        RAISE EXCEPTION 'no trades of market % are stored', completeness.market USING ERRCODE = 'ST002';
    END IF;
    SELECT i.symbol_id INTO instrument FROM ops.instruments AS i
    WHERE i.market = completeness.market AND i.symbol = completeness.symbol;
    SELECT f.verified_quiet_at INTO quiet_until FROM ops.stream_state AS f
    WHERE f.market = completeness.market AND f.symbol = completeness.symbol AND f.kind = 'trade';
    RETURN QUERY
    WITH known AS MATERIALIZED (
        -- The neighbours of the span show the holes that reach into it.
        (
            SELECT r.ts, r.trade_id FROM spot_raw.trades AS r
            WHERE r.symbol_id = instrument AND r.ts < first_minute
            ORDER BY r.ts DESC, r.trade_id DESC
            LIMIT 1
        )
        UNION ALL
        SELECT r.ts, r.trade_id FROM spot_raw.trades AS r
        WHERE r.symbol_id = instrument AND r.ts >= first_minute AND r.ts < to_ts
        UNION ALL
        (
            SELECT r.ts, r.trade_id FROM spot_raw.trades AS r
            WHERE r.symbol_id = instrument AND r.ts >= greatest(first_minute, to_ts)
            ORDER BY r.ts, r.trade_id
            LIMIT 1
        )
    ),
    bounds AS (
        SELECT
            min(k.ts) AS oldest,
            greatest(max(k.ts), quiet_until) AS newest,
            min(k.trade_id) AS first_id,
            max(k.trade_id) AS last_id
        FROM known AS k
    ),
    steps AS (
        SELECT
            lag(k.ts) OVER by_id AS start_ts,
            k.ts AS end_ts,
            lag(k.trade_id) OVER by_id + 1 AS first_id,
            k.trade_id - 1 AS last_id
        FROM known AS k
        WINDOW by_id AS (ORDER BY k.trade_id)
    ),
    ledger AS MATERIALIZED (
        SELECT
            g.first_id, g.last_id, g.state, coalesce(g.start_ts, g.end_ts) AS start_ts,
            coalesce(g.end_ts, g.start_ts) AS end_ts
        FROM ops.gaps AS g
        WHERE g.market = completeness.market AND g.symbol = completeness.symbol AND g.kind = 'trade'
            AND g.first_id <= g.last_id AND g.state <> 'repaired'
    ),
    holes AS (
        SELECT s.start_ts, s.end_ts, s.first_id, s.last_id FROM steps AS s WHERE s.first_id <= s.last_id
        UNION ALL
        -- Ids show what is missing between stored rows; beyond these the ledger alone knows.
        SELECT l.start_ts, l.end_ts, l.first_id, l.last_id
        FROM ledger AS l CROSS JOIN bounds AS b
        WHERE l.state IN ('open', 'unrepairable') AND l.start_ts < to_ts AND l.end_ts >= first_minute
            AND (b.first_id IS NULL OR l.last_id < b.first_id OR l.first_id > b.last_id)
    ),
    missing AS (
        SELECT
            h.start_ts,
            h.end_ts,
            h.last_id - h.first_id + 1 - (
                -- What the exchange does not have either was never to be expected. Rows may overlap.
                SELECT coalesce(sum(upper(absent.ids) - lower(absent.ids)), 0)
                FROM unnest((
                    SELECT range_agg(int8range(greatest(l.first_id, h.first_id), least(l.last_id, h.last_id), '[]'))
                    FROM ledger AS l
                    WHERE l.state = 'absent_at_exchange' AND l.first_id <= h.last_id AND l.last_id >= h.first_id
                )) AS absent (ids)
            ) AS ids
        FROM holes AS h
    ),
    minutes AS (
        SELECT m AS start_ts, m + interval '1 minute' AS end_ts
        FROM generate_series(first_minute, to_ts - interval '1 microsecond', interval '1 minute') AS m
    ),
    counted AS (
        SELECT date_trunc('minute', k.ts, 'UTC') AS start_ts, count(*) AS trades
        FROM known AS k
        WHERE k.ts >= first_minute AND k.ts < to_ts
        GROUP BY 1
    ),
    lacking AS (
        -- A hole over several minutes is spread evenly in time; shares are rounded so that their sum is right.
        SELECT m.start_ts, sum(
            round(h.ids * ops.share_before(m.end_ts, h.start_ts, h.end_ts))
            - round(h.ids * ops.share_before(m.start_ts, h.start_ts, h.end_ts))
        ) AS trades
        FROM minutes AS m JOIN missing AS h ON h.start_ts < m.end_ts AND h.end_ts >= m.start_ts
        WHERE h.ids > 0
        GROUP BY m.start_ts
    )
    SELECT
        m.start_ts,
        coalesce(c.trades, 0) + coalesce(l.trades, 0)::bigint,
        coalesce(c.trades, 0),
        coalesce(l.start_ts IS NULL AND b.oldest < m.start_ts AND b.newest >= m.end_ts, false)
    FROM minutes AS m
    LEFT JOIN counted AS c USING (start_ts)
    LEFT JOIN lacking AS l USING (start_ts)
    CROSS JOIN bounds AS b
    ORDER BY m.start_ts;
END
$$;

CREATE FUNCTION ops.share_before(at timestamptz, start_ts timestamptz, end_ts timestamptz) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT
RETURN CASE
    WHEN at > end_ts THEN 1
    WHEN at <= start_ts THEN 0
    ELSE extract(epoch FROM at - start_ts) / extract(epoch FROM end_ts - start_ts)
END;
COMMENT ON FUNCTION ops.share_before IS 'Which share of the time from start_ts to end_ts lies before a moment';
COMMENT ON FUNCTION ops.completeness IS
    'Trades of a symbol by minute: expected (stored, and what the ids between stored rows and the gap ledger say is missing; without what the exchange has not either), stored, and is_complete: nothing is missing, and rows or a proof of quiet on both sides show it';
