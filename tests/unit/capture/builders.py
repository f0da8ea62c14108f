"""Captures as tests want them: a header, and files of blocks in memory."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

from ingest.capture.files import (
    Block,
    Damage,
    Header,
    encode_block,
    encode_header,
    new_compressor,
    read_blocks,
    read_header,
)
from ingest.capture.records import Kind, Record, pack

HEADER = Header(
    program="1.2.3", shard=3, run=1_795_347_309_184_000_000, part=1, stored_levels=50, store_every_s=300.0
)


def a_frame(number: int, *, feed: int = 4, epoch: int = 1) -> Record:
    """A frame whose payload and time tell its number."""
    return Record(Kind.FRAME, feed, epoch, HEADER.run + number * 1_000_000, b'{"frame":%d}' % number)


def some_frames(count: int, *, first: int = 0) -> list[Record]:
    return [a_frame(number) for number in range(first, first + count)]


def a_file(blocks: Sequence[Sequence[Record]], *, part: int = 1) -> bytes:
    """The bytes of a file with these blocks."""
    compressor = new_compressor(1)
    data = [encode_header(replace(HEADER, part=part))]
    data += [encode_block(number, pack(block), len(block), compressor) for number, block in enumerate(blocks)]
    return b"".join(data)


def read(data: bytes) -> list[Block | Damage]:
    """What stands behind the header of a file."""
    file = BytesIO(data)
    read_header(file)
    return list(read_blocks(file))


def records_in(found: Sequence[Block | Damage]) -> list[Record]:
    """The records of all blocks."""
    return [record for each in found if isinstance(each, Block) for record in each.records]
