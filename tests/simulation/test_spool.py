"""The database takes nothing for a while: rows wait on the disk, also when their shard is killed."""

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.simulation.comparison import assert_nothing_missing_unnoticed, assert_nothing_twice
from tests.simulation.service import Double, Service, a_double, a_service, wait_until

SPOT = {"symbols": "*", "kinds": ["trade", "agg_trade", "book_ticker", "depth", "mini_ticker"]}
LOCKED = ("spot_raw.trades", "spot_raw.book_tickers", "spot_raw.depth_deltas")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Double]]:
    """A service with one shard on a market of six symbols, which does not wait long for the database."""
    folder: Path = tmp_path_factory.mktemp("spool")
    options = ("--no-recording", "--symbols", "6", "--rate", "600")
    sections: dict[str, Mapping[str, object]] = {
        "spot": SPOT,
        "spool": {"after_s": 0.5},
        "service": {"shards": 1},
    }
    with a_double(folder, *options) as double, a_service(folder, double, **sections) as service:
        wait_for_flow(service)
        yield service, double


def newest_trades(service: Service) -> dict[str, int]:
    rows = service.rows("SELECT symbol, max(trade_id) AS newest FROM spot.trades GROUP BY symbol")
    return {row["symbol"]: row["newest"] for row in rows}


def wait_for_flow(service: Service) -> None:
    """Until trades of every symbol go on, every book is live, and nothing waits on the disk."""
    before = wait_until("the database answers", lambda: (newest_trades(service),))[0]
    symbols = [row["symbol"] for row in service.rows("SELECT symbol FROM ops.instruments")]
    wait_until(
        "trades of every symbol go on",
        lambda: all(newest_trades(service).get(symbol, -1) > before.get(symbol, -1) for symbol in symbols),
    )
    service.wait_books_live()
    wait_until("the disk is empty", lambda: sum(b.header.spooled_rows for b in service.boards()) == 0)


def wait_spooled(service: Service, rows: int) -> None:
    wait_until("rows go to the disk", lambda: service.boards()[0].header.spooled_rows >= rows)


def assert_sound(service: Service, double: Double) -> None:
    symbols = [row["symbol"] for row in service.rows("SELECT symbol FROM ops.instruments")]
    assert_nothing_twice(service)
    assert_nothing_missing_unnoticed(service, double, symbols)


def test_rows_wait_on_the_disk_and_are_stored_without_a_gap(running: tuple[Service, Double]) -> None:
    """Nothing is lost, nothing is twice, and the ledger has nothing to tell."""
    service, double = running
    since = service.value("SELECT now()")
    with service.locked(*LOCKED):
        wait_spooled(service, 2_000)

    wait_for_flow(service)

    assert service.rows("SELECT * FROM ops.gaps WHERE opened_at >= $1", since) == []
    assert_sound(service, double)


def test_rows_on_the_disk_outlive_their_shard(running: tuple[Service, Double]) -> None:
    """Killed while rows wait: the next process stores them, and its gaps begin behind them."""
    service, double = running
    since = service.value("SELECT now()")
    before = service.shard_pids()
    with service.locked(*LOCKED):
        committed = newest_trades(service)
        wait_spooled(service, 3_000)
        os.kill(before[0], signal.SIGKILL)

    wait_until("the shard has a new process", lambda: service.shard_pids().get(0, before[0]) != before[0])
    wait_for_flow(service)

    gaps = service.rows("SELECT * FROM ops.gaps WHERE kind = 'trade' AND opened_at >= $1", since)
    assert {gap["cause"] for gap in gaps} == {"restart"}
    assert all(gap["first_id"] > committed[gap["symbol"]] + 20 for gap in gaps)
    assert_sound(service, double)
