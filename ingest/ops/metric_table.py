"""The one table of metric names: what is exported, in which unit, with which labels.

`metrics` exports these and nothing else. Names follow Prometheus' rules: base units, `_total` on
counters. Labels are bounded by the plan (shards, feeds, markets, kinds) and by lists of fixed words
(states, diagnoses, steps, reasons); the only metrics with a symbol label stand in `PER_STREAM_METRICS`
and are exported only when asked for.

Counters of shards begin at zero with each start of their shard, which is why all of them carry the
shard's number: a reset must be seen as one by whoever sums them up. Counters without a shard begin at
zero with the supervisor.

`markdown_table` gives the table that the README shows; a test compares the two.
"""

from typing import Literal, NamedTuple, TypeAlias

MetricType: TypeAlias = Literal["gauge", "counter"]
Unit: TypeAlias = Literal["", "seconds", "bytes"]


class MetricRow(NamedTuple):
    name: str
    type: MetricType
    unit: Unit
    labels: tuple[str, ...]
    help: str


_SHARD = ("shard",)
_FEED = ("shard", "feed")
_PAIR = ("shard", "other")
_GROUP = ("shard", "market", "kind")
_STREAM = ("market", "symbol", "kind")


def _gauge(name: str, labels: tuple[str, ...], text: str, unit: Unit = "") -> MetricRow:
    return MetricRow(name, "gauge", unit, labels, text)


def _counter(name: str, labels: tuple[str, ...], text: str, unit: Unit = "") -> MetricRow:
    return MetricRow(name, "counter", unit, labels, text)


SERVICE_METRICS = (
    _gauge("ingest_ready", (), "1 when schema, shards and database allow the service to do its work."),
    _gauge("ingest_fresh", (), "1 when no stream that counts is past its threshold."),
    _gauge(
        "ingest_candle_lag_seconds", (), "Longest wait of stored trades to come into the candles.", "seconds"
    ),
    _gauge("ingest_candle_backlog", (), "Pieces of history that are not in the candles yet."),
)

SHARD_METRICS = (
    _gauge("ingest_shard_up", _SHARD, "1 when the process runs and its event loop turns."),
    _counter("ingest_shard_restarts_total", _SHARD, "Restarts by this supervisor."),
    _gauge("ingest_shard_crash_looping", _SHARD, "1 from too many restarts in a minute until a good run."),
)

