"""The whole service as a user who has been granted `ingest_writer` and nothing else."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_roles import Users
from tests.simulation.service import a_double, a_service, wait_until

KINDS = "trade agg_trade book_ticker depth kline_1m mini_ticker ticker avg_price".split()
_REPAIRED = "SELECT count(*) FROM ops.gaps WHERE state = 'repaired' AND rows_repaired > 0"
_REFUSED = ("permission denied", "42501", "must be owner")


@pytest.fixture
def writer_url(migrated_url: str) -> Iterator[str]:
    """The URL of such a user."""
    users = Users(migrated_url)
    yield users.with_role("ingest_writer")
    users.end()


def words_of(pid: int) -> str:
    """Environment and command line of a process, where the system shows them."""
    files = [Path(f"/proc/{pid}/{name}") for name in ("environ", "cmdline")]
    return "".join(file.read_text(errors="replace") for file in files if file.exists())


def test_service_needs_no_more_than_the_writers_rights(tmp_path: Path, writer_url: str) -> None:
    """Every kind is stored, a killed shard is replaced, what it missed is repaired; nothing was refused. And
    the password, which stands in a file, is nowhere else."""
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    password.chmod(0o644)
    database = {"url": writer_url, "password_file": str(password)}
    with (
        a_double(tmp_path, "--no-recording", "--symbols", "3", "--rate", "400") as double,
        a_service(tmp_path, double, database=database, spot={"symbols": "*", "kinds": KINDS}) as service,
    ):
        service.wait_books_live()
        assert all("hunter2" not in words_of(pid) for pid in service.shard_pids().values())
        assert service.log_lines("database.password_file_open_to_all")
        os.kill(next(iter(service.shard_pids().values())), signal.SIGKILL)
        wait_until("a gap is repaired", lambda: service.value(_REPAIRED))
        for table in ("trades", "agg_trades", "book_tickers", "depth_deltas", "depth_snapshots", "tickers"):
            assert service.value(f"SELECT count(*) FROM spot.{table}") > 0
        assert service.stop() == 0
        log = service.log.read_text(errors="replace")

    assert [text for text in (*_REFUSED, "hunter2") if text in log] == []
    assert all(b"hunter2" not in job.read_bytes() for job in (service.data_dir / "run").iterdir())
