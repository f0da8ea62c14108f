"""When each alert fires, and when not yet: series that replace those of a service that is well.

Series are in promtool's notation, one value each quarter of a minute: `0+1x40` counts up by one forty times,
`_x40` is not there, `7x40` stays. Times are minutes since the first value.
"""

from typing import NamedTuple

PLACE = 'instance="ingest-0:8080",job="ingest"'
LONG = 500
"""Values: two hours and a bit."""


def series(name: str, *labels: str) -> str:
    """The name of a series of the one instance."""
    return f"{name}{{{','.join((PLACE, *labels))}}}"


def on_shard(name: str, *labels: str) -> str:
    return series(f"ingest_shard_{name}", 'shard="0"', *labels)


def on_feed(name: str, *labels: str) -> str:
    return series(f"ingest_feed_{name}", 'feed="1"', 'shard="0"', *labels)


def trades(name: str, *labels: str) -> str:
    return series(name, 'kind="trade"', 'market="spot"', 'shard="0"', *labels)


def in_state(state: str) -> str:
    return trades("ingest_streams", f'state="{state}"')


def incidents(diagnosis: str) -> str:
    return series("ingest_incidents_open", f'diagnosis="{diagnosis}"')


def job(name: str, *labels: str) -> str:
    return f"{name}{{{','.join(labels)}}}"


MIGRATION = job("kube_job_status_failed", 'job_name="ingest-migrate"')
MADE = job("kube_cronjob_created", 'cronjob="ingest-deadman"')
DEADMAN = job("kube_cronjob_status_last_successful_time", 'cronjob="ingest-deadman"')
LETTERS = ("ingest_alert_letters_given_up_total", "ingest_alert_letters_dropped_total")
_STEADY = f"0+0x{LONG}"

WELL: dict[str, str] = {
    f"up{{{PLACE}}}": f"1x{LONG}",
    series("ingest_ready"): f"1x{LONG}",
    series("ingest_fresh"): f"1x{LONG}",
    series("ingest_candle_lag_seconds"): f"2x{LONG}",
    series("ingest_table_age_seconds"): f"1x{LONG}",
    series("ingest_sweep_age_seconds"): f"30x{LONG}",
    series("ingest_sweep_symbols_behind"): f"0x{LONG}",
    series("ingest_exchange_rest_up"): f"1x{LONG}",
    series("ingest_rest_banned_seconds"): f"0x{LONG}",
    series("ingest_clock_offset_seconds"): f"0.02x{LONG}",
    series("ingest_disk_full_in_seconds"): f"1e18x{LONG}",
    series("ingest_incident_writes_dropped_total"): _STEADY,
    **{series(name): _STEADY for name in LETTERS},
    **{series("ingest_disk_free_bytes", f'disk="{disk}"'): f"5e10x{LONG}" for disk in ("spool", "database")},
    **{series("ingest_budget_used", f'budget="{name}"'): f"100x{LONG}" for name in ("connects", "weight")},
    **{series("ingest_budget_limit", f'budget="{name}"'): f"1000x{LONG}" for name in ("connects", "weight")},
    **{incidents(diagnosis): f"0x{LONG}" for diagnosis in ("stream_silent", "exchange_down")},
    in_state("live"): f"95x{LONG}",
    in_state("quiet"): f"5x{LONG}",
    in_state("halted"): f"40x{LONG}",
    in_state("stale"): f"0x{LONG}",
    in_state("recovering"): f"0x{LONG}",
    trades("ingest_stream_open_gaps"): f"0x{LONG}",
    trades("ingest_stream_messages_total"): f"0+1500x{LONG}",
    on_shard("up"): f"1x{LONG}",
    on_shard("restarts_total"): _STEADY,
    on_shard("crash_looping"): f"0x{LONG}",
    on_shard("loop_lag_max_seconds"): f"0.02x{LONG}",
    on_shard("malformed_frames_total"): _STEADY,
    on_shard("buffer_age_seconds"): f"0.2x{LONG}",
    on_shard("refused_rows_total"): _STEADY,
    on_shard("committed_rows_total"): f"0+1500x{LONG}",
    on_shard("store_errors_total"): _STEADY,
    on_shard("commit_latency_p99_seconds"): f"0.3x{LONG}",
    on_shard("database_up"): f"1x{LONG}",
    on_shard("books_live"): f"50x{LONG}",
    on_shard("books_wanted"): f"50x{LONG}",
    on_shard("book_audits_total"): f"0+1x{LONG}",
    on_shard("book_audits_differing_total"): _STEADY,
    on_shard("spool_rows"): f"0x{LONG}",
    on_shard("spool_bytes"): f"0x{LONG}",
    on_shard("spool_full"): f"0x{LONG}",
    on_shard("spool_damaged_batches_total"): _STEADY,
    on_shard("repairs_waiting"): f"0x{LONG}",
    on_shard("repair_pages_total"): _STEADY,
    on_feed("live"): f"1x{LONG}",
    on_feed("last_data_age_seconds"): f"0.1x{LONG}",
    on_feed("reconnects_total", 'reason="connection_lost"'): _STEADY,
    # A connection a minute, all of them planned: no trouble.
    on_feed("reconnects_total", 'reason="rotation"'): f"0+1x{LONG}",
    MIGRATION: f"0x{LONG}",
    DEADMAN: f"0+15x{LONG}",
    MADE: f"0x{LONG}",
}


