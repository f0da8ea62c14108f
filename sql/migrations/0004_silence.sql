-- What is known about silence: learned rhythms, incidents, the audit against the exchange, and functions
-- that let a query refuse to answer from old data.

ALTER TABLE ops.stream_state ADD COLUMN trades_behind bigint;
COMMENT ON COLUMN ops.stream_state.trades_behind IS 'Trades that the exchange had and we did not, by the newest sweep; null when not compared';

CREATE OR REPLACE VIEW ops.stream_freshness AS
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
    extract(epoch FROM clock_timestamp() - last_event_ts)::double precision AS age_s,
    threshold_s,
    verified_quiet_at,
    reconnects,
    open_gaps,
    updated_at,
    trades_behind
FROM ops.stream_state;
COMMENT ON COLUMN ops.stream_freshness.trades_behind IS 'Trades that the exchange had and we did not, by the newest sweep; null when not compared';

CREATE TABLE ops.stream_rhythms (
    market text NOT NULL,
    symbol text NOT NULL,
    kind text NOT NULL,
    quantiles_s double precision[] NOT NULL,
    gaps bigint[] NOT NULL,
    messages bigint NOT NULL,
    threshold_s double precision NOT NULL,
    explanation text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (market, symbol, kind)
);
COMMENT ON TABLE ops.stream_rhythms IS 'What was learned of each stream''s own rhythm; read at the start, so that a restart does not forget';
COMMENT ON COLUMN ops.stream_rhythms.quantiles_s IS 'A high quantile of the gaps between messages in each of the newest periods, oldest first';
COMMENT ON COLUMN ops.stream_rhythms.gaps IS 'How many gaps each period had';
COMMENT ON COLUMN ops.stream_rhythms.explanation IS 'Why the threshold is what it is, in a sentence';

CREATE TABLE ops.incidents (
    incident text PRIMARY KEY,
    market text NOT NULL,
    shard integer,
    feed text,
    streams text[] NOT NULL,
    diagnosis text NOT NULL,
    evidence text NOT NULL,
    step text NOT NULL,
    story text[] NOT NULL,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX incidents_opened_at ON ops.incidents (opened_at);
CREATE INDEX incidents_open ON ops.incidents (opened_at) WHERE closed_at IS NULL;
COMMENT ON TABLE ops.incidents IS 'What went wrong: which streams, why, what was tried and when; what a killed supervisor left open is closed by the next one';
COMMENT ON COLUMN ops.incidents.incident IS 'Start of the supervisor in microseconds, and a number';
COMMENT ON COLUMN ops.incidents.shard IS 'Null when it concerns the exchange or the database';
COMMENT ON COLUMN ops.incidents.streams IS 'market:SYMBOL:kind; empty when it concerns no single stream';
COMMENT ON COLUMN ops.incidents.story IS 'One line for each thing that was done, with its time';

-- Answers by the clock: a row that nobody has written for a while grows old by itself.
CREATE FUNCTION ops.fresh_until(f ops.stream_state) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
RETURN greatest(f.last_event_ts, f.verified_quiet_at);
COMMENT ON FUNCTION ops.fresh_until IS 'Up to when a stream is known to be complete: its newest committed event, or the newest proof that there is none newer';

CREATE FUNCTION ops.is_fresh(market text, symbol text, kind text, max_age interval) RETURNS boolean
LANGUAGE sql STABLE
RETURN coalesce(
    (
        SELECT clock_timestamp() - ops.fresh_until(f) <= is_fresh.max_age
        FROM ops.stream_state AS f
        WHERE f.market = is_fresh.market AND f.symbol = is_fresh.symbol AND f.kind = is_fresh.kind
    ),
    false
);
COMMENT ON FUNCTION ops.is_fresh IS 'Whether the newest committed event of a stream, or the newest proof that it is quiet, is not older than max_age; false for a stream that is not there';

CREATE FUNCTION ops.require_fresh(market text, symbol text, kind text, max_age interval) RETURNS void
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    found ops.stream_state;
    known timestamptz;
BEGIN
    SELECT f.* INTO found FROM ops.stream_state AS f
    WHERE f.market = require_fresh.market AND f.symbol = require_fresh.symbol AND f.kind = require_fresh.kind;
    IF found.market IS NULL THEN
        RAISE EXCEPTION 'stale data: %:%:% is not ingested, or the service has not run since the database started', market, symbol, kind
            USING ERRCODE = 'ST002';
    END IF;
    known := ops.fresh_until(found);
    IF known IS NULL OR clock_timestamp() - known > max_age THEN
        RAISE EXCEPTION 'stale data: %:%:% is % old, % are allowed; state %, diagnosis %, last looked at %',
            market, symbol, kind,
            coalesce(date_trunc('milliseconds', clock_timestamp() - known)::text, 'without any row and so infinitely'),
            max_age, found.state, coalesce(nullif(found.diagnosis, ''), 'none'), found.updated_at
            USING ERRCODE = 'ST001',
                HINT = 'ops.stream_freshness and ops.incidents tell more; `ingest status` prints them.';
    END IF;
END
$$;
COMMENT ON FUNCTION ops.require_fresh IS 'Raises SQLSTATE ST001 (stale) or ST002 (unknown stream), naming stream, age and diagnosis; for queries that must not answer from old data';
