"""What the supervisor knows, as Prometheus metrics, put together when somebody scrapes.

Nothing is counted here: the shards keep their numbers on their boards anyway, and the supervisor its own
(`vigil_facts`), so a scrape costs the shards nothing and a message costs the metrics nothing.
`metric_table` says what may be exported; a name or a label that is not in the table raises. A number
that is not known (no board, never happened) has no sample: absent is not zero.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingest.board.layout import BoardSnapshot, FeedState, FeedValues, HeaderValues, StreamState, StreamValues
from ingest.ops.health import freshness_report, readiness
from ingest.ops.metric_table import METRICS, PER_STREAM_METRICS, MetricRow
from ingest.ops.vigil_facts import AlertCounts, VigilFacts
from ingest.supervisor.freshness import (
    ServiceFacts,
    ShardFacts,
    StreamFreshness,
    heartbeat_age_s,
    judge_all,
)
from ingest.supervisor.storage import StorageFacts

US = 1e-6
NS = 1e-9


AskVigil: TypeAlias = Callable[[], VigilFacts | None]


def nothing_known() -> None:
    """What a service without a vigil knows of silence."""


class IngestCollector(Collector):
    """`facts` and `vigil` are called once for each scrape. `per_stream` adds two series for every stream."""

    def __init__(
        self,
        facts: Callable[[], ServiceFacts],
        vigil: AskVigil = nothing_known,
        *,
        per_stream: bool = False,
        kind_limits_s: Mapping[str, float] | None = None,
    ) -> None:
        self._facts = facts
        self._vigil = vigil
        self._per_stream = per_stream
        self._kind_limits_s = kind_limits_s

    def describe(self) -> Iterable[Metric]:
        """Name the metrics without looking at any board."""
        return [_family(row) for row in METRICS]

    def collect(self) -> Iterator[Metric]:
        samples = collect_samples(
            self._facts(), self._vigil(), per_stream=self._per_stream, kind_limits_s=self._kind_limits_s
        )
        for row in METRICS:
            if row not in PER_STREAM_METRICS or self._per_stream:
                yield samples.family(row)


def make_registry(
    facts: Callable[[], ServiceFacts],
    vigil: AskVigil = nothing_known,
    *,
    per_stream: bool = False,
    kind_limits_s: Mapping[str, float] | None = None,
) -> CollectorRegistry:
    """A registry of our own: nothing of the process-wide default one leaks into the answer.

    `kind_limits_s` are the configured limits of /freshz, by which `ingest_fresh` has to go, too.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(IngestCollector(facts, vigil, per_stream=per_stream, kind_limits_s=kind_limits_s))
    return registry


class Samples:
    """Values by metric name and label values; a later value of the same place is an error of ours."""

    def __init__(self) -> None:
        self._rows = {row.name: row for row in METRICS}
        self._values: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)

    def put(self, name: str, value: float, *labels: object) -> None:
        """Note one value. KeyError for a name, ValueError for labels that the table does not have."""
        row = self._rows[name]
        if len(labels) != len(row.labels):
            raise ValueError(f"{name} has the labels {row.labels}, got {labels}")
        self._values[name][tuple(str(label) for label in labels)] = value

    def family(self, row: MetricRow) -> Metric:
        family = _family(row)
        for labels, value in self._values[row.name].items():
            family.add_metric(labels, value)
        return family


def _family(row: MetricRow) -> GaugeMetricFamily | CounterMetricFamily:
    kind = CounterMetricFamily if row.type == "counter" else GaugeMetricFamily
    return kind(row.name, row.help, labels=row.labels, unit=row.unit)


