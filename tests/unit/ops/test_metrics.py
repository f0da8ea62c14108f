"""What a scrape says, read back by Prometheus' own parser."""

from dataclasses import replace
from math import inf

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ingest.board.layout import FeedValues, HeaderValues, ShardState, StreamState
from ingest.feed.endings import EndClass
from ingest.ops.metric_table import METRICS, PER_STREAM_METRICS
from ingest.ops.metrics import Samples, make_registry
from ingest.ops.vigil_facts import AlertCounts, Filling, VigilFacts
from ingest.store.sizes import RelationSize
from ingest.supervisor.freshness import ServiceFacts
from ingest.supervisor.lines import Lead
from ingest.supervisor.storage import StorageFacts
from tests.unit.board.builders import (
    BTC_DEPTH,
    BTC_TRADE,
    ETH_TRADE,
    RUNNING,
    STARTED_WALL_NS,
    S,
    a_board,
    a_shard,
    a_stream,
    ago_ns,
    never_seen,
    some_facts,
)

Scrape = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def text_of(facts: ServiceFacts, vigil: VigilFacts | None = None, *, per_stream: bool = False) -> str:
    return generate_latest(make_registry(lambda: facts, lambda: vigil, per_stream=per_stream)).decode()


def scrape(facts: ServiceFacts, vigil: VigilFacts | None = None, *, per_stream: bool = False) -> Scrape:
    families = text_string_to_metric_families(text_of(facts, vigil, per_stream=per_stream))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def at(scraped: Scrape, name: str, **labels: str) -> float:
    return scraped[name, tuple(sorted(labels.items()))]


def full_facts() -> ServiceFacts:
    """A service in which everything has happened at least once."""
    board = a_board({BTC_TRADE: a_stream(), BTC_DEPTH: a_stream(known_bids=100, known_asks=90)})
    feed = FeedValues(feed=0, last_frame_ns=ago_ns(1), last_data_ns=ago_ns(2), last_ping_ns=ago_ns(3))
    facts = some_facts(
        a_shard(type(board)(board.identity, board.heartbeat, board.header, (feed,), board.streams))
    )
    return replace(facts, candle_lag_s=1.5, candle_backlog=3)


def full_vigil() -> VigilFacts:
    """A vigil that knows everything."""
    return VigilFacts(
        incidents_open={"half_open": 1, "unknown": 0},
        incidents_total={"half_open": 7},
        steps_total={"resubscribe": 3},
        verdicts_total={"quiet": 11},
        incident_writes_dropped=1,
        sweep_age_s=12.5,
        deficits={"BTCUSDT": 0, "ETHUSDT": 4, "BNBUSDT": 9},
        exchange_answers=True,
        clock_offset_s=-0.25,
        banned_for_s=90.0,
        budgets={"weight": Filling(420, 5_100)},
        table_age_s=0.5,
        leads={(0, 1): Lead(31, 0.25)},
        line_repairs=32,
        line_gaps_closed=33,
        line_gaps_trimmed=34,
        alerts=AlertCounts(
            delivered=21, failed_attempts=22, given_up=23, dropped=24, waiting=25, standing=26, held_back=27
        ),
        storage=StorageFacts(
            sizes=[
                RelationSize(
                    relation="spot_raw.trades", parts=5, rows_estimate=1, table_bytes=40, index_bytes=2
                )
            ],
            free_bytes={"database": 51, "spool": 52},
            full_in_s=53.0,
        ),
    )


def test_disk_is_told_as_far_as_it_is_known() -> None:
    """Tables with their indexes; a disk that never fills has infinity, one that is not known nothing."""
    scraped = scrape(some_facts(), full_vigil())
    assert at(scraped, "ingest_table_bytes", table="spot_raw.trades") == 42
    assert at(scraped, "ingest_disk_free_bytes", disk="database") == 51
    assert at(scraped, "ingest_disk_full_in_seconds") == 53

    never = scrape(some_facts(), VigilFacts(storage=StorageFacts(full_in_s=inf)))
    assert at(never, "ingest_disk_full_in_seconds") == inf
    assert not any(name.startswith("ingest_disk") for name, *_ in scrape(some_facts(), VigilFacts()))


def test_known_levels_are_those_of_live_books() -> None:
    """A stream without a live book has no sample."""
    trades = {BTC_TRADE: a_stream(), BTC_DEPTH: a_stream(known_bids=100, known_asks=0)}
    scraped = scrape(some_facts(a_shard(a_board(trades))), per_stream=True)

    known = {key: value for key, value in scraped.items() if key[0] == "ingest_book_known_levels"}
    assert sorted(known.values()) == [0, 100]
    assert at(scraped, "ingest_book_known_levels", market="spot", symbol="BTCUSDT", side="bids") == 100


def test_exported_names_types_and_labels_are_exactly_those_of_the_table() -> None:
    """Every metric of the table has a sample when everything happened, and there is no other."""
    families = list(text_string_to_metric_families(text_of(full_facts(), full_vigil(), per_stream=True)))
    exported = {
        (sample.name, family.type, tuple(sorted(sample.labels)), family.documentation)
        for family in families
        for sample in family.samples
    }

    assert exported == {(row.name, row.type, tuple(sorted(row.labels)), row.help) for row in METRICS}