BOARD_METRICS = (
    _gauge("ingest_shard_start_time_seconds", _SHARD, "Start of the process, since the epoch.", "seconds"),
    _gauge("ingest_shard_heartbeat_age_seconds", _SHARD, "Time since the event loop turned.", "seconds"),
    _gauge("ingest_shard_loop_lag_seconds", _SHARD, "How late the newest heartbeat came.", "seconds"),
    _gauge("ingest_shard_loop_lag_max_seconds", _SHARD, "Highest lag since the tick before.", "seconds"),
    _gauge("ingest_shard_tasks", _SHARD, "Tasks of the event loop."),
    _counter("ingest_shard_frames_total", _SHARD, "Websocket data frames received."),
    _counter("ingest_shard_received_bytes_total", _SHARD, "Payload bytes received.", "bytes"),
    _counter("ingest_shard_malformed_frames_total", _SHARD, "Frames that no parser understood."),
    _gauge("ingest_shard_buffered_rows", _SHARD, "Rows that are not committed yet."),
    _gauge("ingest_shard_buffered_bytes", _SHARD, "Bytes of the rows not committed yet.", "bytes"),
    _gauge("ingest_shard_buffer_age_seconds", _SHARD, "Age of the oldest row not committed yet.", "seconds"),
    _counter("ingest_shard_refused_rows_total", _SHARD, "Rows for which the full buffer had no room."),
    _counter("ingest_shard_committed_rows_total", _SHARD, "Rows committed."),
    _counter("ingest_shard_committed_batches_total", _SHARD, "Batches committed."),
    _counter("ingest_shard_write_conflicts_total", _SHARD, "Batches that a unique key refused at first."),
    _counter("ingest_shard_store_errors_total", _SHARD, "Writes that the database did not take."),
    _gauge("ingest_shard_commit_latency_last_seconds", _SHARD, "Receive to commit, newest batch.", "seconds"),
    _gauge("ingest_shard_commit_latency_p50_seconds", _SHARD, "Receive to commit, median.", "seconds"),
    _gauge(
        "ingest_shard_commit_latency_p99_seconds", _SHARD, "Receive to commit, 99th percentile.", "seconds"
    ),
    _gauge("ingest_shard_books_live", _SHARD, "Order books that are known to be right."),
    _gauge("ingest_shard_books_wanted", _SHARD, "Order books in the plan."),
    _gauge("ingest_shard_books_shallow", _SHARD, "Live books known less deep than they shall be."),
    _counter("ingest_shard_book_audits_total", _SHARD, "Live books compared with the exchange's."),
    _counter("ingest_shard_book_audits_differing_total", _SHARD, "Those that differed in any level."),
    _counter(
        "ingest_shard_book_audits_inconclusive_total",
        _SHARD,
        "Looks that could not be compared.",
    ),
    _counter("ingest_shard_book_audit_levels_total", _SHARD, "Levels of books that were compared."),
    _counter("ingest_shard_book_audit_mismatches_total", _SHARD, "Those levels that differed."),
    _counter("ingest_shard_snapshots_fetched_total", _SHARD, "Depth snapshots fetched by REST."),
    _gauge("ingest_shard_snapshots_waiting", _SHARD, "Depth snapshots waiting for request weight."),
    _gauge("ingest_shard_rest_weight_used", _SHARD, "Request weight used in the running minute."),
    _gauge("ingest_shard_database_up", _SHARD, "1 when the shard's writer can commit."),
    _gauge("ingest_shard_spool_rows", _SHARD, "Rows that wait on the disk for the database."),
    _gauge("ingest_shard_spool_bytes", _SHARD, "What they take there.", "bytes"),
    _gauge("ingest_shard_spool_age_seconds", _SHARD, "Age of the oldest row on the disk.", "seconds"),
    _gauge("ingest_shard_spool_full", _SHARD, "1 while the disk takes no more: memory fills, then gaps."),
    _counter("ingest_shard_spooled_rows_total", _SHARD, "Rows that went to the disk."),
    _counter("ingest_shard_spool_damaged_batches_total", _SHARD, "Batches that the disk did not give back."),
    _gauge("ingest_shard_repairs_waiting", _SHARD, "Gaps that REST shall close."),
    _counter("ingest_shard_repair_pages_total", _SHARD, "Pages of history asked for by repairs."),
    _counter("ingest_shard_repaired_rows_total", _SHARD, "Rows that repairs have stored."),
    _counter("ingest_shard_repairs_closed_total", _SHARD, "Gaps that repairs have closed."),
    _counter("ingest_shard_repair_failures_total", _SHARD, "Pages of repairs that were not had or stored."),
)

FEED_METRICS = (
    _gauge("ingest_feed_live", _FEED, "1 when the websocket is connected and subscribed."),
    _gauge("ingest_feed_last_frame_age_seconds", _FEED, "Time since any frame, pings included.", "seconds"),
    _gauge("ingest_feed_last_data_age_seconds", _FEED, "Time since market data came.", "seconds"),
    _gauge("ingest_feed_last_ping_age_seconds", _FEED, "Time since the exchange's ping.", "seconds"),
    _counter("ingest_feed_messages_total", _FEED, "Market data messages received."),
    _counter(
        "ingest_feed_reconnects_total",
        (*_FEED, "reason"),
        "Connections that ended, and attempts that failed (handshake).",
    ),
    _gauge("ingest_feed_streams", _FEED, "Streams planned on the feed."),
    _gauge("ingest_feed_silent_streams", _FEED, "Streams that have not produced a message on it."),
    _gauge("ingest_feed_connections", _FEED, "Open connections: 2 while one hands over to the next."),
    _gauge("ingest_feed_pong_latency_seconds", _FEED, "From the newest ping to our pong.", "seconds"),
)

STREAM_METRICS = (
    _gauge("ingest_streams", (*_GROUP, "state"), "Streams by state."),
    _gauge("ingest_stream_age_max_seconds", _GROUP, "Age of the newest committed row, worst.", "seconds"),
    _gauge("ingest_stream_threshold_min_seconds", _GROUP, "Silence that makes suspect, shortest.", "seconds"),
    _gauge("ingest_stream_threshold_max_seconds", _GROUP, "Silence that makes suspect, longest.", "seconds"),
    _gauge("ingest_stream_open_gaps", _GROUP, "Gaps in the ledger that are still open."),
    _counter("ingest_stream_messages_total", _GROUP, "Messages received."),
    _counter("ingest_stream_duplicates_total", _GROUP, "Messages dropped because they had come before."),
    _counter("ingest_stream_gaps_opened_total", _GROUP, "Gaps found."),
    _counter("ingest_stream_refused_rows_total", _GROUP, "Rows for which the full buffer had no room."),
    _counter("ingest_stream_reconnects_total", _GROUP, "Times that a stream was broken off."),
)

