"""The questions of the query benchmark: who asks, with which parameters, and when two answers are the same.

The SQL stands in `questions.sql`, twice for each name. Parameters are drawn by chance from a seed, so that
every database is asked for the same; symbols are drawn by their activity. What is asked of the past lies
before the newest day, where a columnstore has been converted; what a signal job asks lies at the newest
end.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias

import orjson

from tests.bench.replay import Extent

if TYPE_CHECKING:
    import asyncpg

    Rows: TypeAlias = Sequence[Sequence[object]]
    Reads: TypeAlias = Callable[[Sequence[asyncpg.Record]], Rows]

_RELATIVE: Final = 1e-9
_ABSOLUTE: Final = 1e-6
_CORRELATED: Final = 20
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)


class Chance:
    """Draws parameters: the same ones for the same seed, extent and question."""

    def __init__(self, extent: Extent, question: str) -> None:
        self._extent = extent
        self._rng = random.Random(f"{extent.seed} {question}")

    def symbol(self) -> str:
        return self._rng.choices(self._extent.names(), self._extent.weights())[0]

    def depth_symbol(self) -> str:
        return self._rng.choice(self._extent.names()[: self._extent.depth_symbols])

    def symbols(self, count: int) -> list[str]:
        return sorted(self._rng.sample(self._extent.names(), min(count, self._extent.symbols)))

    def past_day(self) -> datetime:
        """Midnight of a day before the newest one."""
        return self._extent.first_day + self._rng.randrange(self._extent.days - 1) * _DAY

    def past_hour(self) -> datetime:
        return self.past_day() + self._rng.randrange(24) * _HOUR

    def past_depth_moment(self) -> datetime:
        """In the part of a day that has depth, after its first tenth."""
        before_midnight = self._extent.depth_window * self._rng.uniform(0.0, 0.9)
        return self.past_day() + _DAY - before_midnight

    def newest(self, span: timedelta) -> tuple[datetime, datetime]:
        return self._extent.end - span, self._extent.end

    def all_days(self) -> tuple[datetime, datetime]:
        return self._extent.first_day, self._extent.end


def as_rows(records: "Sequence[asyncpg.Record]") -> "Rows":
    """An answer as it came."""
    return [tuple(record.values()) for record in records]


def _parsed_levels(records: "Sequence[asyncpg.Record]") -> "Rows":
    """Levels that came as JSON text become the four lists that the other schema answers with."""
    rows = []
    for ts, update_id, bids, asks in records:
        sides = [orjson.loads(side) for side in (bids, asks)]
        columns = [[float(level[place]) for level in side] for side in sides for place in (0, 1)]
        rows.append((ts, update_id, *columns))
    return rows


@dataclass(frozen=True)
class Question:
    """`draw` gives the parameters of one asking; `reads_naive` what is left to do with the naive answer."""

    name: str
    asker: str
    asks: str
    draw: Callable[[Chance], Sequence[object]]
    reads_naive: "Reads" = as_rows

    def cases(self, extent: Extent, count: int) -> list[Sequence[object]]:
        """Parameters of `count` askings; fewer where there are not so many different ones."""
        chance, found = Chance(extent, self.name), list[Sequence[object]]()
        for _ in range(count):
            drawn = self.draw(chance)
            if drawn not in found:
                found.append(drawn)
        return found


def _day_of_symbol(chance: Chance) -> Sequence[object]:
    day = chance.past_day()
    return chance.symbol(), day, day + _DAY


def _hour_of_symbol(chance: Chance) -> Sequence[object]:
    hour = chance.past_hour()
    return chance.symbol(), hour, hour + _HOUR


def _day(chance: Chance) -> Sequence[object]:
    day = chance.past_day()
    return day, day + _DAY


def _correlated(chance: Chance) -> Sequence[object]:
    return chance.symbols(_CORRELATED), *_day(chance)


_JOB, _NOTEBOOK = "signal job", "notebook"

QUESTIONS: Final = (
    Question("newest_trade", _JOB, "newest trade of a symbol", lambda c: (c.symbol(),)),
    Question("newest_of_all", _JOB, "newest trade of every symbol", lambda _: ()),
    Question("freshness_of_all", _JOB, "time of the newest row of every stream", lambda _: ()),
    Question(
        "trades_of_a_minute",
        _JOB,
        "trades of a symbol, newest minute",
        lambda c: (c.symbol(), *c.newest(_MINUTE)),
    ),
    Question(
        "imbalance_by_second",
        _JOB,
        "signed volume by second, newest 10 minutes",
        lambda c: (c.symbol(), *c.newest(10 * _MINUTE)),
    ),
    Question(
        "deltas_of_a_minute",
        _JOB,
        "depth deltas of a symbol, newest minute",
        lambda c: (c.depth_symbol(), *c.newest(_MINUTE)),
        _parsed_levels,
    ),
    Question("vwap_of_an_hour", _NOTEBOOK, "volume-weighted price of a past hour", _hour_of_symbol),
    Question("candles_of_a_day", _NOTEBOOK, "1 m candles of a past day", _day_of_symbol),
    Question(
        "hourly_candles_of_all",
        _NOTEBOOK,
        "1 h candles of all symbols and days",
        lambda c: c.all_days(),
    ),
    Question("turnover_of_all", _NOTEBOOK, "turnover of every symbol, a past day", _day),
    Question("correlations", _NOTEBOOK, "correlations of 1 m returns of 20 symbols, a past day", _correlated),
    Question("spread_by_minute", _NOTEBOOK, "spread by minute, a past day", _day_of_symbol),
    Question("latency_by_hour", _NOTEBOOK, "quantiles of the delay by hour, a past day", _day_of_symbol),
    Question("largest_trades", _NOTEBOOK, "20 largest trades of a past day", _day_of_symbol),
    Question(
        "book_at_a_moment",
        _NOTEBOOK,
        "best 20 levels a side of the book at a past moment, rebuilt in SQL",
        lambda c: (c.depth_symbol(), c.past_depth_moment()),
    ),
    Question("completeness_of_a_day", _NOTEBOOK, "expected and stored trades by minute", _day_of_symbol),
    Question("gaps_of_a_day", _NOTEBOOK, "missing trades of all symbols, a past day", _day),
    Question(
        "exchange_candles_of_a_day", _NOTEBOOK, "1 m candles of the exchange, a past day", _day_of_symbol
    ),
)


def first_difference(one: "Rows", other: "Rows") -> str | None:
    """Where two answers differ by more than floating point explains; None when they are the same."""
    if len(one) != len(other):
        return f"{len(one)} rows and {len(other)} rows"
    for number, (row, other_row) in enumerate(zip(one, other, strict=True)):
        if not _same(list(row), list(other_row)):
            return f"row {number}: {tuple(row)!r:.300} and {tuple(other_row)!r:.300}"
    return None


def _same(one: object, other: object) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float | Decimal) or isinstance(other, float | Decimal):
        return (
            isinstance(one, int | float | Decimal)
            and isinstance(other, int | float | Decimal)
            and math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
        )
    return one == other
