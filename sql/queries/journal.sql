-- Small rows that are not market data. All may be written twice without harm.

-- name: open_feed_session
INSERT INTO ops.feed_sessions (market, feed, shard, url, connected_at, streams)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (market, shard, feed, connected_at) DO NOTHING;

-- Inserts when the opening was dropped or comes later.
-- name: close_feed_session
INSERT INTO ops.feed_sessions
    (market, feed, shard, url, connected_at, streams, closed_at, close_code, reason, messages)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (market, shard, feed, connected_at) DO UPDATE SET
    streams = excluded.streams,
    closed_at = excluded.closed_at,
    close_code = excluded.close_code,
    reason = excluded.reason,
    messages = excluded.messages;

-- name: quarantine
INSERT INTO ops.quarantine (at, market, shard, feed, source, error, payload)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (at, shard, source, sha256(payload)) DO NOTHING;

-- Keeps the newest $1.
-- name: trim_quarantine
DELETE FROM ops.quarantine
WHERE id <= (SELECT q.id FROM ops.quarantine AS q ORDER BY q.id DESC OFFSET $1 LIMIT 1);
