"""Which rows there are, and which frames each of them is measured on.

A course is one tape of frames with the rows that run on it; its floor, receive + orjson.loads of the very
same frames, is measured before them and after them in every round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.load import LoadJob
from tests.bench.mix import FOUR_KINDS

FLOOR: Final = "floor"
MIXED: Final = "mix"
_STREAMS_OF_ONE_FEED: Final = 1_024


@dataclass(frozen=True)
class Course:
    """A tape and the rows on it, in the order of measuring."""

    name: str
    load: LoadJob
    rows: Sequence[str]
    streams_per_feed: Mapping[str, int]
    """Of rows that differ from the service's default."""


_ROWS: Final[Mapping[str, Sequence[str]]] = {
    MIXED: ("null", "floor", "picows", "parse", "shard", "quick", "capture", "tls", "stored"),
    "trade": ("trade",),
    "ticker": ("ticker",),
    "depth": ("depth",),
    "streams": ("streams100", "streams1024"),
    "symbols200": ("symbols200",),
    "symbols2000": ("symbols2000",),
    "paced": ("paced", "spool"),
}
ROWS: Final = tuple(row for rows in _ROWS.values() for row in rows)
WITH_DATABASE: Final = frozenset({"stored", "spool"})
WITH_TLS: Final = frozenset({"tls"})


def courses(load: LoadJob, rows: Sequence[str], *, many_symbols: int = 2_000) -> list[Course]:
    """The courses that have any of these rows; `load` is what the mixed one runs on.

    `many_symbols` is what `symbols2000` means; `symbols200` has a tenth of them.
    """
    few_symbols = max(1, many_symbols // 10)
    one_feed = _STREAMS_OF_ONE_FEED * many_symbols // (2_000 * len(FOUR_KINDS))
    loads = {
        MIXED: load,
        "trade": _with(load, mix={"trade": 1}),
        "ticker": _with(load, mix={"book_ticker": 1}),
        "depth": _with(load, mix={"depth": 1}),
        "streams": _with(load, mix=FOUR_KINDS, symbols=max(1, one_feed)),
        "symbols200": _with(load, mix=FOUR_KINDS, symbols=few_symbols),
        "symbols2000": _with(load, mix=FOUR_KINDS, symbols=many_symbols),
        "paced": _with(load, paced=True),
    }
    return [
        Course(name, loads[name], chosen, {"streams100": 100, "streams1024": _STREAMS_OF_ONE_FEED})
        for name, its_rows in _ROWS.items()
        if (chosen := [row for row in its_rows if row in rows and row != FLOOR]) or _is_floor(name, rows)
    ]


def _is_floor(name: str, rows: Sequence[str]) -> bool:
    return name == MIXED and FLOOR in rows


def _with(
    load: LoadJob, *, mix: Mapping[str, int] | None = None, symbols: int = 0, paced: bool = False
) -> LoadJob:
    return LoadJob(load.messages, symbols or load.symbols, load.seed, mix or load.mix, paced=paced)
