-- What a signal job asks every second: the newest trade, book ticker and book of one symbol or of all.
--
-- The bounds make a plan touch two or three partitions instead of a hundred: without them all symbols of a plain
-- database with 100 partitions take 400 ms, with them 8. now() and not clock_timestamp(): only what stays the
-- same within a statement lets partitions be left out when it begins.

CREATE VIEW spot.latest_trades AS
SELECT
    i.symbol, newest.trade_id, newest.ts, newest.price, newest.qty, newest.buyer_is_maker, newest.recv_ts,
    extract(epoch FROM clock_timestamp() - newest.ts)::double precision AS age_s
FROM ops.instruments AS i
CROSS JOIN LATERAL (
    SELECT r.trade_id, r.ts, r.price, r.qty, r.buyer_is_maker, r.recv_ts
    FROM spot_raw.trades AS r
    WHERE r.symbol_id = i.symbol_id AND r.ts > now() - interval '1 day' AND r.ts < now() + interval '1 day'
    ORDER BY r.ts DESC, r.trade_id DESC
    LIMIT 1
) AS newest
WHERE i.market = 'spot';
COMMENT ON VIEW spot.latest_trades IS 'The newest trade of each symbol that has traded in the last 24 hours, and its age; spot.latest_trade() looks further back';
COMMENT ON COLUMN spot.latest_trades.age_s IS 'Seconds from ts to now by the server''s clock';

CREATE VIEW spot.latest_book_tickers AS
SELECT
    i.symbol, newest.update_id, newest.ts, newest.bid_price, newest.bid_qty, newest.ask_price, newest.ask_qty,
    newest.recv_ts, extract(epoch FROM clock_timestamp() - newest.ts)::double precision AS age_s
FROM ops.instruments AS i
CROSS JOIN LATERAL (
    SELECT r.update_id, r.ts, r.bid_price, r.bid_qty, r.ask_price, r.ask_qty, r.recv_ts
    FROM spot_raw.book_tickers AS r
    WHERE r.symbol_id = i.symbol_id AND r.ts > now() - interval '1 day' AND r.ts < now() + interval '1 day'
    ORDER BY r.ts DESC, r.update_id DESC
    LIMIT 1
) AS newest
WHERE i.market = 'spot';
COMMENT ON VIEW spot.latest_book_tickers IS 'The newest best bid and ask of each symbol that had any in the last 24 hours, and its age; spot.latest_book_ticker() looks further back';
COMMENT ON COLUMN spot.latest_book_tickers.age_s IS 'Seconds from ts, which is when we received it, to now by the server''s clock';

