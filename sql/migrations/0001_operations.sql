-- What the service knows about itself: symbols, gaps, freshness, feeds, shards, quarantine.

CREATE SCHEMA ops;
COMMENT ON SCHEMA ops IS 'How the service is doing: freshness, gaps, feeds, shards, and the dimension of symbols';

CREATE TABLE ops.instruments (
    symbol_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    market text NOT NULL,
    symbol text NOT NULL,
    status text NOT NULL,
    base_asset text NOT NULL,
    quote_asset text NOT NULL,
    tick_size numeric,
    step_size numeric,
    first_seen timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (market, symbol)
);
COMMENT ON TABLE ops.instruments IS 'Every symbol that was ever ingested; what market data refer to by symbol_id';
COMMENT ON COLUMN ops.instruments.symbol_id IS 'Ours; stays with the market and symbol for ever';
COMMENT ON COLUMN ops.instruments.status IS 'As the exchange last said, such as TRADING or BREAK';
COMMENT ON COLUMN ops.instruments.tick_size IS 'Smallest step of a price; null when not known';
COMMENT ON COLUMN ops.instruments.step_size IS 'Smallest step of a quantity; null when not known';

CREATE TABLE ops.gaps (
    gap_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    market text NOT NULL,
    symbol text NOT NULL,
    kind text NOT NULL,
    first_id bigint,
    last_id bigint,
    start_ts timestamptz,
    end_ts timestamptz,
    cause text NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'repaired', 'unrepairable', 'absent_at_exchange')),
    rows_repaired bigint NOT NULL DEFAULT 0,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    note text NOT NULL DEFAULT '',
    -- A batch whose outcome is unknown is written again, its gaps with it: they must not double.
    UNIQUE NULLS NOT DISTINCT (market, symbol, kind, opened_at, first_id),
    CHECK ((state = 'open') = (closed_at IS NULL))
);
CREATE INDEX gaps_open ON ops.gaps (market, symbol, kind, first_id) WHERE state = 'open';
COMMENT ON TABLE ops.gaps IS 'Ranges of a stream that are, or were, missing; committed no later than the first row after them';
COMMENT ON COLUMN ops.gaps.first_id IS 'First missing id of the exchange, inclusive; null when the kind has no ids';
COMMENT ON COLUMN ops.gaps.last_id IS 'Last missing id, inclusive; where ids only rise, the range in which something may be missing';
COMMENT ON COLUMN ops.gaps.start_ts IS 'Event time of the last row before the gap; null when not known';
COMMENT ON COLUMN ops.gaps.end_ts IS 'Event time of the first row after the gap; null when not known';
COMMENT ON COLUMN ops.gaps.state IS 'open; repaired: all rows are there; unrepairable: they cannot be had; absent_at_exchange: it has none either';
COMMENT ON COLUMN ops.gaps.opened_at IS 'When the gap was noticed, by the shard''s clock';

