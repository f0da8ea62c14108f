"""The causes that are no single connection's, each provoked in a running service, named, and over again.

Those of a stream or a connection (`stream_silent`, `feed_silent`, `half_open`) are in `test_faults`.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import pytest

from tests.simulation.service import Double, Service, a_double, a_service, wait_until

KINDS = ("trade", "agg_trade", "book_ticker", "depth")
TABLES = ("spot_raw.trades", "spot_raw.book_tickers", "spot_raw.depth_deltas")
THRESHOLD_S = 5.0
STOPPED_S = 1.6
"""Longer than a loop may be late, and shorter than the time after which it is taken to stand."""
GOES_S = 0.3


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Double]]:
    """Two shards on a busy market of six symbols."""
    folder = tmp_path_factory.mktemp("diagnoses")
    options = ("--no-recording", "--symbols", "6", "--rate", "600")
    sections: dict[str, Mapping[str, object]] = {
        "spot": {"symbols": "*", "kinds": list(KINDS)},
        "silence": {"fixed_s": dict.fromkeys(KINDS, THRESHOLD_S)},
    }
    with a_double(folder, *options) as double, a_service(folder, double, **sections) as service:
        service.wait_books_live()
        yield service, double


def incidents(service: Service, diagnosis: str, since: object, *, closed: bool) -> int:
    sql = (
        "SELECT count(*) FROM ops.incidents"
        " WHERE diagnosis = $1 AND opened_at >= $2 AND (closed_at IS NOT NULL) = $3"
    )
    return int(service.value(sql, diagnosis, since, closed))


def wait_calm(service: Service, double: Double) -> None:
    """Until what was provoked before is over: a shard that was replaced has its connections again."""
    streams = 6 * len(KINDS)

    def is_calm() -> bool:
        subscribed = {name for each in double.state()["connections"] for name in each["streams"]}
        live = service.value("SELECT count(*) FROM ops.stream_freshness WHERE state IN ('live', 'quiet')")
        still_open = service.value("SELECT count(*) FROM ops.incidents WHERE closed_at IS NULL")
        return len(subscribed) == live == streams and not still_open

    wait_until("everything is well", is_calm)


@contextmanager
def named_and_over(service: Service, diagnosis: str) -> Iterator[Callable[[], bool]]:
    """Yields what says that the incident is open; afterwards waits until it is over."""
    since = service.value("SELECT now()")
    yield lambda: incidents(service, diagnosis, since, closed=False) > 0
    wait_until("it is over", partial(incidents, service, diagnosis, since, closed=True), deadline_s=90)
    assert not incidents(service, diagnosis, since, closed=False)


def stop_and_go(pids: Sequence[int], is_open: Callable[[], bool]) -> bool:
    """Stop processes for a while and let them go on for a moment; whether the incident is open."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(STOPPED_S)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    time.sleep(GOES_S)
    return is_open()


def test_shard_that_is_late_again_and_again_is_consumer_lag(running: tuple[Service, Double]) -> None:
    """Its loop turns and does not keep up; it is told, and nobody restarts it."""
    service, double = running
    wait_calm(service, double)
    pids = service.shard_pids()

    with named_and_over(service, "consumer_lag") as is_open:
        wait_until("it is named", partial(stop_and_go, [pids[0]], is_open), deadline_s=120)
    assert service.shard_pids() == pids


def test_shard_whose_loop_stands_is_wedged(running: tuple[Service, Double]) -> None:
    """It is told, and another process takes its place."""
    service, double = running
    wait_calm(service, double)
    pids = service.shard_pids()

    with named_and_over(service, "shard_wedged") as is_open:
        os.kill(pids[1], signal.SIGSTOP)
        wait_until("it is named", is_open)
    wait_until("another process is there", lambda: service.shard_pids().get(1, pids[1]) != pids[1])


def test_database_that_takes_nothing_is_stalled(running: tuple[Service, Double]) -> None:
    """Somebody holds the tables; rows wait, nothing is reconnected, and it is over when they are stored."""
    service, double = running
    wait_calm(service, double)
    opened = double.state()["connections_opened"]

    with named_and_over(service, "database_stalled") as is_open, service.locked(*TABLES):
        wait_until("it is named", is_open)
    assert double.state()["connections_opened"] == opened


def test_exchange_that_stands_still_is_one_incident(running: tuple[Service, Double]) -> None:
    """Its connections and REST are well, so nothing is reconnected."""
    service, double = running
    wait_calm(service, double)
    opened = double.state()["connections_opened"]
    since = service.value("SELECT now()")

    with named_and_over(service, "exchange_down") as is_open:
        double.tell("pause")
        wait_until("it is named", is_open)
        double.tell("resume")
    assert double.state()["connections_opened"] == opened
    # A machine that is busy with other things may make a shard late meanwhile, and rightly told so.
    sql = "SELECT count(*) FROM ops.incidents WHERE opened_at >= $1 AND diagnosis <> 'consumer_lag'"
    assert service.value(sql, since) == 1