def collect_samples(
    facts: ServiceFacts,
    vigil: VigilFacts | None = None,
    *,
    per_stream: bool = False,
    kind_limits_s: Mapping[str, float] | None = None,
) -> Samples:
    """All values of one moment."""
    samples = Samples()
    rows = judge_all(facts)
    samples.put("ingest_ready", readiness(facts).ok)
    samples.put("ingest_fresh", freshness_report(rows, kind_limits_s=kind_limits_s).ok)
    if facts.candle_lag_s is not None:
        samples.put("ingest_candle_lag_seconds", facts.candle_lag_s)
    if facts.candle_backlog is not None:
        samples.put("ingest_candle_backlog", facts.candle_backlog)
    for shard in facts.shards:
        _put_shard(samples, shard, facts)
    _put_groups(samples, rows)
    if vigil is not None:
        _put_vigil(samples, vigil)
        _put_exchange(samples, vigil)
        _put_alerts(samples, vigil.alerts)
        _put_storage(samples, vigil.storage)
    if per_stream:
        _put_streams(samples, rows)
        for shard in facts.shards:
            if shard.board is not None:
                _put_books(samples, shard.board)
    return samples


def _put_shard(samples: Samples, shard: ShardFacts, facts: ServiceFacts) -> None:
    beats = False
    if shard.board is not None:
        beats = _put_board(samples, shard.board, facts) <= facts.heartbeat_limit_s
    samples.put("ingest_shard_up", shard.running and beats and not shard.has_former_board, shard.shard)
    samples.put("ingest_shard_restarts_total", shard.restarts, shard.shard)
    samples.put("ingest_shard_crash_looping", shard.crash_looping, shard.shard)


def _put_board(samples: Samples, board: BoardSnapshot, facts: ServiceFacts) -> float:
    """Put what a board says; returns the age of its heartbeat in seconds."""
    shard, beat = board.shard, board.heartbeat
    age_s = heartbeat_age_s(board, now_wall_ns=facts.now_wall_ns, now_monotonic_ns=facts.now_monotonic_ns)
    samples.put("ingest_shard_heartbeat_age_seconds", age_s, shard)
    samples.put("ingest_shard_start_time_seconds", board.identity.started_wall_ns * NS, shard)
    samples.put("ingest_shard_loop_lag_seconds", beat.loop_lag_us * US, shard)
    for name, value in _header_values(board.header, facts.now_wall_ns):
        samples.put(f"ingest_shard_{name}", value, shard)
    for feed in board.feeds:
        _put_feed(samples, shard, feed, facts.now_wall_ns)
    _put_counters(samples, board)
    return age_s


def _header_values(header: HeaderValues, now_wall_ns: int) -> Sequence[tuple[str, float]]:
    return (
        ("loop_lag_max_seconds", header.loop_lag_max_us * US),
        ("tasks", header.tasks),
        ("frames_total", header.frames),
        ("received_bytes_total", header.bytes_received),
        ("malformed_frames_total", header.malformed_frames),
        ("buffered_rows", header.buffered_rows),
        ("buffered_bytes", header.buffered_bytes),
        # Nothing buffered is an age of zero, not an unknown one: an alert must be able to end.
        ("buffer_age_seconds", _age_s(header.oldest_buffered_recv_ns, now_wall_ns) or 0.0),
        ("refused_rows_total", header.refused_rows),
        ("committed_rows_total", header.rows_committed),
        ("committed_batches_total", header.batches_committed),
        ("write_conflicts_total", header.conflicts),
        ("store_errors_total", header.store_errors),
        ("commit_latency_last_seconds", header.commit_latency_last_us * US),
        ("commit_latency_p50_seconds", header.commit_latency_p50_us * US),
        ("commit_latency_p99_seconds", header.commit_latency_p99_us * US),
        ("books_live", header.books_live),
        ("books_wanted", header.books_wanted),
        ("books_shallow", header.books_shallow),
        ("book_audits_total", header.book_audits),
        ("book_audits_differing_total", header.book_audits_differing),
        ("book_audits_inconclusive_total", header.book_audits_inconclusive),
        ("book_audit_levels_total", header.book_audit_levels),
        ("book_audit_mismatches_total", header.book_audit_mismatches),
        ("snapshots_fetched_total", header.snapshots_fetched),
        ("snapshots_waiting", header.snapshots_waiting),
        ("rest_weight_used", header.rest_weight_used),
        ("database_up", header.database_up),
        ("spool_rows", header.spooled_rows),
        ("spool_bytes", header.spooled_bytes),
        ("spool_age_seconds", _age_s(header.oldest_spooled_recv_ns, now_wall_ns) or 0.0),
        ("spool_full", header.spool_full),
        ("spooled_rows_total", header.spooled_rows_ever),
        ("spool_damaged_batches_total", header.spool_damaged_batches),
        ("repairs_waiting", header.repairs_waiting),
        ("repair_pages_total", header.repair_pages),
        ("repaired_rows_total", header.repaired_rows),
        ("repairs_closed_total", header.repairs_closed),
        ("repair_failures_total", header.repair_failures),
    )


