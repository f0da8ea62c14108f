"""Many books at once within a small request weight: shallow first, all of them soon, deeper later."""

from collections.abc import Iterator, Mapping
from statistics import median

import pytest

from tests.simulation.service import Double, Service, a_double, a_service, wait_until

SYMBOLS = 60
WEIGHT_PER_MIN = 700
FULL = 200
"""Levels a side: 25 weight, so that all books would take more than two minutes of the whole weight."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Double]]:
    """Two shards that have begun 60 books with the weight for 28 full ones a minute."""
    folder = tmp_path_factory.mktemp("cold")
    spot = {
        "symbols": "*",
        "kinds": ["depth"],
        "first_snapshot_limit": 100,
        "snapshot_limit": FULL,
        "audit_every_s": 5,
    }
    sections: dict[str, Mapping[str, object]] = {
        "spot": spot,
        "service": {"shards": 2, "per_stream_metrics": True},
        "limits": {"weight_per_min": WEIGHT_PER_MIN, "optional_share": 0.9},
        # Silence is not what this is about; its sweeps cost weight.
        "silence": {"sweep_every_s": 3_600, "listing_every_s": 3_600},
    }
    options = ("--no-recording", "--symbols", str(SYMBOLS), "--rate", "2000")
    with a_double(folder, *options) as double, a_service(folder, double, **sections) as service:
        wait_until("all books are live", lambda: service.books() == (SYMBOLS, SYMBOLS), deadline_s=150)
        yield service, double


def stored_reasons(service: Service) -> dict[str, int]:
    """How many books were stored for which reason."""
    sql = "SELECT reason, count(DISTINCT symbol) AS books FROM spot.depth_snapshots GROUP BY reason"
    return {row["reason"]: row["books"] for row in service.rows(sql)}


def test_all_books_begin_shallow_and_say_so(started: tuple[Service, Double]) -> None:
    """A book of 100 levels that goes on behind them is stored with the range in which it is known."""
    service, _ = started

    wait_until("all books are stored", lambda: stored_reasons(service).get("sync") == SYMBOLS)
    sql = (
        "SELECT count(*) FROM spot.depth_snapshots"
        " WHERE reason = 'sync' AND bids_known_from > 0 AND asks_known_to < 'Infinity'"
        " AND cardinality(bid_prices) BETWEEN 50 AND 150"
    )
    # The last ones may find the weight for more.
    assert service.value(sql) > 0.8 * SYMBOLS
    assert sum(board.header.books_shallow for board in service.boards()) > SYMBOLS // 2


def test_books_are_deepened_the_most_active_first(started: tuple[Service, Double]) -> None:
    """As far as the weight goes; which book is known how far stands on the board and in the metrics."""
    service, double = started
    wait_until(
        "five books are deepened", lambda: stored_reasons(service).get("deepened", 0) >= 5, deadline_s=150
    )

    sql = "SELECT symbol FROM spot.depth_snapshots WHERE reason = 'deepened' GROUP BY symbol"
    deepened = {row["symbol"] for row in service.rows(sql)}
    happened = double.happened("depth")
    others = happened.keys() - deepened
    # Not each of them: a look that came to nothing is made again later, and the next one has its turn.
    assert median(happened[each] for each in deepened) > median(happened[each] for each in others)
    _, page = service.http("/metrics")
    known = [line for line in page.decode().splitlines() if line.startswith("ingest_book_known_levels{")]
    assert len(known) == 2 * SYMBOLS


def test_weight_was_never_exceeded(started: tuple[Service, Double]) -> None:
    """Not our own share of it in any minute of the exchange's, and no limit of the exchange's at all."""
    _, double = started
    state = double.state()

    assert max(state["weight_by_minute"].values()) <= WEIGHT_PER_MIN
    assert double.violations() == {}
