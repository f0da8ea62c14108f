"""Stopping in order, and starting where it cannot work: exit codes and what is said."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.simulation.comparison import assert_nothing_twice
from tests.simulation.service import (
    Double,
    Service,
    a_double,
    a_service,
    database_alone,
    environment,
    free_port,
    is_running,
    wait_until,
)

KINDS = ["trade", "agg_trade", "book_ticker", "depth"]
SPOT: Mapping[str, object] = {"symbols": "*", "kinds": ["trade", "depth"]}
_FAIL_S = 60.0


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    """A market of four symbols."""
    folder = tmp_path_factory.mktemp("double")
    with a_double(folder, "--no-recording", "--symbols", "4", "--rate", "800") as double:
        yield double


def run_in_vain(folder: Path, config: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """`ingest run` that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "ingest", "run", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=_FAIL_S,
        env=environment(**variables),
        cwd=folder,
        check=False,
    )


def test_sigterm_ends_everything_and_loses_nothing(tmp_path: Path, double: Double) -> None:
    """Shards drain, nobody has to be killed, no process is left, and all that was received is stored."""
    with a_service(tmp_path, double, spot={"symbols": "*", "kinds": KINDS}) as service:
        service.wait_books_live()
        for symbol in double.happened("trade"):
            service.wait_for_trades_after(symbol, service.newest_trade(symbol))
        pids = service.pids_ever()
        assert len(pids) == 3
        assert service.stop() == 0

        wait_until("no process is left", lambda: not any(is_running(pid) for pid in pids))
        assert service.log_lines("service.stopped")
        assert service.log_lines("shard.killed") == service.log_lines("shard.rows_lost") == []
        with database_alone(service):
            assert_all_received_is_stored(service)
            assert_nothing_twice(service)
            assert_end_is_told(service)


def assert_all_received_is_stored(service: Service) -> None:
    """As many rows as messages, less the one acknowledgement of each feed; and the sessions are closed."""
    sessions = service.rows("SELECT messages, closed_at, reason FROM ops.feed_sessions")
    assert [row["reason"] for row in sessions if row["closed_at"] is not None] == ["stopped"] * len(sessions)
    tables = ("trades", "agg_trades", "book_tickers", "depth_deltas")
    stored = sum(service.value(f"SELECT count(*) FROM spot.{table}") for table in tables)
    assert stored == sum(row["messages"] for row in sessions) - len(sessions)


def assert_end_is_told(service: Service) -> None:
    """Streams and shards say that the service was stopped, and not that something is broken."""
    streams = service.rows("SELECT DISTINCT state, diagnosis FROM ops.stream_freshness")
    assert [tuple(row.values()) for row in streams] == [("stale", "service_stopped")]
    assert {row["state"] for row in service.rows("SELECT state FROM ops.shards")} == {"stopped"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, double: Double) -> Iterator[Service]:
    """A service that others get in the way of."""
    with a_service(tmp_path_factory.mktemp("first"), double, spot=SPOT) as service:
        yield service


def test_second_service_on_a_data_folder_is_refused(tmp_path: Path, double: Double, running: Service) -> None:
    """It ends at once, says which folder and whose it is, and leaves the first alone."""
    second = Service(tmp_path, double, spot=SPOT, service={"data_dir": str(running.data_dir)})
    ended = run_in_vain(tmp_path, second.config)

    assert ended.returncode == 2
    assert f"{running.data_dir} is in use by another ingest" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert running.process is not None
    assert str(running.process.pid) in ended.stderr
    assert running.http("/readyz")[0] == 200


def test_same_configuration_twice_is_refused(tmp_path: Path, running: Service) -> None:
    """A second start of the very same configuration says clearly what is in the way."""
    ended = run_in_vain(tmp_path, running.config)

    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "is in use by another ingest" in ended.stderr or "HTTP cannot listen" in ended.stderr
    assert running.http("/readyz")[0] == 200


def test_every_mistake_of_the_configuration_is_told_at_once(tmp_path: Path) -> None:
    """Each with its file or variable, and its key."""
    config = tmp_path / "wrong.toml"
    config.write_text(
        '[service]\nshards = 0\nhttp_prot = 1\n[spot]\nws_url = "http://x"\nkinds = ["trade", "trades"]\n'
    )
    ended = run_in_vain(tmp_path, config, INGEST_BATCH_AGE_S="never", INGEST_SPOTS_URL="x")

    assert ended.returncode == 2
    lines = ended.stderr.splitlines()
    for place in (
        f"{config}: [service] shards:",
        f"{config}: [service] http_prot: no such setting",
        f"{config}: [spot] ws_url:",
        f"{config}: [spot] kinds.1: unknown kind 'trades'",
        "INGEST_BATCH_AGE_S: [batch] age_s:",
        "INGEST_SPOTS_URL: no such setting",
    ):
        assert [line for line in lines if line.startswith(place)], f"{place} is not in\n{ended.stderr}"


def test_unknown_symbol_is_a_mistake_of_the_configuration(tmp_path: Path, double: Double) -> None:
    """A symbol that the exchange does not list is named, and it alone."""
    listed = next(iter(double.state()["symbols"]))
    service = Service(tmp_path, double, spot={"symbols": [listed, "NOSUCHUSDT"], "kinds": ["trade"]})
    ended = run_in_vain(tmp_path, service.config)

    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "[spot] symbols: the exchange does not list NOSUCHUSDT\n" in ended.stderr


@pytest.mark.parametrize("action", ["rest", "refuse"])
def test_refused_location_is_told_with_what_to_do(tmp_path: Path, double: Double, action: str) -> None:
    """HTTP 451, from REST or from the streams, ends the service and names addresses that answer elsewhere."""
    fault = double.fault(action, status=451)
    service = Service(tmp_path, double, spot=SPOT)
    try:
        ended = run_in_vain(tmp_path, service.config)
    finally:
        double.lift(fault)

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "HTTP 451" in ended.stderr
    assert "https://data-api.binance.vision" in ended.stderr
    assert not is_running(service.database_pid() or 0)


def test_unreachable_exchange_is_told_with_what_to_do(tmp_path: Path) -> None:
    """After a few attempts it is said that nobody answers, and where to look."""
    nowhere = f"127.0.0.1:{free_port()}"
    spot = {"ws_url": f"ws://{nowhere}", "rest_url": f"http://{nowhere}", **SPOT}
    service = Service(tmp_path, None, spot=spot)
    ended = run_in_vain(tmp_path, service.config)

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "The exchange cannot be reached" in ended.stderr
    assert "ingest demo" in ended.stderr
    assert "Unclosed" not in ended.stderr


def test_exchange_that_refuses_at_first_is_asked_again(tmp_path: Path, double: Double) -> None:
    """A 429 and a 503 at the start are waited out."""
    double.fault("rest", path="exchangeInfo", status=429, code=-1003, retry_after_s=1, n=1)
    double.fault("rest", path="ticker/24hr", status=503, n=1)
    with a_service(tmp_path, double, spot=SPOT) as service:
        errors = [line["error"] for line in service.log_lines("exchange.not_reached")]
        # A busy machine may add a timeout of its own.
        for status in ("429", "503"):
            assert [error for error in errors if status in error], errors