VIGIL_METRICS = (
    _gauge("ingest_incidents_open", ("diagnosis",), "Incidents that are not over."),
    _counter("ingest_incidents_total", ("diagnosis",), "Incidents opened."),
    _counter("ingest_incident_writes_dropped_total", (), "Records the full queue had no room for."),
    _counter("ingest_ladder_steps_total", ("step",), "Steps of repair that were begun."),
    _counter("ingest_witness_verdicts_total", ("verdict",), "What the witness said of suspects."),
    _gauge("ingest_sweep_age_seconds", (), "Time since a sweep was answered.", "seconds"),
    _gauge("ingest_sweep_symbols", (), "Symbols that the newest sweep could compare."),
    _gauge("ingest_sweep_symbols_behind", (), "Those of them that lack trades."),
    _gauge("ingest_sweep_trades_behind", (), "Trades that the exchange has and we do not, all symbols."),
    _gauge("ingest_sweep_trades_behind_max", (), "The same of the symbol that lacks most."),
    _gauge("ingest_exchange_rest_up", (), "1 when the exchange answered the newest question by REST."),
    _gauge("ingest_clock_offset_seconds", (), "Our clock minus the exchange's.", "seconds"),
    _gauge("ingest_rest_banned_seconds", (), "Time until REST may be asked; 0 when it may.", "seconds"),
    _gauge("ingest_budget_used", ("budget",), "Used of this address's share within its window."),
    _gauge("ingest_budget_limit", ("budget",), "The share itself."),
    _counter("ingest_line_first_total", _PAIR, "Looks at a stream at which this shard's line was first."),
    _counter("ingest_line_lead_seconds_total", _PAIR, "By how much it was, added up.", "seconds"),
    _counter("ingest_line_repairs_total", (), "Orders to lines that were behind the other one."),
    _counter("ingest_line_gaps_closed_total", (), "Gaps of one line that the other one had."),
    _counter("ingest_line_gaps_trimmed_total", (), "Gaps of one line that the other one had in part."),
    _gauge("ingest_table_age_seconds", (), "Time since the freshness table was written.", "seconds"),
)

ALERT_METRICS = (
    _gauge("ingest_alerts_standing", (), "Alerts that somebody was told of and that are not over."),
    _gauge("ingest_alerts_held_back", (), "Notices that wait for the rate limit."),
    _gauge("ingest_alert_letters_waiting", (), "Letters on their way, over all places."),
    _counter("ingest_alert_letters_delivered_total", (), "Letters that a place has taken."),
    _counter("ingest_alert_letters_given_up_total", (), "Letters that no retry could deliver."),
    _counter("ingest_alert_letters_dropped_total", (), "Letters that a full queue had no room for."),
    _counter("ingest_alert_attempts_failed_total", (), "Attempts to deliver that failed."),
)

STORAGE_METRICS = (
    _gauge("ingest_table_bytes", ("table",), "Disk space of a table, all its parts and indexes.", "bytes"),
    _gauge("ingest_disk_free_bytes", ("disk",), "Free for the spool, and the embedded database.", "bytes"),
    _gauge("ingest_disk_full_in_seconds", (), "Forecast for the embedded database; +Inf: never.", "seconds"),
)

PER_STREAM_METRICS = (
    _gauge("ingest_stream_age_seconds", _STREAM, "Age of the newest committed row.", "seconds"),
    _gauge("ingest_stream_threshold_seconds", _STREAM, "Silence that makes it suspect.", "seconds"),
    _gauge("ingest_book_known_levels", ("market", "symbol", "side"), "Levels of a live book that are known."),
)

METRICS = (
    *SERVICE_METRICS,
    *SHARD_METRICS,
    *BOARD_METRICS,
    *FEED_METRICS,
    *STREAM_METRICS,
    *VIGIL_METRICS,
    *ALERT_METRICS,
    *STORAGE_METRICS,
    *PER_STREAM_METRICS,
)


def markdown_table() -> str:
    """The table for people, one line for each metric."""
    head = ("| metric | type | unit | labels | what it says |", "|---|---|---|---|---|")
    return "\n".join([*head, *(_markdown_row(row) for row in METRICS)])


def _markdown_row(row: MetricRow) -> str:
    labels = ", ".join(row.labels)
    note = " Only with `per_stream_metrics`." if row in PER_STREAM_METRICS else ""
    return f"| `{row.name}` | {row.type} | {row.unit or '1'} | {labels} | {row.help}{note} |"
