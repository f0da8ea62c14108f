-- What wakes those who listen.

-- Not while the queue, which all databases of the server share, is filled beyond $3: some session listens
-- and does not read, and a full one would refuse the batch itself.
-- name: notify
SELECT pg_notify(n.channel, n.payload)
FROM unnest($1::text[], $2::text[]) AS n (channel, payload)
WHERE (SELECT pg_notification_queue_usage()) < $3::double precision;
