"""Who runs on a data directory: PostgreSQL's pid file, checked against the processes there are.

A number in a file proves nothing: after a crash it may belong to anybody. The kernel's own facts do: a
server stands in its data directory, and its command line carries our mark. Where the kernel does not
tell the working directory (macOS, another user's process), command line and start time must agree.

Invariant: only a process that is proved to be ours is ever signalled.
"""

import os
import subprocess
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from ingest.store.embedded_settings import MARK

_PROC = Path("/proc")
_PS_DEADLINE_S = 10.0
_STATUS_LINE = 7
"""Counted from 0: PostgreSQL's LOCK_FILE_LINE_PM_STATUS."""
_LATEST_START_S = 5
_EARLIEST_START_S = 120


class PidFile(NamedTuple):
    """The lines of `postmaster.pid` that identify a server."""

    pid: int
    data_directory: str
    started_at_s: int


class Process(NamedTuple):
    """What the system tells about a living process; `in_cluster` is None where it does not tell."""

    pid: int
    argv: tuple[str, ...]
    in_cluster: bool | None
    started_at_s: float


class Verdict(Enum):
    """What the process named by a pid file is."""

    OURS = "a server that this program started on this data directory"
    OTHER_SERVER = "a server on this data directory that somebody else started"
    UNRELATED = "no server on this data directory"


def read_pid_file(path: Path) -> PidFile | None:
    """None when there is none or when it is not complete."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        # A negative number is PostgreSQL's way of marking a server without network.
        return PidFile(abs(int(lines[0])), lines[1], int(lines[2]))
    except (OSError, ValueError, IndexError):
        return None


def is_stopping(cluster: Path) -> bool:
    """Whether the server on this folder says of itself that it is about to end."""
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "stopping"


def judge(process: Process, cluster: Path, pid_file: PidFile) -> Verdict:
    """Tell a server of ours from somebody else's and from a process that only has its number."""
    if not _runs_on(process, cluster, pid_file):
        return Verdict.UNRELATED
    return Verdict.OURS if f"cluster_name={MARK}" in process.argv else Verdict.OTHER_SERVER


def _runs_on(process: Process, cluster: Path, pid_file: PidFile) -> bool:
    if not process.argv or Path(process.argv[0]).name != "postgres":
        return False
    if process.in_cluster is not None:
        return process.in_cluster
    age_s = process.started_at_s - pid_file.started_at_s
    # Joined, because `ps` does not tell an argument with a space from two.
    named = f"-D {cluster} " in " ".join((*process.argv, ""))
    return named and -_EARLIEST_START_S <= age_s <= _LATEST_START_S


def look_up(pid: int, cluster: Path) -> Process | None:
    """The process, or None when there is none that still runs (an unreaped one does not)."""
    if pid <= 0:
        return None
    return _from_proc(pid, cluster) if (_PROC / "self/stat").exists() else _from_ps(pid)


def _from_proc(pid: int, cluster: Path) -> Process | None:
    folder = _PROC / str(pid)
    try:
        state, *numbers = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        argv = (folder / "cmdline").read_bytes()
    except OSError:
        return None
    if state in "ZX":
        return None
    words = tuple(word.decode(errors="surrogateescape") for word in argv.split(b"\0") if word)
    started_at_s = _boot_time_s() + int(numbers[18]) / os.sysconf("SC_CLK_TCK")
    return Process(pid, words, _stands_in(folder / "cwd", cluster), started_at_s)


def _boot_time_s() -> float:
    lines = (_PROC / "stat").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("btime ")))


def _stands_in(link: Path, cluster: Path) -> bool | None:
    """Compared by file, not by name: the folder may have been moved or mounted elsewhere."""
    try:
        return link.samefile(cluster)
    except PermissionError:
        return None
    except OSError:
        return False


def _from_ps(pid: int) -> Process | None:
    """What `ps` tells where there is no /proc."""
    command = ("ps", "-ww", "-o", "lstart=", "-o", "command=", "-p", str(pid))
    environment = {"LC_ALL": "C", "PATH": os.defpath}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_PS_DEADLINE_S, env=environment, check=False
    )
    words = done.stdout.split()
    if done.returncode != 0 or len(words) < 6:
        return None
    started = datetime.strptime(" ".join(words[:5]), "%a %b %d %H:%M:%S %Y").astimezone()
    return Process(pid, tuple(words[5:]), None, started.timestamp())


def processes_in(cluster: Path) -> Iterator[Process]:
    """Every PostgreSQL process that stands in the data directory, servers and their children alike.

    Empty where there is no /proc.
    """
    for entry in _PROC.glob("[0-9]*"):
        try:
            postgres = (entry / "comm").read_text(errors="replace").strip() == "postgres"
        except OSError:
            continue
        if postgres and (process := _from_proc(int(entry.name), cluster)) is not None and process.in_cluster:
            yield process


def number_is_taken(pid: int) -> bool:
    """Whether PostgreSQL would take `pid` for alive: it only asks whether the number answers."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return False  # another user's: PostgreSQL knows that its own server cannot be that
    return True
