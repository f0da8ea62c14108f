"""The file of a capture: a header, then blocks, each readable without the others.

    file    header, block, block, ...
    header  skippable zstd frame (184D2A5C): JSON, then its CRC-32
    block   mark, then one zstd frame with its checksum, which holds a block of `capture.records`
    mark    skippable zstd frame (184D2A5D): u64 number, u32 records, u32 bytes of the zstd frame,
            u32 bytes of the block, then the CRC-32 of these

All numbers are little-endian. Blocks of a file are numbered from 0 without a hole. The header's JSON is

    {"format": 1, "program": "...", "shard": 0, "run": started_wall_ns, "part": 1,
     "stored_levels": 1000, "store_every_s": 300.0}

A *run* is one life of a shard's process; its files are its *parts*, numbered from 1. Because the header and
the marks are skippable frames, `zstd -dc` reads such a file, too.

What is whole is read whatever is damaged around it: a file that was cut ends with its last whole block, and
behind damaged bytes reading goes on at the next mark. What was not read is told, with its place.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from zlib import crc32

import orjson
import zstandard

from ingest.capture.records import Record, unpack
from ingest.errors import CaptureUnreadable

FORMAT: Final = 1
SUFFIX: Final = ".capture.zst"
MAX_BLOCK_BYTES: Final = 256 * 2**20
"""More than any block has: a length beyond it is damage, and nothing is reserved for it."""

_HEADER_MAGIC: Final = 0x184D2A5C
_MARK_MAGIC: Final = 0x184D2A5D
_FRAME: Final = struct.Struct("<II")
_MARK: Final = struct.Struct("<QIIII")
_CRC: Final = struct.Struct("<I")
_MARK_START: Final = _FRAME.pack(_MARK_MAGIC, _MARK.size)
_MARK_BYTES: Final = _FRAME.size + _MARK.size
_MAX_HEADER_BYTES: Final = 65_536
_SEARCHED_BYTES: Final = 2**20
_NAME: Final = re.compile(r"shard-(\d+)-(\d{8}T\d{9})-(\d{6,})" + re.escape(SUFFIX))


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says of itself; `stored_levels` and `store_every_s` are the settings of its books."""

    program: str
    shard: int
    run: int
    part: int
    stored_levels: int
    store_every_s: float

    def file_name(self) -> str:
        """Of the file of this part: sorts by shard, run and part."""
        started = datetime.fromtimestamp(self.run // 1_000_000_000, UTC)
        milliseconds = self.run // 1_000_000 % 1_000
        return f"shard-{self.shard}-{started:%Y%m%dT%H%M%S}{milliseconds:03d}-{self.part:06d}{SUFFIX}"


class Block(NamedTuple):
    """A whole block; `end` is the byte behind it."""

    number: int
    records: list[Record]
    end: int


class Damage(NamedTuple):
    """Bytes `start`..`end` (exclusive) of a file that could not be read, and why."""

    start: int
    end: int
    reason: str


def is_capture_name(name: str) -> bool:
    """Whether a file is one of ours, by its name."""
    return _NAME.fullmatch(name) is not None


def encode_header(header: Header) -> bytes:
    """The first bytes of a file."""
    fields = {
        "format": FORMAT,
        "program": header.program,
        "shard": header.shard,
        "run": header.run,
        "part": header.part,
        "stored_levels": header.stored_levels,
        "store_every_s": header.store_every_s,
    }
    body = orjson.dumps(fields)
    return _FRAME.pack(_HEADER_MAGIC, len(body) + _CRC.size) + body + _CRC.pack(crc32(body))


def encode_block(number: int, plain: bytes, records: int, compressor: zstandard.ZstdCompressor) -> bytes:
    """A mark and the compressed block. The compressor writes checksums and the size of its content."""
    data = compressor.compress(plain)
    facts = _MARK.pack(number, records, len(data), len(plain), 0)[: -_CRC.size]
    return b"".join((_MARK_START, facts, _CRC.pack(crc32(facts)), data))


def new_compressor(level: int) -> zstandard.ZstdCompressor:
    """A compressor as `encode_block` wants it."""
    return zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)


