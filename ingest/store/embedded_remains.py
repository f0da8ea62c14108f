"""Clear what a killed supervisor or a killed server left: an orphan, its children, stale files.

Called by the one who holds the folder's lock, so a server of ours that still runs has no owner. It may
be draining the shards of its dead supervisor: it is asked politely first and pressed step by step.

Invariants: nothing is signalled that is not proved ours at that moment; a pid file is removed only when
no server runs on the data directory.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from ingest.errors import EmbeddedServerError
from ingest.store.embedded_folder import SOCKET_NAME
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
from ingest.store.embedded_settings import MARK

Steps = Sequence[tuple[int, float]]
"""Signals, each with the seconds to wait after it; 0 signals nothing."""

_FORCE_STEPS: Steps = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_CHILD_STEPS: Steps = ((0, 1.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_POLL_S = 0.05


async def clear_remains(cluster: Path, socket_dir: Path, *, drain_s: float) -> None:
    """Leave the data directory free for a new server, or raise EmbeddedServerError saying who is on it.

    `drain_s` is how long a server without an owner may wait for the sessions it still has.
    """
    path = cluster / "postmaster.pid"
    pid_file = read_pid_file(path)
    if pid_file is not None:
        # SIGTERM: no new sessions; it ends with the last one.
        await _end_server(pid_file, cluster, ((signal.SIGTERM, drain_s), *_FORCE_STEPS))
    await end_children(cluster)
    # A number that is free is left to PostgreSQL, which then also checks the shared memory of that run.
    if path.exists() and (pid_file is None or number_is_taken(pid_file.pid)):
        path.unlink()
    for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
        (socket_dir / name).unlink(missing_ok=True)


async def _end_server(pid_file: PidFile, cluster: Path, steps: Steps) -> None:
    def running() -> list[int]:
        verdict = _verdict(pid_file, cluster)
        if verdict is Verdict.OTHER_SERVER:
            raise EmbeddedServerError(
                f"another PostgreSQL server, process {pid_file.pid}, runs on {cluster} "
                "and was not started by this program: stop it first"
            )
        return [pid_file.pid] if verdict is Verdict.OURS else []

    await _end(running, steps, cluster)


def _verdict(pid_file: PidFile, cluster: Path) -> Verdict:
    process = look_up(pid_file.pid, cluster)
    return Verdict.UNRELATED if process is None else judge(process, cluster, pid_file)


async def end_children(cluster: Path) -> None:
    """Let the children of a server that was killed end, and end those that do not notice.

    Linux only. Elsewhere PostgreSQL's own check of its shared memory refuses to start beside them.
    """
    await _end(
        lambda: [process.pid for process in processes_in(cluster) if _is_ours(process)], _CHILD_STEPS, cluster
    )


def _is_ours(process: Process) -> bool:
    """Its title, or for a server and a child too young for a title, its command line."""
    title = process.argv[0] if process.argv else ""
    return title.startswith(f"postgres: {MARK}: ") or f"cluster_name={MARK}" in process.argv


async def _end(running: Callable[[], list[int]], steps: Steps, cluster: Path) -> None:
    for number, wait_s in steps:
        for pid in running():
            _signal(pid, number)
        if await _all_gone(running, wait_s):
            return
    raise EmbeddedServerError(
        f"PostgreSQL process {', '.join(map(str, running()))} of an earlier run "
        f"does not end on {cluster}: end it by hand"
    )


def _signal(pid: int, number: int) -> None:
    # It may end between the look and the signal: that is what was wanted.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def _all_gone(running: Callable[[], list[int]], wait_s: float) -> bool:
    try:
        async with asyncio.timeout(wait_s):
            while running():
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        return False
    return True
