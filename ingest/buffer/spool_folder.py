"""All spools of a data folder: whose rows wait where, when the shards are not what they were.

A plan may put a stream on another shard than the one that spooled its rows, and fewer shards than before
leave files that nobody opens. So every shard looks into the others' files for how far its streams reach, and
the first shard takes over what has no owner. Blocks; for the start, or for a thread.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import structlog

from ingest.buffer.origins import Span
from ingest.buffer.spool_file import SpoolFile
from ingest.buffer.spool_format import DamagedBatch, checked, reach, read_label
from ingest.errors import SpoolError
from ingest.events import StreamKey

log = structlog.get_logger()

_NAME: Final = re.compile(r"shard-([0-9]+)\.sqlite")
_BUSY_S: Final = 5.0


def spool_path(data_dir: Path, shard: int) -> Path:
    """Where the spool of a shard lies."""
    return data_dir / "spool" / f"shard-{shard}.sqlite"


def _spools(data_dir: Path) -> Iterator[tuple[int, Path]]:
    for path in sorted((data_dir / "spool").glob("shard-*.sqlite")):
        if match := _NAME.fullmatch(path.name):
            yield int(match[1]), path


def newest_elsewhere(data_dir: Path, shard: int) -> dict[StreamKey, Span]:
    """How far streams reach in the spools of all other shards, which may be writing to them.

    To be read before the database is asked: what leaves a spool afterwards is committed by then.
    """
    found: dict[StreamKey, Span] = {}
    for number, path in _spools(data_dir):
        if number != shard:
            # A file that cannot be read is its owner's concern.
            with suppress(sqlite3.Error):
                _read(path, found)
    return found


def _read(path: Path, found: dict[StreamKey, Span]) -> None:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)) as file:
        for label, label_sum in file.execute("SELECT label, label_sum FROM labels ORDER BY seq"):
            with suppress(DamagedBatch, TypeError):
                reach(found, read_label(checked(label, label_sum)).spans)


def take_over(file: SpoolFile, data_dir: Path, *, shards: int, wall_ns: int) -> None:
    """Move what lies in spools beyond the number of shards into this one, and remove them.

    A file that another process still has open is left to it.
    """
    for number, path in _spools(data_dir):
        if number < shards or path == file.path:
            continue
        try:
            with SpoolFile.opened(path, synchronous="full", wall_ns=wall_ns) as orphan:
                moved = _move(orphan, file)
                orphan.discard()
        except (SpoolError, sqlite3.Error, OSError) as error:
            log.error("spool.not_taken_over", file=str(path), error=str(error))
        else:
            log.warning("spool.taken_over", file=str(path), batches=moved)


def _move(orphan: SpoolFile, to: SpoolFile) -> int:
    moved = 0
    for seq, label, _ in orphan.entries():
        if label is None:
            log.error("spool.unreadable", file=str(orphan.path), batch=seq)
            continue
        to.add(orphan.packed(seq, label))
        moved += 1
    return moved
