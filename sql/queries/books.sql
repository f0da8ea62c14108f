-- What is asked of the books of the past; every reader may.

-- name: newest_snapshot
SELECT
    s.last_update_id,
    s.ts,
    s.bid_prices::text[],
    s.bid_qtys::text[],
    s.ask_prices::text[],
    s.ask_qtys::text[],
    s.reason,
    s.recv_ts,
    s.bids_known_from::text,
    s.asks_known_to::text
FROM spot.depth_snapshots AS s
WHERE
    s.symbol_id = (SELECT i.symbol_id FROM ops.instruments AS i WHERE i.market = $1 AND i.symbol = $2)
    AND s.ts <= $3
ORDER BY s.ts DESC, s.last_update_id DESC
LIMIT 1;

-- name: next_snapshot
SELECT s.last_update_id AS update_id, s.ts
FROM spot.depth_snapshots AS s
WHERE
    s.symbol_id = (SELECT i.symbol_id FROM ops.instruments AS i WHERE i.market = $1 AND i.symbol = $2)
    AND s.ts > $3
ORDER BY s.ts, s.last_update_id
LIMIT 1;

-- name: next_depth_delta
SELECT d.first_update_id AS update_id, d.ts
FROM spot.depth_deltas AS d
WHERE
    d.symbol_id = (SELECT i.symbol_id FROM ops.instruments AS i WHERE i.market = $1 AND i.symbol = $2)
    AND d.ts > $3
ORDER BY d.ts, d.final_update_id
LIMIT 1;

-- The newest moment of which anything is stored of a book.
-- name: newest_book_ts
SELECT greatest(
    (
        SELECT d.ts FROM spot.depth_deltas AS d
        WHERE d.symbol_id = i.symbol_id
        ORDER BY d.ts DESC LIMIT 1
    ),
    (
        SELECT s.ts FROM spot.depth_snapshots AS s
        WHERE s.symbol_id = i.symbol_id
        ORDER BY s.ts DESC LIMIT 1
    )
)
FROM ops.instruments AS i
WHERE i.market = $1 AND i.symbol = $2;

-- What the ledger says of the updates $3 to $4 of a book, or of the time $5 where it names no updates.
-- name: gaps_of_book
SELECT gap_id, first_id, last_id, start_ts, end_ts, cause, state
FROM ops.gaps
WHERE
    market = $1
    AND symbol = $2
    AND kind = 'depth'
    AND state <> 'repaired'
    AND (
        (last_id >= $3 AND first_id <= $4)
        OR (first_id IS NULL AND start_ts < $5 AND end_ts > $5)
    )
ORDER BY first_id, gap_id;

-- $5 bounds the search by time: somewhat before the snapshot's, because a snapshot is dated by our clock
-- and a delta by the exchange's.
-- name: deltas_after_snapshot
SELECT
    d.first_update_id,
    d.final_update_id,
    d.ts,
    d.bid_prices::text[],
    d.bid_qtys::text[],
    d.ask_prices::text[],
    d.ask_qtys::text[],
    d.recv_ts
FROM spot.depth_deltas AS d
WHERE
    d.symbol_id = (SELECT i.symbol_id FROM ops.instruments AS i WHERE i.market = $1 AND i.symbol = $2)
    AND d.ts BETWEEN $5 AND $3
    AND d.final_update_id > $4
ORDER BY d.final_update_id;