def _put_feed(samples: Samples, shard: int, feed: FeedValues, now_wall_ns: int) -> None:
    labels = (shard, feed.feed)
    samples.put("ingest_feed_live", feed.state is FeedState.LIVE, *labels)
    samples.put("ingest_feed_messages_total", feed.messages, *labels)
    for reason, count in feed.ends.items():
        samples.put("ingest_feed_reconnects_total", count, *labels, reason)
    samples.put("ingest_feed_streams", feed.streams, *labels)
    samples.put("ingest_feed_silent_streams", feed.silent_streams, *labels)
    samples.put("ingest_feed_connections", feed.sessions, *labels)
    if feed.last_ping_ns:
        samples.put("ingest_feed_pong_latency_seconds", feed.pong_latency_us * US, *labels)
    for what, at_ns in (
        ("frame", feed.last_frame_ns),
        ("data", feed.last_data_ns),
        ("ping", feed.last_ping_ns),
    ):
        age_s = _age_s(at_ns, now_wall_ns)
        if age_s is not None:
            samples.put(f"ingest_feed_last_{what}_age_seconds", age_s, *labels)


_COUNTERS: tuple[tuple[str, Callable[[StreamValues], int]], ...] = (
    ("messages", lambda stream: stream.messages),
    ("duplicates", lambda stream: stream.duplicates),
    ("gaps_opened", lambda stream: stream.gaps_opened),
    ("refused_rows", lambda stream: stream.refused_rows),
    ("reconnects", lambda stream: stream.reconnects),
)


def _put_counters(samples: Samples, board: BoardSnapshot) -> None:
    groups: dict[tuple[str, str], list[StreamValues]] = defaultdict(list)
    for key, values in board.streams:
        groups[key.market, key.kind].append(values)
    for (market, kind), streams in groups.items():
        for name, count in _COUNTERS:
            total = sum(map(count, streams))
            samples.put(f"ingest_stream_{name}_total", total, board.shard, market, kind)


def _put_groups(samples: Samples, rows: Sequence[StreamFreshness]) -> None:
    groups: dict[tuple[int, str, str], list[StreamFreshness]] = defaultdict(list)
    for row in rows:
        groups[row.shard, row.market, row.kind].append(row)
    for labels, group in groups.items():
        states = Counter(row.state for row in group)
        for state in StreamState:
            name = state.name.lower()
            samples.put("ingest_streams", states[name], *labels, name)
        samples.put("ingest_stream_open_gaps", sum(row.open_gaps for row in group), *labels)
        ages = [row.age_s for row in group if row.age_s is not None]
        if ages:
            samples.put("ingest_stream_age_max_seconds", max(ages), *labels)
        thresholds = [row.threshold_s for row in group if row.threshold_s]
        if thresholds:
            samples.put("ingest_stream_threshold_min_seconds", min(thresholds), *labels)
            samples.put("ingest_stream_threshold_max_seconds", max(thresholds), *labels)