def test_per_stream_metrics_are_left_out_unless_asked_for() -> None:
    """By default no label has a symbol in it."""
    names = {name for name, _ in scrape(full_facts(), full_vigil())}

    assert names == {row.name for row in METRICS} - {row.name for row in PER_STREAM_METRICS}
    assert "BTCUSDT" not in text_of(full_facts(), full_vigil())


def test_shard_numbers_are_in_base_units() -> None:
    """Microseconds and nanoseconds of the board come out as seconds."""
    header = RUNNING._replace(
        frames=7, commit_latency_p99_us=250_000, loop_lag_max_us=1_500, oldest_buffered_recv_ns=ago_ns(4)
    )
    scraped = scrape(some_facts(a_shard(a_board(header=header, shard=3, beat_age_s=0.5), restarts=2)))

    assert at(scraped, "ingest_shard_up", shard="3") == 1
    assert at(scraped, "ingest_shard_restarts_total", shard="3") == 2
    assert at(scraped, "ingest_shard_frames_total", shard="3") == 7
    assert at(scraped, "ingest_shard_commit_latency_p99_seconds", shard="3") == pytest.approx(0.25)
    assert at(scraped, "ingest_shard_loop_lag_max_seconds", shard="3") == pytest.approx(0.0015)
    assert at(scraped, "ingest_shard_heartbeat_age_seconds", shard="3") == pytest.approx(0.5)
    assert at(scraped, "ingest_shard_buffer_age_seconds", shard="3") == pytest.approx(4)
    assert at(scraped, "ingest_shard_start_time_seconds", shard="3") == pytest.approx(STARTED_WALL_NS / S)


def test_every_header_value_has_its_own_metric() -> None:
    """No two metrics read the same word of the board: all distinct numbers come out distinct."""
    header = HeaderValues(ShardState.RUNNING, *range(1_000, 1_000 + len(HeaderValues._fields) - 1))
    scraped = scrape(some_facts(a_shard(a_board(header=header))))

    found = {round(value) for value in scraped.values()} | {round(value * 1e6) for value in scraped.values()}
    missing = set(header[1:]) - found - {header.oldest_buffered_recv_ns, header.oldest_spooled_recv_ns}
    assert missing == set()


def test_stream_numbers_are_summed_by_shard_market_and_kind() -> None:
    """Two trade streams are one series; counters carry the shard so that a reset is seen as one."""
    streams = {
        BTC_TRADE: a_stream(age_s=1, messages=10, duplicates=1, gaps_opened=1),
        ETH_TRADE: a_stream(age_s=9, messages=5, state=StreamState.STALE, reconnects=2, refused_rows=3),
        BTC_DEPTH: never_seen(),
    }
    scraped = scrape(some_facts(a_shard(a_board(streams)), open_gaps={BTC_TRADE: 2, ETH_TRADE: 1}))
    trades = {"shard": "0", "market": "spot", "kind": "trade"}

    assert at(scraped, "ingest_stream_messages_total", **trades) == 15
    assert at(scraped, "ingest_stream_duplicates_total", **trades) == 1
    assert at(scraped, "ingest_stream_gaps_opened_total", **trades) == 1
    assert at(scraped, "ingest_stream_refused_rows_total", **trades) == 3
    assert at(scraped, "ingest_stream_reconnects_total", **trades) == 2
    assert at(scraped, "ingest_stream_open_gaps", **trades) == 3
    assert at(scraped, "ingest_stream_age_max_seconds", **trades) == pytest.approx(9)
    assert at(scraped, "ingest_streams", **trades, state="live") == 1
    assert at(scraped, "ingest_streams", **trades, state="stale") == 1
    assert at(scraped, "ingest_streams", **trades, state="quiet") == 0


def test_what_never_happened_has_no_sample() -> None:
    """A stream without a row has no age, a feed without a ping no ping age: absent is not zero."""
    names = {
        name for name, _ in scrape(some_facts(a_shard(a_board({BTC_TRADE: never_seen()}))), per_stream=True)
    }

    assert "ingest_stream_age_max_seconds" not in names
    assert "ingest_stream_age_seconds" not in names
    assert "ingest_feed_last_ping_age_seconds" not in names
    assert "ingest_stream_threshold_seconds" in names


def test_reconnects_are_counted_by_feed_and_reason() -> None:
    """Each class of reasons has a series, zeros too, so that a first reconnect is a rise."""
    board = a_board()
    feed = FeedValues(feed=4, reconnects=3, ends_rotation=1, ends_half_open=2)
    scraped = scrape(
        some_facts(
            a_shard(type(board)(board.identity, board.heartbeat, board.header, (feed,), board.streams))
        )
    )
    name = "ingest_feed_reconnects_total"

    assert at(scraped, name, shard="0", feed="4", reason="half_open") == 2
    assert at(scraped, name, shard="0", feed="4", reason="rotation") == 1
    assert sum(value for key, value in scraped.items() if key[0] == name) == 3
    assert sum(1 for key in scraped if key[0] == name) == len(EndClass)