CREATE UNLOGGED TABLE ops.stream_state (
    market text NOT NULL,
    symbol text NOT NULL,
    kind text NOT NULL,
    shard integer NOT NULL,
    feed text NOT NULL,
    state text NOT NULL,
    diagnosis text NOT NULL,
    last_event_ts timestamptz,
    last_recv_ts timestamptz,
    last_commit_ts timestamptz,
    threshold_s double precision NOT NULL,
    verified_quiet_at timestamptz,
    reconnects bigint NOT NULL,
    open_gaps bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (market, symbol, kind)
) WITH (
    -- Every row is updated each second: leave room on the page for the new version (HOT), vacuum early.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE ops.stream_state IS 'What ops.stream_freshness reads. Unlogged: empty after a crash of the server, filled again within a second';

CREATE VIEW ops.stream_freshness AS
SELECT
    market,
    symbol,
    kind,
    shard,
    feed,
    state,
    diagnosis,
    last_event_ts,
    last_recv_ts,
    last_commit_ts,
    extract(epoch FROM statement_timestamp() - last_event_ts)::double precision AS age_s,
    threshold_s,
    verified_quiet_at,
    reconnects,
    open_gaps,
    updated_at
FROM ops.stream_state;
COMMENT ON VIEW ops.stream_freshness IS 'Age of the newest committed row of every stream, now. A row whose updated_at is old says that the supervisor is away';
COMMENT ON COLUMN ops.stream_freshness.state IS 'starting, live, suspect, quiet, stale, recovering or halted';
COMMENT ON COLUMN ops.stream_freshness.diagnosis IS 'Why it is not live; empty when it is';
COMMENT ON COLUMN ops.stream_freshness.last_event_ts IS 'Time at the exchange of the newest COMMITTED event; null before the first';
COMMENT ON COLUMN ops.stream_freshness.last_recv_ts IS 'When a message of the stream last left the socket, committed or not, by the shard''s clock';
COMMENT ON COLUMN ops.stream_freshness.last_commit_ts IS 'When a batch with rows of the stream was last committed, by the shard''s clock';
COMMENT ON COLUMN ops.stream_freshness.age_s IS 'Seconds from last_event_ts to now by the server''s clock: the age of the newest row that a query can see';
COMMENT ON COLUMN ops.stream_freshness.threshold_s IS 'The age beyond which the stream is suspect';
COMMENT ON COLUMN ops.stream_freshness.verified_quiet_at IS 'When it was last proved that the exchange has nothing newer either';
COMMENT ON COLUMN ops.stream_freshness.updated_at IS 'When the supervisor last published this row, by the server''s clock';

CREATE TABLE ops.feed_sessions (
    market text NOT NULL,
    feed text NOT NULL,
    shard integer NOT NULL,
    url text NOT NULL,
    connected_at timestamptz NOT NULL,
    closed_at timestamptz,
    close_code integer,
    reason text,
    streams integer NOT NULL,
    messages bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (market, shard, feed, connected_at)
);
CREATE INDEX feed_sessions_connected_at ON ops.feed_sessions (connected_at);
COMMENT ON TABLE ops.feed_sessions IS 'Each websocket connection to the exchange, from opening to closing';
COMMENT ON COLUMN ops.feed_sessions.closed_at IS 'Null while it is open, and for ever when the shard was killed';
COMMENT ON COLUMN ops.feed_sessions.close_code IS 'Of the websocket; null when it ended without one';
COMMENT ON COLUMN ops.feed_sessions.streams IS 'Streams that the feed carried when the row was last written';

CREATE TABLE ops.shards (
    shard integer PRIMARY KEY,
    pid integer,
    state text NOT NULL,
    started_at timestamptz,
    restarts bigint NOT NULL,
    heartbeat_at timestamptz,
    loop_lag_ms double precision,
    rows_committed bigint NOT NULL,
    rows_waiting bigint NOT NULL,
    rows_refused bigint NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE ops.shards IS 'The shard processes, as the supervisor sees them';
COMMENT ON COLUMN ops.shards.pid IS 'Process id on the supervisor''s machine; null while the shard is down';
COMMENT ON COLUMN ops.shards.heartbeat_at IS 'When the shard''s event loop last turned, by its own clock';
COMMENT ON COLUMN ops.shards.loop_lag_ms IS 'How late the event loop came to its last heartbeat';
COMMENT ON COLUMN ops.shards.rows_committed IS 'Since the process started';
COMMENT ON COLUMN ops.shards.rows_waiting IS 'In memory, not yet committed';
COMMENT ON COLUMN ops.shards.rows_refused IS 'Since the process started; rows that found the buffer full and became gaps';

CREATE TABLE ops.quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    market text NOT NULL,
    shard integer NOT NULL,
    feed text NOT NULL,
    source text NOT NULL,
    error text NOT NULL,
    payload bytea NOT NULL
);
-- A row whose outcome is unknown is written again: it must not double.
CREATE UNIQUE INDEX quarantine_once ON ops.quarantine (at, shard, source, sha256(payload));
COMMENT ON TABLE ops.quarantine IS 'Frames that could not be parsed and rows that the server refused, kept for inspection; only the newest';
COMMENT ON COLUMN ops.quarantine.source IS 'frame, or the table that refused the row';
COMMENT ON COLUMN ops.quarantine.payload IS 'The frame, or the encoded row, possibly cut';
