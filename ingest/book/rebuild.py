"""A book of the past from what was stored: a snapshot and the deltas behind it.

Pure. A book is never shown beyond a hole: when a delta is missing, what is rebuilt is the book before
it, and the missing range is told.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ingest.book.levels import Book, book_of
from ingest.events import DepthDelta, DepthSnapshot


@dataclass(frozen=True, slots=True)
class RebuiltBook:
    """`book` is right after `update_id`, at the exchange's time `ts_us`.

    `missing` is the first range of updates that is not stored; None when the book reaches as far as
    the deltas do.
    """

    book: Book
    update_id: int
    ts_us: int
    deltas_applied: int
    missing: tuple[int, int] | None


def rebuild(snapshot: DepthSnapshot, deltas: Iterable[DepthDelta]) -> RebuiltBook:
    """Apply deltas, ordered by their ids, to a snapshot; those that it already holds are skipped."""
    book = book_of(snapshot)
    update_id, ts_us, applied = snapshot.last_update_id, snapshot.ts_us, 0
    for delta in deltas:
        if delta.final_update_id <= update_id:
            continue
        if delta.first_update_id > update_id + 1:
            return RebuiltBook(book, update_id, ts_us, applied, (update_id + 1, delta.first_update_id - 1))
        book.apply(delta.bids, delta.asks)
        update_id, ts_us, applied = delta.final_update_id, delta.ts_us, applied + 1
    return RebuiltBook(book, update_id, ts_us, applied, None)
