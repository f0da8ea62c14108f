"""Connections that do not live long: the whole service hands over again and again, and nothing is missing.

The exchange cuts every connection at a fraction of its usual age, and the service leaves before. It also
says on every connection at once that its server will go away. Neither may leave a trace in the database.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest

from tests.simulation.comparison import assert_book_equals_the_exchange, assert_nothing_twice, stored
from tests.simulation.service import Double, Service, a_double, a_service, wait_until

KINDS = ["trade", "agg_trade", "book_ticker", "depth", "kline_1m", "mini_ticker"]
COMPARED = ["trade", "agg_trade", "book_ticker", "depth"]
SYMBOLS = 12
CUT_AFTER_S = 30
MAX_AGE_S = 12
ROTATIONS = 2


class Run(NamedTuple):
    service: Service
    double: Double
    symbols: list[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Two shards with two feeds each, all books live."""
    folder = tmp_path_factory.mktemp("rotation")
    options = (
        *("--no-recording", "--symbols", str(SYMBOLS), "--rate", "1200"),
        *("--ping-interval", "2", "--connection-life", str(CUT_AFTER_S)),
    )
    spot = {"symbols": "*", "kinds": KINDS, "streams_per_feed": 3 * len(KINDS)}
    sections: dict[str, Mapping[str, object]] = {
        "spot": spot,
        "limits": {"max_connection_age_s": MAX_AGE_S},
    }
    with a_double(folder, *options) as double, a_service(folder, double, **sections) as service:
        wait_until("every symbol has trades", lambda: len(double.happened("trade")) == SYMBOLS)
        service.wait_books_live()
        yield Run(service, double, sorted(double.happened("trade")))
        assert double.violations() == {}


def ended(service: Service, reason: str) -> dict[str, int]:
    """How many connections of each feed ended for a reason."""
    sql = "SELECT feed, count(*) AS n FROM ops.feed_sessions WHERE reason = $1 GROUP BY feed"
    return {row["feed"]: row["n"] for row in service.rows(sql, reason)}


def assert_no_trace(run: Run) -> None:
    """No gap was ever opened, no book was fetched twice, and every event of the time is stored, as it was."""
    service, double, symbols = run
    assert service.rows("SELECT symbol, kind, cause, first_id, last_id FROM ops.gaps") == []
    assert service.rows("SELECT reason FROM ops.feed_sessions WHERE reason LIKE 'closed_by_exchange%'") == []
    resyncs = "SELECT symbol FROM spot.depth_snapshots WHERE reason = 'sync' GROUP BY 1 HAVING count(*) > 1"
    assert service.rows(resyncs) == []
    assert_nothing_twice(service)
    for symbol in symbols:
        for kind in COMPARED:
            rows = stored(service, symbol, kind)
            first, last = min(rows), max(rows)
            happened = {n: digest for n, digest in double.ledger(symbol, kind).items() if first <= n <= last}
            assert rows == happened, f"{symbol} {kind}"


def test_rotation_leaves_no_trace(run: Run) -> None:
    """Every feed has handed over more than once, long before the exchange would have cut it."""
    feeds = len(run.double.state()["connections"])
    wait_until(
        "every feed has rotated again",
        lambda: sum(n >= ROTATIONS for n in ended(run.service, "rotation").values()) >= feeds,
        deadline_s=120,
    )

    assert_no_trace(run)


@pytest.mark.parametrize("form", ["raw", "combined"])
def test_announced_shutdown_leaves_no_trace(run: Run, form: str) -> None:
    """All servers go away at once; all feeds have left for others before they do."""
    before = sum(ended(run.service, "server_shutdown").values())
    # The ones that are being replaced just then are gone anyway.
    most = len(run.double.state()["connections"]) // 2
    run.double.fault("server_shutdown", form=form, close_after_s=20)
    wait_until(
        "most feeds have left because of it",
        lambda: sum(ended(run.service, "server_shutdown").values()) >= before + most,
    )

    assert_no_trace(run)


def test_books_are_right_after_all_that(run: Run) -> None:
    """The one that was fetched first, and every delta since, make the exchange's book."""
    assert_book_equals_the_exchange(run.service, run.double, run.symbols[0])
