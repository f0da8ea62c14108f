"""What both lines of a stream have missed, said once: what is left of a gap's row, and when it is cut.

Pure. Each line writes its own row for what it has missed. Where such rows overlap, or reach further than
what is missing on both, they say too much; this decides what is left of a row:

    the row, less what some line is known to have stored, less what another row says is missing

Only rows of kinds that cannot be fetched again: of the others REST finds out what is missing. The largest
row goes first, so that the smaller one, which says it better, stays. Whatever is not known to be stored is
still said by a row after each step, whichever order they come in.

Ids are inclusive. A row without ids is bounded by the times of its neighbours, which are not missing: it
stands for the milliseconds between them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from ingest.binance.streams import REPAIRABLE
from ingest.events import StreamKey
from ingest.sequence.backfill import IdRange, without
from ingest.supervisor.lines import MissedRange, Span


class Part(NamedTuple):
    """What is left of a row, or another row of its stream, in the ledger's terms; times in microseconds."""

    first_id: int | None
    last_id: int | None
    start_us: int | None
    end_us: int | None


class Beside(NamedTuple):
    """Another row of the same stream that overlaps or touches."""

    part: Part
    is_missing: bool
    """Whether the ledger still says so; a closed row tells no more than the times around it."""


def ripe(
    pending: Collection[tuple[MissedRange, float]], now_s: float, *, review_s: float
) -> list[MissedRange]:
    """Rows that had `review_s` seconds to be covered as a whole, the largest first.

    One that overlaps a younger row waits for that one, up to as long again.
    """
    unfetchable = [(gap, now_s - seen_s) for gap, seen_s in pending if gap.key.kind not in REPAIRABLE]
    young: Mapping[StreamKey, list[IdRange]] = defaultdict(list)
    for gap, age_s in unfetchable:
        if age_s <= review_s and (extent := _extent(gap)) is not None:
            young[gap.key].append(extent)
    late = [
        gap
        for gap, age_s in unfetchable
        if age_s > 2 * review_s or (age_s > review_s and not _overlaps(gap, young.get(gap.key, ())))
    ]
    return sorted(late, key=lambda gap: (-_size(gap), gap.gap_id))


def remains(gap: MissedRange, stored: Iterable[Span], beside: Sequence[Beside]) -> list[Part] | None:
    """What is left of a row; None when it is right as it is.

    `stored` are ids without a break, in the unit of the kind's gaps.
    """
    whole = _extent(gap)
    if whole is None:
        return None
    left = [whole]
    for span in stored:
        if span.since_id <= span.committed_id:
            left = without(left, IdRange(*span))
    for other in beside:
        if other.is_missing and (extent := _extent(other.part)) is not None:
            left = without(left, extent)
    if left == [whole]:
        return None
    return [_part(gap, whole, run, beside) for run in left]


def _extent(row: MissedRange | Part) -> IdRange | None:
    """The ids, or milliseconds, that a row says are missing; None where it says nothing."""
    if row.first_id is not None and row.last_id is not None:  # as every row of a kind with ids
        extent = IdRange(row.first_id, row.last_id)
    elif row.start_us is not None and row.end_us is not None:
        extent = IdRange(row.start_us // 1_000 + 1, row.end_us // 1_000 - 1)
    else:
        return None
    return extent if extent.first <= extent.last else None


def _size(gap: MissedRange) -> int:
    extent = _extent(gap)
    return 0 if extent is None else extent.last - extent.first + 1


def _overlaps(gap: MissedRange, ranges: Iterable[IdRange]) -> bool:
    extent = _extent(gap)
    return extent is not None and any(
        extent.first <= other.last and other.first <= extent.last for other in ranges
    )


def _part(gap: MissedRange, whole: IdRange, run: IdRange, beside: Iterable[Beside]) -> Part:
    """A range of the row with the times of its neighbours, as far as rows tell; else those of the row."""
    start_us, end_us = gap.start_us, gap.end_us
    if gap.first_id is None or gap.last_id is None:
        start_us = start_us if run.first == whole.first else (run.first - 1) * 1_000
        end_us = end_us if run.last == whole.last else (run.last + 1) * 1_000
        return Part(None, None, start_us, end_us)
    known = [other.part for other in beside]
    starts = [each.start_us for each in known if each.first_id == run.first and each.start_us is not None]
    ends = [each.end_us for each in known if each.last_id == run.last and each.end_us is not None]
    return Part(
        run.first,
        run.last,
        start_us if run.first == whole.first else max(starts, default=start_us),
        end_us if run.last == whole.last else min(ends, default=end_us),
    )
