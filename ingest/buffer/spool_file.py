"""The spool's file: SQLite in WAL mode, one row for each batch, held by one process at a time.

Labels and payloads are in two tables, so that damage to one leaves the other. A file that is not ours, of
another version, or too damaged to be opened, is set aside under another name and never deleted: what was
in it the next live message tells, because nothing behind it was committed.

Synchronous; every method may be called from any thread, one at a time gets in. Knows no policy.
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from ingest.buffer.spool_format import DamagedBatch, Packed, checked, label_of, sum_of, unpack
from ingest.errors import SpoolError

VERSION: Final = 1
APPLICATION_ID: Final = int.from_bytes(b"ISPL", "big")
_BUSY_S: Final = 5.0
_MOST_SUSPECTS: Final = 100_000
_SIDE_FILES: Final = ("", "-wal", "-shm")

_SCHEMA: Final = f"""
PRAGMA page_size = 16384;
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE labels (seq INTEGER PRIMARY KEY AUTOINCREMENT, label BLOB NOT NULL, label_sum BLOB NOT NULL);
CREATE TABLE payloads (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""


_Execute: TypeAlias = Callable[[str, Sequence[object]], sqlite3.Cursor]


class Entry(NamedTuple):
    """A batch in the file; `label` (its bytes) is None when neither it nor the payload can be read."""

    seq: int
    label: bytes | None
    size_bytes: int


class SpoolFile:
    """Made by `opened`; `set_aside` is what a file that could not be used is called now."""

    def __init__(self, path: Path, connection: sqlite3.Connection, synchronous: str) -> None:
        self.path = path
        self.set_aside: Path | None = None
        self._connection = connection
        self._synchronous = synchronous
        self._turn = threading.Lock()

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, *, synchronous: Literal["full", "normal"], wall_ns: int
    ) -> Iterator["SpoolFile"]:
        """Open or make the file. Raises SpoolError when another process has it, or the folder cannot be used.

        `wall_ns` goes into the name of a file that is set aside.
        """
        lock_fd = _locked(path)
        try:
            file = _opened(path, synchronous, wall_ns)
            try:
                yield file
            finally:
                file.close()
        finally:
            os.close(lock_fd)

    # ------------------------------------------------------------------ what is there

    def entries(self) -> Iterator[Entry]:
        """All batches in their order, the damaged among them. Reads labels; payloads where there is none."""
        with self._turn:
            seqs = self._seqs()
        for seq in seqs:
            with self._turn:
                entry = self._entry(seq)
            yield entry

    def _seqs(self) -> list[int]:
        found: set[int] = set()
        is_whole = True
        for query in (
            "SELECT seq FROM labels ORDER BY seq",
            "SELECT seq FROM labels ORDER BY seq DESC",
            "SELECT seq FROM payloads ORDER BY seq",
            "SELECT seq FROM payloads ORDER BY seq DESC",
        ):
            # What stands before the damage is read from one end, what stands behind it from the other.
            try:
                found.update(row[0] for row in self._connection.execute(query))
            except sqlite3.DatabaseError:
                is_whole = False
        return sorted(found) if is_whole else _with_holes(sorted(found))

    def _entry(self, seq: int) -> Entry:
        size_bytes = self._size(seq)
        try:
            label, label_sum = self._one("SELECT label, label_sum FROM labels WHERE seq = ?", seq)
            if isinstance(label, bytes):
                return Entry(seq, checked(label, label_sum), size_bytes)
        except (sqlite3.DatabaseError, DamagedBatch):
            pass
        try:
            return Entry(seq, label_of(self._payload(seq)), size_bytes)
        except DamagedBatch:
            return Entry(seq, None, size_bytes)

    def _size(self, seq: int) -> int:
        try:
            (size,) = self._one("SELECT length(payload) FROM payloads WHERE seq = ?", seq)
        except (sqlite3.DatabaseError, TypeError):
            return 0
        return size if isinstance(size, int) else 0

    def _one(self, query: str, seq: int) -> tuple[object, ...]:
        row: tuple[object, ...] | None = self._connection.execute(query, (seq,)).fetchone()
        if row is None:
            raise sqlite3.DatabaseError("not there")
        return row

    def rows(self, seq: int) -> list[bytes]:
        """A batch's rows. Raises DamagedBatch."""
        with self._turn:
            payload = self._payload(seq)
        return unpack(payload)[1]

    def _payload(self, seq: int) -> bytes:
        try:
            (payload,) = self._one("SELECT payload FROM payloads WHERE seq = ?", seq)
        except sqlite3.DatabaseError as error:
            raise DamagedBatch(str(error)) from error
        if not isinstance(payload, bytes):
            raise DamagedBatch("the payload is no longer one")
        return payload

    def packed(self, seq: int, label: bytes) -> Packed:
        """A batch as it lies here, for another file; without its rows when they are damaged."""
        with self._turn:
            try:
                payload = self._payload(seq)
            except DamagedBatch:
                payload = b""
        return Packed(label, sum_of(label), payload)

    # ------------------------------------------------------------------ coming and going

    def add(self, packed: Packed) -> int:
        """Keep a batch, in one transaction; its number, higher than all before. Raises sqlite3.Error."""
        with self._turn, self._transaction() as execute:
            seq = execute(
                "INSERT INTO labels (label, label_sum) VALUES (?, ?)", (packed.label, packed.label_sum)
            ).lastrowid
            assert seq is not None
            execute("INSERT INTO payloads (seq, payload) VALUES (?, ?)", (seq, packed.payload))
        return seq

    def remove(self, seqs: Sequence[int]) -> None:
        """Forget batches. Raises sqlite3.Error; what is removed already is no error."""
        with self._turn, self._transaction() as execute:
            for seq in seqs:
                execute("DELETE FROM payloads WHERE seq = ?", (seq,))
                execute("DELETE FROM labels WHERE seq = ?", (seq,))

    def flush(self) -> None:
        """Bring what was written to the disk itself. For `synchronous` "normal"; the other does so always."""
        with self._turn:
            fd = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def size_bytes(self) -> int:
        """What the file takes on the disk, without its log."""
        return self.path.stat().st_size

    def shrink(self) -> None:
        """Give the room of what was removed back to the disk."""
        with self._turn:
            self._connection.execute("PRAGMA incremental_vacuum").fetchall()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def start_over(self, wall_ns: int) -> None:
        """Set this file aside as damaged and begin an empty one. Raises SpoolError."""
        with self._turn:
            self._connection.close()
            self.set_aside = _aside(self.path, "damaged", wall_ns)
            _rename(self.path, self.set_aside)
            self._connection = _made(self.path, self._synchronous)

    def discard(self) -> None:
        """Remove the file: what was in it lies elsewhere by now."""
        with self._turn:
            self._connection.close()
            for suffix in _SIDE_FILES:
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    def close(self) -> None:
        """Close it. What is in it stays."""
        with self._turn:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[_Execute]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection.execute
        except BaseException:
            # SQLite itself has rolled back after some errors, such as a full disk.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _with_holes(seqs: Sequence[int]) -> list[int]:
    """The numbers, and those between them that damage may hide."""
    if not seqs or seqs[-1] - seqs[0] >= _MOST_SUSPECTS:
        return list(seqs)
    return list(range(seqs[0], seqs[-1] + 1))


