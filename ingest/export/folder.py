"""The folder of an export: files under their final name only when they are whole, and one exporter at a time.

A file is written under another name beside its place, synced, renamed, and its folder synced. What a killed
export has left lying is removed by the next one.
"""

import fcntl
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ingest.errors import ConfigError, ExportError
from ingest.export.manifest import Manifest

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MANIFEST: Final = "manifest.json"
_PART: Final = ".part"
_CHUNK: Final = 1 << 20


class HashedFile(io.RawIOBase):
    """A file that is only written to, from its beginning to its end; knows its checksum and its length."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _told(path):
            self._file = path.open("xb")
        self._sum = hashlib.sha256()
        self.size_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write all of it; ExportError when the disk does not take it."""
        view = memoryview(data)
        with _told(self._path):
            self._file.write(view)
        self._sum.update(view)
        self.size_bytes += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size_bytes

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()

    def sync(self) -> None:
        """Bring all that was written to the disk."""
        with _told(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if not self.closed:
            with suppress(OSError):
                self._file.close()
        super().close()


@contextmanager
def whole_file(path: Path) -> Iterator[HashedFile]:
    """A file that has its name once the block is left without an error, and is nowhere otherwise."""
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}{_PART}")
    file = HashedFile(part)
    try:
        yield file
        file.sync()
        file.close()
        with _told(path):
            part.replace(path)
            _sync_folder(path.parent)
    finally:
        file.close()
        part.unlink(missing_ok=True)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Have the folder, made if need be, for this process alone; ConfigError when another has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for part in folder.rglob(f".*{_PART}"):
            part.unlink()
        yield
    except BlockingIOError:
        raise ConfigError(f"another export writes into {folder}") from None
    finally:
        os.close(fd)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None when it has none."""
    try:
        return Manifest.from_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put the manifest in its place, whole or not at all."""
    with whole_file(folder / MANIFEST) as file:
        file.write(manifest.to_json())


def sha256_of(path: Path) -> str:
    """The checksum of a file that is there."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """A refusal of the disk as one of our errors: none of the database's is meant."""
    try:
        yield
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
