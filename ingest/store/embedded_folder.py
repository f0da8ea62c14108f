"""The embedded server's folder: what lies where, who owns it, whether there is room.

    <data_dir>/cluster        PostgreSQL's data directory, complete or absent
    <data_dir>/cluster.new    an initialisation that was not finished; never used
    <data_dir>/socket/        the server's socket, unless the path is too long for one
    <data_dir>/socket_dir     then: where it is instead
    <data_dir>/server.log     what the server says, and server.log.1, both bounded
    <data_dir>/owner.lock     locked (flock) by the supervising process, with its process id
    <data_dir>/binaries       a copy of the programs, only where the installed ones cannot be read

Invariants: one supervising process at a time, by the kernel's lock and not by a number in a file; a
socket lies in a folder that only its owner may enter.
"""

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.errors import EmbeddedServerError
from ingest.store.embedded_binaries import give_tree

SOCKET_NAME = ".s.PGSQL.5432"
_MAX_SOCKET_PATH_BYTES = 100  # `sun_path` holds 104 bytes on macOS and 108 on Linux, the ending zero included
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.+~-]+")
_LOG_LIMIT_BYTES = 8 * 1024 * 1024
_LOG_KEPT_BYTES = 1024 * 1024


class DataFolder:
    """One data folder, not yet touched."""

    def __init__(self, data_dir: Path) -> None:
        self.top = data_dir.absolute()
        self.cluster = self.top / "cluster"
        self.unfinished = self.top / "cluster.new"
        self.binaries = self.top / "binaries"
        self.log = self.top / "server.log"
        self._older_log = self.top / "server.log.1"
        self._socket_note = self.top / "socket_dir"
        self._lock_path = self.top / "owner.lock"
        self._lock_fd: int | None = None

    # ------------------------------------------------------------------ ownership

    def claim(self) -> None:
        """Make the folder and lock it for this process. EmbeddedServerError when another holds it."""
        if self._lock_fd is not None:
            return
        with self.errors_named("prepare"):
            self.top.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._lock(fd)
        except BaseException:
            os.close(fd)
            raise
        self._lock_fd = fd

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise EmbeddedServerError(
                f"the database in {self.top} is already in use by process {owner}: "
                "stop that one, or choose another data folder"
            ) from None
        with self.errors_named("prepare"):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)

    def is_held_by_another(self) -> bool:
        """Whether a living process holds the folder; asking changes nothing."""
        try:
            fd = os.open(self._lock_path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def release(self) -> None:
        """Let another process have the folder; harmless when not claimed."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def lend_to(self, owner: tuple[int, int]) -> None:
        """Let (uid, gid) own the folder itself, not what is in it."""
        with self.errors_named("change the owner of"):
            os.chown(self.top, *owner)

    def give_to(self, owner: tuple[int, int]) -> None:
        """Let (uid, gid) own what the server must write; the whole tree only when it does not yet."""
        self.lend_to(owner)
        with self.errors_named("change the owner of"):
            for path in (self.cluster, self.top / "socket"):
                if path.exists() and path.stat().st_uid != owner[0]:
                    give_tree(path, owner)

    # ------------------------------------------------------------------ room

    def require_space(self, least_bytes: int) -> None:
        """EmbeddedServerError when the file system has less left than `least_bytes`."""
        free = self.free_bytes()
        if free < least_bytes:
            raise EmbeddedServerError(
                f"the disk is nearly full: {free} bytes are free at {self.top}, "
                f"the database needs at least {least_bytes}: make room, or choose another data folder"
            )

    def free_bytes(self) -> int:
        """Bytes that an ordinary user may still write where the folder is or will be."""
        place = next(path for path in (self.top, *self.top.parents) if path.exists())
        found = os.statvfs(place)
        return found.f_bavail * found.f_frsize

    @contextmanager
    def errors_named(self, action: str) -> Iterator[None]:
        """Turn the system's refusal into an error that names the folder."""
        try:
            yield
        except OSError as error:
            raise EmbeddedServerError(
                f"cannot {action} the data folder {self.top}: {error.strerror}"
                + (f" ({error.filename})" if error.filename else "")
                + f"; it has {self._free_text()}"
            ) from error

    def _free_text(self) -> str:
        try:
            return f"{self.free_bytes()} bytes free"
        except OSError:
            return "no readable file system"

    # ------------------------------------------------------------------ socket

    def socket_dir(self) -> Path:
        """A private folder for the socket, the same in every start as long as it stands."""
        inside = self.top / "socket"
        with self.errors_named("put a socket into"):
            if _fits(inside):
                inside.mkdir(mode=0o700, exist_ok=True)
                inside.chmod(0o700)
                return inside
            return self._noted_socket_dir() or self._new_socket_dir()

    def _noted_socket_dir(self) -> Path | None:
        """The folder of an earlier start, if it is still there and still ours alone."""
        if not self._socket_note.exists():
            return None
        noted = Path(self._socket_note.read_text(encoding="utf-8").strip())
        try:
            found = noted.lstat()
        except OSError:
            return None
        owners = {os.geteuid(), self.top.stat().st_uid}
        private = stat.S_ISDIR(found.st_mode) and found.st_uid in owners and not found.st_mode & 0o077
        return noted if private and _fits(noted) else None

    def _new_socket_dir(self) -> Path:
        made = Path(tempfile.mkdtemp(prefix="ingest-pg-"))
        if not _fits(made):
            made.rmdir()
            made = Path(tempfile.mkdtemp(prefix="ingest-pg-", dir="/tmp"))
        self._socket_note.write_text(f"{made}\n", encoding="utf-8")
        return made

    def drop_socket_dir(self) -> None:
        """Remove a socket folder that lies outside the data folder; nobody listens there any more.

        Does nothing when the folder is not claimed: somebody else may be using it.
        """
        if self._lock_fd is not None and (noted := self._noted_socket_dir()) is not None:
            shutil.rmtree(noted, ignore_errors=True)
            self._socket_note.unlink(missing_ok=True)

    # ------------------------------------------------------------------ log

    def open_log(self) -> int:
        """A descriptor for the server's output. It appends, so the file may be cut while it is open."""
        with self.errors_named("write the log in"):
            return os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def bound_log(self, limit_bytes: int = _LOG_LIMIT_BYTES) -> None:
        """Keep the end of a log that has grown past the limit as `server.log.1` and empty it.

        The server writes through a descriptor of its own, so the file is cut in place; lines written
        between the copy and the cut are lost.
        """
        if self.log_size() > limit_bytes:
            try:
                self._older_log.write_bytes(self.log_since(self.log_size() - _LOG_KEPT_BYTES))
            except OSError:  # a full disk: cutting is the cure
                self._older_log.unlink(missing_ok=True)
            os.truncate(self.log, 0)

    def log_size(self) -> int:
        try:
            return self.log.stat().st_size
        except FileNotFoundError:
            return 0

    def log_since(self, offset: int) -> bytes:
        """The log from `offset` on, its end if that is long; all of it if it was cut meanwhile."""
        size = self.log_size()
        start = max(0, offset if offset <= size else 0, size - _LOG_KEPT_BYTES)
        with self.log.open("rb") as file:
            file.seek(start)
            return file.read(_LOG_KEPT_BYTES)


def _fits(folder: Path) -> bool:
    """Whether PostgreSQL and asyncpg both take `folder` as a socket's place.

    Both split it at commas, and both put it into an address of fixed size.
    """
    path = str(folder / SOCKET_NAME)
    return len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES and _PLAIN_PATH.fullmatch(path) is not None