def read_header(file: BinaryIO) -> Header:
    """The header at the start of a file; leaves the file behind it. CaptureUnreadable says what it is not."""
    start = file.read(_FRAME.size)
    if len(start) < _FRAME.size:
        raise CaptureUnreadable("too short for a capture's header")
    magic, size = _FRAME.unpack(start)
    if magic != _HEADER_MAGIC or not _CRC.size < size <= _MAX_HEADER_BYTES:
        raise CaptureUnreadable("not a capture, or its first bytes are damaged")
    body, check = (whole := file.read(size))[: -_CRC.size], whole[-_CRC.size :]
    if len(whole) < size or check != _CRC.pack(crc32(body)):
        raise CaptureUnreadable("the header is damaged")
    return _header(body)


def _header(body: bytes) -> Header:
    try:
        tree = orjson.loads(body)
        if tree["format"] != FORMAT:
            raise CaptureUnreadable(f"format {tree['format']}; this program reads {FORMAT}")
        return Header(
            program=tree["program"],
            shard=int(tree["shard"]),
            run=int(tree["run"]),
            part=int(tree["part"]),
            stored_levels=int(tree["stored_levels"]),
            store_every_s=float(tree["store_every_s"]),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise CaptureUnreadable(f"the header says nothing that is known here: {error!r}") from error


def header_of(path: Path) -> Header:
    """The header of a file. CaptureUnreadable names the file."""
    try:
        with path.open("rb") as file:
            return read_header(file)
    except (OSError, CaptureUnreadable) as error:
        raise CaptureUnreadable(f"{path}: {error}") from error


def read_blocks(file: BinaryIO) -> Iterator[Block | Damage]:
    """What stands behind the header, in its order: whole blocks, and the bytes that are none.

    The file must be one that can seek. Blocks that a hole has swallowed show in the numbers of the others.
    """
    decompressor = zstandard.ZstdDecompressor()
    hole: Damage | None = None
    while True:
        start = file.tell()
        mark = file.read(_MARK_BYTES)
        found = _block(file, mark, start, decompressor) if mark else None
        if isinstance(found, Damage):
            hole = hole or found
            file.seek(_next_mark(file, start + 1))
            continue
        if hole is not None:
            yield hole._replace(end=start)
            hole = None
        if found is None:
            return
        yield found


def _block(
    file: BinaryIO, mark: bytes, start: int, decompressor: zstandard.ZstdDecompressor
) -> Block | Damage:
    if len(mark) < _MARK_BYTES:
        return Damage(start, start, "ends in the middle of a block")
    facts, check = mark[_FRAME.size : -_CRC.size], mark[-_CRC.size :]
    if not mark.startswith(_MARK_START) or check != _CRC.pack(crc32(facts)):
        return Damage(start, start, "no block begins here")
    number, count, size, plain_size, _ = _MARK.unpack(mark[_FRAME.size :])
    if max(size, plain_size) > MAX_BLOCK_BYTES:
        return Damage(start, start, "no block begins here")
    data = file.read(size)
    if len(data) < size:
        return Damage(start, start, "ends in the middle of a block")
    try:
        records = unpack(decompressor.decompress(data, max_output_size=plain_size))
    except (zstandard.ZstdError, ValueError) as error:
        return Damage(start, start, f"block {number} is damaged: {error}")
    if len(records) != count:
        return Damage(start, start, f"block {number} is damaged: {len(records)} records of {count}")
    return Block(number, records, start + _MARK_BYTES + size)


def _next_mark(file: BinaryIO, start: int) -> int:
    """Where the next thing that looks like a mark begins, from `start` on; else the end of the file."""
    file.seek(start)
    at, kept = start, b""
    while chunk := file.read(_SEARCHED_BYTES):
        window = kept + chunk
        found = window.find(_MARK_START)
        if found >= 0:
            return at - len(kept) + found
        at += len(chunk)
        kept = window[-(len(_MARK_START) - 1) :]
    return at
