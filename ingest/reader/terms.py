"""The terms on which a caller reads: what every method takes by name, beside what it is asked.

The defaults refuse; whoever lets something pass has to say so where it is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypedDict

from ingest.reader.arrow import Prices
from ingest.reader.kinds import known_market
from ingest.reader.rows import Hole
from ingest.reader.times import MaxAge, length

CHUNK_ROWS: Final = 500_000
LEVELS: Final = 20


class FreshTerms(TypedDict, total=False):
    """Terms on how new the data have to be.

    `max_age`: how far behind now, by the database's clock, the known end of the stream may lie; a timedelta
    or seconds. By default as long as the service lets the stream be silent, which is its learned threshold,
    and five seconds for a proof; ten seconds at least. A span that is over has to be known up to its own end
    only.
    `allow_stale`: True gives what there is, however old.
    """

    market: str
    max_age: MaxAge | None
    allow_stale: bool


class Terms(FreshTerms, total=False):
    """`require_complete`: False gives what there is, whatever is missing.

    True (the default): nothing may be missing by the gap ledger, by the ids themselves, or because what is
    stored begins later.
    """

    require_complete: bool


class TableTerms(Terms, total=False):
    """`prices`: how prices and quantities are shown, "float" (float64) or "decimal" (exact: decimal128(38,
    18)).
    """

    prices: Prices | None


class CandleTerms(TableTerms, total=False):
    """`with_open`: True gives the running candle, too."""

    with_open: bool


class PartTerms(TableTerms, total=False):
    """`chunk`: how long a part is, or about how many rows it has. `progress`: True shows a bar."""

    chunk: timedelta | int
    progress: bool


class BookTerms(FreshTerms, total=False):
    """`levels`: how many of the best levels a side."""

    levels: int


class ReplayTerms(Terms, total=False):
    """`levels`: how many of the best levels a side."""

    levels: int


class FollowTerms(Terms, total=False):
    """`patience_s`: how long the repair of a hole is waited for.

    `on_hole`: with `require_complete=False`, is told what is passed over, right before the row behind it.
    """

    patience_s: float
    on_hole: Callable[[Hole], None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """All terms with their defaults; TypeError for one that is misspelt."""

    market: str = "spot"
    max_age: MaxAge | None = None
    allow_stale: bool = False
    require_complete: bool = True
    prices: Prices | None = None
    with_open: bool = False
    chunk: timedelta | int = CHUNK_ROWS
    progress: bool = False
    levels: int = LEVELS
    patience_s: float = 60.0
    on_hole: Callable[[Hole], None] | None = None

    def __post_init__(self) -> None:
        """UnknownName for a market that is not stored, ValueError for a negative age or an empty part."""
        known_market(self.market)
        if self.max_age is not None:
            length(self.max_age)
        if self.levels < 1:
            raise ValueError(f"a book has at least one level: levels={self.levels!r}")
        rows = self.chunk / timedelta(microseconds=1) if isinstance(self.chunk, timedelta) else self.chunk
        if rows < 1:
            raise ValueError(f"a part is longer than nothing: chunk={self.chunk!r}")

    @property
    def allowed_age(self) -> timedelta | None:
        """`max_age` as a length of time."""
        return None if self.max_age is None else length(self.max_age)
