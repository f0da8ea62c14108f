"""What is whole is read, whatever is damaged around it."""

from io import BytesIO
from pathlib import Path
from zlib import crc32

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ingest.capture.files import (
    Block,
    Damage,
    encode_header,
    header_of,
    is_capture_name,
    read_header,
)
from ingest.capture.records import pack
from ingest.errors import CaptureUnreadable
from tests.unit.capture.builders import HEADER, a_file, read, records_in, some_frames

BLOCKS = [some_frames(3, first=0), some_frames(1, first=3), some_frames(40, first=4)]
FILE = a_file(BLOCKS)
ENDS = [found.end for found in read(FILE) if isinstance(found, Block)]
"""Where each block ends."""
START = len(encode_header(HEADER))


def test_blocks_come_back_in_their_order() -> None:
    """Numbered from 0, the last one ending with the file."""
    found = read(FILE)

    assert [each.records for each in found if isinstance(each, Block)] == BLOCKS
    assert [each.number for each in found if isinstance(each, Block)] == [0, 1, 2]
    assert ENDS[-1] == len(FILE)


def test_header_comes_back() -> None:
    """With everything that a replay needs."""
    assert read_header(BytesIO(FILE)) == HEADER


@given(st.integers(START, len(FILE) - 1))
def test_file_that_is_cut_anywhere_is_read_up_to_its_last_whole_block(cut: int) -> None:
    """And says where it is cut, unless that is between two blocks."""
    whole = [end for end in ENDS if end <= cut]
    found = read(FILE[:cut])

    assert records_in(found) == [record for block in BLOCKS[: len(whole)] for record in block]
    start = whole[-1] if whole else START
    damages = [each for each in found if isinstance(each, Damage)]
    assert damages == ([] if cut == start else [Damage(start, cut, damages[0].reason)])


@given(st.integers(START, len(FILE) - 1), st.integers(1, 255))
def test_damaged_byte_costs_its_block_and_no_other(place: int, change: int) -> None:
    """What is behind it is read, and the place of the damage is told."""
    data = bytearray(FILE)
    data[place] ^= change
    broken = next(number for number, end in enumerate(ENDS) if place < end)
    found = read(bytes(data))

    assert records_in(found) == [r for n, block in enumerate(BLOCKS) if n != broken for r in block]
    (damage,) = (each for each in found if isinstance(each, Damage))
    assert (damage.start, damage.end) == ((START, *ENDS)[broken], ENDS[broken])


@given(st.integers(0, len(FILE)), st.binary(min_size=1, max_size=60))
def test_bytes_put_in_between_are_told_and_never_raise(place: int, more: bytes) -> None:
    """Nothing that was not written is read, and at most one block is lost."""
    try:
        found = read(FILE[:place] + more + FILE[place:])
    except CaptureUnreadable:
        assert place < START
        return
    everything = [record for block in BLOCKS for record in block]
    assert all(record in everything for record in records_in(found))
    assert sum(isinstance(each, Block) for each in found) >= len(BLOCKS) - 1
    assert place in {0, START} or any(isinstance(each, Damage) for each in found)


@given(st.integers(0, START - 1), st.integers(1, 255))
def test_damaged_header_is_told(place: int, change: int) -> None:
    """A file of which nobody knows what it is is not played."""
    data = bytearray(FILE)
    data[place] ^= change

    with pytest.raises(CaptureUnreadable):
        read_header(BytesIO(bytes(data)))


def test_header_of_another_file_names_the_file(tmp_path: Path) -> None:
    """So that one can be told from many."""
    for content in (b"", b"12345678 something else", FILE[: START - 1]):
        path = tmp_path / "a.capture.zst"
        path.write_bytes(content)
        with pytest.raises(CaptureUnreadable, match="a.capture.zst"):
            header_of(path)


def test_newer_format_is_refused() -> None:
    """With both numbers."""
    data = encode_header(HEADER)
    body = data[8:-4].replace(b'"format":1', b'"format":9')
    newer = data[:8] + body + crc32(body).to_bytes(4, "little")

    with pytest.raises(CaptureUnreadable, match="format 9"):
        read_header(BytesIO(newer))


def test_any_reader_of_zstd_reads_the_blocks() -> None:
    """Header and marks are frames that it skips."""
    reader = zstandard.ZstdDecompressor().stream_reader(FILE, read_across_frames=True)

    assert reader.read() == b"".join(map(pack, BLOCKS))


def test_name_tells_shard_run_and_part() -> None:
    """And is known as one of ours, as nothing else is."""
    assert HEADER.file_name() == "shard-3-20261122T113509184-000001.capture.zst"
    assert is_capture_name(HEADER.file_name())
    assert not is_capture_name("shard-3.capture.zst")
    assert not is_capture_name(f"{HEADER.file_name()}.bak")
