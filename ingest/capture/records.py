"""The records of a capture, and how many of them become the bytes of one block.

A capture is everything that a shard's decisions depend on, in the order in which it happened: frames,
connections, streams that come and go, answers of REST, and the readings of the clock that end up in rows.
Whoever plays the records to the same code gets the same rows.

    kind      feed, epoch  stamp_ns                payload
    FRAME     its own      arrival                 the frame, as received
    OPENED    its own      opening                 {"url"}
    ENDED     its own      opening of what ended   {"reason", "code", "age_s", "messages", "seamless"}
    ADDED     feed         -                       {"stream": [market, symbol, kind], "line", "resume"}
    REMOVED   feed         -                       {"streams": [[market, symbol, kind], ...]}
    BROKE     feed         -                       {"streams": [...], "cause"}: away for a reason of their own
    SNAPSHOT  -            arrival                 {"symbol", "lastUpdateId", "bids", "asks"} of a book,
                                                   with "known": how low bids, how high asks are known
    LOOK      -            -                       {"symbol"}: a live book is compared with the next SNAPSHOT
    FAILED    -            -                       {"symbol"}: its snapshot could not be had
    TICK      -            -                       books are looked after now
    INSTANT   -            the shard's cached time its monotonic clock, a little-endian double
    CLOCK     -            a reading of the clock  made while what stands before it was dealt with
    OVERLAP   feed         -                       {"step"}: a connection hands over to the next, see below
    STANDING  -            -                       {"streams": [[feed, line, streams], ...], "open": [...]}
    MISSING   -            -                       {"records"}: so many found the writer too far behind
    CLOSED    -            -                       the run has ended in order, or goes on in the next file

An OVERLAP's `step` is `begin` (with "limits"; the successor is the next connection of the feed to be opened),
`judge` (with "now_s" and "live_s", some times a second), `finish` or `abandon`.

`epoch` counts a feed's connections from 1. `resume` is the newest stored [id, time in µs], null without
one; `line` is above 1 where another shard keeps the books of the feed's streams. A STANDING begins each file
but the first of a run, so that a file can be played when those before it are gone; its `open` holds
[feed, epoch, opening, url].

A block is columns, each cut into planes of equal bytes because those compress better, then the payloads:

    u32 n | n x u8 kind | u32 feed | u32 epoch | i64 stamp_ns | u32 length | payloads, one after the other

Pure. Invariant: `unpack(pack(records)) == records`; bytes that are not a block raise ValueError.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple


class Kind(IntEnum):
    """See the table above. The numbers are the file's: never given to another meaning."""

    FRAME = 1
    OPENED = 2
    ENDED = 3
    ADDED = 4
    REMOVED = 5
    BROKE = 6
    SNAPSHOT = 7
    FAILED = 8
    TICK = 9
    INSTANT = 10
    CLOCK = 11
    STANDING = 12
    MISSING = 13
    CLOSED = 14
    LOOK = 15
    OVERLAP = 16


class Record(NamedTuple):
    """One thing that happened. `kind` is a plain number: a newer program may know more kinds."""

    kind: int
    feed: int = 0
    epoch: int = 0
    stamp_ns: int = 0
    payload: bytes = b""


NOW_S: Final = struct.Struct("<d")
"""The payload of an INSTANT."""

_COUNT: Final = struct.Struct("<I")
_COLUMNS: Final = (("B", 1), ("I", 4), ("I", 4), ("q", 8), ("I", 4))
_WIDTH: Final = sum(width for _, width in _COLUMNS)


def pack(records: "Sequence[Record | tuple[int, int, int, int, bytes]]") -> bytes:
    """The bytes of a block. ValueError without records."""
    if not records:
        raise ValueError("a block holds at least one record")
    kinds, feeds, epochs, stamps, payloads = zip(*records, strict=True)
    columns = (kinds, feeds, epochs, stamps, [len(payload) for payload in payloads])
    parts = [_COUNT.pack(len(records))]
    for (code, width), column in zip(_COLUMNS, columns, strict=True):
        plain = struct.pack(f"<{len(records)}{code}", *column)
        parts += [plain[plane::width] for plane in range(width)]
    return b"".join((*parts, *payloads))


def unpack(block: bytes) -> list[Record]:
    """The records of a block, in their order. ValueError when the bytes are not one."""
    if len(block) < _COUNT.size:
        raise ValueError("a block without a count")
    (count,) = _COUNT.unpack_from(block)
    start = _COUNT.size + count * _WIDTH
    if not count or len(block) < start:
        raise ValueError(f"a block of {len(block)} bytes cannot hold {count} records")
    columns, at = [], _COUNT.size
    for code, width in _COLUMNS:
        columns.append(_joined(block[at : at + count * width], count, width, code))
        at += count * width
    kinds, feeds, epochs, stamps, lengths = columns
    if start + sum(lengths) != len(block):
        raise ValueError(f"a block of {len(block)} bytes, and records of {start + sum(lengths)}")
    records = []
    for kind, feed, epoch, stamp_ns, length in zip(kinds, feeds, epochs, stamps, lengths, strict=True):
        records.append(Record(kind, feed, epoch, stamp_ns, block[start : start + length]))
        start += length
    return records


def _joined(planes: bytes, count: int, width: int, code: str) -> tuple[int, ...]:
    plain = bytearray(len(planes))
    for plane in range(width):
        plain[plane::width] = planes[plane * count : (plane + 1) * count]
    return struct.unpack(f"<{count}{code}", plain)
