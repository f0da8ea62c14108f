-- The tables that the peers fill, in a server of their own; what the peer before has left is dropped.

-- As a first design has them. They have no key and no index, which costs the server the least.
-- name: naive
DROP SCHEMA public CASCADE;
CREATE SCHEMA public;
CREATE TABLE trades (
    symbol text,
    trade_id bigint,
    price double precision,
    qty double precision,
    is_buyer_maker boolean,
    traded_at timestamptz
);
CREATE TABLE book_tickers (
    symbol text,
    update_id bigint,
    bid_price double precision,
    bid_qty double precision,
    ask_price double precision,
    ask_qty double precision
);
CREATE TABLE depth (
    symbol text,
    first_update_id bigint,
    final_update_id bigint,
    bids jsonb,
    asks jsonb,
    event_at timestamptz
);

-- With the columns, types and serial keys that cryptofeed's backend writes to without being told otherwise.
-- name: cryptofeed
DROP SCHEMA public CASCADE;
CREATE SCHEMA public;
CREATE TABLE trades (
    id serial PRIMARY KEY,
    timestamp timestamp,
    receipt_timestamp timestamp,
    exchange varchar(32),
    symbol varchar(32),
    side varchar(8),
    amount numeric(64, 32),
    price numeric(64, 32),
    trade_id varchar(64),
    order_type varchar(32)
);
CREATE TABLE ticker (
    id serial PRIMARY KEY,
    timestamp timestamp,
    receipt_timestamp timestamp,
    exchange varchar(32),
    symbol varchar(32),
    bid numeric(64, 32),
    ask numeric(64, 32)
);
CREATE TABLE book (
    id serial PRIMARY KEY,
    timestamp timestamp,
    receipt_timestamp timestamp,
    exchange varchar(32),
    symbol varchar(32),
    data jsonb
);
