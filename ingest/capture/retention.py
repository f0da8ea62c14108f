"""When a capture's file is full, and which files give way: `drop_oldest_file`.

Pure. Files of one folder share its bounds, whatever shard has written them. A file that is being written is
never dropped, so the bytes may exceed `keep_bytes` by no more than those files hold.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Bounds of a file, and of all files together; None: unbounded."""

    rotate_bytes: int = 256 * 2**20
    rotate_s: float = 3_600.0
    keep_bytes: int | None = None
    keep_s: float | None = None

    def is_full(self, size_bytes: int, age_s: float) -> bool:
        """Whether the next block belongs into another file."""
        return size_bytes >= self.rotate_bytes or age_s >= self.rotate_s


class KeptFile(NamedTuple):
    """A file of the folder; `written_ns` is when its last byte was written, wall clock."""

    name: str
    size_bytes: int
    written_ns: int


def to_drop(files: Iterable[KeptFile], bounds: Retention, *, writing: str, now_ns: int) -> list[str]:
    """The files that are too many or too old, oldest first.

    `writing` is the name of our own open file. The newest file of every other shard may be open as well and
    is kept like it, but for one that is too old: nobody has written to that.
    """
    oldest_first = sorted(files, key=lambda file: (file.written_ns, file.name))
    newest_of_shard = {_shard_of(file.name): file.name for file in oldest_first}
    newest_of_shard[_shard_of(writing)] = writing
    total = sum(file.size_bytes for file in oldest_first)
    dropped = []
    for file in oldest_first:
        is_old = bounds.keep_s is not None and now_ns - file.written_ns > bounds.keep_s * 1e9
        is_too_much = bounds.keep_bytes is not None and total > bounds.keep_bytes
        may_be_open = newest_of_shard[_shard_of(file.name)] == file.name
        if file.name != writing and (is_old or (is_too_much and not may_be_open)):
            dropped.append(file.name)
            total -= file.size_bytes
    return dropped


def _shard_of(name: str) -> str:
    return name.split("-", 2)[1]
