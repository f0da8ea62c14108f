"""Look at this machine: folders, locks, disks, limits. Blocks; what lies on a dead disk hangs.

Decides nothing, and leaves nothing behind: the file that it writes is gone before it returns.
"""

import fcntl
import os
import re
import resource
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from math import inf
from pathlib import Path
from typing import Final

from ingest.board.layout import ShardState
from ingest.board.mapped import read_board
from ingest.config import Settings, TopSymbols
from ingest.doctor.machine import MIB, Disk, FileNeed, Folder, Holder, Memory, Owners, Spools
from ingest.errors import BoardError
from ingest.store.running import embedded_folder_of

_PROC: Final = Path("/proc")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_SPOOL_NAME: Final = re.compile(r"shard-[0-9]+\.sqlite")
_BLOCK: Final = b"\0" * 4_096
_ALL_SYMBOLS: Final = 1_500
"""About as many as trade on spot."""
_BUSY_S: Final = 2.0


def is_embedded(settings: Settings) -> bool:
    """Whether the database is the one that the service brings along."""
    return not settings.database.url.get_secret_value()


# ---------------------------------------------------------------------- folder, disk, spool


def look_at_folder(settings: Settings) -> Folder:
    """Whether a file can be written in the data folder, or the folder be made."""
    path = settings.service.data_dir.absolute()
    if path.exists():
        trouble = _writing(path)
    else:
        place = _existing(path)
        may = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
        trouble = "" if may else f"it is not there, and cannot be made in {place}"
    filesystem = _filesystem(_existing(path))
    return Folder(str(path), path.exists(), trouble, filesystem, is_embedded(settings))


def _writing(path: Path) -> str:
    if not path.is_dir():
        return "it is no folder"
    try:
        with tempfile.TemporaryFile(dir=path, prefix=".doctor-") as file:
            file.write(_BLOCK)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _filesystem(path: Path, mounts: Path = _PROC / "self" / "mounts") -> str:
    """The type of the file system that a path lies on; empty where the system does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    resolved, best, kind = path.resolve(), -1, ""
    for _, place, found, *_ in (line.split(" ") for line in lines if line.count(" ") >= 3):
        point = Path(place.replace("\\040", " "))
        # The last one of the same place lies on top.
        if resolved.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), found
    return kind


def look_at_disk(settings: Settings, full_in_s: float | None) -> Disk:
    """Room for the data folder. OSError when the disk cannot be asked."""
    path = _existing(settings.service.data_dir.absolute())
    found = os.statvfs(path)
    spool = settings.spool
    most = settings.service.shards * spool.max_mib * MIB if spool.enabled else 0
    return Disk(
        path=str(path),
        free_bytes=found.f_bavail * found.f_frsize,
        free_files=found.f_favail if found.f_files else None,
        spool_bytes=max(0, most - look_at_spools(settings, 0.0).bytes),
        is_embedded=is_embedded(settings),
        full_in_s=full_in_s,
    )


def look_at_spools(settings: Settings, now_s: float) -> Spools:
    """What waits in the spools; `now_s` is wall time."""
    folder = settings.service.data_dir / "spool"
    batches, size, written_s = 0, 0, []
    aside, unreadable = [], []
    for file in sorted(folder.glob("shard-*.sqlite")):
        if not _SPOOL_NAME.fullmatch(file.name):
            aside.append(file.name)
            continue
        try:
            waiting = _batches(file)
            size += sum(part.stat().st_size for part in folder.glob(f"{file.name}*"))
            written_s += [file.stat().st_mtime] if waiting else []
            batches += waiting
        except (sqlite3.Error, OSError):
            unreadable.append(file.name)
    oldest_s = now_s - min(written_s) if written_s else None
    return Spools(batches, size, oldest_s, tuple(aside), tuple(unreadable))


def _batches(file: Path) -> int:
    uri = f"{file.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S)) as connection:
        (found,) = connection.execute("SELECT count(*) FROM labels").fetchone()
    return int(found)


# ---------------------------------------------------------------------- who else is here


def look_at_owners(settings: Settings) -> Owners:
    """Who holds the locks of the data folder, and shards that nobody supervises."""
    data_dir = settings.service.data_dir
    service = _holder(data_dir / "supervisor.lock")
    database = _holder(embedded_folder_of(data_dir) / "owner.lock")
    return Owners(service, database, () if service else tuple(_leftovers(data_dir)))


def _holder(lock: Path) -> Holder | None:
    """Who holds a lock of ours; None when nobody does, or it cannot be asked."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(fd, 20, 0).decode(errors="replace").strip() or "unknown"
        return Holder(pid, _is_ours(pid))
    finally:
        os.close(fd)
    return None


