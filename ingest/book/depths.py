"""How deep each book shall be known, and which one is looked at next; within the weight that is to spare.

Pure. A snapshot of 100 levels a side costs 5 of the address's weight, one of 1,000 costs 50 and one of
5,000 costs 250: fourteen hundred books at once are affordable only when they begin shallow. So a book
begins as deep as the room allows, and is deepened later, the most active first. Looking again is never
urgent: whoever asks says how much weight is to spare, and gets nothing to do when that is too little.

    first    for a start with many books at once
    full     what every book shall have in the end
    deepest  what the `deepest_books` most active ones shall have after that

A look compares, too (`ingest.book.audit`), so every deepening is an audit; a plain audit is a shallow look at
a book that was drawn by lot.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from random import Random

Weight: TypeAlias = Callable[[int], int]
"""What a snapshot of so many levels a side costs."""

_TRY_AGAIN_AFTER_S: Final = 10.0
"""Before a book is tried again whose look came to nothing."""
_LOOK_AGAIN_AFTER_S: Final = 300.0
"""Before a book is deepened once more: one that lost its levels as fast would be fetched for ever."""
_FIRST_SHARE: Final = 0.5
"""Of the room, for the books that are missing: the rest is left to what else needs weight."""
_THIN: Final = 0.5
"""A book with a smaller share of the levels that it shall have is as good as a shallow one."""


@dataclass(frozen=True, slots=True)
class DepthGoals:
    """Levels a side; see the module."""

    first: int = 100
    full: int = 1_000
    deepest: int = 5_000
    deepest_books: int = 0
    audit: int = 100


class KnownDepth(NamedTuple):
    """What is known of one live book.

    `asked` are the levels a side of its deepest snapshot; `levels` are those that are known now, of the
    side that was cut and has fewer of them, None when neither was.
    """

    symbol: str
    asked: int
    levels: int | None
    updates_per_s: float
    looked_at_s: float


class Look(NamedTuple):
    """Fetch a snapshot of so many levels a side, and compare."""

    symbol: str
    levels: int
    why: Literal["deepen", "audit"]


def first_levels(goals: DepthGoals, weight: Weight, *, missing: int, room: int) -> int:
    """Return how deep to begin: full when all `missing` books can have that at once, else shallow."""
    is_affordable = missing * weight(goals.full) <= room * _FIRST_SHARE
    return goals.full if is_affordable else min(goals.first, goals.full)


def next_deepening(
    books: Sequence[KnownDepth], goals: DepthGoals, weight: Weight, *, room: int, now_s: float
) -> Look | None:
    """Return the book that deserves it most, None when there is none or no room for it.

    A book that is known too little comes before one that is to be among the deepest; a cheaper one never
    overtakes a more active one, which would then wait for ever.
    """
    shallow = [book for book in books if _wants(book, goals.full, now_s)]
    if shallow:
        return _affordable(max(shallow, key=_activity), goals.full, weight, room)
    chosen = nlargest(goals.deepest_books, books, key=_activity)
    deserving = [book for book in chosen if _wants(book, goals.deepest, now_s)]
    return _affordable(deserving[0], goals.deepest, weight, room) if deserving else None


def next_audit(
    books: Sequence[KnownDepth], goals: DepthGoals, weight: Weight, *, room: int, rng: "Random"
) -> Look | None:
    """Draw a book to be audited; None when there is none or no room."""
    if not books or weight(goals.audit) > room:
        return None
    return Look(rng.choice(books).symbol, goals.audit, "audit")


def is_short(book: KnownDepth, goal: int) -> bool:
    """Tell whether a book is known less far than the goal asks for; one that is known whole never is."""
    return book.levels is not None and (book.asked < goal or book.levels < goal * _THIN)


def _wants(book: KnownDepth, goal: int, now_s: float) -> bool:
    wait_s = _TRY_AGAIN_AFTER_S if book.asked < goal else _LOOK_AGAIN_AFTER_S
    return is_short(book, goal) and now_s - book.looked_at_s >= wait_s


def _activity(book: KnownDepth) -> tuple[float, str]:
    return book.updates_per_s, book.symbol


def _affordable(book: KnownDepth, levels: int, weight: Weight, room: int) -> Look | None:
    return Look(book.symbol, levels, "deepen") if weight(levels) <= room else None
