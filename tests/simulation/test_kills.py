"""kill -9 of each part in mid-flow: the service comes back; nothing is twice, nothing missing unnoticed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.board.mapped import board_path, read_board
from tests.simulation.comparison import assert_nothing_missing_unnoticed, assert_nothing_twice
from tests.simulation.service import Double, Service, a_double, a_service, is_running, wait_until

KINDS = ["trade", "agg_trade", "book_ticker", "depth", "mini_ticker"]
SPOT = {"symbols": "*", "kinds": KINDS}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Double]]:
    """A service with two shards on a market of six symbols."""
    folder: Path = tmp_path_factory.mktemp("kills")
    options = ("--no-recording", "--symbols", "6", "--rate", "600")
    with a_double(folder, *options) as double, a_service(folder, double, spot=SPOT) as service:
        wait_for_flow(service)
        yield service, double


def symbols_of(service: Service) -> list[str]:
    return [row["symbol"] for row in service.rows("SELECT symbol FROM ops.instruments ORDER BY symbol")]


def newest_trades(service: Service) -> dict[str, int]:
    rows = service.rows("SELECT symbol, max(trade_id) AS newest FROM spot.trades GROUP BY symbol")
    return {row["symbol"]: row["newest"] for row in rows}


def wait_for_flow(service: Service) -> None:
    """Until every symbol has trades newer than now, and every book is live."""
    before = wait_until("the database answers", lambda: (newest_trades(service),))[0]

    def all_newer() -> bool:
        newest = newest_trades(service)
        return all(newest.get(symbol, -1) > before.get(symbol, -1) for symbol in symbols_of(service))

    wait_until("trades of every symbol go on", all_newer)
    service.wait_books_live()


def assert_sound(service: Service, double: Double) -> None:
    assert_nothing_twice(service)
    assert_nothing_missing_unnoticed(service, double, symbols_of(service))


def test_killed_shard_is_started_again(running: tuple[Service, Double]) -> None:
    """The supervisor starts another process for it, which goes on where the committed rows ended."""
    service, double = running
    before = service.shard_pids()
    os.kill(before[0], signal.SIGKILL)

    wait_until("shard 0 has a new process", lambda: service.shard_pids().get(0, before[0]) != before[0])
    wait_for_flow(service)

    assert service.shard_pids()[1] == before[1]
    assert_sound(service, double)


def test_restart_leaves_the_break_in_the_gap_ledger(running: tuple[Service, Double]) -> None:
    """What happened while a shard was away is a gap with the cause `restart`."""
    service, _ = running
    before = service.shard_pids()
    since = service.value("SELECT now()")
    os.kill(before[1], signal.SIGKILL)

    wait_until("shard 1 has a new process", lambda: service.shard_pids().get(1, before[1]) != before[1])
    sql = "SELECT count(*) FROM ops.gaps WHERE kind = 'trade' AND cause = 'restart' AND opened_at >= $1"
    wait_until("the break is in the ledger", lambda: service.value(sql, since) > 0)
    wait_for_flow(service)


def test_killed_database_is_started_again(running: tuple[Service, Double]) -> None:
    """Shards stay up, keep what they receive, and write it once the server is back: there is no gap."""
    service, double = running
    shards, database = service.shard_pids(), service.database_pid()
    since = service.value("SELECT now()")
    assert database is not None
    os.kill(database, signal.SIGKILL)

    wait_until("the server has a new process", lambda: service.database_pid() not in (None, database))
    wait_for_flow(service)

    assert service.shard_pids() == shards
    assert service.rows("SELECT * FROM ops.gaps WHERE opened_at >= $1 AND cause <> 'restart'", since) == []
    assert_sound(service, double)


def test_shard_that_starts_while_the_database_is_away_waits_for_it(running: tuple[Service, Double]) -> None:
    """One process, which beats and says what it waits for, and goes on once the database answers."""
    service, double = running
    before, database = service.shard_pids(), service.database_pid()
    assert database is not None

    def waiting() -> int | None:
        board = read_board(board_path(service.data_dir, 0))
        is_new = board.identity.pid != before[0] and board.heartbeat.monotonic_ns > 0
        return board.identity.pid if is_new and not board.header.database_up else None

    os.kill(database, signal.SIGSTOP)
    try:
        os.kill(before[0], signal.SIGKILL)
        pid = wait_until("a new process says that the database is away", waiting)
    finally:
        os.kill(database, signal.SIGCONT)
    wait_for_flow(service)

    assert service.shard_pids() == {**before, 0: pid}
    assert_sound(service, double)


def test_nothing_outlives_a_killed_supervisor(running: tuple[Service, Double]) -> None:
    """Shards and database end by themselves; started again, the service goes on from the database alone."""
    service, double = running
    pids = [*service.shard_pids().values(), service.database_pid()]
    assert len(pids) == 3
    service.kill()

    wait_until(
        "shards and database are gone", lambda: not any(is_running(pid) for pid in pids if pid is not None)
    )
    service.start()
    service.wait_ready()
    wait_for_flow(service)

    assert_sound(service, double)


def test_supervisor_may_be_started_at_once_after_it_was_killed(running: tuple[Service, Double]) -> None:
    """A service manager does not wait for the remains: the new service does."""
    service, double = running
    service.kill()
    service.start()
    service.wait_ready()
    wait_for_flow(service)

    assert_sound(service, double)