def _is_ours(pid: str) -> bool:
    """Whether a process of ours is seen under that number, which may be of another container."""
    try:
        return b"ingest" in (_PROC / pid / "cmdline").read_bytes()
    except OSError:
        # Where there is no /proc nothing is known against it.
        return not (_PROC / "self").exists()


def _leftovers(data_dir: Path) -> Iterator[int]:
    for file in sorted((data_dir / "board").glob("shard-*.board")):
        with suppress(BoardError, OSError):
            board = read_board(file)
            command = (_PROC / str(board.identity.pid) / "cmdline").read_bytes()
            if board.header.state is not ShardState.STOPPED and b"ingest.cli.shard" in command:
                yield board.identity.pid


def port_is_taken(host: str, port: int) -> bool:
    """Whether somebody else listens there; of an address that is not ours the start will tell."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        return error.errno in _IN_USE
    return False


_IN_USE: Final = frozenset({98, 48})
"""EADDRINUSE of Linux and of macOS."""


# ---------------------------------------------------------------------- limits


def soft_file_limit() -> float:
    """Files that a process of this user may open; infinity for no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return inf if soft == resource.RLIM_INFINITY else float(soft)


def file_need(settings: Settings) -> FileNeed:
    """What decides how many files a shard opens."""
    spot = settings.spot
    if isinstance(spot.symbols, list):
        symbols = len(spot.symbols)
    else:
        symbols = spot.symbols.top if isinstance(spot.symbols, TopSymbols) else _ALL_SYMBOLS
    return FileNeed(
        streams=symbols * len(spot.kinds) * spot.redundancy,
        streams_per_feed=spot.streams_per_feed,
        shards=settings.service.shards,
        connections=connections_of_a_shard(settings),
    )


def connections_of_a_shard(settings: Settings) -> int:
    """To the database."""
    publishes = "depth" in settings.spot.kinds and settings.spot.latest_book_every_s > 0
    return settings.database.connections + publishes


def look_at_memory(settings: Settings, *, service_runs: bool) -> Memory:
    """What there is for the service: of the container where it has less than the machine."""
    machine, available = _meminfo()
    limit = _cgroup_limit()
    is_container = limit is not None and limit < machine
    waiting_mib = settings.batch.buffer_mib + (settings.capture.buffer_mib if settings.capture.enabled else 0)
    return Memory(
        limit_bytes=limit if is_container and limit is not None else machine,
        limited_by="the limit of the container" if is_container else "of this machine",
        available_bytes=None if service_runs or is_container else available,
        shards=settings.service.shards,
        waiting_bytes=settings.service.shards * waiting_mib * MIB,
        is_embedded=is_embedded(settings),
    )


def _meminfo() -> tuple[int, int | None]:
    """Total, and available where the system tells."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        for line in (_PROC / "meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return total, int(line.split()[1]) * 1_024
    return total, None


def _cgroup_limit(own: Path = _PROC / "self" / "cgroup", root: Path = _CGROUPS) -> int | None:
    """The lowest memory limit on the way from our control group to the root; None without one."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    place = next((line.partition("::")[2] for line in lines if line.startswith("0::")), "/")
    group = root / place.lstrip("/")
    files = [folder / "memory.max" for folder in (group, *group.parents) if folder.is_relative_to(root)]
    files.append(root / "memory" / "memory.limit_in_bytes")
    found = []
    for file in files:
        with suppress(OSError):
            text = file.read_text(encoding="ascii").strip()
            found += [int(text)] if text.isdecimal() else []
    # The first version of control groups says "no limit" by a number beyond all memory.
    return min((limit for limit in found if limit < 2**60), default=None)
