"""What a book's machine (`ingest.book.sync`) wants done, and tells of the book: values, without behaviour."""

from typing import Literal, NamedTuple, TypeAlias

LostReason: TypeAlias = Literal["gap", "crossed", "exhausted", "disconnected", "malformed", "audit"]
"""`exhausted`: the market has left the range that the snapshot reached."""


class RequestSnapshot(NamedTuple):
    """Fetch a snapshot. `attempt` counts from 0 since the book was last live or the stream came."""

    symbol: str
    attempt: int


class BookLive(NamedTuple):
    """The book is right after `update_id`, and follows every delta from here."""

    symbol: str
    update_id: int


class BookLost(NamedTuple):
    """The book is unknown again, or was found to be wrong.

    For a gap: the first and last update that did not come. For an audit: those since it was last found
    to agree with the exchange's.
    """

    symbol: str
    reason: LostReason
    first_missing: int | None
    last_missing: int | None


class BufferOverflowed(NamedTuple):
    """The buffer is full and loses its oldest deltas from now on; told once for each time of buffering."""

    symbol: str
    max_buffered: int


class BookCompared(NamedTuple):
    """A live book was compared with a snapshot; without `levels` it could not be."""

    symbol: str
    levels: int
    mismatches: int


class BookDeepened(NamedTuple):
    """A live book is known further from the top than before."""

    symbol: str
    update_id: int


Action: TypeAlias = RequestSnapshot | BookLive | BookLost | BufferOverflowed | BookCompared | BookDeepened
