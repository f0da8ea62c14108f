"""Records become a block and come back."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.capture.records import Kind, Record, pack, unpack

U32 = st.integers(0, 2**32 - 1)
RECORDS = st.builds(
    Record, st.integers(0, 255), U32, U32, st.integers(-(2**63), 2**63 - 1), st.binary(max_size=300)
)


@given(st.lists(RECORDS, min_size=1, max_size=40))
def test_records_come_back_as_they_were(records: list[Record]) -> None:
    """Whatever their kinds, numbers and payloads."""
    assert unpack(pack(records)) == records


def test_plain_tuples_are_records() -> None:
    """What the event loop makes needs no class of its own."""
    assert unpack(pack([(Kind.FRAME, 1, 2, 3, b"x")])) == [Record(1, 1, 2, 3, b"x")]


@given(st.lists(RECORDS, min_size=1, max_size=5), st.data())
def test_cut_block_is_refused(records: list[Record], data: st.DataObject) -> None:
    """No part of a block is taken for a block."""
    block = pack(records)
    cut = data.draw(st.integers(0, len(block) - 1))

    with pytest.raises(ValueError, match="block"):
        unpack(block[:cut])


@given(st.binary(max_size=200))
@example(b"\xff" * 4)
@example(bytes(4))
def test_bytes_that_are_no_block_raise_nothing_but_value_error(block: bytes) -> None:
    """Damage is told in one way."""
    try:
        records = unpack(block)
    except ValueError:
        return
    assert pack(records) == block


def test_block_without_records_is_refused() -> None:
    """There would be nothing to read."""
    with pytest.raises(ValueError, match="at least one"):
        pack([])