-- Each row is replaced once a second: room on the page for the new version (HOT), early vacuum, no log.
CREATE UNLOGGED TABLE spot_raw.latest_books (
    ts timestamptz NOT NULL,
    last_update_id bigint NOT NULL,
    published_at timestamptz NOT NULL,
    symbol_id integer PRIMARY KEY,
    shard integer NOT NULL,
    is_live boolean NOT NULL,
    bid_prices numeric[] NOT NULL,
    bid_qtys numeric[] NOT NULL,
    ask_prices numeric[] NOT NULL,
    ask_qtys numeric[] NOT NULL
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE spot_raw.latest_books IS 'What spot.latest_books reads: the top of each book as a shard holds it. Unlogged: empty after a crash of the server, filled again within a second';
COMMENT ON COLUMN spot_raw.latest_books.is_live IS 'False from when the book was lost, or its shard started, until it is right again';

-- A book that stands still is not written again: that its shard still follows it is said here.
CREATE UNLOGGED TABLE spot_raw.book_publishers (
    shard integer PRIMARY KEY,
    published_at timestamptz NOT NULL,
    every_s double precision NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE spot_raw.book_publishers IS 'When each shard last brought spot_raw.latest_books up to date, and how often it does';

CREATE VIEW spot.latest_books AS
SELECT
    i.symbol, b.last_update_id, b.ts, b.bid_prices, b.bid_qtys, b.ask_prices, b.ask_qtys,
    CASE
        WHEN NOT b.is_live THEN 'resyncing'
        WHEN f.updated_at IS NULL OR f.updated_at < clock_timestamp() - interval '15 seconds' THEN 'unknown'
        WHEN p.published_at IS NULL OR p.published_at < clock_timestamp() - make_interval(secs => 2 + 3 * p.every_s)
            THEN 'behind'
        ELSE f.state
    END AS state,
    extract(epoch FROM clock_timestamp() - b.ts)::double precision AS age_s,
    b.published_at
FROM spot_raw.latest_books AS b
JOIN ops.instruments AS i USING (symbol_id)
LEFT JOIN spot_raw.book_publishers AS p ON p.shard = b.shard
LEFT JOIN ops.stream_state AS f ON f.market = i.market AND f.symbol = i.symbol AND f.kind = 'depth';
COMMENT ON VIEW spot.latest_books IS 'The best levels of each book, best first, as of its update last_update_id. To be relied on where state is live or quiet';
COMMENT ON COLUMN spot.latest_books.ts IS 'Time at the exchange of the update last_update_id';
COMMENT ON COLUMN spot.latest_books.state IS 'As in ops.stream_freshness for depth; or resyncing: the book was lost and is not right again yet; behind: its shard has not been able to publish for a while, so there may be newer updates; unknown: nobody has judged the stream for 15 s';
COMMENT ON COLUMN spot.latest_books.age_s IS 'Seconds from ts to now by the server''s clock';
COMMENT ON COLUMN spot.latest_books.published_at IS 'When this version of the row was written; a book that does not change is not written again';

-- These look further back where the last day has nothing. PL/pgSQL keeps their plans for the session.
CREATE FUNCTION spot.latest_trade(symbol text)
RETURNS TABLE (
    trade_id bigint, ts timestamptz, price numeric, qty numeric, buyer_is_maker boolean, recv_ts timestamptz,
    age_s double precision
)
LANGUAGE plpgsql STABLE STRICT ROWS 1
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT n.trade_id, n.ts, n.price, n.qty, n.buyer_is_maker, n.recv_ts, n.age_s
    FROM spot.latest_trades AS n WHERE n.symbol = latest_trade.symbol;
    IF NOT FOUND THEN
        RETURN QUERY
        SELECT
            n.trade_id, n.ts, n.price, n.qty, n.buyer_is_maker, n.recv_ts,
            extract(epoch FROM clock_timestamp() - n.ts)::double precision
        FROM ops.instruments AS i
        CROSS JOIN LATERAL (
            SELECT r.* FROM spot_raw.trades AS r
            WHERE r.symbol_id = i.symbol_id ORDER BY r.ts DESC, r.trade_id DESC LIMIT 1
        ) AS n
        WHERE i.market = 'spot' AND i.symbol = latest_trade.symbol;
    END IF;
END
$$;
COMMENT ON FUNCTION spot.latest_trade IS 'The newest trade of a symbol, however old; no row when there is none, or no such symbol';

CREATE FUNCTION spot.latest_book_ticker(symbol text)
RETURNS TABLE (
    update_id bigint, ts timestamptz, bid_price numeric, bid_qty numeric, ask_price numeric, ask_qty numeric,
    recv_ts timestamptz, age_s double precision
)
LANGUAGE plpgsql STABLE STRICT ROWS 1
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT n.update_id, n.ts, n.bid_price, n.bid_qty, n.ask_price, n.ask_qty, n.recv_ts, n.age_s
    FROM spot.latest_book_tickers AS n WHERE n.symbol = latest_book_ticker.symbol;
    IF NOT FOUND THEN
        RETURN QUERY
        SELECT
            n.update_id, n.ts, n.bid_price, n.bid_qty, n.ask_price, n.ask_qty, n.recv_ts,
            extract(epoch FROM clock_timestamp() - n.ts)::double precision
        FROM ops.instruments AS i
        CROSS JOIN LATERAL (
            SELECT r.* FROM spot_raw.book_tickers AS r
            WHERE r.symbol_id = i.symbol_id ORDER BY r.ts DESC, r.update_id DESC LIMIT 1
        ) AS n
        WHERE i.market = 'spot' AND i.symbol = latest_book_ticker.symbol;
    END IF;
END
$$;
COMMENT ON FUNCTION spot.latest_book_ticker IS 'The newest best bid and ask of a symbol, however old; no row when there is none, or no such symbol';

CREATE FUNCTION spot.latest_book(symbol text)
RETURNS TABLE (
    last_update_id bigint, ts timestamptz, bid_prices numeric[], bid_qtys numeric[], ask_prices numeric[],
    ask_qtys numeric[], state text, age_s double precision, published_at timestamptz
)
LANGUAGE plpgsql STABLE STRICT ROWS 1
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT
        b.last_update_id, b.ts, b.bid_prices, b.bid_qtys, b.ask_prices, b.ask_qtys, b.state, b.age_s,
        b.published_at
    FROM spot.latest_books AS b WHERE b.symbol = latest_book.symbol;
END
$$;
COMMENT ON FUNCTION spot.latest_book IS 'The published top of a symbol''s book, whatever its state; no row when none was published, or there is no such symbol';
