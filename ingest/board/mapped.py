"""The freshness board's file: mapped by the shard that writes it, read whole by anyone.

One file per shard. The shard changes words in shared memory, which costs no system call; a reader
copies the whole file with one `read`, so it needs no mapping, no lock and no help from the shard, and
it can read what a wedged or killed shard left behind. `layout` says what the words mean and what a
reader may conclude from them.

Invariants:

* A reader never sees a half-made file: it is written beside its place and renamed.
* The blocks of the file are written before they are mapped: a full disk is an error when the board is
  created, never a SIGBUS in the middle of the flow.
"""

import mmap
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ingest.board import layout
from ingest.board.layout import BoardSnapshot, FeedValues, HeaderValues, StreamValues
from ingest.errors import BoardError
from ingest.events import StreamKey

BOARD_MODE = 0o644
"""Anyone on the machine may read how fresh the data are."""


def board_path(data_dir: Path, shard: int) -> Path:
    """Where shard number `shard` of the service with this data folder keeps its board."""
    return data_dir / "board" / f"shard-{shard}.board"


def read_board(path: Path) -> BoardSnapshot:
    """Read one board. BoardError, naming the file, when it is absent, truncated or not one of ours."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BoardError(f"board {path} cannot be read: {error.strerror}") from error
    return layout.decode_board(raw, name=str(path))


class BoardWriter:
    """One shard's board, open for writing. Only the shard's own event loop calls it."""

    def __init__(self, path: Path, mapped: mmap.mmap, *, streams: "_Slots", feeds: "_Slots") -> None:
        self._path = path
        self._mapped = mapped
        self._words = memoryview(mapped).cast("q")
        self._streams = streams
        self._feeds = feeds
        self._streams_at = layout.stream_slot_at(0, feeds=feeds.slots)

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        shard: int,
        pid: int,
        keys: Sequence[StreamKey],
        feeds: Sequence[int],
        started_wall_ns: int,
        spare_streams: int = 0,
        spare_feeds: int = 0,
    ) -> Self:
        """Make the file, replacing what a former shard left, with one slot for each key and feed number.

        The slots' numbers are the positions in `keys` and in `feeds`; so many more of each are free, for
        streams and feeds to come. BoardError when a key has no place or the file cannot be made.
        """
        image = layout.initial_words(
            keys,
            shard=shard,
            pid=pid,
            feeds=feeds,
            started_wall_ns=started_wall_ns,
            spare_streams=spare_streams,
            spare_feeds=spare_feeds,
        )
        try:
            mapped = _make_file(path, image.tobytes())
        except OSError as error:
            raise BoardError(f"board {path} cannot be written: {error.strerror}") from error
        return cls(
            path, mapped, streams=_Slots(len(keys), spare_streams), feeds=_Slots(len(feeds), spare_feeds)
        )

    @property
    def free_streams(self) -> int:
        """Slots for streams that are not taken."""
        return len(self._streams.free)

    @property
    def free_feeds(self) -> int:
        return len(self._feeds.free)

    def adopt_stream(self, key: StreamKey) -> int:
        """Give a new stream a free slot. BoardError when there is none, or when the key has no place."""
        words = layout.key_words(key)
        slot = self._streams.take("stream")
        at = self._streams_at + slot * layout.STREAM_WORDS
        self._write(at + layout.KEY_WORDS, StreamValues())
        self._words[at + 1 : at + layout.KEY_WORDS] = words[1:]
        self._words[at] = words[0]
        return slot

    def release_stream(self, slot: int) -> None:
        """Give a slot back; it is free for readers at once. IndexError for one that is not taken."""
        self._streams.give_back(slot)
        self._words[self._streams_at + slot * layout.STREAM_WORDS] = 0

    def adopt_feed(self, number: int) -> int:
        """Give a new feed a free slot. BoardError when there is none."""
        slot = self._feeds.take("feed")
        at = layout.feed_values_at(slot)
        values = FeedValues(feed=number)
        self._write(at + 1, values[1:])
        self._words[at] = number
        return slot

    def release_feed(self, slot: int) -> None:
        """Give a slot back; it is free for readers at once. IndexError for one that is not taken."""
        self._feeds.give_back(slot)
        self._words[layout.feed_values_at(slot)] = layout.FREE_FEED

    @property
    def path(self) -> Path:
        return self._path

    def beat(self, monotonic_ns: int, wall_ns: int, lag_us: int) -> None:
        """Prove that the event loop turns. `lag_us` is how late this beat comes."""
        words, at = self._words, layout.HEARTBEAT_AT
        words[at] = monotonic_ns
        words[at + 1] = wall_ns
        words[at + 2] = lag_us

    def write_header(self, values: HeaderValues) -> None:
        self._write(layout.HEADER_VALUES_AT, values)

    def write_feed(self, index: int, values: FeedValues) -> None:
        """Write feed slot `index`. IndexError for one that is not taken."""
        self._feeds.check(index)
        self._write(layout.feed_values_at(index), values)

    def write_stream(self, index: int, values: StreamValues) -> None:
        """Write stream slot `index`. IndexError for one that is not taken."""
        self._streams.check(index)
        self._write(self._streams_at + index * layout.STREAM_WORDS + layout.KEY_WORDS, values)

    def close(self) -> None:
        """Let go of the file, which stays. Twice is harmless; writing afterwards raises ValueError."""
        self._words.release()
        self._mapped.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, at: int, values: tuple[int, ...]) -> None:
        self._words[at : at + len(values)] = layout.pack_words(values)


class _Slots:
    """Which slots are taken. The one that has been free for longest is given away first."""

    def __init__(self, taken: int, spare: int) -> None:
        self.slots = taken + spare
        self.free = deque(range(taken, self.slots))
        self._taken = set(range(taken))

    def take(self, what: str) -> int:
        if not self.free:
            raise BoardError(f"the board has no room for another {what}: {self.slots} are taken")
        slot = self.free.popleft()
        self._taken.add(slot)
        return slot

    def give_back(self, slot: int) -> None:
        self.check(slot)
        self._taken.remove(slot)
        self.free.append(slot)

    def check(self, slot: int) -> None:
        # Beyond the last slot a slice would be refused by the memoryview, but -1 or a feed's number
        # that is one too high would quietly fall into a neighbour.
        if slot not in self._taken:
            raise IndexError(f"slot {slot} of {self.slots} is not taken")


def _make_file(path: Path, image: bytes) -> mmap.mmap:
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name, not one for each attempt: a shard that is killed here leaves nothing that piles up.
    unfinished = path.with_name(f"{path.name}.new")
    try:
        mapped = _write_and_map(unfinished, image)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    return mapped


def _write_and_map(path: Path, image: bytes) -> mmap.mmap:
    with path.open("w+b") as file:
        os.fchmod(file.fileno(), BOARD_MODE)
        file.write(image)
        file.flush()
        return mmap.mmap(file.fileno(), len(image), access=mmap.ACCESS_WRITE)