class Case(NamedTuple):
    """At `fires_min` people read `summary`, with these severities; at `not_yet_min` nobody is told."""

    alert: str
    severities: str
    changed: dict[str, str]
    not_yet_min: float
    fires_min: float
    summary: str
    labels: str = PLACE


SHARD = f'{PLACE},shard="0"'
FEED = f'{PLACE},feed="1",shard="0"'
KIND = f'{PLACE},kind="trade",market="spot"'

CASES = (
    Case(
        "MetricsAbsent",
        "critical",
        {series("ingest_ready"): "1x8 _x100"},
        4,
        10,
        "Nothing is heard of the service: nobody knows whether data come in",
        labels="",
    ),
    Case(
        "MetricsAbsent",
        "critical",
        {f"up{{{PLACE}}}": "1x8 0x100"},
        4,
        10,
        "Nothing is heard of the service: nobody knows whether data come in",
    ),
    Case(
        "ServiceNotReady",
        "critical",
        {series("ingest_ready"): "1x3 0x100"},
        2.5,
        4,
        "The service cannot do its work",
    ),
    Case(
        "DataNotFresh",
        "warning",
        {series("ingest_fresh"): "1x3 0x100"},
        5,
        7,
        "Some data have not been fresh for five minutes",
    ),
    Case(
        "StreamStale",
        "warning",
        {in_state("stale"): "0x3 2x100"},
        1.5,
        3,
        "2 trade streams are stale",
        labels=KIND,
    ),
    Case(
        "StaleShare",
        "warning",
        {in_state("live"): "88x100", in_state("stale"): "4x100", in_state("recovering"): "3x100"},
        0.25,
        1,
        "7% of the streams are stale",
    ),
    Case(
        "StaleShare",
        "warning critical",
        {in_state("live"): "65x100", in_state("stale"): "30x100"},
        0.25,
        1,
        "30% of the streams are stale",
    ),
    Case(
        "TableNotWritten",
        "critical",
        {series("ingest_table_age_seconds"): "1x3 1+15x100"},
        1.25,
        2,
        "The freshness table has not been written for 1m 1s",
    ),
    Case(
        "IncidentLasts",
        "warning",
        {incidents("stream_silent"): "1x200"},
        29,
        31,
        "1 incidents are not over after half an hour",
    ),
    Case(
        "IncidentRecordsLost",
        "warning",
        {series("ingest_incident_writes_dropped_total"): "0x20 4x100"},
        5,
        6,
        "Records of incidents could not be written and are lost",
    ),
    Case(
        "SweepOverdue",
        "warning",
        {series("ingest_sweep_age_seconds"): "0+15x200"},
        10.5,
        12,
        "The trades have not been compared with the exchange's for 12m 0s",
    ),
    Case(
        "TradesBehind",
        "warning",
        {series("ingest_sweep_symbols_behind"): "0x3 3x100"},
        14,
        17,
        "3 symbols lack trades that the exchange has, sweep after sweep",
    ),
    Case(
        "ExchangeDown",
        "critical",
        {incidents("exchange_down"): "0x3 1x100"},
        1,
        2,
        "The whole exchange stands still",
        labels=f'{PLACE},diagnosis="exchange_down"',
    ),
    Case(
        "ExchangeRestDown",
        "warning",
        {series("ingest_exchange_rest_up"): "1x3 0x100"},
        5,
        7,
        "The exchange does not answer by REST",
    ),
    Case(
        "RestBanned",
        "warning",
        {series("ingest_rest_banned_seconds"): "0x3 120-15x8 0x100"},
        0.5,
        1,
        "The exchange refuses this address for another 2m 0s (HTTP 418 or 429)",
    ),
    Case(
        "RestBanned",
        "warning critical",
        {series("ingest_rest_banned_seconds"): "0x3 1200-15x80"},
        0.5,
        1,
        "The exchange refuses this address for another 20m 0s (HTTP 418 or 429)",
    ),
    Case(
        "BudgetNearlyUsed",
        "warning",
        {series("ingest_budget_used", 'budget="weight"'): "980x100"},
        9,
        11,
        "98% of our share of the exchange's weight is used",
        labels=f'{PLACE},budget="weight"',
    ),
    Case(
        "ClockOffset",
        "warning",
        {series("ingest_clock_offset_seconds"): "0x3 -2x100"},
        1,
        2.5,
        "The clock is 2s off the exchange's",
    ),
    Case(
        "ClockOffset",
        "warning critical",
        {series("ingest_clock_offset_seconds"): "0x3 3600x100"},
        0.75,
        2,
        "The clock is 1h 0m 0s off the exchange's",
    ),
    Case(
        "FeedReconnects",
        "warning",
        {on_feed("reconnects_total", 'reason="connection_lost"'): "0+1x100"},
        1,
        10,
        "Feed 1 of shard 0 keeps connecting and dropping: 40 times in ten minutes",
        labels=FEED,
    ),
    Case(
        "FeedDown",
        "warning",
        {on_feed("live"): "1x3 0x100"},
        2,
        4,
        "Feed 1 of shard 0 has had no connection for two minutes",
        labels=FEED,
    ),
    Case(
        "FeedSilent",
        "warning",
        {on_feed("last_data_age_seconds"): "0+15x100"},
        2.5,
        4,
        "Feed 1 of shard 0 has been connected for 4m 0s and brings nothing",
        labels=FEED,
    ),
    Case(
        "ShardDown",
        "critical",
        {on_shard("up"): "1x3 0x100"},
        1.5,
        3,
        "Shard 0 is down, or its loop stands",
        labels=SHARD,
    ),
    Case(
        "ShardRestarts",
        "warning",
        {on_shard("restarts_total"): "0x4 1x4 2x4 3x4 4x100"},
        2,
        6,
        "Shard 0 was restarted 4 times in ten minutes",
        labels=SHARD,
    ),
    Case(
        "ShardQuarantined",
        "critical",
        {on_shard("crash_looping"): "0x3 1x100"},
        0.5,
        1,
        "Shard 0 is in quarantine",
        labels=SHARD,
    ),
    Case(
        "ShardFallsBehind",
        "warning",
        {on_shard("loop_lag_max_seconds"): "0x3 2x100"},
        5,
        7,
        "Shard 0 does not keep up: its loop is 2s late",
        labels=SHARD,
    ),
    Case(
        "AlertsNotDelivered",
        "warning",
        {series(LETTERS[0]): "0x8 3x100"},
        1,
        3,
        "Alerts of the service itself did not reach everybody they were for",
    ),
    Case(
        "AlertsNotDelivered",
        "warning",
        {series(LETTERS[1]): "0x8 3x100"},
        1,
        3,
        "Alerts of the service itself did not reach everybody they were for",
    ),
    Case(
        "DatabaseStalled",
        "critical",
        {on_shard("database_up"): "1x3 0x100"},
        1,
        2,
        "The database takes no rows of shard 0",
        labels=SHARD,
    ),
    Case(
        "DatabaseStalled",
        "critical",
        {on_shard("buffer_age_seconds"): "0+15x100"},
        0.75,
        2,
        "The database takes no rows of shard 0",
        labels=SHARD,
    ),
    Case(
        "CommitsSlow",
        "warning",
        {on_shard("commit_latency_p99_seconds"): "0x3 12x100"},
        5,
        7,
        "Rows of shard 0 take 12s from socket to table (p99)",
        labels=SHARD,
    ),
    Case(
        "StoreErrors",
        "warning",
        {on_shard("store_errors_total"): "0x3 0+1x100"},
        10,
        13,
        "The database keeps refusing writes of shard 0",
        labels=SHARD,
    ),
    Case(
        "SpoolGrowing",
        "warning",
        {on_shard("spool_rows"): "0x3 500+500x100", on_shard("spool_bytes"): "0x3 50000+50000x100"},
        5,
        10,
        "18.5k rows of shard 0 wait on the disk, and their number grows",
        labels=SHARD,
    ),
    Case(
        "SpoolFull",
        "critical",
        {on_shard("spool_full"): "0x3 1x100"},
        0.5,
        1,
        "The spool of shard 0 takes no more: memory fills, then rows are lost",
        labels=SHARD,
    ),
    Case(
        "SpoolDamaged",
        "warning",
        {on_shard("spool_damaged_batches_total"): "0x60 2x100"},
        15,
        20,
        "The disk did not give back 2 batches of shard 0's spool",
        labels=SHARD,
    ),
    Case(
        "RowsRefused",
        "critical",
        {on_shard("refused_rows_total"): "0x8 900x100"},
        1,
        3,
        "Rows of shard 0 find no room and are lost",
        labels=SHARD,
    ),
    Case(
        "FramesMalformed",
        "warning",
        {on_shard("malformed_frames_total"): "0x8 1x100"},
        1,
        3,
        "Shard 0 received frames that it cannot read",
        labels=SHARD,
    ),
    Case(
        "DiskFillsUp",
        "warning",
        {series("ingest_disk_full_in_seconds"): "172800x200"},
        29,
        31,
        "The database's disk is full in 2d 0h 0m 0s",
    ),
    Case(
        "DiskFillsUp",
        "critical",
        {series("ingest_disk_full_in_seconds"): "7200x200"},
        4,
        6,
        "The database's disk is full in 2h 0m 0s",
    ),
    Case(
        "DiskLow",
        "critical",
        {series("ingest_disk_free_bytes", 'disk="spool"'): "1073741824x100"},
        0.5,
        2,
        "1GiB are left on the disk of the spool",
        labels=f'{PLACE},disk="spool"',
    ),
    Case(
        "GapsStayOpen",
        "warning",
        {trades("ingest_stream_open_gaps"): f"2x{LONG}"},
        59,
        121,
        "2 gaps of trade do not close",
        labels=KIND,
    ),
    Case(
        "RepairsStandStill",
        "warning",
        {on_shard("repairs_waiting"): "0x3 7x200"},
        15,
        25,
        "7 gaps of shard 0 wait to be repaired, and nothing is fetched",
        labels=SHARD,
    ),
    Case(
        "BooksNotLive",
        "warning",
        {on_shard("books_live"): "50x3 40x200"},
        15,
        17,
        "Only 40 order books of shard 0 are known to be right",
        labels=SHARD,
    ),
    Case(
        "AuditMismatch",
        "warning",
        {on_shard("book_audits_differing_total"): "0x8 1x100"},
        1,
        3,
        "A book of shard 0 was not the exchange's",
        labels=SHARD,
    ),
    Case(
        "AuditsStandStill",
        "warning",
        {on_shard("book_audits_total"): f"7x{LONG}"},
        59,
        122,
        "No book of shard 0 has been compared with the exchange's for an hour",
        labels=SHARD,
    ),
    Case(
        "CandlesBehind",
        "warning",
        {series("ingest_candle_lag_seconds"): "2x3 300x100"},
        5,
        7,
        "Stored trades have waited 5m 0s to come into the candles",
    ),
    Case(
        "MigrationFailed",
        "critical",
        {MIGRATION: "0x3 1x100"},
        0.5,
        1,
        "The database's schema could not be brought up to date",
        labels='job_name="ingest-migrate"',
    ),
    Case(
        "DeadmanFailed",
        "critical",
        {DEADMAN: f"0x{LONG}"},
        14,
        20,
        "The dead man's switch has not found the database fed for 20m 0s",
        labels='cronjob="ingest-deadman"',
    ),
    Case(
        "DeadmanFailed",
        "critical",
        {DEADMAN: f"_x{LONG}"},
        14,
        20,
        "The dead man's switch has not found the database fed for 20m 0s",
        labels='cronjob="ingest-deadman"',
    ),
)
