-- What the dead man's switch asks: one row, whatever the table holds. Ages by this server's clock.

-- name: deadman_facts
SELECT
    count(*) AS streams,
    clock_timestamp() AS now,
    extract(epoch FROM clock_timestamp() - max(updated_at))::double precision AS table_age_s,
    -- The older of the two: an event from the future, or a commit dated by a wrong clock, hides nothing.
    extract(epoch FROM clock_timestamp() - least(max(last_event_ts), max(last_commit_ts)))::double precision
        AS event_age_s
FROM ops.stream_freshness;
