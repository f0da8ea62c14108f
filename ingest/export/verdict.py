"""Whether a range of a stream is all there: from its gaps, its freshness, its ids, and the rows beside it.

Decides what is said to be missing. A reason is a sentence; no reason means that nothing is missing that the
exchange published and that can be known of. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeAlias

from ingest.export.kinds import Kind

Span: TypeAlias = tuple[int, int]
"""First and last id, both inclusive."""


class LedgerGap(NamedTuple):
    """A row of `ops.gaps` that is not repaired."""

    gap_id: int
    state: str
    cause: str
    first_id: int | None
    last_id: int | None
    start_ts: datetime | None
    end_ts: datetime | None
    opened_at: datetime
    closed_at: datetime | None
    note: str


@dataclass(slots=True)
class IdTally:
    """The ids of a file as its rows come: lowest, highest, and what lies between and did not come.

    Rows come by time, and so nearly by id. `missing` is bounded by the holes that there are; ids that need
    not be consecutive have none.
    """

    is_consecutive: bool = True
    first: int | None = None
    last: int | None = None
    missing: list[Span] = field(default_factory=list)

    def add(self, runs: Iterable[Span]) -> None:
        """Take ids without a hole, run after run."""
        for first, last in runs:
            if self.last is None or self.first is None:
                self.first, self.last = first, last
                continue
            if not self.is_consecutive:
                pass
            elif first > self.last + 1:
                self.missing.append((self.last + 1, first - 1))
            elif first < self.first:
                self.missing += [(last + 1, self.first - 1)] if last + 1 < self.first else []
            elif self.missing:
                self.missing = without(self.missing, [(first, last)])
            self.first, self.last = min(first, self.first), max(last, self.last)


def without(spans: Iterable[Span], taken: Sequence[Span]) -> list[Span]:
    """What is left of spans of ids when others are taken away."""
    left = list(spans)
    for first, last in taken:
        left = [
            part
            for low, high in left
            for part in ((low, min(high, first - 1)), (max(low, last + 1), high))
            if part[0] <= part[1]
        ]
    return left


class Beside(NamedTuple):
    """The last id before a range and the first behind it; None where no row is there."""

    before: int | None
    behind: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known about a range when its rows are read."""

    kind: Kind
    from_ts: datetime
    to_ts: datetime
    gaps: Sequence[LedgerGap]
    known_until: datetime | None
    beside: Beside | None
    ids: IdTally
    not_closed: int = 0
    """Candles that may still change."""
    not_complete: int = 0
    """Candles that say so themselves."""


def before_reading(found: Found) -> list[str]:
    """The reasons that need no row of the range: gaps, freshness, nothing before it."""
    reasons = [_gap(gap) for gap in found.gaps if gap.state != "absent_at_exchange"]
    if found.beside is None:
        return reasons
    if found.beside.before is None:
        since = _moment(found.from_ts)
        reasons.append(f"nothing is stored before {since}: nobody knows whether it was watched by then")
    fresh = found.known_until is not None and found.known_until >= found.to_ts
    if found.beside.behind is None and not fresh:
        known = "" if found.known_until is None else f", only up to {_moment(found.known_until)}"
        reasons.append(f"not fresh: nothing says that all up to {_moment(found.to_ts)} is stored{known}")
    return reasons


def after_reading(found: Found) -> list[str]:
    """The reasons that the rows themselves give."""
    reasons = [
        f"ids {first}..{last} are not stored, and the ledger knows nothing of it"
        for first, last in _holes(found)
    ]
    if found.not_closed:
        reasons.append(f"{found.not_closed} candles are not closed")
    if found.not_complete:
        reasons.append(f"{found.not_complete} candles are not complete")
    return reasons


def _holes(found: Found) -> list[Span]:
    """Ids that lack between rows, and between them and the rows beside them, and stand in no gap."""
    if not found.kind.is_consecutive:
        return []
    ids, beside = found.ids, found.beside or Beside(None, None)
    missing = list(ids.missing)
    first = ids.first if ids.first is not None else beside.behind
    if beside.before is not None and first is not None:
        missing.append((beside.before + 1, first - 1))
    if beside.behind is not None and ids.last is not None:
        missing.append((ids.last + 1, beside.behind - 1))
    told = [
        (gap.first_id, gap.last_id)
        for gap in found.gaps
        if gap.first_id is not None and gap.last_id is not None
    ]
    return without((span for span in missing if span[0] <= span[1]), told)


def _gap(gap: LedgerGap) -> str:
    ids = "" if gap.first_id is None else f", ids {gap.first_id}..{gap.last_id}"
    times = f"{_moment(gap.start_ts)} to {_moment(gap.end_ts)}"
    return f"gap {gap.gap_id} is {gap.state}: {times}{ids} ({gap.cause})"


def _moment(moment: datetime | None) -> str:
    return "unknown" if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
