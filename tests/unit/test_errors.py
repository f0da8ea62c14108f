"""Errors that come in groups."""

from typing import cast

from ingest.errors import BoardError, IngestError, SpoolError, StoreError, leaves


def test_leaves_of_nested_groups_come_in_their_order() -> None:
    """However deep the task groups were nested, whoever reports sees the errors alone."""
    first, second, third = StoreError("1"), SpoolError("2"), BoardError("3")
    group = ExceptionGroup("", [ExceptionGroup("", [ExceptionGroup("", [first]), second]), third])

    assert leaves(cast("BaseExceptionGroup[IngestError]", group)) == [first, second, third]
