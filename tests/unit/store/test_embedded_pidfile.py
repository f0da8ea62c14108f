"""A number in a pid file is believed only when the process behind it is proved to be a server."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.store import embedded_pidfile
from ingest.store.embedded_pidfile import (
    PidFile,
    Process,
    Verdict,
    judge,
    look_up,
    number_is_taken,
    processes_in,
    read_pid_file,
)

CLUSTER = Path("/data/postgres/cluster")
PID_FILE = PidFile(pid=4711, data_directory=str(CLUSTER), started_at_s=1_000_000)
ARGV = ("/lib/pg/bin/postgres", "-D", str(CLUSTER), "-c", "cluster_name=ingest")


def process(
    argv: tuple[str, ...] = ARGV, *, in_cluster: bool | None = True, started_at_s: float = 999_999.0
) -> Process:
    return Process(4711, argv, in_cluster, started_at_s)


def verdict(found: Process) -> Verdict:
    return judge(found, CLUSTER, PID_FILE)


def test_server_with_our_mark_in_the_data_directory_is_ours() -> None:
    """Standing in the data directory with our mark on the command line is proof."""
    assert verdict(process()) is Verdict.OURS


def test_server_without_our_mark_belongs_to_somebody_else() -> None:
    """A server on the directory that lacks the mark was started by hand."""
    assert verdict(process(ARGV[:3])) is Verdict.OTHER_SERVER


@pytest.mark.parametrize("argv", [(), ("sleep", "60"), ("sh", "-D", str(CLUSTER)), ("/usr/bin/psql",)])
def test_process_that_is_no_server_is_unrelated(argv: tuple[str, ...]) -> None:
    """Another program that got the number is unrelated, even if it stands in the directory."""
    assert verdict(process(argv)) is Verdict.UNRELATED


def test_server_that_stands_elsewhere_is_unrelated() -> None:
    """The kernel's word on the working directory outweighs the command line."""
    assert verdict(process(in_cluster=False)) is Verdict.UNRELATED


def test_command_line_and_start_time_decide_where_the_directory_is_not_told() -> None:
    """Without a known working directory a named directory and a fitting start time are needed."""
    assert verdict(process(in_cluster=None)) is Verdict.OURS
    assert verdict(process((*ARGV[:2], "/elsewhere", *ARGV[3:]), in_cluster=None)) is Verdict.UNRELATED


@pytest.mark.parametrize("started_at_s", [1_000_060.0, 990_000.0])
def test_start_time_that_does_not_fit_means_another_process(started_at_s: float) -> None:
    """A process much younger or much older than the file is not the one that wrote it."""
    assert verdict(process(in_cluster=None, started_at_s=started_at_s)) is Verdict.UNRELATED


def test_directory_with_a_space_is_recognised_in_split_words() -> None:
    """`ps` cannot tell an argument with a space from two arguments; it is recognised all the same."""
    cluster = Path("/data/My Files/cluster")
    words = ("/lib/postgres", "-D", "/data/My", "Files/cluster", "-c", "cluster_name=ingest")

    assert judge(process(words, in_cluster=None), cluster, PID_FILE) is Verdict.OURS


def test_pid_file_is_read_with_its_number_made_positive(tmp_path: Path) -> None:
    """A server without network marks its number with a minus sign."""
    path = tmp_path / "postmaster.pid"
    path.write_text("-4711\n/data/postgres/cluster\n1000000\n5432\n")

    assert read_pid_file(path) == PID_FILE


@pytest.mark.parametrize("content", ["", "4711\n", "nonsense\n/data\n1\n", "4711\n/data\nx\n", "\x00\x00"])
def test_incomplete_pid_file_is_none(tmp_path: Path, content: str) -> None:
    """A file that a full disk or a crash cut short names nobody."""
    path = tmp_path / "postmaster.pid"
    path.write_text(content)

    assert read_pid_file(path) is None
    assert read_pid_file(tmp_path / "absent") is None


def test_own_process_is_looked_up_with_its_facts(tmp_path: Path) -> None:
    """The system's answer for this very process: its command line, and that it stands elsewhere."""
    found = look_up(os.getpid(), tmp_path)

    assert found is not None
    assert "python" in found.argv[0]
    assert not found.in_cluster


@pytest.mark.skipif(shutil.which("ps") is None, reason="no ps")
def test_ps_tells_the_same_start_time_as_the_kernel(tmp_path: Path) -> None:
    """Where there is no /proc, `ps` gives command line and start time."""
    exact, told = look_up(os.getpid(), tmp_path), embedded_pidfile._from_ps(os.getpid())

    assert exact is not None
    assert told is not None
    assert abs(exact.started_at_s - told.started_at_s) < 3
    assert told.argv[0] == exact.argv[0]


@pytest.mark.skipif(shutil.which("ps") is None, reason="no ps")
@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1])
def test_impossible_number_is_nobody(tmp_path: Path, pid: int) -> None:
    """No process has these numbers, and asking for them signals nobody."""
    assert look_up(pid, tmp_path) is None
    assert embedded_pidfile._from_ps(2**22 + 1) is None


def test_unreaped_process_does_not_run_but_takes_its_number(tmp_path: Path) -> None:
    """A dead child that nobody waited for is no server, though its number still answers."""
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.DEVNULL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert look_up(child.pid, tmp_path) is None
    assert number_is_taken(child.pid)

    child.wait()
    assert not number_is_taken(child.pid)


def test_no_server_stands_in_an_empty_directory(tmp_path: Path) -> None:
    """Processes that are not PostgreSQL's do not count, wherever they stand."""
    assert list(processes_in(tmp_path)) == []
