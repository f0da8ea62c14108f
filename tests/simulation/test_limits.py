"""The exchange's limits are kept by two shards together, also when everything must come back at once."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import pytest

from tests.simulation.service import Double, Service, a_double, a_service, wait_until

SYMBOLS = 300
KINDS = ["trade", "book_ticker", "depth", "mini_ticker"]
STREAMS_PER_FEED = 100
PONG_EVERY_S = 3
LONGER_THAN_ANY_TEST_S = 900


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Double]]:
    """1,200 streams on twelve feeds, all subscribed, all 300 books live."""
    folder = tmp_path_factory.mktemp("limits")
    options = (
        *("--no-recording", "--symbols", str(SYMBOLS), "--rate", "3000"),
        *("--ping-interval", str(PONG_EVERY_S)),
    )
    spot = {
        "symbols": "*",
        "kinds": KINDS,
        "streams_per_feed": STREAMS_PER_FEED,
        "snapshot_limit": 100,
        "stored_levels": 100,
    }
    # Losing a delta of every book takes as long as the rarest book is silent. Nobody is to subscribe
    # anything anew meanwhile: then gaps would be those of a connection, and connections be made.
    sections: dict[str, Mapping[str, object]] = {
        "spot": spot,
        "silence": {"fixed_s": dict.fromkeys(KINDS, LONGER_THAN_ANY_TEST_S)},
    }
    with a_double(folder, *options) as double, a_service(folder, double, **sections) as service:
        wait_all_live(service)
        yield service, double


def wait_all_live(service: Service) -> None:
    """Until each book has had a delta from now on, and all are live.

    The boards are as of their last second: what they say of the books may be from before a reset. A book that
    has had no delta since would miss its next one because of the reset, and not because it was dropped.
    """
    since = service.value("SELECT now()")
    wait_until("every book had a delta", lambda: not silent_since(service, since), deadline_s=120)
    wait_until("300 books are live", lambda: service.books() == (SYMBOLS, SYMBOLS), deadline_s=120)


def silent_since(service: Service, since: object) -> list[str]:
    """Symbols whose newest depth event, as far as the service tells, is older."""
    sql = (
        "SELECT symbol FROM ops.stream_freshness WHERE kind = 'depth'"
        " AND (last_event_ts IS NULL OR last_event_ts < $1) ORDER BY symbol"
    )
    return [row["symbol"] for row in service.rows(sql, since)]


def streams_subscribed(double: Double) -> list[str]:
    return [name for each in double.state()["connections"] for name in each["streams"]]


def causes_since(service: Service, kind: str, since: object) -> dict[str, set[str]]:
    """Why each symbol has a new gap of this kind."""
    causes: dict[str, set[str]] = defaultdict(set)
    sql = "SELECT symbol, cause FROM ops.gaps WHERE kind = $1 AND opened_at >= $2"
    for row in service.rows(sql, kind, since):
        causes[row["symbol"]].add(row["cause"])
    return causes


def test_start_keeps_the_limits(running: tuple[Service, Double]) -> None:
    """Every stream is subscribed once, over two shards, and no limit was broken."""
    service, double = running

    wait_until("every stream is subscribed", lambda: len(streams_subscribed(double)) == SYMBOLS * len(KINDS))
    assert len(set(streams_subscribed(double))) == SYMBOLS * len(KINDS)
    assert len(service.shard_pids()) == 2
    assert double.violations() == {}


def test_mass_reconnect_keeps_the_limits(running: tuple[Service, Double]) -> None:
    """All connections are reset at once: all come back, subscribe and fetch all books within the limits."""
    service, double = running
    before = double.state()["connections_opened"]
    feeds = len(double.state()["connections"])
    double.fault("reset")

    wait_until("every feed is back", lambda: double.state()["connections_opened"] >= before + feeds)
    wait_until("every stream is subscribed", lambda: len(streams_subscribed(double)) == SYMBOLS * len(KINDS))
    wait_all_live(service)
    assert double.violations() == {}


def test_mass_resync_keeps_the_limits(running: tuple[Service, Double]) -> None:
    """Every book loses a delta: all 300 are fetched again, without a new connection, within the limits."""
    service, double = running
    since = service.value("SELECT now()")
    connected = double.state()["connections_opened"]
    drop = double.fault("drop", kind="depth")
    wait_until("the fault has begun", lambda: double.touched(drop))
    before = double.happened("depth")
    wait_until(
        "every symbol has lost a delta",
        lambda: all(now > before[symbol] for symbol, now in double.happened("depth").items()),
        deadline_s=120,
    )
    double.lift(drop)

    wait_until(
        "every book has noticed",
        lambda: len(causes_since(service, "depth", since)) == SYMBOLS,
        deadline_s=120,
    )
    causes = causes_since(service, "depth", since)
    assert {symbol: why for symbol, why in causes.items() if why != {"sequence"}} == {}
    wait_all_live(service)
    assert double.state()["connections_opened"] == connected
    assert double.violations() == {}