def _locked(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise SpoolError(f"the spool {path} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise SpoolError(f"the spool {path} is in use by another process") from error
    return fd


def _opened(path: Path, synchronous: str, wall_ns: int) -> SpoolFile:
    connection, aside = None, None
    if path.exists():
        connection, why = _existing(path)
        if connection is None:
            aside = _aside(path, why, wall_ns)
            _rename(path, aside)
        else:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
    file = SpoolFile(path, connection or _made(path, synchronous), synchronous)
    file.set_aside = aside
    return file


def _existing(path: Path) -> tuple[sqlite3.Connection | None, str]:
    """A connection to a file that is ours, or why it is not one."""
    connection = _connect(path)
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if (application, version) == (APPLICATION_ID, VERSION):
            for table in ("labels", "payloads"):
                connection.execute(f"PRAGMA table_info({table})").fetchall()
            return connection, ""
    except sqlite3.DatabaseError:
        connection.close()
        return None, "damaged"
    connection.close()
    return None, f"version-{version}" if application == APPLICATION_ID else "foreign"


def _made(path: Path, synchronous: str) -> sqlite3.Connection:
    draft = path.with_suffix(".new")
    for suffix in _SIDE_FILES:
        Path(f"{draft}{suffix}").unlink(missing_ok=True)
    try:
        # Under another name first: a file with the right name is whole.
        with contextlib.closing(_connect(draft)) as made:
            made.executescript(_SCHEMA)
        draft.rename(path)
        connection = _connect(path)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
    except (sqlite3.Error, OSError) as error:
        raise SpoolError(f"the spool {path} cannot be made: {error}") from error
    return connection


def _aside(path: Path, why: str, wall_ns: int) -> Path:
    return path.with_name(f"{path.stem}.{why}-{wall_ns}{path.suffix}")


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)


def _rename(path: Path, aside: Path) -> None:
    for suffix in _SIDE_FILES:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
