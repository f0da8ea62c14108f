-- Spot market data: physical tables in spot_raw, what readers ask in spot.
--
-- Columns of fixed size stand first, which saves padding; their order is that of the encoded rows
-- (ingest/buffer/tables.py). Prices and quantities are numeric without a scale: as printed, for any
-- precision, with nothing to check. The unique keys hold only what the exchange said, so that a row that
-- arrives twice is the same row; the one exception is a book ticker, whose ts is our receive time because
-- the exchange sends none.

CREATE SCHEMA spot_raw;
COMMENT ON SCHEMA spot_raw IS 'Physical tables of the spot market; may change. Read the views in schema spot instead';
CREATE SCHEMA spot;
COMMENT ON SCHEMA spot IS 'Spot market data as the exchange printed them; the contract with readers';

CREATE TABLE spot_raw.trades (
    ts timestamptz NOT NULL,
    trade_id bigint NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    buyer_is_maker boolean NOT NULL,
    price numeric NOT NULL,
    qty numeric NOT NULL,
    UNIQUE (symbol_id, ts, trade_id)
) PARTITION BY RANGE (ts);

CREATE TABLE spot_raw.agg_trades (
    ts timestamptz NOT NULL,
    agg_trade_id bigint NOT NULL,
    first_trade_id bigint NOT NULL,
    last_trade_id bigint NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    buyer_is_maker boolean NOT NULL,
    price numeric NOT NULL,
    qty numeric NOT NULL,
    UNIQUE (symbol_id, ts, agg_trade_id)
) PARTITION BY RANGE (ts);

CREATE TABLE spot_raw.book_tickers (
    ts timestamptz NOT NULL,
    update_id bigint NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    bid_price numeric NOT NULL,
    bid_qty numeric NOT NULL,
    ask_price numeric NOT NULL,
    ask_qty numeric NOT NULL,
    UNIQUE (symbol_id, ts, update_id)
) PARTITION BY RANGE (ts);

CREATE TABLE spot_raw.depth_deltas (
    ts timestamptz NOT NULL,
    first_update_id bigint NOT NULL,
    final_update_id bigint NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    bid_prices numeric[] NOT NULL,
    bid_qtys numeric[] NOT NULL,
    ask_prices numeric[] NOT NULL,
    ask_qtys numeric[] NOT NULL,
    UNIQUE (symbol_id, ts, final_update_id)
) PARTITION BY RANGE (ts);

CREATE TABLE spot_raw.depth_snapshots (
    ts timestamptz NOT NULL,
    last_update_id bigint NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    bid_prices numeric[] NOT NULL,
    bid_qtys numeric[] NOT NULL,
    ask_prices numeric[] NOT NULL,
    ask_qtys numeric[] NOT NULL,
    reason text NOT NULL,
    UNIQUE (symbol_id, ts, last_update_id)
) PARTITION BY RANGE (ts);

CREATE TABLE spot_raw.klines (
    open_time timestamptz NOT NULL,
    close_time timestamptz NOT NULL,
    -- Beside the contract: says which of two versions of an open candle is the newer.
    event_ts timestamptz NOT NULL,
    recv_ts timestamptz NOT NULL,
    trades bigint NOT NULL,
    symbol_id integer NOT NULL,
    is_closed boolean NOT NULL,
    interval text NOT NULL,
    open numeric NOT NULL,
    high numeric NOT NULL,
    low numeric NOT NULL,
    close numeric NOT NULL,
    volume numeric NOT NULL,
    quote_volume numeric NOT NULL,
    taker_buy_volume numeric NOT NULL,
    taker_buy_quote_volume numeric NOT NULL,
    UNIQUE (symbol_id, interval, open_time)
) PARTITION BY RANGE (open_time);

CREATE TABLE spot_raw.tickers (
    ts timestamptz NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    kind text NOT NULL,
    last_price numeric NOT NULL,
    open numeric NOT NULL,
    high numeric NOT NULL,
    low numeric NOT NULL,
    volume numeric NOT NULL,
    quote_volume numeric NOT NULL,
    price_change numeric,
    price_change_percent numeric,
    weighted_avg_price numeric,
    prev_close_price numeric,
    last_qty numeric,
    bid_price numeric,
    bid_qty numeric,
    ask_price numeric,
    ask_qty numeric,
    open_time timestamptz,
    close_time timestamptz,
    first_trade_id bigint,
    last_trade_id bigint,
    trades bigint,
    UNIQUE (symbol_id, ts, kind)
) PARTITION BY RANGE (ts);

CREATE TABLE spot_raw.avg_prices (
    ts timestamptz NOT NULL,
    last_trade_ts timestamptz NOT NULL,
    recv_ts timestamptz NOT NULL,
    symbol_id integer NOT NULL,
    interval text NOT NULL,
    avg_price numeric NOT NULL,
    UNIQUE (symbol_id, ts, interval)
) PARTITION BY RANGE (ts);

-- The net under the partitions: a row whose day nobody prepared is kept here, and counted.
CREATE TABLE spot_raw.trades_default PARTITION OF spot_raw.trades DEFAULT;
CREATE TABLE spot_raw.agg_trades_default PARTITION OF spot_raw.agg_trades DEFAULT;
CREATE TABLE spot_raw.book_tickers_default PARTITION OF spot_raw.book_tickers DEFAULT;
CREATE TABLE spot_raw.depth_deltas_default PARTITION OF spot_raw.depth_deltas DEFAULT;
CREATE TABLE spot_raw.depth_snapshots_default PARTITION OF spot_raw.depth_snapshots DEFAULT;
CREATE TABLE spot_raw.klines_default PARTITION OF spot_raw.klines DEFAULT;
CREATE TABLE spot_raw.tickers_default PARTITION OF spot_raw.tickers DEFAULT;
CREATE TABLE spot_raw.avg_prices_default PARTITION OF spot_raw.avg_prices DEFAULT;