def test_thresholds_are_told_by_kind_with_the_shortest_and_the_longest() -> None:
    """One series a kind is enough to see that none has run away."""
    streams = {
        BTC_TRADE: a_stream(threshold_s=5),
        ETH_TRADE: a_stream(threshold_s=900),
        BTC_DEPTH: a_stream(threshold_s=0),
    }
    scraped = scrape(some_facts(a_shard(a_board(streams))))
    trades = {"shard": "0", "market": "spot", "kind": "trade"}

    assert at(scraped, "ingest_stream_threshold_min_seconds", **trades) == 5
    assert at(scraped, "ingest_stream_threshold_max_seconds", **trades) == 900
    assert not [labels for name, labels in scraped if "threshold" in name and ("kind", "depth") in labels]


def test_vigil_tells_incidents_steps_and_verdicts_by_name() -> None:
    """What is open, and what has been since the start."""
    scraped = scrape(full_facts(), full_vigil())

    assert at(scraped, "ingest_incidents_open", diagnosis="half_open") == 1
    assert at(scraped, "ingest_incidents_open", diagnosis="unknown") == 0
    assert at(scraped, "ingest_incidents_total", diagnosis="half_open") == 7
    assert at(scraped, "ingest_ladder_steps_total", step="resubscribe") == 3
    assert at(scraped, "ingest_witness_verdicts_total", verdict="quiet") == 11


def test_sweep_tells_how_far_we_are_behind_the_exchange() -> None:
    """Over all symbols, and of the worst."""
    scraped = scrape(full_facts(), full_vigil())

    assert at(scraped, "ingest_sweep_age_seconds") == 12.5
    assert at(scraped, "ingest_sweep_symbols") == 3
    assert at(scraped, "ingest_sweep_symbols_behind") == 2
    assert at(scraped, "ingest_sweep_trades_behind") == 13
    assert at(scraped, "ingest_sweep_trades_behind_max") == 9


def test_address_and_clock_are_told() -> None:
    """Bans, budgets with their limits, and the clock against the exchange's."""
    scraped = scrape(full_facts(), full_vigil())

    assert at(scraped, "ingest_rest_banned_seconds") == 90
    assert at(scraped, "ingest_budget_used", budget="weight") == 420
    assert at(scraped, "ingest_budget_limit", budget="weight") == 5_100
    assert at(scraped, "ingest_clock_offset_seconds") == -0.25
    assert at(scraped, "ingest_exchange_rest_up") == 1


def test_every_count_of_alerts_has_its_own_metric() -> None:
    """No two of them read the same number."""
    scraped = scrape(full_facts(), full_vigil())

    found = [value for (name, _), value in scraped.items() if name.startswith("ingest_alert")]
    assert sorted(found) == [21, 22, 23, 24, 25, 26, 27]


def test_what_no_sweep_has_said_yet_has_no_sample() -> None:
    """A deficit of zero would be a lie before the first sweep."""
    names = {name for name, _ in scrape(full_facts(), VigilFacts())}

    assert not {name for name in names if name.startswith(("ingest_sweep", "ingest_clock"))}
    assert "ingest_exchange_rest_up" not in names


def test_freshness_goes_by_the_configured_limits_as_freshz_does() -> None:
    """Otherwise the alert and the address would differ on the same stream."""
    facts = some_facts(a_shard(a_board({BTC_TRADE: a_stream(age_s=20)})))
    limited = make_registry(lambda: facts, kind_limits_s={"trade": 10})

    assert at(scrape(facts), "ingest_fresh") == 1
    assert b"ingest_fresh 0.0" in generate_latest(limited)


def test_shard_without_a_board_is_down_and_says_nothing_else() -> None:
    """Only what the supervisor knows itself is exported for a shard that never came up."""
    scraped = scrape(some_facts(a_shard(None, running=False, restarts=4, crash_looping=True)))

    assert {key[0]: value for key, value in scraped.items()} == {
        "ingest_ready": 0,
        "ingest_fresh": 0,
        "ingest_shard_up": 0,
        "ingest_shard_restarts_total": 4,
        "ingest_shard_crash_looping": 1,
    }


def test_shard_that_does_not_beat_is_not_up() -> None:
    """A process that exists and whose loop stands is down."""
    assert at(scrape(some_facts(a_shard(a_board(beat_age_s=60)))), "ingest_shard_up", shard="0") == 0


def test_boards_are_read_once_for_each_scrape() -> None:
    """Registering reads nothing, a scrape reads once."""
    calls = []

    def facts() -> ServiceFacts:
        calls.append(1)
        return some_facts()

    registry = make_registry(facts)
    assert calls == []
    generate_latest(registry)
    assert calls == [1]


def test_name_or_labels_that_are_not_in_the_table_are_refused() -> None:
    """What the table does not have cannot be exported."""
    with pytest.raises(KeyError):
        Samples().put("ingest_surprise", 1)
    with pytest.raises(ValueError, match="labels"):
        Samples().put("ingest_shard_up", 1)
