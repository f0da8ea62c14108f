"""Two accounts of the same trades compared row by row: what is missing, extra or different in ours.

Works on one stretch of ids at a time, of which both sides are given whole. Times are compared in
milliseconds, the coarser of the units in use; numbers by their value, so that padding does not count.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal, NamedTuple, TypeAlias

from ingest.events import AggTrade, Trade

SHOWN: Final = 20
"""Differences that are kept as examples."""


class Fact(NamedTuple):
    """One trade: its id, its time, and its fields as printed."""

    row_id: int
    ts_ms: int
    fields: tuple[str, ...]


Kind: TypeAlias = Literal["missing", "extra", "different"]


class Difference(NamedTuple):
    """`missing`: they have it and we do not; `extra`: the reverse, or ours is there twice."""

    kind: Kind
    ours: Fact | None
    theirs: Fact | None

    @property
    def row_id(self) -> int:
        fact = self.ours or self.theirs
        assert fact is not None
        return fact.row_id


@dataclass(slots=True)
class Account:
    """The sum of all stretches, and the first `SHOWN` differences."""

    theirs: int = 0
    ours: int = 0
    counts: dict[Kind, int] = field(default_factory=lambda: {"missing": 0, "extra": 0, "different": 0})
    examples: list[Difference] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        return not any(self.counts.values())

    def add(self, ours: Iterable[Fact], theirs: Iterable[Fact]) -> None:
        """Compare one stretch, in whatever order."""
        known = {fact.row_id: fact for fact in theirs}
        self.theirs += len(known)
        stored: dict[int, list[Fact]] = {}
        for fact in ours:
            self.ours += 1
            stored.setdefault(fact.row_id, []).append(fact)
        for row_id, facts in stored.items():
            self._compare(facts, known.get(row_id))
        for row_id in sorted(known.keys() - stored.keys()):
            self._found(Difference("missing", None, known[row_id]))

    def _compare(self, facts: list[Fact], other: Fact | None) -> None:
        """One id: of rows that we have twice, one that agrees is the right one."""
        if other is not None:
            right = next((place for place, fact in enumerate(facts) if _same(fact, other)), None)
            fact = facts.pop(right or 0)
            if right is None:
                self._found(Difference("different", fact, other))
        for fact in facts:
            self._found(Difference("extra", fact, None))

    def _found(self, difference: Difference) -> None:
        self.counts[difference.kind] += 1
        if len(self.examples) < SHOWN:
            self.examples.append(difference)


def _same(ours: Fact, theirs: Fact) -> bool:
    if ours == theirs:
        return True
    return ours.ts_ms == theirs.ts_ms and all(
        mine == other or Decimal(mine) == Decimal(other)
        for mine, other in zip(ours.fields, theirs.fields, strict=True)
    )


def trade_fact(trade: Trade) -> Fact:
    """A trade as it is compared."""
    fields = (trade.price, trade.qty, str(int(trade.buyer_is_maker)))
    return Fact(trade.trade_id, trade.ts_us // 1_000, fields)


def agg_trade_fact(agg: AggTrade) -> Fact:
    """An aggregate trade as it is compared."""
    ids = (str(agg.first_trade_id), str(agg.last_trade_id))
    fields = (agg.price, agg.qty, str(int(agg.buyer_is_maker)), *ids)
    return Fact(agg.agg_trade_id, agg.ts_us // 1_000, fields)