CREATE VIEW spot.trades AS
SELECT i.symbol, r.trade_id, r.ts, r.price, r.qty, r.buyer_is_maker, r.recv_ts
FROM spot_raw.trades AS r JOIN ops.instruments AS i USING (symbol_id);

CREATE VIEW spot.agg_trades AS
SELECT
    i.symbol, r.agg_trade_id, r.ts, r.price, r.qty, r.first_trade_id, r.last_trade_id, r.buyer_is_maker,
    r.recv_ts
FROM spot_raw.agg_trades AS r JOIN ops.instruments AS i USING (symbol_id);

CREATE VIEW spot.book_tickers AS
SELECT i.symbol, r.update_id, r.ts, r.bid_price, r.bid_qty, r.ask_price, r.ask_qty, r.recv_ts
FROM spot_raw.book_tickers AS r JOIN ops.instruments AS i USING (symbol_id);

CREATE VIEW spot.depth_deltas AS
SELECT
    i.symbol, r.first_update_id, r.final_update_id, r.ts, r.bid_prices, r.bid_qtys, r.ask_prices,
    r.ask_qtys, r.recv_ts
FROM spot_raw.depth_deltas AS r JOIN ops.instruments AS i USING (symbol_id);

CREATE VIEW spot.depth_snapshots AS
SELECT
    i.symbol, r.last_update_id, r.ts, r.bid_prices, r.bid_qtys, r.ask_prices, r.ask_qtys, r.reason,
    r.recv_ts
FROM spot_raw.depth_snapshots AS r JOIN ops.instruments AS i USING (symbol_id);

CREATE VIEW spot.klines AS
SELECT
    i.symbol, r.interval, r.open_time, r.close_time, r.open, r.high, r.low, r.close, r.volume,
    r.quote_volume, r.trades, r.taker_buy_volume, r.taker_buy_quote_volume, r.is_closed, r.recv_ts
FROM spot_raw.klines AS r JOIN ops.instruments AS i USING (symbol_id);

CREATE VIEW spot.tickers AS
SELECT
    i.symbol, r.ts, r.kind, r.last_price, r.open, r.high, r.low, r.volume, r.quote_volume, r.recv_ts,
    r.price_change, r.price_change_percent, r.weighted_avg_price, r.prev_close_price, r.last_qty,
    r.bid_price, r.bid_qty, r.ask_price, r.ask_qty, r.open_time, r.close_time, r.first_trade_id,
    r.last_trade_id, r.trades
FROM spot_raw.tickers AS r JOIN ops.instruments AS i USING (symbol_id);

CREATE VIEW spot.avg_prices AS
SELECT i.symbol, r.ts, r.interval, r.avg_price, r.last_trade_ts, r.recv_ts
FROM spot_raw.avg_prices AS r JOIN ops.instruments AS i USING (symbol_id);

COMMENT ON VIEW spot.trades IS 'Every trade; unique by symbol, ts, trade_id';
COMMENT ON COLUMN spot.trades.ts IS 'Time of the trade at the exchange';
COMMENT ON COLUMN spot.trades.buyer_is_maker IS 'True when the aggressor sold';
COMMENT ON COLUMN spot.trades.recv_ts IS 'When the message left our socket, by the shard''s clock';
COMMENT ON VIEW spot.agg_trades IS 'Trades of one taker order at one price; unique by symbol, ts, agg_trade_id';
COMMENT ON VIEW spot.book_tickers IS 'Best bid and ask at each change; unique by symbol, ts, update_id';
COMMENT ON COLUMN spot.book_tickers.ts IS 'Our receive time: the exchange sends none with this stream';
COMMENT ON VIEW spot.depth_deltas IS 'Changes of the book; unique by symbol, ts, final_update_id';
COMMENT ON COLUMN spot.depth_deltas.bid_prices IS 'One element a level; bid_qtys has the new absolute quantity at the same index';
COMMENT ON COLUMN spot.depth_deltas.bid_qtys IS 'Zero: the level is gone';
COMMENT ON VIEW spot.depth_snapshots IS 'Whole books, best prices first; unique by symbol, ts, last_update_id';
COMMENT ON COLUMN spot.depth_snapshots.last_update_id IS 'The book as it stood after this update';
COMMENT ON COLUMN spot.depth_snapshots.reason IS 'Why it was taken';
COMMENT ON VIEW spot.klines IS 'Candles of the exchange, the newest version of each; unique by symbol, interval, open_time';
COMMENT ON COLUMN spot.klines.is_closed IS 'False while the candle may still change';
COMMENT ON VIEW spot.tickers IS 'Rolling 24 h statistics; unique by symbol, ts, kind';
COMMENT ON COLUMN spot.tickers.kind IS 'mini_ticker or ticker; what follows recv_ts is null for a mini_ticker';
COMMENT ON VIEW spot.avg_prices IS 'Average price over an interval; unique by symbol, ts, interval';
COMMENT ON COLUMN spot.avg_prices.last_trade_ts IS 'Time at the exchange of the last trade in the average';