def _put_vigil(samples: Samples, vigil: VigilFacts) -> None:
    for name, label_values in (
        ("ingest_incidents_open", vigil.incidents_open),
        ("ingest_incidents_total", vigil.incidents_total),
        ("ingest_ladder_steps_total", vigil.steps_total),
        ("ingest_witness_verdicts_total", vigil.verdicts_total),
    ):
        for label, count in label_values.items():
            samples.put(name, count, label)
    samples.put("ingest_incident_writes_dropped_total", vigil.incident_writes_dropped)
    if vigil.deficits is not None:
        behind = [deficit for deficit in vigil.deficits.values() if deficit]
        samples.put("ingest_sweep_symbols", len(vigil.deficits))
        samples.put("ingest_sweep_symbols_behind", len(behind))
        samples.put("ingest_sweep_trades_behind", sum(behind))
        samples.put("ingest_sweep_trades_behind_max", max(behind, default=0))


def _put_exchange(samples: Samples, vigil: VigilFacts) -> None:
    samples.put("ingest_rest_banned_seconds", vigil.banned_for_s)
    for budget, (used, limit) in vigil.budgets.items():
        samples.put("ingest_budget_used", used, budget)
        samples.put("ingest_budget_limit", limit, budget)
    for name, value in (
        ("ingest_sweep_age_seconds", vigil.sweep_age_s),
        ("ingest_exchange_rest_up", vigil.exchange_answers),
        ("ingest_clock_offset_seconds", vigil.clock_offset_s),
        ("ingest_table_age_seconds", vigil.table_age_s),
        ("ingest_line_repairs_total", vigil.line_repairs),
        ("ingest_line_gaps_closed_total", vigil.line_gaps_closed),
        ("ingest_line_gaps_trimmed_total", vigil.line_gaps_trimmed),
    ):
        if value is not None:
            samples.put(name, value)
    for pair, lead in vigil.leads.items():
        samples.put("ingest_line_first_total", lead.times, *pair)
        samples.put("ingest_line_lead_seconds_total", lead.seconds, *pair)


def _put_alerts(samples: Samples, alerts: AlertCounts) -> None:
    samples.put("ingest_alerts_standing", alerts.standing)
    samples.put("ingest_alerts_held_back", alerts.held_back)
    samples.put("ingest_alert_letters_waiting", alerts.waiting)
    samples.put("ingest_alert_letters_delivered_total", alerts.delivered)
    samples.put("ingest_alert_letters_given_up_total", alerts.given_up)
    samples.put("ingest_alert_letters_dropped_total", alerts.dropped)
    samples.put("ingest_alert_attempts_failed_total", alerts.failed_attempts)


def _put_storage(samples: Samples, storage: StorageFacts) -> None:
    for size in storage.sizes:
        samples.put("ingest_table_bytes", size.total_bytes, size.relation)
    for disk, free_bytes in storage.free_bytes.items():
        samples.put("ingest_disk_free_bytes", free_bytes, disk)
    if storage.full_in_s is not None:
        samples.put("ingest_disk_full_in_seconds", storage.full_in_s)


def _put_streams(samples: Samples, rows: Sequence[StreamFreshness]) -> None:
    for row in rows:
        labels = (row.market, row.symbol, row.kind)
        samples.put("ingest_stream_threshold_seconds", row.threshold_s, *labels)
        if row.age_s is not None:
            samples.put("ingest_stream_age_seconds", row.age_s, *labels)


def _put_books(samples: Samples, board: BoardSnapshot) -> None:
    for key, values in board.streams:
        if values.known_bids >= 0:
            samples.put("ingest_book_known_levels", values.known_bids, key.market, key.symbol, "bids")
            samples.put("ingest_book_known_levels", values.known_asks, key.market, key.symbol, "asks")


def _age_s(at_ns: int, now_ns: int) -> float | None:
    return max(0.0, (now_ns - at_ns) * NS) if at_ns else None
